"""The word-in-context score: balanced pairs, a threshold not tested where it was chosen, 50 % where it must be."""

import gzip
import json
import os
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from firth.errors import InputError
from firth.evaluate.encoder import open_encoder
from firth.evaluate.word_in_context import (
    Pair,
    Place,
    cosines,
    halves,
    pairs_of,
    score,
    threshold,
    word_in_context,
)  # fmt: skip
from tests import runs
from tests.material import TOPICS

FORMS = [word for nouns, _ in TOPICS.values() for word in nouns]


def rows(count: int = 12) -> list[tuple[list[str], list[str]]]:
    """Sentences in which every form is a noun after "the" and a verb after "they"."""
    found = []
    for form, number in product(FORMS, range(count)):
        other = FORMS[(number * 5 + 3) % len(FORMS)]
        found.append((["the", form, "meets", "a", other], ["DET", "NOUN", "VERB", "DET", "X"]))
        found.append((["they", form, "the", other], ["PRON", "VERB", "DET", "X"]))
    return found


def conllu(path: Path):
    """The smallest reader of CoNLL-U there can be: words and UPOS."""
    words, tags = [], []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            cells = line.rstrip("\n").split("\t")
            if cells[0].isdigit():
                words.append(cells[1])
                tags.append(cells[3])
            elif not line.strip() and words:
                yield words, tags
                words, tags = [], []


# ------------------------------------------------------------------ pairs


def test_pairs_are_balanced_in_all_and_in_each_form():
    pairs = pairs_of(rows(), 300)
    assert 300 <= len(pairs) < 300 + 2 * len(FORMS)
    by_form = {form: [p.same for p in pairs if p.form == form] for form in {p.form for p in pairs}}
    assert all(2 * sum(same) == len(same) for same in by_form.values())
    assert max(map(len, by_form.values())) == 2 * -(-300 // (2 * len(by_form)))


def test_pairs_are_of_one_form_in_two_sentences():
    pairs = pairs_of(rows(), 300)
    for pair in pairs:
        assert pair.first.words != pair.second.words
        assert pair.first.words[pair.first.at] == pair.second.words[pair.second.at] == pair.form
        assert pair.first.span.word == pair.form
        assert pair.same == (pair.first.tag == pair.second.tag)
    assert len({frozenset((p.first, p.second)) for p in pairs}) == len(pairs)


def test_pairs_hang_on_seed_and_content_alone():
    assert pairs_of(rows(), 200) == pairs_of(rows(), 200)
    assert pairs_of(rows(), 200, seed=1) != pairs_of(rows(), 200)
    unordered = {frozenset((p.first, p.second)) for p in pairs_of(rows()[::-1], 200)}
    assert unordered == {frozenset((p.first, p.second)) for p in pairs_of(rows(), 200)}


def test_equal_sentences_and_signs_give_no_pairs():
    doubled = [(["a", "ship", "."], ["DET", "NOUN", "PUNCT"])] * 5 + [(["they", "ship", "."], ["PRON", "VERB", "SYM"])]
    with pytest.raises(InputError) as caught:
        pairs_of(doubled, 2)
    assert str(caught.value) == (
        "word in context: the tagged sentences give only 0 balanced pairs. "
        "Give more tagged sentences, or ask for 0 pairs or fewer."
    )


def test_words_and_tags_of_unequal_number_are_named():
    with pytest.raises(InputError) as caught:
        pairs_of([*rows(1), (["one", "two"], ["NUM"])])
    number = len(rows(1)) + 1
    assert str(caught.value) == f"sentence {number}: 2 words and 1 tag. Give one tag for each word."


def test_the_span_of_a_place_is_the_word():
    place = Place(("Zoë", "saw", "a", "ship", "!"), 3, "NOUN")
    assert place.span.text == "Zoë saw a ship !" and place.span.word == "ship"


# ------------------------------------------------------------------ threshold and score


def test_the_threshold_is_the_best_there_is():
    source = np.random.default_rng(0)
    for _ in range(200):
        near = source.integers(0, 8, source.integers(1, 12)) / 8  # many ties
        same = source.random(len(near)) < 0.5
        cut, reached = threshold(near, same)
        assert reached == np.mean((near > cut) == same)
        every = [-9.0, *np.linspace(-0.07, 1.07, 100)]
        assert reached == pytest.approx(max(np.mean((near > one) == same) for one in every))


def test_equal_cosines_are_half_right():
    pairs = pairs_of(rows(), 300)
    found = score("static", np.ones((1, len(pairs))), pairs, 0)
    assert (found.accuracy, found.low, found.high) == (0.5, 0.5, 0.5)
    assert found.layers == [0.5]


def test_a_perfect_layer_is_found_and_a_random_one_is_not_taken_for_good():
    pairs = pairs_of(rows(), 300)
    same = np.array([pair.same for pair in pairs])
    noise = np.random.default_rng(0).random((3, len(pairs)))
    perfect = score("model", np.stack([noise[0], same * 0.5 + noise[1] / 4, noise[2]]), pairs, 0)
    assert perfect.accuracy == 1.0 and [half.layer for half in perfect.chosen] == [1, 1]
    drawn = [score("model", np.random.default_rng(n).random((6, len(pairs))), pairs, n).accuracy for n in range(40)]
    assert abs(np.mean(drawn) - 0.5) < 0.02  # the threshold and the layer are not tested where they were chosen


def test_halves_share_no_form_and_are_even():
    forms = [form for form, count in Counter("aaaaaabbbbccccddee").items() for _ in range(count)]
    one = halves(forms, 0)
    assert {f for f, side in zip(forms, one, strict=True) if side}.isdisjoint(
        f for f, side in zip(forms, one, strict=True) if not side
    )
    assert abs(int(one.sum()) - len(forms) / 2) <= 2


def test_cosines_are_those_of_the_pairs():
    vectors = np.random.default_rng(0).normal(size=(2, 5, 7))
    found = cosines(vectors, np.array([[0, 1], [4, 4]]))
    one, other = vectors[1, 0], vectors[1, 1]
    assert found[1, 0] == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-6)
    assert (found[:, 1] == 1).all()


