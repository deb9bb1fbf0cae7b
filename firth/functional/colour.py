"""Colours of a batch of pictures with values in [0, 1], each changed by numbers of its own.

Brightness, contrast and saturation are blends, as in Pillow's ImageEnhance. Hue is moved in HSV, just as colorsys has
it; a turn about the grey axis of YIQ would be one matrix product, but leads out of the range of colours.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

# B pictures, C channels, H × W pixels

GREY = (0.299, 0.587, 0.114)  # of red, green, blue in what is seen as bright: ITU-R BT.601, Pillow's "L"
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # numbers of the operations in an order
PLAIN = (1.0, 1.0, 1.0, 0.0)  # factors that change nothing


def jittered(pixels: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """(B, C, H, W), (B, 4) brightness, contrast, saturation (1: as it is), hue (0); (B, 4) int64 -> the same shape.

    order: the operations in turn, by number, each cut to [0, 1] before the next. Saturation and hue are left out where
    there are other than three channels. hue: share of the circle.
    """
    return jitter_(pixels.clone(memory_format=torch.contiguous_format), factors, order)


def jitter_(pixels: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """jittered, in place. Pictures of one kind that lie together are changed together: sort them by kind."""
    coloured = pixels.shape[1] == 3
    blends = order <= (SATURATION if coloured else CONTRAST)
    own = torch.where(blends, factors.gather(1, order), 1)  # (B, 4) in turn: share of the picture
    contrast, saturation = ((order == operation).to(own.dtype) for operation in (CONTRAST, SATURATION))
    parts, grey = (pixels, own, contrast, saturation, factors[:, HUE]), weights(pixels)
    for kind, part, *numbers, shift in _stretches(kinds(factors, order), *parts):
        for turn in range(4):
            if turn != kind:
                blend_(part, grey, *(number[:, turn] for number in numbers))
            elif coloured:
                move_hue_(part, shift)
    return pixels


def kinds(factors: Tensor, order: Tensor) -> Tensor:
    """(B, 4), (B, 4) -> (B,): the turn in which hue changes, and -1 for pictures that stay as they are."""
    turn = ((order == HUE) * torch.arange(4, device=order.device)).sum(1)
    return torch.where((factors != factors.new_tensor(PLAIN)).any(1), turn, -1)


def _stretches(kind: Tensor, *parts: Tensor) -> Iterator[tuple]:
    """Pictures of one kind that lie together: the kind, and views of the parts; without those that stay as they are."""
    found, counts = torch.unique_consecutive(kind, return_counts=True)
    sizes = counts.tolist()
    cut = zip(found.tolist(), *(part.split(sizes) for part in parts), strict=True)
    return (one for one in cut if one[0] >= 0)


def blend_(pixels: Tensor, grey: Tensor, own: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """(B, C, H, W), (C,) weights of a grey, (B,) each -> own × picture + (1 - own) × what it moves to or away from, cut
    to [0, 1]; in place.

    That is the mean grey where contrast is 1, the grey of each pixel where saturation is, and black where neither is.
    """
    channels = pixels.view(*pixels.shape[:2], -1)  # (B, C, H·W)
    mean = contrast * (channels.mean(2) @ grey)  # (B,)
    target = torch.baddbmm(mean[:, None, None], torch.outer(saturation, grey)[:, None], channels)  # (B, 1, H·W)
    torch.lerp(target, channels, own[:, None, None], out=channels).clamp_(0, 1)
    return pixels


def weights(pixels: Tensor) -> Tensor:
    """(C,) how much of the brightness each channel is; of other than three channels all alike."""
    channels = pixels.shape[1]
    return pixels.new_tensor(GREY) if channels == 3 else pixels.new_full((channels,), 1 / channels)


def hue_moved(pixels: Tensor, shift: Tensor) -> Tensor:
    """(B, 3, H, W), (B,) share of the circle -> the same shape; value and saturation of HSV stay."""
    return move_hue_(pixels.clone(), shift)


def move_hue_(pixels: Tensor, shift: Tensor) -> Tensor:
    """hue_moved, in place. A third of the circle is a step from channel to channel; what is left is at most a sixth."""
    thirds = (3 * shift).round()
    stepped = thirds.nonzero()[:, 0]
    if len(stepped):
        channels = (torch.arange(3, device=pixels.device) - thirds[stepped, None].long()) % 3  # (n, 3)
        pixels.index_copy_(0, stepped, pixels[stepped[:, None], channels])
    return _move_hue_a_sixth_(pixels, 6 * shift - 2 * thirds) if shift.any() else pixels


def _move_hue_a_sixth_(pixels: Tensor, sixths: Tensor) -> Tensor:
    """(B, 3, H, W), (B,) in [-1, 1]: in place.

    Over the circle a channel is a slope between its lowest and its highest value, L and M, each held for two sixths.
    Were the slopes not cut off there, the channel x would stand at 2 x - m, where m is the middle one of the three: m
    itself on a slope, as far above M as m is below it where x is M, and likewise below L. A sixth of the circle further
    it stands M - L higher where the channel before it (blue, red, green for red, green, blue) is above the one after,
    else lower; where the direction changes within less than a sixth, all is cut off anyway.
    """
    red, green, blue = pixels.split(1, 1)  # (B, 1, H, W) each
    low, high = torch.minimum(red, green), torch.maximum(red, green)
    middle = torch.clamp(blue, low, high)
    torch.minimum(low, blue, out=low)
    torch.maximum(high, blue, out=high)
    rise = torch.empty_like(pixels)
    for channel, (before, after) in enumerate(((blue, green), (red, blue), (green, red))):
        torch.sub(before, after, out=rise[:, channel, None])
    step = (high - low).mul_(_each(sixths))
    uncut = torch.lerp(middle, pixels, 2.0).addcmul_(rise.sign_(), step)
    return torch.clamp(uncut, low, high, out=pixels)


def greyed(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> the same shape: all channels as bright as the pixel is."""
    rows = weights(pixels).expand(len(pixels), 3, 3)
    return torch.bmm(rows, pixels.flatten(2)).view_as(pixels)


def solarised(pixels: Tensor, threshold: Tensor) -> Tensor:
    """(B, C, H, W), (B,) -> the same shape: values from the threshold on are inverted."""
    return torch.where(pixels >= _each(threshold), 1 - pixels, pixels)


def _each(numbers: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1): one for each picture."""
    return numbers.view(-1, 1, 1, 1)
