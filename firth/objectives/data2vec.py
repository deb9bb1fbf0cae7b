"""data2vec: hide runs of a sound and guess what a copy of the encoder, that hears all of it, makes of each hidden step.

Loss: the sum over hidden steps t of the mean of (ŷ_t - y_t)² over the numbers of a vector, over the number of hidden
steps. y is the mean output of the last blocks of the teacher, each brought to mean 0 and variance 1 over the clip; the
teacher is a moving average of the encoder without a gradient. Baevski et al. 2022, arXiv 2202.03555, section 3.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from firth.functional.losses import exact
from firth.functional.random import Draw
from firth.objective import Loss, Objective, Term
from firth.objectives._projector import Teacher, rising
from firth.objectives._steps import HidingConfig, at_hidden
from firth.signal import Batch, Features

# B rows, T steps, N hidden steps, D width, L blocks

EPSILON = 1e-5  # added to variances
SLOW = 0.9  # momentum below which a collapse is the teacher's


class Config(HidingConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"time"})
    terms: ClassVar[tuple[str, ...]] = ("data2vec",)

    momentum: float = Field(
        0.99,
        ge=0,
        le=1,
        description="share of itself the teacher keeps in a step; less at first, rises to 1 by a cosine",
    )
    last: int = Field(0, ge=0, description="blocks of the teacher, from the top, whose mean is guessed; 0: two thirds")

    def unit_of(self, name: str) -> str:
        return "squared error"

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        hiding = self.hiding(batch, draw)
        counts = {**batch.counts, "data2vec": int(hiding["hidden"].sum())}
        return Batch({**batch, **hiding}, counts=counts)

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.momentum < SLOW:
            what = f"data2vec.momentum = {self.momentum:g} lets the teacher follow too fast"
            return what, "Set data2vec.momentum=0.99."
        what = "the steps may be too large, or begin too suddenly"
        return what, "Set a lower optimizer.lr, or train.warmup=0.1."


Settings = Config  # the type, where the class below has its own name `Config`


class Data2Vec(Objective):
    """A linear map from the hidden steps of the student to those of the teacher."""

    Config = Config
    config: Settings
    causal = False
    all_steps = False
    collapses = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.head = nn.Linear(backbone.shape.width, backbone.shape.width)
        self.teacher = Teacher(backbone)
        self.last = config.last or max(1, round(2 * backbone.shape.layers / 3))

    def begun(self) -> None:
        self.teacher.become()

    def after_step(self, progress: float) -> None:
        self.teacher.follow(rising(self.config.momentum, progress))

    def loss(self, features: Features, batch: Batch) -> Loss:
        hidden = batch["hidden"].flatten().nonzero()[:, 0]  # (N,)
        wanted = self.heard(batch).flatten(0, 1).index_select(0, hidden)  # (N, D)
        guess = self.head(at_hidden(features, batch["hidden"]))
        count = batch.counts["data2vec"]
        error = (exact(guess, wanted) - exact(wanted, guess)).square().mean(-1).sum()
        level = exact(wanted, guess).square().mean(-1).sum()  # what it costs to say the mean
        return Loss({"data2vec": Term(error, count)}, {"data2vec_of_mean": Term(level, count)})

    def heard(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, T, D): what the teacher makes of the whole sound."""
        whole = {name: value for name, value in batch.items() if name not in ("hidden", "keep")}
        found: Any = self.teacher(0, whole, layers=True, causal=False)
        layers = found.layers[-self.last :]
        return torch.stack([over_the_clip(layer, found.padding) for layer in layers]).mean(0)


def over_the_clip(values: Tensor, padding: Tensor | None) -> Tensor:
    """(B, T, D), (B, T) -> (B, T, D): each number of mean 0 and variance 1 over the steps of its clip."""
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    real = torch.ones_like(wide[..., :1]) if padding is None else (~padding)[..., None].to(wide.dtype)
    count = real.sum(1, keepdim=True).clamp(min=1)
    mean = (wide * real).sum(1, keepdim=True) / count
    centred = (wide - mean) * real
    return centred * (centred.square().sum(1, keepdim=True) / count + EPSILON).rsqrt()
