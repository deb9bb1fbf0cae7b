"""Samples of sound → vectors by convolutions, and positions by a convolution over steps.

wav2vec 2.0, arXiv 2006.11477, section 2, and HuBERT, arXiv 2106.07447, section II-A.
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from firth.functional.steps import steps_of
from firth.model.block import activate, norm_of
from firth.model.dropping import drop
from firth.model.shape import Shape, SoundShape
from firth.model.sound import Drawn, SoundEmbedding, lengths_of

# B samples, N samples of sound, C channels, T steps, D width, K steps that a convolution spans


class Convolutions(nn.Module):
    """A chain of convolutions, none padded. Norm "group": each channel of the first by its own mean and variance over
    the clip; "layer": the channels of each step after every one.

    The statistics of a clip are of its own steps: a clip in a padded batch gives what it gives alone.
    """

    def __init__(self, sound: SoundShape):
        super().__init__()
        self.sound = sound
        ins = (1, *sound.widths[:-1])
        parts = zip(ins, sound.widths, sound.kernels, sound.strides, strict=True)
        self.layers = nn.ModuleList(nn.Conv1d(*part, bias=sound.bias) for part in parts)
        normed = sound.widths[:1] if sound.norm == "group" else sound.widths
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in normed)  # of groups of one channel: as many numbers

    def begin(self, drawn: Drawn) -> None:
        """He et al. 2015, arXiv 1502.01852, equation 10."""
        for number, layer in enumerate(cast(list[nn.Conv1d], list(self.layers))):
            size = layer.weight.shape
            layer.weight.copy_(drawn(f"layers.{number}.weight", size, (2 / (size[1] * size[2])) ** 0.5))

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, N), lengths (B,) in samples where rows are padded -> (B, T, C)"""
        short = self.sound.field - wave.shape[1]
        x = (F.pad(wave, (0, short)) if short > 0 else wave)[:, None]  # (B, 1, N)
        norms = cast(list[nn.LayerNorm], list(self.norms))
        chain = zip(self.layers, self.sound.kernels, self.sound.strides, strict=True)
        for number, (layer, kernel, stride) in enumerate(chain):
            x = layer(x)  # (B, C, T)
            lengths = None if lengths is None else steps_of(lengths, kernel, stride)
            x = self.normed(x, norms[number], lengths) if number < len(norms) else x
            x = activate(x, self.sound.activation)
        return x.transpose(1, 2)

    def normed(self, x: Tensor, norm: nn.LayerNorm, lengths: Tensor | None) -> Tensor:
        """(B, C, T) -> (B, C, T)"""
        if self.sound.norm == "layer":
            return norm(x.transpose(1, 2)).transpose(1, 2)
        if lengths is None:
            return F.group_norm(x, x.shape[1], norm.weight, norm.bias, norm.eps)
        return over_own_steps(x, lengths, norm)


def over_own_steps(x: Tensor, lengths: Tensor, norm: nn.LayerNorm) -> Tensor:
    """(B, C, T), (B,) -> (B, C, T): each channel by its mean and variance over the first `lengths` steps of the row.

    Sums are products with a column of ones and zeros, and the rest is one multiplication: few passes over memory.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    real = (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[..., None].to(exact)  # (B, T, 1)
    count, wide = real.sum(1, keepdim=True).clamp(min=1), x.to(exact)
    mean = wide @ real / count  # (B, C, 1)
    variance = (wide.square() @ real / count - mean.square()).clamp(min=0)
    scale = (variance + norm.eps).rsqrt() * norm.weight[:, None]
    return torch.addcmul(norm.bias[:, None] - mean * scale, wide, scale).to(x.dtype)


class Positions(nn.Module):
    """What is around a step says where it is: a grouped convolution over steps, its weight in length and direction
    (Salimans & Kingma 2016, arXiv 1602.07868), and an activation."""

    def __init__(self, shape: Shape, sound: SoundShape):
        super().__init__()
        kernel, width = sound.position_kernel, shape.width
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=sound.position_groups)
        self.conv = weight_norm(conv, name="weight", dim=2)
        self.activation = sound.activation

    def begin(self, drawn: Drawn) -> None:
        """Normal with a variance of 4 / (kernel × width), as fairseq has it; the length of each is that of its draw."""
        weight = self.conv.parametrizations.weight
        size = weight.original1.shape  # (D, D / groups, K)
        direction = drawn("weight", size, 2 / (size[0] * size[2]) ** 0.5)
        weight.original1.copy_(direction)
        weight.original0.copy_(torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); an even kernel sees one step more to the left."""
        out = self.conv(x.transpose(1, 2))[:, :, : x.shape[1]]
        return activate(out, self.activation).transpose(1, 2)


class WaveEmbedding(SoundEmbedding):
    """Convolutions, norm, map, mask, positions; then norm where the blocks norm after."""

    def __init__(self, shape: Shape):
        assert shape.sound is not None
        super().__init__(shape, shape.sound, shape.sound.widths[-1])
        self.dropout = shape.dropout
        self.convolutions = Convolutions(shape.sound)
        width = shape.sound.widths[-1]
        self.local_norm = nn.LayerNorm(width, eps=shape.norm_epsilon) if shape.sound.map_norm else nn.Identity()
        self.positions = Positions(shape, shape.sound)
        self.norm: nn.Module = norm_of(shape) if shape.embed_norm else nn.Identity()

    def local(self, batch: Mapping[str, Tensor]) -> Tensor:
        """batch["wave"] (B, N) -> (B, T, C), normalised."""
        wave = batch["wave"].to(self.map.weight.dtype)
        lengths = lengths_of(batch) if "pad" in batch else None
        return self.local_norm(self.convolutions(wave, lengths))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, T, D)"""
        x, padding = self.mapped(batch), self.padding(batch)
        if padding is not None:
            x = x.masked_fill(padding[..., None], 0)
        return drop(self.norm(x + self.positions(x)), self.dropout, self.training)
