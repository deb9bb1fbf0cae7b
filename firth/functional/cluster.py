"""k-means: k-means++ to begin with, then all rows in each round, or small batches of them; one seed, one result."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from firth.functional.random import Draw, permute

# N rows, D numbers of a row, K centres

CHUNK = 2**22  # distances that are held at once
TRIES = 2  # candidates for each further centre, and one more for each doubling of K, as in scikit-learn


class Clusters(NamedTuple):
    centres: np.ndarray  # (K, D)
    inertia: float  # sum over the rows of the squared distance to the nearest centre
    rounds: int  # until nothing changed, or as many as were allowed


def kmeans(
    values: np.ndarray,
    k: int,
    seed: int = 0,
    rounds: int = 100,
    batch: int | None = None,
    first: np.ndarray | None = None,
) -> Clusters:
    """(N, D) -> K centres (Lloyd 1982); with `batch` of so many rows a round (Sculley 2010, algorithm 1).

    first: (K, D) centres to begin with; None: k-means++. A centre that is nearest to no row goes to the row farthest
    from its own. There are at most as many centres as different rows.
    """
    values = np.ascontiguousarray(values, np.float32)
    centres = plus_plus(values, k, seed) if first is None else np.array(first, np.float32)
    if batch is None or batch >= len(values):
        return _lloyd(values, centres, rounds)
    return _small_batches(values, centres, seed, rounds, batch)


def _lloyd(values: np.ndarray, centres: np.ndarray, rounds: int) -> Clusters:
    nearest, distance = assign(values, centres)
    done = 0
    while done < rounds:
        centres = _means(values, nearest, distance, centres)
        before, (nearest, distance) = nearest, assign(values, centres)
        done += 1
        if (before == nearest).all():
            break
    return Clusters(centres, float(distance.sum(dtype=np.float64)), done)


def _small_batches(values: np.ndarray, centres: np.ndarray, seed: int, rounds: int, batch: int) -> Clusters:
    """Each centre is the mean of all rows that it ever was nearest to."""
    seen = np.zeros(len(centres))
    for number in range(rounds):
        rows = values[permute((np.arange(batch) + number * batch) % len(values), len(values), seed, number)]
        nearest, _ = assign(rows, centres)
        sums, counts = _sums(rows, nearest, len(centres))
        seen += counts
        share = np.divide(counts, seen, out=np.zeros_like(seen), where=seen > 0)[:, None]
        fresh = sums / np.maximum(counts, 1)[:, None]
        centres = (centres + share * (fresh - centres)).astype(np.float32)
    return Clusters(centres, float(assign(values, centres)[1].sum(dtype=np.float64)), rounds)


def plus_plus(values: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """(N, D) -> (K, D) rows, each drawn in proportion to its squared distance to the nearest before it; of a few drawn
    the one that helps most (Arthur & Vassilvitskii 2007, section 2.2). Fewer where there are fewer different rows."""
    tries = TRIES + int(np.log2(max(k, 1)))
    luck = Draw(seed).uniform(np.arange(k), "k-means++", tries)
    chosen = [int(luck[0, 0] * len(values))]
    distance = _to(values, values[chosen[0]])
    for number in range(1, k):
        so_far = distance.cumsum(dtype=np.float64)
        if so_far[-1] <= 0:
            break
        drawn = np.searchsorted(so_far, luck[number] * so_far[-1], side="right").clip(max=len(values) - 1)
        left = [np.minimum(distance, _to(values, values[row])) for row in drawn]
        best = int(np.argmin([one.sum(dtype=np.float64) for one in left]))
        distance = left[best]
        chosen.append(int(drawn[best]))
    return values[chosen].astype(np.float32)


def assign(values: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, D), (K, D) -> (N,) int64 the nearest centre of each row, the first of equals; (N,) the squared distance."""
    nearest, distance = np.empty(len(values), np.int64), np.empty(len(values), np.float32)
    squares = np.square(centres).sum(1)
    for piece in _pieces(len(values), len(centres)):
        rows = values[piece]
        found = squares - 2 * (rows @ centres.T)  # (n, K), each row short of its own square
        nearest[piece] = found.argmin(1)
        distance[piece] = found.min(1) + np.square(rows).sum(1)
    return nearest, np.maximum(distance, 0)


def _pieces(rows: int, centres: int) -> Iterator[slice]:
    size = max(1, CHUNK // centres)
    return (slice(begin, begin + size) for begin in range(0, rows, size))


def _to(values: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(N, D), (D,) -> (N,) squared distances."""
    return np.square(values - centre).sum(1)


def _sums(values: np.ndarray, nearest: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, D) the sum of the rows of each centre, and (K,) their number."""
    order = np.argsort(nearest, kind="stable")
    counts = np.bincount(nearest, minlength=k)
    sums, there = np.zeros((k, values.shape[1])), counts > 0
    begins = np.cumsum(counts) - counts
    sums[there] = np.add.reduceat(values[order].astype(np.float64), begins[there], axis=0)
    return sums, counts


def _means(values: np.ndarray, nearest: np.ndarray, distance: np.ndarray, centres: np.ndarray) -> np.ndarray:
    sums, counts = _sums(values, nearest, len(centres))
    means = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    lost = np.flatnonzero(counts == 0)
    means[lost] = values[np.argsort(-distance, kind="stable")[: len(lost)]]
    return means
