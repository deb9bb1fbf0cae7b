"""Which runs stand behind docs/results.md."""

from pathlib import Path
from typing import NamedTuple

from benchmarks import jobs_gpt, jobs_images, jobs_sound
from benchmarks.job import ADAPTING, COMPARING, ONE, TRAINING, Job, firth, program, settings

MIXES = {
    "mask-only": (1.0, 0.0, 0.0),
    "replace-only": (0.0, 1.0, 0.0),
    "80-10-10": (0.8, 0.1, 0.1),
}


class Task(NamedTuple):
    """A labelled set of the comparisons. test: scored once, at the end. arms: besides random and pretrained."""

    title: str
    task: str
    train: str
    test: str
    valid: str | None
    epochs: int
    arms: tuple[str, ...]
    settings: tuple[str, ...]


TASKS = {
    "sst2": Task("Sentiment (SST-2)", "classify", "sst2/train_phrases.tsv.gz", "sst2/dev.tsv.gz", None, 1,
                 ("tf-idf",), ("train.evaluate_samples=500",)),
    "upos": Task("Parts of speech (UD-EWT)", "tag", "ud_ewt/train.conllu.gz", "ud_ewt/test.conllu.gz",
                 "ud_ewt/dev.conllu.gz", 2, ("most-frequent-tag", "logistic-tagger"), ("train.evaluate_samples=400",)),
    "sick": Task("Inference (SICK)", "pairs", "sick/train.tsv.gz", "sick/test.tsv.gz", "sick/trial.tsv.gz", 5,
                 ("tf-idf", "word-overlap"), ("train.evaluate_samples=300",)),
    "squad": Task("Answers (SQuAD)", "span", "squad/train_sample.json.gz", "squad/dev-v1.1.json.gz", None, 1,
                  ("word-overlap",), ("text.context=256", "train.evaluate_samples=100")),
}  # fmt: skip


def jobs(data: Path, kept: Path) -> list[Job]:
    return [*wiki(data, kept), *sentiment(data, kept), *mixes(data, kept), composed(data, kept), *an_hour(data, kept),
            *apart(data, kept), *jobs_gpt.jobs(data, kept), *jobs_images.jobs(data, kept),
            *jobs_sound.jobs(data, kept)]  # fmt: skip


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
            named = zip(("mask", "random", "keep"), shares, strict=True)
            mixed = settings(*(f"masked_tokens.{kind}_share={share}" for kind, share in named))
            command = firth("pretrain", text, "--objective", objective, "--size", "2x128", "--budget", "1000steps",
                            *ONE, "--set", "model.shape=modernbert", "--out", kept / name, *mixed)  # fmt: skip
            found.append(Job(name, command))
    return found


def composed(data: Path, kept: Path) -> Job:
    """BERT's pair of objectives, long enough for next sentence to be learnt. One seed."""
    text = data / "text" / "wiki_en" / "train.jsonl.gz"
    command = firth("pretrain", text, "--objective", "next-sentence,masked-tokens", "--size", "4x256", "--budget",
                    "3000steps", *ONE, "--set", "model.shape=bert", "--out", kept / "composed")  # fmt: skip
    return Job("composed", command)


def an_hour(data: Path, kept: Path) -> list[Job]:
    """One hour of masked tokens on Wikipedia, and what rests on it. Reckoned on two cores without matrix units, where
    4 layers × 256 learn 5,000 tokens/s in short rows and 7,000 in long ones, and answer 15,000:

    wiki-60m            60 min
    compare-sst2        25 min   67,334 phrases, 1.0 M tokens, one epoch; 3 min a training, TF-IDF about 2 min a seed
    compare-upos        15 min   0.29 M tokens, two epochs; 2 min a training, the logistic tagger about 1.5 min a seed
    compare-sick        15 min   0.12 M tokens, five epochs; 2.5 min a training
    compare-squad       40 min   2.0 M tokens in 9,956 windows of 256, one epoch; 4 min a training, 3 min all of dev
    curves               1 s     of those four
    word-in-context      1 min   company 1 min
    heads               80 min   22.7 M parameters (benchmarks/heads.py); shuffled 15 min (benchmarks/shuffled.py)

    Six trainings a comparison: two arms, three seeds. Epochs are reasoned, not searched: the phrases gained nothing
    in a second epoch (validation, docs/results.md); tags had 93.7 % of dev after one; 4,500 pairs are few, so they come
    five times; a second epoch of SQuAD would take 26 min more. The test files are scored once.
    """
    text, base = data / "text", kept / "wiki-60m"
    raw = text / "wiki_en" / "train.jsonl.gz"
    pretrained = Job("wiki-60m", firth("pretrain", raw, "--budget", "60m", "--out", base))
    return [pretrained, *(comparison(name, one, text, kept) for name, one in TASKS.items()), curves(kept),
            *looks(text, kept), *controls(text, kept)]  # fmt: skip


