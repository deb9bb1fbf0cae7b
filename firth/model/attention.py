"""Multi-head self-attention (arXiv 1706.03762, section 3.2) with one fused projection and few passes over memory."""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.errors import InputError, did_you_mean
from firth.model.cache import Past
from firth.model.causal import causal
from firth.model.dropping import keep_mask
from firth.model.features import pick
from firth.model.positions import Turn, turn_in_place, turned
from firth.model.shape import Shape

# B samples, T steps, K kept steps, H heads, G heads of keys and values (H where not said), C values of a head, D width

KINDS = ("plain", "sdpa")  # two matmuls and a softmax; or torch's fused kernel


class Where(NamedTuple):
    """Which steps may be attended to, and where they stand: the same for all layers of a kind."""

    mask: Tensor | None = None  # (B, 1, 1, T) or (B or 1, 1, T, T), added to the scores: 0, or very negative
    turn: Turn | None = None  # rotary angles
    causal: bool = False  # later steps are hidden; by the mask, too, where there is one


class Joined(nn.Linear):
    """Several linear maps of the same input in one matrix. rows: of each."""

    def __init__(self, width: int, rows: tuple[int, ...], bias: bool):
        super().__init__(width, sum(rows), bias)
        self.rows = rows


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.heads, self.groups, self.dropout = shape.heads, shape.groups, shape.dropout
        self.inner = shape.heads * shape.head_width
        keys = shape.groups * shape.head_width
        self.qkv = Joined(shape.width, (self.inner, keys, keys), bias=shape.bias)
        self.out = nn.Linear(self.inner, shape.width, bias=shape.bias)
        self.kind = "plain"

    def forward(self, values: Tensor, where: Where, keep: Tensor | None = None, past: Past | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or (B, K, D): what the steps at keep (B, K) gather from all steps.

        past: keys and values of the steps before, which are attended to and grow by those of `values`.
        """
        if past is not None and values.shape[1] == 1 and not (torch.is_grad_enabled() or self.training):
            return self.step(values, where, past)
        query, key, value = self.project(values, where.turn) if keep is None else self.some(values, where.turn, keep)
        if past is not None:
            key, value = past.add(key, value)
        if keep is not None:
            later = where.causal and where.mask is None
            where = Where(later_than(keep, key.shape[2], query) if later else mask_at(where.mask, keep))
        chance = self.dropout if self.training else 0.0
        return self.out(join_heads(attend(self.kind, query, key, value, where, chance)))

    def step(self, values: Tensor, where: Where, past: Past) -> Tensor:
        """(B, 1, D) -> (B, 1, D): what `forward` gives for one new step where nothing is learnt, in few operations:
        calling one takes longer than its arithmetic there."""
        rows, width = values.shape[0], self.inner // self.heads
        split = self.qkv(values).view(rows, -1, width)  # (B, H + 2G, C)
        if where.turn is not None:
            turn_in_place(split[:, : self.heads + self.groups].unsqueeze(2), where.turn)
        pair = split[:, self.heads :].view(rows, 2, self.groups, width).transpose(0, 1)  # (2, B, G, C)
        keys, values = past.add_one(pair)  # (N, S, C) × 2, N = B * G
        query = split[:, : self.heads].reshape(keys.shape[0], -1, width)  # (N, R, C): R queries share a key
        mask = query.new_empty(()) if where.mask is None else where.mask.expand(-1, self.groups, -1, -1).flatten(0, 1)
        read = int(where.mask is not None)  # with beta 0 it is not
        scores = torch.baddbmm(mask, query, keys.mT, beta=read, alpha=1 / math.sqrt(width))  # (N, R, S)
        return self.out(torch.bmm(scores.softmax(-1), values).view(rows, 1, -1))

    def project(self, values: Tensor, turn: Turn | None) -> tuple[Tensor, ...]:
        """(B, T, D) -> queries (B, H, T, C), keys and values (B, G, T, C)."""
        return split_heads(self.qkv(values), (self.heads, self.groups, self.groups), turn)

    def some(self, values: Tensor, turn: Turn | None, keep: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) -> queries (B, H, K, C) at the kept steps, keys and values (B, G, T, C) at all."""
        width, weight, bias = self.inner, whole(self.qkv), self.qkv.bias
        first, rest = (None, None) if bias is None else (bias[:width], bias[width:])
        queries = F.linear(pick(values, keep), weight[:width], first)  # (B, K, H * C)
        others = F.linear(values, weight[width:], rest)  # (B, T, 2 * G * C)
        query = split_heads(queries, (self.heads,), None if turn is None else turn.at(keep))
        return (*query, *split_heads(others, (self.groups, self.groups), turn))


def whole(linear: nn.Linear) -> Tensor:
    """(O, I): the matrix of a linear map, adapters included."""
    return cast(Any, linear).whole() if hasattr(linear, "whole") else linear.weight


def attend(kind: str, query: Tensor, key: Tensor, value: Tensor, where: Where, dropout: float = 0.0) -> Tensor:
    """(B, H, K, C), (B, G, T, C) × 2 -> (B, H, K, C), computed the way `kind` says."""
    if where.causal and kind == "plain":
        return causal(query, key, value, where.mask, dropout)
    shared = query.shape[1] // key.shape[1]
    if shared > 1 and query.shape[2] == 1:  # one step: the queries of a key are as good as steps
        grouped = query.view(query.shape[0], -1, shared, query.shape[3])
        return attend(kind, grouped, key, value, where, dropout).view(query.shape)
    if shared > 1:
        key, value = (one.repeat_interleave(shared, 1) for one in (key, value))
    if kind == "plain":
        return plain(query, key, value, where.mask, dropout)
    return sdpa(query, key, value, where.mask, dropout, where.causal and where.mask is None)


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


def sdpa(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0, causal: bool = False
) -> Tensor:
    """The same by torch's fused kernel, which never holds all scores at once."""
    return F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=causal)


