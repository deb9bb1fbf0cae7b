"""Multi-head self-attention (arXiv 1706.03762, section 3.2) with one fused projection and few passes over memory."""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.errors import InputError, did_you_mean
from firth.model.dropping import keep_mask
from firth.model.features import pick
from firth.model.positions import Turn, turned
from firth.model.shape import Shape

# B samples, T steps, K kept steps, H heads, C values of a head, D = H * C width

KINDS = ("plain", "sdpa")  # two matmuls and a softmax; or torch's fused kernel


class Where(NamedTuple):
    """Which steps may be attended to, and where they stand: the same for all layers of a kind."""

    mask: Tensor | None = None  # (B, 1, 1, T) or (B or 1, 1, T, T), added to the scores: 0, or very negative
    turn: Turn | None = None  # rotary angles


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.heads, self.head_width, self.dropout = shape.heads, shape.head_width, shape.dropout
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=shape.bias)
        self.out = nn.Linear(shape.width, shape.width, bias=shape.bias)
        self.kind = "plain"

    def forward(self, values: Tensor, where: Where, keep: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or (B, K, D): what the steps at keep (B, K) gather from all steps."""
        query, key, value = self.project(values, where.turn) if keep is None else self.some(values, where.turn, keep)
        mask = where.mask if keep is None else mask_at(where.mask, keep)
        chance = self.dropout if self.training else 0.0
        attend = plain if self.kind == "plain" else sdpa
        return self.out(join_heads(attend(query, key, value, mask, chance)))

    def project(self, values: Tensor, turn: Turn | None) -> tuple[Tensor, ...]:
        """(B, T, D) -> queries, keys, values (B, H, T, C)."""
        return split_heads(self.qkv(values), 3, self.heads, turn)

    def some(self, values: Tensor, turn: Turn | None, keep: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) -> queries (B, H, K, C) at the kept steps, keys and values (B, H, T, C) at all."""
        width, weight, bias = values.shape[-1], whole(self.qkv), self.qkv.bias
        first, rest = (None, None) if bias is None else (bias[:width], bias[width:])
        queries = F.linear(pick(values, keep), weight[:width], first)  # (B, K, D)
        others = F.linear(values, weight[width:], rest)  # (B, T, 2D)
        query = split_heads(queries, 1, self.heads, None if turn is None else turn.at(keep))
        return (*query, *split_heads(others, 2, self.heads, turn))


def whole(linear: nn.Linear) -> Tensor:
    """(O, I): the matrix of a linear map, adapters included."""
    return linear.weight if type(linear) is nn.Linear else cast(Any, linear).whole()


def plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """(B, H, K, C), (B, H, T, C) × 2 -> (B, H, K, C) by two matmuls: in bf16 on CPU the fastest to about 500 steps."""
    if mask is not None:
        mask = mask.expand(*query.shape[:3], key.shape[2]).reshape(-1, query.shape[2], key.shape[2])  # (B*H, K, T)
    return _Plain.apply(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask, dropout).view(query.shape)


class _Plain(torch.autograd.Function):
    """softmax(q k^T / sqrt(C) + mask) v on (B*H, ., C). The scaling and the mask cost no pass of their own, and the
    gradient of the keys comes out in their own layout (autograd makes it transposed, and whatever follows slow)."""

    @staticmethod
    def forward(ctx, query, key, value, mask, dropout):
        ctx.scale = 1 / math.sqrt(query.shape[-1])
        start = query.new_empty(()) if mask is None else mask  # with beta 0 it is not read
        scores = torch.baddbmm(start, query, key.mT, beta=0 if mask is None else 1, alpha=ctx.scale)  # (B*H, K, T)
        shares = scores.softmax(-1)
        ctx.keep = keep_mask(shares, dropout) if dropout else None
        used = shares if ctx.keep is None else shares * ctx.keep
        ctx.save_for_backward(query, key, value, shares, used)
        return torch.bmm(used, value)

    @staticmethod
    def backward(ctx, grad):
        query, key, value, shares, used = ctx.saved_tensors
        grad = grad.contiguous()
        inner = torch.bmm(grad, value.mT)  # (B*H, K, T)
        if ctx.keep is not None:
            inner = inner * ctx.keep
        scores = torch.ops.aten._softmax_backward_data(inner, shares, -1, shares.dtype)
        nothing = query.new_empty(())
        return (
            torch.baddbmm(nothing, scores, key, beta=0, alpha=ctx.scale),
            torch.baddbmm(nothing, scores.mT, query, beta=0, alpha=ctx.scale),
            torch.bmm(used.mT, grad),
            None,
            None,
        )


def sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """The same by torch's fused kernel, which never holds all scores at once."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def check_kind(kind: str) -> str:
    """Raises InputError for an unknown way to compute attention."""
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        raise InputError(f"train.attention `{kind}`", "no such kernel", f"{hint}There is: {', '.join(KINDS)}.")
    return kind


def join_heads(values: Tensor) -> Tensor:
    """(B, H, T, C) -> (B, T, H * C)"""
    return values.transpose(1, 2).flatten(2)


def split_heads(values: Tensor, parts: int, heads: int, turn: Turn | None) -> tuple[Tensor, ...]:
    """(B, T, parts * H * C) -> parts × (B, H, T, C), contiguous; all but the values (the last of 2 or 3) turned."""
    return _SplitHeads.apply(values, parts, heads, turn)


class _SplitHeads(torch.autograd.Function):
    """Splitting, turning and reordering with few passes each way; autograd alone makes twice as many."""

    @staticmethod
    def forward(ctx, values: Tensor, parts: int, heads: int, turn: Turn | None):
        split = values.view(*values.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4)  # (parts, B, H, T, C)
        ctx.turns = [turn if parts == 1 or part < parts - 1 else None for part in range(parts)]
        return tuple(_ordered(part, turn) for part, turn in zip(split, ctx.turns, strict=True))

    @staticmethod
    def backward(ctx, *grads: Tensor):
        batch, heads, steps, head_width = grads[0].shape
        out = grads[0].new_empty(batch, steps, len(grads), heads, head_width)
        for place, grad, turn in zip(out.permute(2, 0, 3, 1, 4), grads, ctx.turns, strict=True):
            place.copy_(grad if turn is None else _ordered(grad, turn, back=True))
        return out.view(batch, steps, -1), None, None, None


def _ordered(values: Tensor, turn: Turn | None, back: bool = False) -> Tensor:
    """(B, H, T, C), contiguous, and turned where there are angles."""
    values = values.contiguous()
    return values if turn is None else turned(values, turn, back)


def mask_at(mask: Tensor | None, keep: Tensor) -> Tensor | None:
    """The rows of a mask for the queries at keep (B, K): (B, 1, K, T), or the mask itself where all rows are one."""
    if mask is None or mask.shape[2] == 1:
        return mask
    rows = mask.expand(keep.shape[0], -1, -1, -1)  # (B, 1, T, T)
    return rows.gather(2, keep[:, None, :, None].expand(-1, 1, -1, mask.shape[-1]))


def build_mask(pad: Tensor | None, steps: int, reach: int | None, like: Tensor) -> Tensor | None:
    """The additive mask against padding (B, T) and, with `reach`, against steps farther than that; None: no mask.

    The lowest finite number and not -inf: a padded step whose whole window is padding must not become NaN.
    """
    hidden = None if pad is None else pad[:, None, None, :]  # (B, 1, 1, T)
    if reach is not None and steps > reach + 1:
        place = torch.arange(steps, device=like.device)
        far = ((place[:, None] - place[None]).abs() > reach)[None, None]  # (1, 1, T, T)
        hidden = far if hidden is None else hidden | far
    if hidden is None:
        return None
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(
        hidden, torch.finfo(like.dtype).min
    )
