"""Labelled examples: read, checked, split by content, drawn for a label budget, encoded."""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from importlib import import_module
from itertools import chain
from typing import Any

import numpy as np

from firth.data import groups
from firth.data.labels import ClassesOf, check_labels, class_names, need_two_classes
from firth.data.records import Problems, Record
from firth.data.source import ListSource
from firth.data.splits import Split, split
from firth.errors import InputError
from firth.signal import Finding
from firth.task import TaskConfig, own_class

TOO_FEW = "Use at least {}: one of each class to learn from, and one to validate."
PARTS = ("train", "valid", "test")
LOOK = 1000  # rows by which a task decides what it reads


@dataclass
class Labelled:
    """The parts of a labelled set; a part that was not asked for and not given is None."""

    train: ListSource | None
    valid: ListSource | None
    test: ListSource | None
    classes: tuple[str, ...]
    records: dict[str, list[Record]]  # by part, in the order of the sources
    facts: dict[str, Any]
    findings: list[Finding]
    by_class: bool = False  # a number of labels is that of each class
    task: TaskConfig = field(default_factory=TaskConfig)  # what its rows say of it, classes included


@dataclass
class Rows:
    """Labelled rows as they were read, before any is drawn: what all draws of a comparison have in common."""

    records: dict[str, list[Record]]  # by part
    classes: tuple[str, ...]
    task: TaskConfig
    signal: Any
    problems: Problems
    tested: tuple[TaskConfig, list[Record], ListSource | None] | None = None  # the latest test part, encoded

    @property
    def counted(self) -> tuple[str, ...]:
        """The classes, where each row has one of them."""
        return self.classes if self.task.classed and not self.task.several else ()

    @property
    def by_class(self) -> bool:
        """Whether a number of labels is that of each class."""
        return bool(getattr(self.signal, "labels_by_class", False)) and self.task.classed and not self.task.several

    @property
    def mark(self) -> str:
        """A hash of what is asked and of what is to be said, part by part; names and places of files do not count."""
        digest = blake2b(digest_size=8)
        for part, records in self.records.items():
            for one in records:
                said = part, one.content or one.text, one.label, one.target, one.group
                digest.update(repr(said).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()

    def test(self, records: list[Record], task: TaskConfig) -> ListSource | None:
        """The test part, encoded once for all draws that have the very same."""
        if self.tested is None or self.tested[0] != task or list(map(id, self.tested[1])) != list(map(id, records)):
            self.tested = task, records, _source(records, self.signal, task)
        return self.tested[2]


def open_labelled(config, signal, seed: int, classes: tuple[str, ...] | None = None, test_share: float = 0.0,
                  task: TaskConfig | None = None) -> Labelled:  # fmt: skip
    """Read and split labelled data: config is a recipe.Data (paths, text, label, valid, test, labels, …).

    signal: has encode(list[str]) -> [(ids, breaks)]; None: no sources are built, the records are.
    task: how rows become examples and samples; None: one text, one class.
    seed: chooses which examples a budget of labels takes; the splits themselves hang on the content alone.
    classes: those of a trained model. test_share: part split off for testing where no test files are given.
    Raises InputError at file:line:column for rows and labels that cannot be used.
    """
    return draw_labelled(read_labelled(config, signal, classes, task), config, seed, test_share)


def read_labelled(config, signal, classes: tuple[str, ...] | None = None, task: TaskConfig | None = None) -> Rows:
    """As open_labelled, up to the draw."""
    problems, task = Problems(config.skip_bad), task or TaskConfig()
    records = read_parts(config, problems, task, signal)
    task = task.look((records["train"] or records["test"])[:LOOK])
    records = {part: examples(found, task, problems) for part, found in records.items()}
    if task.classed:
        records, classes = classed(records, config, classes, problems, task.classes_of)
    else:
        classes = classes or task.names(records["train"] or records["test"])
    return Rows(records, classes, task, signal, problems)


def draw_labelled(rows: Rows, config, seed: int, test_share: float = 0.0) -> Labelled:
    """The rows in parts, so many of them as config.labels says. Raises InputError where there are fewer."""
    task, problems = rows.task, deepcopy(rows.problems)
    records = groups.apart(rows.records, config.leave_out, named(config)) if config.leave_out else rows.records
    _check_budget(config.labels, rows.counted, len(records["train"]), rows.by_class)
    drop = config.duplicates == "drop"
    done = split(records, config.labels, seed, test_share, drop, task.classes_of, rows.by_class)
    for where, what in done.notes:
        problems.note("warning", where, what)
    task = task.model_copy(update={"classes": rows.classes}).learnt_from(done.parts["train"])
    learnt = {part: _source(done.parts[part], rows.signal, task) for part in ("train", "valid")}
    told = facts(done, rows.classes if task.classed else (), task.classes_of)
    found = problems.all() + task.remarks(done.parts["train"])
    return Labelled(**learnt, test=rows.test(done.parts["test"], task), classes=rows.classes, records=done.parts,
                    facts=told, findings=found, by_class=rows.by_class, task=task)  # fmt: skip


def whole_test(config, signal, task: TaskConfig | None = None) -> Labelled:
    """All that may be tested, as one part: the rows of the test files, where there are none all rows; not encoded.

    Raises InputError as open_labelled does.
    """
    rows = read_labelled(config, signal, None, task)
    task = rows.task.model_copy(update={"classes": rows.classes})
    parts = {"train": [], "valid": [], "test": rows.records["test"] or rows.records["train"]}
    return Labelled(None, None, None, rows.classes, parts, {}, rows.problems.all(), rows.by_class, task)


def named(config) -> str:
    """The labelled data, for messages."""
    return ", ".join([*config.paths, *config.test]) or "DATA"


def read_parts(config, problems: Problems, task: TaskConfig, signal=None) -> dict[str, list[Record]]:
    """The records of the files given for each part, as the store of the signal reads them."""
    given = {"train": config.paths, "valid": config.valid, "test": config.test}
    read = import_module(f"firth.data.{getattr(signal, 'store', 'corpus')}").labelled_records
    return {part: read(paths, config, signal, problems, task) if paths else [] for part, paths in given.items()}


def examples(records: list[Record], task: TaskConfig, problems: Problems) -> list[Record]:
    """The rows as examples of the task; those that cannot be one are problems."""
    found = []
    for record in records:
        try:
            found.append(task.example(record))
        except InputError as error:
            problems.bad(error.where, error.what, error.do)
    return found


def classed(
    records: dict[str, list[Record]], config, classes: tuple[str, ...] | None, problems: Problems, classes_of: ClassesOf
) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    """The records whose classes can be learnt, and the names of the classes."""
    if not classes:
        first = (config.paths or config.test or ("DATA",))[0]
        need_two_classes(records["train"] or records["test"], first, classes_of)
    everything = check_labels(list(chain.from_iterable(records.values())), classes, problems, classes_of)
    kept = {id(record) for record in everything}
    records = {part: [record for record in found if id(record) in kept] for part, found in records.items()}
    return records, classes or class_names(everything, classes_of)


def _check_budget(labels: int | None, classes: tuple[str, ...], have: int, by_class: bool = False) -> None:
    if labels is None:
        return
    where = f"--labels {labels}"
    if by_class:
        if labels < 1 or labels > have:
            what = "takes no label of a class" if labels < 1 else f"there are only {have:,} labelled examples in all"
            raise InputError(where, what, "The number is of each class: use 1 or more, or leave it out.")
        return
    if labels < max(2, 2 * len(classes)):
        what = f"too few for {len(classes)} classes" if classes else "too few to learn from and to validate on"
        raise InputError(where, what, TOO_FEW.format(max(2, 2 * len(classes))))
    if labels > have:
        do = f"Say `--labels {have}` or fewer, or leave it out."
        raise InputError(where, f"there are only {have:,} labelled examples", do)


def _source(records: list[Record], signal, task: TaskConfig) -> ListSource | None:
    """Encoded samples, in the order of the records."""
    return ListSource(task.samples(records, signal)) if records and signal is not None else None


def encoded(labelled: Labelled, signal) -> Labelled:
    """The same examples through another signal."""
    train, valid, test = (_source(labelled.records[part], signal, labelled.task) for part in PARTS)
    return replace(labelled, train=train, valid=valid, test=test)


def shuffled(labelled: Labelled, signal, seed: int) -> Labelled:
    """The control: in the training and the validation part, what is to be said stands at other examples."""
    records = {
        part: found if part == "test" else labelled.task.shuffled(found, seed)
        for part, found in labelled.records.items()
    }
    return encoded(replace(labelled, records=records), signal)


def facts(done: Split, classes: tuple[str, ...], classes_of: ClassesOf = own_class) -> dict[str, Any]:
    """Examples and classes by part, what was dropped, and how long the texts are (words)."""
    parts = {part: found for part, found in done.parts.items() if found}
    return {
        "examples": {part: len(found) for part, found in parts.items()},
        "classes": {part: _histogram(found, classes, classes_of) for part, found in parts.items()} if classes else {},
        "duplicates": done.duplicates,
        "leaks": done.leaks,
        "conflicts": done.conflicts,
    } | _lengths([record for found in parts.values() for record in found])


def _lengths(records: list[Record]) -> dict[str, Any]:
    """Words of the texts, where they are texts."""
    if any(record.content for record in records):
        return {}
    words = np.array([len(record.text.split()) for record in records] or [0])
    return {
        "words": {"median": int(np.median(words)), "95 %": int(np.quantile(words, 0.95)), "longest": int(words.max())}
    }


def _histogram(records: list[Record], classes: tuple[str, ...], classes_of: ClassesOf) -> dict[str, int]:
    counts = Counter(label for record in records for label in classes_of(record))
    return {name: counts[name] for name in classes}
