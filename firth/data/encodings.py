"""Bytes → text, streamed: UTF-8, or what else the bytes say, named with the place of the first byte that is not UTF-8.

One pass: a file is UTF-8 until a byte says otherwise. If only ASCII came before it, the whole file is cp1252
(or latin-1); if UTF-8 letters came before it, or UTF-8 letters come after it, the file mixes two encodings.
"""

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

from firth.data.records import Problems, Where

CHUNK = 1 << 20  # bytes read at once
LINE_LIMIT = 16 << 20  # bytes; a longer line is refused, so that memory stays bounded
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip
MAGIC = {
    b"%PDF": "a PDF document", b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image",
    b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip-compressed", b"PAR1": "a parquet file",
    b"\x7fELF": "a program", b"RIFF": "a sound or video file", b"SQLite": "a database",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"BZh": "bzip2-compressed", b"\xfd7zXZ": "xz-compressed", b"(\xb5/\xfd": "zstd-compressed",
}  # fmt: skip
PAIRS = re.compile(rb"[\xc2\xc3][\x80-\xbf]|\xe2\x80[\x80-\xbf]")  # UTF-8 that would make no sense as cp1252: Ã©, â€™
TOO_LONG = f"the line is longer than {LINE_LIMIT >> 20} MiB"
CONTROLS = bytes(set(range(32)) - {7, 8, 9, 10, 12, 13, 27})
UNPACK = "Take the text out of it first, or leave this file out; --skip-bad leaves out all such files."
CONVERT = "Save the file as UTF-8: iconv -f CP1252 -t UTF-8 OLD > NEW converts one that is all of one kind."
BREAK = "Break it into lines, for example with: fold -s -w 4000 OLD > NEW"


class Piece(NamedTuple):
    """Whole lines of a file, with \\n line ends, and the number of the first."""

    text: str
    line: int


class Overlong(Exception):
    """A line is longer than LINE_LIMIT; becomes a problem where the file and line are known."""


def sniff(head: bytes) -> tuple[str, int]:
    """The encoding that the first bytes promise, and how many of them are a byte order mark."""
    for mark, name in BOMS.items():
        if head.startswith(mark):
            return name, len(mark)
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) >= 4 and max(even, odd) > 0.3 * len(head) / 2 and min(even, odd) < 0.05 * len(head) / 2:
        return ("utf-16-be" if even > odd else "utf-16-le"), 0
    return "utf-8", 0


def binary(head: bytes) -> str:
    """What a file is that is no text, by its first bytes; "" for text."""
    known = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")
    controls = len(head) - len(head.translate(None, CONTROLS))
    return known or ("binary data, not text" if 0 in head or controls > 0.1 * len(head) else "")


def pieces(stream, name: str, problems: Problems) -> Iterator[Piece]:
    """The text of a binary stream in pieces of whole lines, about CHUNK bytes each.

    Raises InputError at file:line:column for binary files, overlong lines and mixed encodings; with problems.skip
    the offending file ends there and the finding is kept.
    """
    head = stream.read(CHUNK)
    encoding, mark = sniff(head[: 1 << 16])
    if encoding.startswith(("utf-16", "utf-32")):
        problems.note("note", Where(name, 1, 1), f"is encoded as {encoding}, and is read as such")
        yield from _wide(stream, head[mark:], name, problems, encoding)
    elif kind := binary(head[: 1 << 16]):
        problems.bad(Where(name), f"is {kind}", UNPACK)
    else:
        if mark:
            problems.note("note", Where(name, 1, 1), "begins with a byte order mark (utf-8-sig), which is left out")
        yield from _bytes(stream, head[mark:], name, problems)


def _bytes(stream, head: bytes, name: str, problems: Problems) -> Iterator[Piece]:
    """UTF-8 or a one-byte encoding: cut at line ends as bytes, then decoded."""
    line, decoder = 1, Decoder(name, problems)
    try:
        for chunk in _whole_lines(stream, head):
            text = _newlines(decoder.decode(chunk, line))
            yield Piece(text, line)
            line += text.count("\n")
    except Overlong:
        problems.bad(Where(name, line, 1), TOO_LONG, BREAK)


