"""Words with tags: CoNLL-U (ten columns), and files of two or more columns, word first and tag last.

CoNLL-U: universaldependencies.org/format.html. Of its ten columns the word, UPOS and XPOS are read; ranges of
multiword tokens (1-2) and empty nodes (1.1) are no words. Files of columns: CoNLL-2003 (Tjong Kim Sang and
De Meulder 2003, section 2.2) and its many kin. A sentence ends at a blank line.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from firth.data.encodings import Piece
from firth.data.records import Problems, Where

FIELDS = 10  # columns of CoNLL-U
MOST = 100_000  # lines of one sentence, so that memory stays bounded
ID = re.compile(r"\d+")
NO_WORD = re.compile(r"\d+[-.]\d+")
COMMENT = re.compile(r"#\s*[\w:.-]+(\s+id)?\s*=|#\s*newdoc\s*$|#\s*newpar\s*$")
SKIP = "--skip-bad leaves out such sentences."
COLUMNS = f"Put a tag beside each word, and a blank line between sentences; {SKIP}"
TEN = f"Write ten columns with tabs between them (a file of words and tags ends in .conll); {SKIP}"
BLANK = f"Put a blank line between sentences; {SKIP}"


class Line(NamedTuple):
    """One line of a sentence, and its number."""

    number: int
    text: str


class Form(NamedTuple):
    """How a file of columns is written."""

    columns: int
    separator: str | None  # None: any run of blanks

    def cells(self, text: str) -> list[str]:
        """The columns of a line; empty ones at its end are none."""
        cells = text.split(self.separator)
        while cells and not cells[-1].strip():
            cells.pop()
        return cells


def rows(pieces: Iterable[Piece], name: str, problems: Problems) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Each sentence and the place of its first line; memory holds one sentence.

    CoNLL-U: {"words", "upos", "xpos", "text"}; other files: {"words", "tags", "text"}. The lists of a row are equally
    long. `text` is the `# text =` of CoNLL-U, or the words with blanks between them. A sentence with a line of
    another number of columns is a bad row.
    """
    form = None
    for block in sentences(pieces, name, problems):
        form = form or decide(block, name)
        read = _universal if form.columns == FIELDS and form.separator == "\t" else _columns
        row = read(block, form, name, problems)
        if row is not None:
            yield Where(name, block[0].number, 1), row


def sentences(pieces: Iterable[Piece], name: str, problems: Problems) -> Iterator[list[Line]]:
    """Blocks of lines between blank lines; one that does not end for long is a bad row."""
    block: list[Line] = []
    dropped = False
    for line in lines(pieces):
        if not line.text.strip():
            if block:
                yield block
            block, dropped = [], False
        elif not dropped:
            block.append(line)
            if len(block) > MOST:
                where = Where(name, block[0].number, 1)
                problems.bad(where, f"a sentence of more than {MOST:,} lines begins here", BLANK)
                block, dropped = [], True
    if block:
        yield block


def lines(pieces: Iterable[Piece]) -> Iterator[Line]:
    for piece in pieces:
        for number, text in enumerate(piece.text.removesuffix("\n").split("\n"), piece.line):
            yield Line(number, text)


def decide(block: list[Line], name: str) -> Form:
    """The form of a file by its name and first sentence; Form(10, tab) is CoNLL-U."""
    universal = Form(FIELDS, "\t")
    text = next((line.text for line in block if not line.text.startswith("#")), block[0].text)
    cells = text.split("\t")
    numbered = len(cells) == FIELDS and (ID.fullmatch(cells[0]) or NO_WORD.fullmatch(cells[0]))
    if ".conllu" in name.lower() or numbered:
        return universal
    separator = "\t" if "\t" in text else None
    return Form(max(len(Form(0, separator).cells(text)), 2), separator)


