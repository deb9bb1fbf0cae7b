"""Files of gold answers and of predictions that any tool wrote: rows, the column in question, which rows belong."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from firth.data import squad
from firth.data.columns import describe, holds_several, is_label
from firth.data.encodings import CHUNK
from firth.data.files import File, expand
from firth.data.readers import read, table
from firth.data.records import Problems, Where
from firth.errors import InputError, count, did_you_mean
from firth.functional.cells import label_of, unmarked

SHOWN = 20  # names listed in a message
ANSWERS = 'Write {"ID": "ANSWER", …}, or one object a line: {"id": "ID", "answer": "ANSWER"}.'


class Row(NamedTuple):
    """One row of a file, and its place."""

    where: Where
    fields: Mapping[str, Any]


class Options(NamedTuple):
    """What a person may say about the two files."""

    label: str | None  # column of the gold answers
    predicted: str | None  # column of the predictions
    classes: tuple[str, ...]  # that may be predicted though the gold file has none of them
    numbers: bool | None  # pairs: the labels are numbers, not classes; None: by content
    separator: str | None = None  # between several labels in a cell; None: by content
    tables: Mapping[str, Any] = {}  # settings of tasks


class Given(NamedTuple):
    """The rows of what a person gave, and its name."""

    name: str
    rows: list[Row]


def open_rows(path: str | Path) -> Given:
    """Rows of tables, JSON lines, CoNLL-U, SQuAD JSON; plain text is one answer a line, the column `label`.

    Raises InputError for what cannot be read or is empty.
    """
    rows = [row for file in expand([path]) for row in rows_of(file)]
    if not rows:
        raise InputError(path, "holds no answers", "Give a file with one answer a row.")
    return Given(str(path), rows)


def rows_of(file: File) -> list[Row]:
    if file.format == "text":
        return [Row(record.where, {"label": record.text}) for record in read([file], document="line")]
    if not file.size:
        raise InputError(file.name, "is empty", "Give a file with one answer a row.")
    return [Row(where, {name: said(cell) for name, cell in row.items()}) for where, row in table(file, Problems())]


def said(cell: Any) -> Any:
    """A cell as it was before it was kept from being run by a spreadsheet."""
    return unmarked(cell) if isinstance(cell, str) else cell


def open_answers(path: str | Path) -> Given:
    """As open_rows, but a .json is one object of answers by id, as SQuAD's evaluation script takes it."""
    rows = [row for file in expand([path]) for row in (answers_of(file) if file.format == "squad" else rows_of(file))]
    if not rows:
        raise InputError(path, "holds no answers", ANSWERS)
    return Given(str(path), rows)


def answers_of(file: File) -> list[Row]:
    """{"ID": "ANSWER"} → rows with `id` and `answer`; JSON lines as they are. Raises InputError for anything else."""
    with file.open() as stream:
        head = stream.read(CHUNK)
        text = None if squad.is_lines(head) else squad.whole(head, stream, file.name, Problems())
    if text is None:
        return rows_of(file)
    try:
        tree = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = Where(file.name, getattr(error, "lineno", 1), getattr(error, "colno", 1))
        raise InputError(where, f"is no valid JSON: {getattr(error, 'msg', 'nested too deeply')}", ANSWERS) from None
    if not isinstance(tree, dict):
        raise InputError(file.name, "is JSON, but no object of answers by id", ANSWERS)
    for id, answer in tree.items():
        if not isinstance(answer, str | None):
            raise InputError(file.name, f"the answer of `{id}` is no text", ANSWERS)
    return [Row(Where(file.name), {"id": id, "answer": answer}) for id, answer in tree.items()]


def find_column(given: Given, option: str, wanted: str | None, usual: Iterable[str]) -> str:
    """The column that holds the answers: the wanted one, else a usual name, else the only one that it can be.

    option: what a person types to name it. Raises InputError where it cannot be told.
    """
    there = list(dict.fromkeys(name for row in given.rows for name in row.fields))
    listed = ", ".join(f"`{name}`" for name in there)
    if wanted is not None:
        if wanted in there:
            return wanted
        hint = f"{did_you_mean(wanted, there)}{option} can be {listed}."
        raise InputError(given.name, f"has no column `{wanted}`", hint)
    lower = {name.lower(): name for name in reversed(there)}
    named = [lower[name] for name in usual if name in lower]
    fitting = named[:1] or _fitting(given, [name for name in there if name.lower() != "id"])
    if len(fitting) == 1:
        return fitting[0]
    what = " and ".join(f"`{name}`" for name in fitting) + " look like labels" if fitting else ""
    hint = f"Name it: {option} can be {listed}."
    raise InputError(given.name, what or "no column looks like a label", hint)


