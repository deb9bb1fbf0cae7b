"""Masking: exact numbers, whole words, spans, special steps left alone; as properties over random rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional import masking
from firth.functional.losses import IGNORE

rates = st.floats(0.01, 1.0)


@st.composite
def rows(draw, most=6, longest=40):
    """(ordinary, word): words of 1 to 4 steps, with special steps strewn in."""
    source = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, most)), draw(st.integers(1, longest))
    ordinary = source.random(shape) > draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    begins = source.random(shape) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    begins[:, 0] = True
    begins[:, 1:] |= ordinary[:, 1:] != ordinary[:, :-1]
    word = np.cumsum(begins & ordinary, axis=1) - 1
    return ordinary, np.where(ordinary, word, -1), source


@given(rows(), rates)
@settings(max_examples=60, deadline=None)
def test_tokens_are_hidden_in_the_exact_number(made, rate):
    ordinary, _, source = made
    wanted = masking.how_many(ordinary, rate)
    chosen = masking.choose(source.random(ordinary.shape), ordinary, wanted)
    assert not (chosen & ~ordinary).any()
    assert (chosen.sum(1) == wanted).all()
    assert ((wanted > 0) == ordinary.any(1)).all()


def test_how_many_rounds_and_hides_at_least_one():
    ordinary = np.arange(20)[None, :] < np.array([0, 1, 3, 10, 20])[:, None]
    assert masking.how_many(ordinary, 0.15).tolist() == [0, 1, 1, 2, 3]
    assert masking.how_many(ordinary, 0.30).tolist() == [0, 1, 1, 3, 6]
    assert masking.how_many(ordinary, 1.0).tolist() == [0, 1, 3, 10, 20]


@given(rows(), rates, st.sampled_from(["word", "span"]))
@settings(max_examples=80, deadline=None)
def test_no_word_is_half_hidden_and_no_choice_would_be_nearer(made, rate, unit):
    ordinary, word, source = made
    group = word if unit == "word" else masking.spans(word, ordinary, source.random(word.shape) < 0.2, 5)
    wanted = masking.how_many(ordinary, rate)
    scores = source.random((len(word), word.shape[1] + 1))
    chosen = masking.choose_groups(scores, group, word, ordinary, wanted)
    assert not (chosen & ~ordinary).any()
    for row in range(len(word)):
        sizes = [int((word[row] == w).sum()) for w in range(word[row].max() + 1)]
        shown = {chosen[row][word[row] == w].mean() for w in range(word[row].max() + 1)}
        assert shown <= {0.0, 1.0}
        assert bool(chosen[row].any()) == bool(ordinary[row].any())
        assert abs(int(chosen[row].sum()) - wanted[row]) <= max(sizes, default=0)


def test_words_of_one_token_are_hidden_in_the_exact_number():
    word = np.tile(np.arange(30), (4, 1))
    ordinary = np.ones_like(word, bool)
    wanted = masking.how_many(ordinary, 0.3)
    chosen = masking.choose_groups(np.random.default_rng(0).random((4, 30)), word, word, ordinary, wanted)
    assert (chosen.sum(1) == 9).all()


@given(rows(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_spans_begin_at_words_and_are_no_longer_than_allowed(made, longest):
    ordinary, word, source = made
    span = masking.spans(word, ordinary, source.random(word.shape) < 0.2, longest)
    for row in range(len(word)):
        for number in np.unique(span[row][ordinary[row]]):
            inside = (span[row] == number) & ordinary[row]
            steps = inside.nonzero()[0]
            assert (np.diff(steps) == 1).all()  # one run
            assert len(np.unique(word[row][inside])) <= longest
            for w in np.unique(word[row][inside]):
                assert inside[(word[row] == w) & ordinary[row]].all()


def test_span_lengths_are_geometric_and_cut():
    word = np.arange(200_000)[None, :]
    source = np.random.default_rng(1)
    span = masking.spans(word, np.ones_like(word, bool), source.random(word.shape) < 0.2, 10)
    lengths = np.bincount(span[0])
    assert lengths.max() == 10
    assert lengths.mean() == pytest.approx((1 - 0.8**10) / 0.2, rel=0.02)  # mean of a geometric cut at 10
    assert (lengths == 1).mean() == pytest.approx(0.2, abs=0.01)


def test_replace_sends_each_step_to_its_fate():
    tokens = np.array([[7, 8, 9, 10, 11]])
    chosen = np.array([[True, True, True, False, True]])
    fate = np.array([[0.0, 0.79, 0.85, 0.0, 0.95]])
    other = np.full((1, 5), 99)
    assert masking.replace(tokens, chosen, fate, other, 4, (0.8, 0.1)).tolist() == [[4, 4, 99, 10, 11]]
    assert masking.replace(tokens, chosen, fate, other, 4, (1.0, 0.0)).tolist() == [[4, 4, 4, 10, 4]]
    assert masking.replace(tokens, chosen, fate, other, 4, (0.0, 1.0)).tolist() == [[99, 99, 99, 10, 99]]
    assert masking.replace(tokens, chosen, fate, other, 4, (0.0, 0.0)).tolist() == tokens.tolist()


def test_hidden_steps_are_ascending_after_step_zero_and_filled_up():
    tokens = np.arange(10, 18).reshape(2, 4)
    chosen = np.array([[False, True, False, True], [False, False, True, False]])
    keep, target = masking.hidden_steps(tokens, chosen, IGNORE)
    assert keep.tolist() == [[0, 1, 3], [0, 2, 0]]
    assert target.tolist() == [[IGNORE, 11, 13], [IGNORE, 16, IGNORE]]


def test_hidden_steps_of_nothing_keep_step_zero():
    keep, target = masking.hidden_steps(np.ones((3, 4), np.int64), np.zeros((3, 4), bool), IGNORE)
    assert keep.shape == target.shape == (3, 1)
    assert (keep == 0).all() and (target == IGNORE).all()


@given(rows(), rates)
@settings(max_examples=40, deadline=None)
def test_hidden_steps_give_back_the_tokens(made, rate):
    ordinary, _, source = made
    tokens = source.integers(5, 99, ordinary.shape)
    chosen = masking.choose(source.random(ordinary.shape), ordinary, masking.how_many(ordinary, rate))
    keep, target = masking.hidden_steps(tokens, chosen, IGNORE)
    assert (target != IGNORE).sum() == chosen.sum()
    rows_, columns = (target != IGNORE).nonzero()
    assert (tokens[rows_, keep[rows_, columns]] == target[rows_, columns]).all()
    assert (np.bincount(rows_, minlength=len(tokens)) == chosen.sum(1)).all()


def test_ordinary_ids_leave_out_the_special_and_cannot_be_changed():
    ids = masking.ordinary_ids(12, (0, 1, 2, 3, 4))
    assert ids.tolist() == [5, 6, 7, 8, 9, 10, 11]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
