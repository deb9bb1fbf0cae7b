"""Views of pictures: what is drawn for each, and how it is applied to a whole batch on any device.

`draw_views` draws numbers by the key of a sample, on the CPU; `apply` turns a batch and its numbers into views. So a
sample has the same views whoever else is in the batch, and on whatever device. The operations are those of SimCLR (Chen
et al. 2020, arXiv 2002.05709, appendix A) and BYOL (Grill et al. 2020, arXiv 2006.07733, appendix B), each as
torchvision defines it: crops by share of the area and ratio of the sides, the four changes of colour in random order.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.functional import colour, geometry
from firth.functional.random import Draw

# B pictures, V views, P = len(NAMES) parameters, C channels, H × W pixels, S pixels of a side of a view

NAMES = (
    *("top", "left", "height", "width"),  # of the crop, shares of the sides
    *("flip_x", "flip_y", "transpose"),  # 1: yes; together the eight symmetries of a square
    "degrees",  # anticlockwise
    *("brightness", "contrast", "saturation", "hue"),  # factors, 1: as it is; share of the circle, 0: as it is
    *("first", "second", "third", "fourth"),  # order of those four, by number
    "grey",  # 1: yes
    "sigma",  # of the blur, share of the side; 0: none
    "threshold",  # of solarising; above 1: none
    *("cut_top", "cut_left", "cut_side"),  # shares of the side; 0: none
)
PLACE = {name: number for number, name in enumerate(NAMES)}
CHANCES = ("flip_x", "flip_y", "transpose", "jitter", "grey", "blur", "solarise", "cut")  # fields of Policy
TRIES = 10  # crops drawn until one fits into the picture, as in torchvision
NEVER = 2.0  # a threshold that no value reaches
PIECE = 2**21  # numbers of a piece of the batch on a CPU: what is made of them on the way stays near


class Policy(NamedTuple):
    """How views are drawn. Chances are shares of the views; amounts are drawn evenly from their range."""

    crop: tuple[float, float] = (0.08, 1.0)  # share of the area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width by height, drawn evenly in its logarithm
    flip_x: float = 0.5  # chance; left and right
    flip_y: float = 0.0  # chance; up and down
    transpose: float = 0.0  # chance; with both flips at 0.5 all eight symmetries are equally likely
    degrees: float = 0.0  # turned by up to so many to either side
    jitter: float = 0.8  # chance that colours are changed at all
    brightness: float = 0.4  # factor from 1 - this to 1 + this
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1  # share of the circle, to either side
    grey: float = 0.2  # chance
    blur: float = 0.5  # chance
    sigma: tuple[float, float] = (0.1 / 224, 2.0 / 224)  # share of the side; next to nothing where pictures are tiny
    solarise: float = 0.0  # chance
    threshold: float = 0.5
    cut: float = 0.0  # chance
    cut_side: float = 0.5  # of the square, share of the side


PRESETS = {
    "natural": Policy((0.2, 1.0)),
    "microscopy": Policy((0.2, 1.0), flip_y=0.5, transpose=0.5, saturation=0.2, hue=0.0, grey=0.0),
    "satellite": Policy((0.2, 1.0), flip_y=0.5, transpose=0.5, saturation=0.2, hue=0.0, grey=0.1),
    "documents": Policy((0.3, 1.0), (4 / 5, 5 / 4), flip_x=0.0, degrees=5.0, saturation=0.2, hue=0.05),
}
STILL = Policy((1.0, 1.0), (1.0, 1.0), flip_x=0.0, jitter=0.0, grey=0.0, blur=0.0)  # the picture as it is


def draw_views(draw: Draw, keys: np.ndarray, purpose: str, policies: Sequence[Policy], ratio: float = 1.0) -> Tensor:
    """(B,) keys -> (B, V, P) float32 on the CPU: the numbers of a view for each policy. ratio: width by height."""
    drawn = [_one(policy, draw, keys, f"{purpose} {number}", ratio) for number, policy in enumerate(policies)]
    return torch.from_numpy(np.stack(drawn, 1).astype(np.float32))


def of(parameters: Tensor, *names: str) -> Tensor:
    """(…, P) -> (…) for one name, (…, N) for several that lie together."""
    first = PLACE[names[0]]
    return parameters[..., first] if len(names) == 1 else parameters[..., first : first + len(names)]


@torch.no_grad()
def views(pixels: Tensor, parameters: Tensor, size: int | None = None) -> Tensor:
    """(B, C, H, W) uint8, or float in [0, 1]; (B, V, P) -> (V·B, C, S, S) float32 in [0, 1]: the first view of all,
    then the second, ….

    size: S, the height of the pictures where it is not given. On the way, pictures whose colours change alike lie
    together; on a CPU so many are made at once as stay in its cache.
    """
    size = size or pixels.shape[2]
    drawn = parameters.transpose(0, 1).flatten(0, 1)  # (V·B, P)
    order = colour.kinds(*_colours(drawn)).argsort(stable=True)
    drawn, source = drawn.index_select(0, order), order % len(pixels)
    values, brightest = pixels.to(drawn.dtype), 255 if pixels.dtype == torch.uint8 else 1
    made = torch.empty((len(drawn), pixels.shape[1], size, size), dtype=drawn.dtype, device=drawn.device)
    most = _at_once(pixels, len(drawn), size)
    for out, chosen, own in zip(made.split(most), source.split(most), drawn.split(most), strict=True):
        torch.clamp(_made(values, chosen, own, size, 1 / brightest), 0, 1, out=out)
    return made.index_select(0, order.argsort())


def apply(pixels: Tensor, parameters: Tensor, size: int | None = None) -> Tensor:
    """(B, C, H, W), (B, P) -> (B, C, S, S): views with one of each picture."""
    return views(pixels, parameters[:, None], size)


def _at_once(pixels: Tensor, count: int, size: int) -> int:
    """Pictures of a piece of the batch."""
    if pixels.device.type != "cpu":
        return max(count, 1)
    return max(PIECE // (pixels.shape[1] * max(size, pixels.shape[2]) ** 2), 1)


def _colours(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """(B, P) -> (B, 4) factors, (B, 4) int64 order."""
    factors = of(parameters, "brightness", "contrast", "saturation", "hue")
    return factors, of(parameters, "first", "second", "third", "fourth").long()


def _made(pixels: Tensor, chosen: Tensor, parameters: Tensor, size: int, scale: float) -> Tensor:
    """(N, C, H, W), (B,) which of them, (B, P) -> (B, C, S, S), of pixels times scale."""
    pixels = cropped(pixels, chosen, parameters, size, scale)
    pixels = _where(of(parameters, "degrees") != 0, pixels, geometry.rotated, of(parameters, "degrees"))
    pixels = colour.jitter_(pixels, *_colours(parameters))
    if pixels.shape[1] == 3:
        pixels = _where(of(parameters, "grey") > 0, pixels, colour.greyed)
    sigma = of(parameters, "sigma") * size
    pixels = _where(sigma >= geometry.FAINT, pixels, geometry.blurred, sigma)
    pixels = _where(of(parameters, "threshold") <= 1, pixels, colour.solarised, of(parameters, "threshold"))
    cut = of(parameters, "cut_top", "cut_left", "cut_side").unbind(1)
    return _where(cut[2] > 0, pixels, geometry.cut_out, *cut)


def cropped(pixels: Tensor, chosen: Tensor, parameters: Tensor, size: int, scale: float) -> Tensor:
    """(N, C, H, W), (B,) which of them, (B, P) -> (B, C, S, S): the crop, flipped and transposed, times scale."""
    top, left, height, width = of(parameters, "top", "left", "height", "width").unbind(1)
    flip_x, flip_y, transpose = (of(parameters, "flip_x", "flip_y", "transpose") > 0).unbind(1)
    rows = geometry.taps(top, height, flip_y, pixels.shape[2], size)
    columns = geometry.resampling(left, width, flip_x, pixels.shape[3], size, scale)
    return geometry.transposed(geometry.resampled(pixels, chosen, rows, columns), transpose)


def _where(chosen: Tensor, pixels: Tensor, operation, *numbers: Tensor) -> Tensor:
    """The operation on the chosen pictures with their numbers, in place; the others stay as they are."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) == len(pixels):
        return operation(pixels, *numbers)
    if len(rows):
        changed = operation(pixels.index_select(0, rows), *(one.index_select(0, rows) for one in numbers))
        pixels.index_copy_(0, rows, changed)
    return pixels


