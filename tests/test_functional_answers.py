"""Exact match and F1 equal the rule of SQuAD's evaluation scripts, written down here a second time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.functional import answers

MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
WORDS = ["the", "The", "a", "an", "cat", "cats", "A.", "the-cat", "Zoë", "naïve", "İstanbul", "straße", "STRASSE",
         "北京", "“quoted”", "$5", "5", "1,000", "1000", "—", "don't", "", " ", "\t", "\u00a0", "🙂", "atheist", "U.S.",
         "e\u0301", "é", "'", "...", "\u2009", "an'", "a_b", "_the_"]  # fmt: skip


def clean(text):
    """Lower; drop punctuation; replace whole-word articles by a blank; collapse blanks. In this order."""
    kept = "".join(letter for letter in text.lower() if letter not in MARKS)
    words, word = [], ""
    for letter in kept + " ":
        if letter.isalnum() or letter == "_":
            word += letter
            continue
        words += [" " if word in ("a", "an", "the") else word, letter]
        word = ""
    return " ".join("".join(words).split())


def overlap(prediction, gold, version):
    """F1 over words as multisets, by crossing out."""
    said, true = clean(prediction).split(), clean(gold).split()
    if version == 2 and (len(said) == 0 or len(true) == 0):
        return 1 if said == true else 0
    left, same = list(true), 0
    for word in said:
        if word in left:
            left.remove(word)
            same += 1
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(said), 1.0 * same / len(true)
    return (2 * precision * recall) / (precision + recall)


def scores(prediction, golds, version):
    if version == 2:
        golds = [gold for gold in golds if clean(gold)] or [""]
    return (max(int(clean(prediction) == clean(gold)) for gold in golds),
            max(overlap(prediction, gold, version) for gold in golds))  # fmt: skip


def drawn(source):
    return "".join(source.choice(WORDS) + source.choice([" ", " ", "", ", "]) for _ in range(source.randint(0, 6)))


def near(source, text):
    """A text that shares words with another, as predictions do."""
    words = [word for word in text.split() if source.random() < 0.7] + [source.choice(WORDS)] * source.randint(0, 1)
    return source.choice([text, text.upper(), text + ".", "the " + text, " ".join(words), drawn(source)])


@pytest.mark.parametrize("version", [1, 2])
def test_two_thousand_cases_equal_the_rule(version):
    source = random.Random(version)
    partial = 0
    for _ in range(2000):
        golds = [drawn(source) for _ in range(source.randint(1, 4))]
        prediction = near(source, source.choice(golds))
        want = scores(prediction, golds, version)
        assert answers.best(prediction, golds, version) == pytest.approx(want), (prediction, golds)
        partial += 0 < want[1] < 1
    assert partial > 200


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3), st.sampled_from([1, 2]))
def test_any_text_equals_the_rule(prediction, golds, version):
    assert [answers.normalize(text) for text in (prediction, *golds)] == [clean(text) for text in (prediction, *golds)]
    assert answers.best(prediction, golds, version) == pytest.approx(scores(prediction, golds, version))


def test_normalize():
    assert answers.normalize("The  U.S. Army, a unit of an\tarmy") == "us army unit of army"
    assert answers.normalize("“The”") == "“ ”"  # typographic quotes are no punctuation of the scripts
    assert answers.normalize("the-cat") == "thecat"
    assert answers.normalize("") == answers.normalize("A. The!") == ""


def test_one_answer():
    assert answers.best("the Denver Broncos", ["Denver Broncos", "Broncos"]) == (1.0, 1.0)
    assert answers.best("Denver", ["Denver Broncos"]) == (0.0, pytest.approx(2 / 3))
    assert answers.f1("a b b", "b b b") == pytest.approx(0.8)


def test_where_the_scripts_differ():
    assert answers.best("", ["the"], 1) == (1.0, 0.0)
    assert answers.best("", ["the"], 2) == (1.0, 1.0)
    assert answers.best("", ["the", "cat"], 1) == (1.0, 0.0)
    assert answers.best("", ["the", "cat"], 2) == (0.0, 0.0)


def test_no_answer():
    assert answers.best("", [], 2) == (1.0, 1.0)
    assert answers.best("cat", [], 2) == (0.0, 0.0)


def test_many():
    golds = {"1": ["cat"], "2": ["a dog", "dogs"], "3": [], "4": ["bird"]}
    found = answers.score(golds, {"1": "Cat", "2": "big dog", "3": ""}, 2)
    assert (found["items"], found["exact"], found["f1"]) == (4, 0.5, pytest.approx((1 + 2 / 3 + 1) / 4))
    assert found["has_answer"] == {"items": 3, "exact": pytest.approx(1 / 3), "f1": pytest.approx((1 + 2 / 3) / 3)}
    assert found["no_answer"] == {"items": 1, "exact": 1.0, "f1": 1.0}
    assert "no_answer" not in answers.score({"1": ["cat"]}, {"1": "cat"}, 2)
    assert answers.score({}, {}) == {"items": 0, "exact": 0.0, "f1": 0.0}


@pytest.mark.parametrize("version", [1, 2])
def test_the_mean_over_questions_equals_the_rule(version):
    source = random.Random(10 + version)
    golds = {str(n): [drawn(source) for _ in range(source.randint(1, 3))] for n in range(300)}
    said = {id: near(source, gold[0]) for id, gold in golds.items()}
    want = [scores(said[id], gold, version) for id, gold in golds.items()]
    found = answers.score(golds, said, version)
    assert found["exact"] == pytest.approx(sum(one for one, _ in want) / 300)
    assert found["f1"] == pytest.approx(sum(one for _, one in want) / 300)
