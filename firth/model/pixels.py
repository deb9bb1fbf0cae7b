"""Pixels → what an encoder begins with: patches of a vision transformer, the stem of a convolution net."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.model.batch_norm import BatchNorm
from firth.model.dropping import drop
from firth.model.positions import waves
from firth.model.shape import ConvShape, Shape

# B samples, C channels, H, W pixels or places of a map, N patches, K kept patches, D width

HALF = 0.5  # mean and standard deviation where none are known: [0, 1] becomes [-1, 1]


class Normalise(nn.Module):
    """uint8, or float in [0, 1] → mean 0 and variance 1 by channel, in the memory order that convolutions like."""

    mean: Tensor  # (1, C, 1, 1)
    std: Tensor

    def __init__(self, channels: int, mean: Sequence[float] = (), std: Sequence[float] = ()):
        super().__init__()
        self.register_buffer("mean", _column(mean, channels), persistent=False)
        self.register_buffer("std", _column(std, channels), persistent=False)

    def forward(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), channels last in memory."""
        scale = 1 / 255 if pixels.dtype == torch.uint8 else 1.0
        exact = torch.promote_types(dtype, torch.float32)
        slope, shift = scale / self.std.to(exact), self.mean.to(exact) / self.std.to(exact)
        values = (pixels.to(exact) * slope).sub_(shift)  # before the channels lie last, three by three
        return values.to(dtype, memory_format=torch.channels_last)


def _column(numbers: Sequence[float], channels: int) -> Tensor:
    """(C,) → (1, C, 1, 1)"""
    return torch.tensor(list(numbers) or [HALF] * channels, dtype=torch.float32).view(1, channels, 1, 1)


class PatchEmbedding(nn.Module):
    """Patches, mapped; a class token before them; learned positions (Dosovitskiy et al. 2021, arXiv 2010.11929,
    section 3.1), which begin as waves. Names and sizes are those of ViTEmbeddings in transformers."""

    stride = 1

    def __init__(self, shape: Shape, mean: Sequence[float] = (), std: Sequence[float] = ()):
        super().__init__()
        self.dropout, self.side = shape.dropout, shape.image // shape.patch  # patches in a row
        self.normalise = Normalise(shape.channels, mean, std)
        self.projection = nn.Conv2d(shape.channels, shape.width, shape.patch, stride=shape.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + self.side**2, shape.width))

    def begin(self, drawn) -> None:
        """Positions as fixed ones are (MAE, arXiv 2111.06377, appendix A.1), with the deviation that a mapped patch has
        whose pixels have mean 0 and variance 1."""
        deviation = self.projection.weight.flatten(1).square().sum(1).mean().sqrt()
        found = waves(self.side, self.projection.out_channels).to(self.position_embeddings)
        self.position_embeddings.copy_(found * deviation / found[1:].square().mean().sqrt())

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """batch["pixels"] (B, C, H, W) -> (B, 1 + N, D); with batch["visible"] (B, K), numbers of patches, row by row
        from 0: (B, 1 + K, D), those patches alone."""
        map_ = self.projection(self.normalise(batch["pixels"], self.projection.weight.dtype))  # (B, D, H', W')
        first, others = self.places(*map_.shape[2:])
        x = map_.flatten(2).transpose(1, 2) + others  # (B, N, D)
        if (visible := batch.get("visible")) is not None:
            x = x.gather(1, visible[..., None].expand(-1, -1, x.shape[-1]))
        x = torch.cat([(self.cls_token + first).expand(x.shape[0], -1, -1), x], 1)
        return drop(x, self.dropout, self.training)

    def padding(self, batch: Mapping[str, Tensor]) -> None:
        """Pictures are padded with nothing."""

    def places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Positions of the class token (1, 1, D) and of the patches (1, N, D); of pictures of another size drawn out
        or in by cubic splines, as transformers does."""
        first, grid = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        if (height, width) == (self.side, self.side):
            return first, grid
        exact = torch.promote_types(grid.dtype, torch.float32)
        square = grid.reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2).to(exact)  # (1, D, side, side)
        fitting = F.interpolate(square, size=(height, width), mode="bicubic", align_corners=False)
        return first, fitting.flatten(2).transpose(1, 2).to(grid.dtype)


class Stem(nn.Module):
    """The first convolution of a ResNet: 3 × 3 for small pictures, with stride 2 for larger ones; else 7 × 7 with
    stride 2 and a maximum over 3 × 3 (He et al. 2016, arXiv 1512.03385, table 1; 3 × 3 as in its section 4.2)."""

    stride = 1

    def __init__(self, shape: ConvShape, mean: Sequence[float] = (), std: Sequence[float] = ()):
        super().__init__()
        self.pooled = shape.stem == "pooled"
        side, stride = (7 if self.pooled else 3), (1 if shape.stem == "plain" else 2)
        self.normalise = Normalise(shape.channels, mean, std)
        self.convolution = nn.Conv2d(shape.channels, shape.first, side, stride, side // 2, bias=False)
        self.normalization = BatchNorm(shape.first)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """batch["pixels"] (B, C, H, W) -> (B, first, H', W')"""
        x = self.convolution(self.normalise(batch["pixels"], self.convolution.weight.dtype))
        x = F.relu_(self.normalization(x))
        return F.max_pool2d(x, 3, 2, 1) if self.pooled else x
