"""What every reader hands on: a record, its place, and what was wrong on the way."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firth.errors import InputError
from firth.signal import Finding
from firth.task import Example, Where

Record = Example  # what every reader hands on
__all__ = ["Problems", "Record", "Where"]


@dataclass
class Problems:
    """Collects findings; the first bad place ends the reading unless bad places are skipped."""

    skip: bool = False
    findings: list[Finding] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)  # how often each repair was asked for
    row: Mapping[str, Any] = field(default_factory=dict)  # that is being read
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
            self.findings.append(Finding(level, printable(str(where)), what, printable(do)))

    def all(self) -> list[Finding]:
        """The findings kept, and one line for each kind of which more were seen."""
        more = {kind: count - self.shown for kind, count in self.counts.items() if count > self.shown}
        return self.findings + [Finding("note", "", f"and {n:,} more of this kind", kind) for kind, n in more.items()]


def printable(name: str) -> str:
    """On one line, whatever the name of a file holds: what cannot be printed is written as in Python."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)
