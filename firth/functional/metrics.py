"""Metrics on plain arrays; each equals scikit-learn's function of the same name."""

from collections.abc import Iterable
from math import exp, sqrt
from typing import Any

import numpy as np

# N items, C classes

MANY = 20  # different numbers as labels: no classes any more


def confusion_matrix(gold, predicted, classes: int) -> np.ndarray:
    """(N,), (N,) class indices -> (C, C) int64: rows are the truth, columns the prediction."""
    cells = np.asarray(gold, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: np.ndarray) -> float:
    """Share of right predictions, in [0, 1]; 0 where there is nothing."""
    return float(np.trace(confusion) / max(confusion.sum(), 1))


def macro_f1(confusion: np.ndarray) -> float:
    """Mean over the classes of 2 right / (true + predicted); a class that occurs in neither is left out."""
    right, occurs = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
    seen = occurs > 0
    return float((2 * right[seen] / occurs[seen]).mean()) if seen.any() else 0.0


def matthews(confusion: np.ndarray) -> float:
    """Matthews' correlation for any number of classes (Gorodkin 2004), in [-1, 1]; 0 where a side has one class."""
    confusion = confusion.astype(np.float64)
    true, predicted, count = confusion.sum(1), confusion.sum(0), confusion.sum()
    covariance = np.trace(confusion) * count - true @ predicted
    spread = sqrt(count**2 - true @ true) * sqrt(count**2 - predicted @ predicted)
    return float(covariance / spread) if spread > 0 else 0.0


def perplexity(nats: float) -> float:
    """exp of a mean loss in nats; infinite where it does not fit a float."""
    return exp(nats) if nats < 700 else float("inf")


def pearson(gold, predicted) -> float:
    """(N,), (N,) numbers -> Pearson's correlation in [-1, 1], as scipy.stats.pearsonr.

    0 where it is not defined (scipy: NaN): fewer than two items, or a side that is constant.
    """
    x, y = np.asarray(gold, np.float64), np.asarray(predicted, np.float64)
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))


def spearman(gold, predicted) -> float:
    """(N,), (N,) numbers -> Spearman's rank correlation in [-1, 1], as scipy.stats.spearmanr; 0 as in pearson."""
    return pearson(ranks(gold), ranks(predicted))


def ranks(values) -> np.ndarray:
    """(N,) -> (N,) ranks from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def expected_calibration_error(probabilities, right, bins: int = 15) -> float:
    """(N,) probabilities of the predicted labels, (N,) whether they are right -> in [0, 1], 0 for no items.

    Mean over the items of |accuracy - mean probability| of their bin; bins of equal width, (low, high], the first
    with 0 in it. Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    sure, right = np.asarray(probabilities, np.float64), np.asarray(right, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    gaps = np.bincount(place, right - sure, minlength=bins)  # per bin: items x (accuracy - mean probability)
    return float(np.abs(gaps).sum() / max(len(sure), 1))


def label_counts(gold, predicted) -> tuple[np.ndarray, np.ndarray]:
    """(N, L), (N, L) bool, L labels of which any number holds -> (L,) right ones, (L,) true ones + predicted ones."""
    gold, predicted = np.asarray(gold, bool), np.asarray(predicted, bool)
    return (gold & predicted).sum(0), gold.sum(0) + predicted.sum(0)


def multilabel_micro_f1(gold, predicted) -> float:
    """(N, L), (N, L) bool -> F1 over all decisions, as f1_score(average="micro"); 0 where no label is true or said."""
    right, occurs = label_counts(gold, predicted)
    return float(2 * right.sum() / max(occurs.sum(), 1))


def multilabel_macro_f1(gold, predicted) -> float:
    """(N, L), (N, L) bool -> mean F1 of the labels, as f1_score(average="macro"): a label never true or said has 0."""
    right, occurs = label_counts(gold, predicted)
    return float((2 * right / np.maximum(occurs, 1)).mean()) if len(occurs) else 0.0


def multilabel_exact_match(gold, predicted) -> float:
    """(N, L), (N, L) bool -> share of items of which every label is right, as accuracy_score; 0 for no items."""
    same = (np.asarray(gold, bool) == np.asarray(predicted, bool)).all(-1)
    return float(same.mean()) if same.size else 0.0


def multilabel_accuracy(gold, predicted) -> float:
    """(N, L), (N, L) bool -> mean over the labels of their accuracy, which is 1 - hamming_loss; 0 for no decisions."""
    same = np.asarray(gold, bool) == np.asarray(predicted, bool)
    return float(same.mean()) if same.size else 0.0


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether labels are numbers with a part after the point, or too many different ones to be classes."""
    try:
        found = {float(value) for value in values}
    except (TypeError, ValueError):
        return False
    return len(found) > MANY or any(not value.is_integer() for value in found)
