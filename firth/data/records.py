"""What every reader hands on: a record, its place, and what was wrong on the way."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from firth.errors import InputError
from firth.signal import Finding

EMPTY: Mapping[str, Any] = {}


class Where(NamedTuple):
    """A place in a file; lines and columns count from 1, 0 = unknown. In parquet the line is the row."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


class Record(NamedTuple):
    """One document (raw text) or one labelled example, and where it begins."""

    text: str
    label: str | None
    where: Where
    fields: Mapping[str, Any] = EMPTY  # the whole row, where there are rows


@dataclass
class Problems:
    """Collects findings; the first bad place ends the reading unless bad places are skipped."""

    skip: bool = False
    findings: list[Finding] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)  # how often each repair was asked for
    shown = 20  # findings of one kind that are kept; the others are counted

    def bad(self, where, what: str, do: str) -> None:
        """A row or file that cannot be read. Raises InputError, or notes it and the caller goes on without it."""
        if not self.skip:
            raise InputError(str(where), what, do)
        self.note("error", where, what, do)

    def note(self, level: str, where, what: str, do: str = "") -> None:
        """Keep a finding; of one kind (the same repair) only the first ones, and the number of all."""
        kind = do or what
        self.counts[kind] += 1
        if self.counts[kind] <= self.shown:
            self.findings.append(Finding(level, str(where), what, do))

    def all(self) -> list[Finding]:
        """The findings kept, and one line for each kind of which more were seen."""
        more = {kind: count - self.shown for kind, count in self.counts.items() if count > self.shown}
        return self.findings + [Finding("note", "", f"and {n:,} more of this kind", kind) for kind, n in more.items()]
