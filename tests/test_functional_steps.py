"""How many steps a sound becomes, and which runs of them are hidden: by counting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from firth.functional import masking
from firth.functional.random import Draw
from firth.functional.steps import field_and_stride, steps_of

CHAINS = some.lists(some.tuples(some.integers(1, 6), some.integers(1, 4)), min_size=1, max_size=4)


def by_chain(length: int, chain) -> int:
    """What torch's convolutions make of it, one after the other."""
    for kernel, stride in chain:
        length = max(0, (length - kernel) // stride + 1) if length >= kernel else 0
    return length


@given(CHAINS, some.integers(0, 400))
def test_one_rule_is_exact_for_any_chain_of_convolutions(chain, length):
    kernels, strides = zip(*chain, strict=True)
    assert steps_of(length, *field_and_stride(kernels, strides)) == by_chain(length, chain)


def test_the_field_of_wav2vec2():
    """25 ms and 20 ms at 16 kHz (arXiv 2006.11477, section 4.2)."""
    assert field_and_stride((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)) == (400, 320)


def test_it_counts_arrays_and_tensors_alike():
    lengths = [0, 399, 400, 719, 720, 16_000]
    expected = [0, 0, 1, 1, 2, 49]
    assert [steps_of(length, 400, 320) for length in lengths] == expected
    assert steps_of(np.array(lengths), 400, 320).tolist() == expected
    assert steps_of(torch.tensor(lengths), 400, 320).tolist() == expected


# ------------------------------------------------------------------ runs


def drawn(lengths, steps: int = 60, share: float = 0.1, span: int = 5, fewest: int = 1) -> np.ndarray:
    keys = np.arange(len(lengths))
    scores, luck = Draw(1).uniform(keys, "mask", steps), Draw(1).uniform(keys, "runs", 1)[:, 0]
    return masking.runs(scores, luck, np.asarray(lengths), share, span, fewest)


def by_hand(scores, luck, length: int, share: float, span: int, fewest: int) -> np.ndarray:
    size, hidden = min(span, length // 2), np.zeros(len(scores), bool)
    if size == 0:
        return hidden
    starts = [step for step in np.argsort(scores, kind="stable") if step <= length - size]
    for start in starts[: max(int(share * length + luck), fewest)]:
        hidden[start : start + size] = True
    return hidden


@given(
    some.lists(some.integers(0, 40), min_size=1, max_size=6),
    some.floats(0.01, 0.5),
    some.integers(1, 12),
    some.integers(0, 3),
)
def test_runs_are_those_of_the_definition(lengths, share, span, fewest):
    keys = np.arange(len(lengths))
    scores, luck = Draw(2).uniform(keys, "mask", 40), Draw(2).uniform(keys, "runs", 1)[:, 0]
    found = masking.runs(scores, luck, np.asarray(lengths), share, span, fewest)
    for row, length in enumerate(lengths):
        assert (found[row] == by_hand(scores[row], luck[row], length, share, span, fewest)).all()


def test_no_run_leaves_its_row_and_each_row_has_one():
    lengths = np.arange(61)
    hidden = drawn(lengths)
    assert not (hidden & (np.arange(60) >= lengths[:, None])).any()
    assert (hidden.any(1) == (lengths > 1)).all()


def test_about_half_is_hidden_with_the_rates_of_wav2vec2():
    """arXiv 2006.11477, section 4.2: p = 0.065 and M = 10 hide about 49 % of the steps of 15 s."""
    hidden = drawn([749] * 200, 749, 0.065, 10)
    assert hidden.mean() == pytest.approx(0.49, abs=0.01)


def test_runs_do_not_depend_on_the_other_rows():
    together = drawn([30, 60, 12])
    keys = np.array([2])
    scores, luck = Draw(1).uniform(keys, "mask", 12), Draw(1).uniform(keys, "runs", 1)[:, 0]
    alone = masking.runs(scores, luck, np.array([12]), 0.1, 5)
    assert (together[2, :12] == alone[0]).all()
