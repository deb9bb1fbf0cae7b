"""The blocks in a row, and the backbone: what turns a batch into features."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from firth.model.attention import Attention, Where, build_mask, check_kind
from firth.model.block import Block, norm_of
from firth.model.cache import Cache
from firth.model.features import Features
from firth.model.freezing import Freezable
from firth.model.positions import Rotary, Turn
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
        self,
        x: Tensor,
        pad: Tensor | None = None,
        keep: Tensor | None = None,
        layers: bool = False,
        causal: bool = False,
        documents: Tensor | None = None,
        cache: Cache | None = None,
        place: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor] | None]:
        """(B, T, D), pad (B, T) True where there is nothing -> (B, T, D), or (B, K, D) at keep (B, K).

        causal: no step attends to a later one. documents (B, T): a step attends to those of the same number only.
        cache: the steps before x, which grow by x; pad is then of all steps (B, S), and place (B, T) says where in its
        row each step of x stands, None: one after the other.
        Second: with `layers` the input and every block's output, before the last norm. The last block computes queries,
        MLP and norm at the kept steps only: the same numbers as computing all and picking, for less work.
        """
        if keep is not None and layers:
            raise ValueError("Encoder.forward: keep and layers exclude each other. Ask for layers without keep.")
        before = 0 if cache is None else cache.steps
        look = partial(self.where, x, pad, causal=causal, documents=documents, before=before, place=place)
        where = {local: look(local) for local in set(self.local)}
        past = cache.layers if cache is not None else [None] * len(self.blocks)
        outputs = [x]
        for block, local, own in zip(self.blocks, self.local, past, strict=True):
            x = block(x, where[local], keep if block is self.blocks[-1] else None, own)
            if layers:
                outputs.append(x)
        return self.norm(x), outputs if layers else None

    def where(
        self,
        x: Tensor,
        pad: Tensor | None,
        local: bool,
        causal: bool = False,
        documents: Tensor | None = None,
        before: int = 0,
        place: Tensor | None = None,
    ) -> Where:
        """Mask and angles of the local or the global blocks."""
        steps = x.shape[1]
        mask = build_mask(pad, steps, self.reach if local else None, x, causal, documents, before)
        return Where(mask, self.turn(self.rotary[local], x, before, place), causal and steps > 1 and not before)

    @staticmethod
    def turn(rotary: Rotary | None, x: Tensor, before: int, place: Tensor | None) -> Turn | None:
        """The angles of the steps of x."""
        if rotary is None:
            return None
        end = before + x.shape[1]
        table = rotary(end, x)
        if place is not None:
            return table.at(place)
        return table if not before else Turn(table.cosine[before:], table.sine[before:])


class Backbone(Freezable):
    """Embedding and encoder: batch → Features. Heads and losses are objectives."""

    def __init__(self, shape: Shape, embed: nn.Module):
        super().__init__()
        self.shape = shape
        self.embed = embed
        self.encoder = Encoder(shape)

    def forward(
        self,
        batch: Mapping[str, Tensor],
        keep: Tensor | None = None,
        layers: bool = False,
        causal: bool | None = None,
        cache: Cache | None = None,
    ) -> Features:
        """The vectors of all steps, or those at keep (B, K) only. The embedding says which steps are padding.

        causal: None is as the shape has it. cache: the steps before those of the batch; it grows by them.
        """
        pad, documents = self.embed.padding(batch), batch.get("documents")  # type: ignore[operator]
        causal = self.shape.causal if causal is None else causal
        with torch.no_grad() if self.frozen else nullcontext():
            if cache is None:
                values, outputs = self.encoder(self.embed(batch), pad, keep, layers, causal, documents)
            else:
                values, outputs = self.go_on(batch, keep, layers, cache)
        padding = pad if pad is None or keep is None else pad.gather(1, keep)
        features = Features(values, padding, self.embed.stride, outputs)  # type: ignore[arg-type]
        if self.shape.sound is not None:  # no step stands for the whole
            features.vector = features.mean
        return features

    def go_on(
        self, batch: Mapping[str, Tensor], keep: Tensor | None, layers: bool, cache: Cache
    ) -> tuple[Tensor, list[Tensor] | None]:
        """What the encoder gives for steps that follow those of the cache; always causal."""
        if any(self.encoder.local):
            raise ValueError("Backbone.forward: layers that see a window keep no cache. Take a shape without windows.")
        tokens, before = batch["tokens"], cache.steps
        place = cache.place(tokens, batch.get("pad"))
        own = {**batch}
        if self.shape.position_kind == "learned":
            steps = torch.arange(before, before + tokens.shape[1], device=tokens.device)
            own["position"] = steps[None].expand_as(tokens) if place is None else place
        return self.encoder(self.embed(own), cache.pad, keep, layers, True, None, cache, place)

    def set_attention(self, kind: str) -> None:
        """kind: "plain" or "sdpa": how attention is computed, not what. Raises InputError."""
        for module in self.encoder.modules():
            if isinstance(module, Attention):
                module.kind = check_kind(kind)
