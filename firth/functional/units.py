"""How well units that were found without labels go with labels: purity and mutual information.

Hsu et al. 2021 (HuBERT), arXiv 2106.07447, section IV-C: phone purity, cluster purity, and phone-normalised mutual
information, from the counts of frames by (unit, label).
"""

from typing import NamedTuple

import numpy as np

# N frames, K units, L labels


class Agreement(NamedTuple):
    """Shares in [0, 1]; the more units, the higher purity and pnmi, and the lower cluster_purity."""

    purity: float  # of frames, if every unit is read as its commonest label
    cluster_purity: float  # of frames, if every label is written as its commonest unit
    pnmi: float  # share of the uncertainty about the label that knowing the unit takes away


def joint(units, labels, shape: tuple[int, int]) -> np.ndarray:
    """(N,) units, (N,) labels -> (K, L) int64 counts of frames; negative ones are left out."""
    units, labels = np.asarray(units, np.int64), np.asarray(labels, np.int64)
    kept = (units >= 0) & (labels >= 0)
    return np.bincount(units[kept] * shape[1] + labels[kept], minlength=shape[0] * shape[1]).reshape(shape)


def agreement(counts: np.ndarray) -> Agreement:
    """(K, L) counts of frames. 0 each where there is nothing; pnmi is 0, too, where there is only one label."""
    total = counts.sum()
    if not total:
        return Agreement(0.0, 0.0, 0.0)
    shares = counts / total
    known = entropy(shares.sum(0))
    told = known + entropy(shares.sum(1)) - entropy(shares.ravel())
    pnmi = float(np.clip(told / known, 0.0, 1.0)) if known > 0 else 0.0
    return Agreement(float(shares.max(1).sum()), float(shares.max(0).sum()), pnmi)


def entropy(shares: np.ndarray) -> float:
    """Of shares that sum to 1, in nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def perplexity(units, count: int) -> float:
    """How many of `count` units are in use, as if all were equally frequent: between 1 and count; 0 for no frames."""
    used = np.bincount(np.asarray(units, np.int64), minlength=count)
    return float(np.exp(entropy(used / used.sum()))) if used.sum() else 0.0


def runs(units) -> tuple[np.ndarray, np.ndarray]:
    """(T,) units through time -> (R,) the unit of each run of equal ones, (R,) its frames."""
    units = np.asarray(units, np.int64)
    if not len(units):
        return units, units
    begins = np.flatnonzero(np.concatenate([[True], units[1:] != units[:-1]]))
    return units[begins], np.diff(np.append(begins, len(units)))
