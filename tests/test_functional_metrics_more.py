"""Correlations equal scipy's, figures of many labels scikit-learn's, calibration its own definition."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from firth.functional import metrics


def drawn(source, count):
    """Numbers with many ties, few ties or none."""
    kind = source.integers(3)
    if kind == 0:
        return source.integers(0, 5, count).astype(float)
    values = source.normal(size=count) * 10.0 ** source.integers(-3, 4)
    return values.round(1) if kind == 1 else values


def test_a_thousand_correlations_equal_scipy():
    source = np.random.default_rng(0)
    for _ in range(1000):
        count = int(source.integers(2, 40))
        x, y = drawn(source, count), drawn(source, count)
        if source.random() < 0.5:
            y = y + 0.5 * x
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic
        ours = metrics.pearson(x, y), metrics.spearman(x, y)
        assert ours == pytest.approx(np.nan_to_num(theirs), abs=1e-9)


def test_ranks_equal_scipy():
    source = np.random.default_rng(1)
    for _ in range(200):
        values = drawn(source, int(source.integers(1, 50)))
        np.testing.assert_array_equal(metrics.ranks(values), stats.rankdata(values))


@pytest.mark.parametrize("measure", [metrics.pearson, metrics.spearman])
def test_what_has_no_correlation_has_zero(measure):
    assert measure([], []) == measure([1.0], [2.0]) == 0
    assert measure([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == measure([1, 2, 3], [7, 7, 7]) == 0


def test_a_monotone_curve_has_full_rank_correlation():
    x = np.arange(1, 30)
    assert metrics.spearman(x, np.exp(x)) == pytest.approx(1)
    assert metrics.spearman(x, -np.exp(x)) == pytest.approx(-1)
    assert metrics.pearson(x, np.exp(x)) < 0.7


def calibration_error(probabilities, right, bins):
    """Equation 3 of the paper, bin by bin."""
    total, count = 0.0, len(probabilities)
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, p in enumerate(probabilities) if low < p <= high or (p == 0 and number == 0)]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            confidence = sum(probabilities[i] for i in inside) / len(inside)
            total += len(inside) / count * abs(accuracy - confidence)
    return total


def test_a_thousand_calibration_errors_equal_the_definition():
    source = np.random.default_rng(2)
    for _ in range(1000):
        count, bins = int(source.integers(1, 60)), int(source.integers(1, 20))
        sure = source.random(count)
        right = source.random(count) < sure**2
        ours = metrics.expected_calibration_error(sure, right, bins)
        assert ours == pytest.approx(calibration_error(sure.tolist(), right.tolist(), bins))


def test_calibration_at_the_edges():
    assert metrics.expected_calibration_error([], []) == 0
    assert metrics.expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert metrics.expected_calibration_error([1.0, 1.0], [False, False]) == 1
    assert metrics.expected_calibration_error([0.0, 0.0], [False, True]) == pytest.approx(0.5)
    assert metrics.expected_calibration_error([0.8] * 10, [True] * 8 + [False] * 2) == pytest.approx(0)
    assert metrics.expected_calibration_error([0.5, 0.6], [True, False], bins=2) == pytest.approx(0.55)  # (0, ½] (½, 1]


def test_a_thousand_sets_of_labels_equal_scikit_learn():
    source = np.random.default_rng(3)
    for _ in range(1000):
        shape = int(source.integers(1, 20)), int(source.integers(2, 6))
        gold, predicted = source.random(shape) < source.random(), source.random(shape) < source.random()
        gold[:, 0] &= source.random() < 0.8  # some label is never true
        f1 = [reference.f1_score(gold, predicted, average=average, zero_division=0) for average in ("micro", "macro")]
        assert metrics.multilabel_micro_f1(gold, predicted) == pytest.approx(f1[0])
        assert metrics.multilabel_macro_f1(gold, predicted) == pytest.approx(f1[1])
        each = [reference.accuracy_score(gold[:, k], predicted[:, k]) for k in range(shape[1])]
        assert metrics.multilabel_accuracy(gold, predicted) == pytest.approx(np.mean(each))
        assert metrics.multilabel_accuracy(gold, predicted) == pytest.approx(
            1 - reference.hamming_loss(gold, predicted)
        )
        exact = reference.accuracy_score(gold, predicted)
        assert metrics.multilabel_exact_match(gold, predicted) == pytest.approx(exact)


def test_no_labels_at_all_give_zero():
    for empty in (np.zeros((0, 3), bool), np.zeros((0, 0), bool)):
        assert metrics.multilabel_micro_f1(empty, empty) == metrics.multilabel_macro_f1(empty, empty) == 0
        assert metrics.multilabel_accuracy(empty, empty) == metrics.multilabel_exact_match(empty, empty) == 0
