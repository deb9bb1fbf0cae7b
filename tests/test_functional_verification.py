"""The equal error rate: constructed cases with known answers, and scikit-learn's curve."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from firth.functional.verification import balanced, cosines, equal_error, roc


@pytest.mark.parametrize(
    ("same", "different", "rate"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),  # apart
        ([0.1, 0.2], [0.9, 0.8], 1.0),  # turned round
        ([0.5, 0.5], [0.5, 0.5], 0.5),  # says nothing
        ([0.9, 0.8, 0.7, 0.2], [0.1, 0.05, 0.3, 0.75], 0.25),  # one of four wrong on each side
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.5),
        ([3, 3, 3, 1], [2, 0, 0, 0], 0.25),
        ([5], [4, 3], 0.0),
    ],
)
def test_constructed_cases(same, different, rate):
    scores, labels = [*same, *different], [True] * len(same) + [False] * len(different)
    assert equal_error(scores, labels).rate == pytest.approx(rate)


def drawn(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    same = source.random(200) < 0.3
    scores = source.normal(same * 1.5, 1.0)
    return (scores.round(1) if ties else scores), same


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_where_scikit_learns_curve_meets_the_diagonal(seed, ties):
    scores, same = drawn(seed, ties)
    false, true, _ = roc_curve(same, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1.0 - x - interp1d(false, true)(x), 0.0, 1.0)
    assert equal_error(scores, same).rate == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_is_that_of_scikit_learn(ties):
    scores, same = drawn(7, ties)
    weights = np.random.default_rng(1).random(len(scores))
    for own in (None, weights):
        false, true, thresholds = roc_curve(same, scores, sample_weight=own, drop_intermediate=False)
        found = roc(scores, same, own)
        np.testing.assert_allclose(found.false, false, atol=1e-12)
        np.testing.assert_allclose(found.true, true, atol=1e-12)
        np.testing.assert_allclose(found.thresholds, thresholds)


def test_a_pair_of_weight_two_is_a_pair_twice():
    scores, same = drawn(3, ties=True)
    weights = np.random.default_rng(0).integers(0, 3, len(scores))
    repeated = np.repeat(np.arange(len(scores)), weights)
    assert equal_error(scores, same, weights).rate == pytest.approx(equal_error(scores[repeated], same[repeated]).rate)


@given(seed=st.integers(0, 500), shift=st.floats(-5, 5), factor=st.floats(0.1, 10))
def test_only_the_order_of_the_scores_counts(seed, shift, factor):
    scores, same = drawn(seed, ties=True)
    assert equal_error(factor * scores + shift, same).rate == pytest.approx(equal_error(scores, same).rate, abs=1e-9)


def test_at_the_threshold_both_errors_are_about_equal():
    scores, same = drawn(2, ties=False)
    found = equal_error(scores, same)
    taken = scores >= found.threshold
    assert np.mean(taken[~same]) == pytest.approx(found.rate, abs=0.02)
    assert np.mean(~taken[same]) == pytest.approx(found.rate, abs=0.02)
    assert balanced(scores, same, found.threshold).sum() == pytest.approx(1 - found.rate, abs=0.02)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="all pairs are of one kind"):
        equal_error([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="a score is no number"):
        equal_error([0.1, float("nan")], [True, False])


def test_cosines_of_pairs():
    vectors = np.array([[2.0, 0], [0, 3], [-1, 0], [0, 0]])
    first, second = np.array([0, 0, 0, 0]), np.array([0, 1, 2, 3])
    np.testing.assert_allclose(cosines(vectors, first, second), [1, 0, -1, 0])
