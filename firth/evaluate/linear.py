"""Linear classifiers on vectors that stay as they are: what a probe of frozen vectors is, and a classical baseline.

Vectors are standardised by the training part. How strongly the weights are held small is chosen by the validation
part, or, where that is small, by parts of all given labels that are left out in turn; then all given labels are learnt
from with that choice. Where both parts are the same examples, as with one label a class, nothing can be chosen by: the
weights are held as small as they may be.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

# N training vectors, M others, D dimensions, L classes

STRENGTHS = tuple(10.0**power for power in range(1, -7, -1))  # of the penalty, beside the mean loss of an item
PATIENCE = 3  # weaker penalties in a row without a better validation accuracy, after which no weaker one is tried
ROUNDS = 300  # of L-BFGS at most
ENOUGH = 500  # validation items that choose alone: one of them moves an accuracy by no more than 0.2 points
FOLDS = 5
UNCHOSEN = STRENGTHS[0]  # where no example is left out of what is learnt from
FLAT = 1e-6  # standard deviation below which a dimension says nothing


class Part(NamedTuple):
    """Vectors and what they are."""

    vectors: np.ndarray  # (N, D) float32
    labels: np.ndarray  # (N,) int, class indices


Say = Callable[[np.ndarray], np.ndarray]  # (M, D) → (M,) class indices
Learn = Callable[[Part], Callable[[float], Say]]  # a part, then a strength


def classified(learnt: Part, valid: Part, test: np.ndarray, learn: Learn) -> np.ndarray:
    """(M,) class indices for test (M, D)."""
    middle, width = learnt.vectors.mean(0), learnt.vectors.std(0)
    scale = np.where(width > FLAT, 1 / np.maximum(width, FLAT), 0).astype(np.float32)
    vectors = np.concatenate([learnt.vectors, valid.vectors])
    vectors -= middle
    vectors *= scale
    everything = Part(vectors, np.concatenate([learnt.labels, valid.labels]))
    copied = np.array_equal(learnt.vectors, valid.vectors)
    strength = UNCHOSEN if copied else chosen(everything, splits(everything.labels, len(learnt.labels)), learn)
    return learn(everything)(strength)((test - middle) * scale)


def splits(labels: np.ndarray, learnt: int) -> list[tuple[Any, Any]]:
    """What is learnt from and what it is judged by, as places in (N,) labels, of which the first `learnt` are the
    training part: that and the validation part, or FOLDS parts in turn, every class in each."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    if len(labels) - learnt >= ENOUGH or folds < 2:
        return [(slice(learnt), slice(learnt, None))]
    return list(StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels))


def chosen(part: Part, judged: Sequence[tuple[Any, Any]], learn: Learn) -> float:
    """The strength with the best accuracy on what was left out, the strongest of equal ones; from strong to weak."""
    left_out = [(learn(taken(part, some)), taken(part, rest)) for some, rest in judged]
    best, at, worse = -1.0, STRENGTHS[0], 0
    for strength in STRENGTHS:
        right = float(np.mean([(fit(strength)(rest.vectors) == rest.labels).mean() for fit, rest in left_out]))
        best, at, worse = (right, strength, 0) if right > best else (best, at, worse + 1)
        if worse == PATIENCE:
            break
    return at


def taken(part: Part, places: Any) -> Part:
    return Part(part.vectors[places], part.labels[places])


def logistic(part: Part) -> Callable[[float], Say]:
    """Logistic regression (scikit-learn, L-BFGS): the mean loss plus half the strength times the squared weights."""
    from sklearn.linear_model import LogisticRegression

    def fit(strength: float) -> Say:
        if len(set(part.labels.tolist())) < 2:
            return lambda vectors: np.full(len(vectors), part.labels[0])
        model = LogisticRegression(C=1 / (strength * len(part.labels)), max_iter=ROUNDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the way to convergence
            return model.fit(part.vectors, part.labels).predict

    return fit


def ridge(part: Part) -> Callable[[float], Say]:
    """Ridge regression on ±1 for each class, in closed form: the mean squared error plus the strength times the squared
    weights. Solved for the weights, or for one number a training vector where these are fewer."""
    names, places = np.unique(part.labels, return_inverse=True)
    targets = 2 * np.eye(len(names), dtype=np.float32)[places] - 1  # (N, L)
    middle, offset = part.vectors.mean(0), targets.mean(0)
    x, y = part.vectors - middle, targets - offset
    wide = x.shape[1] > x.shape[0]
    gram, right = (x @ x.T, y) if wide else (x.T @ x, x.T @ y)

    def fit(strength: float) -> Say:
        found = held_small(gram, right, strength * len(x))
        weights = x.T @ found if wide else found  # (D, L)
        return lambda vectors: names[((vectors - middle) @ weights + offset).argmax(1)]

    return fit


def held_small(gram: np.ndarray, right: np.ndarray, penalty: float) -> np.ndarray:
    """(K, K), (K, L) -> float32 (K, L): the solution of (gram + penalty) w = right."""
    from scipy.linalg import solve

    held = gram.astype(np.float64)
    held[np.diag_indices(len(held))] += penalty
    return solve(held, right, assume_a="pos", overwrite_a=True).astype(np.float32)
