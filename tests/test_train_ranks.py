"""Two processes are one: the same gradient, the same weights, one checkpoint, and a stop that all agree on."""

import multiprocessing
import os
import signal
import socket

import pytest
import torch

from firth import distributed
from firth.errors import Interrupted
from firth.train.loop import train
from firth.train.run import Run
from tests.toy import ToyBatches, composed, finish, recipe, weights

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "safetensors.torch", "pydantic", "pytest"])


def rank_run(folder, rank: int, world: int) -> Run:
    """Double precision; the ranks get different rows, and 5 of 9 rows against 4."""
    batches = ToyBatches(batch=9, micro=2 if world > 1 else None, rank=rank, world=world)
    return Run(composed(), batches, recipe(precision="fp64", clip=0.05, checkpoint_every=4), folder, ToyBatches())


def join(rank: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start_from_environment()


def train_as_rank(rank: int, port: int, folder: str, results) -> None:
    join(rank, port)
    run = rank_run(folder, rank, 2)
    steps = [(step.loss, step.gradient_norm, step.items, step.evaluation) for step in train(run)]
    results.put((rank, steps, {name: tensor.tolist() for name, tensor in weights(run).items()}))
    distributed.finish()


def stop_as_rank(rank: int, port: int, folder: str, results) -> None:
    """Only rank 1 is told to stop."""
    join(rank, port)
    try:
        for step in train(rank_run(folder, rank, 2)):
            if rank == 1 and step.index == 2:
                os.kill(os.getpid(), signal.SIGTERM)
    except Interrupted as error:
        results.put((rank, error.what))
    distributed.finish()


def on_two_ranks(work, folder) -> list:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = CONTEXT.SimpleQueue()
    processes = [CONTEXT.Process(target=work, args=(rank, port, str(folder), results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    return sorted(results.get() for _ in processes)


def test_two_ranks_with_micro_batches_are_one_process(tmp_path):
    one = rank_run(tmp_path / "one", 0, 1)
    expected = finish(one)
    first, second = on_two_ranks(train_as_rank, tmp_path / "two")
    assert first[1:] == second[1:]
    for ours, (loss, norm, items, evaluation) in zip(expected, first[1], strict=True):
        assert (loss, norm) == pytest.approx((ours.loss, ours.gradient_norm), rel=1e-9)
        assert items == ours.items == 45
        assert evaluation == (pytest.approx(ours.evaluation, rel=1e-9) if ours.evaluation else None)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(torch.tensor(first[2][name], dtype=tensor.dtype), tensor, rtol=1e-5, atol=1e-6)
    assert rank_run(tmp_path / "two", 0, 1).checkpoints.steps() == [8, 12]


def test_all_ranks_stop_when_one_is_told_to(tmp_path):
    saved = "a checkpoint was written"
    assert on_two_ranks(stop_as_rank, tmp_path) == [
        (0, f"stopped by another rank after step 3 of 12; {saved}"),
        (1, f"stopped by SIGTERM after step 3 of 12; {saved}"),
    ]
    assert rank_run(tmp_path, 0, 1).checkpoints.steps() == [3]


def test_one_process_is_rank_zero():
    assert (distributed.rank(), distributed.world()) == (0, 1)