def _one(policy: Policy, draw: Draw, keys: np.ndarray, purpose: str, ratio: float) -> np.ndarray:
    """(B, P): the numbers of one view."""
    chance = draw.uniform(keys, f"{purpose} chance", len(CHANCES)).T  # (8, B)
    yes = {name: row < getattr(policy, name) for name, row in zip(CHANCES, chance, strict=True)}
    turn, *colours, blur, down, right = draw.uniform(keys, f"{purpose} amount", 8).T  # (B,) each
    crop = _crop(policy, draw.uniform(keys, f"{purpose} crop", 2 * TRIES + 2), ratio)
    order = draw.uniform(keys, f"{purpose} order", 4).argsort(1).T
    sigma = np.where(yes["blur"], _within(policy.sigma, blur), 0)
    threshold = np.where(yes["solarise"], policy.threshold, NEVER)
    room, side = 1 - policy.cut_side, np.where(yes["cut"], policy.cut_side, 0)
    columns = [*crop, yes["flip_x"], yes["flip_y"], yes["transpose"], policy.degrees * (2 * turn - 1)]
    columns += [*_jitter(policy, yes["jitter"], np.stack(colours)), *order, yes["grey"]]
    return np.stack([*columns, sigma, threshold, room * down, room * right, side], 1)


