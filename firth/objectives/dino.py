"""DINO: a student that sees small parts of a picture says what a slowly moving teacher says of large parts of it.

Loss: Caron et al. 2021, arXiv 2104.14294, section 3.1, equations 1 to 4: the sum over the pictures of the mean, over
pairs of a large view x and any other view x', of -Σ_k P_t(x)_k log P_s(x')_k, in nats, over their number. P_s is the
softmax of the student's outputs by its temperature, P_t that of the teacher's outputs, less their centre, by a lower
one. The centre is a moving average of the teacher's outputs: it keeps one output from winning, the low temperature
keeps all from being alike.

Departures: the centre begins as the mean of the first step (in the paper as 0); the temperature of the teacher and the
last map are the same from the first step on (the paper warms the one up, and holds the other still for an epoch).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from firth import distributed
from firth.functional import augment
from firth.functional.augment import Policy
from firth.objective import Loss, Term
from firth.objectives._projector import Teacher, rising, spread, unit
from firth.objectives._views import ComparingViews, UnlikeViewsConfig, look
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch, Features

# B samples of this rank, V views of which the first LARGE are large, K outputs, Z width before the last map

LARGE = 2
SIDE = 96 / 224  # of a small view, by that of a large one


class Config(UnlikeViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("dino",)
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer.lr": 3e-4}  # at more, all pictures soon get one vector
    shares: ClassVar[int] = 1

    local: int = Field(4, ge=0, description="small views of a picture, beside the two large ones (paper: 8)")
    divide: float = Field(0.4, gt=0, lt=1, description="share of the area: large views are above, small views below")
    crop: float | None = Field(0.05, gt=0, le=1, description="smallest of the small views, share of the area")
    prototypes: int = Field(1024, ge=2, description="outputs of the head (paper: 65536)")
    hidden: int = Field(512, ge=1, description="width between the three maps of the head (paper: 2048)")
    bottleneck: int = Field(256, ge=2, description="width before the last map")
    temperature: float = Field(0.1, gt=0, description="of the student")
    teacher_temperature: float = Field(0.04, gt=0, description="of the teacher; lower: its outputs are sharper")
    centring: float = Field(0.9, ge=0, lt=1, description="share of itself that the centre keeps in a step")
    momentum: float = Field(
        0.99, ge=0, le=1, description="share of itself that the teacher keeps in a step; rises to 1 by a cosine"
    )

    @property
    def policies(self) -> list[Policy]:
        """Two large views, unlike; then the small ones."""
        policy = self.policy
        large = [one._replace(crop=(self.divide, 1.0)) for one in super().policies]
        small = policy._replace(crop=(min(policy.crop[0], self.divide / 2), self.divide), solarise=0.0)
        return large + [small] * self.local

    def unit_of(self, name: str) -> str:
        return "" if name == "dino_spread" else "nats"

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.teacher_temperature >= self.temperature:
            what = "dino.teacher_temperature is no lower than the student's: all outputs become alike"
            return what, "Set dino.teacher_temperature=0.04."
        what = f"dino.centring = {self.centring:g} or dino.momentum = {self.momentum:g} does not hold the teacher"
        return what, "Raise dino.momentum towards 1, or lower optimizer.lr."


Settings = Config  # the type, where the class below has its own name `Config`


class Head(nn.Module):
    """(B, D) -> (B, K): three maps with GELU, a unit vector, its cosines with K directions."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        parts = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        self.map = nn.Sequential(*parts)
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
        self.patch = backbone.shape.patch or 1  # pixels; small views are of whole patches
        self.head = Head(backbone.shape.width, config.hidden, config.bottleneck, config.prototypes)
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
        large = augment.views(batch["pixels"], batch["views"][:, :LARGE])  # (LARGE·B, C, S, S)
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
        """(local·B, K), in a list that is empty where there are no small views."""
        if not self.config.local:
            return []
        patch, side = self.patch, batch["pixels"].shape[2]
        size = patch * max(1, round(SIDE * side / patch))
        return [self.head(look(self.backbone, augment.views(batch["pixels"], batch["views"][:, LARGE:], size)))]

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
