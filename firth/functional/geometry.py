"""Crops, flips, turns and blur of a batch of pictures, each with numbers of its own, as products of small matrices.

Resampling is linear along each side, so that a crop with its flip and its change of size is one matrix from the left
and one from the right. The matrices average over all the pixels that an output pixel covers: down-scaling does not
alias, and the result is Pillow's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# B pictures, C channels, H × W pixels, S pixels of a side of the output

FAINT = 0.3  # pixels; a blur with a smaller standard deviation moves less than one grey level of 255


def resampling(start: Tensor, share: Tensor, flip: Tensor, pixels: int, size: int, total: float = 1.0) -> Tensor:
    """(B,) where a stretch begins, (B,) how long it is, as shares of a side; (B,) bool -> (B, size, pixels).

    The weights of the pixels of a side in each output pixel; they sum to `total`. A tent as wide as an output pixel, or
    as an input pixel where that is wider (Pillow's BILINEAR with a box).
    """
    step = (share * pixels / size)[:, None]  # (B, 1) input pixels to an output pixel
    place = torch.arange(size, device=start.device, dtype=start.dtype) + 0.5  # (S,)
    place = torch.where(flip[:, None], size - place, place)  # (B, S)
    centre = start[:, None] * pixels + place * step  # (B, S)
    there = torch.arange(pixels, device=start.device, dtype=start.dtype) + 0.5
    if size < pixels:
        distance = (there - centre[..., None]).abs_().div_(step.clamp(min=1)[..., None])  # (B, S, pixels)
        weights = distance.neg_().add_(1).clamp_(min=0)
        return weights.mul_(total / weights.sum(-1, keepdim=True))
    centre = centre.clamp_(0.5, pixels - 0.5)  # beyond the middle of the last pixel there is only that pixel
    distance = (total * there - (total * centre)[..., None]).abs_()  # tents over one pixel to either side sum to 1
    return torch.sub(total, distance, out=distance).clamp_(min=0)


def between(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, H, W), (B, S, H), (B, S, W) -> (B, C, S, S): every picture with a matrix on either side.

    In memory the result is channel by channel, each of all pictures.
    """
    count, channels, height, width = pixels.shape
    size = rows.shape[1]
    tall = torch.empty((count, height, channels, width), dtype=rows.dtype, device=rows.device)
    tall.copy_(pixels.transpose(1, 2))
    across = torch.bmm(rows, tall.flatten(2)).view(count, size, channels, width)
    made = torch.empty((channels, count, size, size), dtype=rows.dtype, device=rows.device)
    for channel, out in enumerate(made.unbind()):
        torch.bmm(across[:, :, channel], columns.mT, out=out)
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
