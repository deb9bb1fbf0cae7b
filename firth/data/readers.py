"""Files → records, streamed: what is a document, which columns are read, and every finding on the way."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from importlib import import_module
from itertools import chain, islice
from typing import Any

from firth.data import archives
from firth.data.columns import SAMPLE, Columns, find_columns
from firth.data.encodings import pieces
from firth.data.files import RIGHTS, File, expand
from firth.data.records import Problems, Record, Where
from firth.data.row import Row
from firth.data.text import MANY_FILES, documents, layout
from firth.data.text import unit as unit_in
from firth.errors import InputError
from firth.functional.cells import label_of
from firth.signal import Finding
from firth.task import EMPTY

BYTES = ("parquet", "squad", "synthetic")  # formats that are not read from lines
FILL_TEXT = "Fill it in, or leave out the row; --skip-bad leaves out such rows."
FILL_LABEL = "Fill in the label, or leave out the row; --skip-bad leaves out such rows."
ROWS = "Give .conllu, .conll, .jsonl, .csv, .tsv, .parquet, or SQuAD's .json."
__all__ = ["File", "Reading", "Record", "Where", "expand", "read"]


def read(
    files: Iterable[File | str],
    text: str | None = None,
    label: str | None = None,
    document: str = "auto",
    skip_bad: bool = False,
    labelled: bool = False,
    problems: Problems | None = None,
    rows: bool = False,
    unit: str | None = None,
) -> "Reading":
    """Open files for reading; looks at their beginnings at once, so that unit and columns are known.

    files: what expand() gave, or paths. labelled: a label must be found for each record. rows: whole rows are wanted,
    no column is looked for, and files without rows are bad. unit: what a record of plain text is, if that is decided.
    Raises InputError for anything that cannot be read; with skip_bad it becomes a finding.
    """
    problems = problems or Problems(skip_bad)
    files = list(files)
    paths = [one for one in files if not isinstance(one, File)]
    opened = [one for one in files if isinstance(one, File)] + (expand(paths, problems) if paths else [])
    return Reading(opened, text, label, document, problems, labelled, rows, unit)


class Reading:
    """Records of some files, in order, as often as iterated; memory stays bounded.

    unit: "file", "block", "line" (of plain text), "part" (of one running text) or "row" (of tables).
    text_column, label_column: those of the first table, None without tables.
    running: one running text, of which the end is held out.
    """

    def __init__(self, files: list[File], text, label, document: str, problems: Problems, labelled: bool,
                 rows: bool = False, unit: str | None = None):  # fmt: skip
        self.wanted, self.labelled, self.rows = Columns(text, label), labelled, rows
        self.problems = problems
        self.files = self._without_empty(files)
        self.columns: dict[str, Columns] = {}
        self.refused: set[str] = set()  # names of tables that were found unreadable at the opening
        self.unit = unit or self._unit(document)
        self.running = self.unit == "part"
        self.text_column: str | None = None
        self.label_column: str | None = None
        self._look_at_tables()
        self._before = (list(problems.findings), Counter(problems.counts))

    @property
    def findings(self) -> list[Finding]:
        """What was noted so far: at the opening, and by the last iteration."""
        return self.problems.all()

    def __iter__(self) -> Iterator[Record]:
        self.problems.findings, self.problems.counts = list(self._before[0]), Counter(self._before[1])
        records = self.records()
        first = next(records, None)
        if first is None:
            raise InputError(_names(self.files) or "DATA", "nothing to read was found", "Give files that hold text.")
        yield first
        yield from records

    def records(self) -> Iterator[Record]:
        """As iterating, but adding to the findings, and without an error where there is nothing."""
        return chain.from_iterable(map(self._records, self.files))

    def _records(self, file: File) -> Iterator[Record]:
        if file.format == "text" and self.rows:
            return self.problems.bad(file.name, "is plain text, and rows are wanted", ROWS)
        if file.format == "text":
            label = file.label if self.label_column is None else None
            for where, text in _guarded(file, self.problems, self._documents):
                yield Record(text, label, where)
            return
        columns = self.columns.get(file.name) or (self._find(file) if file.name not in self.refused else None)
        if columns:
            for where, row in table(file, self.problems):
                self.problems.row = row
                yield from self._record(where, row, columns, file)
                self.problems.row = EMPTY

    def _documents(self, stream, file: File) -> Iterator[tuple[Where, str]]:
        kind = "file" if self.unit == "row" else self.unit
        return documents(pieces(stream, file.name, self.problems), kind, file.name, self.problems)

    def _record(self, where: Where, row: Mapping[str, Any], columns: Columns, file: File) -> Iterator[Record]:
        """The record of a row, or none after the problem was noted."""
        if self.rows:
            yield Record(str(row.get("text") or ""), None, where, row)
            return
        text, label = row.get(columns.text), row.get(columns.label) if columns.label else file.label
        if isinstance(row, Row):
            row.mark(where, columns.label)
        if not isinstance(text, str) or not text.strip():
            state = "empty" if text is None or isinstance(text, str) else "no text"
            self.problems.bad(where, f"`{columns.text}` is {state}", FILL_TEXT)
        elif self.labelled and (label is None or not str(label).strip()):
            what = f"`{columns.label}` is empty" if columns.label else "has no label"
            self.problems.bad(getattr(row, "label_at", None) or where, what, FILL_LABEL)
        else:
            yield Record(text.strip(), _label(label), where, row)

    def _without_empty(self, files: list[File]) -> list[File]:
        """Empty files are named and left out; if nothing is left, that is an error."""
        full = [file for file in files if file.size]
        for file in files:
            if not file.size and full:
                self.problems.note("warning", file.name, "is empty", "Remove it, or put its text in.")
        if files and not full:
            raise InputError(files[0].name, "is empty", "Give a file that holds text.")
        return full

    def _unit(self, document: str) -> str:
        kind = unit_of(self.files, document)
        return "line" if kind == "part" and self.labelled else kind

    def _look_at_tables(self) -> None:
        """The columns of the first table that has some; those before it are noted as bad, once."""
        for file in self.files:
            columns = self._find(file) if file.format != "text" else None
            if columns:
                self.text_column, self.label_column = columns
                return
            if file.format != "text":
                self.refused.add(file.name)

    def _find(self, file: File) -> Columns | None:
        """The columns of one table; those of the first table hold for the others, too."""
        quiet = Problems(skip=True)
        with closing(table(file, quiet)) as rows:
            sample = [row for _, row in islice(rows, SAMPLE)]
        if not sample:
            self._nothing_in(file, quiet)
            return None
        if self.rows:
            return self.columns.setdefault(file.name, Columns("", None))
        text, label = self.wanted.text or self.text_column, self.wanted.label or self.label_column
        try:
            columns = find_columns(sample, file.name, text, label, self.labelled and file.label is None)
        except InputError as error:
            self.problems.bad(error.where, error.what, error.do)
            return None
        self.columns[file.name] = columns
        return columns

    def _nothing_in(self, file: File, quiet: Problems) -> None:
        """A table without a row: the first thing that was wrong with it, or that it is empty."""
        for first in quiet.findings[:1]:
            return self.problems.bad(first.where, first.what, first.do)
        self.problems.bad(file.name, "has a header at most, and no rows", "Add rows, or leave the file out.")


def unit_of(files: list[File], document: str) -> str:
    """What one record is, by the number of text files and the beginnings of the first of them."""
    plain = [file for file in files if file.format == "text"]
    if not plain:
        return "row"
    look = plain[:MANY_FILES] if document == "auto" and len(plain) < MANY_FILES else plain[:1]
    found = layout([text for file in look for text in beginning(file)])
    return unit_in(found, len(plain) if len(plain) == len(files) else MANY_FILES, document)


def beginning(file: File) -> list[str]:
    """[the first piece of a text file, up to its last complete line]; [] where it cannot be read."""
    quiet = Problems(skip=True)
    with closing(_guarded(file, quiet, lambda stream, file: pieces(stream, file.name, quiet))) as found:
        return [piece.text for piece in islice(found, 1)]


def table(file: File, problems: Problems, media: bool = False) -> Generator[tuple[Where, dict[str, Any]], None, None]:
    """Rows of a table in any format, streamed; media: cells may hold pictures or recordings."""
    module = import_module(f"firth.data.{file.format}")
    options = {"media": True} if media and file.format == "parquet" else {}

    def rows(stream, file: File):
        decoded = stream if file.format in BYTES else pieces(stream, file.name, problems)
        return module.rows(decoded, file.name, problems, **options)

    return _guarded(file, problems, rows)


def _guarded(file: File, problems: Problems, make) -> Generator[Any, None, None]:
    """make(stream, file), with what can go wrong in a file or archive turned into a problem at its name."""
    try:
        with file.open() as stream:
            yield from make(stream, file)
    except archives.BROKEN as error:
        problems.bad(file.name, f"is damaged ({error})", archives.AGAIN)
    except archives.Bomb as error:
        problems.bad(file.name, str(error), archives.UNPACK)
    except OSError as error:
        problems.bad(file.name, f"cannot be read ({error.strerror})", RIGHTS.replace("FILE", str(file.path)))


def _names(files: list[File]) -> str:
    return files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "") if files else ""


def _label(value: Any) -> str | None:
    return None if value is None else label_of(value)
