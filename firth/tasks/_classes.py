"""What tasks with classes share: the head over a vector of the whole sample, its loss, and weights of the classes.

Loss of one class a sample: the sum over samples of -w log p(class | sample), in nats, over the sum of their weights w,
which the labels alone decide: what torch's cross_entropy(weight=w) gives, but known before the forward pass and equal
however samples are dealt to micro-batches and ranks. The target is smoothed if wanted (arXiv 1512.00567, section 7).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firth.errors import InputError, did_you_mean
from firth.functional.random import Draw
from firth.model.heads import pool_head
from firth.model.level import Level
from firth.objective import Loss, Objective, Term
from firth.signal import Batch, Features, Finding
from firth.task import Example, TaskConfig

# B samples, T steps, D width, L classes

LAST, STATISTICS = "last", "statistics"
OF_SOUND = (STATISTICS, "mean", "first")  # how much a step changes tells words apart that have the same mean
POOLING = {  # the ways in which the Hugging Face form of a shape can pool, the usual one first; else mean, or first
    "bert": ("first",),
    "llama": (LAST,),
    "gpt2": (LAST,),
    "vit": ("first",),
    "resnet": ("mean",),
    **dict.fromkeys(("frames", "causal-frames", "wav2vec2", "hubert"), OF_SOUND),  # no such form has a head of theirs
}
RARE = 20  # times as many examples in the commonest class
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(TaskConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    reads: ClassVar[frozenset[str]] = frozenset({"label"})
    adds: ClassVar[frozenset[str]] = frozenset()

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    pooling: Literal["auto", "mean", "first", "last", "statistics"] = Field(
        "auto",
        description="vector of a sample: mean of its steps, the first step, the last, or mean and deviation of its "
        "steps; auto: first for bert and vit, last for llama and gpt2, statistics for sound, else mean",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the pooled vector dropped while training")
    class_weights: Literal["none", "balanced"] | dict[str, Factor] = Field(
        "none",
        description="factor of each class in the loss: `none`; `balanced`, the rarer the more; or numbers by class, 1 "
        "where none is given",
    )
    calibrate: bool = Field(
        True, description="whether a temperature is fitted after training, by at least 100 validation examples"
    )

    @property
    def factors(self) -> tuple[float, ...] | None:
        """(L,) weights of the classes; None: all weigh the same."""
        weights = self.class_weights
        return tuple(weights.get(name, 1.0) for name in self.classes) if isinstance(weights, dict) else None

    def learnt_from(self, examples: Sequence[Example]) -> Self:
        if self.class_weights == "none":
            return self
        where = f"{self.terms[0]}.class_weights"
        if not self.classed:
            raise InputError(where, "weighs classes, and the labels are numbers", "Leave it out.")
        weights = self.balanced(examples) if self.class_weights == "balanced" else self.class_weights
        refuse_strangers(where, weights, self.classes)
        return self.model_copy(update={"class_weights": {name: weights.get(name, 1.0) for name in self.classes}})

    def balanced(self, examples: Sequence[Example]) -> dict[str, float]:
        """N / (L × examples of the class), as scikit-learn's: every class has the same part in the loss."""
        counts = Counter(name for one in examples for name in self.classes_of(one))
        return {name: len(examples) / (len(self.classes) * max(counts[name], 1)) for name in self.classes}

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch.counts[self.terms[0]] = self.amount(batch["label"]) if "label" in batch else 0
        return batch

    def amount(self, label: Tensor) -> float:
        """(B,) -> what the loss of these labels is divided by: their number, or the sum of their weights."""
        if not self.classed or self.factors is None:
            return len(label)
        return float(torch.tensor(self.factors, dtype=torch.float64)[label.cpu()].sum())

    def remarks(self, examples: Sequence[Example]) -> list[Finding]:
        """A class that has less than a twentieth of the examples of the commonest."""
        if not self.classed or self.several or not examples:
            return []
        counts = Counter(name for one in examples for name in self.classes_of(one))
        rarest = min(self.classes, key=lambda name: counts[name])
        if RARE * counts[rarest] >= max(counts.values()):
            return []
        what = f"`{rarest}` has {counts[rarest]:,} examples, the commonest class {max(counts.values()):,}"
        return [Finding("warning", self.terms[0], what, "Read macro-F1 beside accuracy, or label more of it.")]


Settings = Config  # the type, where the class below has its own name `Config`


def refuse_strangers(where: str, weights: Mapping[str, float], classes: Sequence[str]) -> None:
    """Raises InputError for the weight of a class that there is not."""
    for name in weights:
        if name not in classes:
            listed = ", ".join(f"`{one}`" for one in classes)
            raise InputError(where, f"`{name}` is no class", f"{did_you_mean(name, classes)}There is: {listed}.")


