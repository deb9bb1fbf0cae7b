"""Which runs stand behind docs/results.md."""

from dataclasses import dataclass, field
from pathlib import Path

TRAINING = ("firth/model/*.py", "firth/train/*.py", "firth/objectives/*.py", "firth/starts/*.py", "firth/data/*.py")
ADAPTING = (*TRAINING, "firth/tasks/*.py")
ONE = ("--set", "train.threads=1")  # so that two runs may share two cores
MIXES = {
    "mask-only": (1.0, 0.0, 0.0),
    "replace-only": (0.0, 1.0, 0.0),
    "80-10-10": (0.8, 0.1, 0.1),
}


@dataclass(frozen=True)
class Job:
    name: str
    command: list[str]
    depends: tuple[str, ...] = field(default=TRAINING)


def jobs(data: Path, kept: Path) -> list[Job]:
    return [*wiki(data, kept), *sentiment(data, kept), *mixes(data, kept), composed(data, kept)]


def firth(*words) -> list[str]:
    return ["-m", "firth", *map(str, words), "--json"]


def wiki(data: Path, kept: Path) -> list[Job]:
    """Twenty minutes of masked tokens on Wikipedia, start to finish. One seed."""
    text = data / "text" / "wiki_en" / "train.jsonl.gz"
    return [Job("wiki-20m", firth("pretrain", text, "--budget", "20m", "--out", kept / "wiki-20m"))]


def sentiment(data: Path, kept: Path) -> list[Job]:
    """SST-2 dev accuracy, pre-trained against random initialisation, three seeds."""
    folder = data / "text" / "sst2"
    once = ["--set", "train.budget=1epochs"]  # validation no longer gains in the second
    sizes = {"500": (folder / "train.tsv.gz", ["--labels", "500"]), "all": (folder / "train_phrases.tsv.gz", once)}
    found = []
    for labels, (train, limit) in sizes.items():
        for seed in range(3):
            for start in ("pretrained", "random"):
                name = f"sst2-{labels}-{start}-{seed}"
                options = [
                    "--task",
                    "classify",
                    "--start",
                    start,
                    "--test",
                    folder / "dev.tsv.gz",
                    "--seed",
                    seed,
                    *ONE,
                ]
                command = firth("adapt", kept / "wiki-20m", train, *options, "--out", kept / name, *limit)
                found.append(Job(name, command, ADAPTING))
    return found


def mixes(data: Path, kept: Path) -> list[Job]:
    """Mask-only, replace-only and 80/10/10, each with and without next sentence, at one small budget of steps."""
    text = data / "text" / "wiki_en" / "train.jsonl.gz"
    found = []
    for mix, shares in MIXES.items():
        for objective in ("masked-tokens", "next-sentence,masked-tokens"):
            name = f"mix-{mix}{'-next-sentence' if ',' in objective else ''}"
            settings = [x for k, v in zip(("mask", "random", "keep"), shares, strict=True)
                        for x in ("--set", f"masked_tokens.{k}_share={v}")]  # fmt: skip
            command = firth("pretrain", text, "--objective", objective, "--size", "2x128", "--budget", "1000steps",
                            *ONE, "--set", "model.shape=modernbert", "--out", kept / name, *settings)  # fmt: skip
            found.append(Job(name, command))
    return found


def composed(data: Path, kept: Path) -> Job:
    """BERT's pair of objectives, long enough for next sentence to be learnt. One seed."""
    text = data / "text" / "wiki_en" / "train.jsonl.gz"
    command = firth("pretrain", text, "--objective", "next-sentence,masked-tokens", "--size", "4x256", "--budget",
                    "3000steps", *ONE, "--set", "model.shape=bert", "--out", kept / "composed")  # fmt: skip
    return Job("composed", command)
