"""Residual convolution nets: He et al. 2016, arXiv 1512.03385; "v1.5": a bottleneck halves in its 3 × 3 convolution."""

from collections.abc import Mapping
from contextlib import nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.model.batch_norm import BatchNorm
from firth.model.features import Features, pick
from firth.model.freezing import Freezable
from firth.model.shape import ConvShape

# B samples, C channels, H, W places of a map, D channels of the last map

NARROWING = 4  # a bottleneck's inner maps have a quarter of its channels


class Convolution(nn.Module):
    """Convolution and batch norm; the activation is the caller's."""

    def __init__(self, before: int, after: int, side: int, stride: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(before, after, side, stride, side // 2, bias=False)
        self.normalization = BatchNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')"""
        return self.normalization(self.convolution(x))


class Residual(nn.Module):
    """x + convolutions(x), then the activation; x through a 1 × 1 convolution where its size changes."""

    def __init__(self, before: int, after: int, stride: int, kind: str):
        super().__init__()
        inner = after // NARROWING
        self.layer = nn.ModuleList(
            [Convolution(before, after, 3, stride), Convolution(after, after, 3)]
            if kind == "basic"
            else [Convolution(before, inner, 1), Convolution(inner, inner, 3, stride), Convolution(inner, after, 1)]
        )
        same = before == after and stride == 1
        self.shortcut = None if same else Convolution(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')"""
        inner = x
        for number, part in enumerate(self.layer):
            inner = part(F.relu_(inner) if number else inner)  # a batch norm learns from its input, not from its output
        return F.relu_(inner.add_(x if self.shortcut is None else self.shortcut(x)))


class Stages(nn.Module):
    """The residual blocks in a row; each stage but the first begins by halving the map."""

    def __init__(self, shape: ConvShape):
        super().__init__()
        sizes = [shape.first, *shape.channels_of_blocks]
        self.blocks = nn.ModuleList(
            Residual(before, after, stride, shape.kind)
            for (before, after), stride in zip(pairwise(sizes), shape.strides, strict=True)
        )

    def forward(self, x: Tensor, layers: bool = False) -> tuple[Tensor, list[Tensor] | None]:
        """(B, C, H, W) -> (B, D, H', W'), and with `layers` the input and every block's output as steps."""
        outputs = [steps_of(x)] if layers else None
        for block in self.blocks:
            x = block(x)
            if outputs is not None:
                outputs.append(steps_of(x))
        return x, outputs


class ConvNet(Freezable):
    """Stem and residual blocks: batch → Features. Its steps are the places of the last map, row by row."""

    compares_samples = True  # batch norm: a sample's vector depends on the others in training

    def __init__(self, shape: ConvShape, embed: nn.Module):
        super().__init__()
        self.shape, self.embed, self.encoder = shape, embed, Stages(shape)

    def forward(
        self,
        batch: Mapping[str, Tensor],
        keep: Tensor | None = None,
        layers: bool = False,
        causal: bool | None = None,
    ) -> Features:
        """values (B, H·W, D), pooled (B, D) their mean; `keep` (B, K) picks steps. causal changes nothing here."""
        with torch.no_grad() if self.frozen else nullcontext():
            last, outputs = self.encoder(self.embed(batch), layers)
        values = steps_of(last)
        return Features(values if keep is None else pick(values, keep), layers=outputs, vector=values.mean(1))


def steps_of(x: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, H·W, D)"""
    return x.flatten(2).transpose(1, 2)
