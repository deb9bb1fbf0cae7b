"""Linear classifiers on standing vectors against scikit-learn; the penalty is chosen by validation and nothing else."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from firth.evaluate import linear
from firth.evaluate.linear import STRENGTHS, Part, classified, logistic, ridge


def drawn(count, seed=0, width=8, classes=3, noise=1.0):
    """Vectors around a centre for each class, of unlike scales, one dimension without any information."""
    source = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, width))
    labels = source.integers(0, classes, count)
    vectors = (centres[labels] + noise * source.normal(size=(count, width))) * 10.0 ** (np.arange(width) % 8 - 2)
    vectors[:, 0] = 5
    return Part(vectors.astype(np.float32), labels)


def standardised(part, *others):
    middle, width = part.vectors.mean(0), part.vectors.std(0)
    return [(one - middle) / np.where(width > 0, width, np.inf) for one in others]


@pytest.mark.parametrize("learn", [logistic, ridge])
def test_is_scikit_learn_at_the_chosen_strength(learn, monkeypatch):
    train, valid, test = drawn(90), drawn(60, 1), drawn(200, 2)
    monkeypatch.setattr(linear, "STRENGTHS", (1e-2,))
    found = classified(train, valid, test.vectors, learn)
    x, v, y = standardised(train, train.vectors, valid.vectors, test.vectors)
    x, labels = np.concatenate([x, v]), np.concatenate([train.labels, valid.labels])
    theirs = {logistic: LogisticRegression(C=1 / (1e-2 * 150), max_iter=1000), ridge: RidgeClassifier(alpha=1e-2 * 150)}
    np.testing.assert_array_equal(found, theirs[learn].fit(x, labels).predict(y))


def test_ridge_is_the_same_from_both_sides():
    """Fewer vectors than dimensions: solved for the vectors, with the same answer."""
    part, test = drawn(12, width=30), drawn(50, 1, width=30)
    x, y = standardised(part, part.vectors, test.vectors)
    for strength in (1e-2, 1.0):
        expected = RidgeClassifier(alpha=strength * 12).fit(x, part.labels).predict(y)
        np.testing.assert_array_equal(ridge(Part(x, part.labels))(strength)(y), expected)


BOTH = [(slice(40), slice(40, None))]  # the training part, the validation part


def test_the_strongest_of_equally_good_penalties_is_taken():
    assert linear.chosen(drawn(80, noise=0.01), BOTH, ridge) == STRENGTHS[0]


def test_what_was_left_out_alone_chooses():
    """Two strengths, told apart by the labels that were left out."""

    def learn(part):
        assert set(part.labels.tolist()) == {7}
        return lambda strength: lambda vectors: np.full(len(vectors), int(strength < 1))

    for wanted, strength in ((0, STRENGTHS[0]), (1, 0.1)):
        part = Part(drawn(80).vectors, np.repeat([7, wanted], 40))
        assert linear.chosen(part, BOTH, learn) == pytest.approx(strength)


def test_weak_penalties_are_not_tried_where_they_bring_nothing():
    tried = []

    def learn(part):
        return lambda strength: tried.append(strength) or (lambda vectors: np.zeros(len(vectors)))

    linear.chosen(drawn(80), BOTH, learn)
    assert len(tried) == 1 + linear.PATIENCE < len(STRENGTHS)


def test_a_large_validation_part_chooses_alone_and_a_small_one_in_turn_with_all():
    labels = drawn(1000).labels
    assert linear.splits(labels, 400) == [(slice(400), slice(400, None))]
    found = linear.splits(labels, 700)
    assert len(found) == linear.FOLDS and sorted(i for _, rest in found for i in rest) == list(range(1000))
    assert all(set(labels[some]) == set(labels[rest]) and not set(some) & set(rest) for some, rest in found)
    assert linear.splits(np.array([0, 0, 0, 1]), 3) == [(slice(3), slice(3, None))]  # a class that is there once


def test_one_label_of_each_class_is_learnt_from_with_the_strongest_penalty():
    """The validation part is the training part then: it would find any penalty right, and is not asked."""
    tried = []

    def learn(part):
        return lambda strength: tried.append(strength) or ridge(part)(strength)

    few = Part(drawn(60).vectors[:3], np.arange(3))
    said = classified(few, few, drawn(40, 1).vectors, learn)
    assert tried == [linear.UNCHOSEN] == [max(STRENGTHS)]
    x, y = standardised(few, few.vectors, drawn(40, 1).vectors)
    np.testing.assert_array_equal(said, RidgeClassifier(alpha=3 * linear.UNCHOSEN).fit(x, few.labels).predict(y))


@pytest.mark.parametrize("learn", [logistic, ridge])
def test_one_class_and_vectors_that_say_nothing_still_give_an_answer(learn):
    one = Part(np.ones((6, 3), np.float32), np.full(6, 2))
    assert classified(one, one, np.zeros((4, 3), np.float32), learn).tolist() == [2] * 4
    two = Part(np.ones((6, 3), np.float32), np.array([0, 1] * 3))
    assert set(classified(two, two, np.zeros((4, 3), np.float32), learn).tolist()) <= {0, 1}


@pytest.mark.parametrize("learn", [logistic, ridge])
def test_classes_that_no_training_vector_has_are_left_out(learn):
    part = Part(*(value[:40] for value in drawn(40)))
    part = part._replace(labels=part.labels * 3)
    assert set(classified(part, part, part.vectors, learn).tolist()) <= {0, 3, 6}


def test_given_arrays_are_left_as_they_are():
    train, valid = drawn(30), drawn(20, 1)
    before = train.vectors.copy(), valid.vectors.copy()
    classified(train, valid, valid.vectors, ridge)
    np.testing.assert_array_equal(train.vectors, before[0])
    np.testing.assert_array_equal(valid.vectors, before[1])
