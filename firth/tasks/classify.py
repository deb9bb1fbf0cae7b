"""Classify: one label per text or picture, or any number of them, from one vector over the whole of it.

BERT's fine-tuning, arXiv 1810.04805, section 4.1. One label: `_classes.py` has the loss. Several, which labelled data
shows by lists or by a separator within its cells: `_labels.py` has it; a label is said where its probability is above a
threshold that validation chooses. After training the probabilities are calibrated by a temperature (arXiv 1706.04599).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from firth.functional.cells import ONE, described, joined, labels_in, separator_of
from firth.objective import Loss, Term
from firth.signal import Batch, Features, Sample, Signal
from firth.task import Example, Outcome
from firth.tasks import _classes, _labels, _one_label
from firth.tasks._classes import ClassHead, part_of


class Config(_classes.Config):
    needs: ClassVar[frozenset[str]] = frozenset({"pooled"})
    terms: ClassVar[tuple[str, ...]] = ("classify",)

    separator: str = Field(
        "auto", min_length=1,
        description="what stands between several labels of a text; filled: by content; `list` where they are a list, "
        "`none` where there is one",
    )  # fmt: skip
    threshold: float | None = Field(
        None, ge=0, lt=1,
        description="probability above which one of several labels is said; filled: the best on at least 20 validation "
        "examples, else 0.5",
    )  # fmt: skip

    @property
    def metric(self) -> str:  # type: ignore[override]
        return "micro_f1" if self.several else "accuracy"

    @property
    def several(self) -> bool:
        return self.separator not in ("auto", ONE)

    @property
    def notes(self) -> list[str]:
        return [described(self.separator)] if self.several else []

    def look(self, examples: Sequence[Example]) -> Self:
        if self.separator != "auto":
            return self
        return self.model_copy(update={"separator": separator_of(str(one.label) for one in examples)})

    def example(self, example: Example) -> Example:
        if not self.several:
            return example
        labels = labels_in(str(example.label), self.separator)
        return example._replace(label=joined(labels), target=labels)

    def balanced(self, examples: Sequence[Example]) -> dict[str, float]:
        return _labels.balanced(examples, self.classes) if self.several else super().balanced(examples)

    def amount(self, label: Tensor) -> float:
        """(B,), or (B, L) -> decisions where there are several labels, whatever their weights, as torch has it."""
        return label.numel() if self.several else super().amount(label)

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        made = super().samples(examples, signal)
        if not self.several:
            return made
        rows = _labels.holds([one.target for one in examples], self.classes).astype(np.float32)
        return [sample.but(label=row) for sample, row in zip(made, rows, strict=True)]


Settings = Config  # the type, where the class below has its own name `Config`


class Classify(ClassHead):
    Config = Config
    config: Settings  # type: ignore[assignment]

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.threshold = _labels.HALF if config.threshold is None else config.threshold

    @property
    def facts(self) -> dict[str, Any]:
        if not self.config.several:
            return super().facts
        kept = {"separator": self.config.separator, "threshold": self.threshold}
        return super().facts | kept | {"problem_type": "multi_label_classification"}

    def loss(self, features: Features, batch: Batch) -> Loss:
        if not self.config.several:
            return super().loss(features, batch)
        config, label = self.config, batch["label"]  # (B, L)
        nats, exact = _labels.nats_and_exact(self.logits(features), label, config.factors, config.label_smoothing)
        terms = {"classify": Term(nats, batch.counts["classify"])}
        return Loss(terms, {"classify_exact": Term(exact, len(label))})


def predict(
    objective, signal, texts: Sequence[str | Sequence[str]], numbers: Sequence[int] = (), top: int | None = None
) -> list[Any]:
    """One Prediction per text, in one batch; `top` = how many labels are named (None: all).

    objective: a Classify, or a Composed that has one. numbers: the inputs' places in the stream, for messages. A text
    may be several, one a segment.
    """
    if not texts:
        return []
    part: Any = part_of(objective)
    lists = [tuple(text) if isinstance(text, list | tuple) else (text,) for text in texts]
    if part.config.several:
        return _labels.predict(part, signal, lists, part.threshold, top)
    return _one_label.predict(part, signal, lists, top)


def exported(part: Classify, features: Features) -> dict[str, Tensor]:
    """What other tools are given: logits (B, L)."""
    return {"logits": part.logits(features)}


def settle(objective, signal, examples: Sequence[Example]) -> dict[str, Any]:
    """After training, by held-out examples: the temperature, and the threshold of several labels."""
    part: Any = part_of(objective)
    if not part.config.several:
        return _one_label.settle(part, signal, examples)
    told = _labels.settle(part, signal, examples, part.config.threshold)
    part.threshold = told["threshold"]
    return told


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    part: Any = part_of(objective)
    if part.config.several:
        return _labels.evaluate(part, signal, examples, part.threshold)
    return _one_label.evaluate(part, signal, examples)


def judged(config: Config, examples: Sequence[Example], predicted: Sequence[Any]) -> Outcome:
    """What any way of predicting made of the examples; `wrong` in their order."""
    return (_labels if config.several else _one_label).judged(config, examples, predicted)
