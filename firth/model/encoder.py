"""The blocks in a row, and the backbone: what turns a batch into features."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn

from firth.model.attention import Attention, Where, build_mask, check_kind
from firth.model.block import Block, norm_of
from firth.model.features import Features
from firth.model.positions import Rotary
from firth.model.shape import Shape

# B samples, T steps, K kept steps, D width


class Encoder(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.reach = shape.window // 2
        self.local = [shape.is_local(layer) for layer in range(shape.layers)]  # by block
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm: nn.Module = norm_of(shape) if shape.norm_placement == "pre" else nn.Identity()
        rotary = shape.position_kind == "rotary"
        self.rotary = {  # by locality of a block
            False: Rotary(shape.head_width, shape.rope_global) if rotary else None,
            True: Rotary(shape.head_width, shape.rope_local) if rotary else None,
        }

    def forward(
        self, x: Tensor, pad: Tensor | None = None, keep: Tensor | None = None, layers: bool = False
    ) -> tuple[Tensor, list[Tensor] | None]:
        """(B, T, D), pad (B, T) True where there is nothing -> (B, T, D), or (B, K, D) at keep (B, K).

        Second: with `layers` the input and every block's output, before the last norm. The last block computes queries,
        MLP and norm at the kept steps only: the same numbers as computing all and picking, for less work.
        """
        if keep is not None and layers:
            raise ValueError("Encoder.forward: keep and layers exclude each other. Ask for layers without keep.")
        where = {local: self.where(x, pad, local) for local in set(self.local)}
        outputs = [x]
        for block, local in zip(self.blocks, self.local, strict=True):
            x = block(x, where[local], keep if block is self.blocks[-1] else None)
            if layers:
                outputs.append(x)
        return self.norm(x), outputs if layers else None

    def where(self, x: Tensor, pad: Tensor | None, local: bool) -> Where:
        """Mask and angles of the local or the global blocks."""
        rotary = self.rotary[local]
        mask = build_mask(pad, x.shape[1], self.reach if local else None, x)
        return Where(mask, None if rotary is None else rotary(x.shape[1], x))


class Backbone(nn.Module):
    """Embedding and encoder: batch → Features. Heads and losses are objectives."""

    def __init__(self, shape: Shape, embed: nn.Module):
        super().__init__()
        self.shape = shape
        self.embed = embed
        self.encoder = Encoder(shape)
        self.frozen = False

    def forward(self, batch: Mapping[str, Tensor], keep: Tensor | None = None, layers: bool = False) -> Features:
        """The vectors of all steps, or those at keep (B, K) only. Without batch["pad"] nothing is padding."""
        pad = batch.get("pad")
        with torch.no_grad() if self.frozen else nullcontext():
            values, outputs = self.encoder(self.embed(batch), pad, keep, layers)
        padding = pad if pad is None or keep is None else pad.gather(1, keep)
        return Features(values, padding, layers=outputs)

    def freeze(self) -> None:
        """From now on nothing here learns, and the vectors are those of evaluation, whatever mode is asked for."""
        self.requires_grad_(False)
        self.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)

    def set_attention(self, kind: str) -> None:
        """kind: "plain" or "sdpa": how attention is computed, not what. Raises InputError."""
        for module in self.encoder.modules():
            if isinstance(module, Attention):
                module.kind = check_kind(kind)
