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

    place: Tensor  # (B, S, K) int64
    weight: Tensor  # (B, S, K), 0 where an output pixel covers fewer


def taps(start: Tensor, share: Tensor, flip: Tensor, pixels: int, size: int, total: float = 1.0) -> Taps:
    """(B,) where a stretch begins, (B,) how long it is, as shares of a side; (B,) bool -> the pixels of each of `size`.

    The weights of an output pixel sum to `total`. A tent as wide as an output pixel, or as an input pixel where that is
    wider (Pillow's BILINEAR with a box).
    """
    most = ceil(2 * max(1, pixels / size))  # K
    begin, step = torch.where(flip, start + share, start) * pixels - 0.5, share * pixels / size  # (B,) in input pixels
    reach, direction = step.clamp(min=1)[:, None], torch.where(flip, -step, step)[:, None]  # (B, 1)
    place = torch.arange(size, device=start.device, dtype=start.dtype).repeat_interleave(most) + 0.5  # (S·K,)
    centre = torch.addcmul(begin[:, None], direction, place)  # (B, S·K), 0 in the middle of the first pixel
    if size >= pixels:  # then two tents meet in it, and beyond the first and last pixel there are only these
        centre.clamp_(0, pixels - 1)
    covered = torch.arange(1, most + 1, device=start.device, dtype=start.dtype).repeat(size)  # (S·K,)
    there = (centre - reach).floor_().add_(covered)
    weight = (there - centre).abs_().div_(reach).mul_(-total).add_(total).clamp_(min=0)
    if size < pixels:
        weight = torch.where((there >= 0) & (there < pixels), weight, 0)
        rates = total / weight.view(-1, size, most).sum(2)  # (B, S)
        weight = weight.mul_(rates.repeat_interleave(most, 1))
    index = there.clamp_(0, pixels - 1).long()
    return Taps(index.view(-1, size, most), weight.view(-1, size, most))


def resampling(start: Tensor, share: Tensor, flip: Tensor, pixels: int, size: int, total: float = 1.0) -> Tensor:
    """taps as matrices, (B, size, pixels)."""
    index, weight = taps(start, share, flip, pixels, size, total)
    return weight.new_zeros(len(start), size, pixels).scatter_add_(2, index, weight)


def resampled(pixels: Tensor, chosen: Tensor, rows: Taps, columns: Tensor) -> Tensor:
    """(N, C, H, W), (B,) which of them, taps of S rows, (B, S, W) -> (B, C, S, S)."""
    _, channels, height, width = pixels.shape
    first = height * (chosen[:, None] * channels + torch.arange(channels, device=chosen.device))  # (B, C)
    index = first[..., None] + rows.place.flatten(1)[:, None]  # (B, C, S·K)
    weight = rows.weight.flatten(1)[:, None].expand_as(index)
    few = -1, rows.place.shape[2]  # (B·C·S, K)
    made = F.embedding_bag(
        index.view(few), pixels.reshape(-1, width), per_sample_weights=weight.reshape(few), mode="sum"
    )  # (B·C·S, W)
    return torch.bmm(made.view(len(chosen), -1, width), columns.mT).unflatten(1, (channels, -1))


def between(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, H, W), (B, S, H), (B, S, W) -> (B, C, S, S): every picture with a matrix on either side."""
    count, channels, height, _ = pixels.shape
    size = columns.shape[1]
    across = torch.bmm(pixels.flatten(1, 2), columns.mT)  # (B, C·H, W) -> (B, C·H, S)
    return torch.matmul(rows[:, None], across.view(count, channels, height, size))


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