def comparison(name: str, one: Task, text: Path, kept: Path) -> Job:
    """`firth compare` on all labels, three seeds, with its report."""
    keys = [f"train.budget={one.epochs}epochs", *one.settings]
    keys += [f"data.valid={text / one.valid}"] if one.valid else []
    command = firth("compare", kept / "wiki-60m", text / one.train, "--task", one.task, "--test", text / one.test,
                    "--labels", "all", "--seeds", 3, "--jobs", 2,
                    "--arms", ",".join(("random", "pretrained", *one.arms)),
                    *settings(*keys), "--out", place(name, kept))  # fmt: skip
    return Job(f"compare-{name}", command, (*ADAPTING, *COMPARING))


def place(name: str, kept: Path) -> Path:
    """The folder of a comparison."""
    return kept / f"wiki-60m-{name}"


def curves(kept: Path) -> Job:
    """Loss against steps for all four tasks."""
    given = [f"{one.title}={place(name, kept) / 'comparison.json'}" for name, one in TASKS.items()]
    depends = (*ADAPTING, *COMPARING, "benchmarks/curves.py")
    return Job("curves", program("curves", *given, "--out", kept / "loss-against-steps.svg"), depends)


def looks(text: Path, kept: Path) -> list[Job]:
    """What the base knows of words in context."""
    base, words = kept / "wiki-60m", text / "ud_ewt" / "test.conllu.gz"
    evaluating = (*TRAINING, "firth/evaluate/*.py")
    pairs = Job("word-in-context", program("word_in_context", base, "--words", words), evaluating)
    bank = Job("company-bank", firth("company", base, "bank", "--out", kept / "company-bank.html"), evaluating)
    return [pairs, bank]


def controls(text: Path, kept: Path) -> list[Job]:
    """The tasks beside the heads of transformers; twenty comparisons in which there is nothing to learn."""
    heads = program("heads", "--data", text, "--work", kept / "heads")
    shuffled = program("shuffled", "--data", text, "--work", kept / "shuffled")
    return [Job("heads", heads, (*ADAPTING, "benchmarks/heads.py", "benchmarks/their_heads.py")),
            Job("shuffled", shuffled, (*ADAPTING, *COMPARING, "benchmarks/shuffled.py"))]  # fmt: skip


def apart(data: Path, kept: Path) -> list[Job]:
    """BERT taken apart by one command: six pre-trainings, each judged by 500 labels of sentiment, five seeds.

    3,000 steps × 2,048 tokens each, which all of them need to leave the plateau of word frequencies (docs/results.md):
    20 min a pre-training at 5,000 tokens/s, two hours in all, and about 1 min for each of 30 trainings: 2 h 30 min.
    """
    text = data / "text"
    vary = ["masked_tokens.mix=80-10-10,100-0-0,0-100-0", "objective=masked-tokens,next-sentence+masked-tokens",
            "model.shape=bert", "size=4x256"]  # fmt: skip
    command = firth("compare", text / "wiki_en" / "train.jsonl.gz", text / "sst2" / "train.tsv.gz", "--labels", 500,
                    "--seeds", 5, "--arms", "random,pretrained", "--budget", "3000steps",
                    *(word for key in vary for word in ("--vary", key)), "--out", kept / "apart")  # fmt: skip
    return [Job("apart", command, (*ADAPTING, *COMPARING))]
