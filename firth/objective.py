"""What an objective is: Config, Objective, Loss. To the loop a pretext and a downstream task are the same thing."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from firth.errors import InputError
from firth.functional.random import Draw
from firth.model.layer_sum import LayerSum
from firth.model.level import Level
from firth.model.shape import AnyShape
from firth.model.store import Store
from firth.signal import Batch, Facts, Features, Finding, Sample


class Term(NamedTuple):
    """A sum and how many items it is over, never a mean."""

    sum: Tensor  # scalar
    count: Tensor | float  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a term


class Loss(NamedTuple):
    terms: dict[str, Term]  # what is minimised
    metrics: dict[str, Term]  # what is shown (accuracy = right / seen); made into means only in the log


class Before(NamedTuple):
    """What a step over the whole data, before the first batch, is given."""

    sources: list[Any]  # of samples (data.source.Source): the training part, the held-out part
    signal: Any
    encode: Callable[[str, int], tuple[str, Callable[[list[Sample]], list[np.ndarray]]]]  # model folder, block (0: the
    # middle one) -> its mark, and the function from samples to the block's vectors (T, D) of each
    place: Path  # a folder for files, of this data alone
    seed: int
    note: Callable[[str], None]  # tells a person


class ObjectiveConfig(BaseModel):
    """The recipe table of a method, named after its file. Frozen; the method's CPU side, pure in (samples, draw)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    needs: ClassVar[frozenset[str]] = frozenset()  # what the signal must offer: "tokens", "sentences", "partner"
    reads: ClassVar[frozenset[str]] = frozenset()  # batch keys read by prepare and loss
    adds: ClassVar[frozenset[str]] = frozenset()  # batch keys (and counts) written by arrange and prepare
    terms: ClassVar[tuple[str, ...]] = ()  # names of the loss terms = names in batch.counts
    shape: ClassVar[str | None] = None  # of model/sizes.py, that goes with it where nobody named one
    defaults: ClassVar[Mapping[str, Any]] = {}  # dotted recipe keys that go with it where nobody set them
    fresh_defaults: ClassVar[Mapping[str, Any]] = {}  # the same, of runs that go on from no model
    uses: ClassVar[tuple[str, ...]] = (
        "firth compare {} LABELS.tsv --task classify",
        "firth adapt {} LABELS.tsv --task classify",
    )  # commands on a run, the next first
    opens: ClassVar[str] = "AutoModel"  # the class of transformers that takes its model folder

    weight: float = Field(1.0, ge=0, description="factor of this objective's terms in the loss")

    def unit_of(self, name: str) -> str:
        """Of the mean of a term or metric, for people; "" where it has none."""
        return "nats" if name in self.terms else ""

    def fill(self, facts: Facts) -> Self:
        """Complete the fields that depend on the data; the filled config is what the run folder keeps."""
        return self

    def fit(self, shape: AnyShape) -> Self:
        """Complete the fields that depend on the shape of the encoder, after `fill`."""
        return self

    def ready(self, given: Before) -> Self:
        """Optional: a step over the whole data before the first batch, such as clustering it; what it finds lies in
        files under `given.place`, and the config that is returned knows of them. Done before: nothing to do."""
        return self

    @property
    def partnered(self) -> bool:
        """Whether each sample is to come with a random one of another document or file, in `partner`."""
        return "partner" in self.needs

    def arrange(self, samples: list[Sample], draw: Draw) -> list[Sample]:
        """Optional: make pairs, order, views out of what data/ hands out, before stacking."""
        return samples

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        """Hide, add targets, and write batch.counts[term] for each term. Returns the batch (may be the same)."""
        return batch

    def check(self, samples: list[Sample]) -> list[Finding]:
        """What a person should know of the training samples, by some of them, before a run begins."""
        return []

    def ailing(self, means: Mapping[str, float]) -> list[Finding]:
        """What a person must know of an evaluation: a good loss does not show that codes or vectors collapse."""
        return []

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause in view of these settings, and what to do, a whole sentence."""
        return ("nothing in the loss keeps vectors apart, or the steps are too large",
                "Set a lower optimizer.lr, or choose another --objective.")  # fmt: skip


def unit_of_loss(configs: Iterable[ObjectiveConfig]) -> str:
    """Of the weighted total, where all terms have the same; else ""."""
    found = {config.unit_of(term) for config in configs for term in config.terms}
    return found.pop() if len(found) == 1 else ""


class Objective(nn.Module):
    """Device side of a method: its heads, and its loss after one encoder pass. One subclass per file."""

    Config: ClassVar[type[ObjectiveConfig]] = ObjectiveConfig
    compares_samples: ClassVar[bool] = False  # True for SimCLR and kin: accumulation is refused
    all_steps: ClassVar[bool] = True  # False: the vectors at batch["keep"] are enough
    causal: ClassVar[bool | None] = None  # True: no step may see later ones; False: all must; None: as the shape has it
    vectors: ClassVar[bool] = False  # True: one vector a sample is what it is after, and is measured along the way
    collapses: ClassVar[bool] = False  # True: like vectors for all samples may please the loss; an alarm watches
    many_directions: ClassVar[bool] = False  # True: the loss drives vectors into many: few are a collapse, too

    def __init__(self, config: ObjectiveConfig, backbone: nn.Module):
        super().__init__()
        self.config = config
        self._backbone = (backbone,)  # a tuple: used, but registered only once, in Composed
        self.layer_sum: LayerSum | None = None  # over the layers of the encoder, where a task reads them all
        self.store: Store | None = None  # while a head learns on a frozen encoder: what that gave of each sample
        self.level: Level | None = None  # before the map of a head that can be given levelled numbers

    @property
    def backbone(self) -> nn.Module:
        return self._backbone[0]

    @property
    def adopts(self) -> Mapping[str, str]:
        """Own tensor → the name under which a model folder may hold its like, where it has none of its own."""
        return {}

    def loss(self, features: Features, batch: Batch) -> Loss:
        """Sums over items and the counts that are in batch.counts."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Loss:
        """Default: encode, then loss. Methods with passes of their own (SimCLR, MAE) write this, and stand alone."""
        return self.loss(self.encode(batch), batch)

    def encode(self, batch: Batch, layers: bool = False) -> Features:
        summed = self.layer_sum is not None
        run = partial(_encode, self.backbone, batch, self.all_steps or summed, layers or summed, self.causal)
        features = run() if self.store is None else self.store(batch, run)
        return features if self.layer_sum is None else self.layer_sum.applied(features)

    def levelled(self, features: Features) -> Tensor:
        """What the map behind `level` is given, before dropout; of heads that have a level."""
        raise NotImplementedError

    def watched(self, features: Features) -> Tensor:
        """(B, D) the vector of each sample that is looked at along the way."""
        return features.pooled

    def compared(self, features: Features) -> Tensor | None:
        """(B, K) what the loss compares of each sample, where that is not the pooled vector; for the alarm."""
        return None

    def twins(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """(B, D) twice: the pooled vectors of two views of each sample of a prepared batch, where it has views."""
        return None

    def begun(self) -> None:
        """Called once all weights are those that training begins with: the time to copy them."""

    def meet(self, batch: Batch) -> None:
        """Called with a batch, the same on all ranks, before training begins with weights of its own that are as they
        were drawn: the time to suit these to the data."""

    def after_step(self, progress: float) -> None:
        """Schedules and moving averages; progress in [0, 1]."""


class Composed(nn.Module):
    """One encoder and the objectives over it: what the loop trains and a checkpoint holds."""

    def __init__(self, backbone: nn.Module, parts: Mapping[str, Objective]):
        super().__init__()
        refuse_uncomposable(parts)
        self.backbone = backbone
        self.parts = nn.ModuleDict(dict(parts))
        self._compares = any(p.compares_samples for p in parts.values())
        self.causal = next((p.causal for p in parts.values() if p.causal is not None), None)

    @property
    def compares_samples(self) -> bool:
        """Whether a sample's loss depends on the others: by the method, or by a batch norm that learns."""
        mixes = getattr(self.backbone, "compares_samples", False) and not getattr(self.backbone, "frozen", False)
        return self._compares or mixes

    @property
    def objectives(self) -> list[Objective]:
        """The parts, in the order they arrange and prepare."""
        return cast(list[Objective], list(self.parts.values()))

    @property
    def configs(self) -> list[ObjectiveConfig]:
        return [part.config for part in self.objectives]

    def encode(self, batch: Batch, layers: bool = False) -> Features:
        return _encode(self.backbone, batch, any(part.all_steps for part in self.objectives), layers, self.causal)

    def forward(self, batch: Batch) -> Loss:
        """Sums and counts of all parts; weights are applied by the loop through `weights`."""
        if len(self.parts) == 1:
            return self.objectives[0](batch)
        features = self.encode(batch)
        losses = [part.loss(features, batch) for part in self.objectives]
        return Loss(_union(loss.terms for loss in losses), _union(loss.metrics for loss in losses))

    @property
    def weights(self) -> dict[str, float]:
        """Factor of each term."""
        return {term: part.config.weight for part in self.objectives for term in part.config.terms}

    def begun(self) -> None:
        for part in self.objectives:
            part.begun()

    def meet(self, batch: Callable[[], Batch], loaded: Collection[str] = ()) -> None:
        """Show a batch to the parts that want one and have taken no weights from elsewhere.

        batch: makes it, on the device of the weights; not called where nobody wants it. loaded: tensors taken, by name.
        """
        named = zip(self.parts, self.objectives, strict=True)
        drawn = [part for name, part in named if not any(one.startswith(f"parts.{name}.") for one in loaded)]
        wanting = [part for part in drawn if type(part).meet is not Objective.meet]
        if wanting:
            seen = batch()
            for part in wanting:
                part.meet(seen)

    def after_step(self, progress: float) -> None:
        for part in self.objectives:
            part.after_step(progress)


def collate(samples: list[Sample], configs: list[ObjectiveConfig], signal, draw: Draw) -> Batch:
    """All arrange in turn, the signal stacks, all prepare in turn."""
    for config in configs:
        samples = config.arrange(samples, draw)
    batch = signal.stack(samples)
    for config in configs:
        batch = config.prepare(batch, draw)
    return batch


@contextmanager
def quiet(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) for a while; every module then has its own mode again."""
    training = [module for top in modules for module in top.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def total(loss: Loss, counts: Mapping[str, float], weights: Mapping[str, float]) -> Tensor:
    """The scalar to differentiate: each sum over its *global* count (0 counts as 1), weighted.

    counts: the totals over all micro-batches and ranks, known before the first backward; of weighted items the sum of
    their weights, which may be below 1.
    """
    shares = [weights.get(name, 1.0) * term.sum / (counts[name] or 1) for name, term in loss.terms.items()]
    return torch.stack([share.reshape(()) for share in shares]).sum()


def refuse_uncomposable(parts: Mapping[str, Objective]) -> None:
    own = [name for name, part in parts.items() if type(part).forward is not Objective.forward]
    if len(parts) > 1 and own:
        raise InputError(
            f"objective `{','.join(parts)}`",
            f"`{own[0]}` makes its own passes through the encoder and cannot share one",
            f"Run `--objective {own[0]}` alone.",
        )
    sights = {part.causal: name for name, part in parts.items() if part.causal is not None}
    if len(sights) > 1:
        raise InputError(
            f"objective `{','.join(parts)}`",
            f"`{sights[True]}` must not see what comes later, and `{sights[False]}` must: one pass cannot be both",
            f"Run `--objective {sights[True]}` alone.",
        )


def _encode(backbone: nn.Module, batch: Batch, all_steps: bool, layers: bool, causal: bool | None) -> Features:
    keep = None if all_steps or layers else batch.get("keep")
    features = backbone(batch, keep=keep, layers=layers, causal=causal)
    features.kept = keep is not None
    return features


def _union(dictionaries) -> dict:
    return {key: value for dictionary in dictionaries for key, value in dictionary.items()}
