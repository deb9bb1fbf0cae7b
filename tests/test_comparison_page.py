"""The pieces of the two pages: every number on them is the one the comparison or the run holds."""

import json
from dataclasses import replace
from io import StringIO

import pytest

from firth.evaluate.comparison import Comparison, amount
from firth.evaluate.statistics import Interval
from firth.evaluate.verdict import signed
from firth.report import comparison_page as page
from firth.report import facts as told
from firth.report import run_page
from firth.report.terminal import Terminal
from tests.comparisons import RATES, TITLES, comparison


@pytest.fixture(scope="module")
def found() -> Comparison:
    return comparison(seeds=4, budgets=(50, 200))


# ------------------------------------------------------------------ tables


def test_the_table_has_a_row_per_arm_in_the_order_of_titles(found):
    table = page.table(found, 200)
    assert [row[0] for row in table["rows"]] == list(TITLES.values())
    assert table["head"][3] == "pre-trained gains"
    assert all(len(row) == len(table["head"]) for row in table["rows"])


def test_its_numbers_are_those_of_the_comparison(found):
    for arm, row in zip(TITLES, page.table(found, 50)["rows"], strict=True):
        accuracy = found.accuracy(arm, 50)
        assert row[1] == f"{100 * accuracy.mean:.1f} %"
        assert row[2] == f"{100 * accuracy.low:.1f} % to {100 * accuracy.high:.1f} %"
        assert row[5] == "1.5"


def test_the_main_arm_gains_nothing_over_itself(found):
    rows = {row[0]: row for row in page.table(found, 200)["rows"]}
    assert rows["Pre-trained"][3] == ""
    difference = found.difference("pretrained", "random", 200)
    assert rows["Random initialisation"][3].startswith(f"{signed(difference.mean)} points (")


def test_baselines_have_no_loss(found):
    rows = {row[0]: row for row in page.table(found, 200)["rows"]}
    assert rows["TF-IDF + logistic regression"][4] == "–"
    assert float(rows["Pre-trained"][4]) == pytest.approx(0.565, abs=0.001)


def test_gains_of_few_seeds_have_no_interval():
    assert page.gained(Interval(0.071, 0.04, 0.102, 3)) == "+7.1 points (+4.0 to +10.2)"
    assert page.gained(Interval(-0.02, -0.9, 0.8, 2)) == "−2.0 points (too few seeds)"


# ------------------------------------------------------------------ charts


def test_a_budget_has_two_curves_and_two_charts_of_intervals(found):
    budget = page.budget(found, 200)
    assert [chart["kind"] for chart in budget["charts"]] == ["lines", "lines", "intervals", "intervals"]
    assert budget["title"] == "With 200 labels in all" and budget["labels"] == 200


def test_curves_have_the_mean_bold_and_each_seed_faint(found):
    chart = page.curve(found, 200, "loss", "Loss", "nats", "")
    assert [line["name"] for line in chart["lines"]] == list(TITLES.values())[:3]
    assert all(len(line["faint"]) == 4 for line in chart["lines"])
    assert chart["columns"][0]["head"] == "step: 0"
    assert chart["columns"][0]["values"][0] == (0, "Random initialisation", "0.690")


def test_arms_keep_their_colour_over_all_charts(found):
    curve = {line["name"]: line["style"] for line in page.curve(found, 50, "loss", "", "", "")["lines"]}
    accuracy = {row["name"]: row["style"] for row in page.accuracies(found, 50)["rows"]}
    gained = {row["name"].removeprefix("over "): row["style"] for row in page.differences(found, 50)["rows"]}
    for styles in (curve, gained):
        assert all(accuracy[name] == style for name, style in styles.items())


def test_without_steps_there_is_no_curve():
    assert page.curve(comparison(arms=("pretrained", "random")), 999, "loss", "", "", "") is None


def test_dots_are_the_seeds(found):
    row = page.accuracies(found, 200)["table"]["rows"][0]
    by_seed = found.as_dict()["arms"][4]["by_seed"]
    assert row[3] == ", ".join(f"{100 * value:.1f} %" for value in by_seed.values())


def test_differences_hold_the_main_arm_against_every_rival(found):
    chart = page.differences(found, 200)
    assert [row["name"] for row in chart["rows"]] == [
        "over Random initialisation",
        "over Co-occurrence start alone",
        "over TF-IDF + logistic regression",
    ]
    assert chart["zero"] is not None


def test_the_page_says_where_the_arms_begin_and_how_soon_they_are_good(found):
    assert page.learning(found, 200) == (
        "Pre-trained begins with a training loss of 0.625, random initialisation with 0.640 (mean of the first 20 "
        "steps); the lowest validation loss of random initialisation (0.590, at step 100) is reached after 40 steps."
    )
    worse = comparison(rates={**RATES, "pretrained": 0.55})
    assert page.learning(worse, 200).endswith(" is reached at no step.")
    assert page.learning(comparison(arms=("tf-idf", "pretrained")), 200) == ""


def test_efficiency_needs_two_budgets(found):
    chart = page.efficiency(found)
    assert [len(line["whiskers"]) for line in chart["lines"]] == [2, 2, 2, 2]
    assert [column["head"] for column in chart["columns"]] == ["labels in all: 50", "labels in all: 200"]
    assert page.efficiency(comparison()) is None


