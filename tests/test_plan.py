"""Budgets as typed, the plan that follows from a measurement, and what is refused."""

import os
import subprocess
import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from firth.data.keeping import free
from firth.errors import InputError
from firth.model.sizes import shape_of
from firth.recipe import Recipe, filled
from firth.signal import Rung
from firth.train import describe, machine, plan
from firth.train.budget import Budget, Clock, missing, parse, process_start
from firth.train.plan import Measured

MEASURED = Measured(
    step_seconds=0.1,
    tokens_per_step=2016.0,
    evaluation_seconds=0.5,
    checkpoint_seconds=0.2,
    checkpoint_bytes=60_000_000,
    memory=10**9,
    steps=30,
)


def text_of(error_type, call) -> str:
    with pytest.raises(error_type) as caught:
        call()
    return str(caught.value)


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("90s", "seconds", 90),
        ("20m", "seconds", 1200),
        ("20min", "seconds", 1200),
        ("1.5h", "seconds", 5400),
        ("1d", "seconds", 86400),
        ("500steps", "steps", 500),
        ("1step", "steps", 1),
        ("3epochs", "epochs", 3),
        ("0.5 epochs", "epochs", 0.5),
        ("100Mtokens", "tokens", 1e8),
        ("2_000tokens", "tokens", 2000),
        ("10ksteps", "steps", 10_000),
    ],
)
def test_a_budget_is_read(text, kind, amount):
    assert parse(text) == Budget(kind, amount)


@pytest.mark.parametrize("text", ["20", "m", "", "-5m", "0s", "5km", "3 weeks", "20m!"])
def test_what_is_no_budget_is_refused(text):
    assert text_of(InputError, lambda: parse(text)) == (
        f"--budget {text}: is neither a time nor an amount of training. Write 90s, 20m or 2h for the wall time of the "
        "whole command, or 500steps, 3epochs, 100Mtokens."
    )


def test_no_budget_at_all_gets_a_suggestion():
    assert str(missing()) == (
        "--budget: is not given. "
        "Add --budget 20m (wall time of the whole command), or --budget 500steps for a quick try."
    )


def test_the_clock_begins_with_the_process():
    code = (
        "import time; time.sleep(0.4); from firth.train.budget import process_start; "
        "print(time.monotonic() - process_start())"
    )
    age = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.35 < age < 5
    assert process_start() < time.monotonic()


def test_the_clock_books_each_part():
    clock = Clock(time.monotonic() - 10)
    assert 10 <= clock.spent < 11
    assert clock.lap("data") == pytest.approx(10, abs=0.5)
    clock.lap("model")
    clock.lap("data")
    assert list(clock.parts) == ["data", "model"] and sum(clock.parts.values()) == pytest.approx(clock.spent, abs=0.1)


# ------------------------------------------------------------------ steps that fit


@given(
    budget=some.floats(20, 1e5),
    spent=some.floats(0, 1e4),
    step=some.floats(1e-3, 2),
    evaluation=some.floats(0, 2),
    save=some.floats(0, 2),
)
def test_the_end_of_a_time_budget_lands_close_below_it(budget, spent, step, evaluation, save):
    measured = Measured(step, 2000.0, evaluation, save, 10**6, 10**9, 30)
    steps, _ = plan.steps_in(budget * plan.AIM - spent, measured)
    assume(steps >= 200)
    made = plan.make(Recipe(), Budget("seconds", budget), measured, spent, steps_per_epoch=100)
    assert made.seconds <= budget + evaluation + save  # whole evaluations and checkpoints cannot be cut
    assert made.seconds >= 0.9 * budget - evaluation - save


def test_what_has_been_spent_is_taken_off():
    fresh = plan.make(Recipe(), Budget("seconds", 120), MEASURED, 5.0, 100)
    late = plan.make(Recipe(), Budget("seconds", 120), MEASURED, 65.0, 100)
    assert fresh.steps - late.steps == pytest.approx(600, abs=40)
    assert late.seconds == pytest.approx(fresh.seconds, abs=1)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget("steps", 500), 500),
        (Budget("epochs", 3), 300),
        (Budget("tokens", 201_600), 100),
        (Budget("steps", 1), 1),
    ],
)
def test_other_budgets_become_steps(budget, steps):
    made = plan.make(Recipe(), budget, MEASURED, 3.0, 100)
    assert made.steps == steps
    assert made.tokens == round(steps * 2016)
    assert made.epochs == steps / 100


