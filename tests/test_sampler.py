"""Batches: step i is pure, ranks and micro-batches share it out, every sample comes once an epoch."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.data.sampler import GROUP, Batches
from firth.data.source import ListSource, Source
from firth.errors import InputError
from firth.functional.random import permute
from firth.objective import ObjectiveConfig
from firth.signal import Batch, Sample, Signal, stack_targets


class Bare(Signal):
    """Stacks first tokens and nothing else."""

    def stack(self, samples: list[Sample]) -> Batch:
        first = torch.tensor([int(sample.parts[0][0]) for sample in samples])
        return Batch(stack_targets(samples), tokens=first, length=torch.tensor([len(s.parts[0]) for s in samples]))


class Marked(ObjectiveConfig):
    """Writes a random number for each sample, and counts."""

    def prepare(self, batch: Batch, draw) -> Batch:
        batch["mark"] = torch.from_numpy(draw.uniform(batch.keys_, "mark", 1)[:, 0])
        batch.counts["marked"] = len(batch["mark"])
        return batch


def source(size: int) -> ListSource:
    return ListSource([Sample((np.full(1 + i % 7, i, np.int32),), key=1000 + i) for i in range(size)])


def batches(size: int = 37, batch: int = 8, **options) -> Batches:
    return Batches(source(size), Bare(), [Marked()], seed=options.pop("seed", 3), batch=batch, **options)


def tokens(parts: list[Batch]) -> list[int]:
    return [int(token) for part in parts for token in part["tokens"]]


def pairs(parts: list[Batch]) -> list[tuple[int, float]]:
    return sorted((t, m) for p in parts for t, m in zip(p["tokens"].tolist(), p["mark"].tolist(), strict=True))


def test_a_list_is_a_source():
    assert isinstance(source(3), Source)
    assert source(9).lengths.tolist() == [1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert [sample.key for sample in source(5).get(np.array([4, 0]))] == [1004, 1000]


@settings(max_examples=80, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32), epoch=st.integers(0, 50))
def test_the_permutation_is_a_bijection(size, seed, epoch):
    assert np.array_equal(np.sort(permute(np.arange(size), size, seed, epoch)), np.arange(size))


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 70), batch=st.integers(1, 90), grouped=st.booleans())
def test_steps_in_a_row_go_through_whole_epochs(size, batch, grouped):
    """Without grouping the first n·k samples hold each sample k times; grouping reorders within GROUP steps only."""
    data = batches(size, batch, group_lengths=grouped)
    steps = 3 * data.group if grouped else -(-3 * size // batch)
    seen = np.concatenate([data.indices(i) for i in range(steps)])
    count = Counter((seen if grouped else seen[: 3 * size]).tolist())
    assert max(count.values()) - min(count.get(i, 0) for i in range(size)) <= int(grouped)
    assert data.steps_per_epoch == -(-size // batch) and len(data) == size


@pytest.mark.parametrize("grouped", [False, True])
def test_a_step_is_a_pure_function_of_its_number(grouped):
    one, two = batches(group_lengths=grouped), batches(group_lengths=grouped)
    wanted = {i: one.step(i)[0] for i in (0, 1, 4, 5, 60, 200)}
    for i in (200, 5, 60, 0, 4, 1, 5):
        again = two.step(i)[0]
        assert again["tokens"].equal(wanted[i]["tokens"]) and again["mark"].equal(wanted[i]["mark"])


def test_another_seed_is_another_order():
    assert tokens(batches(seed=1).step(0)) != tokens(batches(seed=2).step(0))


def test_masks_change_with_the_epoch():
    data = batches(8, 8)
    one, two = data.step(0)[0], data.step(1)[0]
    assert sorted(tokens([one])) == sorted(tokens([two]))
    assert sorted(one["mark"].tolist()) != sorted(two["mark"].tolist())


@settings(max_examples=30, deadline=None)
@given(world=st.integers(1, 5), micro=st.integers(1, 9), step=st.integers(0, 130), grouped=st.booleans())
def test_ranks_and_micro_batches_together_are_one_rank(world, micro, step, grouped):
    whole = batches(group_lengths=grouped).step(step)
    shared = [
        part
        for rank in range(world)
        for part in batches(group_lengths=grouped, rank=rank, world=world, micro_batch=micro).step(step)
    ]
    assert all(len(part["tokens"]) <= micro for part in shared)
    assert pairs(shared) == pairs(whole)
    assert sum(part.counts["marked"] for part in shared) == whole[0].counts["marked"] == 8


def test_grouping_puts_near_lengths_together():
    def spread(grouped: bool) -> float:
        data = batches(700, 7, group_lengths=grouped)
        lengths = [data.step(i)[0]["length"] for i in range(GROUP)]
        return float(np.mean([int(one.max() - one.min()) for one in lengths]))

    assert spread(True) < 1 < 4 < spread(False)


def test_grouped_steps_are_not_in_order_of_length():
    data = batches(700, 7, group_lengths=True)
    longest = [int(data.step(i)[0]["length"].max()) for i in range(GROUP)]
    assert longest != sorted(longest)


def test_evaluation_never_changes():
    one, two = batches(), batches(micro_batch=2)
    first, second = (list(b.evaluation(20, 6)) for b in (one, two))
    assert [len(part["tokens"]) for part in first] == [6, 6, 6, 2]
    for a, b in zip(first, second, strict=True):
        assert a["tokens"].equal(b["tokens"]) and a["mark"].equal(b["mark"])
    assert len(set(tokens(first))) == 20


def test_each_rank_has_something_to_evaluate():
    parts = [tokens(list(batches(rank=rank, world=3).evaluation(1, 6))) for rank in range(3)]
    assert [len(part) > 0 for part in parts] == [True] * 3


def test_evaluation_is_shared_by_the_ranks():
    whole = sorted(tokens(list(batches().evaluation(100, 6))))
    parts = [tokens(list(batches(rank=rank, world=3).evaluation(100, 6))) for rank in range(3)]
    assert sorted(token for part in parts for token in part) == whole == list(range(37))


@pytest.mark.parametrize("samples", [3, 6, 7, 8, 12, 13, 37])
def test_batches_of_an_evaluation_are_shared_by_the_ranks(samples):
    """Ranks that compare samples wait for each other in every batch: one batch more on one of them never ended."""
    alone = [sorted(tokens([part])) for part in batches().evaluation(samples, 6)]
    ranks = [[tokens([part]) for part in batches(rank=rank, world=3).evaluation(samples, 6)] for rank in range(3)]
    assert len({len(parts) for parts in ranks}) == 1 and all(part for parts in ranks for part in parts)
    together = [sorted(token for part in parts for token in part) for parts in zip(*ranks, strict=True)]
    if samples % 6 in (1, 2) and samples > 6:  # too few for all ranks: they join the batch before
        alone[-2:] = [sorted(alone[-2] + alone[-1])]
    assert together == alone


FEW = "3 ranks cannot share fewer samples than ranks. Set train.batch = 3 or more."


def test_errors():
    for size, options, text in [
        (0, {}, "data: there is no sample to train on. Give files that hold text."),
        (5, {"batch": 2, "world": 3}, f"train.batch = 2: {FEW}"),
        (5, {"micro_batch": 0}, "train.micro_batch = 0: a forward needs a sample. Set train.micro_batch = 1 or more."),
    ]:
        with pytest.raises(InputError) as error:
            batches(size, **options)
        assert str(error.value) == text
