"""Temperatures against a general minimiser and a known truth; calibration errors against their definition; thresholds
against trying all of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from firth.functional import metrics
from firth.functional.calibration import (
    LEAST,
    MOST,
    best_threshold,
    sigmoid,
    softmax,
    temperature,
    temperature_of_decisions,
)


def drawn(seed: int, count: int = 400, classes: int = 3, times: float = 1.0):
    """Logits that are `times` too sharp, and labels that follow the true ones."""
    source = np.random.default_rng(seed)
    true = source.normal(size=(count, classes)) * 2
    labels = (true + source.gumbel(size=true.shape)).argmax(1)
    holds = source.random(true.shape) < sigmoid(true)
    return true * times, labels, holds


def reference(loss) -> float:
    """By a minimiser that knows no slope."""
    return float(np.exp(minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded",
                                        options={"xatol": 1e-9}).x))  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("times", [0.5, 3.0])
def test_the_temperature_minimises_the_loss_of_torch(seed, times):
    logits, labels, holds = drawn(seed, times=times)
    rows, classes, decisions = torch.tensor(logits), torch.tensor(labels), torch.tensor(holds, dtype=torch.float64)

    def one(log: float) -> float:
        return float(torch.nn.functional.cross_entropy(rows / np.exp(log), classes))

    def several(log: float) -> float:
        return float(torch.nn.functional.binary_cross_entropy_with_logits(rows / np.exp(log), decisions))

    assert temperature(logits, labels) == pytest.approx(reference(one), rel=1e-4)
    assert temperature_of_decisions(logits, holds) == pytest.approx(reference(several), rel=1e-4)


@pytest.mark.parametrize("times", [0.4, 1.0, 2.5])
def test_logits_that_are_too_sharp_are_found_out(times):
    logits, labels, holds = drawn(0, 50_000, times=times)
    assert temperature(logits, labels) == pytest.approx(times, rel=0.03)
    assert temperature_of_decisions(logits, holds) == pytest.approx(times, rel=0.03)


def error(sure, right, bins: int = 15) -> float:
    """Equation 3 of Guo et al. 2017, bin by bin."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = (sure > low) & (sure <= high) | ((sure == 0) & (number == 0))
        if inside.any():
            total += inside.sum() / len(sure) * abs(right[inside].mean() - sure[inside].mean())
    return total


def test_scaling_lowers_the_calibration_error_and_leaves_every_guess():
    logits, labels, _ = drawn(1, 20_000, times=3.0)
    fitted = temperature(logits[:500], labels[:500])
    before, after = softmax(logits[500:]), softmax(logits[500:] / fitted)
    assert (before.argmax(1) == after.argmax(1)).all()
    right = before.argmax(1) == labels[500:]
    errors = [error(shares.max(1), right) for shares in (before, after)]
    assert errors[0] > 0.1 > 3 * errors[1]
    for shares, ours in zip((before, after), errors, strict=True):
        assert metrics.expected_calibration_error(shares.max(1), right) == pytest.approx(ours, abs=1e-12)


@pytest.mark.parametrize(("labels", "expected"), [([0, 0, 1], 1.0), ([1, 1, 0], MOST)])
def test_a_temperature_stays_in_its_range(labels, expected):
    """Always right: nothing says how sure is too sure; always wrong: as flat as may be."""
    logits = np.array([[5.0, 0], [4.0, 0], [0, 3.0]])
    assert temperature(logits, labels) == pytest.approx(expected)
    signs = np.where(logits > 0, logits, -1.0)
    assert temperature_of_decisions(signs, np.eye(2, dtype=bool)[labels]) == pytest.approx(expected)


def test_a_fitted_temperature_costs_little_where_none_was_needed():
    """1 / 2N nats in expectation: one parameter (Wilks 1938)."""
    logits, labels, _ = drawn(5, 60_000)
    rest, gold = logits[20_000:], labels[20_000:]

    def nats(sharpness: float) -> float:
        return float(-np.log(softmax(sharpness * rest)[np.arange(len(gold)), gold]).mean())

    excess = [nats(1 / temperature(logits[i : i + 100], labels[i : i + 100])) - nats(1) for i in range(0, 20_000, 100)]
    assert np.mean(excess) == pytest.approx(1 / 200, rel=0.5)


# ------------------------------------------------------------------ thresholds


@given(st.integers(0, 2**32 - 1))
def test_the_threshold_has_the_highest_f1_of_all(seed):
    source = np.random.default_rng(seed)
    shares = source.uniform(0.1, 1, (12, 3)).round(int(source.integers(1, 4)))  # with ties
    holds = source.random((12, 3)) < source.random()
    found = best_threshold(shares, holds)
    tried = [*np.unique(shares) - 1e-9, 0.0, 1.0]
    ours = metrics.multilabel_micro_f1(holds, shares > found)
    assert ours == pytest.approx(max(metrics.multilabel_micro_f1(holds, shares > one) for one in tried))
    if not holds.any():
        assert found == 0.5


def test_shares_do_not_overflow():
    logits = np.array([[-1e4, 0.0, 1e4]])
    assert sigmoid(logits).tolist() == [[0.0, 0.5, 1.0]]
    assert softmax(logits).tolist() == [[0.0, 0.0, 1.0]]
