"""What an encoder returns."""

from dataclasses import dataclass

import torch
from torch import Tensor

# B samples, T steps, K kept steps, D width

FEWEST_DEVIATION = 1e-5  # variance added, so that a sample of one step has a gradient


def pick(values: Tensor, keep: Tensor) -> Tensor:
    """(B, T, D), (B, K) -> (B, K, D): the kept steps of each sample, in the order given."""
    return values.gather(1, keep[..., None].expand(-1, -1, values.shape[-1]))


@dataclass
class Features:
    """What an encoder returns."""

    values: Tensor  # (B, T, D), or (B, K, D) at the kept steps
    padding: Tensor | None = None  # (B, T) or (B, K) bool, True where there is nothing
    rate: int = 1  # input units per step
    layers: list[Tensor] | None = None  # every block's output, the embedding first, where asked for
    vector: Tensor | None = None  # (B, D): of a whole sample, where it is not the first step
    kept: bool = False  # True: values are those at batch["keep"]; set by the encode methods of objective.py

    def at(self, keep: Tensor) -> Tensor:
        """(B, K) -> (B, K, D): the values at the batch's kept steps, whether only those or all were computed.

        keep may be the first columns of batch["keep"]: objectives append their steps, none removes another's.
        """
        return self.values[:, : keep.shape[1]] if self.kept else pick(self.values, keep)

    @property
    def pooled(self) -> Tensor:
        """(B, D), one vector a sample: the first step, which is [CLS] in text and is always kept; or `vector`."""
        return self.values[:, 0] if self.vector is None else self.vector

    @property
    def last(self) -> Tensor:
        """(B, D): the last step that is no padding, whichever side that is on."""
        if self.padding is None:
            return self.values[:, -1]
        steps = torch.arange(self.padding.shape[1], device=self.padding.device)
        place = steps.masked_fill(self.padding, 0).amax(1)  # (B,)
        return pick(self.values, place[:, None])[:, 0]

    @property
    def mean(self) -> Tensor:
        """(B, D): the mean over the steps that are no padding."""
        if self.padding is None:
            return self.values.mean(1)
        real = (~self.padding).to(self.values.dtype)[..., None]  # (B, T, 1)
        return (self.values * real).sum(1) / real.sum(1).clamp(min=1)

    @property
    def statistics(self) -> Tensor:
        """(B, 2 D): mean and standard deviation over the steps that are no padding (x-vectors: Snyder et al. 2018,
        section 2.1)."""
        mean = self.mean
        squares = Features((self.values - mean[:, None]).square(), self.padding).mean
        return torch.cat([mean, (squares + FEWEST_DEVIATION).sqrt()], -1)

    @property
    def patches(self) -> Tensor:
        """(B, D): the mean over the steps after the class token, where there is one."""
        return self.values[:, 1:].mean(1)
