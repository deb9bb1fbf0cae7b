"""Cells of a table: several labels in one, found by content as a list or by a separator; text that is no formula."""

import ast
import json
import re
from collections.abc import Iterable, Sequence

ONE = "none"  # each cell is one label
LIST = "list"  # cells are lists, of JSON or parquet or written out as ["a", "b"], or one label
SEPARATORS = ("|", ";", ",")  # that are found by content
LONGEST = 40  # characters of a label
WHOLE = re.compile(r"-?\d{1,100}")
FORMULA = re.compile(r"[=+\-@＝＋－＠\t\r\n](?!\s*$)")  # the beginning of what a spreadsheet may run; no sign alone
MARKED = re.compile(rf"'+(?={FORMULA.pattern})")
NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?\s?%?", re.IGNORECASE)
DECIMAL = re.compile(r"[-+]?\d+(,\d+)?")  # 3,5: a number, not two labels


def separator_of(cells: Iterable[str]) -> str:
    """What stands between labels in the cells of a column: LIST, one of SEPARATORS, or ONE."""
    distinct = {cell.strip() for cell in cells} - {""}
    lists = {cell for cell in distinct if listed(cell) is not None}
    otherwise = LIST if lists else ONE
    return next((mark for mark in SEPARATORS if separates(mark, distinct - lists)), otherwise)


def separates(mark: str, cells: Iterable[str]) -> bool:
    """Whether cutting the different cells of a column at the mark leaves no more different labels than cells.

    So it is where labels come again in other company (a, b, a|b), and is not for names that hold the mark themselves
    (`Arts, crafts` and `Bed, bath`).
    """
    cells = list(cells)
    labels = {label for cell in cells for label in cut(cell, mark)}
    if not any(mark in cell for cell in cells) or (mark == "," and all(map(DECIMAL.fullmatch, cells))):
        return False
    return len(labels) <= len(cells) and max(map(len, labels), default=0) <= LONGEST


def labels_in(cell: str, separator: str) -> tuple[str, ...]:
    """The labels of a cell, by name, each once; `[]` is none of them, whatever the separator."""
    found = listed(cell)
    if found is None:
        found = [cell.strip()] if separator in (ONE, LIST) else cut(cell, separator)
    return tuple(sorted(set(found)))


def cut(cell: str, mark: str) -> list[str]:
    return [part.strip() for part in cell.split(mark) if part.strip()]


def listed(cell: str) -> list[str] | None:
    """The items of a list that is written out as JSON or Python have it; None for anything else."""
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        plain = isinstance(found, list) and all(isinstance(one, str | int | float) for one in found)
        return [label_of(one) for one in found] if plain else None
    return None


def label_of(value: object) -> str:
    """A label as a string: 1.0 is "1", blanks at the edges are dropped, and the mark of `as_text`; a list is written
    out."""
    if isinstance(value, list | tuple):
        return json.dumps(list(value), ensure_ascii=False)
    return unmarked(str(int(value) if isinstance(value, float) and value.is_integer() else value).strip())


def as_text(cell: str) -> str:
    """A cell that no spreadsheet runs: what begins as a formula, and is no number, with a quote before it, as OWASP
    advises against CSV injection."""
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unmarked(cell: str) -> str:
    """The cell without that quote."""
    return MARKED.sub("", cell, count=1) if cell.startswith("'") else cell


def ordered(names: Iterable[str]) -> list[str]:
    """Labels by number where all are whole numbers, else by name; equal numbers, such as 1 and 01, by name."""
    found = sorted(names)
    return sorted(found, key=int) if all(map(WHOLE.fullmatch, found)) else found


def described(separator: str) -> str:
    """How several labels stand in a column, for people."""
    return "several labels a text, " + ("as lists" if separator == LIST else f"separated by `{separator}`")


def joined(labels: Sequence[str]) -> str:
    """Several labels as people read them."""
    return ", ".join(labels)
