"""The words that stand near a word significantly more often in one group of its occurrences than in the others."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from firth.evaluate.encoder import Span
from firth.evaluate.occurrences import WORD

REACH = 10  # words to the left and to the right
RARE = 3  # occurrences below which a neighbour is not looked at
LEVEL = 0.05  # share of false ones among the words named (Benjamini & Hochberg 1995)


class Typical(NamedTuple):
    """log_odds: natural, of standing near in this group against the others, 0.5 added to every count."""

    word: str
    here: int  # occurrences of the group that it stands near
    elsewhere: int
    log_odds: float
    p: float  # Fisher's exact test, one-sided


def neighbours(span: Span) -> set[str]:
    """The words within REACH, in lower case; a number counts as one word."""
    left = [match.group().lower() for match in WORD.finditer(span.text[: span.start])][-REACH:]
    right = [match.group().lower() for match in WORD.finditer(span.text[span.end :])][:REACH]
    return {"0" if word.isdigit() else word for word in left + right}


def typical_words(spans: Sequence[Span], labels: np.ndarray, most: int = 12) -> list[list[Typical]]:
    """For each group, the words that hold at LEVEL over all words and groups together, the surest first."""
    groups = int(labels.max()) + 1
    sizes = np.bincount(labels, minlength=groups)
    counts: list[Counter[str]] = [Counter() for _ in range(groups)]
    for span, label in zip(spans, labels.tolist(), strict=True):
        counts[label].update(neighbours(span))
    total = sum(counts, Counter[str]())
    words = sorted(word for word, times in total.items() if times >= RARE)
    tested = [[compare(word, counts[g][word], total[word], int(sizes[g]), len(spans)) for word in words]
              for g in range(groups)]  # fmt: skip
    limit = false_discovery(np.array([one.p for row in tested for one in row]))
    kept = [[one for one in row if one.p <= limit and one.log_odds > 0] for row in tested]
    return [sorted(row, key=lambda one: (one.p, -one.log_odds, one.word))[:most] for row in kept]


def compare(word: str, here: int, total: int, size: int, everything: int) -> Typical:
    """One word: near `here` of the `size` occurrences of a group, and near `total` of all."""
    from scipy.stats import hypergeom

    elsewhere, others = total - here, everything - size
    odds = np.log((here + 0.5) / (size - here + 0.5)) - np.log((elsewhere + 0.5) / (others - elsewhere + 0.5))
    return Typical(word, here, elsewhere, float(odds), float(hypergeom.sf(here - 1, everything, total, size)))


def false_discovery(values: np.ndarray) -> float:
    """The greatest p that still holds at LEVEL (Benjamini & Hochberg 1995); below 0 where none does."""
    ordered = np.sort(values)
    holds = ordered <= LEVEL * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    return float(ordered[holds][-1]) if holds.any() else -1.0
