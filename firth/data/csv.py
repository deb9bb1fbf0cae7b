"""Comma-, semicolon- and tab-separated tables; the content of each file decides on separator, quoting and header."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, dropwhile
from typing import NamedTuple

from firth.data.encodings import LINE_LIMIT, Piece
from firth.data.records import Problems, Where
from firth.data.row import Row

SEPARATORS = "\t,;|"
MOST = 2000  # lines of the sample
EVEN = 0.95  # share of equally long rows that shows that quotes are only characters
SPAN = 1000  # lines that one quoted cell may take
SIGN = re.compile(r"\s*sep=(.)[ \t]*(?:\n|$)", re.IGNORECASE)  # a first line by which Excel knows the separator
CLOSE = 'Close the quote, or write a quote inside a cell twice ("").'
CELLS = "Put cells that hold the separator in quotes; --skip-bad leaves out such rows."


class Dialect(NamedTuple):
    """How one file is written."""

    separator: str
    quoted: bool  # a cell that begins with " is in quotes
    header: list[str]
    headed: bool  # the first line is the header


def rows(pieces: Iterable[Piece], name: str, problems: Problems) -> Iterator[tuple[Where, Row]]:
    """Each row as column → cell, and its place."""
    pieces = dropwhile(lambda piece: piece.text.isspace(), pieces)
    first = next(pieces, None)
    if first is None:
        return
    if not unsigned(first.text).strip():
        return
    dialect, first = decide(first.text, name), first._replace(text=unsigned(first.text))
    if not dialect.headed:
        columns = ", ".join(dialect.header)
        problems.note("note", Where(name, 1), f"has no header line; the columns are called {columns}",
                      "Write a first line with the names of the columns, for example: text,label")  # fmt: skip
    cells = (quoted if dialect.quoted else plain)(chain([first], pieces), dialect.separator, name, problems)
    place = partial(place_of, dialect)
    if dialect.headed:
        next(cells)
    for where, row, raw in cells:
        if len(row) == len(dialect.header):
            yield where, Row(zip(dialect.header, row, strict=True), raw, place)
        else:
            problems.bad(where, f"{_count(len(row))} where the header has {len(dialect.header)}", CELLS)


def _count(cells: int) -> str:
    return f"{cells} cell" + "s" * (cells != 1)


Cells = tuple[Where, list[str], str | None]  # a row: its place, its cells, and its lines where it holds quotes


def plain(pieces: Iterable[Piece], separator: str, name: str, problems: Problems) -> Iterator[Cells]:
    """No quoting: a line is a row, whatever quote characters it holds."""
    for piece in pieces:
        for number, line in enumerate(piece.text.split("\n"), piece.line):
            if line and not line.isspace():
                yield Where(name, number, 1), line.split(separator), None


def quoted(pieces: Iterable[Piece], separator: str, name: str, problems: Problems) -> Iterator[Cells]:
    """Cells in quotes may hold separators and line ends. A quote that stays open is a bad row, named where it opens."""
    lines = Lines(pieces)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.begin, lines.taken, begin = lines.number, [], lines.number + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = str(error).replace("unexpected end of data", "a quote is opened here and never closed")
            problems.bad(Where(name, begin, 1), f"is no valid row: {what}", CLOSE)
            continue
        if any(cell.strip() for cell in row):
            raw = "".join(lines.taken)
            yield Where(name, begin, 1), row, raw if '"' in raw else None


def place_of(dialect: Dialect, row: Row, where: Where, column: str) -> Where:
    """Where the cell of a column begins, its quote included; the row begins at `where`."""
    number = dialect.header.index(column)
    if row.raw is None:
        return where._replace(column=1 + sum(len(row[name]) + 1 for name in dialect.header[:number]))
    cell, start = re.compile(f'"[^"]*(?:""[^"]*)*"|[^{re.escape(dialect.separator)}\n]*'), 0
    for _ in range(number):
        found = cell.match(row.raw, start)
        start = found.end() + 1 if found else start
    line, break_ = row.raw.count("\n", 0, start), row.raw.rfind("\n", 0, start)
    return where._replace(line=where.line + line, column=start - break_)


class OpenQuote(csv.Error):
    """A cell in quotes goes on for too long; becomes a bad row where it opens."""

    def __str__(self) -> str:
        return f"a quote is opened here and not closed within {SPAN:,} lines"


class Lines:
    """The lines of pieces, numbered; stops a quoted cell from swallowing the rest of the file."""

    def __init__(self, pieces: Iterable[Piece]):
        self.lines = (line for piece in pieces for line in piece.text.removesuffix("\n").split("\n"))
        self.number = self.begin = 0
        self.taken: list[str] = []  # since the row began

    def __iter__(self):
        return self

    def __next__(self) -> str:
        if self.number - self.begin >= SPAN:
            raise OpenQuote
        self.number += 1
        self.taken.append(next(self.lines) + "\n")
        return self.taken[-1]


def decide(sample: str, name: str = "") -> Dialect:
    """The dialect by the first piece of a file: what gives every row the same number of cells."""
    csv.field_size_limit(LINE_LIMIT)  # of the process; the standard library has no other place for it
    sign = SIGN.match(sample)
    lines = [line for line in unsigned(sample).split("\n", MOST)[:MOST] if line.strip()]
    separator = sign[1] if sign else _separator(lines, name)
    is_quoted = _is_quoted(lines, separator)
    table = _parse(lines, separator) if is_quoted else [line.split(separator) for line in lines]
    headed = _is_header(table)
    return Dialect(separator, is_quoted, _names(table[0], headed), headed)


def unsigned(sample: str) -> str:
    """The text with its first line empty where that only names the separator, so that the others keep their numbers."""
    sign = SIGN.match(sample)
    return "\n" * sign[0].count("\n") + sample[sign.end() :] if sign else sample


def _separator(lines: list[str], name: str) -> str:
    """The separator that parts the header and most lines; a .tsv with tabs needs no vote."""
    if "\t" in lines[0] and ".tsv" in name.lower():
        return "\t"
    votes = {mark: sum(mark in line for line in lines) for mark in SEPARATORS if mark in lines[0]}
    return max(votes, key=lambda mark: (votes[mark], -SEPARATORS.index(mark))) if votes else ","


def _is_quoted(lines: list[str], separator: str) -> bool:
    """Whether quotes at the edges of cells are signs, not characters of the text."""
    cells = [cell for line in lines for cell in line.split(separator)]
    if not any(cell.startswith('"') for cell in cells):
        return separator != "\t"
    return _reads_as_quoted(lines, separator) or _widths(line.split(separator) for line in lines) < EVEN


def _reads_as_quoted(lines: list[str], separator: str) -> bool:
    """No quote is out of place, and every row has the same number of cells; the sample may end inside a cell."""
    table = []
    try:
        for row in csv.reader((line + "\n" for line in lines), delimiter=separator, strict=True):
            table.append(row)
    except csv.Error as error:
        if "end of data" not in str(error) or len(lines) < MOST:
            return False
    return bool(table) and _widths(table) == 1.0


def _widths(table: Iterable[list[str]]) -> float:
    """Share of the rows that have the most frequent number of cells."""
    counts = Counter(map(len, table))
    return max(counts.values()) / sum(counts.values())


def _parse(lines: list[str], separator: str) -> list[list[str]]:
    """The rows of the sample; what the cut-off end makes of the last one does not matter."""
    return [row for row in csv.reader((line + "\n" for line in lines), delimiter=separator) if row]


def _is_header(table: list[list[str]]) -> bool:
    """Short, distinct, wordy names, none of which comes again below."""
    first, below = table[0], table[1:]
    if len(set(first)) < len(first) or any(not _is_name(cell) for cell in first):
        return False
    again = [cell for column, cell in enumerate(first) for row in below if column < len(row) and row[column] == cell]
    return not again


def _is_name(cell: str) -> bool:
    return 0 < len(cell.strip()) <= 40 and len(cell.split()) <= 4 and not cell.replace(".", "").strip("+-").isdigit()


def _names(first: list[str], headed: bool) -> list[str]:
    return [cell.strip() for cell in first] if headed else [f"column{i}" for i in range(1, len(first) + 1)]
