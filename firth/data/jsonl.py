"""JSON lines: one object a line."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from firth.data.encodings import Piece
from firth.data.records import Problems, Where
from firth.data.row import Row

ONE_A_LINE = "Write one JSON object a line; --skip-bad leaves out the lines that are none."
ARRAY = "Turn the array into lines with: jq -c '.[]' OLD.json > NEW.jsonl"


def rows(pieces: Iterable[Piece], name: str, problems: Problems) -> Iterator[tuple[Where, Row]]:
    """Each line's object and its place. A line that is no object is a bad row."""
    for piece in pieces:
        for number, line in enumerate(piece.text.split("\n"), piece.line):
            if not line or line.isspace():
                continue
            if number == 1 and line.lstrip().startswith("["):
                return problems.bad(Where(name, 1, 1), "is one JSON array, not one object a line", ARRAY)
            row = _object(line, Where(name, number, 1), problems)
            if row is not None:
                yield Where(name, number, 1), Row(row.items(), line, place_of)


def place_of(row: Row, where: Where, column: str) -> Where:
    """Where the value of a key begins; the beginning of the line where that would take a second parsing.

    In JSON every quote inside a string has a backslash before it, and after the end of one comes no letter: what looks
    like a key that begins with a letter is one. If the key stands twice (in an inner object, too), it is not told.
    """
    names = "|".join(re.escape(json.dumps(column, ensure_ascii=ascii)) for ascii in (True, False))
    found = [match.end() for match in re.finditer(rf"(?<!\\)(?:{names})\s*:\s*", row.raw or "")]
    return where._replace(column=found[0] + 1) if len(found) == 1 and column[:1].isalpha() else where


def _object(line: str, where: Where, problems: Problems) -> dict[str, Any] | None:
    """The object in a line, or None after the problem was noted."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        where = where._replace(column=getattr(error, "colno", 1))
        problems.bad(where, f"is no valid JSON: {getattr(error, 'msg', 'nested too deeply')}", ONE_A_LINE)
        return None
    if isinstance(row, dict):
        return row
    problems.bad(where, "is JSON, but no object", ONE_A_LINE)
    return None
