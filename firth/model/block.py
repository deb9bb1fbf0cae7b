"""One Block with switches: attention and an MLP, each with a residual sum and a norm before or after it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.model.attention import Attention, Joined, Where
from firth.model.cache import Past
from firth.model.dropping import drop
from firth.model.features import pick
from firth.model.shape import Shape

# B samples, T steps, K kept steps, D width, I intermediate

TANH = {"gelu": "none", "gelu_tanh": "tanh"}  # how torch approximates GELU (arXiv 1606.08415)
OTHERS = {"relu": F.relu, "silu": F.silu}


def activate(values: Tensor, activation: str) -> Tensor:
    """The activation function by its name in Shape."""
    return F.gelu(values, approximate=TANH[activation]) if activation in TANH else OTHERS[activation](values)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) * weight (Zhang & Sennrich 2019, arXiv 1910.07467, equation 4)."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, values: Tensor) -> Tensor:
        """(…, D) -> (…, D)"""
        if values.is_cuda or torch.compiler.is_compiling():
            return F.rms_norm(values, self.weight.shape, self.weight, self.epsilon)
        if not torch.is_grad_enabled():
            return (values * inverse_rms(values, self.epsilon)).mul_(self.weight)
        return _RmsNorm.apply(values, self.weight, self.epsilon)


def inverse_rms(values: Tensor, epsilon: float) -> Tensor:
    """(…, D) -> (…, 1)"""
    exact = torch.promote_types(values.dtype, torch.float32)
    squares = torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=exact).square_()
    return squares.div_(values.shape[-1]).add_(epsilon).rsqrt_().to(values.dtype)


class _RmsNorm(torch.autograd.Function):
    """torch's own has no fused gradient on CPU; this one takes half its time."""

    @staticmethod
    def forward(ctx, values: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        scale = inverse_rms(values, epsilon)  # (…, 1)
        ctx.save_for_backward(values, weight, scale)
        return (values * scale).mul_(weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        values, weight, scale = ctx.saved_tensors
        unit, inner = values * scale, grad * weight
        along = (inner * unit).mean(-1, keepdim=True)
        return torch.addcmul(inner, unit, along, value=-1).mul_(scale), (grad * unit).flatten(0, -2).sum(0), None


def norm_of(shape: Shape) -> nn.Module:
    if shape.norm_kind == "rms":
        return RmsNorm(shape.width, shape.norm_epsilon)
    return nn.LayerNorm(shape.width, eps=shape.norm_epsilon, bias=shape.norm_bias)


class Mlp(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.activation, self.gated, self.dropout = shape.activation, shape.gated, shape.dropout
        self.inner = Joined(shape.width, (shape.intermediate,) * (2 if shape.gated else 1), bias=shape.bias)
        self.outer = nn.Linear(shape.intermediate, shape.width, bias=shape.bias)

    def forward(self, values: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        inner = self.inner(values)  # (B, T, I), gated: (B, T, 2I)
        inner = gate(inner, self.activation) if self.gated else activate(inner, self.activation)
        if self.gated:  # ModernBERT drops inside, BERT and GPT-2 only after
            inner = drop(inner, self.dropout, self.training)
        return self.outer(inner)


def gate(values: Tensor, activation: str) -> Tensor:
    """(…, 2I) -> (…, I): activation(first half) * second half."""
    if torch.is_grad_enabled() and (activation in TANH or activation == "silu"):
        return _Gated.apply(values, activation)
    first, second = (half.contiguous() for half in values.chunk(2, -1))
    return activate(first, activation) * second


class _Gated(torch.autograd.Function):
    """On contiguous halves, where torch's functions are twice as fast as on a strided half, the copying included."""

    @staticmethod
    def forward(ctx, values: Tensor, activation: str) -> Tensor:
        first, second = (half.contiguous() for half in values.chunk(2, -1))
        active = activate(first, activation)
        ctx.save_for_backward(first, second, active)
        ctx.activation = activation
        return active * second

    @staticmethod
    def backward(ctx, grad: Tensor):
        first, second, active = ctx.saved_tensors
        return torch.cat((activate_backward(grad * second, first, ctx.activation), grad * active), -1), None


def activate_backward(grad: Tensor, values: Tensor, activation: str) -> Tensor:
    """The gradient of `activate` for GELU and SiLU."""
    if activation == "silu":
        return torch.ops.aten.silu_backward(grad, values)
    return torch.ops.aten.gelu_backward(grad, values, approximate=TANH[activation])


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

    def forward(self, x: Tensor, where: Where, keep: Tensor | None = None, past: Past | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or with keep (B, K) -> (B, K, D): only the kept steps are computed.

        past: keys and values of the steps before x, which are attended to and grow by those of x.
        """
        at = x if keep is None else pick(x, keep)
        if self.pre:
            at = at + self.drop(self.attention(self.attention_norm(x), where, keep, past))
            inner = self.mlp(self.mlp_norm(at))
            return at + (inner if self.mlp.gated else self.drop(inner))
        at = self.attention_norm(at + self.drop(self.attention(x, where, keep, past)))
        return self.mlp_norm(at + self.drop(self.mlp(at)))

    def drop(self, x: Tensor) -> Tensor:
        return drop(x, self.dropout, self.training)
