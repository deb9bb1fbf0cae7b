"""The same task, head and labels over log-mel frames themselves, without an encoder: what a network must beat.

Two frames side by side are a step, as encoders over frames have them; each number of a step is brought to mean 0 and
variance 1 over the training clips of the draw.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from firth import find
from firth.errors import InputError
from firth.functional.random import Draw
from firth.model.features import Features
from firth.model.init import initialise
from firth.model.shape import Shape
from firth.model.sizes import shape_of
from firth.model.sound import FrameEmbedding, embedding_of
from firth.objective import Composed, Objective
from firth.signal import Signal
from firth.train import build
from firth.train.adaptation import Adaptation

# B clips, T steps, D numbers of a step

NEEDS = frozenset({"time"})
NAME, TITLE = "frames", "Log-mel frames, the same head"
FRONT = {"front": "mel"}  # the keys of the signal by which it gives frames
LOOKED = 64  # clips by which the numbers of a step are levelled
JOIN = 2  # frames of a step


class Frames(nn.Module):
    """An encoder that does nothing: batch → the frames of each step."""

    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)

    def __init__(self, shape: Shape, frames: FrameEmbedding):
        super().__init__()
        self.shape, self.frames, self.frozen = shape, frames.requires_grad_(False), True
        self.register_buffer("mean", torch.zeros(shape.width))
        self.register_buffer("deviation", torch.ones(shape.width))

    def forward(self, batch: Mapping[str, Tensor], keep=None, layers: bool = False, causal=None) -> Features:
        heard = self.frames.local(batch)  # (B, T, D)
        values = ((heard - self.mean) / self.deviation).to(heard.dtype)  # what the head computes in, levelled in fp32
        return Features(values, self.frames.padding(batch), layers=[values] if layers else None)

    @torch.no_grad()
    def level(self, batch: Mapping[str, Tensor]) -> None:
        """Mean and deviation from the steps of these clips."""
        values, padding = self.frames.local(batch), self.frames.padding(batch)
        steps = values.flatten(0, 1) if padding is None else values[~padding]  # (N, D)
        self.mean.copy_(steps.mean(0))
        self.deviation.copy_(steps.std(0).clamp(min=1e-3))


def over_frames(work: Adaptation) -> Adaptation:
    """The adaptation with frames in place of its encoder; steps, labels, order and the head's seed stay as they are."""
    signal = hearing_frames(work.signal)
    bands = signal.facts.bands
    shape: Any = shape_of("frames", f"1x{JOIN * bands}", bands=bands, heads=1)
    backbone: Any = Frames(shape, embedding_of(shape))  # type: ignore[arg-type]
    ((name, config),) = build.configs_of(work.recipe).items()
    part = find.main_class(find.find("tasks", name), Objective)(config, backbone)
    objective = Composed(backbone, {name: part})
    initialise(objective, shape, work.recipe.seed)
    level(backbone, work, signal)
    labelled = work.labelled
    train, valid, test = (
        build.batches_of(work.recipe, signal, source) if source else None
        for source in (labelled.train, labelled.valid, labelled.test)
    )
    objective.to(build.device_of(work.recipe))
    return replace(work, signal=signal, objective=objective, train=train, valid=valid, test=test)  # type: ignore[arg-type]


def hearing_frames(signal: Signal) -> Signal:
    """The signal as it gives frames. Raises InputError for one that has none."""
    with suppress(TypeError, AttributeError):
        if "frames" in signal.facts.offers:
            return signal
        return type(signal)(signal.config.model_copy(update=FRONT))  # type: ignore[call-arg]
    raise InputError(f"arm `{NAME}`", f"the signal `{signal.name}` has no frames", "Leave it out of --arms.")


def level(backbone: Frames, work: Adaptation, signal: Signal) -> None:
    """By the first clips of the training part."""
    source: Any = work.labelled.train
    backbone.level(signal.stack(source.get(range(min(LOOKED, len(source))), Draw(work.recipe.seed))))
