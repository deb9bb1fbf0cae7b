"""Low-rank adapters: a map W that is held, plus a product B A of low rank that learns."""

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from firth.model.encoder import Backbone
from firth.model.init import draw

# I inputs, O outputs of a map, P parts of its rows, R rank

MAPS = ("qkv", "out")  # of each block's attention


class LowRank(nn.Linear):
    """W + B A in place of a linear map W (LoRA, arXiv 2106.09685, section 4.1, with alpha = rank).

    W and the bias are held.
    parts: how many maps W stands for, one below the other (query, key, value); each has an A and a B of its own.
    """

    def __init__(self, held: nn.Linear, rank: int, parts: int = 1):
        with torch.device("meta"):
            super().__init__(held.in_features, held.out_features, held.bias is not None)
        self.weight, self.bias = held.weight, held.bias
        self.down = nn.Parameter(torch.zeros(parts, rank, held.in_features))  # (P, R, I): A
        self.up = nn.Parameter(torch.zeros(parts, held.out_features // parts, rank))  # (P, O / P, R): B; 0 at first

    def whole(self) -> Tensor:
        """(O, I): what the map is now."""
        return self.weight + (self.up @ self.down).flatten(0, 1)

    def forward(self, values: Tensor) -> Tensor:
        """(…, I) -> (…, O)"""
        return functional.linear(values, self.whole(), self.bias)


def adapt(backbone: Backbone, rank: int, parts: int, seed: int) -> None:
    """Hold all of the backbone, and put adapters on the attention of each block, A drawn from (seed, name), B zero.

    parts: of the maps to query, key and value, which are one here. The output is at first what it was.
    """
    backbone.requires_grad_(False)
    for number, block in enumerate(backbone.encoder.blocks):
        attention = cast(nn.Module, block.attention)
        for name in MAPS:
            held = cast(nn.Linear, getattr(attention, name))
            made = LowRank(held, rank, parts if name == "qkv" else 1)
            spread = 1 / math.sqrt(3 * held.in_features)  # of the paper's code
            full = f"backbone.encoder.blocks.{number}.attention.{name}.down"
            with torch.no_grad():
                made.down.copy_(draw(full, made.down.shape, spread, seed))
            setattr(attention, name, made.to(held.weight.device).train(held.training))


def adapters(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name of the map, A (P, R, I), B (P, O / P, R)) of every adapter in a state_dict."""
    for name, tensor in state.items():
        if name.endswith(".down"):
            held = name.removesuffix(".down")
            yield held, tensor, state[f"{held}.up"]


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict of a model without adapters that computes the same: W + B A in place of W, in fp32."""
    found = {name: tensor for name, tensor in state.items() if not name.endswith((".down", ".up"))}
    for name, down, up in adapters(state):
        held = state[f"{name}.weight"]
        found[f"{name}.weight"] = (held.float() + (up.float() @ down.float()).flatten(0, 1)).to(held.dtype)
    return found
