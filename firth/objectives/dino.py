"""DINO: a student that sees small parts of a picture says what a slowly moving teacher says of large parts of it.

Loss: Caron et al. 2021, arXiv 2104.14294, section 3.1, equations 1 to 4: the sum over the pictures of the mean, over
pairs of a large view x and any other view x', of -Σ_k P_t(x)_k log P_s(x')_k, in nats, over their number. P_s is the
softmax of the student's outputs by its temperature, P_t that of the teacher's outputs, less their centre, by a lower
one. The centre is a moving average of the teacher's outputs: it keeps one output from winning, the low temperature
keeps all from being alike.

Departures: the centre begins as the mean of the first step (in the paper as 0); the temperature of the teacher and the
last map are the same from the first step on (the paper warms the one up, and holds the other still for an epoch). A
small view has half the side of a large one (in the paper 96 of 224 pixels), and at least 16 pixels; of pictures of up
to 64 pixels there are none. On a net with batch norm the head has one, too, and a map less, as lightly's for CIFAR-10.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from firth import distributed
from firth.functional import augment
from firth.functional.augment import Policy
from firth.model.batch_norm import BatchNorm, norms_of, nothing_remembered
from firth.model.shape import AnyShape
from firth.objective import Loss, Term
from firth.objectives._projector import Teacher, rising, spread, unit
from firth.objectives._views import ComparingViews, UnlikeViewsConfig, look, side_of_views
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch, Facts, Features

# B samples of this rank, V views of which the first LARGE are large, K outputs, Z width before the last map

LARGE = 2
LOCAL, CROP = 4, 0.05  # where nobody says: how many small views, and the smallest of them, share of the area
TINY = 64  # pixels of a side up to which a part of a picture shows too little: no small views
SMALL = 0.5  # side of a small view, share of that of a large one


class Config(UnlikeViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("dino",)
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer.lr": 3e-4}  # at more, all pictures soon get one vector
    shares: ClassVar[int] = 1

    local: int | None = Field(
        None, ge=0, description="filled: small views beside the two large ones: 4 (paper: 8), 0 up to 64 pixels a side"
    )
    divide: float = Field(
        0.4, gt=0, lt=1, description="share of the area: where there are small views, large ones are above, they below"
    )
    crop: float | None = Field(
        None, gt=0, le=1, description="smallest view, share of the area; None: 0.05 of small ones, else by the preset"
    )
    prototypes: int = Field(1024, ge=2, description="outputs of the head (paper: 65536)")
    hidden: int = Field(512, ge=1, description="width between the maps of the head (paper: 2048)")
    bottleneck: int = Field(256, ge=2, description="width before the last map")
    temperature: float = Field(0.1, gt=0, description="of the student")
    teacher_temperature: float = Field(0.04, gt=0, description="of the teacher; lower: its outputs are sharper")
    centring: float = Field(0.9, ge=0, lt=1, description="share of itself that the centre keeps in a step")
    momentum: float = Field(
        0.99,
        ge=0,
        le=1,
        description="share of itself the teacher keeps in a step; less at first, rises to 1 by a cosine",
    )

    def fill(self, facts: Facts) -> Self:
        """How views are drawn hangs on the size of the pictures, which the shape knows."""
        return self

    def fit(self, shape: AnyShape) -> Self:
        local = (LOCAL if shape.image > TINY else 0) if self.local is None else self.local
        fitting = super().fit(shape).model_copy(update={"local": local})
        return fitting.model_copy(update=fitting.amounts())

    def amounts(self) -> dict[str, float]:
        return super().amounts() | ({"crop": CROP} if self.crop is None and self.local else {})

    @property
    def policies(self) -> list[Policy]:
        """Two large views, unlike; then the small ones."""
        large, policy = super().policies, self.policy
        if not self.local:
            return large
        small = policy._replace(crop=(min(policy.crop[0], self.divide / 2), self.divide), solarise=0.0)
        return [one._replace(crop=(self.divide, 1.0)) for one in large] + [small] * self.local

    def unit_of(self, name: str) -> str:
        return "" if name == "dino_spread" else "nats"

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.teacher_temperature >= self.temperature:
            what = "dino.teacher_temperature is no lower than the student's: all outputs become alike"
            return what, "Set dino.teacher_temperature=0.04."
        what = "the steps may be too large, or too few for teacher and centre to settle"
        return what, "Set a lower optimizer.lr, and give it more time."


Settings = Config  # the type, where the class below has its own name `Config`


class Head(nn.Module):
    """(B, D) -> (B, K): maps with GELU, three, or two with batch norm; a unit vector, its cosines with K directions."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int, norm: bool):
        super().__init__()
        parts: list[nn.Module] = [nn.Linear(width, hidden, bias=not norm)]
        parts += [BatchNorm(hidden)] if norm else [nn.GELU(), nn.Linear(hidden, hidden)]
        self.map = nn.Sequential(*parts, nn.GELU(), nn.Linear(hidden, bottleneck))
        self.last = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(self, pooled: Tensor) -> Tensor:
        values, directions = unit(self.map(pooled)), unit(self.last.weight)
        with torch.autocast(pooled.device.type, enabled=False):  # a low temperature magnifies what rounding leaves
            return values @ directions.T