def test_pre_training_needs_two_points():
    rows = [{"step": 0, "loss": 9.0, "accuracy": None}, {"step": 10, "loss": 6.0, "accuracy": 0.1}]
    assert [chart["title"] for chart in page.pretraining(rows)] == ["Held-out loss while pre-training"]
    assert page.pretraining([]) == []


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(("rate", "tone"), [(0.75, "good"), (0.60, "open"), (0.45, "bad")])
def test_the_tone_is_that_of_the_verdict(rate, tone):
    rates = {"random": 0.60, "co-occurrence": 0.60, "pretrained": rate, "tf-idf": 0.60}
    assert page.tone(comparison(seeds=6, rates=rates, items=1000)) == tone


def test_a_blank_is_split_and_filled():
    filled = page.fill({"text": "a [MASK] film", "guesses": [("good", 0.314), ("bad", 0.1)]})
    assert (filled["before"], filled["after"], filled["truth"]) == ("a ", " film", "")
    assert filled["guesses"][0] == {"word": "good", "share": "0.314", "percent": "31 %"}


def test_the_method_says_what_was_equal_and_how_sure_it_is(found):
    text = " ".join(page.method(found))
    assert "with 4 seeds" in text and "400 test items" in text and "validation included" in text
    assert "paired t interval over seeds" in text and "at least 3 seeds" in text


def test_notes_are_added_to_the_method():
    assert page.method(comparison(facts={"notes": ["One pre-training."]}))[-1] == "One pre-training."


def test_empty_facts_have_no_heading():
    assert page.fact_lists({}) == []
    assert [title for title, _ in page.fact_lists({"data": {"a": 1}, "cost": {"b": 2.0}})] == ["Data", "Cost"]


def test_cost_sums_and_estimates_energy():
    assert told.cost({"pre_training": 30.0, "comparing": 90.0}, cores=3) == [
        ("pre training", "30 s"),
        ("comparing", "90 s"),
        ("in all", "2 min"),
        ("energy", "about 1 Wh, assuming 10 W for each of 3 cores"),
    ]


def test_long_lists_and_nothing_are_no_facts():
    assert told.pairs({"many": list(range(21)), "none": None, "few": [1, 2]}) == [("few", "1, 2")]
    assert told.pairs(None) == []


def test_a_row_of_nothing_has_no_share():
    cells = told.confusion([[0, 0], [1, 3]], ["a", "b"], "t")["rows"]
    assert [cell["percent"] for cell in cells[0]["cells"]] == ["0 %", "0 %"]
    assert [cell["share"] for cell in cells[1]["cells"]] == ["0.250", "0.750"]


# ------------------------------------------------------------------ runs


def test_measures_are_shown_in_their_units():
    assert run_page.shown("masked_tokens_accuracy", 0.2412) == "24.1 %"
    assert run_page.shown("masked_tokens_perplexity", 61.43) == "61"
    assert run_page.shown("masked_tokens", 4.1177) == "4.118"
    assert run_page.shown("note", "x") == "x"


def test_a_failed_run_says_why():
    assert run_page.verdict({"status": "failed", "error": "runs/x: the loss is no number. Lower it."}) == (
        "runs/x: the loss is no number. Lower it."
    )


def test_a_single_loss_is_told():
    assert (
        run_page.verdict({"result": {"metrics": {"loss": 0.5}, "steps": 1200}}) == "Held-out loss 0.500 · 1,200 steps"
    )


def test_curves_need_two_points():
    assert run_page.chart([{"step": 1, "loss": 2.0}], "loss", "Loss", "nats") is None
    assert run_page.charts([]) == []


def test_a_torn_line_of_metrics_is_left_out(tmp_path):
    rows = [{"step": i, "loss": 5.0 - i, "held_out": {"loss": 6.0 - i}} for i in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "lo'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    charts = run_page.content(tmp_path)["charts"]
    assert len(charts) == 1 and [line["name"] for line in charts[0]["lines"]] == ["training", "held-out"]


def test_samples_come_by_step_and_other_files_are_left_alone(tmp_path):
    for name in ("fills-10.txt", "fills-9.txt", "wrong.jsonl"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert [one["title"] for one in run_page.samples(tmp_path)] == ["step 9", "step 10"]
    assert run_page.samples(tmp_path / "none") == []


def test_the_cost_of_a_run_is_told_by_part():
    facts = {"seconds": {"data": 3.0, "training": 27.0}, "machine": {"cores": 2}, "seed": 1}
    lists = dict(run_page.fact_lists(facts))
    assert ("in all", "30 s") in lists["Cost"] and ("seed", "1") in lists["Versions and machine"]


# ------------------------------------------------------------------ labels counted by class


def by_class() -> Comparison:
    return replace(comparison(budgets=(1, 10, 300)), by_class=True, whole=300)


def test_labels_of_each_class_are_called_so_wherever_they_stand():
    found, printed = by_class(), StringIO()
    assert [found.amount(labels, in_all=True) for labels in found.budgets] == [
        "1 label a class",
        "10 labels a class",
        "all 300 labels",
    ]
    content, terminal = page.content(found), Terminal(file=printed, live=False)
    terminal.comparison(found)
    text = " ".join([found.verdict, *found.sentences, *content["method"], printed.getvalue(),
                     *(one["title"] for one in content["budgets"])])  # fmt: skip
    assert "in all" not in text and "With 10 labels a class" in text and "at 1 label a class" in text
    assert "A number of labels is that of each class, validation included." in text


def test_on_an_axis_of_labels_a_class_all_there_are_stand_at_their_mean():
    chart = page.efficiency(by_class())
    assert [column["head"] for column in chart["columns"]] == [f"labels of each class: {n}" for n in (1, 10, 150)]


def test_labels_in_all_are_called_so():
    assert [amount(labels, in_all=True) for labels in (1, 1200)] == ["1 label in all", "1,200 labels in all"]
    assert "A number of labels holds all labels that were used, validation included." in page.method(comparison())[0]
