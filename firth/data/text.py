"""Plain text → documents: a file, a blank-line block, a line, or a part of one running text."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from firth.data.encodings import Piece
from firth.data.records import Problems, Where

BLANK = re.compile(r"\n[ \t\f\v\xa0]*\n")  # the end of a line and an empty one
LIMIT = 16 << 20  # characters; a longer document is cut into parts
PART = 1 << 20  # characters of such a part
RUNNING_PART = 1 << 14  # characters of a part of a running text
MANY_FILES = 20  # so many files or more: each is one document


class Layout(NamedTuple):
    """What the beginning of some text files looks like."""

    lines: int = 0  # that are not blank
    blocks: int = 0  # parted by blank lines
    largest: float = 0.0  # share of the characters in the largest block
    wrapped: float = 0.0  # share of the lines that end near one width, as in prose with line ends put in

    @property
    def has_blocks(self) -> bool:
        """Blank lines part the text into documents, and are no accident."""
        return self.blocks >= 2 and (self.blocks >= 20 or 200 * self.blocks >= self.lines)

    @property
    def runs(self) -> bool:
        """One text from beginning to end: prose with line ends put in, or one block that outweighs all others."""
        return (self.largest > 0.9 and self.wrapped > 0.5) or self.lines < 5


def layout(samples: list[str]) -> Layout:
    """The layout of the beginnings of files, each without its last, incomplete line."""
    blocks = [block.strip() for text in samples for block in BLANK.split(text) if block.strip()]
    lines = [line for block in blocks for line in block.split("\n") if line.strip()]
    total = sum(map(len, blocks))
    return Layout(len(lines), len(blocks), max(map(len, blocks), default=0) / max(total, 1), _wrapped(lines))


def _wrapped(lines: list[str]) -> float:
    """Share of lines within 15 characters of the usual longest line, where that is at most 120 characters."""
    lengths = sorted(map(len, lines))
    usual = lengths[int(0.95 * len(lengths))] if lengths else 0
    near = sum(usual - 15 <= length <= usual for length in lengths)
    return near / len(lengths) if lengths and 40 <= usual <= 120 else 0.0


def unit(found: Layout, files: int, document: str) -> str:
    """What a document is: file, block, line, or part (of a running text); `document`: the person's word, or auto."""
    if document == "file" or (document == "auto" and files >= MANY_FILES):
        return "file" if files > 1 else "part"
    if document == "auto" and files == 1 and found.runs and (found.largest > 0.9 or not found.has_blocks):
        return "part"
    return document if document != "auto" else "block" if found.has_blocks else "line"


def documents(pieces: Iterable[Piece], unit: str, name: str, problems: Problems) -> Iterator[tuple[Where, str]]:
    """The documents of one file and where they begin, without blank edges; empty ones are passed over."""
    for line, text in UNITS[unit](pieces):
        if len(text) > LIMIT:
            yield from _cut(line, text, name, problems)
        elif body := text.strip():
            yield Where(name, line + _leading(text), 1), body


def _cut(line: int, text: str, name: str, problems: Problems) -> Iterator[tuple[Where, str]]:
    """A document that is too long, in parts."""
    problems.note("warning", Where(name, line), f"a document of {len(text):,} characters is cut into parts",
                  "If it is several documents, part them by blank lines.")  # fmt: skip
    for start, part in parts(text, PART):
        if body := part.strip():
            yield Where(name, line + text.count("\n", 0, start) + _leading(part), 1), body


def _leading(text: str) -> int:
    """The number of line ends before the first character that is not blank."""
    return text.count("\n", 0, len(text) - len(text.lstrip())) if text[:1].isspace() else 0


def _lines(pieces: Iterable[Piece]) -> Iterator[tuple[int, str]]:
    for piece in pieces:
        yield from enumerate(piece.text.split("\n"), piece.line)


def _blocks(pieces: Iterable[Piece]) -> Iterator[tuple[int, str]]:
    """Cut at blank lines; a block longer than the limit is handed on in what has been read of it."""
    rest, line = "", 1
    for piece in pieces:
        text, start = rest + piece.text, 0
        for blank in BLANK.finditer(text):
            yield line, text[start : blank.start()]
            line += text.count("\n", start, blank.end())
            start = blank.end()
        rest = text[start:]
        if len(rest) > LIMIT:
            yield line, rest
            line, rest = line + rest.count("\n"), ""
    yield line, rest


def _whole(pieces: Iterable[Piece]) -> Iterator[tuple[int, str]]:
    """The whole file, in stretches of a little over the limit if it is longer."""
    held, size, line = [], 0, 1
    for piece in pieces:
        held.append(piece.text)
        size += len(piece.text)
        if size > LIMIT:
            text = "".join(held)
            yield line, text
            held, size, line = [], 0, line + text.count("\n")
    yield line, "".join(held)


def _running(pieces: Iterable[Piece]) -> Iterator[tuple[int, str]]:
    """Parts of one text, in order, cut at line ends."""
    for piece in pieces:
        line = piece.line
        for _, part in parts(piece.text, RUNNING_PART):
            yield line, part
            line += part.count("\n")


def parts(text: str, size: int) -> Iterator[tuple[int, str]]:
    """Offset and text of parts of at most `size` characters, cut after a line end, else after a space."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            middle = start + size // 2
            end = text.rfind("\n", middle, end) + 1 or text.rfind(" ", middle, end) + 1 or end
        yield start, text[start:end]
        start = end


UNITS = {"file": _whole, "block": _blocks, "line": _lines, "part": _running}
