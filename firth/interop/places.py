"""Where the modules of a transformers class lie among ours."""

from typing import NamedTuple

import torch
from torch import Tensor

SHARED = {  # config.json → Shape, the same for most types
    "num_hidden_layers": "layers",
    "hidden_size": "width",
    "num_attention_heads": "heads",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "positions",
}


class Place(NamedTuple):
    """A module of theirs is the whole of ours, or some of its rows."""

    module: str  # ours
    part: int = 0  # which of its row blocks
    rows: tuple[int, ...] = (1,)  # the sizes of the row blocks, in proportion
    transposed: bool = False  # theirs holds matrices (inputs, outputs)

    def take(self, tensor: Tensor) -> Tensor:
        """Ours (O, …) -> theirs."""
        if len(self.rows) > 1:
            unit = tensor.shape[0] // sum(self.rows)
            tensor = tensor.split([unit * size for size in self.rows])[self.part].clone()
        return self.turn(tensor)

    def turn(self, tensor: Tensor) -> Tensor:
        """The matrix the other way round, where theirs is."""
        return tensor.T.contiguous() if self.transposed and tensor.dim() == 2 else tensor


def whole(modules: dict[str, str]) -> dict[str, Place]:
    """Theirs → ours, one to one."""
    return {theirs: Place(ours) for theirs, ours in modules.items()}


def blocks_of(block: dict[str, Place], layers: int, prefix: str) -> dict[str, Place]:
    """The same for all layers of an encoder: `block` says it of one, prefix is what stands before its number there."""
    return {
        f"{prefix}{layer}.{theirs}": place._replace(module=f"backbone.encoder.blocks.{layer}.{place.module}")
        for layer in range(layers)
        for theirs, place in block.items()
    }


def head_of(tasks: dict[str, dict[str, str]], task: str | None) -> dict[str, str]:
    """Theirs → ours, of the head of a task; nothing without a task."""
    return {theirs: f"parts.{task}.{ours}" for theirs, ours in tasks[task].items()} if task else {}


def joined(parts: dict[int, Tensor]) -> Tensor:
    """Row blocks as one tensor."""
    return parts[0] if len(parts) == 1 else torch.cat([parts[index] for index in sorted(parts)])
