"""Intervals against SciPy, against their definition, and against what they promise: 95 of 100 hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from firth.evaluate import statistics
from firth.evaluate.statistics import (
    Interval,
    accuracy,
    area_under,
    bootstrap_variance,
    lower_throughout,
    mean_interval,
    paired_difference,
    proportion,
)


def right(rate, seeds=5, items=400, seed=0):
    return np.random.default_rng(seed).random((seeds, items)) < rate


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_without_item_variance_it_is_the_t_interval_of_scipy(seeds):
    values = np.random.default_rng(seeds).normal(0.7, 0.1, seeds)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(values.mean())
    assert found.seeds == seeds


def test_of_a_few_items_nothing_is_known():
    found = paired_difference(np.ones((3, 9)), np.zeros((3, 9)))
    assert found.mean == 1 and np.isnan([found.low, found.high]).all() and found.seeds == 3
    assert not found.above_zero and paired_difference(np.ones((3, 10)), np.zeros((3, 10))).above_zero


def test_paired_over_seeds_is_the_paired_t_interval_when_items_do_not_vary(monkeypatch):
    monkeypatch.setattr(statistics, "bootstrap_variance", lambda values: 0.0)
    first, second = right(0.8), right(0.7, seed=1)
    expected = stats.ttest_rel(first.mean(1), second.mean(1)).confidence_interval(0.95)
    found = paired_difference(first, second)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_variance_over_items_widens_by_the_documented_formula():
    first, second = right(0.8), right(0.7, seed=1)
    differences = first.mean(1) - second.mean(1)
    seeds_part = stats.t.ppf(0.975, 4) ** 2 * differences.var(ddof=1) / 5
    items_part = stats.norm.ppf(0.975) ** 2 * bootstrap_variance((first * 1.0 - second).mean(0))
    found = paired_difference(first, second)
    assert found.high - found.mean == pytest.approx(np.sqrt(seeds_part + items_part))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(10, 80), st.integers(0, 1000))
def test_never_narrower_than_either_part_and_antisymmetric(seeds, items, seed):
    first, second = right(0.7, seeds, items, seed), right(0.6, seeds, items, seed + 1)
    found, mirrored = paired_difference(first, second), paired_difference(second, first)
    alone = mean_interval(first.mean(1) - second.mean(1))
    assert found.high - found.low >= alone.high - alone.low - 1e-12
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_bootstrap_in_closed_form_agrees_with_resampling():
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], 500, p=[0.1, 0.6, 0.3])
    found = bootstrap_variance(values)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1), method="basic")
    assert found == pytest.approx(expected.standard_error**2, rel=0.05)
    resamples = np.random.default_rng(2).choice(values, (20_000, 500)).mean(1)
    assert found == pytest.approx(resamples.var(), rel=0.05)
    assert bootstrap_variance(np.ones(7)) == 0


def test_the_same_numbers_every_time():
    assert paired_difference(right(0.8), right(0.7)) == paired_difference(right(0.8), right(0.7))


def test_intervals_hold_the_truth_about_95_times_in_100():
    """Items differ in difficulty, seeds in luck; the truth is the difference over the population of both: 0.05."""
    source, held = np.random.default_rng(7), 0
    for _ in range(300):
        easy, luck = source.random(300), source.normal(0, 0.02, (2, 4, 1))
        first = source.random((4, 300)) < np.clip(0.4 + 0.4 * easy + 0.05 + luck[0], 0, 1)
        second = source.random((4, 300)) < np.clip(0.4 + 0.4 * easy + luck[1], 0, 1)
        found = paired_difference(first, second)
        held += found.low <= 0.05 <= found.high
    assert 0.94 <= held / 300 <= 1.0  # conservative: seed noise of single items is in both parts


def test_equal_arms_show_nothing():
    same = right(0.7)
    assert paired_difference(same, same) == Interval(0.0, 0.0, 0.0, 5)
    assert not paired_difference(same, same).above_zero and not paired_difference(same, same).below_zero


def test_one_seed_has_a_mean_and_no_interval():
    found = paired_difference(right(0.9, seeds=1), right(0.2, seeds=1))
    assert np.isnan(found.low) and np.isnan(found.high)
    assert not found.above_zero and not found.below_zero
    assert found.mean > 0.4


def test_what_is_not_paired_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 400\) and \(5, 400\) are no pairs\. Give both the same seeds"):
        paired_difference(right(0.7, seeds=3), right(0.7))


def test_accuracy_is_the_mean_of_the_seeds():
    found = accuracy(right(0.7))
    assert found.mean == pytest.approx(right(0.7).mean())
    assert found.low < found.mean < found.high


def test_area_is_the_mean_height_with_step_zero():
    assert area_under([0, 10], [2.0, 1.0]) == 1.5
    assert area_under([0, 1, 10], [9.0, 1.0, 1.0]) == pytest.approx((5.0 + 9.0) / 10)
    assert area_under([0], [3.0]) == 3.0


def test_lower_throughout_looks_between_a_tenth_of_the_steps_and_the_minimum():
    steps = [0, 5, 10, 50, 100]
    rival = [0.7, 0.7, 0.6, 0.5, 0.4]
    assert lower_throughout(steps, [0.8, 0.8, 0.5, 0.3, 0.9], rival)  # before 10 % and after its minimum nothing counts
    assert not lower_throughout(steps, [0.6, 0.6, 0.65, 0.3, 0.2], rival)
    assert not lower_throughout(steps, [0.6, 0.5, 0.6, 0.5, 0.4], rival)  # equal is not lower


# ------------------------------------------------------------------ one model, many items


@pytest.mark.parametrize("items", [10, 60])
@pytest.mark.parametrize("share", [0.25, 0.9])
def test_the_interval_of_a_proportion_holds_what_it_promises(items, share):
    """Over all numbers of right items, weighted by their probability: the true share lies inside about 95 %."""
    from scipy.stats import binom

    inside = 0.0
    for right in range(items + 1):
        found = proportion(np.arange(items) < right)
        assert 0 <= found.low <= found.mean <= found.high <= 1 and found.high > found.low
        inside += binom.pmf(right, items, share) * (found.low <= share <= found.high)
    assert 0.91 < inside < 0.99


@pytest.mark.parametrize(("right", "items"), [(0, 5), (3, 10), (45, 50), (200, 200)])
def test_the_interval_of_a_proportion_is_that_of_scipy(right, items):
    expected = stats.binomtest(right, items).proportion_ci(0.95, method="wilson")
    found = proportion(np.arange(items) < right)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
