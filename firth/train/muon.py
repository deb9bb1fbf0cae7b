"""Muon: momentum made orthogonal by five Newton–Schulz steps (Jordan 2024), for all maps of a size at once.

torch.optim.Muon takes one matrix after the other, and multiplies in bf16, which processors without it compute many
times more slowly than fp32. Here the maps of a size are a batch, in fp32 on a CPU; and maps that lie in one matrix,
such as those of queries, keys and values, are made orthogonal one by one, as if each had a matrix of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from firth.model.attention import Joined
from firth.recipe import Optimizer as Settings

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic, by which small singular values grow fastest
STEPS = 5
LEAST = 1e-7  # a norm that is not divided by less


def rows_of(module: nn.Module) -> dict[int, tuple[int, ...]]:
    """id of a matrix → rows of each map in it, where it holds several."""
    return {id(part.weight): part.rows for part in module.modules() if isinstance(part, Joined)}


class Matrix(NamedTuple):
    """A hidden matrix (O, I) of the masters, and its gradient."""

    weight: Tensor
    gradient: Tensor
    factor: float = 1.0  # of the learning rate
    rows: tuple[int, ...] | None = None  # rows of each map in it; None: it is one


class Maps(NamedTuple):
    """All maps of a size and a factor; views of the matrices they lie in. (O, I) each."""

    factor: float
    weights: list[Tensor]
    gradients: list[Tensor]
    momenta: list[Tensor]


class Muon:
    def __init__(self, matrices: Sequence[Matrix], settings: Settings):
        self.decay = settings.weight_decay
        self.momenta = [torch.zeros_like(one.weight) for one in matrices]
        self.lr = 0.0  # of the last step, before factors
        groups: dict[tuple[float, torch.Size], Maps] = {}
        for one, momentum in zip(matrices, self.momenta, strict=True):
            rows = list(one.rows or one.weight.shape[:1])
            for three in zip(*(whole.split(rows) for whole in (one.weight, one.gradient, momentum)), strict=True):
                maps = groups.setdefault((one.factor, three[0].shape), Maps(one.factor, [], [], []))
                for views, view in zip(maps[1:], three, strict=True):
                    views.append(view)
        self.groups = list(groups.values())

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Nesterov's momentum, orthogonal; √(O / I) times the rate for maps that are higher than wide."""
        self.lr = lr
        for factor, weights, gradients, momenta in self.groups:
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)
            high, wide = weights[0].shape
            own = factor * lr
            torch._foreach_mul_(weights, 1 - own * self.decay)
            updates = list(orthogonal(torch.stack(ahead)).to(weights[0].dtype))
            torch._foreach_add_(weights, updates, alpha=-own * max(1.0, high / wide) ** 0.5)

    def state(self) -> dict[str, Tensor]:
        """{number of the matrix: momentum}"""
        return {str(number): momentum for number, momentum in enumerate(self.momenta)}

    def load(self, state: dict[str, Tensor]) -> None:
        for number, momentum in enumerate(self.momenta):
            momentum.copy_(state[str(number)])


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, O, I) -> (N, O, I): U S' V^T for each U S V^T, with all of S' between about 0.7 and 1.2."""
    first, second, third = COEFFICIENTS
    high = matrices.shape[1] > matrices.shape[2]
    made = matrices.mT if high else matrices
    made = made / torch.linalg.matrix_norm(made, keepdim=True).clamp(min=LEAST)
    made = made.bfloat16() if made.is_cuda else made
    for _ in range(STEPS):
        inner = made @ made.mT  # (N, O, O)
        made = torch.baddbmm(made, torch.baddbmm(inner, inner, inner, beta=second, alpha=third), made, beta=first)
    return made.mT if high else made
