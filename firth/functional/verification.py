"""Verification: whether two samples are of one speaker (or of one anything), by a score; the equal error rate.

Equal error rate: the share of different pairs that are taken for the same where that equals the share of same pairs
that are not recognised, read off the ROC polygon; ties are passed half-way, as a coin would decide them.
"""

from typing import NamedTuple

import numpy as np

# N pairs


class EqualError(NamedTuple):
    """rate: in [0, 1], 0.5 is chance. threshold: the score from which a pair is taken for the same, half-way between
    the last that is and the first that is not."""

    rate: float
    threshold: float


class Curve(NamedTuple):
    """(S + 1,) each: the shares taken for the same among different and among same pairs, as the threshold falls."""

    false: np.ndarray
    true: np.ndarray
    thresholds: np.ndarray  # the first is infinite: nothing is taken for the same


def roc(scores, same, weights=None) -> Curve:
    """(N,) scores, (N,) bool, (N,) weights or None (1 each) -> the curve at every different score."""
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-scores, kind="stable")
    scores, same, weights = scores[order], same[order], weights[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of each run of equal scores
    taken = np.stack([np.cumsum(weights * ~same), np.cumsum(weights * same)])[:, last]
    false, true = np.concatenate([np.zeros((2, 1)), taken], 1) / np.maximum(taken[:, -1:], np.finfo(float).tiny)
    return Curve(false, true, np.concatenate([[np.inf], scores[last]]))


def equal_error(scores, same, weights=None) -> EqualError:
    """(N,) scores, the higher the liker, (N,) bool -> where both kinds of error are equally frequent.

    Raises ValueError where all pairs are of one kind, or a score is no number.
    """
    same = np.asarray(same, bool)
    if not same.any() or same.all():
        raise ValueError("equal_error: all pairs are of one kind. Give pairs of the same and of different ones.")
    if not np.isfinite(np.asarray(scores, np.float64)).all():
        raise ValueError("equal_error: a score is no number. Leave out clips without a vector.")
    curve = roc(scores, same, weights)
    gap = curve.false + curve.true - 1  # false acceptance less false rejection: rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])  # of the way from the point before
    rate = curve.false[after - 1] + share * (curve.false[after] - curve.false[after - 1])
    lower = curve.thresholds[min(after + 1, len(curve.thresholds) - 1)]
    return EqualError(float(rate), float((curve.thresholds[after] + lower) / 2))


def balanced(scores, same, threshold: float) -> np.ndarray:
    """(N,) weights × right decisions, which sum to 1 less the mean of both error rates at the threshold."""
    same = np.asarray(same, bool)
    right = (np.asarray(scores, np.float64) >= threshold) == same
    return right / (2.0 * np.where(same, max(same.sum(), 1), max((~same).sum(), 1)))


def cosines(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(B, D), (N,), (N,) places -> (N,) in [-1, 1]: the cosine of each pair; 0 with a vector of length 0."""
    vectors = np.asarray(vectors, np.float64)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.clip((units[first] * units[second]).sum(1), -1.0, 1.0)
