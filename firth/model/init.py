"""Where training begins: every parameter drawn from its own seed, so that adding a head changes no other."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from firth.functional.random import combine, hash_bytes
from firth.model.shape import AnyShape, ConvShape

SPREAD = 0.02  # standard deviation; BERT, arXiv 1810.04805; also GPT-2
WIDE = 768  # the width that this spread is for, in shapes whose spread goes by width
BY_WIDTH = ("llama",)  # measured for these: docs/decisions/0034
UNCUT = ("gpt2",)  # whose authors cut nothing: after the cut they have that spread
CUT = 2.0  # standard deviations; farther draws are drawn again
CUT_SPREAD = 0.8796  # standard deviation of a normal number that is cut there, before it is scaled
RESIDUAL = ("attention.out.weight", "mlp.outer.weight")  # maps that write into the residual sum


def initialise(module: nn.Module, shape: AnyShape, seed: int) -> None:
    """Set all parameters in place: norms 1, biases 0, matrices truncated normal, seeded by (seed, name).

    Pre-norm shapes divide the standard deviation of the maps that write into the residual sum by sqrt(2 × layers)
    (GPT-2, section 2.3; ModernBERT, arXiv 2412.13663, appendix B); `llama` has one that goes by width. Convolutions of
    a convolution net are drawn so that signals keep their size through rectifiers (He et al. 2015, arXiv 1502.01852,
    equation 14). The draws are made in fp32 on the CPU.

    A module with a method `begin(drawn)` then sets its own parameters; drawn(name, size, spread) is a draw for it.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                spread = rectified(parameter.shape) if convolves(parameter, shape) else spread_of(name, shape)
                parameter.copy_(draw(name, parameter.shape, spread, seed))
        for name, part in module.named_modules():
            if hasattr(part, "begin"):
                part.begin(partial(_drawn, name, seed))


def _drawn(module: str, seed: int, name: str, size: torch.Size, spread: float) -> Tensor:
    return draw(f"{module}.{name}", size, spread, seed)


def convolves(parameter: Tensor, shape: AnyShape) -> bool:
    """Whether it is a kernel of a convolution net."""
    return isinstance(shape, ConvShape) and parameter.dim() == 4


def rectified(size: torch.Size) -> float:
    """The standard deviation, before cutting, of a kernel (O, I, h, w) that is followed by a rectifier."""
    return math.sqrt(2 / (size[0] * size[2:].numel())) / CUT_SPREAD


def spread_of(name: str, shape: AnyShape) -> float:
    """The standard deviation of a matrix before cutting, by its name."""
    residual = not isinstance(shape, ConvShape) and shape.norm_placement == "pre" and name.endswith(RESIDUAL)
    spread = spread_at(shape) / (CUT_SPREAD if shape.name in UNCUT else 1.0)
    return spread / math.sqrt(2 * shape.layers) if residual else spread


def spread_at(shape: AnyShape) -> float:
    """The standard deviation of matrices: SPREAD; in some shapes that at WIDE, by 1 / sqrt(width), so that what a
    map makes of a normalised vector has the same size at every width."""
    return SPREAD * math.sqrt(WIDE / shape.width) if shape.name in BY_WIDTH else SPREAD


def draw(name: str, size: torch.Size, spread: float, seed: int) -> Tensor:
    """A truncated normal matrix that depends on seed and name alone."""
    noise = torch.Generator().manual_seed(int(combine(seed, hash_bytes(name.encode()))) >> 1)
    return nn.init.trunc_normal_(torch.empty(size), 0.0, spread, -CUT * spread, CUT * spread, generator=noise)
