"""What objectives over the steps of a sound share: how many steps there are, and which of them are hidden."""

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from firth.functional import masking
from firth.functional.random import Draw
from firth.functional.steps import steps_of
from firth.model.shape import AnyShape
from firth.model.sound import input_of, lengths_of
from firth.objective import ObjectiveConfig
from firth.objectives._heard import HeardConfig
from firth.signal import Batch, Features

# B rows, T steps, K hidden steps of a row at most, N of all rows, D width

READ = frozenset({"frames", "frame_pad", "wave", "pad"})  # whichever of them are there


class StepsConfig(ObjectiveConfig):
    """Knows how many steps a sound becomes, before the encoder has seen it."""

    reads: ClassVar[frozenset[str]] = READ

    field: int = Field(1, ge=1, description="filled: frames or samples that a step sees")
    stride: int = Field(1, ge=1, description="filled: frames or samples from one step to the next")

    def fit(self, shape: AnyShape) -> Self:
        sound = getattr(shape, "sound", None)
        return self if sound is None else self.model_copy(update={"field": sound.field, "stride": sound.stride})

    def steps(self, batch: Batch) -> np.ndarray:
        """(B,) int64: real steps of each row."""
        return steps_of(lengths_of(batch), self.field, self.stride).cpu().numpy()

    def longest(self, batch: Batch) -> int:
        """T of the batch."""
        return max(1, steps_of(batch[input_of(batch)].shape[1], self.field, self.stride))


class HidingConfig(HeardConfig, StepsConfig):
    """Hides runs of steps, and asks for the vectors of these alone. What an objective before it has hidden stays
    hidden, and no more is."""

    reads: ClassVar[frozenset[str]] = READ | {"hidden", "key"}
    adds: ClassVar[frozenset[str]] = frozenset({"hidden", "keep"})

    mask_start: float = Field(0.065, gt=0, le=1, description="share of the steps that begin a hidden run")
    mask_span: int = Field(10, ge=1, description="steps of a run; runs overlap")

    def hiding(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """hidden (B, T), and keep (B, K): the hidden steps of each row, ascending, then 0 as filler."""
        hidden = self.hide(batch, draw)
        return {"hidden": hidden, "keep": slots(hidden).clamp(min=0)}

    def hide(self, batch: Batch, draw: Draw) -> Tensor:
        """(B, T) bool: the steps to hide."""
        if "hidden" in batch:
            return batch["hidden"]
        keys = batch.keys_
        scores = draw.uniform(keys, "mask", self.longest(batch))
        luck = draw.uniform(keys, "runs", 1)[:, 0]
        return torch.from_numpy(masking.runs(scores, luck, self.steps(batch), self.mask_start, self.mask_span))


def slots(hidden: Tensor) -> Tensor:
    """(B, T) bool -> (B, K) int64: the hidden steps of each row, ascending, then -1; K is at least 1."""
    count = hidden.sum(1)  # (B,)
    order = (~hidden).to(torch.int8).argsort(dim=1, stable=True)[:, : max(1, int(count.max()))]
    return order.where(torch.arange(order.shape[1]) < count[:, None], -1)


def at_hidden(features: Features, hidden: Tensor) -> Tensor:
    """(B, T) bool -> (N, D): the vectors of the hidden steps, row by row, whether these were kept or all."""
    if not features.kept:
        return features.values.flatten(0, 1).index_select(0, hidden.flatten().nonzero()[:, 0])
    places = torch.arange(features.values.shape[1], device=hidden.device)
    return features.values[places < hidden.sum(1)[:, None]]
