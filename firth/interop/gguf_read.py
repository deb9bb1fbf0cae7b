"""A GGUF file read back by the package `gguf`, and computed with by the formulas of llama.cpp's architecture `llama`.

Written apart from what writes it, so that an export is checked against something else: pairs of neighbours are turned
(RoFormer, arXiv 2104.09864, equation 34), groups of queries share a key (arXiv 2305.13245), norms are RMS norms
(arXiv 1910.07467), and MLPs are gated by SiLU (arXiv 2002.05202).
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import pre_tokenizers
from torch import Tensor

# B samples, T steps, H heads, G heads of keys, C values of a head, D width, V vocabulary


class Read:
    """A file: its facts and its tensors."""

    def __init__(self, path: Path):
        import gguf

        reader = gguf.GGUFReader(path)
        self.facts: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self.tensors = {one.name: torch.from_numpy(np.array(one.data)) for one in reader.tensors}

    def number(self, name: str) -> Any:
        """A fact of the architecture."""
        return self.facts[f"llama.{name}"]

    def weight(self, name: str, layer: int | None = None) -> Tensor:
        """In fp32, as computed with."""
        return self.tensors[f"{name}.weight" if layer is None else f"blk.{layer}.{name}.weight"].float()

    @torch.inference_mode()
    def logits(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)"""
        x = F.embedding(tokens, self.weight("token_embd"))  # (B, T, D)
        turn = self.angles(tokens.shape[1])
        for layer in range(self.number("block_count")):
            x = x + self.attend(self.normed(x, "attn_norm", layer), layer, turn)
            x = x + self.gated(self.normed(x, "ffn_norm", layer), layer)
        out = "output" if "output.weight" in self.tensors else "token_embd"
        return F.linear(self.normed(x, "output_norm"), self.weight(out))

    def normed(self, x: Tensor, name: str, layer: int | None = None) -> Tensor:
        epsilon = self.number("attention.layer_norm_rms_epsilon")
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * self.weight(name, layer)

    def angles(self, steps: int) -> Tensor:
        """(T, C/2) complex: the turn of each pair at each step."""
        pairs = torch.arange(0, self.number("rope.dimension_count"), 2) / self.number("rope.dimension_count")
        angle = torch.outer(torch.arange(steps).float(), self.number("rope.freq_base") ** -pairs)
        return torch.polar(torch.ones_like(angle), angle)

    def attend(self, x: Tensor, layer: int, turn: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        query, key, value = (F.linear(x, self.weight(f"attn_{name}", layer)) for name in "qkv")
        heads, shared = self.number("attention.head_count"), self.number("attention.head_count_kv")
        query, key = turned(split(query, heads), turn), turned(split(key, shared), turn)  # (B, H, T, C), (B, G, T, C)
        seen = F.scaled_dot_product_attention(query, key, split(value, shared), is_causal=True, enable_gqa=True)
        return F.linear(seen.transpose(1, 2).flatten(2), self.weight("attn_output", layer))

    def gated(self, x: Tensor, layer: int) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        gate, up = (F.linear(x, self.weight(f"ffn_{name}", layer)) for name in ("gate", "up"))
        return F.linear(F.silu(gate) * up, self.weight("ffn_down", layer))

    def encode(self, text: str) -> list[int]:
        """Token ids as llama.cpp's `gpt2` tokenizer finds them: what has no token is left out."""
        tokens = {token: number for number, token in enumerate(self.facts["tokenizer.ggml.tokens"])}
        ranks = {tuple(pair.split(" ")): rank for rank, pair in enumerate(self.facts["tokenizer.ggml.merges"])}
        found: list[int] = []
        for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text):
            for piece in merged(list(word), ranks):
                parts = [piece] if piece in tokens else [letter for letter in piece if letter.isascii()]
                found += [tokens[part] for part in parts if part in tokens]
        return found


def merged(parts: list[str], ranks: dict[tuple[str, ...], int]) -> list[str]:
    """The pieces of a word: the pair of the lowest rank is joined, the leftmost first, until there is none."""
    while True:
        pairs = [(ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairwise(parts))]
        rank, place = min(pairs, default=(len(ranks), 0))
        if rank == len(ranks):
            return parts
        parts = [*parts[:place], parts[place] + parts[place + 1], *parts[place + 2 :]]


def split(values: Tensor, heads: int) -> Tensor:
    """(B, T, heads * C) -> (B, heads, T, C)"""
    return values.unflatten(2, (heads, -1)).transpose(1, 2)


def turned(values: Tensor, turn: Tensor) -> Tensor:
    """(B, H, T, C), each pair of neighbours turned."""
    pairs = torch.view_as_complex(values.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)