def _crop(policy: Policy, drawn: np.ndarray, ratio: float) -> tuple[np.ndarray, ...]:
    """(B, 2·TRIES + 2) in [0, 1) -> top, left, height, width, (B,) each: the first try that fits.

    Where none does, the middle, as much of it as the ratio allows.
    """
    area = _within(policy.crop, drawn[:, :TRIES])  # (B, TRIES)
    sides = np.exp(_within((math.log(policy.ratio[0]), math.log(policy.ratio[1])), drawn[:, TRIES:-2]))
    width, height = np.sqrt(area * sides / ratio), np.sqrt(area / sides * ratio)
    fits = (width <= 1) & (height <= 1)
    first, any_fits = fits.argmax(1)[:, None], fits.any(1)
    most = min(1.0, policy.ratio[1] / ratio), min(1.0, ratio / policy.ratio[0])  # width, height
    width = np.where(any_fits, np.take_along_axis(width, first, 1)[:, 0], most[0])
    height = np.where(any_fits, np.take_along_axis(height, first, 1)[:, 0], most[1])
    down, right = np.where(any_fits, drawn[:, -2:].T, 0.5)
    return down * (1 - height), right * (1 - width), height, width


def _jitter(policy: Policy, chosen: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """(B,) bool, (4, B) in [0, 1) -> (4, B): brightness, contrast, saturation, hue."""
    spread = np.array([policy.brightness, policy.contrast, policy.saturation, policy.hue])[:, None]
    middle = np.array([1.0, 1.0, 1.0, 0.0])[:, None]
    lowest = np.array([0.0, 0.0, 0.0, -0.5])[:, None]
    low = np.maximum(middle - spread, lowest)
    return np.where(chosen, low + (middle + spread - low) * amounts, middle)


def _within(limits: tuple[float, float], share: np.ndarray) -> np.ndarray:
    return limits[0] + (limits[1] - limits[0]) * share
