"""Groups among vectors: how many by the silhouette, whether more than a cloud without groups would show, and how near.

Silhouette: Rousseeuw 1987, "Silhouettes: a graphical aid". Self-similarity and anisotropy: Ethayarajh 2019, arXiv
1909.00512, section 3. Standardised dimensions against rogue ones: Timkey & van Schijndel 2021, arXiv 2109.04404.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# n vectors, D width, G groups

MOST = 6  # groups
AXES = 20  # principal axes that are grouped on
CLOUDS = 10  # draws of a cloud without groups
SMALLEST = 3  # members of a group that counts


class Groups(NamedTuple):
    """labels: (n,) 0 … G - 1, the largest group first. by_chance: the silhouette that a cloud reaches in 1 of 20."""

    labels: np.ndarray
    silhouette: float
    by_chance: float

    @property
    def clear(self) -> bool:
        return self.silhouette > self.by_chance


def unit(vectors: np.ndarray) -> np.ndarray:
    """(…, D), each of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def mean_cosine(vectors: np.ndarray) -> float:
    """Over all pairs of two different ones of (n, D), n ≥ 2."""
    total = unit(vectors.astype(np.float64)).sum(0)
    count = len(vectors)
    return float((total @ total - count) / (count * (count - 1)))


def standardised(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, D): every dimension by mean and spread of other words' vectors, then each vector of length 1."""
    spread = others.std(0)
    return unit((vectors - others.mean(0)) / np.where(spread > 1e-6, spread, 1.0))


def axes(vectors: np.ndarray, count: int) -> np.ndarray:
    """(n, count): coordinates on the first principal axes; the sign is such that the largest value is positive."""
    centred = vectors.astype(np.float64) - vectors.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    found = (left * size)[:, :count]
    signs = np.sign(found[np.abs(found).argmax(0), range(found.shape[1])])
    found = found * np.where(signs == 0, 1, signs)
    return np.pad(found, ((0, 0), (0, max(0, count - found.shape[1]))))


def group(vectors: np.ndarray, seed: int, method: str = "k-means", count: int | None = None) -> Groups:
    """Of (n, D): the number of groups, 2 to MOST, with the best silhouette; or `count` groups."""
    points = axes(vectors, min(AXES, len(vectors) - 1, vectors.shape[1]))
    counts = [count] if count else range(2, min(MOST, len(points) // SMALLEST) + 1)
    reached, labels = best(points, counts, seed, method)
    source = np.random.default_rng(seed)
    clouds = [best(source.normal(size=points.shape) * points.std(0), counts, seed, method)[0] for _ in range(CLOUDS)]
    by_chance = float(np.mean(clouds) + 1.645 * np.std(clouds, ddof=1))
    return Groups(by_size(labels), reached, by_chance)


def best(points: np.ndarray, counts: Sequence[int], seed: int, method: str) -> tuple[float, np.ndarray]:
    """(silhouette, labels) of the best number of groups."""
    found = [(labels := split(points, count, seed, method), silhouette(points, labels)) for count in counts]
    labels, reached = max(found, key=lambda one: one[1])
    return reached, labels


def split(points: np.ndarray, count: int, seed: int, method: str) -> np.ndarray:
    """(n,) labels by k-means (Lloyd, best of 5 begins) or by agglomeration (Ward)."""
    from sklearn.cluster import AgglomerativeClustering, KMeans

    if count < 2:
        return np.zeros(len(points), np.int64)
    if method == "agglomerative":
        return AgglomerativeClustering(count).fit_predict(points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # points that are all the same make fewer groups than were asked for
        return KMeans(count, n_init=5, random_state=seed).fit_predict(points)


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the points, -1 to 1; 0 for one group, -1 where a group is too small to count."""
    from sklearn.metrics import silhouette_score

    sizes = np.bincount(labels)
    if (sizes > 0).sum() < 2:
        return 0.0
    return -1.0 if sizes[sizes > 0].min() < SMALLEST else float(silhouette_score(points, labels))


def by_size(labels: np.ndarray) -> np.ndarray:
    """The same groups, numbered from the largest."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order, kind="stable")[labels]


def nearest(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) → int64 (n, count), float (n, count): the nearest others of each and their cosines, nearest first."""
    near = (points := unit(vectors)) @ points.T
    np.fill_diagonal(near, -np.inf)
    found = np.argsort(-near, axis=1, kind="stable")[:, : min(count, len(vectors) - 1)]
    return found, np.take_along_axis(near, found, 1)
