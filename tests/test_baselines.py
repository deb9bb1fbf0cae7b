"""The classical arm: honest, that is good where words decide, and only ever shown its own labels."""

import random

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from firth.evaluate.baselines import logistic_tagger, most_frequent_tag, overlap, tf_idf, word_overlap
from firth.task import Example, Where
from tests import labelled_files
from tests.material import review


def examples(texts, labels):
    return [Example(text, str(label), Where("x.tsv", 1)) for text, label in zip(texts, labels, strict=True)]


def reviews(count, seed=0):
    source = random.Random(seed)
    labels = [str(i % 2) for i in range(count)]
    return examples([review("positive" if label == "1" else "negative", source) for label in labels], labels), labels


def test_learns_what_words_tell():
    train, _ = reviews(80)
    test, gold = reviews(60, seed=1)
    assert np.mean([a == b for a, b in zip(tf_idf(train, test), gold, strict=True)]) > 0.9


def test_knows_pairs_of_words():
    train = examples(["not good", "good", "not bad", "bad"] * 8, [0, 1, 1, 0] * 8)
    assert tf_idf(train, train[:4]) == ["0", "1", "1", "0"]


def test_is_scikit_learn_with_a_strength_from_the_labels_themselves():
    train, labels = reviews(40)
    test, _ = reviews(30, seed=2)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    features = vectors.fit_transform([one.text for one in train])
    seen = vectors.transform([one.text for one in test])
    candidates = [LogisticRegression(C=c, max_iter=1000).fit(features, labels) for c in (0.1, 1.0, 10.0, 100.0)]
    found = tf_idf(train, test)
    assert any(model.predict(seen).tolist() == found for model in candidates)


def test_the_same_every_time():
    train, _ = reviews(40)
    assert tf_idf(train, train, seed=3) == tf_idf(train, train, seed=3)


def test_one_label_of_a_class_and_one_class_only_still_give_an_answer():
    assert len(tf_idf(examples(["good", "bad", "fine"], [1, 0, 1]), examples(["good"], [1]))) == 1
    assert tf_idf(examples(["good", "fine"], [1, 1]), examples(["bad", "good"], [0, 1])) == ["1", "1"]


# ------------------------------------------------------------------ tags, pairs, answers


def sentences(count, seed=0):
    source = random.Random(seed)
    found = [labelled_files.tagged(source) for _ in range(count)]
    return [
        Example(" ".join(w for w, _ in one), None, Where("x"), target=tuple(zip(*one, strict=True))) for one in found
    ]


def accuracy(test, found):
    pairs = [(a, b) for one, said in zip(test, found, strict=True) for a, b in zip(one.target[1], said, strict=True)]
    return np.mean([a == b for a, b in pairs])


def test_taggers_learn_words_and_guess_unknown_ones():
    train, test = sentences(60), sentences(20, seed=1)
    for learn in (most_frequent_tag, logistic_tagger):
        found = learn(train, test)
        assert [len(tags) for tags in found] == [len(one.target[0]) for one in test]
        assert accuracy(test, found) > 0.9
    strange = [Example("", None, Where("x"), target=(("Xyzzy",), ("NOUN",)))]
    assert most_frequent_tag(train, strange) in ([["DET"]], [["NOUN"]])
    assert logistic_tagger(train, train[:5]) == logistic_tagger(train, train[:5])


def test_one_tag_only_still_gives_an_answer():
    train = [Example("a", None, Where("x"), target=(("a",), ("X",)))] * 3
    assert logistic_tagger(train, train[:1]) == [["X"]]


def pair(first, second, label=None, target=None):
    return Example(f"{first}\n{second}", label, Where("x"), parts=(first, second), target=target)


def test_overlap_of_words_tells_pairs_and_numbers():
    words = ["ship", "barn", "moon", "tram", "cow", "sail", "clock", "wheat"]
    same = [pair(f"The {a} is here", f"The {a} is here", "same", 5.0) for a in words]
    other = [pair(f"The {a} is here", f"No {b} was there", "other", 1.0)
             for a, b in zip(words, words[1:] + words[:1], strict=True)]  # fmt: skip
    found = overlap([one._replace(target=None) for one in same + other], [same[0]._replace(target=None), other[3]])
    assert found == ["same", "other"]
    numbers = overlap(same + other, [same[0], other[3]])
    assert numbers[0] > numbers[1] and all(isinstance(value, float) for value in numbers)


def test_word_overlap_answers_with_a_stretch_of_the_right_sentence():
    document = "The ship carries wool. The captain of the harbour was Anna Berg. Storms came late."
    asked = [pair("Who was the captain of the harbour?", document), pair("What came late?", document), pair("?", "")]
    assert word_overlap([], asked) == ["Anna Berg", "Storms", ""]
