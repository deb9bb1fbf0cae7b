"""What a run is asked along the way: made data has questions, the objective answers, the log keeps, the page shows."""

from types import SimpleNamespace

import numpy as np
import pytest

from firth.data.synthetic import icl
from firth.recipe import Data, Recipe
from firth.report import run_page
from firth.train.along import Along, described, looks, share_right
from firth.train.log import read_metrics
from firth.train.pretrain import pretrain
from tests.readers import guessing, reading

SETTINGS = ["text.tokenizer=characters", "text.context=240", "train.batch=4", "data.held_out=0.1",
            "train.evaluate_every=4"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("along") / "icl"
    pretrain("synthetic:icl:episodes=100", "next-token", "1x32", "8steps", place, settings=SETTINGS)
    return place


def answered(run) -> list[dict]:
    return [row for row in read_metrics(run / "metrics.jsonl") if "answers" in row]


def test_a_run_over_questions_is_asked_them_at_its_looks(run):
    rows = answered(run)
    assert [row["step"] for row in rows] == looks(8) and rows[0]["step"] == 0
    assert all(list(row["answers"]) == list(icl.along()) for row in rows)
    assert all(0 <= share <= 1 for row in rows for share in row["answers"].values())
    assert "right: new members, 0 examples " in (run / "train.log").read_text()


def test_the_page_of_the_run_shows_when_it_learnt_to_answer(run):
    chart = run_page.answered(answered(run))
    assert chart["title"] == "Questions answered right" and len(chart["lines"]) == len(icl.along())
    assert "Questions answered right" in (run / "report.html").read_text() if (run / "report.html").exists() else True
    assert run_page.answered([{"step": 1, "loss": 2.0}]) is None


def test_questions_are_those_of_the_data_and_know_their_answers():
    for name, some in icl.along().items():
        assert len(some) == icl.ASKED and name.endswith(("example", "examples"))
        assert all(len(options) == 4 and 0 <= right < 4 for _, options, right in some)
        assert share_right(reading, some) >= share_right(guessing, some) - 0.1
    without, with_ = (icl.along()[f"new members, {n} examples"] for n in (0, 16))
    assert share_right(reading, without) < 0.45 and share_right(reading, with_) > 0.9


def test_nothing_is_asked_where_nothing_can_be_answered():
    texts, made = Data(paths=("a.txt",)), Data(paths=("synthetic:icl",))
    signal = SimpleNamespace(config=SimpleNamespace(context=240), encode=lambda texts: [
        SimpleNamespace(ids=np.zeros(len(text))) for text in texts])  # fmt: skip
    for recipe in (Recipe(data=made), Recipe(data=texts, objective=("next-token",))):
        assert Along(recipe, signal, 100).asked == {}
    able = Recipe(data=made, objective=("next-token",))
    assert list(Along(able, signal, 100).asked) == list(icl.along())
    assert Along(able, signal, 100).answers(5, False, None) == {}
    signal.config.context = 30
    assert list(Along(able, signal, 100).asked) == ["new members, 0 examples", "new members, 1 example"]


def test_shares_as_people_read_them():
    assert described({"a, 0 examples": 0.251, "b": 1.0}) == "right: a, 0 examples 25 % · b 100 %"


@pytest.mark.parametrize("steps", [1, 7, 100, 5000, 40_000])
def test_looks_are_ascending_ever_further_apart_and_hold_both_ends(steps):
    found = looks(steps)
    assert found[0] == 0 and found[-1] == steps and len(found) <= 13
    gaps = np.diff(found)
    assert (gaps > 0).all() and (np.diff(gaps[1:-1]) >= -1).all()
