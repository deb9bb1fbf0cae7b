"""Answers into a file while they are made: JSON lines, or a table of the input's columns and what the model says.

A table is for a spreadsheet: .csv begins with a byte order mark, by which Excel knows UTF-8. Its columns are those of
the first row, then the answer. A column of the input keeps its name; an answer of the same name becomes `prediction`.
Text that a spreadsheet would run as a formula begins with a quote; numbers and the model's own labels stay as they are.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from firth.errors import InputError, did_you_mean
from firth.evaluate.answers import Answered, plain
from firth.functional.cells import as_text
from firth.train.folder import free_place, is_stream, whole_file

MAIN = ("label", "labels", "number", "tags", "answer", "transcript", "score", "filled", "written")  # the answer itself
LABELS = ("label", "labels", "tags")  # the model's own, from the table that it learnt from
BESIDE = ("same", "probability")
JOINTS = {"tags": " ", "labels": "|"}  # between the items of a list in a cell
SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".jsonl", ".ndjson", *SEPARATORS)
MARK = "\ufeff"  # the byte order mark


class Sink(Protocol):
    """Takes answers in the order of the inputs."""

    def write(self, one: Any) -> None:
        """An Answered, or what a model says alone."""

    def close(self) -> None:
        """Everything was written."""


class Lines:
    """A JSON object a line."""

    def __init__(self, file: IO[str]):
        self.file = file

    def write(self, one: Any) -> None:
        self.file.write(json.dumps(plain(one), ensure_ascii=False) + "\n")

    def close(self) -> None: ...


class Table:
    """Rows below a header, which the first answer decides; rows that failed before it wait.

    errors: a column says why a row has no answer. left_out: columns that the header does not have.
    """

    def __init__(self, file: IO[str], separator: str = ",", errors: bool = False):
        self.writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        self.errors = errors
        self.columns: list[str] = []  # of the input
        self.keys: list[str] = []  # of the answer
        self.waiting: list[Answered] = []
        self.left_out: dict[str, None] = {}

    def write(self, one: Any) -> None:
        given = one if isinstance(one, Answered) else Answered(one)
        if self.columns:
            self._row(given)
        elif given.failed:
            self.waiting.append(given)
        else:
            self._begin(given, [*self.waiting, given])

    def close(self) -> None:
        if not self.columns and self.waiting:
            self._begin(self.waiting[0], self.waiting)

    def _begin(self, first: Answered, rows: Iterable[Answered]) -> None:
        self.columns = list(inputs_in(first))
        self.keys = [*answer_in(first), *(["error"] if self.errors and not first.failed else [])]
        self.writer.writerow([*map(as_text, self.columns), *(name_of(key, self.columns) for key in self.keys)])
        for one in rows:
            self._row(one)

    def _row(self, one: Answered) -> None:
        inputs, said = inputs_in(one), answer_in(one)
        own = one.row if one.failed else inputs  # of a line that is no row there are no columns to be left out
        self.left_out |= dict.fromkeys(name for name in own if name not in self.columns)
        cells = [as_text(inputs.get(name, "")) for name in self.columns]
        self.writer.writerow(cells + [safe(key, said.get(key, "")) for key in self.keys])


def inputs_in(one: Answered) -> dict[str, str]:
    """What is kept of an input: the columns of its row; without a table its place and text."""
    if one.row:
        return {str(name): cell_of(value) for name, value in one.row.items()}
    place = {"where": one.where} if one.where else {}
    return place | {"text": "" if one.failed else cell_of(plain(one.said).get("text"))}


def answer_in(one: Answered) -> dict[str, str]:
    """The answer, and how sure it is; or why there is none."""
    if one.failed:
        return {"error": one.said.what}
    said = plain(one.said)
    return {key: cell_of(said[key], JOINTS.get(key)) for key in (*MAIN, *BESIDE) if key in said}


def safe(key: str, cell: str) -> str:
    """The cell of an answer: what may hold words of the input, as text."""
    return cell if key in LABELS else as_text(cell)


def name_of(key: str, columns: Iterable[str]) -> str:
    """The column of an answer beside those of the input."""
    taken = {name.lower() for name in columns}
    names = [key, *(["prediction"] if key in MAIN else []), f"prediction_{key}"]
    return next((name for name in names if name not in taken), f"prediction_{key}_2")


def cell_of(value: Any, joint: str | None = None) -> str:
    """A value as a cell; of bytes nothing, of a file that holds its bytes its path."""
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and any(isinstance(one, bytes) for one in value.values()):
        return cell_of(value.get("path"))
    if joint is not None and isinstance(value, list | tuple):
        return joint.join(map(str, value))
    return json.dumps(value, ensure_ascii=False, default=str)


def check_out(out: str | Path) -> Path:
    """Raises InputError for a suffix nobody knows, and for what is there already."""
    path = Path(out)
    if not is_stream(path) and path.suffix.lower() not in SUFFIXES:
        hint = did_you_mean(path.suffix, SUFFIXES) if path.suffix else ""
        raise InputError(f"--out {out}", "answers are kept as .jsonl, .csv or .tsv", f"{hint}Say --out said.jsonl.")
    return free_place(path, streams=True)


@contextmanager
def kept(out: Path, errors: bool = False) -> Iterator[Sink]:
    """Takes answers into a file by its suffix. Raises InputError, RunError for a place that takes none."""
    suffix = out.suffix.lower()
    with whole_file(out) as file:
        file.write(MARK if suffix == ".csv" else "")
        sink: Sink = Table(file, SEPARATORS[suffix], errors) if suffix in SEPARATORS else Lines(file)
        yield sink
        sink.close()
