"""Where training begins: every parameter drawn from its own seed, so that adding a head changes no other."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from firth.functional.random import combine, hash_bytes
from firth.model.shape import Shape

SPREAD = 0.02  # standard deviation; BERT, arXiv 1810.04805; also GPT-2
CUT = 2.0  # standard deviations; farther draws are drawn again
ZERO = ("classifier.weight",)  # a task's last map: at first every class is as likely as any other
RESIDUAL = ("attention.out.weight", "mlp.outer.weight")  # maps that write into the residual sum


def initialise(module: nn.Module, shape: Shape, seed: int) -> None:
    """Set all parameters in place: norms 1, biases 0, matrices truncated normal, seeded by (seed, name).
    The last map of a classifier begins at 0.

    Pre-norm shapes divide the standard deviation of the maps that write into the residual sum by sqrt(2 × layers)
    (GPT-2, section 2.3; ModernBERT, arXiv 2412.13663, appendix B). The draws are made in fp32 on the CPU.

    A module with a method `begin(drawn)` then sets its own parameters; drawn(name, size, spread) is a draw for it.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                parameter.copy_(draw(name, parameter.shape, spread_of(name, shape), seed))
        for name, part in module.named_modules():
            if hasattr(part, "begin"):
                part.begin(partial(_drawn, name, seed))


def _drawn(module: str, seed: int, name: str, size: torch.Size, spread: float) -> Tensor:
    return draw(f"{module}.{name}", size, spread, seed)


def spread_of(name: str, shape: Shape) -> float:
    """The standard deviation of a matrix, by its name."""
    if name.endswith(ZERO):
        return 0.0
    residual = shape.norm_placement == "pre" and name.endswith(RESIDUAL)
    return SPREAD / math.sqrt(2 * shape.layers) if residual else SPREAD


def draw(name: str, size: torch.Size, spread: float, seed: int) -> Tensor:
    """A truncated normal matrix that depends on seed and name alone."""
    noise = torch.Generator().manual_seed(int(combine(seed, hash_bytes(name.encode()))) >> 1)
    if not spread:
        return torch.zeros(size)
    return nn.init.trunc_normal_(torch.empty(size), 0.0, spread, -CUT * spread, CUT * spread, generator=noise)
