"""CIFAR-10: SimCLR and BYOL at 5 and 20 minutes, the default recipe at 60, each beside what reads no network."""

from pathlib import Path

from benchmarks.job import ADAPTING, COMPARING, Job, firth

RUNS = {
    "simclr-5m": ("simclr", "5m"),
    "byol-5m": ("byol", "5m"),
    "simclr-20m": ("simclr", "20m"),
    "byol-20m": ("byol", "20m"),
    "images-60m": (None, "60m"),
}
ARMS = ("linear-random", "linear", "neighbours")
PLAIN = ("pixels", "hog", "patches")
LABELS = "10,100,all"  # of each class


def jobs(data: Path, kept: Path) -> list[Job]:
    """The wall time of the budgets, and about 10 min of each comparison; the test pictures are answered once a run."""
    pictures = data / "image" / "cifar10.zip" / "cifar10"
    found = []
    for name, (objective, budget) in RUNS.items():
        chosen = ["--objective", objective] if objective else []
        made = firth("pretrain", pictures / "train", *chosen, "--budget", budget, "--out", kept / name)
        arms = (*ARMS, *PLAIN) if name == "images-60m" else ARMS  # those read no run: once is enough
        said = firth("compare", kept / name, pictures / "train", "--test", pictures / "test", "--task", "classify",
                     "--labels", LABELS, "--seeds", 3, "--jobs", 2, "--arms", ",".join(arms),
                     "--out", kept / f"{name}-compared")  # fmt: skip
        found += [Job(name, made), Job(f"{name}-compared", said, (*ADAPTING, *COMPARING))]
    return found
