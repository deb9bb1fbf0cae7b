"""Temperature scaling: logits are divided by one number that makes probabilities fit what happens.

Guo et al. 2017, arXiv 1706.04599, section 4.2. The temperature minimises the negative log-likelihood of held-out
examples; which label is the likeliest does not change. Also for several labels at once, each a decision of its own.
"""

from collections.abc import Callable

import numpy as np

# N examples, L classes

LEAST, MOST = 1 / 20, 20.0  # temperatures that are looked at
FEWEST = 100  # examples: with N of them the fitted temperature costs 1 / 2N nats at most where none was needed
HALVINGS = 60


def temperature(logits, labels) -> float:
    """(N, L) logits, (N,) classes -> T; the loss is convex in 1 / T, so that its slope is sought for 0.

    1 where every example is right: nothing then says how sure is too sure, and the loss falls without end.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if (logits.argmax(-1) == labels).all():
        return 1.0
    gold = logits[np.arange(len(labels)), labels]  # (N,)

    def slope(sharpness: float) -> float:
        return float((softmax(sharpness * logits) * logits).sum() - gold.sum())

    return 1 / root(slope)


def temperature_of_decisions(logits, holds) -> float:
    """(N, L) logits, (N, L) bool, any number of labels an example -> T; 1 where every decision is right."""
    logits, holds = np.asarray(logits, np.float64), np.asarray(holds, np.float64)
    if ((logits > 0) == (holds > 0)).all():
        return 1.0

    def slope(sharpness: float) -> float:
        return float(((sigmoid(sharpness * logits) - holds) * logits).sum())

    return 1 / root(slope)


def root(slope: Callable[[float], float]) -> float:
    """Where a rising function is 0, by halving; the end of the range that is nearer to it where it is nowhere 0."""
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
    return float(np.exp((low + high) / 2))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, L) -> (N, L) shares that sum to 1."""
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The share of a yes, decision by decision, without overflow."""
    return np.exp(-np.logaddexp(0, -logits))


def best_threshold(shares, holds) -> float:
    """(N, L) probabilities, (N, L) bool -> the one threshold over which labels are said that has the highest micro-F1.

    Half-way between the last probability that is said and the first that is not. 0.5 where no label holds.
    """
    shares, holds = np.ravel(shares).astype(np.float64), np.ravel(holds).astype(bool)
    order = np.argsort(-shares, kind="stable")
    shares, right = shares[order], np.cumsum(holds[order])  # right: of the first 1, 2, …
    if not holds.any():
        return 0.5
    f1 = 2 * right / (np.arange(1, len(right) + 1) + holds.sum())
    f1[:-1][shares[:-1] == shares[1:]] = 0  # equal probabilities are said together
    last = int(f1.argmax())
    return float((shares[last] + (shares[last + 1] if last + 1 < len(shares) else 0.0)) / 2)
