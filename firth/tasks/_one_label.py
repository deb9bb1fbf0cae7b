"""Inputs with one label each: what a model says of them, its score, and the temperature of its probabilities."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.errors import InputError
from firth.functional import metrics
from firth.functional.calibration import FEWEST, softmax, temperature
from firth.objective import quiet
from firth.signal import Batch, Sample, answered
from firth.task import Example, Outcome, TaskConfig, parts_of, shown
from firth.tasks._classes import ClassHead

# N examples, B samples, L classes


class Prediction(NamedTuple):
    """What the model says about one input."""

    text: str
    label: str  # the likeliest
    probability: float  # of that label
    probabilities: dict[str, float]  # by label, the likeliest first


def predict(part: ClassHead, signal, lists: Sequence[Sequence[str]], top: int | None = None) -> list[Prediction]:
    """One Prediction per input, in one batch; an input is its texts, one a segment. top: labels that are named."""
    shares = softmax(logits_of(part, signal.stack(samples_of(signal, lists))).double().numpy()).tolist()
    return [
        _prediction(" | ".join(map(shown, parts)), row, part.config.classes, top)
        for parts, row in zip(lists, shares, strict=True)
    ]


def samples_of(signal, lists: Sequence[Sequence[Any]]) -> list[Sample]:
    """Samples without labels, a segment for each text of an input; of another signal its array."""
    encoded = iter(signal.encode([text for parts in lists for text in parts]))
    return [Sample(parts=tuple(next(encoded).ids for _ in parts), key=number) for number, parts in enumerate(lists)]


@torch.inference_mode()
def logits_of(part: ClassHead, batch: Batch) -> Tensor:
    """The batch's (B, L) logits on the CPU, without dropout; the modules keep their mode."""
    with quiet(part.backbone, part):
        return part.logits(part.encode(batch.to(part.classifier.weight.device))).float().cpu()


def _prediction(text: str, shares: list[float], classes: tuple[str, ...], top: int | None) -> Prediction:
    order = ranking(shares)
    return Prediction(text, classes[order[0]], shares[order[0]], {classes[i]: shares[i] for i in order[:top]})


def ranking(shares: Sequence[float]) -> list[int]:
    """Places of the shares, the largest first."""
    return sorted(range(len(shares)), key=lambda i: -shares[i])


def outputs(run: Callable[[Batch], Tensor], signal, examples: Sequence[Example]) -> np.ndarray:
    """What `run` makes of the examples, (N, …) in their order."""
    samples = samples_of(signal, [parts_of(one) for one in examples])
    return np.stack(answered(lambda batch: run(batch).numpy(), signal, samples))  # type: ignore[arg-type, return-value]


def settle(part: ClassHead, signal, examples: Sequence[Example]) -> dict[str, Any]:
    """Fit the temperature by held-out examples, where there are enough. Returns what was chosen."""
    if not part.config.calibrate or len(examples) < FEWEST:
        return {}
    logits = outputs(lambda batch: logits_of(part, batch), signal, examples)
    part.soften(temperature(logits, indices([str(one.label) for one in examples], part.config.classes)))
    return {"temperature": part.temperature}


def evaluate(part: ClassHead, signal, examples: Sequence[Example]) -> Outcome:
    """The score over labelled examples; `right` is 0 or 1 each. With a temperature the error before it is told, too."""
    classes, logits = part.config.classes, outputs(lambda batch: logits_of(part, batch), signal, examples)
    found = judged(part.config, examples, [classes[i] for i in logits.argmax(1).tolist()])
    shares, right = softmax(logits.astype(np.float64)), found.right > 0
    figures = found.figures | {"calibration_error": metrics.expected_calibration_error(shares.max(1), right)}
    if part.temperature is not None:
        before = softmax(logits.astype(np.float64) * part.temperature)
        figures["calibration_error_before"] = metrics.expected_calibration_error(before.max(1), right)
    for one in found.wrong:
        one["probability"] = float(shares[one.pop("place")].max())
    found.wrong.sort(key=lambda one: -one["probability"])
    return found._replace(figures=figures)


def judged(config: TaskConfig, examples: Sequence[Example], predicted: Sequence[str]) -> Outcome:
    """What any way of predicting made of the examples; `wrong` in their order."""
    gold = [str(one.label) for one in examples]
    figures = score(indices(gold, config.classes), indices(predicted, config.classes), config.classes)
    right = np.array([a == b for a, b in zip(gold, predicted, strict=True)], float)
    wrong = [
        {"text": one.text, "gold": one.label, "predicted": said, "place": place}
        for place, (one, said) in enumerate(zip(examples, predicted, strict=True))
        if said != one.label
    ]
    return Outcome(figures, list(predicted), gold, right, np.ones(len(right)), wrong)


def indices(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[name] for name in names]


def score(gold: Sequence[int], predicted: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro-F1, Matthews' correlation, and the confusion matrix (rows: gold), from class indices.

    Equal to scikit-learn's accuracy_score, f1_score(average="macro"), matthews_corrcoef and confusion_matrix.
    """
    if len(gold) != len(predicted):
        found = f"{len(gold):,} gold labels and {len(predicted):,} predictions"
        raise InputError("score", found, "Give one prediction per gold label.")
    confusion = metrics.confusion_matrix(gold, predicted, len(classes))
    return {
        "items": len(gold),
        "accuracy": metrics.accuracy(confusion),
        "macro_f1": metrics.macro_f1(confusion),
        "matthews": metrics.matthews(confusion),
        "confusion": confusion.tolist(),
        "classes": list(classes),
    }
