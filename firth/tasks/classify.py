"""Classify: one label per sample, from a vector over the whole sample.

Loss: the sum over samples of -log p(label | sample), in nats, over their number, the target smoothed if wanted.
BERT's fine-tuning, arXiv 1810.04805, section 4.1; label smoothing: arXiv 1512.00567, section 7.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firth.errors import InputError
from firth.functional import metrics
from firth.functional.random import Draw
from firth.model.heads import PoolHead
from firth.objective import Loss, Objective, ObjectiveConfig, Term
from firth.signal import Batch, Facts, Features, Finding, Sample

# B samples, T steps, D width, L classes

POOLING = {"bert": "first"}  # shapes whose Hugging Face form pools one way only


class Config(ObjectiveConfig):
    reads: ClassVar[frozenset[str]] = frozenset({"label"})
    adds: ClassVar[frozenset[str]] = frozenset()
    terms: ClassVar[tuple[str, ...]] = ("classify",)

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    pooling: Literal["auto", "mean", "first"] = Field(
        "auto", description="vector of a sample: mean of its steps, or the first step; auto: first for bert, else mean"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the pooled vector dropped while training")
    classes: tuple[str, ...] = Field((), description="filled: names of the labels, in index order")

    def fill(self, facts: Facts) -> Self:
        return self.model_copy(update={"classes": tuple(facts.classes)}) if facts.classes else self

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
        if len(config.classes) < 2:
            found = f"there is one class only, `{config.classes[0]}`" if config.classes else "there are no classes"
            raise InputError(
                "task `classify`",
                f"{found}: nothing to tell apart",
                "Give labelled data with at least two labels; --label names the column.",
            )
        shape = backbone.shape
        self.pooling = self._pooling(config, shape.name)
        self.pool = PoolHead(shape)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(shape.width, len(config.classes))

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of the model folder must know besides the weights; keys of Config are read back from it."""
        return {"pooling": self.pooling}

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
        logits, label = self.logits(features), batch["label"]  # (B, L), (B,)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nats = cross_entropy(logits, label, reduction="sum", label_smoothing=self.config.label_smoothing)
        count, right = batch.counts["classify"], (logits.argmax(-1) == label).sum()
        return Loss({"classify": Term(nats, count)}, {"classify_accuracy": Term(right, count)})


class Prediction(NamedTuple):
    """What the model says about one input."""

    text: str
    label: str  # the likeliest
    probability: float  # of that label
    probabilities: dict[str, float]  # by label, the likeliest first


def part_of(objective) -> Classify:
    return objective if isinstance(objective, Classify) else objective.parts["classify"]


def predict(
    objective, signal, texts: Sequence[str], numbers: Sequence[int] = (), top: int | None = None
) -> list[Prediction]:
    """One Prediction per text, in one batch; `top` = how many labels are named (None: all).

    objective: a Classify, or a Composed that has one. numbers: the inputs' places in the stream, for messages.
    """
    if not texts:
        return []
    part = part_of(objective)
    encoded = signal.encode(list(texts))
    samples = [Sample(parts=(item.ids,), key=number) for number, item in enumerate(encoded)]
    shares = probabilities(part, signal.stack(samples))
    return [_prediction(text, row, part.config.classes, top) for text, row in zip(texts, shares.tolist(), strict=True)]


@torch.inference_mode()
def probabilities(part: Classify, batch: Batch) -> Tensor:
    """The batch's (B, L) probabilities, without dropout; the modules keep their mode."""
    modules = [module for top in (part.backbone, part) for module in top.modules() if module.training]
    for module in modules:
        module.training = False
    try:
        features = part.encode(batch.to(part.classifier.weight.device))
        return part.logits(features).float().softmax(-1).cpu()
    finally:
        for module in modules:
            module.training = True


def _prediction(text: str, shares: list[float], classes: tuple[str, ...], top: int | None) -> Prediction:
    order = sorted(range(len(classes)), key=lambda i: -shares[i])
    named = {classes[i]: shares[i] for i in order[:top]}
    return Prediction(text, classes[order[0]], shares[order[0]], named)


class Wrong(NamedTuple):
    """A sample that the model gets wrong."""

    key: int  # of the sample
    gold: str
    predicted: str
    probability: float  # of the predicted label


def evaluate(objective, batches: Iterable[Batch]) -> dict[str, Any]:
    """The score over labelled batches, and "wrong": the samples it gets wrong, the surest first."""
    part = part_of(objective)
    classes = part.config.classes
    gold: list[int] = []
    predicted: list[int] = []
    wrong: list[Wrong] = []
    for batch in batches:
        sure, guess = probabilities(part, batch).max(-1)
        gold += batch["label"].tolist()
        predicted += guess.tolist()
        rows = zip(batch.keys_.tolist(), batch["label"].tolist(), guess.tolist(), sure.tolist(), strict=True)
        wrong += [Wrong(key, classes[g], classes[p], share) for key, g, p, share in rows if g != p]
    return score(gold, predicted, classes) | {"wrong": sorted(wrong, key=lambda one: -one.probability)}


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
