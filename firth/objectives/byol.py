"""BYOL: what is seen in one view of a picture predicts what a slowly moving copy of the encoder sees in another.

Loss: Grill et al. 2020, arXiv 2006.07733, section 3.1, equation 2: 2 - 2 cos(q(z), z'), where z comes of one view
through encoder and projector, q is the predictor, and z' comes of the other view through the teacher, a moving average
of encoder and projector without a gradient. Both ways round, summed over the pictures, over their number.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from firth.objective import Loss, Term
from firth.objectives._projector import Projector, Teacher, rising, spread, unit
from firth.objectives._views import ComparingViews, UnlikeViewsConfig, look
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch

# B samples of this rank, V = 2 views, Z width of the projection

SLOW = 0.9  # momentum below which a collapse is the teacher's


class Config(UnlikeViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("byol",)
    shares: ClassVar[int] = 1

    momentum: float = Field(
        0.99, ge=0, le=1, description="share of itself that the teacher keeps in a step; rises to 1 by a cosine"
    )
    predictor: bool = Field(True, description="whether a predictor stands on the student; without it vectors collapse")
    hidden: int = Field(512, ge=1, description="width between the two maps of projector and predictor")
    out: int = Field(128, ge=2, description="width of what is compared")

    def unit_of(self, name: str) -> str:
        return "squared distance" if name in self.terms else ""

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if not self.predictor:
            return "byol.predictor = false lets the student meet its teacher in one point", "Set byol.predictor=true."
        if self.momentum < SLOW:
            return f"byol.momentum = {self.momentum:g} lets the teacher follow too fast", "Set byol.momentum=0.99."
        return (
            "the steps may be too large, or the batch too small",
            "Set a lower optimizer.lr, or a larger train.batch.",
        )


Settings = Config  # the type, where the class below has its own name `Config`


class BYOL(ComparingViews):
    """Batch norm compares the samples of a batch: it is part of the method, and it keeps vectors apart."""

    Config = Config
    config: Settings
    compares_samples = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.projector = Projector(backbone.shape.width, (config.hidden,), config.out)
        self.predictor = Projector(config.out, (config.hidden,), config.out) if config.predictor else nn.Identity()
        self.teacher = Teacher(backbone, self.projector, hurries=False)  # the predictor needs a slow one from the start

    def begun(self) -> None:
        self.teacher.become()

    def after_step(self, progress: float) -> None:
        self.teacher.follow(rising(self.config.momentum, progress))

    def forward(self, batch: Batch) -> Loss:
        pictures = self.pictures(batch)  # (V·B, C, S, S)
        projected = self.projector(look(self.backbone, pictures))  # (V·B, Z)
        wanted = self.teacher(1, self.teacher(0, {"pixels": pictures}).pooled)  # (V·B, Z)
        count = batch.counts["byol"]
        distance = regression(self.predictor(projected), wanted)
        return Loss({"byol": Term(distance, count)}, {"byol_spread": spread(projected)})


def regression(predicted: Tensor, wanted: Tensor) -> Tensor:
    """(2·B, Z) each, first views then second -> the sum of 2 - 2 cos between each view and the other of its picture."""
    other = torch.cat(unit(wanted).chunk(2)[::-1])
    return (2 - 2 * (unit(predicted) * other).sum(-1)).sum()
