"""Next frame: guess the sound some steps ahead from what was heard so far.

Loss: the sum over steps t of the mean of |x̂_(t+n) - x_(t+n)| over the numbers of a step (joined log-mel frames), over
the number of such steps. Autoregressive predictive coding: Chung et al. 2019, arXiv 1904.03240, section 2.1.
"""

from typing import ClassVar

from pydantic import Field
from torch import nn

from firth.functional.losses import distance_sum, exact
from firth.functional.random import Draw
from firth.model.sound import joined
from firth.objective import Loss, Objective, Term
from firth.objectives._heard import HeardConfig
from firth.objectives._steps import StepsConfig
from firth.signal import Batch, Features

# B rows, T steps, C numbers of a step


class Config(HeardConfig, StepsConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"frames"})
    terms: ClassVar[tuple[str, ...]] = ("next_frame",)
    shape: ClassVar[str | None] = "causal-frames"

    ahead: int = Field(3, ge=1, description="steps between the last that is heard and the one that is guessed")

    def unit_of(self, name: str) -> str:
        return "absolute error"

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        guessed = (self.steps(batch) - self.ahead).clip(min=0).sum()
        return Batch(batch, counts={**batch.counts, "next_frame": int(guessed)})


Settings = Config  # the type, where the class below has its own name `Config`


class NextFrame(Objective):
    """A linear map from each step to the frames of a later one."""

    Config = Config
    config: Settings
    causal = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        sound = backbone.shape.sound
        self.join = sound.join
        self.head = nn.Linear(backbone.shape.width, sound.join * sound.bands)

    def loss(self, features: Features, batch: Batch) -> Loss:
        heard = exact(joined(batch["frames"], self.join), features.values)  # (B, T, C)
        target, now = heard[:, self.config.ahead :], heard[:, : -self.config.ahead]
        padding = None if features.padding is None else features.padding[:, self.config.ahead :]
        count = batch.counts["next_frame"]
        error = distance_sum(self.head(features.values[:, : -self.config.ahead]), target, padding)
        copying = distance_sum(now, target, padding)  # what it costs to say that nothing changes
        return Loss({"next_frame": Term(error, count)}, {"next_frame_copying": Term(copying, count)})
