"""Colours of a batch of pictures with values in [0, 1], each changed by numbers of its own.

Brightness, contrast and saturation are blends, as in Pillow's ImageEnhance. Hue is moved in HSV, just as colorsys has
it; a turn about the grey axis of YIQ would be one matrix product, but leads out of the range of colours.
"""

import torch
from torch import Tensor

# B pictures, C channels, H × W pixels

GREY = (0.299, 0.587, 0.114)  # of red, green, blue in what is seen as bright: ITU-R BT.601, Pillow's "L"
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # numbers of the operations in an order


def weights(pixels: Tensor) -> Tensor:
    """(C,) how much of the brightness each channel is; of other than three channels all alike."""
    channels = pixels.shape[1]
    return pixels.new_tensor(GREY) if channels == 3 else pixels.new_full((channels,), 1 / channels)


def jittered(pixels: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """(B, C, H, W), (B, 4) brightness, contrast, saturation (1: as it is), hue (0); (B, 4) int64 -> the same shape.

    order: the operations in turn, by number, each cut to [0, 1] before the next. Saturation and hue are left out where
    there are other than three channels. hue: share of the circle.
    """
    grey, coloured = weights(pixels), pixels.shape[1] == 3
    linear = (CONTRAST + 1, SATURATION + 1)[coloured]  # operations below this number are blends
    own = torch.where(order < linear, factors.gather(1, order), 1)  # (B, 4) in turn: share of the picture
    mixed = torch.where(order == SATURATION, 1 - own, 0)  # share of its grey
    moving = (order == HUE) & (factors[:, HUE:] != 0) & coloured
    for turn in range(order.shape[1]):
        shift = _towards_mean(pixels, grey, own[:, turn], order[:, turn] == CONTRAST)
        pixels = _blended(pixels, grey, own[:, turn], mixed[:, turn] if coloured else None, shift)
        rows = moving[:, turn].nonzero()[:, 0]
        if len(rows):
            pixels.index_copy_(0, rows, hue_moved(pixels.index_select(0, rows), factors[rows, HUE]))
    return pixels


def _towards_mean(pixels: Tensor, grey: Tensor, own: Tensor, chosen: Tensor) -> Tensor:
    """What contrast adds to the chosen pictures, (B,): the rest of their mean grey."""
    shift, rows = torch.zeros_like(own), chosen.nonzero()[:, 0]
    if len(rows):
        mean = pixels.index_select(0, rows).mean((2, 3)) @ grey
        shift.index_copy_(0, rows, (1 - own[rows]) * mean)
    return shift


def _blended(pixels: Tensor, grey: Tensor, own: Tensor, mixed: Tensor | None, shift: Tensor) -> Tensor:
    """own × picture + mixed × its grey + shift, cut to [0, 1]; (B,) each. One matrix for each picture."""
    if mixed is None:
        return torch.addcmul(shift[:, None, None, None], own[:, None, None, None], pixels).clamp_(0, 1)
    matrix = own[:, None, None] * torch.eye(3, device=own.device) + mixed[:, None, None] * grey  # (B, 3, 3)
    return torch.baddbmm(shift[:, None, None], matrix, pixels.flatten(2)).clamp_(0, 1).view_as(pixels)


def hue_moved(pixels: Tensor, shift: Tensor) -> Tensor:
    """(B, 3, H, W), (B,) share of the circle -> the same shape; value and saturation of HSV stay.

    With L the smallest channel and C the largest less L, the hue in sixths of the circle is
    1 ± ((L + B - R - G) / C + 2) mod 6, plus where G ≥ R: red 0, yellow 1, green 2, cyan 3, blue 4, magenta 5. The
    channels of hue h are L + C times |h - 3| - 1, 2 - |h - 2| and 2 - |h - 4|, each cut to [0, 1].
    """
    red, green, blue = pixels.unbind(1)
    low = pixels.amin(1)
    chroma = pixels.amax(1).sub_(low)
    away = (low + blue).sub_(red).sub_(green).div_(chroma.clamp(min=1e-12)).add_(2)  # (B, H, W) sixths from yellow
    hue = away.copysign_(green - red).add_((1 + 6 * shift)[:, None, None])
    hue.sub_((hue / 6).floor_().mul_(6))
    middle, slope, offset = hue.new_tensor([[3, 2, 4], [1, -1, -1], [-1, 2, 2]])[..., None, None]  # (3, 1, 1) each
    parts = (hue[:, None] - middle).abs_().mul_(slope).add_(offset).clamp_(0, 1)  # (B, 3, H, W)
    return parts.mul_(chroma[:, None]).add_(low[:, None])


def greyed(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> the same shape: all channels as bright as the pixel is."""
    rows = weights(pixels).expand(len(pixels), 3, 3)
    return torch.bmm(rows, pixels.flatten(2)).view_as(pixels)


def solarised(pixels: Tensor, threshold: Tensor) -> Tensor:
    """(B, C, H, W), (B,) -> the same shape: values from the threshold on are inverted."""
    return torch.where(pixels >= threshold[:, None, None, None], 1 - pixels, pixels)
