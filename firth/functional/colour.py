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
    coloured = pixels.shape[1] == 3
    for turn in order.unbind(1):
        pixels = blended(pixels, factors, turn) if coloured else brightened(pixels, factors, turn)
        rows = ((turn == HUE) & (factors[:, HUE] != 0)).nonzero()[:, 0] if coloured else turn[:0]
        if len(rows):
            moved = hue_moved(pixels.index_select(0, rows), factors[rows, HUE])
            pixels = pixels.index_copy_(0, rows, moved)
    return pixels


def blended(pixels: Tensor, factors: Tensor, turn: Tensor) -> Tensor:
    """(B, 3, H, W), (B, 4), (B,) the operation of each -> the same shape, in [0, 1]: one matrix and one shift each."""
    grey = weights(pixels)
    own, shift = _own_and_shift(pixels, grey, factors, turn)
    mixed = torch.where(turn == SATURATION, 1 - own, 0)[:, None, None] * grey  # (B, 1, 3)
    matrix = torch.diag_embed(own[:, None].expand(-1, 3)) + mixed  # (B, 3, 3)
    out = torch.baddbmm(shift[:, None, None], matrix, pixels.flatten(2))  # (B, 3, H·W)
    return out.clamp_(0, 1).view_as(pixels)


def brightened(pixels: Tensor, factors: Tensor, turn: Tensor) -> Tensor:
    """(B, C, H, W), (B, 4), (B,) -> the same shape, in [0, 1]: brightness and contrast, for any number of channels."""
    within = torch.where(turn == SATURATION, HUE, turn)  # neither of the two is anything here
    own, shift = _own_and_shift(pixels, weights(pixels), factors, within)
    return (pixels * own[:, None, None, None]).add_(shift[:, None, None, None]).clamp_(0, 1)


def _own_and_shift(pixels: Tensor, grey: Tensor, factors: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """What each picture is multiplied by and what is added to it, (B,) and (B,)."""
    factor = factors.gather(1, turn[:, None])[:, 0]
    own = torch.where(turn == HUE, 1, factor)
    shift, rows = torch.zeros_like(own), (turn == CONTRAST).nonzero()[:, 0]
    if len(rows):
        mean = pixels.index_select(0, rows).mean((2, 3)) @ grey
        shift = shift.index_copy_(0, rows, (1 - own[rows]) * mean)
    return own, shift


def hue_moved(pixels: Tensor, shift: Tensor) -> Tensor:
    """(B, 3, H, W), (B,) share of the circle -> the same shape; value and saturation of HSV stay.

    With V the largest channel and C the largest less the smallest, the channels of hue h (in sixths of the circle) are
    V - C · max(0, min(k, 4 - k, 1)), k = (n + h) mod 6, n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = pixels.unbind(1)
    top = pixels.amax(1)
    chroma = top - pixels.amin(1)
    least = chroma.clamp(min=1e-12)
    of_blue, of_green = (red - green).div_(least).add_(4), (blue - red).div_(least).add_(2)
    hue = torch.where(top == red, (green - blue).div_(least), torch.where(top == green, of_green, of_blue))
    hue.add_(6 * shift[:, None, None])
    sixths = hue[:, None] + hue.new_tensor([5.0, 3.0, 1.0])[:, None, None]  # (B, 3, H, W)
    sixths = sixths.remainder_(6).sub_(2).abs_().neg_().add_(2).clamp_(0, 1)  # max(0, min(k, 4 - k, 1))
    return torch.addcmul(top[:, None], chroma[:, None], sixths, value=-1)


def greyed(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> the same shape: all channels as bright as the pixel is."""
    return torch.einsum("bchw,c->bhw", pixels, weights(pixels))[:, None].repeat(1, 3, 1, 1)


def solarised(pixels: Tensor, threshold: Tensor) -> Tensor:
    """(B, C, H, W), (B,) -> the same shape: values from the threshold on are inverted."""
    return torch.where(pixels >= threshold[:, None, None, None], 1 - pixels, pixels)
