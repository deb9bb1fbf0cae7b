"""Classify: one label per sample, from a vector over the whole sample.

Loss: the sum over samples of -log p(label | sample), in nats, over their number, the target smoothed if wanted.
BERT's fine-tuning, arXiv 1810.04805, section 4.1; label smoothing: arXiv 1512.00567, section 7.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firth.errors import InputError
from firth.functional import metrics
from firth.functional.random import Draw
from firth.model.heads import PoolHead
from firth.objective import Loss, Objective, Term, quiet
from firth.signal import Batch, Features, Finding, Sample, answered
from firth.task import Example, Outcome, TaskConfig, parts_of

# B samples, T steps, D width, L classes

POOLING = {"bert": "first"}  # shapes whose Hugging Face form pools one way only


class Config(TaskConfig):
    reads: ClassVar[frozenset[str]] = frozenset({"label"})
    adds: ClassVar[frozenset[str]] = frozenset()
    terms: ClassVar[tuple[str, ...]] = ("classify",)

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    pooling: Literal["auto", "mean", "first"] = Field(
        "auto", description="vector of a sample: mean of its steps, or the first step; auto: first for bert, else mean"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the pooled vector dropped while training")

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch.counts["classify"] = len(batch["label"]) if "label" in batch else 0
        return batch

    def check(self, samples: list[Sample]) -> list[Finding]:
        counts = [0] * len(self.classes)
        for sample in samples:
            counts[sample.label] += 1
        rarest, commonest = min(counts, default=0), max(counts, default=0)
        if rarest * 20 >= commonest:
            return []
        what = f"`{self.classes[counts.index(rarest)]}` has {rarest:,} samples, the commonest class {commonest:,}"
        return [Finding("warning", "classify", what, "Read macro-F1 beside accuracy, or label more of it.")]


Settings = Config  # the type, where the class below has its own name `Config`


class Classify(Objective):
    """PoolHead (the shape's own), dropout, Linear(D, L): as *ForSequenceClassification of the shape has it."""

    Config = Config
    config: Settings
    all_steps = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        if self.outputs(config) < 1:
            found = f"there is one class only, `{config.classes[0]}`" if config.classes else "there are no classes"
            raise InputError(
                f"task `{type(self).__name__.lower()}`",
                f"{found}: nothing to tell apart",
                "Give labelled data with at least two labels; --label names the column.",
            )
        shape = backbone.shape
        self.pooling = self._pooling(config, shape.name)
        self.pool = PoolHead(shape)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(shape.width, self.outputs(config))

    @classmethod
    def outputs(cls, config: Settings) -> int:
        """Numbers per sample that the last map gives; 0 where there is nothing to tell apart."""
        return len(config.classes) if len(config.classes) > 1 else 0

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of the model folder must know besides the weights; keys of Config are read back from it."""
        return {"pooling": self.pooling}

    @property
    def adopts(self) -> Mapping[str, str]:
        """What next sentence has learnt to make of the first step, as BertForSequenceClassification takes it along."""
        names = [name for name, _ in self.pool.named_parameters()] if self.pooling == "first" else []
        return {f"pool.{name}": f"parts.next-sentence.pool.{name}" for name in names}

    @staticmethod
    def _pooling(config: Settings, shape: str) -> str:
        only = POOLING.get(shape)
        if only and config.pooling not in ("auto", only):
            raise InputError(
                "classify.pooling",
                f"the shape `{shape}` cannot hold `{config.pooling}`",
                f"Leave classify.pooling out, or set it to {only}.",
            )
        return only or ("mean" if config.pooling == "auto" else config.pooling)

    def logits(self, features: Features) -> Tensor:
        """(B, T, D) -> (B, L)."""
        vector = features.mean if self.pooling == "mean" else features.pooled
        return self.classifier(self.dropout(self.pool(vector)))

    def loss(self, features: Features, batch: Batch) -> Loss:
        (nats, right), count = self.nats(features, batch), batch.counts["classify"]
        return Loss({"classify": Term(nats, count)}, {"classify_accuracy": Term(right, count)})

    def nats(self, features: Features, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sums over the batch: cross-entropy, and how many samples are right."""
        logits, label = self.logits(features), batch["label"]  # (B, L), (B,)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nats = cross_entropy(logits, label, reduction="sum", label_smoothing=self.config.label_smoothing)
        return nats, (logits.argmax(-1) == label).sum()


class Prediction(NamedTuple):
    """What the model says about one input."""

    text: str
    label: str  # the likeliest
    probability: float  # of that label
    probabilities: dict[str, float]  # by label, the likeliest first


class Number(NamedTuple):
    """What the model says about one input, where that is a number."""

    text: str
    number: float  # in the unit of the labels


def part_of(objective) -> Classify:
    """The classifier in an objective."""
    parts = getattr(objective, "parts", {}).values()
    return objective if isinstance(objective, Classify) else next(one for one in parts if isinstance(one, Classify))


def predict(
    objective, signal, texts: Sequence[str | Sequence[str]], numbers: Sequence[int] = (), top: int | None = None
) -> list[Prediction]:
    """One Prediction per text, in one batch; `top` = how many labels are named (None: all).

    objective: a Classify, or a Composed that has one. numbers: the inputs' places in the stream, for messages. A text
    may be several, one a segment.
    """
    if not texts:
        return []
    part, lists = part_of(objective), [(text,) if isinstance(text, str) else tuple(text) for text in texts]
    shares = probabilities(part, signal.stack(samples_of(signal, lists)))
    shown = [" | ".join(parts) for parts in lists]
    return [_prediction(text, row, part.config.classes, top) for text, row in zip(shown, shares.tolist(), strict=True)]


def exported(part: Classify, features: Features) -> dict[str, Tensor]:
    """What other tools are given: logits (B, L)."""
    return {"logits": part.logits(features)}


def samples_of(signal, lists: Sequence[Sequence[str]]) -> list[Sample]:
    """Samples without labels, a segment for each text of an input."""
    encoded = iter(signal.encode([text for parts in lists for text in parts]))
    return [Sample(parts=tuple(next(encoded).ids for _ in parts), key=number) for number, parts in enumerate(lists)]


@torch.inference_mode()
def probabilities(part: Classify, batch: Batch) -> Tensor:
    """The batch's (B, L) probabilities, without dropout; the modules keep their mode."""
    with quiet(part.backbone, part):
        features = part.encode(batch.to(part.classifier.weight.device))
        return part.logits(features).float().softmax(-1).cpu()


def _prediction(text: str, shares: list[float], classes: tuple[str, ...], top: int | None) -> Prediction:
    order = sorted(range(len(classes)), key=lambda i: -shares[i])
    named = {classes[i]: shares[i] for i in order[:top]}
    return Prediction(text, classes[order[0]], shares[order[0]], named)


def outputs(run: Callable[[Batch], Tensor], signal, examples: Sequence[Example]) -> np.ndarray:
    """What `run` makes of the examples, (N, …) in their order."""
    samples = samples_of(signal, [parts_of(one) for one in examples])
    return np.stack(answered(lambda batch: run(batch).numpy(), signal, samples))  # type: ignore[arg-type, return-value]


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    """The score over labelled examples; `right` is 0 or 1 each."""
    part = part_of(objective)
    classes, shares = part.config.classes, outputs(lambda batch: probabilities(part, batch), signal, examples)
    found = judged(part.config, examples, [classes[i] for i in shares.argmax(1).tolist()])
    calibration = metrics.expected_calibration_error(shares.max(1), found.right > 0)
    for one in found.wrong:
        one["probability"] = float(shares[one.pop("place")].max())
    found.wrong.sort(key=lambda one: -one["probability"])
    return found._replace(figures={**found.figures, "calibration_error": calibration})


def judged(config: TaskConfig, examples: Sequence[Example], predicted: Sequence[str]) -> Outcome:
    """What any way of predicting made of the examples; `wrong` in their order."""
    gold = [str(one.label) for one in examples]
    numbers = {name: number for number, name in enumerate(config.classes)}
    figures = score([numbers[name] for name in gold], [numbers[name] for name in predicted], config.classes)
    right = np.array([a == b for a, b in zip(gold, predicted, strict=True)], float)
    wrong = [
        {"text": one.text, "gold": one.label, "predicted": said, "place": place}
        for place, (one, said) in enumerate(zip(examples, predicted, strict=True))
        if said != one.label
    ]
    return Outcome(figures, list(predicted), gold, right, np.ones(len(right)), wrong)


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
