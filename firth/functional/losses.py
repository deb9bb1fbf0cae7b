"""Losses as sums over items, never means: the loop divides by the global count."""

import torch
from torch import Tensor

IGNORE = -100  # a target that stands for "nothing to predict here"
CHUNK = 2**19  # numbers per piece: 2 MiB in fp32, so that a piece stays in the second-level cache
HEAP = 2**21  # logits that are made and used at once

# N items, V classes


def cross_entropy_sum(logits: Tensor, targets: Tensor, ignore: int = IGNORE) -> tuple[Tensor, Tensor]:
    """(N, V), (N,) int64 -> the sum of -log softmax(logits)[target] in nats, and how many first guesses are right.

    Items whose target is `ignore` count for nothing. The sum is at least fp32, whatever the logits are; their gradient
    has their dtype and is rounded once. N = 0 gives 0 and a gradient of zero. Of equal logits the first is the guess.
    """
    total, top = _CrossEntropySum.apply(logits, targets, ignore)
    return total, count_right(logits.detach(), targets, top)


def count_right(logits: Tensor, targets: Tensor, top: Tensor | None = None) -> Tensor:
    """(N, V), (N,), (N,) the largest logit of each item -> int64 scalar: items whose first largest logit is the target.

    The full argmax, which is slow on CPU, is taken only where the target's logit equals the largest.
    """
    if logits.shape[0] == 0 or logits.is_cuda:
        return (logits.argmax(-1) == targets).sum() if logits.shape[0] else targets.new_zeros(())
    top = logits.amax(-1) if top is None else top
    reached = _at(logits, targets.clamp(min=0)) == top.to(logits.dtype)
    candidates = (reached & (targets >= 0)).nonzero()[:, 0]
    return (logits[candidates].argmax(-1) == targets[candidates]).sum()


def _at(logits: Tensor, targets: Tensor) -> Tensor:
    """(N, V), (N,) -> (N,): each item's logit at its target."""
    return logits.gather(1, targets[:, None])[:, 0]


def _pieces(logits: Tensor) -> list[slice]:
    """Row ranges that fit the cache; all rows at once on an accelerator."""
    rows = max(1, CHUNK // logits.shape[1]) if logits.device.type == "cpu" else max(1, logits.shape[0])
    return [slice(i, i + rows) for i in range(0, logits.shape[0], rows)]


class _CrossEntropySum(torch.autograd.Function):
    """Softmax minus one-hot. Logits narrower than fp32 are widened piece by piece: one pass over bf16 logits, no fp32
    copy of the matrix; those in full precision go through torch's own kernels as a whole.

    Forward + backward of (640, 8192) on two threads: in bf16 9 ms; F.cross_entropy on logits.float() 26 ms; on the bf16
    logits themselves 7 ms, but then the loss is off by 1e-3 (this one: 2e-9).
    """

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor, ignore: int):
        real = targets != ignore
        hit = targets.where(real, 0)  # (N,)
        kept, normaliser, top = _normalised(logits)
        nats = -_at(kept, hit) if normaliser is None else normaliser - _at(logits, hit).to(normaliser.dtype)
        ctx.save_for_backward(kept, hit, normaliser, real)
        ctx.mark_non_differentiable(top)
        return nats.where(real, 0).sum(), top

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        kept, hit, normaliser, real = ctx.saved_tensors
        scale = (grad * real)[:, None]  # (N, 1)
        if normaliser is None:
            return _gradient(kept.exp(), hit, scale.to(kept.dtype)), None, None
        out, scale = torch.empty_like(kept), scale.to(normaliser.dtype)
        for piece in _pieces(kept):
            share = kept[piece].to(normaliser.dtype, copy=True).sub_(normaliser[piece, None]).exp_()
            out[piece] = _gradient(share, hit[piece], scale[piece])
        return out, None, None


