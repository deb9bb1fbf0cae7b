"""Two real processes give the gradient of one; on one process everything is the identity."""

import json
import socket

import pytest
import torch
from safetensors.torch import load_file

from firth import distributed
from firth.errors import InputError
from tests import contract, two_processes

CASES = contract.cases()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of results of two processes over gloo."""
    folder = tmp_path_factory.mktemp("pair")
    torch.multiprocessing.spawn(two_processes.work, (free_port(), str(folder)), nprocs=2)
    return folder


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def said(pair):
    return [json.loads((pair / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("names", CASES, ids="+".join)
def test_two_ranks_give_the_gradient_and_the_state_of_one(pair, names):
    """In double precision, with different samples and uneven counts: a constant factor cannot hide."""
    objective = contract.build(names)
    chosen = contract.samples(7, of=names)
    batch = contract.batch_of(objective, chosen)
    counts = [contract.batch_of(objective, chosen[split]).counts for split in two_processes.SPLIT.values()]
    assert all(counts[0][name] != counts[1][name] for name in batch.counts)
    contract.backward(objective, [batch], batch.counts)
    two = load_file(pair / f"{'+'.join(names)}.safetensors")
    torch.testing.assert_close(two, contract.gradients(objective), rtol=1e-10, atol=1e-12)
    objective.after_step(0.5)
    state = load_file(pair / f"{'+'.join(names)}.buffers.safetensors")
    torch.testing.assert_close(state, contract.buffers(objective), rtol=1e-10, atol=1e-12)


def test_each_process_knows_its_place(said):
    assert [(facts["rank"], facts["world"], facts["main"]) for facts in said] == [(0, 2, True), (1, 2, False)]


def test_totals_go_by_name(said):
    assert [facts["total"] for facts in said] == [{"a": 12.0, "b": 1.0}] * 2


def test_gathered_rows_carry_the_gradient_of_one_process(said):
    rows = torch.cat([two_processes.rows_of(0), two_processes.rows_of(1)]).requires_grad_()
    value = two_processes.spread(rows, rows)
    value.backward()
    assert [facts["value"] for facts in said] == pytest.approx([value.item()] * 2)
    both = torch.tensor(said[0]["gradient"] + said[1]["gradient"], dtype=torch.float64)
    torch.testing.assert_close(both, rows.grad, rtol=1e-10, atol=1e-12)


def test_gradients_missing_on_some_rank_count_as_zero(said):
    assert [facts["lone"] for facts in said] == [[3.0, 4.0]] * 2
    assert all(facts["none"] for facts in said)
    assert [facts["half"] for facts in said] == [[3.0, 3.0]] * 2


def test_the_others_wait_longer_for_the_main_rank_than_for_each_other(tmp_path):
    """What is done once over the whole data, such as clustering it, may take hours."""
    torch.multiprocessing.start_processes(two_processes.in_turn, (free_port(), str(tmp_path)), 2, start_method="fork")
    assert (tmp_path / "1").read_text() == "once twice"


def test_one_process_changes_nothing():
    x, parameter = torch.randn(3, 2), torch.nn.Parameter(torch.ones(2))
    assert distributed.gather_rows(x) is x and distributed.total_of(x) is x
    assert distributed.total({"a": 3}) == {"a": 3.0}
    distributed.sum_gradients([parameter])
    distributed.barrier()
    distributed.start_from_environment()
    distributed.finish()
    assert parameter.grad is None
    assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)


def test_half_an_environment_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(InputError) as raised:
        distributed.start_from_environment()
    assert str(raised.value) == (
        "environment: WORLD_SIZE is 2 but RANK, MASTER_PORT is not set. "
        "Start with `torchrun --nproc-per-node N -m firth …`, or unset WORLD_SIZE for one process."
    )
