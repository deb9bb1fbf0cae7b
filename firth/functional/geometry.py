"""Crops, flips, turns and blur of a batch of pictures, each with numbers of its own.

Resampling is linear along each side: first every row of the output is a sum of few rows of the input, then a matrix
from the right does the same along the rows; a flip is another order. The sums go over all the pixels that an output
pixel covers: down-scaling does not alias, and the result is Pillow's.
"""

from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# B pictures, C channels, H × W pixels, S pixels of a side of the output, K pixels that an output pixel covers at most

FAINT = 0.3  # pixels; a blur with a smaller standard deviation moves less than one grey level of 255


class Taps(NamedTuple):
    """What pixels of a side each output pixel is the sum of."""

    index: Tensor  # (B, S, K) int64
    weight: Tensor  # (B, S, K), 0 where an output pixel covers fewer


def taps(start: Tensor, share: Tensor, flip: Tensor, pixels: int, size: int, total: float = 1.0) -> Taps:
    """(B,) where a stretch begins, (B,) how long it is, as shares of a side; (B,) bool -> the pixels of each of `size`.

    The weights of an output pixel sum to `total`. A tent as wide as an output pixel, or as an input pixel where that is
    wider (Pillow's BILINEAR with a box).
    """
    step = (share * pixels / size)[:, None]  # (B, 1) input pixels to an output pixel
    place = torch.arange(size, device=start.device, dtype=start.dtype) + 0.5  # (S,)
    place = torch.where(flip[:, None], size - place, place)  # (B, S)
    centre = start[:, None] * pixels + place * step - 0.5  # (B, S), 0 in the middle of the first pixel
    reach = step.clamp(min=1)  # (B, 1)
    covered = torch.arange(ceil(2 * max(1, pixels / size)), device=start.device, dtype=start.dtype)  # (K,)
    there = (centre - reach).floor()[..., None] + 1 + covered  # (B, S, K)
    weight = 1 - (there - centre[..., None]).abs() / reach[..., None]
    weight = torch.where((there >= 0) & (there < pixels), weight.clamp(min=0), 0)
    return Taps(there.clamp(0, pixels - 1).long(), weight * (total / weight.sum(-1, keepdim=True)))


def resampling(start: Tensor, share: Tensor, flip: Tensor, pixels: int, size: int, total: float = 1.0) -> Tensor:
    """taps as matrices, (B, size, pixels)."""
    index, weight = taps(start, share, flip, pixels, size, total)
    return weight.new_zeros(len(start), size, pixels).scatter_add_(2, index, weight)


def resampled(pixels: Tensor, rows: Taps, columns: Tensor) -> Tensor:
    """(B, C, H, W), taps of S rows, (B, S, W) -> (B, C, S, S) in the precision of the weights; see along."""
    tall = rows_first(pixels, columns.dtype)
    first = pixels.shape[2] * torch.arange(len(pixels), device=pixels.device)[:, None, None]
    index, weight = (first + rows.index).flatten(0, 1), rows.weight.flatten(0, 1)  # (B·S, K) each
    made = F.embedding_bag(index, tall.flatten(0, 1).flatten(1), per_sample_weights=weight, mode="sum")  # (B·S, C·W)
    return along(made.view(len(pixels), -1, *tall.shape[2:]), columns)


def between(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, H, W), (B, S, H), (B, S, W) -> (B, C, S, S): every picture with a matrix on either side; see along."""
    tall = rows_first(pixels, columns.dtype)
    return along(torch.bmm(rows, tall.flatten(2)).unflatten(2, tall.shape[2:]), columns)


def rows_first(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, C, H, W) -> (B, H, C, W), so in memory, too."""
    turned = pixels.transpose(1, 2)
    return torch.empty(turned.shape, dtype=dtype, device=pixels.device).copy_(turned)


def along(rows: Tensor, columns: Tensor) -> Tensor:
    """(B, S, C, W), (B, S, W) -> (B, C, S, S): a matrix along the rows. In memory a channel of all pictures, then the
    next: what goes by channels then takes least."""
    count, size, channels, _ = rows.shape
    made = torch.empty((channels, count, size, columns.shape[1]), dtype=rows.dtype, device=rows.device)
    for channel, out in enumerate(made.unbind()):
        torch.bmm(rows[:, :, channel], columns.mT, out=out)
    return made.transpose(0, 1)


def transposed(pixels: Tensor, chosen: Tensor) -> Tensor:
    """(B, C, S, S), (B,) bool -> the same shape: the chosen ones with rows and columns exchanged, in place."""
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        pixels.index_copy_(0, rows, pixels.index_select(0, rows).mT.contiguous())
    return pixels


def rotated(pixels: Tensor, degrees: Tensor) -> Tensor:
    """(B, C, S, S), (B,) -> the same shape: each turned about its centre, anticlockwise, mirrored beyond its edges."""
    angle = torch.deg2rad(degrees)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(turn, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def blurring(sigma: Tensor, size: int) -> Tensor:
    """(B,) standard deviations in pixels -> (B, S, S): a Gaussian along one side, mirrored at the pixels of its edges.

    It reaches over 4 standard deviations, or the side less one pixel, whichever is less.
    """
    place = torch.arange(size, device=sigma.device, dtype=sigma.dtype)
    straight = place[:, None] - place  # (S, S)
    about_first = torch.where(place > 0, place[:, None] + place, torch.inf)
    last = size - 1
    about_last = torch.where(place < last, 2 * last - place[:, None] - place, torch.inf)
    reach = (4 * sigma).round().clamp(min=1, max=last)[:, None, None]

    def bell(distance: Tensor) -> Tensor:
        value = torch.exp(-0.5 * (distance / sigma[:, None, None]) ** 2)
        return torch.where(distance.abs() <= reach, value, 0)

    weights = bell(straight) + bell(about_first) + bell(about_last)
    return weights / weights.sum(-1, keepdim=True)


def blurred(pixels: Tensor, sigma: Tensor) -> Tensor:
    """(B, C, S, S), (B,) in pixels, > 0 -> the same shape."""
    matrix = blurring(sigma, pixels.shape[-1])
    return between(pixels, matrix, matrix)


def cut_out(pixels: Tensor, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
    """(B, C, S, S), (B,) shares of a side -> the same: a square becomes the mean colour of the rest of its picture."""
    size = pixels.shape[-1]
    place = (torch.arange(size, device=pixels.device, dtype=pixels.dtype) + 0.5) / size  # (S,)
    rows = (place >= top[:, None]) & (place < (top + side)[:, None])  # (B, S)
    columns = (place >= left[:, None]) & (place < (left + side)[:, None])
    hole = (rows[:, :, None] & columns[:, None, :])[:, None]  # (B, 1, S, S)
    rest = (~hole).to(pixels.dtype)
    mean = (pixels * rest).sum((2, 3), keepdim=True) / rest.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(hole, mean, pixels)
