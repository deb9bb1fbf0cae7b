"""Edit distance and error rates: against jiwer, against the plain recursion, and properties of a distance."""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.functional import edits

WORDS = ["the", "ship", "sails", "on", "a", "blue", "sea", "The"]
UNITS = st.lists(st.sampled_from("abc"), max_size=8)


def plain_distance(gold: tuple, said: tuple) -> int:
    """The recursion as it is defined."""

    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (gold[i - 1] != said[j - 1]))

    return of(len(gold), len(said))


def sentence(source: np.random.Generator, least: int = 1) -> str:
    chosen = source.choice(WORDS, source.integers(least, 9))
    return "".join(word + " " * int(source.integers(1, 3)) for word in chosen)


def pairs(count: int) -> list[tuple[str, str]]:
    source = np.random.default_rng(0)
    return [(sentence(source), sentence(source, 0)) for _ in range(count)]


@given(gold=UNITS, said=UNITS)
def test_the_distance_is_that_of_the_recursion(gold, said):
    assert edits.distance(gold, said) == plain_distance(tuple(gold), tuple(said))


def test_long_texts_need_no_table():
    """Of 10,000 characters each, a table would take 800 MB."""
    text = "abcdefghij" * 1000
    tracemalloc.start()
    assert edits.distance(text, text[5:] + "x") == 6
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@given(one=UNITS, other=UNITS, third=UNITS)
def test_it_is_a_distance(one, other, third):
    assert edits.distance(one, one) == 0
    assert edits.distance(one, other) == edits.distance(other, one)
    assert edits.distance(one, third) <= edits.distance(one, other) + edits.distance(other, third)


@given(gold=UNITS, said=UNITS)
def test_an_alignment_costs_the_distance_and_goes_through_both(gold, said):
    found = edits.align(gold, said)
    assert [i for i, _ in found if i is not None] == list(range(len(gold)))
    assert [j for _, j in found if j is not None] == list(range(len(said)))
    counted = edits.edits(gold, said)
    assert counted.errors == edits.distance(gold, said) and counted.units == len(gold)
    assert len(said) - len(gold) == counted.insertions - counted.deletions


def test_a_thousand_pairs_have_the_rates_of_jiwer():
    jiwer = pytest.importorskip("jiwer")
    found = pairs(1000)
    for gold, said in found:
        assert edits.error_rate([edits.words(gold)], [edits.words(said)]) == pytest.approx(jiwer.wer(gold, said))
        one, other = edits.characters(gold), edits.characters(said)
        assert edits.error_rate([one], [other]) == pytest.approx(jiwer.cer(gold, said))
    golds, saids = (list(side) for side in zip(*found, strict=True))
    words, said = ([edits.words(one) for one in side] for side in (golds, saids))
    assert edits.error_rate(words, said) == pytest.approx(jiwer.wer(golds, saids))


def test_phones_have_the_rate_of_jiwer_over_words():
    """PER is WER over symbols with blanks between them."""
    jiwer = pytest.importorskip("jiwer")
    source = np.random.default_rng(1)
    phones = ["AH0", "AH1", "S", "T", "IY1", "N"]
    for _ in range(1000):
        gold, said = (source.choice(phones, source.integers(1, 12)).tolist() for _ in range(2))
        assert edits.error_rate([gold], [said]) == pytest.approx(jiwer.wer(" ".join(gold), " ".join(said)))


def test_blanks_are_cut_as_jiwer_cuts_them():
    assert edits.words("  the   blue \t\n sea ") == ["the", "blue", "sea"]
    assert edits.characters(" a b ") == ["a", " ", "b"]
    assert edits.words(" ") == edits.characters("  ") == []


@pytest.mark.parametrize(
    ("gold", "said", "rate"),
    [([["a"]], [[]], 1.0), ([["a"]], [["a", "b", "c"]], 2.0), ([[]], [[]], 0.0), ([[]], [["a"]], 1.0), ([], [], 0.0),
     ([[], ["a", "b"]], [["x"], ["a", "b"]], 0.5)],
)  # fmt: skip
def test_the_edges_of_the_rate(gold, said, rate):
    assert edits.error_rate(gold, said) == rate


def test_errors_are_counted_by_kind():
    assert edits.edits("kitten", "sitting") == (2, 0, 1, 6)
    assert edits.align("ab", "b") == [(0, None), (1, 0)]


def test_errors_of_many_pairs_stand_in_their_order():
    wrong, units = edits.errors([["a", "b"], ["c"]], [["a"], ["c", "d"]])
    assert wrong.tolist() == [1, 1] and units.tolist() == [2, 1]
