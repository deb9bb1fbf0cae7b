"""CIFAR-10: SimCLR and BYOL at 5 and 20 minutes, the default recipe at 60, each beside what reads no network."""

from pathlib import Path

from benchmarks.job import ADAPTING, COMPARING, ONE, Job, firth

RUNS = {
    "images-simclr-20m": ("simclr", "20m"),
    "images-byol-20m": ("byol", "20m"),
    "images-60m": (None, "60m"),
    "images-simclr-5m": ("simclr", "5m"),
    "images-byol-5m": ("byol", "5m"),
}
ARMS = ("linear-random", "linear", "neighbours")
PLAIN = ("pixels", "hog", "patches")
LABELS = "10,100,all"  # of each class


def jobs(data: Path, kept: Path) -> list[Job]:
    """One core each, so two at a time; the test pictures are answered once a run."""
    pictures = data / "image" / "cifar10.zip" / "cifar10"
    made, compared = [], []
    for name, (objective, budget) in RUNS.items():
        chosen = ["--objective", objective] if objective else []
        run = firth("pretrain", pictures / "train", *chosen, "--budget", budget, *ONE, "--out", kept / name)
        made.append(Job(name, run, cores=1))
        arms = (*ARMS, *PLAIN) if name == "images-simclr-20m" else ARMS  # those read no run: once is enough
        said = firth("compare", kept / name, pictures / "train", "--test", pictures / "test", "--task", "classify",
                     "--labels", "all" if budget == "5m" else LABELS, "--seeds", 3, "--arms", ",".join(arms), *ONE,
                     "--out", kept / f"{name}-compared")  # fmt: skip
        compared.append(Job(f"{name}-compared", said, (*ADAPTING, *COMPARING), cores=1, after=(name,)))
    return [*made, *compared]