def test_evaluations_never_eat_the_time():
    slow = Measured(0.1, 2016.0, 20.0, 0.2, 10**6, 10**9, 30)
    assert plan.steps_in(1000, slow)[1] == 2
    assert plan.steps_in(1000, MEASURED)[1] == plan.EVALUATIONS


@pytest.mark.parametrize(
    ("seconds", "asked", "budget", "samples"),
    [
        (0.1, None, Budget("seconds", 120), 256),
        (4.0, None, Budget("seconds", 120), 128),  # 5 % of two minutes for three of them
        (400.0, None, Budget("seconds", 120), 64),
        (4.0, 256, Budget("seconds", 120), 256),
        (4.0, None, Budget("steps", 120), 256),
    ],
)
def test_evaluations_are_smaller_where_time_is_short(seconds, asked, budget, samples):
    recipe = filled(Recipe(), train={"evaluate_samples": asked})
    measured = Measured(0.01, 2016.0, seconds, 0.2, 10**6, 10**9, 30)
    fewer, found = plan.watching(recipe, budget, measured, 0.0)
    assert fewer == samples and found.evaluation_seconds == pytest.approx(seconds * samples / (asked or 256))


def test_how_many_are_watched_is_written_down():
    made = plan.make(Recipe(), Budget("seconds", 120), MEASURED, 0.0, 100)
    assert plan.with_plan(Recipe(), made).train.evaluate_samples == made.evaluate_samples == 256


def test_a_persons_own_intervals_stay():
    recipe = filled(Recipe(), train={"evaluate_every": 7, "checkpoint_every": 11})
    made = plan.make(recipe, Budget("steps", 100), MEASURED, 0.0, 100)
    assert (made.evaluate_every, made.checkpoint_every) == (7, 11)
    kept = plan.with_plan(recipe, made).train
    assert (kept.steps, kept.evaluate_every, kept.checkpoint_every) == (100, 7, 11)


def test_checkpoints_come_about_once_a_minute():
    assert plan.make(Recipe(), Budget("steps", 10**5), MEASURED, 0.0, 100).checkpoint_every == 600


def test_a_budget_that_leaves_nothing_says_what_would_do():
    assert text_of(InputError, lambda: plan.make(Recipe(), Budget("seconds", 10), MEASURED, 9.0, 100)) == (
        "--budget 10s: leaves no time to train: 9.0 s went into reading and preparing, 1.4 s are needed to end. "
        "Give at least --budget 25s."
    )


def test_the_plan_reads_like_a_sentence():
    made = plan.make(Recipe(), Budget("steps", 17_100), MEASURED, 10.0, 7_125)
    assert made.describe() == (
        "17,100 steps × 2,016 tokens · 34.5 M tokens (2.4 epochs) · about 29 min · 1060 MB memory · 201 MB disk"
    )


# ------------------------------------------------------------------ defaults


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        (10, "2x128"),
        (90, "2x256"),
        (180, "2x256"),
        (1200, "4x256"),
        (3600, "4x256"),
        (7200, "4x512"),
        (10**6, "12x768"),
    ],
)
def test_more_time_more_model(seconds, size):
    assert plan.defaults(seconds)["model.size"] == size


def test_a_slow_machine_gets_the_size_for_the_time_it_has():
    assert plan.defaults(600, plan.REFERENCE / 10)["model.size"] == "2x256"
    assert plan.rate_of_mini(10_000, 4, 256) == 10_000
    assert plan.rate_of_mini(10_000, 2, 256) < 10_000 < plan.rate_of_mini(10_000, 8, 512)


RUNGS = (Rung("tiny", 0, 1000), Rung("small", 100_000, 500), Rung("base", 1_000_000, 100))


@pytest.mark.parametrize(
    ("seconds", "factor", "size"),
    [(10, 1, "tiny"), (199, 1, "tiny"), (200, 1, "small"), (9999, 1, "small"), (10_000, 1, "base"),
     (200, 0.5, "tiny"), (20_000, 0.4, "small")],
)  # fmt: skip
def test_a_rung_is_reached_where_its_samples_fit_into_the_time(seconds, factor, size):
    assert plan.rung(RUNGS, seconds, factor).size == size


