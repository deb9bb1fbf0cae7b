"""Metrics on plain arrays; each equals scikit-learn's function of the same name."""

from math import exp, sqrt

import numpy as np

# N items, C classes


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
