"""Rank, totals and gathering; the identity on one process. The only file with collectives.

The convention of the loop: every rank differentiates its own sums over the *global* counts, then `sum_gradients`
adds up the ranks. So what flows through several ranks (`total_of`, `gather_rows`) sends back the sum of all ranks'
gradients; a raw all-reduce would send back only one rank's and be wrong without a word.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist
from torch import Tensor

from firth.errors import InputError

PATIENCE = timedelta(days=30)  # until the main rank has done what it does before the others
TURNS = count(1)  # of these, on each rank alike


def started() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if started() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if started() else 1


def is_main() -> bool:
    return rank() == 0


def barrier() -> None:
    """Wait for all ranks."""
    if world() > 1:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The main rank does it before the others, which then find what it has left.

    They wait for it as long as it takes, where a collective would give up after some minutes.
    """
    if world() == 1:
        yield
        return
    done, store = f"firth/turn-{next(TURNS)}", dist.distributed_c10d._get_default_store()
    if not is_main():
        store.wait([done], PATIENCE)
    try:
        yield
    finally:
        if is_main():
            store.set(done, "")


def start_from_environment(timeout: float = 600.0, on_cpu: bool = False) -> None:
    """Join the processes that torchrun started; nothing happens without its variables.

    timeout: seconds a collective waits for the other ranks. on_cpu: also where there is an accelerator.
    Raises InputError where the variables are incomplete.
    """
    if started() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InputError(
            "environment",
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {', '.join(missing)} is not set",
            "Start with `torchrun --nproc-per-node N -m firth …`, or unset WORLD_SIZE for one process.",
        )
    accelerated = torch.cuda.is_available() and not on_cpu
    if accelerated:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if accelerated else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))


def finish() -> None:
    """Leave the group of processes, if there is one."""
    if started():
        dist.destroy_process_group()


def total(counts: Mapping[str, float]) -> dict[str, float]:
    """The sum over the ranks of each number; all ranks bring the same names."""
    if world() == 1:
        return {name: float(count) for name, count in counts.items()}
    names = sorted(counts)
    sums = torch.tensor([float(counts[name]) for name in names], dtype=torch.float64, device=_device())
    dist.all_reduce(sums)
    return dict(zip(names, sums.tolist(), strict=True))


def total_of(x: Tensor) -> Tensor:
    """The sum of x over the ranks, same shape; the gradient is the sum of the ranks' gradients."""
    return x if world() == 1 else _TotalOf.apply(x)


def gather_rows(x: Tensor) -> Tensor:
    """(B_r, ...) on each rank r -> (sum of B_r, ...): all ranks' rows in rank order; B_r may differ.

    The gradient of a rank's rows is the sum of what all ranks send back to them.
    """
    return x if world() == 1 else _GatherRows.apply(x)


def rows_before(x: Tensor) -> int:
    """Where this rank's rows of x begin in `gather_rows(x)`."""
    return sum(_row_counts(x)[: rank()]) if world() > 1 else 0


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks, in place; one collective per dtype.

    A parameter without a gradient on some rank counts as zero there; without one on every rank it stays so.
    """
    if world() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    for dtype in sorted({p.dtype for p in trained}, key=str):
        _sum_one_dtype([p for p in trained if p.dtype == dtype])


@torch.no_grad()
def _sum_one_dtype(parameters: list[torch.nn.Parameter]) -> None:
    present = torch.stack([p.new_tensor(float(p.grad is not None)) for p in parameters])
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([present, *(g.reshape(-1) for g in grads)])
    dist.all_reduce(flat)
    sums = flat[len(parameters) :].split([p.numel() for p in parameters])
    for parameter, there, grad, summed in zip(parameters, flat[: len(parameters)].tolist(), grads, sums, strict=True):
        if there > 0:
            parameter.grad = grad.copy_(summed.view_as(grad))


def _device() -> torch.device:
    on_gpu = started() and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def _row_counts(x: Tensor) -> list[int]:
    counts = torch.zeros(world(), dtype=torch.int64, device=x.device)
    counts[rank()] = x.shape[0]
    dist.all_reduce(counts)
    return counts.tolist()


def _summed(x: Tensor) -> Tensor:
    """The sum over the ranks, in memory of its own."""
    out = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(out)
    return out


class _TotalOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _summed(grad)


class _GatherRows(torch.autograd.Function):
    """A sum over the ranks of one zero-filled array in which each rank has written its own rows."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        counts = _row_counts(x)
        ctx.start, ctx.rows = sum(counts[: rank()]), x.shape[0]
        out = x.new_zeros((sum(counts), *x.shape[1:]))
        out[ctx.start : ctx.start + ctx.rows] = x
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _summed(grad)[ctx.start : ctx.start + ctx.rows]