@pytest.mark.parametrize(
    ("size", "seconds", "rate", "expected"),
    [
        ("small", 300, 500, ("small", 500)),  # as the ladder says
        ("small", 300, 9000, ("small", 9000)),  # quicker: no larger one, so that machines differ in the time alone
        ("small", 200, 400, ("small", 400)),  # nearly as quick
        ("small", 300, 100, ("tiny", 200)),  # 30,000 samples are too few; tiny sees twice as many
        ("small", 3000, 100, ("small", 100)),
        ("base", 10_000, 10, ("small", 50)),
        ("base", 500, 1, ("tiny", 10)),
        ("tiny", 5, 1, ("tiny", 1)),
        ("3x64", 300, 1, ("3x64", 1)),
    ],
)
def test_a_slow_machine_goes_down_the_ladder(size, seconds, rate, expected):
    assert plan.lower(RUNGS, size, seconds, rate) == expected


def test_no_run_on_a_ladder_sees_fewer_samples_than_its_size_needs():
    for seconds in (30, 300, 3000, 30_000):
        for slow in (1, 0.5, 0.1, 0.01):
            first = plan.rung(RUNGS, seconds)
            size, rate = plan.lower(RUNGS, first.size, seconds, slow * first.rate)
            needs = next(one.samples for one in RUNGS if one.size == size)
            assert rate * seconds >= plan.SLOW * needs


def test_defaults_never_overrule_a_person():
    recipe = filled(Recipe(), model={"size": "tiny"}, optimizer={"lr": 5e-4})
    done = plan.with_defaults(recipe, 1200)
    assert (done.model.size, done.optimizer.lr, done.train.batch) == ("tiny", 5e-4, 16)


# ------------------------------------------------------------------ what cannot fit


def test_too_little_memory_is_refused():
    assert text_of(InputError, lambda: plan.refuse_memory(30 * 2**30, 12 * 2**30)) == (
        "the plan: needs about 30.0 GiB of memory, 12.0 GiB are free. "
        "Choose a smaller --size, or --set train.micro_batch=4, or close other programs."
    )
    plan.refuse_memory(2**30, 2**31)
    plan.refuse_memory(2**60, None)


def test_too_little_disk_is_refused():
    assert text_of(InputError, lambda: plan.refuse_disk(2 * 2**30, 2**29, "runs/x")) == (
        "runs/x: has 537 MB of free disk, the run needs about 2.0 GiB. Make room, or choose another disk with --out."
    )
    plan.refuse_disk(10, 10, "runs/x")


def test_large_models_need_more_than_small_ones():
    small, large = (shape_of("modernbert", size, 8192) for size in ("4x256", "24x1024"))
    small, large = (plan.training_memory(shape.weights, 16 * shape.activations(128)) for shape in (small, large))
    assert small < 300e6 and large > 5e9


# ------------------------------------------------------------------ the machine


def test_the_machine_is_described():
    assert 1 <= machine.cores() <= os.cpu_count()
    assert machine.facts()["versions"]["torch"]
    assert isinstance(machine.native_bf16(), bool)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")
def test_memory_is_read_from_the_system():
    with open("/proc/self/statm", encoding="utf-8") as held:
        resident = int(held.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert machine.peak_memory() >= 0.99 * resident > 10**7
    assert machine.free_memory() > 0


def test_free_disk_of_a_folder_to_be(tmp_path):
    assert free(tmp_path / "a" / "b") > 0


def test_measurements_are_remembered_by_everything_they_depend_on():
    machine.remember({"cores": 2}, {"threads": 2})
    assert machine.remembered({"cores": 2})["threads"] == 2
    assert machine.remembered({"cores": 4}) is None


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "file"))
    machine.remember({"a": 1}, {"b": 2})
    assert machine.remembered({"a": 1}) is None


# ------------------------------------------------------------------ numbers as people read them


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: describe.count(50_000), "50,000"),
        (lambda: describe.count(11_630_000), "11.6 M"),
        (lambda: describe.count(123_400_000), "123 M"),
        (lambda: describe.count(1.25e9), "1.2 G"),
        (lambda: describe.duration(8.04), "8.0 s"),
        (lambda: describe.duration(90), "90 s"),
        (lambda: describe.duration(1140), "19 min"),
        (lambda: describe.duration(7500), "2 h 05 min"),
        (lambda: describe.size(260e6), "260 MB"),
        (lambda: describe.size(1.9 * 2**30), "1.9 GiB"),
        (lambda: describe.percent(0.2412), "24.1 %"),
        (lambda: describe.name("masked_tokens"), "masked tokens"),
    ],
)
def test_numbers(call, text):
    assert call() == text
