"""Measuring a machine, without a machine: every clock and every step here is made up."""

import math
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth.data.cache import cache_folder
from firth.data.source import ListSource
from firth.errors import InputError, RunError
from firth.objective import Composed
from firth.recipe import Recipe, Train, filled, with_table
from firth.signal import Rung, Signal
from firth.train import build, machine, prepare, probe
from firth.train.budget import Budget, Clock
from firth.train.log import Recorded
from firth.train.prepare import Work
from firth.train.probe import Choice
from firth.train.run import Run
from tests import contract, toy

PLAIN = Choice(4, "bf16", "plain")


class Ticks:
    """A clock that only moves when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Ticks:
    ticks = Ticks()
    monkeypatch.setattr(probe.time, "perf_counter", ticks)
    return ticks


def race(clock: Ticks, seconds: dict, limit: float = 10.0, recipe: Recipe | None = None) -> probe.Race:
    """Steps of a choice take `seconds[choice]`, and so does timing it."""
    made = probe.Race(recipe or Recipe(), None, None, "cpu", clock() + limit)

    def steps(choice: Choice) -> float:
        clock.now += seconds[choice]
        return seconds[choice]

    made.steps = steps
    return made


# ------------------------------------------------------------------ what is tried


@pytest.mark.parametrize(
    ("fallback", "count", "precisions"),
    [(PLAIN, 4, {"bf16", "fp32"}), (PLAIN._replace(precision="fp32"), 2, {"fp32"})],
)
def test_kernels_begin_with_the_rule_and_hold_each_once(fallback, count, precisions):
    found = probe.kernels(fallback)
    assert found[0] == fallback and len(found) == len(set(found)) == count
    assert {choice.precision for choice in found} == precisions
    assert {choice.attention for choice in found} == {"plain", "sdpa"}
    assert {choice.threads for choice in found} == {4}


@pytest.mark.parametrize(("threads", "fewer"), [(1, []), (2, [1]), (3, [1]), (16, [8])])
def test_half_the_threads_are_tried(threads, fewer):
    assert probe.fewer_threads(threads) == fewer


def test_on_an_accelerator_nothing_is_a_question():
    assert probe.rule(128, native=False, cores=3, device="cuda") == Choice(3, "bf16", "sdpa")


@pytest.mark.parametrize(
    ("train", "choice"),
    [
        ({}, PLAIN),
        ({"threads": 2}, PLAIN._replace(threads=2)),
        ({"precision": "fp64"}, PLAIN._replace(precision="fp64")),
        ({"attention": "sdpa", "compile": "on"}, PLAIN._replace(attention="sdpa", compile="on")),
    ],
)
def test_a_race_never_tries_what_a_person_fixed(clock, train, choice):
    assert race(clock, {}, recipe=Recipe(train=Train(**train))).allowed(PLAIN) == choice


# ------------------------------------------------------------------ the race


def test_choices_that_a_person_made_equal_are_timed_once(clock):
    fixed = Recipe(train=Train(precision="fp32", attention="plain"))
    only = PLAIN._replace(precision="fp32")
    made = race(clock, {only: 1.0}, recipe=fixed)
    assert made.fastest(probe.kernels(PLAIN)) == only
    assert made.seconds == {only: 1.0}


def test_the_first_is_timed_even_when_there_is_no_time(clock):
    slow, fast = PLAIN, PLAIN._replace(attention="sdpa")
    made = race(clock, {slow: 50.0, fast: 0.1}, limit=1.0)
    assert made.fastest([slow, fast]) == slow
    assert made.seconds == {slow: 50.0} and not made.complete


def test_a_race_within_its_time_is_complete(clock):
    times = dict(zip(probe.kernels(PLAIN), (1.0, 0.9, 0.5, 2.0), strict=True))
    made = race(clock, times)
    assert made.fastest(list(times)) == list(times)[2]
    assert made.complete and made.seconds == times


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
def test_the_winner_is_never_much_slower_than_any_other(seconds):
    with pytest.MonkeyPatch.context() as patch:
        ticks = Ticks()
        patch.setattr(probe.time, "perf_counter", ticks)
        choices = [PLAIN._replace(threads=number + 1) for number in range(len(seconds))]
        times = dict(zip(choices, seconds, strict=True))
        best = race(ticks, times).fastest(choices)
        assert times[best] * probe.GAIN <= min(seconds) + 1e-12
        assert times[best] <= seconds[0]


def test_the_first_choice_that_fails_is_an_error(clock):
    made = race(clock, {})
    with pytest.raises(KeyError):
        made.fastest([PLAIN])


def test_a_choice_that_fails_later_never_wins(clock):
    made = race(clock, {PLAIN: 3.0})
    assert made.fastest([PLAIN, PLAIN._replace(compile="on")]) == PLAIN
    assert made.seconds[PLAIN._replace(compile="on")] == 1e9


def counted(clock: Ticks, seconds: list[float]):
    """A stepper whose n-th step takes seconds[n]."""
    for number in range(10**6):
        clock.now += seconds[min(number, len(seconds) - 1)]
        yield SimpleNamespace(items=100 + number)


def test_a_step_is_timed_by_the_clock(clock):
    assert probe.timed(counted(clock, [2.5])) == 2.5


def test_the_first_two_steps_do_not_count(clock):
    times, items = probe.time_steps(counted(clock, [9.0, 9.0, 1.0]), limit=5.0)
    assert times == [1.0] * 5 and items == [102, 103, 104, 105, 106]


@pytest.mark.parametrize(("limit", "count"), [(0.0, 3), (1e9, 60)])
def test_at_least_three_steps_and_at_most_sixty(clock, limit, count):
    assert len(probe.time_steps(counted(clock, [1.0]), limit)[0]) == count


# ------------------------------------------------------------------ probes of real things


def objective() -> Composed:
    return contract.build(("masked-tokens",))


def recipe_of(**train) -> Recipe:
    return with_table(Recipe(train=Train(batch=4, **train)), "text", {"context": 32})


def test_a_probe_trains_a_copy():
    run = toy.toy_run(steps=3)
    before = {name: tensor.clone() for name, tensor in run.objective.state_dict().items()}
    stepper = probe.stepping(run.recipe, run.objective, run.batches, "cpu", 5)
    build.apply_choices, kept = (lambda *_: None), build.apply_choices
    try:
        next(stepper)
    finally:
        build.apply_choices = kept
    for name, tensor in run.objective.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_longest_samples_come_first(monkeypatch):
    samples = contract.samples(12)
    lengths = [len(sample.parts[0]) for sample in samples]
    monkeypatch.setattr(build, "batches_of", lambda recipe, signal, source: source)
    worst = probe.worst_batches(recipe_of(), contract.SIGNAL, ListSource(samples))
    assert sorted(len(s.parts[0]) for s in worst.samples) == sorted(lengths)[-4:]


def test_of_equal_lengths_none_is_the_worst():
    source = ListSource(contract.samples(3))
    source.lengths = None
    assert probe.worst_batches(recipe_of(), contract.SIGNAL, source) is None


@pytest.mark.parametrize(("there", "wanted", "seconds"), [(1000, 256, 4.0), (1000, 32, 1.0), (16, 256, 1.0)])
def test_an_evaluation_is_timed_by_a_part_of_it(clock, monkeypatch, there, wanted, seconds):
    asked = []

    class Held:
        def __len__(self):
            return there

        def evaluation(self, samples, batch):
            asked.append((samples, batch))

    def measured(*_):
        clock.now += 1.0

    monkeypatch.setattr(probe, "measure", measured)
    run = SimpleNamespace(objective=None, recipe=recipe_of(evaluate_samples=wanted))
    assert probe.time_evaluation(run, Held(), "cpu") == seconds
    assert asked == [(4, 4), (min(probe.FEW, there, wanted), 4)]  # the first compiles, where anything does


def test_a_checkpoint_is_timed_and_leaves_nothing():
    run = Run(objective(), toy.ToyBatches(), toy.recipe(), steps=1)
    seconds, size = probe.time_checkpoint(run)
    assert seconds > 0 and size == 12 * build.parameters(run.objective)
    assert list(cache_folder().iterdir()) == []


def test_a_cache_that_refuses_gives_an_estimate(monkeypatch):
    def refuse(*_):
        raise RunError("cache", "the disk is full", "Make room.")

    monkeypatch.setattr(probe.Checkpoints, "save", refuse)
    run = Run(objective(), toy.ToyBatches(), toy.recipe(), steps=1)
    assert probe.time_checkpoint(run) == (
        12 * build.parameters(run.objective) / 2e8,
        12 * build.parameters(run.objective),
    )


@pytest.mark.parametrize(
    "changed",
    [{"batch": 8}, {"micro_batch": 2}, {"threads": 1}, {"precision": "fp32"}, {"attention": "sdpa"}, {"compile": "on"}],
)
def test_a_measurement_is_kept_under_all_it_depends_on(changed):
    model = objective()
    key = probe.cache_key(recipe_of(), model, "cpu", False)
    assert probe.cache_key(filled(recipe_of(), train=changed), model, "cpu", False) != key
    assert probe.cache_key(filled(recipe_of(), train={"steps": 9}), model, "cpu", False) == key


def test_device_and_length_are_part_of_the_key():
    model = objective()
    keys = [probe.cache_key(recipe_of(), model, *rest) for rest in (("cpu", False), ("cuda", False), ("cpu", True))]
    assert keys[0] != keys[1] and keys[0] != keys[2]


@pytest.mark.parametrize(("table", "context"), [({}, 128), ({"context": 64}, 64)])
def test_the_context_is_that_of_the_signal(table, context):
    assert probe.recipe_context(with_table(Recipe(), "text", table)) == context


def test_a_choice_measured_before_is_remembered(monkeypatch):
    model, recipe = objective(), recipe_of()
    key = probe.cache_key(recipe, model, "cpu", False)
    machine.remember(key, PLAIN._asdict() | {"seconds_per_step": 0.25})
    monkeypatch.setattr(probe, "Race", lambda *_: pytest.fail("measured again"))
    assert probe.choose(recipe, model, None, "cpu", 1.0, False) == (PLAIN, 0.25)


# ------------------------------------------------------------------ prepare


def work(recipe: Recipe | None = None, budget: Budget | None = None) -> Work:
    return Work(recipe or recipe_of(), budget or Budget("steps", 5), Clock(), Recorded(), "runs/a")


def test_threads_are_given_back_whatever_happens():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), prepare.own_threads():
        torch.set_num_threads(before + 1)
        raise KeyError
    assert torch.get_num_threads() == before


def test_only_plain_facts_go_into_run_json():
    facts = {"a": 1, "b": 0.5, "c": "x", "d": True, "e": {"f": 1}, "g": np.arange(3), "h": [1], "i": None}
    assert prepare.plain_facts(facts) == {"a": 1, "b": 0.5, "c": "x", "d": True, "e": {"f": 1}}


def test_a_time_budget_is_known_as_one():
    assert work(budget=Budget("seconds", 60)).timed and not work().timed


@pytest.mark.parametrize(("side", "place"), [("training", "source"), ("held-out", "held_out")])
def test_an_empty_side_of_the_split_is_refused(side, place):
    job = work(filled(recipe_of(), data={"paths": ("a.txt", "b.txt")}))
    job.source = job.held_out = [1]
    setattr(job, place, [])
    with pytest.raises(InputError) as caught:
        prepare.refuse_empty(job)
    message = f"a.txt, b.txt: leaves no sample in the {side} part. Give more text, or --set data.held_out=0.2."
    assert str(caught.value) == message


def with_vocabulary(size: int) -> Recipe:
    return with_table(Recipe(), "masked_tokens", {"vocabulary": size})


def test_chance_is_the_logarithm_of_the_vocabulary():
    assert prepare.chance(with_vocabulary(8192), "masked-tokens") == math.log(8192)
    assert prepare.chance(Recipe(), "masked-tokens") is None


def test_terms_stand_under_their_objectives():
    recipe = Recipe(objective=("next-sentence", "masked-tokens"))
    assert prepare.terms_of(recipe) == [("next-sentence", "next_sentence"), ("masked-tokens", "masked_tokens")]


def test_losses_before_the_first_step_are_told_beside_theory():
    job = work(with_vocabulary(8192))
    text = prepare.describe_losses(job, {"masked_tokens": 9.03}, {"masked_tokens": 6.84})
    expected = "held-out masked tokens loss 6.84 · 9.03 at random initialisation (theory ln V = 9.01)"
    assert text == expected


@pytest.mark.parametrize(("seconds", "smaller"), [(0.004, False), (5.0, True)])
def test_a_slow_machine_gets_a_smaller_model(monkeypatch, seconds, smaller):
    job = work(filled(recipe_of(), model={"size": "2x256"}), Budget("seconds", 120))
    job.shape = SimpleNamespace(layers=2, width=256)
    monkeypatch.setattr(prepare.build, "fill", lambda recipe, signal: recipe)
    built = []
    monkeypatch.setattr(prepare, "model", built.append)
    prepare.shrink(job, seconds)
    assert bool(built) is smaller
    assert job.recipe.model.size == ("2x128" if smaller else "2x256")
    said = "size 2x256 is more than this machine trains well in the time: 2x128; --size keeps another"
    assert job.show.lines == [said] * smaller


class Pictures(Signal):
    """Of one size; many samples a step where many are seen."""

    ladders: ClassVar = {"modernbert": (Rung("tiny", 0, 1000), Rung("small", 100_000, 500))}

    def batch_for(self, lengths, seen=None):
        return 64 if seen is not None and seen < 50_000 else 256


@pytest.mark.parametrize(
    ("seconds", "size", "batch"),
    [(0.5, "small", 256), (2.0, "tiny", 256), (20.0, "tiny", 64)],  # of a step of 256: 512, 128, 13 samples a second
)
def test_a_slow_machine_gets_a_lower_rung_and_smaller_batches(monkeypatch, seconds, size, batch):
    job = work(filled(recipe_of(), model={"size": "small"}, train={"batch": 256}), Budget("seconds", 300))
    job.signal, job.source = Pictures(), SimpleNamespace(lengths=None)
    monkeypatch.setattr(prepare.build, "signal_class", lambda recipe: Pictures)
    monkeypatch.setattr(prepare.build, "fill", lambda recipe, signal: recipe)
    built, batched = [], []
    monkeypatch.setattr(prepare, "model", built.append)
    monkeypatch.setattr(prepare, "make_batches", batched.append)
    prepare.rebatch(job, prepare.shrink(job, seconds))
    assert (job.recipe.model.size, job.recipe.train.batch) == (size, batch)
    assert bool(built) is (size == "tiny") and bool(batched) is (batch == 64)
