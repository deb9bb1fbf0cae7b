"""What a task is beyond an objective: how labelled rows become examples, examples samples, and answers a score."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from firth.functional.random import combine, hash_bytes, permute
from firth.objective import ObjectiveConfig
from firth.signal import Facts, Finding, Sample, Signal

# N examples

EMPTY: Mapping[str, Any] = {}


class Where(NamedTuple):
    """A place in a file; lines and columns count from 1, 0 = unknown. In parquet the line is the row."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


class Example(NamedTuple):
    """One document (raw text) or one labelled example, and where it begins: what every reader hands on."""

    text: str  # what duplicates and splits go by, and what people are shown
    label: str | None  # a class; None where there is none
    where: Where
    fields: Mapping[str, Any] = EMPTY  # the whole row, where there are rows
    parts: tuple[Any, ...] = ()  # what a model reads: texts, one a segment, or the array of a file; (): `text` alone
    target: Any = None  # what the task is to say, where that is no class
    content: int = 0  # 64 bit hash of what it is, where `text` is only its name
    group: str = ""  # examples of one group never fall on both sides of a split; "": each stands alone


class Outcome(NamedTuple):
    """What a model made of N examples, in their order: figures, and what a comparison pairs."""

    figures: dict[str, Any]  # the task's metrics; "items": what they are over
    predicted: list[Any]  # (N,) plain values: a label, a number, tags, an answer
    gold: list[Any]  # (N,) the same kind
    right: np.ndarray  # (N,) float: what each example adds to the first metric
    counts: np.ndarray  # (N,) float: over how many items; metric = right.sum() / counts.sum()
    wrong: list[dict[str, Any]]  # examples it gets wrong, the surest first: text, gold, predicted, …


class TaskConfig(ObjectiveConfig):
    """The recipe table of a task; beside an objective's CPU side, what it reads in labelled rows."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "class token"})  # classify is content with "pooled"
    metric: ClassVar[str] = "accuracy"  # the first figure, by which arms are compared; a share
    learns: ClassVar[bool] = True  # weights change for it; False: there is `predict` and a score, and no objective
    rows: ClassVar[bool] = False  # whole rows are read, not a text and a label
    fielded: ClassVar[bool] = False  # `predict` reads fields of a row, not its text alone
    columns: ClassVar[tuple[str, ...]] = ()  # usual names of the column of labels, where content does not tell it
    classes: tuple[str, ...] = ()  # filled: names of the classes, in index order

    def fill(self, facts: Facts) -> Self:
        return self.model_copy(update={"classes": tuple(facts.classes)}) if facts.classes else self

    @property
    def labelled(self) -> bool:
        """Whether a row must have a column with a class."""
        return True

    @property
    def classed(self) -> bool:
        """Whether what stands in that column is one of a few classes (else a number)."""
        return self.labelled

    @property
    def several(self) -> bool:
        """Whether it may be any number of classes, which then stand in `target` (else one, in `label`)."""
        return False

    @property
    def notes(self) -> list[str]:
        """What a person should know of how the rows were read; a part of the plan."""
        return []

    def classes_of(self, example: Example) -> tuple[str, ...]:
        """The classes that an example has."""
        return example.target if self.several else own_class(example)

    def look(self, examples: Sequence[Example]) -> Self:
        """The config with what follows from the rows themselves, such as which columns are read."""
        return self

    def example(self, example: Example) -> Example:
        """The row as an example of this task. Raises InputError at its place where it cannot be one."""
        return example

    def inputs(self, example: Example) -> str | Sequence[str]:
        """What `predict` is given of a row. Raises InputError at its place where it has nothing to give."""
        return example.text

    def names(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """The classes, where they do not stand in `label`; () otherwise."""
        return ()

    def learnt_from(self, examples: Sequence[Example]) -> Self:
        """The config with what follows from the training part and the classes, such as their weights."""
        return self

    def remarks(self, examples: Sequence[Example]) -> list[Finding]:
        """What a person should know of the examples that are learnt from."""
        return []

    def shuffled(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """The examples with their answers dealt out anew: a control in which there is nothing to learn."""
        order = permute(np.arange(len(examples)), len(examples), seed, 0).tolist() if examples else []
        return [
            one._replace(label=examples[other].label, target=examples[other].target)
            for one, other in zip(examples, order, strict=True)
        ]

    def counts(self, examples: Sequence[Example]) -> np.ndarray | None:
        """(N,) float: over how many items the metric of each example is; None: one each."""
        return None

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        """Samples in the order of the examples; an example may become several (windows), all with keys of it."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        encoded: Any = signal.encode([part for one in examples for part in parts_of(one)])  # type: ignore[attr-defined]
        found, place = [], 0
        for one in examples:
            size = len(parts_of(one))
            parts = tuple(item.ids for item in encoded[place : place + size])
            breaks = encoded[place].breaks if size == 1 else None
            found.append(Sample(parts=parts, key=key_of(one), breaks=breaks, label=numbers.get(str(one.label))))
            place += size
        return found


def own_class(example: Example) -> tuple[str, ...]:
    return (str(example.label),)


def parts_of(example: Example) -> tuple[Any, ...]:
    return example.parts or (example.text,)


def shown(part: Any) -> str:
    """A part as people are shown it: a text, the name of a file; an array has none."""
    return f"array {part.shape}" if isinstance(part, np.ndarray) else str(part)


def key_of(example: Example, window: int = 0) -> int:
    """64 bit: (content hash, window)."""
    content = example.content or hash_bytes(example.text.encode("utf-8", "replace"))
    return int(combine(np.uint64(content), window))
