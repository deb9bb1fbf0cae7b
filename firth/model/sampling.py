"""Choosing a token from logits: greedy, temperature, top-k, top-p, min-p, penalty on repetition."""

from dataclasses import dataclass

import torch
from torch import Tensor

# B rows, V tokens of the vocabulary

COLDEST = 1e-6  # temperature: below it the likeliest token alone is left


@dataclass(frozen=True)
class Writing:
    """How a text is written on. Applied in the order of the fields, as in transformers."""

    tokens: int = 100  # at most
    repetition: float = (
        1.0  # divides what speaks for a token that is there already (CTRL, arXiv 1909.05858, section 4.1)
    )
    temperature: float = 0.8  # divides the logits; 0: always the likeliest token, whatever follows here
    top_k: int = 0  # only so many tokens, the likeliest (arXiv 1805.04833, section 5.1); 0: all
    top_p: float = 1.0  # only the likeliest that have this share together (nucleus, arXiv 1904.09751, section 3.1)
    min_p: float = 0.0  # only tokens with this share of the likeliest one's probability (arXiv 2407.01082, section 3)
    seed: int = 0


def choose(logits: Tensor, seen: list[list[int]], writing: Writing, luck: Tensor) -> Tensor:
    """(B, V) logits, the tokens of each row so far, luck (B,) in [0, 1) -> (B,) int64: the token of each row.

    A row's token depends on its own logits and luck alone.
    """
    logits = penalised(logits, seen, writing.repetition)
    if writing.temperature == 0:
        return logits.argmax(-1)
    logits = logits - logits.amax(-1, keepdim=True)  # so that no temperature makes them infinite
    kept = trimmed(logits / max(writing.temperature, COLDEST), writing)
    shares = kept.double().softmax(-1).cumsum(-1)  # (B, V)
    whole = shares[:, -1:]
    aim = torch.minimum(luck.double()[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(shares, aim, right=True)[:, 0]


def penalised(logits: Tensor, seen: list[list[int]], penalty: float) -> Tensor:
    """Positive logits of seen tokens divided by the penalty, negative ones multiplied."""
    if penalty == 1.0:
        return logits
    out = logits.clone()
    for row, tokens in enumerate(seen):
        ids = torch.tensor(sorted(set(tokens)), dtype=torch.int64, device=logits.device)
        own = logits[row, ids]
        out[row, ids] = torch.where(own < 0, own * penalty, own / penalty)
    return out


def trimmed(logits: Tensor, writing: Writing) -> Tensor:
    """-inf where top-k, then top-p, then min-p leave a token out; the likeliest one is always left."""
    if 0 < writing.top_k < logits.shape[1]:
        logits = logits.masked_fill(logits < logits.topk(writing.top_k).values[:, -1:], -torch.inf)
    if writing.top_p < 1:
        ordered, places = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # share of the likelier ones
        out = torch.zeros_like(before, dtype=torch.bool).scatter_(1, places, before >= writing.top_p)
        logits = logits.masked_fill(out & (logits < ordered[:, :1]), -torch.inf)
    if writing.min_p > 0:
        shares = logits.softmax(-1)
        logits = logits.masked_fill(shares < writing.min_p * shares.amax(-1, keepdim=True), -torch.inf)
    return logits
