"""A tiny pre-trained run and labels for it, made once per test process; tests copy what they change."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from firth.train.adapt import adapt
from firth.train.log import Silent
from firth.train.pretrain import pretrain
from tests import material

QUICK = ["text.vocabulary=300", "text.context=32", "train.precision=fp32"]


class Told(Silent):
    """Keeps what a verb says."""

    def __init__(self):
        self.lines: dict[str, str] = {}
        self.notes: list[str] = []
        self.steps: list[int] = []

    def line(self, key: str, text: str) -> None:
        self.lines[key] = text

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, step, run) -> None:
        self.steps.append(step.index)


@cache
def folder() -> Path:
    """corpus.txt, reviews.tsv (120 labels), test.tsv (40), and pretrained/: a finished run of 12 steps."""
    place = Path(mkdtemp(prefix="firth-test-"))
    corpus = material.write_corpus(place, 200)
    material.write_labels(place, 120)
    material.write_labels(place, 40, seed=1, name="test.tsv")
    pretrain([corpus], size="2x32", budget="12steps", out=place / "pretrained", settings=QUICK)
    return place


@cache
def writer() -> Path:
    """A finished run of next tokens over the same text, 60 steps, with a context that holds some examples."""
    place = folder()
    settings = [*QUICK, "text.context=384", "train.batch=4"]
    pretrain([place / "corpus.txt"], "next-token", "2x32", "60steps", place / "writer", settings=settings)
    return place / "writer"


@cache
def adapted() -> Path:
    """A finished adaptation of it, with a test part."""
    place = folder()
    quick_adapt(place / "adapted", settings=[f"data.test={place / 'test.tsv'}"])
    return place / "adapted"


def copied(place: Path, *names: str) -> None:
    """Copies of what lies in folder(), or will (adapted), in another folder, by name."""
    for name in names:
        source = adapted() if name == "adapted" else folder() / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(place) / name)


def quick_adapt(out: Path, settings=(), labels: Path | None = None, **options):
    """40 steps at a rate that learns the toy labels."""
    given = ["train.steps=40", "train.evaluate_every=10", "optimizer.lr=3e-3", "train.precision=fp32", *settings]
    return adapt(folder() / "pretrained", [labels or folder() / "reviews.tsv"], out=out, settings=given, **options)