# ------------------------------------------------------------------ whole


def test_a_model_is_scored_beside_its_untrained_shape_and_static_vectors():
    encoder = open_encoder(runs.folder() / "pretrained")
    found = word_in_context(encoder, rows(), 300)
    assert list(found.scores) == ["model", "standardised", "untrained", "static"]
    assert len(found.scores["model"].layers) == 3
    assert found.scores["static"].accuracy == 0.5
    assert all(0.4 < one.accuracy <= 1 and one.low <= one.accuracy <= one.high for one in found.scores.values())
    assert "Infinity" not in json.dumps(found.as_dict())
    assert found.pairs == len(pairs_of(rows(), 300)) and found.forms == len(FORMS)
    assert found.lines()[3] == "static       50.0 % (50.0 to 50.0), layers 0 and 0"
    assert word_in_context(runs.folder() / "pretrained", rows(), 300).as_dict() == found.as_dict()


def test_pairs_know_their_form():
    one, other = Place(("a", "ship"), 1, "NOUN"), Place(("they", "ship"), 1, "VERB")
    assert not Pair("ship", one, other).same and Pair("ship", one, one).same


@pytest.mark.slow
def test_ud_ewt_gives_a_thousand_pairs():
    place = Path(os.environ.get("FIRTH_DATA", "data")) / "text" / "ud_ewt" / "dev.conllu.gz"
    if not place.exists():
        pytest.skip("FIRTH_DATA names no folder with text/ud_ewt")
    pairs = pairs_of(conllu(place))
    assert len(pairs) >= 1000 and 2 * sum(pair.same for pair in pairs) == len(pairs)
    assert max(Counter(pair.form for pair in pairs).values()) <= 20
