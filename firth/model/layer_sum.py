"""A learnt weighted sum of all layers: what a task reads where no single layer knows it best.

SUPERB, arXiv 2105.01051, section 3: the encoder is frozen, and the shares of its layers are learnt with the head of the
task. They add up to 1, and tell which layer knows what. Each layer is first brought to mean 0 and variance 1 at every
step, so that shares of layers with large numbers and with small ones can be compared (an option of the authors' tool).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from firth.model.features import Features

# B samples, T steps, D width, L layers, the embedding among them

PACE = 10.0  # factor on the weights: a head learns in hundreds of steps, in which its other numbers move by tenths


class LayerSum(nn.Module):
    """(B, T, D) of each layer -> (B, T, D); at first every layer has the same share."""

    def __init__(self, layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(layers))  # of one dimension, so that they begin as 1 and do not decay

    @property
    def shares(self) -> Tensor:
        """(L,), the embedding first; they sum to 1."""
        return (PACE * self.weights).softmax(0)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        if len(layers) != len(self.weights):
            raise ValueError(f"LayerSum: {len(layers)} layers for {len(self.weights)} shares. Ask for all layers.")
        shares = self.shares.unbind()
        parts = (share * layer_norm(one, one.shape[-1:]) for share, one in zip(shares, layers, strict=True))
        return reduce(torch.add, parts)  # a product with the stacked layers takes twice the time

    def applied(self, features: Features) -> Features:
        """The features, their values replaced. The last layer is taken behind the norm that some shapes end with."""
        if features.layers is None:
            raise ValueError("LayerSum: there are no layers. Ask the encoder for them: layers=True.")
        return replace(features, values=self([*features.layers[:-1], features.values]))


@contextmanager
def as_begun(sums: Iterable[LayerSum]) -> Iterator[None]:
    """For a while, every layer has the same share again."""
    kept = [(one.weights, one.weights.detach().clone()) for one in sums]
    with torch.no_grad():
        for weights, _ in kept:
            weights.fill_(1.0)
    try:
        yield
    finally:
        with torch.no_grad():
            for weights, learnt in kept:
                weights.copy_(learnt)