def _whole_lines(stream, head: bytes) -> Iterator[bytes]:
    """Byte chunks that end at a line end (the last as it comes). Raises Overlong where there is none for long."""
    rest = b""
    while head:
        cut = _cut(head)
        if cut:
            yield rest + head[:cut] if rest else head[:cut]
            rest = head[cut:]
        else:
            rest += head
        if len(rest) > LINE_LIMIT:
            raise Overlong
        head = stream.read(CHUNK)
    if rest:
        yield rest


def _cut(chunk: bytes) -> int:
    """Where to cut: after the last \\n, or before the last lone \\r of a file that has no \\n."""
    return chunk.rfind(b"\n") + 1 or (chunk.rfind(b"\r", 0, -1) + 1 if b"\r" in chunk else 0)


def _newlines(text: str) -> str:
    """\\r\\n and \\r become \\n."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


class Decoder:
    """Chunks of one file → text; decides between UTF-8, cp1252 and latin-1 when a byte demands it."""

    def __init__(self, name: str, problems: Problems):
        self.name, self.problems = name, problems
        self.encoding = "utf-8"
        self.letters = False  # UTF-8 beyond ASCII has been seen

    def decode(self, chunk: bytes, line: int) -> str:
        """The text of a chunk that begins at `line`."""
        if self.encoding != "utf-8":
            return self._single(chunk, line)
        try:
            text = chunk.decode("utf-8")
        except UnicodeDecodeError as error:
            return self._switch(chunk, line, error.start)
        self.letters = self.letters or not chunk.isascii()
        return text

    def _switch(self, chunk: bytes, line: int, start: int) -> str:
        """The first byte that is not UTF-8: the file is in a one-byte encoding, or a mixture."""
        where = place(self.name, chunk, start, line)
        byte = f"byte 0x{chunk[start]:02X} is not UTF-8"
        if self.letters or not chunk[:start].isascii() or PAIRS.search(chunk, start):
            return self._mixed(chunk, where, f"{byte}, and other lines of the file are: two encodings are mixed")
        self.encoding = "cp1252" if _decodes(chunk, "cp1252") else "latin-1"
        self.problems.note("warning", where, f"{byte}; the file is read as {self.encoding}", CONVERT)
        return chunk.decode(self.encoding)

    def _single(self, chunk: bytes, line: int) -> str:
        if found := PAIRS.search(chunk):
            where = place(self.name, chunk, found.start(), line)
            return self._mixed(chunk, where, f"is UTF-8 here, but {self.encoding} before: two encodings are mixed")
        return chunk.decode(self.encoding if _decodes(chunk, self.encoding) else "latin-1")

    def _mixed(self, chunk: bytes, where: Where, what: str) -> str:
        """Ends the reading, or goes on with the lines that are UTF-8, the others left empty."""
        self.problems.bad(where, what, CONVERT)
        self.encoding, self.letters = "utf-8", True
        return b"\n".join(line if _decodes(line, "utf-8") else b"" for line in chunk.split(b"\n")).decode("utf-8")


def _decodes(chunk: bytes, encoding: str) -> bool:
    try:
        chunk.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def place(name: str, chunk: bytes, start: int, line: int) -> Where:
    """file:line:column of byte `start` of a chunk that begins at `line`; columns count characters."""
    before = chunk[:start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    last = before[before.rfind(b"\n") + 1 :]
    return Where(name, line + before.count(b"\n"), len(last.decode("utf-8", "replace")) + 1)


def _wide(stream, head: bytes, name: str, problems: Problems, encoding: str) -> Iterator[Piece]:
    """UTF-16 and UTF-32: decoded first, then cut at line ends."""
    decoder, rest, line = codecs.getincrementaldecoder(encoding)(), "", 1
    while head:
        following = stream.read(CHUNK)
        try:
            text = rest + decoder.decode(head, final=not following)
        except UnicodeDecodeError as error:
            where = Where(name, line + rest.count("\n"))
            return problems.bad(where, f"is no valid {encoding}: {error.reason}", CONVERT)
        cut = text.rfind("\n") + 1 if following else len(text)
        ready, rest, head = _newlines(text[:cut]), text[cut:], following
        if ready:
            yield Piece(ready, line)
        line += ready.count("\n")
        if len(rest) > LINE_LIMIT:
            return problems.bad(Where(name, line, 1), TOO_LONG, BREAK)
