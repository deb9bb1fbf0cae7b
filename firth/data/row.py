"""A row of a table that can tell where its cells stand, so that a finding about a label points at the label."""

from collections.abc import Callable, Iterable
from typing import Any

from firth.data.records import Record, Where


class Row(dict[str, Any]):
    """Column → value, and where the label stands, once the reader has said which column that is.

    raw: the text the row was read from, where finding a cell needs it; let go of once the label is found.
    place: (row, beginning of the row, column) → where the value begins; the beginning of the row if it cannot tell.
    """

    __slots__ = ("label_at", "place", "raw")

    def __init__(self, cells: Iterable[tuple[str, Any]], raw: str | None, place: Callable[["Row", Where, str], Where]):
        super().__init__(cells)
        self.raw, self.place = raw, place
        self.label_at: Where | None = None

    def mark(self, where: Where, column: str | None) -> None:
        """Look for the label, in the row that begins at `where`."""
        if column in self:
            self.label_at = self.place(self, where, str(column))
        self.raw = None


def label_place(record: Record) -> Where:
    """Where the label of a record stands; the record's own place where that is not known."""
    return getattr(record.fields, "label_at", None) or record.where
