"""The end of a run is moved where the machine is slower or faster, and it stays the run that config.toml repeats."""

from types import SimpleNamespace

import pytest

from firth.recipe import Recipe, filled, load_toml
from firth.train.budget import Budget
from firth.train.folder import RunFolder
from firth.train.pace import Pace
from firth.train.run import Step
from firth.train.schedule import factor

SECONDS = Budget("seconds", 100.0)


def pace(tmp_path, steps=1000, budget=SECONDS, resumed=0, plan=None, **train):
    recipe = filled(Recipe(), train={"steps": steps, "schedule": "wsd", **train})
    job = SimpleNamespace(recipe=recipe, steps=steps, resumed=resumed)
    folder = RunFolder(tmp_path / "run")
    folder.create(recipe, plan=plan)
    clock = SimpleNamespace(now=0.0)
    notes: list[str] = []
    return Pace(budget, folder, job, lambda: clock.now, notes.append), clock, notes


def go(pace, clock, seconds, stop=10**9, between=lambda index: 0.0):
    """Steps that take so long each, and what happens after them; the number of steps the run ends with."""
    index = 0
    while index < min(pace.job.steps, stop):
        index += 1
        took = seconds(index) if callable(seconds) else seconds
        clock.now += took
        pace.keep(Step(index, pace.job.steps, 1.0, seconds=took, items=100))
        clock.now += between(index)
    return pace.job.steps


def test_a_run_in_time_stays_as_it_was_planned(tmp_path):
    found, clock, notes = pace(tmp_path)
    assert go(found, clock, 0.095) == 1000 and not notes


@pytest.mark.parametrize("slow", [0.11, 0.13])
def test_a_slower_machine_ends_in_time_with_fewer_steps(tmp_path, slow):
    found, clock, notes = pace(tmp_path)
    steps = go(found, clock, slow)
    assert steps < 1000 and 90 < clock.now <= 101
    assert notes[0].startswith("Slower than measured: ") and "instead of 1,000" in notes[0]
    assert found.folder.facts["replanned"][-1][1] == steps


@pytest.mark.parametrize("fast", [0.085, 0.05])
def test_a_faster_machine_uses_the_time(tmp_path, fast):
    found, clock, notes = pace(tmp_path)
    steps = go(found, clock, fast)
    assert steps > 1000 and 94 <= clock.now <= 100
    assert notes[0].startswith("Faster than measured: ") and notes[0].endswith("instead of 1,000, to use the time.")
    assert found.folder.facts["replanned"][-1][1] == load_toml(found.folder.config).train.steps == steps


def test_fast_at_first_and_slow_later_ends_in_time(tmp_path):
    found, clock, notes = pace(tmp_path)
    go(found, clock, lambda index: 0.08 if index < 400 else 0.11)
    assert clock.now <= 101.5 and notes[0].startswith("Faster") and notes[-1].startswith("Slower")


def test_slowing_down_in_the_middle_is_seen(tmp_path):
    found, clock, _ = pace(tmp_path)
    go(found, clock, lambda index: 0.09 if index < 400 else 0.13)
    assert clock.now <= 101.5


def test_an_evaluation_is_no_slow_machine(tmp_path):
    found, clock, notes = pace(tmp_path, steps=100)
    assert go(found, clock, 0.94, between=lambda index: 3.0 * (index % 50 == 0)) == 100 and not notes


def test_evaluations_to_come_are_no_time_to_use(tmp_path):
    plan = {"seconds": 96.0, "spent": 0.0, "tokens": 1000, "tokens_per_second": 1000 / 85.0}  # 11 s between the steps
    found, clock, notes = pace(tmp_path, steps=100, plan=plan)
    assert go(found, clock, 0.85, between=lambda index: 5.0 * (index % 50 == 0)) == 100 and not notes


def test_one_slow_step_is_no_slow_machine(tmp_path):
    found, clock, notes = pace(tmp_path)
    assert go(found, clock, lambda index: 0.094 + 0.8 * (index == 300)) == 1000 and not notes


def test_once_the_rate_falls_nothing_changes(tmp_path):
    found, clock, _ = pace(tmp_path)
    assert go(found, clock, lambda index: 0.095 if index <= 720 else 0.3) == 1000
    assert clock.now > 101


def test_the_end_is_never_drawn_into_what_was_trained_at_the_full_rate(tmp_path):
    found, clock, _ = pace(tmp_path)
    go(found, clock, lambda index: 0.09 if index < 600 else 2.0)
    for at, steps in found.folder.facts["replanned"]:
        assert at <= steps * (1 - found.job.recipe.train.decay)


@pytest.mark.parametrize(("asked", "every"), [({}, 550), ({"train.evaluate_every": 500}, 500)])
def test_a_longer_run_is_evaluated_as_often_unless_a_person_said_how(tmp_path, asked, every):
    found, _, _ = pace(tmp_path, evaluate_every=500)
    found.folder.update(asked=asked)
    assert found.move(Step(300, 1000, 1.0), 1100).train.evaluate_every == every


def test_once_the_rate_falls_a_run_is_not_made_longer(tmp_path):
    found, clock, _ = pace(tmp_path)
    assert go(found, clock, lambda index: 0.095 if index <= 720 else 0.01) == 1000


@pytest.mark.parametrize("seconds", [0.12, 0.08])
def test_the_config_repeats_the_run(tmp_path, seconds):
    found, clock, _ = pace(tmp_path, warmup=0.05)
    before = found.job.recipe.train
    steps = go(found, clock, seconds)
    after = load_toml(found.folder.config).train
    assert after.steps == steps
    at = found.folder.facts["replanned"][0][0]
    for index in range(at + 1):
        assert factor("wsd", index, 1000, before.warmup, before.decay) == factor(
            "wsd", index, steps, after.warmup, after.decay
        )


@pytest.mark.parametrize("changed", [{"budget": Budget("steps", 1000)}, {"schedule": "cosine"}, {"resumed": 50}])
def test_steps_other_schedules_and_resumed_runs_are_left_alone(tmp_path, changed):
    found, clock, _ = pace(tmp_path, **changed)
    assert go(found, clock, 0.2) == 1000
