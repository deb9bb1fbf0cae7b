"""A run whose vectors collapse says so: while it runs, and wherever its result is told. A healthy one never does."""

import json

import pytest

from benchmarks.collapse import BROKEN, HEALTHY, trained, write_digits
from firth.report.html import write_run
from firth.train.pretrain import pretrain
from tests.runs import Told

QUICK = {"train.batch": 64, "train.evaluate_every": 10, "image.channels": 1, "train.precision": "fp32"}
BLAMED = "byol.predictor = false lets the student meet its teacher in one point"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def collapsed(digits, tmp_path_factory):
    """BYOL without predictor and moving average: the folder, the result, and what was said."""
    told, place = Told(), tmp_path_factory.mktemp("runs") / "broken"
    settings = QUICK | {"byol.predictor": False, "byol.momentum": 0.0}
    result = pretrain(digits, "byol", "1x16", "20steps", place, settings=settings, show=told)
    return place, result, told


def test_the_alarm_is_raised_within_the_run(collapsed):
    place, _, told = collapsed
    [alarm] = [note for note in told.notes if "collapse" in note]
    assert alarm.startswith("step ") and f"Likely cause: {BLAMED}. Set byol.predictor=true." in alarm
    lines = (place / "train.log").read_text().splitlines()
    raised, ended = (next(i for i, line in enumerate(lines) if text in line) for text in (alarm, "step 20 of 20"))
    assert raised < ended


def test_the_result_is_never_told_without_it(collapsed):
    place, result, told = collapsed
    assert result.collapse and BLAMED in result.collapse
    assert told.lines["Result"].startswith("COLLAPSED, step ")
    assert BLAMED in (place / "README.md").read_text()
    assert "This run collapsed, step " in write_run(place).read_text()
    assert json.loads((place / "run.json").read_text())["result"]["collapse"] == result.collapse


def test_nor_when_it_is_asked_for_again(collapsed, digits):
    place, result, _ = collapsed
    told, settings = Told(), QUICK | {"byol.predictor": False, "byol.momentum": 0.0}
    again = pretrain(digits, "byol", "1x16", "20steps", place, settings=settings, show=told)
    assert again.collapse == result.collapse and told.lines["Result"].startswith("COLLAPSED, ")


def test_what_is_read_stands_in_the_log_and_on_the_page(collapsed):
    place, result, _ = collapsed
    rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    readings = {row["step"]: row["vectors"] for row in rows if "vectors" in row}
    assert list(readings) == [0, 10, 20] and readings[20] == result.vectors
    assert {"rank", "spread", "alignment", "compared_rank", "neighbour_accuracy"} <= readings[0].keys()
    assert (place / "train.log").read_text().count("  vectors: rank ") == 3
    assert (place / "samples" / "neighbours.png").exists() and "What it sees" in write_run(place).read_text()


def test_a_run_that_goes_on_remembers_what_was_read(digits, tmp_path):
    """The first reading is that before the first step, though another sitting took it."""
    from firth.errors import Interrupted

    class Stopping(Told):
        def progress(self, step, run):
            if step.index == 10:
                raise Interrupted(run.where, "stopped", "Go on.")

    settings = QUICK | {"byol.predictor": False, "byol.momentum": 0.0, "train.checkpoint_every": 10}
    with pytest.raises(Interrupted):
        pretrain(digits, "byol", "1x16", "20steps", tmp_path / "run", settings=settings, show=Stopping())
    told = Told()
    result = pretrain(digits, "byol", "1x16", "20steps", tmp_path / "run", settings=settings, show=told)
    assert result.collapse and "before the first step" in result.collapse
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if "vectors" in row] == [0, 10, 20]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BROKEN, *HEALTHY])
def test_broken_runs_raise_it_and_healthy_ones_never(name, digits, tmp_path):
    objective, settings = (BROKEN | HEALTHY)[name]
    for seed in range(10):
        found = trained(digits, tmp_path / f"{seed}", objective, settings, seed, steps=150, size="tiny")
        assert (found.step is not None) == found.collapsed == (name in BROKEN), (seed, found)