class DINO(ComparingViews):
    """The samples of a batch are not compared with each other; the centre moves after the step."""

    Config = Config
    config: Settings
    centre: Tensor

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        norm = bool(norms_of(backbone))
        self.head = Head(backbone.shape.width, config.hidden, config.bottleneck, config.prototypes, norm)
        self.teacher = Teacher(backbone, self.head)
        self.register_buffer("centre", torch.zeros(config.prototypes))
        self.fresh: list[
            Tensor
        ] = []  # of this step's micro-batches: (K + 1,) sum of the teacher's outputs, their number

    def begun(self) -> None:
        self.teacher.become()

    def after_step(self, progress: float) -> None:
        self.teacher.follow(rising(self.config.momentum, progress))
        summed = distributed.total_of(torch.stack(self.fresh).sum(0))
        mean = (summed[:-1] / summed[-1]).to(self.centre.dtype)
        self.centre.lerp_(mean, 1 - self.config.centring if self.centre.any() else 1.0)
        self.fresh = []

    def forward(self, batch: Batch) -> Loss:
        large = self.pictures(batch, LARGE)  # (LARGE·B, C, S, S)
        pooled = look(self.backbone, large)
        said = [self.head(pooled), *self.small(batch)]
        wanted = self.teacher(1, self.teacher(0, {"pixels": large}).pooled)  # (LARGE·B, K)
        if self.training:
            self.fresh.append(torch.cat([wanted.sum(0), wanted.new_tensor([len(wanted)])]))
        shares = self.sharpened(wanted).unflatten(0, (LARGE, -1))  # (LARGE, B, K)
        logs = (torch.cat(said) / self.config.temperature).log_softmax(-1).unflatten(0, (-1, shares.shape[1]))
        count = batch.counts["dino"]
        entropy = -torch.xlogy(shares, shares).sum() / LARGE
        metrics = {"dino_teacher_entropy": Term(entropy, count), "dino_spread": spread(pooled)}
        return Loss({"dino": Term(across(shares, logs), count)}, metrics)

    def small(self, batch: Batch) -> list[Tensor]:
        """(local·B, K), in a list that is empty where there are no small views. Running statistics are those of large
        views alone, as whole pictures are looked at later."""
        if not self.config.local:
            return []
        size = side_of_views(self.side(batch), SMALL, self.patch)
        views = augment.views(batch["pixels"], batch["views"][:, LARGE:], size)
        with nothing_remembered(self.backbone, self.head):
            return [self.head(look(self.backbone, views))]

    def sharpened(self, outputs: Tensor) -> Tensor:
        """(N, K) -> what the teacher says, centred and sharpened."""
        return ((outputs - self.centre.to(outputs.dtype)) / self.config.teacher_temperature).softmax(-1)

    def compared(self, features: Features) -> Tensor:
        """(B, Z), of pictures as they are."""
        return self.head.map(features.pooled)


def across(shares: Tensor, logs: Tensor) -> Tensor:
    """(LARGE, B, K), (V, B, K) -> the cross-entropy summed over the pictures, mean over pairs of different views."""
    pairs = -torch.einsum("ibk,jbk->ij", shares, logs)  # (LARGE, V)
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(pairs))
