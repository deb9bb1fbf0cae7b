"""Choosing by likelihood: normalised scores by hand, ties that are wrong, scorers held to their form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import InputError
from firth.functional.choices import Likelihood, asked, begins_of, best, scores, softmax

FOUND = [Likelihood(-6.0, 2), Likelihood(-4.0, 1), Likelihood(-9.0, 6)]
OPTIONS = [" good", " né", " wonderful"]


@pytest.mark.parametrize(
    ("normalise", "values"),
    [
        ("raw", [-6, -4, -9]),
        ("per-token", [-3, -4, -1.5]),
        ("per-byte", [-6 / 5, -4 / 4, -9 / 10]),
        ("calibrated", [-1, 0.5, -6]),
    ],
)
def test_scores_by_hand(normalise, values):
    empty = [Likelihood(-5.0), Likelihood(-4.5), Likelihood(-3.0)]
    np.testing.assert_allclose(scores(FOUND, OPTIONS, normalise, empty), values)


def test_what_has_no_length_is_divided_by_one():
    assert scores([Likelihood(-2.0, 0)], [""], "per-token").tolist() == [-2.0]
    assert scores([Likelihood(-2.0, 0)], [""], "per-byte").tolist() == [-2.0]


@pytest.mark.parametrize(
    ("options", "values", "place"),
    [
        (["a", "b"], [-1.0, -2.0], 0),
        (["a", "b"], [-2.0, -1.0], 1),
        (["a", "b"], [-1.0, -1.0], None),
        (["a", "b", "c"], [-3.0, -1.0, -1.0], None),
        (["a", "b", "c"], [-3.0, -3.0, -1.0], 2),
        (["a", "a"], [-1.0, -1.0000001], None),  # one text twice: the difference is rounding
        (["a", "b", "a"], [-2.0, -1.0, -2.0], 1),
        (["a", "b"], [float("nan"), -1.0], None),
        (["a", "b"], [float("-inf"), -1.0], 1),
        (["a"], [-1.0], 0),
    ],
)
def test_ties_and_no_numbers_are_wrong(options, values, place):
    assert best(options, np.array(values)) == place


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=6))
def test_the_best_is_the_only_greatest(values):
    found = best([str(i) for i in range(len(values))], np.array(values))
    assert (found is None) == (values.count(max(values)) > 1)
    assert found is None or values[found] == max(values)


@given(st.lists(st.floats(-900, 0), min_size=1, max_size=6))
def test_softmax_is_shares_of_one(values):
    found = softmax(np.array(values))
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    np.testing.assert_allclose(softmax(np.array(values) - 700), found)


@pytest.mark.parametrize("said", [[[Likelihood(-1.0)]], [[Likelihood(-1.0)] * 2], []])
def test_a_scorer_that_leaves_something_out_is_told(said):
    with pytest.raises(InputError) as caught:
        asked(lambda prompts, options: said, ["a", "b"], [["x", "y"], ["z"]])
    count, given = sum(map(len, said)), len(said)
    assert str(caught.value) == (
        f"scorer: gave {count} likelihoods of {given} prompts; 3 of 2 were asked for. "
        "Return one likelihood per option, a list for each prompt."
    )


def test_options_begin_where_prompt_and_texts_part():
    """A token may hold the end of a prompt and the beginning of an option: [1, 2] and "c" may be [1, 9]."""
    rows = [np.array(row) for row in ([1, 2, 3], [1, 2, 4, 5], [1, 9], [1, 2, 3], [7], [7])]
    read = [np.array(row) for row in ([1, 2], [1, 2], [7], [])]
    assert begins_of(read, rows, [["a", "b"], ["c", "a"], [""], ["d"]]) == [2, 2, 1, 1, 1, 0]
