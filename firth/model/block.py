"""One Block with switches: attention and an MLP, each with a residual sum and a norm before or after it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.model.attention import Attention, Where
from firth.model.dropping import drop
from firth.model.features import pick
from firth.model.shape import Shape

# B samples, T steps, K kept steps, D width, I intermediate

TANH = {"gelu": "none", "gelu_tanh": "tanh"}  # how torch approximates GELU (arXiv 1606.08415)
OTHERS = {"relu": F.relu, "silu": F.silu}


def activate(values: Tensor, activation: str) -> Tensor:
    """The activation function by its name in Shape."""
    return F.gelu(values, approximate=TANH[activation]) if activation in TANH else OTHERS[activation](values)


def norm_of(shape: Shape) -> nn.LayerNorm:
    return nn.LayerNorm(shape.width, eps=shape.norm_epsilon, bias=shape.norm_bias)


class Mlp(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.activation, self.gated, self.dropout = shape.activation, shape.gated, shape.dropout
        self.inner = nn.Linear(shape.width, shape.intermediate * (2 if shape.gated else 1), bias=shape.bias)
        self.outer = nn.Linear(shape.intermediate, shape.width, bias=shape.bias)

    def forward(self, values: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        inner = self.inner(values)  # (B, T, I), gated: (B, T, 2I)
        inner = gate(inner, self.activation) if self.gated else activate(inner, self.activation)
        if self.gated:  # ModernBERT drops inside, BERT only after
            inner = drop(inner, self.dropout, self.training)
        return self.outer(inner)


def gate(values: Tensor, activation: str) -> Tensor:
    """(…, 2I) -> (…, I): activation(first half) * second half."""
    if activation in TANH:
        return _GeGLU.apply(values, TANH[activation])
    first, second = values.chunk(2, -1)
    return activate(first, activation) * second


class _GeGLU(torch.autograd.Function):
    """On contiguous halves, where torch's GELU is twice as fast as on a strided half, the copying included."""

    @staticmethod
    def forward(ctx, values: Tensor, approximate: str) -> Tensor:
        first, second = (half.contiguous() for half in values.chunk(2, -1))
        active = F.gelu(first, approximate=approximate)
        ctx.save_for_backward(first, second, active)
        ctx.approximate = approximate
        return active * second

    @staticmethod
    def backward(ctx, grad: Tensor):
        first, second, active = ctx.saved_tensors
        inner = torch.ops.aten.gelu_backward(grad * second, first, approximate=ctx.approximate)
        return torch.cat((inner, grad * active), -1), None


class Block(nn.Module):
    """Norms before: x + attend(norm(x)), then x + mlp(norm(x)); after: norm(x + attend(x)), then norm(x + mlp(x))."""

    def __init__(self, shape: Shape, layer: int = 1):
        super().__init__()
        self.pre, self.dropout = shape.norm_placement == "pre", shape.dropout
        self.attention = Attention(shape)
        unneeded = self.pre and layer == 0 and not shape.first_norm
        self.attention_norm: nn.Module = nn.Identity() if unneeded else norm_of(shape)
        self.mlp = Mlp(shape)
        self.mlp_norm = norm_of(shape)

    def forward(self, x: Tensor, where: Where, keep: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or with keep (B, K) -> (B, K, D): only the kept steps are computed."""
        at = x if keep is None else pick(x, keep)
        if self.pre:
            at = at + self.drop(self.attention(self.attention_norm(x), where, keep))
            return at + self.mlp(self.mlp_norm(at))
        at = self.attention_norm(at + self.drop(self.attention(x, where, keep)))
        return self.mlp_norm(at + self.drop(self.mlp(at)))

    def drop(self, x: Tensor) -> Tensor:
        return drop(x, self.dropout, self.training)
