"""Labelled examples: read, checked, split by content, drawn for a label budget, encoded."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from firth.data.files import expand
from firth.data.labels import check_labels, class_names, need_two_classes
from firth.data.readers import read
from firth.data.records import Problems, Record
from firth.data.source import ListSource
from firth.data.splits import Split, split
from firth.errors import InputError
from firth.functional.random import combine, hash_bytes
from firth.signal import Finding, Sample

FOLDERS = "Put the texts of each class into a folder with its name, or give a table with a column of labels."
TOO_FEW = "Use at least {}: one of each class to learn from, and one to validate."
PARTS = ("train", "valid", "test")


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


def open_labelled(config, signal, seed: int, classes: tuple[str, ...] | None = None,
                  test_share: float = 0.0) -> Labelled:  # fmt: skip
    """Read and split labelled data: config is a recipe.Data (paths, text, label, valid, test, labels, …).

    signal: has encode(list[str]) -> [(ids, breaks)]; None: no sources are built, the records are.
    seed: chooses which examples a budget of labels takes; the splits themselves hang on the content alone.
    classes: those of a trained model. test_share: part split off for testing where no test files are given.
    Raises InputError at file:line:column for rows and labels that cannot be used.
    """
    problems = Problems(config.skip_bad)
    records = read_parts(config, problems)
    given = records["train"] or records["test"]
    first = (config.paths or config.test or ("DATA",))[0]
    if not classes:
        need_two_classes(given, first)
    everything = check_labels(list(chain.from_iterable(records.values())), classes, problems)
    kept = {id(record) for record in everything}
    records = {part: [record for record in found if id(record) in kept] for part, found in records.items()}
    classes = classes or class_names(everything)
    _check_budget(config.labels, classes, len(records["train"]))
    done = split(records, config.labels, seed, test_share, drop=config.duplicates == "drop")
    for where, what in done.notes:
        problems.note("warning", where, what)
    sources = {part: _source(done.parts[part], signal, classes) for part in PARTS}
    return Labelled(**sources, classes=classes, records=done.parts, facts=facts(done, classes), findings=problems.all())


def read_parts(config, problems: Problems) -> dict[str, list[Record]]:
    """The records of the files given for each part; labelled data is held in memory, as is what is learnt from it."""
    given = {"train": config.paths, "valid": config.valid, "test": config.test}
    records = {}
    for part, paths in given.items():
        records[part] = _labelled_records(paths, config, problems) if paths else []
    return records


def _labelled_records(paths, config, problems: Problems) -> list[Record]:
    files = expand(paths, problems)
    reading = read(files, config.text, config.label, config.document, labelled=True, problems=problems)
    return [record for record in reading if _has_label(record, problems)]


def _has_label(record: Record, problems: Problems) -> bool:
    """Plain text has the name of its folder for a label, or none."""
    if record.label:
        return True
    problems.bad(record.where, "this text has no label", FOLDERS)
    return False


def _check_budget(labels: int | None, classes: tuple[str, ...], have: int) -> None:
    if labels is None:
        return
    where = f"data.labels = {labels}"
    if labels < 2 * len(classes):
        raise InputError(where, f"too few for {len(classes)} classes", TOO_FEW.format(2 * len(classes)))
    if labels > have:
        raise InputError(where, f"there are only {have:,} labelled examples", "Use fewer, or leave it out to use all.")


def _source(records: list[Record], signal, classes: tuple[str, ...]) -> ListSource | None:
    """Encoded samples; label = index of the class, key = content hash."""
    if not records or signal is None:
        return None
    numbers = {name: number for number, name in enumerate(classes)}
    encoded = signal.encode([record.text for record in records])
    return ListSource([
        Sample(parts=(one.ids,), key=sample_key(record), breaks=one.breaks, label=numbers[str(record.label)])
        for record, one in zip(records, encoded, strict=True)
    ])  # fmt: skip


def sample_key(record: Record) -> int:
    """64 bit: (content hash, window 0)."""
    return int(combine(np.uint64(hash_bytes(record.text.encode("utf-8", "replace"))), 0))


def facts(done: Split, classes: tuple[str, ...]) -> dict[str, Any]:
    """Examples and classes by part, what was dropped, and how long the texts are (words)."""
    parts = {part: found for part, found in done.parts.items() if found}
    words = np.array([len(record.text.split()) for found in parts.values() for record in found] or [0])
    return {
        "examples": {part: len(found) for part, found in parts.items()},
        "classes": {part: _histogram(found, classes) for part, found in parts.items()},
        "duplicates": done.duplicates,
        "leaks": done.leaks,
        "conflicts": done.conflicts,
        "words": {"median": int(np.median(words)), "95 %": int(np.quantile(words, 0.95)), "longest": int(words.max())},
    }


def _histogram(records: list[Record], classes: tuple[str, ...]) -> dict[str, int]:
    counts = Counter(record.label for record in records)
    return {name: counts[name] for name in classes}
