"""Schedules: pure, within (0, 1], rising first and falling last."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.train.schedule import NAMES, factor


def curve(name: str, steps: int, warmup: float = 0.1, decay: float = 0.2) -> list[float]:
    return [factor(name, step, steps, warmup, decay) for step in range(steps)]


@given(st.sampled_from(NAMES), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_every_factor_is_above_zero_and_at_most_one(name, steps, warmup, decay):
    assert all(0 < value <= 1 for value in curve(name, steps, warmup, decay))


@given(st.sampled_from(NAMES), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_it_rises_to_its_top_and_never_rises_again(name, steps, warmup, decay):
    values = curve(name, steps, warmup, decay)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_wsd_is_stable_in_the_middle_and_falls_linearly():
    values = curve("wsd", 100)
    assert values[10:80] == [1.0] * 70
    assert values[81:84] == pytest.approx([0.95, 0.90, 0.85])
    assert values[-1] == pytest.approx(1 / 20)


def test_warm_up_begins_above_zero_and_reaches_one_after_its_share():
    assert curve("constant", 100)[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert curve("constant", 100)[10] == 1.0


def test_cosine_is_at_half_in_the_middle():
    assert factor("cosine", 50, 100, warmup=0) == pytest.approx(0.5)


def test_linear_ends_one_step_before_zero():
    assert factor("linear", 99, 100, warmup=0) == pytest.approx(0.01)


@given(st.sampled_from(NAMES), st.integers(2, 400), st.floats(0, 0.9))
def test_a_floor_is_where_the_fall_would_end_at_nothing(name, steps, floor):
    bare = [factor(name, step, steps, 0.0) for step in range(steps)]
    raised = [factor(name, step, steps, 0.0, floor=floor) for step in range(steps)]
    assert raised == pytest.approx([floor + (1 - floor) * value for value in bare])
    assert min(raised) >= floor


def test_the_warm_up_knows_no_floor_and_the_cosine_is_that_of_nanogpt():
    """lr 1e-3 to 1e-4 over 2,000 steps, 100 of them warm-up, as its get_lr gives it."""
    found = [1e-3 * factor("cosine", step, 2000, 0.05, floor=0.1) for step in (0, 99, 100, 1050, 1999)]
    share = [0.5 * (1 + math.cos(math.pi * (step - 100) / 1900)) for step in (100, 1050, 1999)]
    assert found == pytest.approx([1e-3 / 101, 1e-3 * 100 / 101, *(1e-4 + one * 9e-4 for one in share)])


def test_one_step_is_a_whole_run():
    assert [factor(name, 0, 1) for name in NAMES] == [1.0] * 4


def test_unknown_name_says_which_there_are():
    with pytest.raises(ValueError) as error:
        factor("triangle", 50, 100)
    assert str(error.value) == (
        "schedule: `triangle` is none of wsd, cosine, linear, constant. Use one of them for train.schedule."
    )