class ClassHead(Objective):
    """The shape's own pooling head, dropout, Linear(D, L): as *ForSequenceClassification of the shape has it.

    Where a step sees only earlier ones, the last one alone has seen the whole sample: it takes that one's vector, and
    a map without bias (GPT, Radford et al. 2018, section 3.2). Of sound, one map of mean and deviation over the steps.
    """

    Config = Config
    config: Settings
    all_steps = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        if self.outputs(config) < 1:
            found = f"there is one class only, `{config.classes[0]}`" if config.classes else "there are no classes"
            raise InputError(
                f"task `{config.terms[0]}`",
                f"{found}: nothing to tell apart",
                "Give labelled data with at least two labels; --label names the column.",
            )
        shape = backbone.shape
        self.pooling, self.of_patches = self._pooling(config, shape.name), bool(shape.patch)
        self.pool = nn.Identity() if self.pooling in (LAST, STATISTICS) else pool_head(shape)
        self.dropout = nn.Dropout(config.dropout)
        width = 2 * shape.width if self.pooling == STATISTICS else shape.width
        self.classifier = nn.Linear(width, self.outputs(config), bias=self.pooling != LAST)
        plain = isinstance(self.pool, nn.Identity) and self.pooling != LAST
        self.level = Level(self.classifier) if plain else None
        self.temperature: float | None = None  # by which the last map was divided after training

    @classmethod
    def outputs(cls, config: Settings) -> int:
        """Numbers per sample that the last map gives; 0 where there is nothing to tell apart."""
        return len(config.classes) if len(config.classes) > 1 else 0

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of the model folder must know besides the weights; keys of Config are read back from it."""
        told = {} if self.temperature is None else {"temperature": self.temperature}
        return {"pooling": self.pooling, **told}

    @property
    def adopts(self) -> Mapping[str, str]:
        """What next sentence has learnt to make of the first step, as BertForSequenceClassification takes it along."""
        names = [name for name, _ in self.pool.named_parameters()] if self.pooling == "first" else []
        return {f"pool.{name}": f"parts.next-sentence.pool.{name}" for name in names}

    @staticmethod
    def _pooling(config: Settings, shape: str) -> str:
        ways = POOLING.get(shape, ("mean", "first"))
        if config.pooling not in ("auto", *ways):
            where = f"{config.terms[0]}.pooling"
            what = f"the shape `{shape}` cannot hold `{config.pooling}`"
            raise InputError(where, what, f"Leave {where} out, or set it to {' or '.join(ways)}.")
        return ways[0] if config.pooling == "auto" else config.pooling

    def vector(self, features: Features) -> Tensor:
        """(B, T, D) -> (B, D), of statistics (B, 2 D): what the head is given of each sample."""
        return features.pooled if self.pooling == "first" else getattr(features, self.pooling)

    def probed(self, features: Features) -> Tensor:
        """(B, T, D) -> vectors as above: what a probe of the encoder as it is reads of each sample. Of patches it is
        their mean: the class token learns little where no loss asks for it, as in MAE."""
        return features.patches if self.of_patches else self.vector(features)

    def levelled(self, features: Features) -> Tensor:
        vector = self.pool(self.vector(features))
        return vector if self.level is None else self.level(vector)

    def logits(self, features: Features) -> Tensor:
        """(B, T, D) -> (B, L), at least fp32."""
        found = self.classifier(self.dropout(self.levelled(features)))
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def loss(self, features: Features, batch: Batch) -> Loss:
        logits, label, name = self.logits(features), batch["label"], self.config.terms[0]  # (B, L), (B,)
        factors = logits.new_tensor(self.config.factors) if self.config.factors else None
        nats = cross_entropy(logits, label, factors, reduction="sum", label_smoothing=self.config.label_smoothing)
        right = (logits.argmax(-1) == label).sum()
        return Loss({name: Term(nats, batch.counts[name])}, {f"{name}_accuracy": Term(right, len(label))})

    @torch.no_grad()
    def soften(self, temperature: float) -> None:
        """Divide the logits by the temperature from now on. It goes into the last map, so that whoever opens the saved
        model has the calibrated probabilities."""
        for parameter in self.classifier.parameters():
            parameter.div_(temperature)
        self.temperature = temperature


def part_of(objective) -> ClassHead:
    """The head in an objective, or the objective itself."""
    parts = getattr(objective, "parts", {}).values()
    return objective if isinstance(objective, ClassHead) else next(one for one in parts if isinstance(one, ClassHead))
