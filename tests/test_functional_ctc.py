"""CTC against brute force over every sequence of steps, and against torch clip by clip."""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional import ctc

CASES = st.tuples(st.integers(1, 5), st.integers(2, 4), st.integers(0, 10**6))


def shares(steps: int, classes: int, seed: int) -> np.ndarray:
    """(T, V) log-probabilities in fp64."""
    logits = torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).log_softmax(-1).numpy()


def readings(found: np.ndarray) -> dict[tuple[int, ...], float]:
    """Every transcript → its probability, over all V^T sequences of steps."""
    total: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(found.shape[1]), repeat=len(found)):
        total[tuple(ctc.collapse(path))] += float(np.exp(found[range(len(found)), path].sum()))
    return dict(total)


@pytest.mark.parametrize(
    ("steps", "units"),
    [([0, 0], []), ([1, 1, 0, 1], [1, 1]), ([2, 1, 1, 2], [2, 1, 2]), ([], []), ([0, 3, 3, 0, 0, 3], [3, 3])],
)
def test_steps_read_as_units(steps, units):
    assert ctc.collapse(steps) == units


@given(case=CASES)
@settings(max_examples=40)
def test_the_loss_is_that_of_all_sequences_that_read_so(case):
    found = shares(*case)
    for units, probability in list(readings(found).items())[:6]:
        if units:
            loss = ctc.ctc_sum(torch.from_numpy(found)[None], torch.tensor([units]))
            assert loss.item() == pytest.approx(-np.log(probability), rel=1e-9)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four clips of 3 to 12 steps, transcripts of 0 to 4 units."""
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 12, 5, generator=source, dtype=torch.float64)
    targets = torch.tensor([[1, 2, 2, 4], [3, 1, -1, -1], [4, -1, -1, -1], [-1, -1, -1, -1]])
    pad = torch.arange(12)[None] >= torch.tensor([12, 7, 3, 5])[:, None]
    return logits, targets, pad


def test_the_loss_is_the_sum_of_torchs_clip_by_clip():
    logits, targets, pad = batch()
    alone = 0.0
    for row, target, nothing in zip(logits, targets, pad, strict=True):
        units, steps = target[target > 0], row[~nothing].log_softmax(-1)
        alone += torch.nn.functional.ctc_loss(
            steps[:, None], units[None], [len(steps)], [len(units)], reduction="sum"
        ).item()
    assert ctc.ctc_sum(logits, targets, pad).item() == pytest.approx(alone, rel=1e-12)


def test_padding_changes_neither_the_loss_nor_its_gradient():
    logits, targets, pad = batch()
    other = torch.where(pad[..., None], 1e3 * torch.ones_like(logits), logits)
    gradients = []
    for given_ in (logits, other):
        own = given_.clone().requires_grad_()
        loss = ctc.ctc_sum(own, targets, pad)
        loss.backward()
        gradients.append((loss.item(), own.grad))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-12)
    torch.testing.assert_close(gradients[0][1], gradients[1][1])
    assert (gradients[0][1][pad] == 0).all()


def test_a_transcript_that_does_not_fit_counts_as_nothing():
    logits = torch.randn(1, 3, 4, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([[2, 2, 1]])  # wants a step between the equal ones
    loss = ctc.ctc_sum(logits, targets)
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()
    assert ctc.fits(targets, torch.tensor([3])).tolist() == [False]
    assert ctc.fits(targets, torch.tensor([4])).tolist() == [True]


def test_nothing_to_say_touches_the_logits():
    logits = torch.randn(0, 3, 4).requires_grad_()
    ctc.ctc_sum(logits, torch.empty(0, 2, dtype=torch.int64)).backward()
    assert logits.grad is not None


def test_narrow_logits_are_widened():
    logits, targets, pad = batch()
    narrow = ctc.ctc_sum(logits.to(torch.bfloat16), targets, pad)
    assert narrow.dtype == torch.float32
    assert narrow.item() == pytest.approx(ctc.ctc_sum(logits, targets, pad).item(), rel=0.02)


@given(case=CASES)
@settings(max_examples=40)
def test_a_wide_beam_finds_every_transcript_with_its_probability(case):
    found = shares(*case)
    expected = readings(found)
    said = {guess.units: guess.nats for guess in ctc.beam(found, 10_000)}
    assert said.keys() == expected.keys()
    for units, nats in said.items():
        assert nats == pytest.approx(np.log(expected[units]), rel=1e-9, abs=1e-9)


@given(case=CASES, width=st.integers(1, 4))
@settings(max_examples=40)
def test_a_narrow_beam_never_says_more_than_there_is(case, width):
    found = shares(*case)
    expected, guesses = readings(found), ctc.beam(found, width, most=2)
    assert 1 <= len(guesses) <= width
    assert [guess.nats for guess in guesses] == sorted((guess.nats for guess in guesses), reverse=True)
    assert all(guess.nats <= np.log(expected[guess.units]) + 1e-9 for guess in guesses)


def test_a_beam_may_hear_what_the_greedy_search_does_not():
    """Blank, blank is the likeliest sequence (0.36), but `a` has 0.16 + 0.24 + 0.24 (Graves et al. 2006, figure 2)."""
    found = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert ctc.greedy(found) == []
    assert ctc.beam(found, 4)[0].units == (1,)
    assert ctc.beam(found, 4)[0].nats == pytest.approx(np.log(0.64))


def test_no_steps_and_no_beam():
    assert ctc.greedy(np.empty((0, 3))) == []
    assert ctc.beam(np.empty((0, 3)), 2) == [((), 0.0)]
    with pytest.raises(ValueError, match="width = 0"):
        ctc.beam(shares(2, 3, 0), 0)


def best_path(found: np.ndarray, units: list[int]) -> tuple[int, ...]:
    """The likeliest of all sequences of steps that read as the units."""
    paths = (p for p in product(range(found.shape[1]), repeat=len(found)) if ctc.collapse(p) == units)
    return max(paths, key=lambda path: found[range(len(found)), path].sum())


@given(case=CASES)
@settings(max_examples=40)
def test_forced_alignment_takes_the_likeliest_of_all_ways(case):
    found = shares(*case)
    for units in list(readings(found))[:6]:
        places = ctc.align(found, units)
        path = np.zeros(len(found), np.int64)
        for unit, place in zip(units, places, strict=True):
            path[place.begin : place.end] = unit
        assert tuple(path) == best_path(found, list(units))


def test_units_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 units do not fit 2 steps"):
        ctc.align(shares(2, 4, 0), [1, 2, 3])
    with pytest.raises(ValueError, match="2 units do not fit 2 steps"):
        ctc.align(shares(2, 4, 0), [1, 1])
    with pytest.raises(ValueError, match="do not fit 0 steps"):
        ctc.align(np.empty((0, 4)), [1])


def test_the_places_say_how_sure_they_are():
    found = np.log(np.array([[0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]))
    first, second = ctc.align(found, [1, 2])
    assert (first.begin, first.end, second.begin, second.end) == (0, 2, 3, 4)
    assert first.nats == pytest.approx(np.log(0.8 * 0.7) / 2)
