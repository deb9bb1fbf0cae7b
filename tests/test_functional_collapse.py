"""Rank, spread, alignment and uniformity against their formulas in plain NumPy, and at the ends of their ranges."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth.functional.collapse import alignment, effective_rank, spread, uniformity


def drawn(seed=0, samples=40, width=12):
    source = np.random.default_rng(seed)
    return source.normal(size=(samples, width)) * source.random(width) + source.normal(size=width)


def unit(x):
    return x / np.sqrt((x**2).sum(1, keepdims=True))


def rank_by_formula(x):
    """RankMe, equation 2: p_k = σ_k / Σ σ + ε; exp(-Σ p log p)."""
    sizes = np.linalg.svd(x, compute_uv=False)
    shares = sizes / sizes.sum() + 1e-7
    return np.exp(-np.sum(shares * np.log(shares)))


@pytest.mark.parametrize("seed", range(5))
def test_all_four_equal_their_formulas(seed):
    x, y = drawn(seed), drawn(seed + 100)
    one, two = torch.tensor(x), torch.tensor(y)
    assert effective_rank(one) == pytest.approx(rank_by_formula(x), rel=1e-9)
    assert spread(one) == pytest.approx(np.std(unit(x), axis=0).mean() * np.sqrt(12), rel=1e-9)
    assert alignment(one, two) == pytest.approx(np.mean(np.sum((unit(x) - unit(y)) ** 2, 1)), rel=1e-9)
    pairs = [np.sum((unit(x)[i] - unit(x)[j]) ** 2) for i in range(40) for j in range(i)]
    assert uniformity(one) == pytest.approx(np.log(np.mean(np.exp(-2 * np.array(pairs)))), rel=1e-9)


def test_alignment_takes_another_power():
    x, y = drawn(1), drawn(2)
    found = alignment(torch.tensor(x), torch.tensor(y), power=1)
    assert found == pytest.approx(np.mean(np.sqrt(np.sum((unit(x) - unit(y)) ** 2, 1))), rel=1e-9)


def test_equal_vectors_have_no_room():
    same = torch.ones(30, 8) * torch.arange(1, 9)
    assert effective_rank(same) == pytest.approx(1, abs=1e-4)
    assert spread(same) == pytest.approx(0, abs=1e-7) and uniformity(same) == pytest.approx(0, abs=1e-7)


def test_vectors_on_one_line_have_rank_one_and_may_be_spread():
    line = torch.tensor([[-1.0], [1.0]]).repeat(10, 1) * torch.ones(1, 6)
    assert effective_rank(line) == pytest.approx(1, abs=1e-4) and spread(line) == pytest.approx(1)


def test_orthogonal_vectors_have_the_rank_of_their_number():
    assert effective_rank(torch.eye(7) * 3) == pytest.approx(7, rel=1e-4)


def test_even_directions_are_spread_to_one_and_uniform_to_what_the_sphere_gives():
    x = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))
    assert spread(x) == pytest.approx(1, abs=0.01)
    assert uniformity(x) == pytest.approx(-4 + 8 / 64, abs=0.02)  # to second order in 1 / D


def test_zero_vectors_are_no_error():
    nothing = torch.zeros(5, 4)
    assert effective_rank(nothing) == pytest.approx(1, abs=1e-3) and spread(nothing) == 0


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 20), st.floats(1e-3, 1e3))
def test_within_bounds_whatever_the_vectors_and_their_scale(seed, samples, width, factor):
    x = torch.tensor(drawn(seed, samples, width)) * factor
    assert 1 - 1e-6 <= effective_rank(x) <= min(samples, width) * (1 + 1e-3)
    assert -1e-9 <= spread(x) <= 1 + 1e-9 and -8 - 1e-9 <= uniformity(x) <= 1e-9
    assert spread(x) == pytest.approx(spread(x / factor), rel=1e-6, abs=1e-9)
    assert effective_rank(x) == pytest.approx(effective_rank(x / factor), rel=1e-6)


def test_low_precision_is_widened_first():
    x = torch.tensor(drawn(3)).bfloat16()
    assert effective_rank(x) == pytest.approx(rank_by_formula(x.double().numpy()), rel=1e-9)
