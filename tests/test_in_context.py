"""Accuracy against shots: whoever reads the examples rises, whoever guesses stays at chance, and so do intervals."""

import json

import numpy as np
import pytest

from firth.data.synthetic import icl
from firth.data.synthetic.icl import Question
from firth.errors import InputError
from firth.evaluate.in_context import BASELINES, SHOTS, answered, in_context, points_of
from firth.functional.choices import Likelihood
from tests.readers import guessing, reading

KNOWING = {
    one.prompt(shots): one.options[one.answer]
    for kind in icl.KINDS
    for one in icl.questions(kind, 60)
    for shots in SHOTS
}


def knowing(prompts, options):
    """Somebody who knows every function, without an example."""
    return [[Likelihood(-float(option != KNOWING[prompt]), 4) for option in some]
            for prompt, some in zip(prompts, options, strict=True)]  # fmt: skip


def tied(prompts, options):
    return [[Likelihood(-1.0, 4) for _ in some] for some in options]


@pytest.fixture(scope="module")
def read():
    return in_context(reading, 200)


@pytest.fixture(scope="module")
def guessed():
    return in_context(guessing, 400)


# ------------------------------------------------------------------ what scorers reach


def test_reading_the_examples_is_enough_on_new_members(read):
    for kind in ("trained", "new-members"):
        shares = [one.mean for one in read.curves[kind].arms["model"]]
        assert shares[-1] > 0.9 and shares == pytest.approx(sorted(shares), abs=0.04)
        assert all(row[-1] > 0.8 for row in read.curves[kind].families.values())


def test_without_examples_nobody_who_does_not_know_is_better_than_chance(read, guessed):
    for found, tests in ((read, 200), (guessed, 400)):
        for curve in found.curves.values():
            assert abs(curve.accuracy(0).mean - 0.25) < 3 * (0.25 * 0.75 / tests) ** 0.5
            assert curve.accuracy(0).low < 0.25 < curve.accuracy(0).high


def test_guessing_stays_at_chance_with_examples(guessed):
    for curve in guessed.curves.values():
        for one in curve.arms["model"]:
            assert abs(one.mean - 0.25) < 3.5 * (0.25 * 0.75 / 400) ** 0.5


def test_knowing_the_function_is_always_right():
    found = in_context(knowing, 60)
    for curve in found.curves.values():
        assert all(one.mean == 1 and 0.9 < one.low < one.high == 1 for one in curve.arms["model"])


def test_ties_are_wrong():
    assert answered(tied, icl.questions("new-members", 20), 4).sum() == 0


# ------------------------------------------------------------------ baselines


def test_baselines_are_at_chance_without_examples_and_below_reading_with_them(read):
    for curve in read.curves.values():
        for name in BASELINES:
            assert curve.accuracy(0, name).mean == 0.25
    for kind in ("trained", "new-members"):
        curve = read.curves[kind]
        assert all(curve.accuracy(16, name).mean < curve.accuracy(16).mean - 0.15 for name in BASELINES)


def test_baselines_do_not_depend_on_the_model(read):
    other = in_context(guessing, 200, kinds=["new-members"])
    assert all(other.curves["new-members"].arms[one] == read.curves["new-members"].arms[one] for one in BASELINES)


@pytest.mark.parametrize(
    ("said", "points"), [("abcd", 1.0), ("abxx", 0.5), ("xxxx", 0.25), ("", 0.25), ("efgh", 0.0), ("xbxx", 0.5)]
)
def test_a_baseline_takes_the_option_most_like_what_it_says(said, points):
    one = Question("x", (), "", ("abcd", "abzz", "efgh", "mnop"), 0)
    assert points_of(one, said) == points


# ------------------------------------------------------------------ form


def test_writing_is_judged_by_its_first_line():
    right = {prompt: f"{answer}\nabcd>" for prompt, answer in KNOWING.items()}
    found = in_context(reading, 60, shots=(0, 4), write=lambda prompts: [right[one] for one in prompts])
    assert all(one.mean == 1 for curve in found.curves.values() for one in curve.arms["written"])
    longer = in_context(reading, 12, shots=(4,), write=lambda prompts: [right[p].replace("\n", "a\n") for p in prompts])
    assert all(curve.accuracy(4, "written").mean == 0 for curve in longer.curves.values())


def test_several_models_have_intervals_over_seeds_and_questions():
    found = in_context([reading, guessing], 80, shots=(0, 16), kinds=["new-members"])
    one = found.curves["new-members"].accuracy(16)
    assert (found.models, one.seeds) == (2, 2) and one.low < 0.3 < 0.9 < one.high
    alone = in_context([reading], 80, shots=(16,), kinds=["new-members"]).curves["new-members"].accuracy(16)
    assert one.mean < alone.mean and alone.seeds == 1 and alone.high - alone.low < 0.2


def test_the_same_questions_for_the_same_seed():
    assert in_context(guessing, 24).as_dict() == in_context(guessing, 24).as_dict()
    assert in_context(guessing, 24, seed=1).as_dict() != in_context(guessing, 24).as_dict()


def test_it_is_told_as_json_and_as_lines(read):
    tree = json.loads(json.dumps(read.as_dict()))
    assert tree["chance"] == 0.25 and tree["questions"] == 200 and set(tree["curves"]) == set(icl.KINDS)
    curve = tree["curves"]["new-families"]
    assert curve["shots"] == list(SHOTS) and set(curve["arms"]) == {"model", "copy", "nearest"}
    assert set(curve["arms"]["model"][0]) == {"mean", "low", "high", "seeds"}
    assert set(curve["families"]) == {"affine", "cipher", "sort"}
    lines = read.lines()
    assert len(lines) == sum(3 + 2 + len(curve["families"]) for curve in tree["curves"].values())
    assert " ".join(lines[0].split()) == "trained, 200 questions, chance 25 % 0 1 2 4 8 16 shots"
    assert lines[2].split() == ["copy", "25.0", *lines[2].split()[2:]]
    assert lines[8].startswith("at most shots, 95 %") and lines[8].endswith(" %")


def test_accuracy_by_family_is_that_of_its_questions(read):
    curve = read.curves["new-members"]
    means = np.mean(list(curve.families.values()), 0)
    np.testing.assert_allclose(means, [one.mean for one in curve.arms["model"]])


@pytest.mark.parametrize("shots", [(0, 17), (-1, 4)])
def test_more_examples_than_there_are_cannot_be_asked_for(shots):
    with pytest.raises(InputError) as caught:
        in_context(guessing, 4, shots=shots)
    asked = ", ".join(map(str, shots))
    assert str(caught.value) == f"shots = {asked}: a question has 16 examples. Ask for 0 to 16."
