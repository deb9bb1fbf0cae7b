"""Groups of labelled examples, such as speakers, and leaving some of them out of what is learnt, to be tested on.

`speaker=ann,bob` are the rows whose column `speaker` says ann or bob; names with a comma or blanks at their ends are
given as a list, speaker=["Smith, Ann"]. Where there is no table, a pattern with one pair
of brackets says which part of a file's name is its group: `_(.+)_` of 7_ann_3.wav is ann.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from firth.data.records import Record
from firth.errors import InputError, did_you_mean
from firth.functional.cells import label_of
from firth.functional.random import hash_bytes

Parts = dict[str, list[Record]]

PLAIN = re.compile(r"[\w.+-]+( [\w.+-]+)*")
LIST = re.compile(r'(.+?)=(\[".*"\])')

NO_TABLE = "Give a table with that column, or a pattern on names of files such as _(.+)_"


class Rule(NamedTuple):
    """What groups go by, and those that are meant; (): all."""

    by: str  # a column, or a pattern on names of files
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Rule":
        """`speaker`, `speaker=ann,bob`, `speaker=["ann"]`, `_(.+)_`. Raises InputError for a pattern that is none."""
        if listed := LIST.fullmatch(text):
            with suppress(ValueError):
                return cls(listed[1].strip(), tuple(map(str, json.loads(listed[2]))))
        by, _, values = text.rpartition("=") if "=" in text and ")" not in text.rpartition("=")[2] else (text, "", "")
        if "(" in by:
            _pattern(by)
        return cls(by.strip(), tuple(dict.fromkeys(one.strip() for one in values.split(",") if one.strip())))

    def only(self, value: str) -> str:
        """The rule of a single group, in words that `of` reads."""
        return f"{self.by}={value if PLAIN.fullmatch(value) else json.dumps([value], ensure_ascii=False)}"

    @property
    def column(self) -> str | None:
        """None for a pattern."""
        return None if "(" in self.by else self.by


def groups_of(records: Sequence[Record], rule: Rule) -> list[str]:
    """(N,) the group of each. Raises InputError at the first that has none."""
    pattern = None if rule.column else _pattern(rule.by)
    return [_named(record, pattern) if pattern else _cell(record, rule.by) for record in records]


def names(groups: Iterable[str], rule: Rule, where: str) -> tuple[str, ...]:
    """The groups that are meant, in order. Raises InputError for one that there is not."""
    known = sorted(set(groups))
    for value in rule.values:
        if value not in known:
            listed = ", ".join(f"`{one}`" for one in known[:20])
            raise InputError(
                where, f"has no row with {rule.by} = {value}", f"{did_you_mean(value, known)}It can be {listed}."
            )
    return rule.values or tuple(known)


def apart(parts: Parts, text: str, where: str) -> Parts:
    """Without the groups of a rule in training and validation, and with nothing else in the test part: the test files'
    rows of them, or where there are none all rows of them. Raises InputError where nothing is left of either."""
    rule = Rule.of(text)
    if not rule.values:
        raise InputError(f"data.leave_out = {text}", "names no group", f"Write data.leave_out={rule.by}=NAME.")
    found = {part: list(zip(records, groups_of(records, rule), strict=True)) for part, records in parts.items()}
    pool = found["test"] or found["train"]
    chosen = names((group for _, group in pool), rule, where)
    left = {part: [one for one, group in found[part] if group not in chosen] for part in ("train", "valid")}
    if not left["train"]:
        what = f"is all of {rule.by} = {', '.join(chosen)}, and nothing else is left to learn from"
        raise InputError(where, what, "Give examples of other groups, too.")
    return {**left, "test": [one for one, group in pool if group in chosen]}


def mark_of(parts: Parts, rule: Rule) -> str:
    """A hash of the group of each record, part by part."""
    found = {part: groups_of(records, rule) for part, records in parts.items()}
    return f"{hash_bytes(repr(found).encode('utf-8', 'backslashreplace')):016x}"


def with_rows(records: list[Record], rows: Mapping[str, Mapping]) -> list[Record]:
    """Records of files with the rows of the tables that name them."""
    return [one._replace(fields=rows.get(one.where.file, one.fields)) for one in records]


def _pattern(text: str) -> re.Pattern[str]:
    """Raises InputError for what is no pattern with one pair of brackets."""
    where, do = f"groups by {text}", "Put one pair of brackets around the part that names the group: _(.+)_"
    try:
        found = re.compile(text)
    except re.error as error:
        raise InputError(where, f"is no pattern ({error})", do) from None
    if found.groups != 1:
        raise InputError(where, f"has {found.groups} pairs of brackets", do)
    return found


def _named(record: Record, pattern: re.Pattern[str]) -> str:
    found = pattern.search(record.where.file)
    if not found or not found.group(1):
        what = f"its name does not match {pattern.pattern}"
        raise InputError(str(record.where), what, "Leave the file out, or give a wider pattern.")
    return str(found.group(1))


def _cell(record: Record, column: str) -> str:
    if column not in record.fields:
        known = sorted(record.fields)
        do = f"{did_you_mean(column, known)}There is: {', '.join(known)}." if known else NO_TABLE
        raise InputError(str(record.where), f"has no column `{column}`", do)
    cell = record.fields[column]
    if cell is None or not label_of(cell).strip():
        raise InputError(str(record.where), f"`{column}` is empty", "Fill it in, or leave the row out.")
    return label_of(cell)
