"""What each of two real processes does for tests/test_distributed.py: one start for all of it, results in files."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from firth import distributed
from tests import contract

SPLIT = {0: slice(0, 2), 1: slice(2, 7)}  # which samples each rank has: uneven numbers of uneven lengths


def begin(rank: int, port: int, timeout: float) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start_from_environment(timeout, on_cpu=True)


def in_turn(rank: int, port: int, folder: str) -> None:
    """Twice the main rank takes longer than a collective waits, and leaves something that the other finds."""
    begin(rank, port, timeout=60)
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1))
    found = []
    for turn in ("once", "twice"):
        with distributed.main_first():
            if distributed.is_main():
                time.sleep(1.5)
                Path(folder, turn).touch()
            found += [turn] * Path(folder, turn).exists()
    Path(folder, str(rank)).write_text(" ".join(found))
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=60))
    distributed.barrier()
    distributed.finish()


def work(rank: int, port: int, folder: str) -> None:
    begin(rank, port, timeout=60)
    facts = {"rank": distributed.rank(), "world": distributed.world(), "main": distributed.is_main()}
    facts["total"] = distributed.total({"b": rank, "a": 10 * rank + 1})
    for case in contract.cases():
        gradient_of(case, Path(folder))
    facts |= gathered(rank)
    facts |= missing_gradients(rank)
    distributed.barrier()
    Path(folder, f"{rank}.json").write_text(json.dumps(facts))
    distributed.finish()


def gradient_of(names, folder: Path) -> None:
    """One step of the loop on this rank's samples: counts first, then backward, then the sum over ranks."""
    objective = contract.build(names)
    batch = contract.batch_of(objective, contract.samples(7, of=names)[SPLIT[distributed.rank()]])
    counts = distributed.total(batch.counts)
    contract.backward(objective, [batch], counts)
    distributed.sum_gradients(objective.parameters())
    if distributed.is_main():
        save_file(contract.gradients(objective), folder / f"{'+'.join(names)}.safetensors")
    objective.after_step(0.5)
    if distributed.is_main():
        save_file(contract.buffers(objective), folder / f"{'+'.join(names)}.buffers.safetensors")


def rows_of(rank: int) -> torch.Tensor:
    """(2, 3) on rank 0, (4, 3) on rank 1, different numbers."""
    return torch.arange(6 * (rank + 1), dtype=torch.float64).reshape(-1, 3).sin() + rank


def spread(rows: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """A statistic that needs all rows and all ranks' sums."""
    mean = distributed.total_of(own.sum(0)) / len(rows)
    return ((rows - mean) ** 2 * rows.cos()).sum()


def gathered(rank: int) -> dict:
    """The statistic is the same on both ranks: each takes half of it, as a count of 1 per rank makes the loop do."""
    own = rows_of(rank).requires_grad_()
    value = spread(distributed.gather_rows(own), own)
    (value / distributed.world()).backward()
    return {"value": value.item(), "gradient": own.grad.tolist()}


def missing_gradients(rank: int) -> dict:
    """One parameter with a gradient on rank 1 only, one with none, one frozen, one in another precision."""
    lone, none, frozen, half = (torch.nn.Parameter(torch.ones(2)) for _ in range(4))
    half.data = half.data.bfloat16()
    frozen.requires_grad_(False)
    half.grad = torch.full((2,), 1.0 + rank, dtype=torch.bfloat16)
    if rank == 1:
        lone.grad = torch.tensor([3.0, 4.0])
    distributed.sum_gradients([lone, none, frozen, half])
    return {"lone": lone.grad.tolist(), "none": none.grad is None, "half": half.grad.float().tolist()}
