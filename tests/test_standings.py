"""The table of a suite: what stands in it, from comparisons whose numbers are known."""

import json

import numpy as np
import pytest

from firth.evaluate import standings
from firth.evaluate.comparison import Comparison, Trial
from firth.evaluate.standings import Standings, run_suite, shown, tabulated
from firth.evaluate.statistics import Interval
from firth.evaluate.suite import parsed
from tests.runs import Told
from tests.test_suite import OWN

ITEMS = 100


def made(
    title: str, rate: float, metric: str = "accuracy", budgets=(2, 5), classical: bool = False, seeds: int = 3
) -> Comparison:
    """Seeds whose rates are a little apart."""
    titles = {"random": "Random initialisation", "pretrained": title} | ({"mfcc": "MFCC"} if classical else {})
    rates = {"random": 0.5, "pretrained": rate, "mfcc": 0.3}
    trials = [
        Trial(arm, labels, seed, ["x"] * ITEMS, right=(np.arange(ITEMS) < 100 * rates[arm] + seed).astype(float))
        for arm in titles for labels in budgets for seed in range(seeds)
    ]  # fmt: skip
    return Comparison(titles, (), ["y"] * ITEMS, trials, rivals=[name for name in titles if name != "pretrained"],
                      metric=metric)  # fmt: skip


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    return parsed(path)


def test_the_table_has_a_row_a_run_and_a_column_a_task_and_budget(plan):
    found = {
        ("one", "words"): made("one", 0.8, classical=True),
        ("two", "words"): made("two", 0.7),
        ("one", "people"): made("one", 0.9, "balanced_accuracy", budgets=(10,)),
    }
    table = tabulated(plan, found, 3)
    assert table.columns == {"words 2": "accuracy", "words all": "accuracy", "people": "EER"}
    titles = [row.title for row in table.rows]
    assert titles == ["one, random weights", "one", "MFCC", "two, random weights", "two"]
    cells = {row.title: row.cells for row in table.rows}
    assert cells["one"]["words 2"].mean == pytest.approx(0.81) and cells["MFCC"]["words all"].mean == pytest.approx(
        0.31
    )
    assert cells["one"]["people"].mean == pytest.approx(0.09)
    assert cells["one"]["people"].low < 0.09 < cells["one"]["people"].high
    assert "people" not in cells["two"]
    assert set(table.verdicts) == {"one · words", "two · words", "one · people"}


def test_it_is_printed_as_text_and_as_markdown(plan):
    table = tabulated(plan, {("one", "words"): made("one", 0.8, budgets=(2,))}, 3)
    heads, rows = table.printed()
    assert heads == ["", "words accuracy"] and rows[1][0] == "one" and rows[1][1].startswith("81.0 ± ")
    text = table.markdown()
    begin = "## My words\n\nIn %, with 95 % intervals over 3 seeds.\n\n|  | words accuracy |\n| --- | --- |\n"
    assert text.startswith(f"{begin}| one, random weights | 51.0 ± ")
    assert json.loads(json.dumps(table.as_dict()))["rows"][1]["cells"]["words"]["mean"] == pytest.approx(0.81)


def test_a_title_says_of_each_task_what_its_intervals_are_over(plan, tmp_path):
    tasks = plan.tasks | {"unheard": plan.tasks["words"].model_copy(update={"leave_out": "speaker"})}
    found = {("one", name): made("one", 0.8, seeds=6 if name == "unheard" else 3) for name in tasks}
    table = tabulated(plan.model_copy(update={"tasks": tasks}), found, 3)
    assert table.repeats == {"words": "3 seeds", "people": "3 seeds", "unheard": "6 folds"}
    drawn = []
    told = Told()
    told.table = lambda title, *_: drawn.append(title)
    standings.tell(table, tmp_path, told)
    assert drawn == ["My words · % · 95 % intervals over 3 seeds (words, people), 6 folds (unheard)"]


@pytest.mark.parametrize(
    ("one", "text"),
    [(None, "–"), (Interval(0.5, float("nan"), float("nan"), 1), "50.0"), (Interval(0.5, 0.4, 0.6, 3), "50.0 ± 10.0")],
)
def test_a_cell_says_what_is_known(one, text):
    assert shown(one) == text


def test_a_dry_run_says_what_would_be_done(tmp_path):
    from tests.test_suite import ROWS

    (tmp_path / "mine.toml").write_text(OWN)
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    told = Told()
    table = run_suite(["runs/a", "runs/b"], str(tmp_path / "mine.toml"), out=tmp_path / "out", dry_run=True, show=told)
    assert isinstance(table, Standings) and not (tmp_path / "out").exists()
    assert told.lines["Plan"].startswith("people: verify, all labels, 3 seeds, 2 runs")


def test_settings_of_a_task_win_over_those_of_the_suite_and_a_persons_over_both(plan, tmp_path):
    task = plan.tasks["words"].model_copy(update={"settings": {"model.frozen": False}})
    found = standings.own_settings(plan, task, tmp_path / "t.jsonl", ["train.steps=3"])
    assert found == [
        "model.frozen=false",
        'data.label="word"',
        f'data.test=["{tmp_path / "t.jsonl"}"]',
        "train.steps=3",
    ]
    more = standings.own_settings(plan, task, tmp_path / "t.jsonl", {"model.frozen": True})
    assert more[-1] == "model.frozen=true"
