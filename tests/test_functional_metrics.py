"""Metrics equal scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from firth.functional import metrics


@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (3, 1), (7, 2)])
def test_equal_to_scikit_learn(classes, seed):
    source = np.random.default_rng(seed)
    gold = source.integers(0, classes, 200)
    predicted = np.where(source.random(200) < 0.6, gold, source.integers(0, classes, 200))
    confusion = metrics.confusion_matrix(gold, predicted, classes)
    assert (confusion == reference.confusion_matrix(gold, predicted, labels=range(classes))).all()
    assert metrics.accuracy(confusion) == pytest.approx(reference.accuracy_score(gold, predicted))
    assert metrics.macro_f1(confusion) == pytest.approx(reference.f1_score(gold, predicted, average="macro"))
    assert metrics.matthews(confusion) == pytest.approx(reference.matthews_corrcoef(gold, predicted))


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_a_thousand_cases_equal_scikit_learn():
    """Few items, classes that only one side has, sides with one class: where formulas part."""
    source = np.random.default_rng(0)
    for _ in range(1000):
        classes, count = int(source.integers(2, 8)), int(source.integers(1, 40))
        gold = source.integers(0, source.integers(1, classes + 1), count)
        predicted = np.where(source.random(count) < source.random(), gold, source.integers(0, classes, count))
        confusion = metrics.confusion_matrix(gold, predicted, classes)
        assert (confusion == reference.confusion_matrix(gold, predicted, labels=range(classes))).all()
        assert metrics.accuracy(confusion) == pytest.approx(reference.accuracy_score(gold, predicted))
        macro = reference.f1_score(gold, predicted, average="macro", zero_division=0)
        assert metrics.macro_f1(confusion) == pytest.approx(macro)
        assert metrics.matthews(confusion) == pytest.approx(reference.matthews_corrcoef(gold, predicted))


def test_a_class_nobody_saw_is_left_out_as_in_scikit_learn():
    gold, predicted = [0, 0, 1, 1], [0, 1, 1, 1]
    confusion = metrics.confusion_matrix(gold, predicted, 3)
    assert metrics.macro_f1(confusion) == pytest.approx(reference.f1_score(gold, predicted, average="macro"))


def test_one_sided_predictions_have_no_correlation():
    confusion = metrics.confusion_matrix([0, 1, 0, 1], [1, 1, 1, 1], 2)
    assert metrics.matthews(confusion) == 0 == reference.matthews_corrcoef([0, 1, 0, 1], [1, 1, 1, 1])


def test_nothing_gives_zero():
    confusion = metrics.confusion_matrix([], [], 2)
    assert metrics.accuracy(confusion) == metrics.macro_f1(confusion) == metrics.matthews(confusion) == 0


def test_perplexity():
    assert metrics.perplexity(0.0) == 1
    assert metrics.perplexity(np.log(61)) == pytest.approx(61)
    assert metrics.perplexity(1e6) == float("inf")
