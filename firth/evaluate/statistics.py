"""Intervals for paired comparisons, and numbers that sum up a curve.

Two arms, S seeds, one test part of N items. d_s is the difference of the accuracies of seed s, m_i the difference at
item i averaged over the seeds. The 95 % interval of the mean difference d is

    d ± sqrt( t² var(d_s) / S  +  z² B ),   t = quantile of Student's t with S - 1 degrees, z = 1.96,

the paired t interval over seeds (labels drawn, initialisation, order; Student 1908) widened by B, the variance of the
mean of m_i over bootstrap resamples of the test items (Efron 1979): seeds vary with fixed items, items with fixed
seeds, and the two are taken as independent, so their variances add. It is never narrower than either of them alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

# S seeds, N test items

LEVEL = 0.95
FEWEST_SEEDS = 3  # below, the spread over seeds is not known well enough for a verdict
FEWEST_ITEMS = 10  # test items; below, those that were drawn say next to nothing of others
CURVE_BEGINS = 0.1  # share of the steps after which curves are compared point by point


class Interval(NamedTuple):
    """A mean and its 95 % interval, in the unit of the values; low and high are NaN where one seed says nothing."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def above_zero(self) -> bool:
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        return self.high < 0


def mean_interval(values: Sequence[float], items: float = 0.0) -> Interval:
    """The interval of the mean of S values, one a seed; items: variance of the mean that the choice of items adds."""
    found = np.asarray(values, dtype=float)
    seeds, mean = len(found), float(np.mean(found))
    if seeds < 2:
        return Interval(mean, float("nan"), float("nan"), seeds)
    half = np.hypot(_quantile(seeds) * found.std(ddof=1) / np.sqrt(seeds), ndtri(0.5 + LEVEL / 2) * np.sqrt(items))
    return Interval(mean, mean - float(half), mean + float(half), seeds)


def proportion(right: np.ndarray) -> Interval:
    """(N,) in [0, 1]: what one model got right of N items -> the mean and its interval over the items.

    The score interval (Wilson 1927), which stays within [0, 1] and has a width at 0 and 1, too. For shares between 0
    and 1 it is wider than need be.
    """
    mean, items, z = float(np.mean(right)), len(right), float(ndtri(0.5 + LEVEL / 2))
    middle = (mean + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * float(np.sqrt(mean * (1 - mean) / items + (z / (2 * items)) ** 2))
    return Interval(mean, max(min(middle - half, mean), 0.0), min(max(middle + half, mean), 1.0), 1)


def accuracy(right: np.ndarray) -> Interval:
    """(S, N) bool: which items each seed got right -> the accuracy with its interval over seeds and items."""
    right = np.atleast_2d(right).astype(float)
    return mean_interval(right.mean(1), bootstrap_variance(right.mean(0)))


def paired_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """(S, N) bool each, the same seeds and items in the same order -> accuracy of the first less that of the second.

    Fewer items than FEWEST_ITEMS say nothing of others: the interval is NaN.
    """
    first, second = np.atleast_2d(first).astype(float), np.atleast_2d(second).astype(float)
    if first.shape != second.shape:
        raise ValueError(
            f"paired_difference: {first.shape} and {second.shape} are no pairs. "
            "Give both the same seeds and test items."
        )
    difference = first - second  # (S, N)
    return of_few(mean_interval(difference.mean(1), bootstrap_variance(difference.mean(0))), difference.shape[1])


def of_few(found: Interval, items: int) -> Interval:
    """The interval as it is, or NaN where there are fewer items than FEWEST_ITEMS in all."""
    return found if items >= FEWEST_ITEMS else found._replace(low=float("nan"), high=float("nan"))


def bootstrap_variance(values: np.ndarray) -> float:
    """Variance of the mean of (N,) values over resamples with replacement.

    For a mean the bootstrap with infinitely many resamples has a closed form, the plug-in variance over N
    (Efron & Tibshirani 1993, section 5.3); tests hold it to resampling.
    """
    values = np.asarray(values, dtype=float)
    return float(values.var() / len(values))


def area_under(steps: Sequence[float], values: Sequence[float]) -> float:
    """Trapezoid area over the steps, divided by their span: the mean height of the curve, step 0 included."""
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    if len(x) < 2:
        return float(y.mean())
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def lower_throughout(steps: Sequence[float], first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the first curve lies below the second at every evaluation from 10 % of the steps to its own minimum."""
    x, a, b = (np.asarray(values, dtype=float) for values in (steps, first, second))
    begin, end = CURVE_BEGINS * x[-1], x[int(np.argmin(a))]
    compared = (x >= begin) & (x <= max(end, begin))
    return bool(compared.any() and (a[compared] < b[compared]).all())


def _quantile(seeds: int) -> float:
    """Of Student's t with seeds - 1 degrees of freedom, two-sided."""
    return float(stdtrit(seeds - 1, 0.5 + LEVEL / 2))
