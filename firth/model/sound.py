"""Sound → vectors: what both front ends share, and the front end over log-mel frames."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.functional.steps import steps_of
from firth.model.shape import Shape, SoundShape

# B samples, N samples of sound, F frames, M bands, T steps, C numbers of a step before the map, D width

Drawn = Callable[[str, tuple[int, ...], float], Tensor]  # name, size, standard deviation -> what a parameter begins as
PADS = {"frames": "frame_pad", "wave": "pad"}  # which key says what of an input is padding


def input_of(batch: Mapping[str, Tensor]) -> str:
    """The key of the sound in a batch."""
    return "frames" if "frames" in batch else "wave"


def lengths_of(batch: Mapping[str, Tensor]) -> Tensor:
    """(B,) int64: units of the input (frames, samples) in each row, padding left out."""
    name = input_of(batch)
    pad, sound = batch.get(PADS[name]), batch[name]
    return torch.full((len(sound),), sound.shape[1], device=sound.device) if pad is None else (~pad).sum(1)


def step_padding(batch: Mapping[str, Tensor], shape: SoundShape) -> Tensor | None:
    """(B, T) True at steps that see padding: a row has as many real steps as it has alone; None: there are none.

    T is at least 1: what is shorter than the field of a step is one step of padding.
    """
    name = input_of(batch)
    longest = batch[name].shape[1]
    if batch.get(PADS[name]) is None and longest >= shape.field:
        return None
    real = steps_of(lengths_of(batch), shape.field, shape.stride)  # (B,)
    steps = max(1, steps_of(longest, shape.field, shape.stride))
    return torch.arange(steps, device=real.device)[None, :] >= real[:, None]


class SoundEmbedding(nn.Module):
    """`local`, then a map to the width; the vector `mask` stands where batch["hidden"] (B, T) is True, but where
    batch["shown"] is, too: something is seen there of a step that is asked for, if not always its own.

    batch["local"]: what `local` gave for the same batch, where somebody needed it before.
    """

    mask: nn.Parameter | None

    def __init__(self, shape: Shape, sound: SoundShape, channels: int):
        super().__init__()
        self.sound = sound
        self.map = nn.Linear(channels, shape.width)
        mask = None if shape.causal else nn.Parameter(torch.zeros(shape.width))  # causal: nothing is hidden
        self.register_parameter("mask", mask)

    @property
    def stride(self) -> int:
        """Units of the input from one step to the next."""
        return self.sound.stride

    def begin(self, drawn: Drawn) -> None:
        """Numbers of variance 1, as those of what is mapped: the mask is as long as what it stands among."""
        if self.mask is not None:
            self.mask.copy_(drawn("mask", self.mask.shape, 1.0))
        self.map.weight.copy_(drawn("map", self.map.weight.shape, self.map.in_features**-0.5))

    def padding(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """(B, T), True at steps that see padding."""
        return step_padding(batch, self.sound)

    def local(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, T, C): what each step sees of the sound, and nothing else."""
        raise NotImplementedError

    def mapped(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, T, D), hidden steps replaced."""
        local = batch.get("local")
        x = self.map(self.local(batch) if local is None else local)
        hidden = covered(batch)
        return x if hidden is None or self.mask is None else torch.where(hidden[..., None], self.mask, x)


class FrameEmbedding(SoundEmbedding):
    """Some log-mel frames side by side, mapped to the width."""

    def __init__(self, shape: Shape):
        assert shape.sound is not None
        super().__init__(shape, shape.sound, shape.sound.join * shape.sound.bands)

    def local(self, batch: Mapping[str, Tensor]) -> Tensor:
        """batch["frames"] (B, F, M) -> (B, T, join * M)"""
        return joined(batch["frames"], self.sound.join).to(self.map.weight.dtype)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, T, D)"""
        return self.mapped(batch)


def covered(batch: Mapping[str, Tensor]) -> Tensor | None:
    """(B, T) bool: the steps of which the encoder sees nothing."""
    hidden, shown = batch.get("hidden"), batch.get("shown")
    return hidden if hidden is None or shown is None else hidden & ~shown


def joined(frames: Tensor, join: int) -> Tensor:
    """(B, F, M) -> (B, T, join * M): frames side by side, filled up to one step; what is left over is dropped."""
    if frames.shape[1] < join:
        frames = F.pad(frames, (0, 0, 0, join - frames.shape[1]))
    steps = frames.shape[1] // join
    return frames[:, : steps * join].reshape(len(frames), steps, -1)


def apart(steps: Tensor, bands: int) -> Tensor:
    """(…, T, join * M) -> (…, F, M): the inverse of `joined`."""
    return steps.reshape(*steps.shape[:-2], -1, bands)


def embedding_of(shape: Shape) -> nn.Module:
    """The module that makes vectors of sound in the form the shape wants."""
    from firth.model.waveform import WaveEmbedding

    assert shape.sound is not None
    return FrameEmbedding(shape) if shape.sound.bands else WaveEmbedding(shape)
