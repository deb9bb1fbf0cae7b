"""An encoder that may be kept as it is while a head on it learns."""

from typing import Self

from torch import nn


class Freezable(nn.Module):
    frozen = False

    def freeze(self) -> None:
        """From now on nothing here learns, and the vectors are those of evaluation, whatever mode is asked for."""
        self.requires_grad_(False)
        self.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)
