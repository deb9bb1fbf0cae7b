"""The classical arm: honest, that is good where words decide, and only ever shown its own labels."""

import random

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from firth.evaluate.baselines import tf_idf
from tests.material import review


def reviews(count, seed=0):
    source = random.Random(seed)
    labels = [i % 2 for i in range(count)]
    return [review("positive" if label else "negative", source) for label in labels], labels


def test_learns_what_words_tell():
    train, labels = reviews(80)
    test, gold = reviews(60, seed=1)
    assert (tf_idf(train, labels, test) == np.array(gold)).mean() > 0.9


def test_knows_pairs_of_words():
    train = ["not good", "good", "not bad", "bad"] * 8
    labels = [0, 1, 1, 0] * 8
    assert tf_idf(train, labels, ["not good", "good", "not bad", "bad"]).tolist() == [0, 1, 1, 0]


def test_is_scikit_learn_with_a_strength_from_the_labels_themselves():
    train, labels = reviews(40)
    test, _ = reviews(30, seed=2)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    features, seen = vectors.fit_transform(train), vectors.transform
    candidates = [LogisticRegression(C=c, max_iter=1000).fit(features, labels) for c in (0.1, 1.0, 10.0, 100.0)]
    found = tf_idf(train, labels, test)
    assert any((model.predict(seen(test)) == found).all() for model in candidates)


def test_the_same_every_time():
    train, labels = reviews(40)
    assert (tf_idf(train, labels, train, seed=3) == tf_idf(train, labels, train, seed=3)).all()


def test_one_label_of_a_class_and_one_class_only_still_give_an_answer():
    assert tf_idf(["good", "bad", "fine"], [1, 0, 1], ["good"]).shape == (1,)
    assert tf_idf(["good", "fine"], [1, 1], ["bad", "good"]).tolist() == [1, 1]