def _universal(block: list[Line], form: Form, name: str, problems: Problems) -> dict[str, Any] | None:
    """The row of a CoNLL-U sentence, or None without words or after the problem was noted."""
    words: list[str] = []
    upos: list[str] = []
    xpos: list[str] = []
    surface = Surface()
    for number, text in block:
        if text.startswith("#"):
            surface.comment(text)
            continue
        cells = text.split("\t")
        if wrong := _not_universal(cells, text):
            problems.bad(Where(name, number, wrong[0]), wrong[1], TEN)
            return None
        surface.add(cells)
        if ID.fullmatch(cells[0]):
            words.append(cells[1])
            upos.append(cells[3])
            xpos.append(cells[4])
    return {"words": words, "upos": upos, "xpos": xpos, "text": surface.text()} if words else None


def _not_universal(cells: list[str], text: str) -> tuple[int, str] | None:
    """(column, what is wrong) of a line of CoNLL-U, or None."""
    if len(cells) != FIELDS:
        return _surplus(text, "\t", FIELDS), f"{_count(len(cells), 'column')} where CoNLL-U has {FIELDS}"
    if not (ID.fullmatch(cells[0]) or NO_WORD.fullmatch(cells[0])):
        return 1, f"the line begins with `{cells[0]}`, not with the number of a word"
    empty = next((i for i in (1, 3) if not cells[i].strip()), None)
    return (len("\t".join(cells[:empty])) + 2, f"column {empty + 1} is empty") if empty else None


class Surface:
    """The text of a CoNLL-U sentence: its comment, or its words, with blanks but where SpaceAfter=No."""

    def __init__(self) -> None:
        self.said = ""
        self.parts: list[str] = []
        self.until = 0  # last word that the range before covers

    def comment(self, text: str) -> None:
        key, _, value = text.lstrip("# \t").partition("=")
        if key.strip() == "text":
            self.said = value.strip()

    def add(self, cells: list[str]) -> None:
        first, _, last = cells[0].partition("-")
        if "." in first or (not last and int(first) <= self.until):
            return
        self.until = int(last) if last else self.until
        self.parts += [cells[1], "" if "SpaceAfter=No" in cells[9].split("|") else " "]

    def text(self) -> str:
        return self.said or "".join(self.parts).strip()


def _columns(block: list[Line], form: Form, name: str, problems: Problems) -> dict[str, Any] | None:
    """The row of a sentence in columns, or None without words or after the problem was noted."""
    words: list[str] = []
    tags: list[str] = []
    wrong: tuple[Line, int] | None = None  # the first line of another number of columns, and that number
    for line in block:
        cells = form.cells(line.text)
        if cells[0] == "-DOCSTART-" or (not words and _is_comment(line.text, len(cells), form)):
            continue
        words.append(cells[0])
        if len(cells) == form.columns and cells[0].strip():
            tags.append(cells[-1].strip())
        else:
            wrong = wrong or (line, len(cells))
    if wrong:
        _unequal(wrong, len(words), len(tags), form, name, problems)
        return None
    return {"words": words, "tags": tags, "text": " ".join(words)} if words else None


def _is_comment(text: str, cells: int, form: Form) -> bool:
    """`# id = 7` is a comment above a sentence; `# O` and `#tag O` are words."""
    return text.startswith("#") and (cells != form.columns or COMMENT.match(text) is not None)


def _unequal(wrong: tuple[Line, int], words: int, tags: int, form: Form, name: str, problems: Problems) -> None:
    """Notes a line with too few or too many columns; too few leave a word without its tag."""
    line, cells = wrong
    if cells == form.columns:
        return problems.bad(Where(name, line.number, 1), "the word is empty", COLUMNS)
    what = f"{_count(cells, 'column')} where the file has {form.columns}"
    if cells < form.columns:
        what = f"{_count(words, 'word')} and {_count(tags, 'tag')}: {what}"
    problems.bad(Where(name, line.number, _surplus(line.text, form.separator, form.columns)), what, COLUMNS)


def _surplus(text: str, separator: str | None, columns: int) -> int:
    """The column (from 1) of the first cell too many, or the end of a line with too few."""
    found = [match.start() for match in re.finditer(r"\S+", text)]
    if separator:
        found = [0, *(match.end() for match in re.finditer(re.escape(separator), text))]
    return (found[columns] if len(found) > columns else len(text.rstrip())) + 1


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)
