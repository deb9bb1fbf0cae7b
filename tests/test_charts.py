"""Where things stand in a chart: axes hold the values, ticks are round, what is shown can be read without seeing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.report.charts import (
    HEIGHT,
    LEFT,
    MARKS,
    WIDTH,
    Line,
    Row,
    Scale,
    describe_lines,
    interval_chart,
    line_chart,
    path,
    read_row,
    ticks_of,
    write,
    write_value,
)

FALLING = Line("Pre-trained", 2, [0, 50, 100], [0.7, 0.6, 0.5])
FLAT = Line("Random", 0, [0, 50, 100], [0.7, 0.7, 0.7], faint=[([0, 100], [0.72, 0.68])])


def chart(*lines, **options):
    return line_chart(lines or (FALLING, FLAT), "Loss", "step", "nats", **options)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 8))
def test_ticks_are_round_and_inside(low, span, about):
    ticks = ticks_of(low, low + span, about)
    assert len(ticks) <= about + 2
    assert all(low - 1e-6 * span <= tick <= low + span + 1e-6 * span for tick in ticks)
    if len(ticks) > 1:
        digits = f"{ticks[1] - ticks[0]:.6e}"[0]
        assert digits in "1259"  # 9: 0.99999… of a 1


def test_ticks_of_nothing():
    assert ticks_of(3.0, 3.0, 5) == [3.0]
    assert ticks_of(0.0, float("nan"), 5) == [0.0]


def test_numbers_are_written_for_people():
    assert [write(x) for x in (0, 1200, 0.25, -3, 1234567)] == ["0", "1,200", "0.25", "−3", "1,234,567"]
    assert write_value(0.753, percent=True) == "75.3 %"
    assert write_value(0.5, True, [0.5, 0.55]) == "50 %"
    assert write_value(0.071, True, signed=True) == "+7.1"
    assert write_value(-0.02, True, signed=True) == "−2.0"
    assert write_value(0.6931, percent=False) == "0.693"
    assert write_value(0.5, False, [0.5, 0.6]) == "0.5"


def test_a_scale_maps_both_ends():
    across = Scale(0, 100, 56, 466)
    assert (across(0), across(100), across(50)) == (56, 466, 261)
    assert Scale(1, 1, 0, 10)(1) == 0


def test_points_stand_inside_the_frame_and_in_order():
    found = chart()
    frame = found["frame"]
    for line in found["lines"]:
        for x, y in line["marks"]:
            assert frame["left"] <= x <= frame["right"] and frame["top"] <= y <= frame["bottom"]
    ys = [y for _, y in found["lines"][0]["marks"]]
    assert ys == sorted(ys) and ys[0] < ys[-1]  # falling values go down, which is a larger y
    assert found["lines"][0]["marks"][0][0] == LEFT


def test_axes_carry_units_and_round_ticks():
    found = chart()
    assert found["x"]["label"] == "step" and found["y"]["label"] == "nats"
    assert [text for _, text in found["x"]["ticks"]] == ["0", "20", "40", "60", "80", "100"]
    assert found["y"]["ticks"][0][1].startswith("0.5")
    assert found["width"] == WIDTH and found["height"] == HEIGHT


def test_shares_are_percent_and_end_at_hundred():
    found = chart(Line("a", 0, [0, 1], [0.5, 1.0]), percent=True)
    assert found["y"]["ticks"][-1][1] == "100 %"


def test_hovering_covers_the_whole_width_and_shows_all_values():
    found = chart()
    assert [column["head"] for column in found["columns"]] == ["step: 0", "step: 50", "step: 100"]
    assert found["columns"][1]["values"] == [(2, "Pre-trained", "0.600"), (0, "Random", "0.700")]
    widths = sum(column["width"] for column in found["columns"])
    assert widths == pytest.approx(found["frame"]["right"] - LEFT, abs=0.5)


def test_lines_of_different_steps_share_columns():
    found = chart(FALLING, Line("short", 1, [0, 25], [1.0, 0.9]))
    assert len(found["columns"]) == 4
    assert found["columns"][1]["values"] == [(1, "short", "0.900")]
    assert found["table"]["rows"][1] == ["25", "", "0.900"]


def test_the_text_alternative_tells_the_story():
    assert describe_lines([FALLING], False) == "Pre-trained: from 0.700 to 0.500, lowest 0.500, highest 0.700."
    assert chart(about="200 labels.")["about"].startswith("200 labels. Pre-trained: from 0.700")


def test_long_lines_have_no_marks_and_a_short_table():
    many = Line("many", 0, list(range(500)), [1 / (1 + i) for i in range(500)])
    found = chart(many)
    assert found["lines"][0]["marks"] == [] and MARKS < 500
    assert len(found["table"]["rows"]) == 40
    assert found["table"]["rows"][-1][0] == "499"


def test_what_is_no_number_is_left_out():
    broken = Line("broken", 0, [0, 1, 2], [1.0, float("nan"), 0.5])
    found = chart(broken)
    assert len(found["lines"][0]["marks"]) == 2
    assert "nan" not in str(found["columns"]) and "nan" not in found["about"]


def test_an_empty_chart_is_a_frame():
    found = line_chart([], "Nothing", "step", "nats")
    assert found["lines"] == [] and found["columns"] == []


def test_whiskers_reach_the_ends_of_the_interval():
    found = chart(Line("a", 0, [50, 200], [0.6, 0.7], low=[0.5, 0.65], high=[0.7, 0.75]))
    assert len(found["lines"][0]["whiskers"]) == 2
    x, low, high = found["lines"][0]["whiskers"][0]
    assert low > high and x == LEFT


def test_intervals_have_a_row_each_with_the_mean_between_its_ends():
    rows = [Row("over random", 0, 0.07, 0.04, 0.10, [0.06, 0.08]), Row("over TF-IDF", 3, -0.01, -0.03, 0.01)]
    found = interval_chart(rows, "Gained", "points", zero=True)
    first = found["rows"][0]
    assert first["ends"][0] < first["mean"] < first["ends"][1]
    assert found["rows"][1]["ends"][0] < found["zero"] < found["rows"][1]["ends"][1]
    assert first["text"] == "+7.0" and first["tip"] == "+7.0 (+4.0 to +10.0)"
    assert found["table"]["rows"][1] == ["over TF-IDF", "−1.0", "−3.0 to +1.0", ""]
    assert len(first["dots"]) == 2
    assert "over random: +7.0 (+4.0 to +10.0)." in found["about"]


def test_one_seed_has_a_mark_without_interval():
    row = Row("a", 0, 0.7, math.nan, math.nan, [0.7])
    found = interval_chart([row], "Accuracy", "accuracy")
    assert found["rows"][0]["ends"] is None
    assert read_row(row, True, False) == "70.0 %"
    assert found["table"]["rows"][0][2] == "–"


def test_a_path_moves_then_draws():
    assert path([(1.0, 2.5), (3.0, 4.0)]) == "M1 2.5 L3 4"
    assert path([]) == ""
