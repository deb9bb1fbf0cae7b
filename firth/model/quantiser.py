"""Vectors → one code of each of a few books (product quantisation), drawn with Gumbel noise while it learns.

wav2vec 2.0, arXiv 2006.11477, section 2; Gumbel-softmax: Jang et al. 2016, arXiv 1611.01144, equation 2.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from firth.model.sound import Drawn

# B rows, K steps, C numbers in, G books, V codes of a book, W numbers of all chosen codes


class Quantised(NamedTuple):
    values: Tensor  # (B, K, W)
    chosen: Tensor  # (B, K, G) int64: the code of each book
    shares: Tensor  # (B, K, G, V): softmax of the scores; in evaluation 1 at the chosen code


class Quantiser(nn.Module):
    def __init__(self, channels: int, groups: int, codes: int, width: int, spread: float = 3.0):
        super().__init__()
        self.groups, self.spread = groups, spread
        self.scores = nn.Linear(channels, groups * codes)
        self.codes = nn.Parameter(torch.zeros(1, groups * codes, width // groups))

    def begin(self, drawn: Drawn) -> None:
        """Scores of deviation `spread` for numbers of variance 1; codes normal, so that they differ in direction."""
        self.scores.weight.copy_(drawn("scores", self.scores.weight.shape, self.spread * self.scores.in_features**-0.5))
        self.codes.copy_(drawn("codes", self.codes.shape, 0.5))

    @torch.no_grad()
    def suit(self, values: Tensor) -> None:
        """(N, C) -> the score of every code has mean 0 over these vectors, and all scores together have the deviation
        `spread`. Numbers that do not differ decide nothing."""
        wide, weight = values.double(), self.scores.weight.double()
        mean = wide.mean(0)  # (C,)
        deviation = ((wide - mean) @ weight.T).square().mean().sqrt()
        if deviation > 0:  # not so without vectors
            weight = weight * (self.spread / deviation)
            self.scores.weight.copy_(weight)
            self.scores.bias.copy_(-(weight @ mean))

    def forward(self, values: Tensor, softness: Tensor | float, noise: bool) -> Quantised:
        """(B, K, C) -> one code of each book. softness: the temperature of the gradient, which is that of the softmax
        of (scores + noise) / softness. noise: while it learns, codes are drawn by their scores."""
        scores = self.scores(values).unflatten(-1, (self.groups, -1))  # (B, K, G, V)
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if not self.training:
            chosen = wide.argmax(-1)
            return Quantised(self.rows(chosen), chosen, one_hot(chosen, wide))
        drawn = wide + gumbel(wide) if noise else wide
        soft = (drawn / softness).softmax(-1)
        chosen = soft.argmax(-1)
        hard = one_hot(chosen, wide) - soft.detach() + soft  # 1 at the chosen code; the gradient of `soft`
        table = self.codes.view(self.groups, -1, self.codes.shape[2])  # (G, V, W / G)
        mixed = torch.einsum("bkgv,gvw->bkgw", hard.to(table.dtype), table)
        return Quantised(mixed.flatten(2), chosen, wide.softmax(-1))

    def rows(self, chosen: Tensor) -> Tensor:
        """(B, K, G) -> (B, K, W): the chosen codes side by side."""
        first = torch.arange(self.groups, device=chosen.device) * (self.codes.shape[1] // self.groups)
        return self.codes[0][chosen + first].flatten(2)


def one_hot(chosen: Tensor, like: Tensor) -> Tensor:
    """(…) -> (…, V): 1 at the chosen place."""
    return torch.zeros_like(like).scatter_(-1, chosen[..., None], 1.0)


def gumbel(like: Tensor) -> Tensor:
    """-log(-log u), u uniform; seeded as all of torch's numbers on that device are."""
    return -torch.empty_like(like).exponential_().log()


def perplexity(shares: Tensor) -> Tensor:
    """(…, V) shares that sum to 1 -> (…): the number of codes that are in use, were they used alike."""
    floor = torch.finfo(shares.dtype).tiny
    return (-(shares * shares.clamp(min=floor).log()).sum(-1)).exp()
