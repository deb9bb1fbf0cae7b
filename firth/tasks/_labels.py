"""Inputs with any number of labels each: the loss, what a model says of them, its score, threshold and temperature.

Every label is a decision of its own: the sum over samples and labels of the binary cross-entropy of a sigmoid, in nats,
over their number; a label is said where its probability is above one threshold for all.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from firth.functional import metrics
from firth.functional.calibration import FEWEST, best_threshold, sigmoid, temperature_of_decisions
from firth.task import Example, Outcome, TaskConfig, shown
from firth.tasks._classes import ClassHead
from firth.tasks._one_label import logits_of, outputs, ranking, samples_of

# N examples, B samples, L labels

HALF = 0.5  # the threshold where none is chosen
FEW = 20  # validation examples from which one is; already with so many it is better than HALF


class Prediction(NamedTuple):
    """What the model says about one input."""

    text: str
    labels: list[str]  # those above the threshold, the likeliest first
    probabilities: dict[str, float]  # by label, the likeliest first; they need not sum to 1


def nats_and_exact(logits: Tensor, label: Tensor, factors: Sequence[float] | None, smoothing: float) -> tuple:
    """(B, L), (B, L) 0 or 1 -> sums: the binary cross-entropy, and the samples of which every label is right at HALF.

    factors: (L,), of the terms in which the label holds. smoothing: share of the target, half of which changes sides.
    """
    target = label.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    weights = None if factors is None else logits.new_tensor(factors)
    nats = binary_cross_entropy_with_logits(logits, target, pos_weight=weights, reduction="sum")
    return nats, ((logits > 0) == (label > 0)).all(-1).sum()


def balanced(examples: Sequence[Example], classes: Sequence[str]) -> dict[str, float]:
    """Examples without the label / examples with it: either side of a decision has the same part in the loss."""
    counts = Counter(name for one in examples for name in one.target)
    return {name: max(len(examples) - counts[name], 1) / max(counts[name], 1) for name in classes}


def holds(lists: Sequence[Sequence[str]], classes: Sequence[str]) -> np.ndarray:
    """Labels of N examples -> (N, L) bool."""
    return np.array([[name in set(labels) for name in classes] for labels in lists], bool).reshape(-1, len(classes))


def predict(
    part: ClassHead, signal, lists: Sequence[Sequence[str]], threshold: float, top: int | None = None
) -> list[Prediction]:
    """One Prediction per input, in one batch; top: how many labels get a probability named."""
    classes, shares = part.config.classes, shares_of(logits_of(part, signal.stack(samples_of(signal, lists))).numpy())
    found = []
    for parts, row in zip(lists, shares.tolist(), strict=True):
        order = ranking(row)
        said = [classes[i] for i in order if row[i] > threshold]
        found.append(Prediction(" | ".join(map(shown, parts)), said, {classes[i]: row[i] for i in order[:top]}))
    return found


def shares_of(logits: np.ndarray) -> np.ndarray:
    """(N, L) -> (N, L) probabilities."""
    return sigmoid(logits.astype(np.float64))


def settle(part: ClassHead, signal, examples: Sequence[Example], threshold: float | None) -> dict[str, Any]:
    """Fit the temperature, and choose the threshold unless it is given, where there are held-out examples enough.

    Returns what was chosen, the threshold always.
    """
    logits = outputs(lambda batch: logits_of(part, batch), signal, examples)
    gold = holds([one.target for one in examples], part.config.classes)
    told: dict[str, Any] = {}
    if part.config.calibrate and len(examples) >= FEWEST:
        part.soften(temperature_of_decisions(logits, gold))
        told["temperature"] = part.temperature
    if threshold is None:
        shares = shares_of(logits / (part.temperature or 1.0))
        threshold = best_threshold(shares, gold) if len(examples) >= FEW else HALF
    return told | {"threshold": threshold}


def evaluate(part: ClassHead, signal, examples: Sequence[Example], threshold: float) -> Outcome:
    """The score over labelled examples; the calibration error is over all decisions."""
    logits = outputs(lambda batch: logits_of(part, batch), signal, examples)
    shares, gold = shares_of(logits), holds([one.target for one in examples], part.config.classes)
    said = shares > threshold
    found = judged(part.config, examples, names(said, part.config.classes))
    error = metrics.expected_calibration_error(shares.ravel(), gold.ravel())
    figures = found.figures | {"calibration_error": error}
    if part.temperature is not None:
        before = shares_of(logits * part.temperature)
        figures["calibration_error_before"] = metrics.expected_calibration_error(before.ravel(), gold.ravel())
    surest = np.where(said != gold, np.maximum(shares, 1 - shares), 0).max(1)  # (N,): of the wrong decisions
    for one in found.wrong:
        one["probability"] = float(surest[one.pop("place")])
    found.wrong.sort(key=lambda one: -one["probability"])
    return found._replace(figures=figures)


def names(said: np.ndarray, classes: Sequence[str]) -> list[list[str]]:
    """(N, L) bool -> the labels of each example."""
    return [[classes[i] for i in np.flatnonzero(row).tolist()] for row in said]


def judged(config: TaskConfig, examples: Sequence[Example], predicted: Sequence[Sequence[str]]) -> Outcome:
    """What any way of predicting made of the examples; `right` averages to micro-F1; `wrong` in their order."""
    gold, said = (holds(lists, config.classes) for lists in ([one.target for one in examples], predicted))
    figures = score(gold, said, config.classes)
    wrong = [
        {"text": examples[i].text, "gold": list(examples[i].target), "predicted": list(predicted[i]), "place": i}
        for i in np.flatnonzero((gold != said).any(1)).tolist()
    ]
    right = influence(gold, said, figures["micro_f1"])
    return Outcome(figures, [list(one) for one in predicted], [list(one.target) for one in examples], right,
                   np.ones(len(right)), wrong)  # fmt: skip


def influence(gold: np.ndarray, said: np.ndarray, f1: float) -> np.ndarray:
    """(N, L), (N, L) bool -> (N,) values whose mean is micro-F1, and whose spread is that of its estimate.

    F1 = Σ 2 right / Σ occurs, a ratio of sums over examples: F1 + (2 right - F1 occurs) / mean occurs (linearisation;
    Cochran 1977, section 6.3).
    """
    right, occurs = 2.0 * (gold & said).sum(1), (gold.sum(1) + said.sum(1)).astype(float)
    return f1 + (right - f1 * occurs) / (occurs.mean() or 1.0)


def score(gold: np.ndarray, said: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """(N, L), (N, L) bool -> micro- and macro-F1, the share of examples with every label right, that of decisions.

    Equal to scikit-learn's f1_score(average="micro" or "macro"), accuracy_score and 1 - hamming_loss.
    """
    return {
        "items": len(gold),
        "micro_f1": metrics.multilabel_micro_f1(gold, said),
        "macro_f1": metrics.multilabel_macro_f1(gold, said),
        "exact_match": metrics.multilabel_exact_match(gold, said),
        "decision_accuracy": metrics.multilabel_accuracy(gold, said),
        "classes": list(classes),
    }
