"""A job of the queue behind docs/results.md: a command, and the source files that its figure depends on."""

from dataclasses import dataclass, field

COMPARING = (
    "firth/evaluate/arms.py",
    "firth/evaluate/baselines.py",
    "firth/evaluate/closed.py",
    "firth/evaluate/compare.py",
    "firth/evaluate/versus.py",
)
TRAINING = ("firth/model/*.py", "firth/train/*.py", "firth/objectives/*.py", "firth/starts/*.py", "firth/data/*.py")
ADAPTING = (*TRAINING, "firth/tasks/*.py")
MEASURING = (*TRAINING, "firth/evaluate/*.py", "firth/evaluate/measures/*.py")
ONE = ("--set", "train.threads=1")  # so that two runs may share two cores


@dataclass(frozen=True)
class Job:
    name: str
    command: list[str]
    depends: tuple[str, ...] = field(default=TRAINING)
    cores: int = 2  # 1: it has one thread, and another such job may run beside it
    after: tuple[str, ...] = ()  # names of jobs of one core that it reads


def firth(*words) -> list[str]:
    return ["-m", "firth", *map(str, words), "--json"]


def program(name: str, *words) -> list[str]:
    return [f"benchmarks/{name}.py", *map(str, words), "--json"]


def settings(*keys: str) -> list[str]:
    """--set for each."""
    return [word for key in keys for word in ("--set", key)]