def check_kind(kind: str) -> str:
    """Raises InputError for an unknown way to compute attention."""
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        raise InputError(f"train.attention `{kind}`", "no such kernel", f"{hint}There is: {', '.join(KINDS)}.")
    return kind


def join_heads(values: Tensor) -> Tensor:
    """(B, H, T, C) -> (B, T, H * C)"""
    return values.transpose(1, 2).flatten(2)


def split_heads(values: Tensor, heads: tuple[int, ...], turn: Turn | None) -> tuple[Tensor, ...]:
    """(B, T, sum of heads * C) -> for each number (B, heads, T, C), contiguous; all but the values (the last of 2 or 3)
    turned."""
    return _SplitHeads.apply(values, heads, turn)


class _SplitHeads(torch.autograd.Function):
    """Splitting, turning and reordering with few passes each way; autograd alone makes twice as many."""

    @staticmethod
    def forward(ctx, values: Tensor, heads: tuple[int, ...], turn: Turn | None):
        split = values.view(*values.shape[:2], sum(heads), -1).transpose(1, 2).split(heads, 1)  # (B, heads, T, C) each
        ctx.turns = [turn if len(heads) == 1 or part < len(heads) - 1 else None for part in range(len(heads))]
        ctx.heads = heads
        return tuple(_ordered(part, turn) for part, turn in zip(split, ctx.turns, strict=True))

    @staticmethod
    def backward(ctx, *grads: Tensor):
        batch, _, steps, head_width = grads[0].shape
        out = grads[0].new_empty(batch, steps, sum(ctx.heads), head_width)
        for place, grad, turn in zip(out.transpose(1, 2).split(ctx.heads, 1), grads, ctx.turns, strict=True):
            place.copy_(grad if turn is None else _ordered(grad, turn, back=True))
        return out.view(batch, steps, -1), None, None


def _ordered(values: Tensor, turn: Turn | None, back: bool = False) -> Tensor:
    """(B, H, T, C), contiguous, and turned where there are angles."""
    values = values.contiguous()
    return values if turn is None else turned(values, turn, back)


def later_than(keep: Tensor, steps: int, like: Tensor) -> Tensor:
    """The additive mask that hides what is later than the queries at keep (B, K): (B, 1, K, T)."""
    return additive(torch.arange(steps, device=keep.device) > keep[:, None, :, None], like)


def mask_at(mask: Tensor | None, keep: Tensor) -> Tensor | None:
    """The rows of a mask for the queries at keep (B, K): (B, 1, K, T), or the mask itself where all rows are one."""
    if mask is None or mask.shape[2] == 1:
        return mask
    rows = mask.expand(keep.shape[0], -1, -1, -1)  # (B, 1, T, T)
    return rows.gather(2, keep[:, None, :, None].expand(-1, 1, -1, mask.shape[-1]))


def build_mask(
    pad: Tensor | None,
    steps: int,
    reach: int | None,
    like: Tensor,
    causal: bool = False,
    documents: Tensor | None = None,
    before: int = 0,
) -> Tensor | None:
    """The additive mask against padding (B, before + T), steps farther than `reach`, steps of other documents (B, T)
    and later ones (causal); None: no mask, or a causal one alone, which kernels make better themselves.

    before: steps seen earlier, which the queries attend to as well.
    """
    hidden = None if pad is None else pad[:, None, None, :]  # (B, 1, 1, S)
    if steps == 1 and documents is None:
        return None if hidden is None else additive(hidden, like)
    place = torch.arange(before + steps, device=like.device)
    if reach is not None and steps > reach + 1:
        hidden = _or(hidden, ((place[before:, None] - place[None]).abs() > reach)[None, None])  # (1, 1, T, S)
    if documents is not None:
        hidden = _or(hidden, (documents[:, :, None] != documents[:, None, :])[:, None])  # (B, 1, T, T)
    if causal and steps > 1 and (hidden is not None or before):
        hidden = _or(hidden, (place[None] > place[before:, None])[None, None])  # (1, 1, T, S)
    return None if hidden is None else additive(hidden, like)


def _or(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one | other


def additive(hidden: Tensor, like: Tensor) -> Tensor:
    """bool -> 0, or very negative where hidden, in the dtype of `like`.

    The lowest finite number and not -inf: a padded step whose whole window is padding must not become NaN.
    """
    lowest = torch.finfo(like.dtype).min
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, lowest)