def _fitting(given: Given, names: list[str]) -> list[str]:
    if len(names) == 1:
        return names
    cells = {name: [row.fields.get(name) for row in given.rows] for name in names}
    return [name for name in names if is_label(describe(name, cells[name])) or holds_several(name, cells[name])]


def cell(row: Row, column: str) -> Any:
    """A cell that is filled. Raises InputError at its row."""
    value = row.fields.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError(row.where, f"`{column}` is empty", "Fill it in; what is not known is wrong, not left out.")
    return value


def align(gold: Given, said: Given, texts: bool = True) -> list[tuple[Row, Row]]:
    """Gold rows in their order, each with its prediction: by `id` where every row of both has one, else by place.

    texts: rows by place must have the same `text` where both have one.
    Raises InputError for unequal numbers, ids that are unknown, missing or there twice, and texts that differ.
    """
    if has_ids(gold) and has_ids(said):
        true, answers = by_id(gold), by_id(said)
        refuse_unknown(gold, true, answers)
        missing = [id for id in true if id not in answers]
        if missing:
            what = f"{len(missing):,} of {len(true):,} ids have no prediction: {listing(missing)}"
            raise InputError(said.name, what, "Predict them, too; what is not known is wrong, not left out.")
        return [(row, answers[id]) for id, row in true.items()]
    if len(gold.rows) != len(said.rows):
        what = f"{count(len(said.rows), 'prediction')} for the {count(len(gold.rows), 'row')} of {gold.name}"
        hint = f"Give one prediction per row, in the order of {gold.name}, or give both a column `id`."
        raise InputError(said.name, what, hint)
    pairs = list(zip(gold.rows, said.rows, strict=True))
    for row, answer in pairs if texts else ():
        _same_text(row, answer)
    return pairs


def _same_text(gold: Row, said: Row) -> None:
    """Raises InputError where both rows have a `text`, and not the same."""
    texts = [row.fields.get("text") for row in (gold, said)]
    plain = [" ".join(text.casefold().split()) for text in texts if isinstance(text, str)]
    if len(plain) == 2 and plain[0] != plain[1]:
        hint = "Keep the predictions in the order of the gold file, or give both a column `id`."
        raise InputError(said.where, f"`text` is not that of {gold.where}", hint)


def has_ids(given: Given) -> bool:
    return all(row.fields.get("id") not in (None, "") for row in given.rows)


def by_id(given: Given) -> dict[str, Row]:
    """The rows by their ids. Raises InputError for an id that is there twice."""
    found: dict[str, Row] = {}
    for row in given.rows:
        id = label_of(row.fields["id"])
        if id in found:
            raise InputError(row.where, f"the id `{id}` is there twice", "Keep one row of each id.")
        found[id] = row
    return found


def refuse_unknown(gold: Given, true: Mapping[str, Row], answers: Mapping[str, Row]) -> None:
    """Raises InputError for a prediction that nobody asked for."""
    unknown = next((id for id in answers if id not in true), None)
    if unknown is not None:
        hint = f"{did_you_mean(unknown, true)}Score predictions for this gold file, or take out the others."
        raise InputError(answers[unknown].where, f"the id `{unknown}` is not in {gold.name}", hint)


def listing(names: Sequence[str], shown: int = SHOWN) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(f"`{name}`" for name in names[:shown]) + more


def number_of(
    row: Row, column: str, what: str = "no number", do: str = "Write a number, with a point, not a comma."
) -> float:
    """The number in a cell. Raises InputError for what is none, with `what` it is not and what to do."""
    value = cell(row, column)
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not isfinite(found):
        raise InputError(row.where, f"`{column}` is `{value}`, {what}", do)
    return found