def _normalised(logits: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """(N, V) -> what the backward pass needs, and the largest logit of each item (N,).

    In full precision: log softmax (N, V) and None. Else: the logits and the log of the sum of their exponentials (N,).
    """
    if logits.dtype in (torch.float32, torch.float64):
        return logits.log_softmax(-1), None, logits.amax(-1) if len(logits) else logits.new_empty(0)
    top = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    spread = torch.empty_like(top)
    for piece in _pieces(logits):
        x = logits[piece].to(torch.float32, copy=True)  # (rows, V)
        top[piece] = x.amax(-1)
        spread[piece] = x.sub_(top[piece, None]).exp_().sum(-1).log_()
    return logits, top + spread, top


def _gradient(share: Tensor, hit: Tensor, scale: Tensor) -> Tensor:
    """softmax (N, V), in place -> (softmax - one-hot) * scale."""
    share.scatter_add_(1, hit[:, None], share.new_full((len(hit), 1), -1.0))
    return share.mul_(scale)


def linear_cross_entropy_sum(values: Tensor, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D), (V, D), (N,) int64 -> what `cross_entropy_sum(values @ rows.T, targets)` gives, for less memory and time.

    The logits of a piece of the items are made, used for loss and gradient while they are near, and let go of: N × V
    numbers are never held. The gradient is made in the forward pass. N = 0 gives 0 and gradients of zero.
    """
    wanted = torch.is_grad_enabled() and (values.requires_grad or rows.requires_grad)
    return _LinearCrossEntropySum.apply(values, rows, targets, wanted)


def _heaps(items: int, classes: int, on_cpu: bool) -> list[slice]:
    """Item ranges whose logits are few enough to be near, and many enough for matrix products to be quick."""
    size = max(64, (HEAP if on_cpu else 64 * HEAP) // classes)
    return [slice(i, i + size) for i in range(0, items, size)]


class _LinearCrossEntropySum(torch.autograd.Function):
    """8,192 classes at width 256, 2,048 items, fp32 on one thread, both ways: 0.7 to 0.9 of the time of two steps."""

    @staticmethod
    def forward(ctx, values: Tensor, rows: Tensor, targets: Tensor, wanted: bool):
        exact = torch.promote_types(values.dtype, torch.float32)
        total, right = values.new_zeros((), dtype=exact), targets.new_zeros(())
        of_values, of_rows = (torch.empty_like(values), torch.zeros_like(rows, dtype=exact)) if wanted else (None, None)
        for heap in _heaps(values.shape[0], rows.shape[0], not values.is_cuda):
            logits, target = values[heap] @ rows.mT, targets[heap]  # (n, V), (n,)
            right = right + count_right(logits, target)
            wide = logits.to(exact)
            spread = wide.logsumexp(-1)  # (n,)
            total = total + (spread - _at(wide, target)).sum()
            if of_values is not None and of_rows is not None:
                shares = _less_truth(wide, spread, target).to(values.dtype)
                torch.mm(shares, rows, out=of_values[heap])
                _add_product(of_rows, shares.mT, values[heap])
        ctx.save_for_backward(of_values, None if of_rows is None else of_rows.to(rows.dtype))
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        of_values, of_rows = ctx.saved_tensors
        return of_values * grad.to(of_values.dtype), of_rows * grad.to(of_rows.dtype), None, None


def _less_truth(logits: Tensor, spread: Tensor, targets: Tensor) -> Tensor:
    """(n, V) logits with their log-sum-exp (n,) -> softmax(logits) minus one-hot, in their place."""
    shares = logits.sub_(spread[:, None]).exp_()
    return shares.scatter_add_(1, targets[:, None], shares.new_full((len(targets), 1), -1.0))


def _add_product(total: Tensor, one: Tensor, other: Tensor) -> None:
    """total += one @ other, in the precision of the total."""
    if total.dtype == one.dtype:
        total.addmm_(one, other)
    else:
        total += one @ other


def distance_sum(guess: Tensor, target: Tensor, padding: Tensor | None = None) -> Tensor:
    """(…, C) twice, (…) bool -> scalar: the sum over items that are no padding of the mean |guess - target| of their C
    numbers, at least in fp32."""
    error = (exact(guess, target) - exact(target, guess)).abs().mean(-1)  # (…)
    return (error if padding is None else error.masked_fill(padding, 0)).sum()


def exact(values: Tensor, beside: Tensor) -> Tensor:
    """`values` in the wider precision of both, at least in fp32."""
    return values.to(torch.promote_types(torch.promote_types(values.dtype, beside.dtype), torch.float32))
