"""What stands on the page of a run, piece by piece; curves drawn with characters."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth import find
from firth.objective import Objective
from firth.report import facts, html, plot, run_page
from firth.report.plot import Curve
from tests.runs import adapted, folder

POINTS = st.lists(st.tuples(st.integers(0, 10**5), st.floats(-1e3, 1e3)), min_size=1, max_size=30)


# ------------------------------------------------------------------ the verdict and the figures


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({}, "This run has no result yet."),
        ({"error": "stopped by Ctrl-C"}, "stopped by Ctrl-C"),
        ({"result": {"metrics": {"loss": 2.5}, "steps": 1200}}, "Held-out loss 2.500 · 1,200 steps"),
        (
            {"result": {"metrics": {"loss": 4.12, "masked_tokens": 4.12, "masked_tokens_accuracy": 0.241}}},
            "Held-out masked tokens 4.120 · masked tokens accuracy 24.1 %",
        ),
    ],
)
def test_the_result_comes_first(told, text):
    assert run_page.verdict(told) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("masked_tokens", 4.1234, "4.123"),
        ("next_sentence_accuracy", 0.5, "50.0 %"),
        ("masked_tokens_perplexity", 1234.5, "1,234"),
        ("scored", "test", "test"),
    ],
)
def test_figures_have_the_digits_they_need(key, value, text):
    assert run_page.shown(key, value) == text


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e3, 1e3)), max_size=1500))
def test_thinned_curves_keep_their_mean_and_their_end(points):
    found = run_page.thinned(points)
    assert len(found) <= run_page.POINTS and (not points or found[-1][0] == points[-1][0])
    if len(points) <= run_page.POINTS:
        assert found == points


ROWS = [
    *(
        {"step": n, "loss": 5.0 - n, "masked_tokens": 5.0 - n, "lr": 1e-3, "tokens": 9, "seconds": 0.1}
        for n in (1, 2, 3)
    ),
    {"step": 0, "held_out": {"loss": 5.0, "masked_tokens": 5.0, "masked_tokens_accuracy": 0.0}},
    {"step": 3, "held_out": {"loss": 3.0, "masked_tokens": 3.0, "masked_tokens_accuracy": 0.5}},
]


def test_there_is_a_chart_for_each_term_and_each_share():
    config = find.find("objectives", "masked-tokens").Config()
    titles = [chart["title"] for chart in run_page.charts(ROWS, [config])]
    assert titles == ["Masked tokens", "Masked tokens accuracy", "Learning rate"]
    assert [chart["title"] for chart in run_page.charts(ROWS)] == ["Loss", *titles]  # the recipe is missing


VIEWED = [
    {"step": n, "loss": 2.0 - n, "simclr": 2.0 - n, "simclr_accuracy": 0.5, "simclr_spread": 0.9, "lr": 1e-3}
    for n in (0, 1)
]


@pytest.mark.parametrize("name", find.names("objectives"))
def test_the_loss_of_a_single_term_is_shown_once_and_of_several_beside_them(name):
    config = find.main_class(find.find("objectives", name), Objective).Config()
    terms = dict.fromkeys(config.terms, 1.0)
    rows = [{"step": n, "loss": 1.0, **terms, f"{config.terms[0]}_spread": 0.5} for n in (0, 1)]
    titles = [chart["title"] for chart in run_page.charts(rows, [config])]
    assert ("Loss" in titles) == (len(terms) > 1)
    assert len(titles) == len({*titles}) == len(terms) + (len(terms) > 1) + 1


def test_a_meter_has_no_unit_and_a_loss_that_of_its_objective():
    config = find.find("objectives", "simclr").Config()
    labels = [chart["y"]["label"] for chart in run_page.charts(VIEWED, [config])]
    assert labels == ["nats", "share right", "", "per step"]
    byol, mae = (find.find("objectives", name).Config() for name in ("byol", "mae"))
    assert run_page.unit("byol", [byol]) == run_page.unit("loss", [byol]) == "squared distance"
    assert run_page.unit("loss", [byol, mae]) == run_page.unit("byol_spread", [byol]) == ""
    assert run_page.unit("masked_tokens") == "" and run_page.unit("bits_per_byte") == "bits"


def test_numbers_in_pairs_are_measured_by_their_squared_error():
    pairs = find.find("tasks", "pairs").Config
    assert [pairs(kind=kind).unit_of("pairs") for kind in ("classes", "number")] == ["nats", "squared error"]


def test_nothing_logged_is_no_chart():
    assert run_page.charts([]) == []
    assert run_page.chart([{"step": 1, "loss": 2.0}], "loss", "Loss", "nats") is None


def test_texts_stand_in_the_order_of_their_steps(tmp_path):
    for step in (100, 20, 3):
        (tmp_path / f"fills-{step}.txt").write_text(f"text of {step}\n")
    (tmp_path / "wrong.jsonl").write_text("{}")
    assert run_page.samples(tmp_path) == [
        {"title": "step 3", "text": "text of 3"},
        {"title": "step 20", "text": "text of 20"},
        {"title": "step 100", "text": "text of 100"},
    ]
    assert run_page.samples(tmp_path / "none") == []


def test_a_confusion_matrix_is_found_wherever_it_lies():
    matrix = {"confusion": [[3, 1], [0, 4]], "classes": ["bad", "good"]}
    for result in (matrix, {"score": matrix}, {"score": matrix, "steps": 3}):
        [found] = run_page.confusions(result)
        assert [row["name"] for row in found["rows"]] == ["bad", "good"]
        assert [cell["percent"] for cell in found["rows"][0]["cells"]] == ["75 %", "25 %"]
        assert [cell["right"] for cell in found["rows"][1]["cells"]] == [False, True]
    assert run_page.confusions({"score": {"accuracy": 0.5}}) == []


def test_facts_are_told_in_groups_and_empty_groups_left_out():
    told = {"data": {"documents": 1200, "fingerprint": "ab"}, "seconds": {"training": 90.0}, "machine": {"cores": 2}}
    lists = dict(run_page.fact_lists(told))
    assert lists["Data"] == [("documents", "1,200")]
    assert [name for name, _ in lists["Cost"]] == ["training", "in all", "energy"]
    assert ("seed", "0") in lists["Versions and machine"] and "Plan" not in lists


# ------------------------------------------------------------------ facts as words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (1200, "1,200"),
        (0.123456, "0.1235"),
        ("plain", "plain"),
        (["a", 2], "a, 2"),
        ({"en": 0.9, "de": 0.1}, "en 0.9, de 0.1"),
    ],
)
def test_facts_are_words(value, text):
    assert facts.text(value) == text


def test_what_cannot_be_shown_is_left_out():
    told = {"a_b": 1, "none": None, "long": list(range(21)), "short": [1, 2], "object": object()}
    assert facts.pairs(told) == [("a b", "1"), ("short", "1, 2")]
    assert facts.pairs(None) == []


def test_cost_sums_and_says_what_it_assumes():
    told = dict(facts.cost({"training": 90.0, "saving": 30.0}, cores=3))
    assert (told["training"], told["saving"], told["in all"]) == ("90 s", "30 s", "2 min")
    assert told["energy"] == "about 1 Wh, assuming 10 W for each of 3 cores"


# ------------------------------------------------------------------ drawing


@given(POINTS, st.integers(5, 80), st.integers(2, 20))
def test_a_drawing_is_as_large_as_asked_and_holds_its_ends(points, width, height):
    x, y = zip(*sorted(points), strict=True)
    drawing = plot.draw([Curve("a", x, y)], width, height)
    assert len(drawing.marks) == height and {len(row) for row in drawing.marks} == {width}
    assert (drawing.low, drawing.high, drawing.begin, drawing.end) == (min(y), max(y), x[0], x[-1])
    assert any(mark == 0 for row in drawing.marks for mark in row)


@pytest.mark.parametrize(("x", "height"), [(0, 1.0), (5, 2.0), (10, 3.0), (15, 2.0), (20, 1.0), (-1, None), (21, None)])
def test_between_points_a_curve_is_straight(x, height):
    assert plot.at(Curve("a", [0, 10, 20], [1.0, 3.0, 1.0]), x) == height


def test_what_is_no_number_leaves_a_gap_and_no_error():
    curve = Curve("a", [0, 1, 2], [1.0, float("nan"), 3.0])
    assert plot.at(curve, 1) == 2.0
    assert plot.draw([Curve("a", [0], [float("nan")])], 10, 4).marks == [[-1] * 10] * 4


def test_a_drawing_has_title_axes_and_legend():
    text = plot.lines([Curve("one", [0, 1000], [1, 2]), Curve("two", [0, 1000], [2, 1])], "Loss", "steps", 20, 5)
    assert text[0].strip() == "Loss" and text[-1].split() == ["o", "one", "*", "two"]
    assert text[-2].split() == ["0", "1,000", "steps"] and text[1].lstrip().startswith("2.000 ┤")
    assert len({len(line) for line in text[1:6]}) == 1


def test_colours_are_markup_and_nothing_else():
    curves = [Curve("one", [0, 9], [1, 2])]
    plain, painted = (plot.lines(curves, "Loss", "steps", 20, 5, coloured) for coloured in (False, True))
    assert [line.replace("[yellow]", "").replace("[/]", "") for line in painted] == plain


# ------------------------------------------------------------------ real runs


@pytest.mark.parametrize("run", [lambda: folder() / "pretrained", adapted], ids=["pretrained", "adapted"])
def test_the_page_of_a_real_run_asks_nothing_of_the_network(run, tmp_path):
    text = html.write_run(run(), tmp_path / "report.html").read_text(encoding="utf-8")
    for request in ("src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest"):
        outside = [
            part[:80] for part in text.split(request)[1:] if "http" in part[:12] or part.startswith(('"//', "//"))
        ]
        assert not outside, outside
    assert "<title>" in text and "config" in text


def test_the_card_of_a_real_run_repeats_its_figures():
    place = folder() / "pretrained"
    card, result = (place / "README.md").read_text(), json.loads((place / "run.json").read_text())["result"]
    assert f"| steps | {result['steps']:,} |" in card
    assert f"{result['metrics']['masked_tokens']:.3f}" in card
    assert f"firth pretrain --config {place.name}/config.toml" in card
    assert card.startswith("---\ntags: [firth, masked-tokens]\nlibrary_name: transformers\n---\n")


def test_the_names_in_the_model_folder_are_those_of_the_objective():
    from firth.evaluate.predict import load
    from firth.interop.folder import open_folder

    opened = open_folder(folder() / "pretrained")
    loaded = load(folder() / "pretrained")
    assert set(opened.state) == set(loaded.objective.state_dict()) and opened.unused == []
    assert {name.split(".")[0] for name in opened.state} == {"backbone", "parts"}
