"""Masked frames: hide runs of a sound and draw them again from what is heard before and after.

Loss: the sum over hidden steps t of the mean of |x̂_t - x_t| over the numbers of a step (joined log-mel frames), over
the number of hidden steps. Mockingjay: Liu et al. 2019, arXiv 1910.12638, section 2; TERA: arXiv 2007.06028, section 3.
"""

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from firth.errors import InputError
from firth.functional.losses import distance_sum, exact
from firth.functional.picture import spectrograms
from firth.functional.random import Draw
from firth.functional.sound import hide_bands, span_of_bands
from firth.model.sound import apart, covered, joined
from firth.objective import Loss, Objective, Term, quiet
from firth.objectives._steps import HidingConfig, at_hidden
from firth.signal import Batch, Features, Sample

# B rows, T steps, N hidden steps, F frames, M bands, C numbers of a step


class Config(HidingConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"frames"})
    terms: ClassVar[tuple[str, ...]] = ("masked_frames",)
    shape: ClassVar[str | None] = "frames"
    adds: ClassVar[frozenset[str]] = HidingConfig.adds | {"frames", "whole", "shown"}

    mask_start: float = Field(0.05, gt=0, le=1, description="share of the steps that begin a hidden run")
    mask_span: int = Field(5, ge=1, description="steps of a run; runs overlap")
    random_share: float = Field(
        0.0, ge=0, le=1, description="share of the hidden runs in whose place the clip is heard at another time; 0.1: "
        "Mockingjay",
    )  # fmt: skip
    keep_share: float = Field(
        0.0, ge=0, le=1, description="share of the hidden runs that are heard as they are; 0.1: Mockingjay"
    )
    hide_bands: float = Field(
        0.0, ge=0, lt=1, description="widest run of bands hidden in all of a clip, as a share of them; 0.2 in TERA"
    )

    @model_validator(mode="after")
    def shares_fit(self) -> Self:
        if self.random_share + self.keep_share > 1:
            what = f"random_share {self.random_share:g} + keep_share {self.keep_share:g} is more than 1"
            raise InputError("masked_frames", what, "The rest of the hidden runs becomes the mask vector.")
        return self

    def unit_of(self, name: str) -> str:
        return "absolute error"

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        ours = "hidden" not in batch
        hiding = self.hiding(batch, draw)
        counts = {**batch.counts, "masked_frames": int(hiding["hidden"].sum())}
        found = Batch({**batch, **hiding}, counts=counts)
        if ours and self.random_share + self.keep_share:
            found.update(self.shown(found, draw))
        found.update(self.without_bands(found, draw))
        return found

    def shown(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """shown (B, T): the hidden steps where something is seen all the same; frames with other ones at some of them;
        and `whole`. A run has one fate, and all of it is taken from as much earlier or later in its clip."""
        hidden, keys = batch["hidden"].numpy(), batch.keys_
        run = np.cumsum(hidden & ~np.pad(hidden, ((0, 0), (1, 0)))[:, :-1], 1)  # (B, T), from 1
        runs = 1 + int(run.max(initial=0))
        fate, way = (np.take_along_axis(draw.uniform(keys, name, runs), run, 1) for name in ("fate", "elsewhere"))
        swapped = hidden & (fate < self.random_share)
        seen = swapped | (hidden & (fate >= 1 - self.keep_share))
        step, steps = np.arange(hidden.shape[1]), np.maximum(self.steps(batch), 1)[:, None]
        other = (step + 1 + (way * (steps - 1)).astype(np.int64)) % steps  # never itself, where there is another
        source = torch.from_numpy(np.where(swapped, other, step))
        frames = taken(batch["frames"], source, self.stride)
        return {"shown": torch.from_numpy(seen), "frames": frames, "whole": whole(batch)}

    def without_bands(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The frames without some bands, and `whole` (B, F, M), in which they are guessed."""
        frames = batch["frames"]  # (B, F, M)
        if not self.hide_bands:
            return {}
        span = span_of_bands(draw, batch.keys_, frames, self.hide_bands)
        return {"frames": hide_bands(frames, span), "whole": batch.get("whole", frames)}


Settings = Config  # the type, where the class below has its own name `Config`


class MaskedFrames(Objective):
    """A dense map, GELU, a norm, and a map to the frames of a step, at the hidden steps only."""

    Config = Config
    config: Settings
    causal = False
    all_steps = False

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        width, sound = backbone.shape.width, backbone.shape.sound
        self.join = sound.join
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, sound.join * sound.bands)
        )

    def loss(self, features: Features, batch: Batch) -> Loss:
        hidden = batch["hidden"].flatten().nonzero()[:, 0]  # (N,)
        frames = exact(joined(whole(batch), self.join), features.values)
        target = frames.flatten(0, 1).index_select(0, hidden)  # (N, C)
        guess = self.head(at_hidden(features, batch["hidden"]))
        count = batch.counts["masked_frames"]
        level = distance_sum(torch.zeros_like(target), target)  # what it costs to say the mean
        metrics = {"masked_frames_of_mean": Term(level, count)}
        return Loss({"masked_frames": Term(distance_sum(guess, target), count)}, metrics)


def taken(frames: Tensor, source: Tensor, join: int) -> Tensor:
    """(B, F, M), (B, T) -> (B, F, M): at each step the frames of the step that `source` names."""
    steps = joined(frames, join)  # (B, T, C)
    other = apart(steps.gather(1, source[:, : steps.shape[1], None].expand_as(steps)), frames.shape[2])
    return torch.cat([other, frames[:, other.shape[1] :]], 1)[:, : frames.shape[1]]


def whole(batch: Batch) -> Tensor:
    """(B, F, M): the frames with all their bands."""
    return batch.get("whole", batch["frames"])


class Redrawn(NamedTuple):
    """A sound as it is, as the model saw it (NaN where it saw nothing), and as it drew it again; each (F, M)."""

    true: Tensor
    seen: Tensor
    drawn: Tensor


def redrawn(objective, batch: Batch) -> list[Redrawn]:
    """For each row of a prepared batch. objective: a MaskedFrames, or a Composed that has one."""
    part = objective if isinstance(objective, MaskedFrames) else objective.parts["masked-frames"]
    batch = batch.to(next(part.parameters()).device)
    batch.pop("keep", None)  # here all steps are drawn
    with quiet(part.backbone, part), torch.no_grad():
        guess = part.head(part.encode(batch).values)  # (B, T, C)
    true, hidden, unseen = joined(whole(batch), part.join), batch["hidden"][..., None], covered(batch)
    assert unseen is not None
    seen = joined(batch["frames"], part.join).masked_fill(unseen[..., None], torch.nan)
    kinds = (true, seen, torch.where(hidden, guess.to(true.dtype), true))
    steps = part.config.steps(batch)
    rows = zip(*(kind.cpu() for kind in kinds), strict=True)
    bands = batch["frames"].shape[2]
    return [Redrawn(*(apart(one[:size], bands) for one in row)) for row, size in zip(rows, steps, strict=True)]


def tries(signal, samples: Iterator[Sample], draw: Draw, config: Settings, count: int = 4) -> Batch:
    """What a model in training is shown: the first samples, with runs of them hidden; the same for one seed."""
    return config.prepare(signal.stack(list(islice(samples, count))), draw)


def pictured(objective, tries: Batch, step: int) -> dict[str, np.ndarray]:
    """(H, W, 3) uint8 by name: each sound true, as seen, and drawn again, below each other."""
    rows = [one.numpy() for row in redrawn(objective, tries) for one in row]
    return {f"frames-{step}": spectrograms(rows)} if any(len(row) for row in rows) else {}
