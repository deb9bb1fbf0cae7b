"""Where a step stands. Rotary positions (RoFormer, arXiv 2104.09864): each pair of values is turned by an angle that
grows with the step. Waves: what is added to the patches of a picture."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# T steps, C values of a head; a pair is value i and value i + C/2. W width


class Turn(NamedTuple):
    """The angles, each (T, C/2), or (B, 1, K, C/2) where rows have their own, to be broadcast over heads."""

    cosine: Tensor
    sine: Tensor

    def at(self, keep: Tensor) -> "Turn":
        """(B, K) -> the angles of the kept steps, (B, 1, K, C/2)."""
        if self.cosine.dim() == 2:
            return Turn(self.cosine[keep][:, None], self.sine[keep][:, None])
        chosen = keep[:, None, :, None].expand(-1, -1, -1, self.cosine.shape[-1])
        return Turn(self.cosine.gather(2, chosen), self.sine.gather(2, chosen))


class Rotary:
    """The angles of one wavelength base, kept per dtype and device as far as they were ever needed."""

    def __init__(self, head_width: int, base: float):
        self.head_width, self.base = head_width, base
        self.tables: dict[tuple[torch.dtype, torch.device], Turn] = {}

    def __call__(self, steps: int, like: Tensor) -> Turn:
        """The first `steps` angles in the dtype and on the device of `like`."""
        key = (like.dtype, like.device)
        if key not in self.tables or len(self.tables[key].cosine) < steps:
            self.tables[key] = self.make(max(64, 1 << (steps - 1).bit_length()), like)
        table = self.tables[key]
        return Turn(table.cosine[:steps], table.sine[:steps])

    def make(self, steps: int, like: Tensor) -> Turn:
        with torch.inference_mode(False):  # the table outlives the pass that first needed it
            exact = torch.promote_types(like.dtype, torch.float32)
            pairs = torch.arange(0, self.head_width, 2, device=like.device, dtype=torch.float32)
            speed = 1.0 / self.base ** (pairs / self.head_width)  # (C/2,) radians per step
            angle = torch.outer(torch.arange(steps, device=like.device, dtype=exact), speed.to(exact))  # (T, C/2)
            return Turn(angle.cos().to(like.dtype), angle.sin().to(like.dtype))


def turn_in_place(values: Tensor, turn: Turn) -> None:
    """(…, T, C) as `turned` gives it; for few values, where an operation costs more than its arithmetic."""
    cosine, sine = torch.cat((turn.cosine, turn.cosine), -1), torch.cat((-turn.sine, turn.sine), -1)
    torch.addcmul(values * cosine, values.roll(values.shape[-1] // 2, -1), sine, out=values)


def turned(values: Tensor, turn: Turn, back: bool = False) -> Tensor:
    """(…, T, C) -> (…, T, C), turned by the angles of each step; `back` turns the other way (the gradient)."""
    cosine, sine = turn.cosine, -turn.sine if back else turn.sine
    half = values.shape[-1] // 2
    first, second = values[..., :half], values[..., half:]
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula; it cannot write into halves
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
    out = torch.empty_like(values)
    torch.mul(first, cosine, out=out[..., :half]).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=out[..., half:]).addcmul_(first, sine)
    return out


def waves(side: int, width: int) -> Tensor:
    """(1 + side², width): sines and cosines of the row in the first half, of the column in the second, and 0 for the
    class token (Vaswani et al. 2017, arXiv 1706.03762, section 3.5, along both sides)."""
    quarter = width // 4
    rates = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / max(quarter, 1))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates  # (side, W/4)
    along = torch.cat([angles.sin(), angles.cos()], 1)  # (side, W/2)
    grid = torch.cat([along.repeat_interleave(side, 0), along.repeat(side, 1)], 1)  # (side², W)
    grid = F.pad(grid, (0, width - grid.shape[1]))
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), grid]).float()
