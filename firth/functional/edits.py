"""Edit distance, and the error rates of transcripts: words (WER), characters (CER), phones (PER).

A rate is the substitutions, deletions and insertions of the cheapest alignments over all pairs, divided by the units of
all gold sequences (Levenshtein 1966); above 1 where much is inserted. Words and characters are cut as `jiwer` cuts them
by default: blanks at the edges count for nothing, several between two words as one, but each as a character; case and
punctuation count.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

# N units of the gold sequence, M units of what was said

SUBSTITUTE, DELETE, INSERT = 0, 1, 2  # ways to come to a cell of the table; of equally cheap ones the first


class Edits(NamedTuple):
    """What turns the gold sequence into what was said."""

    substitutions: int
    deletions: int
    insertions: int
    units: int  # of the gold sequence

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors by units; without any unit 0 where nothing was said, else 1."""
        return self.errors / self.units if self.units else float(self.errors > 0)


def distance(gold: Sequence[Hashable], said: Sequence[Hashable]) -> int:
    """The fewest substitutions, deletions and insertions that turn one into the other."""
    last = np.zeros(1, np.int64)
    for row in _rows(gold, said):
        last = row
    return int(last[-1])


def edits(gold: Sequence[Hashable], said: Sequence[Hashable]) -> Edits:
    """The kinds of edits in one cheapest alignment; their sum is the distance."""
    pairs = align(gold, said)
    deleted = sum(there is None for _, there in pairs)
    inserted = sum(here is None for here, _ in pairs)
    both = [(gold[i], said[j]) for i, j in pairs if i is not None and j is not None]
    return Edits(sum(one != other for one, other in both), deleted, inserted, len(gold))


def align(gold: Sequence[Hashable], said: Sequence[Hashable]) -> list[tuple[int | None, int | None]]:
    """(place in gold, place in said) along one cheapest alignment; None: the other has nothing there.

    Where several are equally cheap, a pair is preferred to a deletion, a deletion to an insertion, from the end on.
    """
    table, one, other = _table(gold, said), *_numbered(gold, said)
    i, j = len(gold), len(said)
    found: list[tuple[int | None, int | None]] = []
    while i or j:
        costs = [table[i - 1, j - 1] + (one[i - 1] != other[j - 1]) if i and j else np.inf,
                 table[i - 1, j] + 1 if i else np.inf, table[i, j - 1] + 1 if j else np.inf]  # fmt: skip
        kind = int(np.argmin(costs))
        i, j = i - (kind != INSERT), j - (kind != DELETE)
        found.append((i if kind != INSERT else None, j if kind != DELETE else None))
    return found[::-1]


def _table(gold: Sequence[Hashable], said: Sequence[Hashable]) -> np.ndarray:
    """(N + 1, M + 1): the distance of the first i units of gold to the first j of what was said."""
    table = np.empty((len(gold) + 1, len(said) + 1), np.int64)
    for i, row in enumerate(_rows(gold, said)):
        table[i] = row
    return table


def _rows(gold: Sequence[Hashable], said: Sequence[Hashable]) -> Iterator[np.ndarray]:
    """The rows of the table, (M + 1,) each, one after the other.

    Without insertions a cell hangs on the row before alone; an insertion adds 1 from the left, so that the
    row less its column numbers is a running minimum.
    """
    one, other = _numbered(gold, said)
    steps = np.arange(len(said) + 1)
    last = steps
    yield last
    for unit in one.tolist():
        row = last + 1
        row[1:] = np.minimum(row[1:], last[:-1] + (other != unit))
        last = np.minimum.accumulate(row - steps) + steps
        yield last


def _numbered(gold: Sequence[Hashable], said: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Both as whole numbers, equal units by equal numbers."""
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys([*gold, *said]))}
    return tuple(np.array([numbers[unit] for unit in units], np.int64) for units in (gold, said))  # type: ignore[return-value]


def words(text: str) -> list[str]:
    """The words of a transcript, cut at blanks."""
    return [word for word in _tidy(text).split(" ") if word]


def characters(text: str) -> list[str]:
    """The characters of a transcript, the blanks between words among them."""
    return list(text.strip())


def _tidy(text: str) -> str:
    return re.sub(r"\s\s+", " ", text).strip()


def errors(gold: Sequence[Sequence[Hashable]], said: Sequence[Sequence[Hashable]]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) errors and (N,) units of each pair of sequences."""
    wrong = np.array([distance(one, other) for one, other in zip(gold, said, strict=True)], float)
    return wrong, np.array([len(one) for one in gold], float)


def error_rate(gold: Sequence[Sequence[Hashable]], said: Sequence[Sequence[Hashable]]) -> float:
    """Errors over all pairs by units of all gold sequences."""
    wrong, units = errors(gold, said)
    return Edits(int(wrong.sum()), 0, 0, int(units.sum())).rate


def total(gold: Sequence[Sequence[Hashable]], said: Sequence[Sequence[Hashable]]) -> Edits:
    """The kinds of edits over all pairs."""
    found = [edits(one, other) for one, other in zip(gold, said, strict=True)]
    return Edits(*(sum(column) for column in zip(*found, strict=True))) if found else Edits(0, 0, 0, 0)
