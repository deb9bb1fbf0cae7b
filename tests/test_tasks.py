"""What every task must keep to, stated once over all files of tasks/: examples, inputs, outcomes, the control."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth import find
from firth.data.labelled import Labelled, open_labelled
from firth.evaluate.arms import Drawn
from firth.evaluate.baselines import BASELINES
from firth.evaluate.compare import comparison_of
from firth.evaluate.kept import Kept
from firth.recipe import Data
from firth.task import Example, TaskConfig, parts_of
from tests import contract, labelled_files, material

WRITE = {  # case → how its file is written, and the column of labels
    "classify": (material.write_labels, None),
    "classify-several": (labelled_files.write_topics, None),
    "pairs": (labelled_files.write_pairs, None),
    "pairs-numbers": (labelled_files.write_pairs, "closeness"),
    "tag": (labelled_files.write_tags, None),
    "span": (labelled_files.write_questions, None),
}
CASES = list(WRITE)


def task_of(case: str):
    return find.find("tasks", case.partition("-")[0])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Labelled]:
    """A labelled set of each case, a fifth of it the test part; nothing is encoded."""
    found = {}
    for case, (write, label) in WRITE.items():
        path = write(tmp_path_factory.mktemp("tasks"), 60)
        config = Data(paths=(str(path),), label=label)
        found[case] = open_labelled(config, None, 0, test_share=0.2, task=task_of(case).Config())
    return found


def gold(task: TaskConfig, one: Example):
    """The plain value that is right."""
    if task.several:
        return list(one.target)
    if task.classed:
        return str(one.label)
    if isinstance(one.target, float):
        return one.target
    return list(one.target[1]) if isinstance(one.target, tuple) else one.target[0][0]


def wrong(task: TaskConfig, one: Example):
    """A plain value of the same kind that is not right at all."""
    right = gold(task, one)
    if task.several:
        return [name for name in task.classes if name not in right]
    if isinstance(right, float):
        return -right
    if isinstance(right, list):
        return [next(tag for tag in task.classes if tag != word) for word in right]
    return next(name for name in task.classes if name != right) if task.classed else "zzz"


def judged(case: str, labelled: Labelled, said):
    return task_of(case).judged(labelled.task, labelled.records["test"], said)


def test_every_task_is_a_case():
    """Those of sound have tests of their own, and baselines that read samples."""
    cases = {case.partition("-")[0] for case in CASES}
    assert cases == set(BASELINES) == set(contract.learnt_tasks()) - {"transcribe", "verify"}


@pytest.mark.parametrize("name", contract.learnt_tasks())
def test_a_task_offers_what_the_verbs_ask_for(name):
    module = find.find("tasks", name)
    assert issubclass(module.Config, TaskConfig)
    assert all(callable(getattr(module, verb)) for verb in ("predict", "evaluate", "judged"))
    assert module.Config.terms == (name,)


# ------------------------------------------------------------------ outcomes


@pytest.mark.parametrize("case", CASES)
def test_what_is_right_has_the_metric_one_and_no_mistakes(data, case):
    task, test = data[case].task, data[case].records["test"]
    outcome = judged(case, data[case], [gold(task, one) for one in test])
    assert outcome.figures[task.metric] == pytest.approx(1)
    assert len(outcome.right) == len(outcome.counts) == len(outcome.predicted) == len(outcome.gold) == len(test) > 8
    if case != "pairs-numbers":
        assert outcome.wrong == [] and (outcome.right == outcome.counts).all()


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_has_the_metric_zero_and_is_named(data, case):
    task, test = data[case].task, data[case].records["test"]
    outcome = judged(case, data[case], [wrong(task, one) for one in test])
    worst = -1 if case == "pairs-numbers" else 0
    assert outcome.figures[task.metric] == pytest.approx(worst)
    if case not in ("pairs-numbers", "tag"):
        assert (outcome.right == 0).all() and len(outcome.wrong) == len(test)
        assert {one["text"] for one in outcome.wrong} == {one.text for one in test}


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_metric_is_the_sum_of_right_over_the_sum_of_counts(data, case, seed):
    task, test = data[case].task, data[case].records["test"]
    flip = np.random.default_rng(seed).random(len(test)) < 0.4
    said = [wrong(task, one) if other else gold(task, one) for one, other in zip(test, flip, strict=True)]
    outcome = judged(case, data[case], said)
    assert outcome.figures[task.metric] == pytest.approx(outcome.right.sum() / outcome.counts.sum())
    known = task.counts(test)
    assert (outcome.counts == (np.ones(len(test)) if known is None else known)).all()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kept", [False, True])
def test_a_trial_scores_as_the_outcome_it_is_made_of_kept_or_not(data, case, kept, tmp_path):
    labelled, task = data[case], data[case].task
    test = labelled.records["test"]
    said = [wrong(task, one) if place % 3 else gold(task, one) for place, one in enumerate(test)]
    outcome, drawn = judged(case, labelled, said), Drawn(40, 0, labelled)
    trial = drawn.trial("pretrained", outcome, 1.5)
    if kept:
        Kept(tmp_path / "c", {}).put(trial)
        trial = Kept(tmp_path / "c", {}).get("pretrained", 40, 0)
    found = comparison_of({"pretrained": "Pre-trained"}, [trial], drawn, {})
    assert found.metric == task.metric
    assert found.score(trial) == pytest.approx(outcome.figures[task.metric])


@pytest.mark.parametrize("case", CASES)
def test_baselines_answer_every_example_with_a_value_that_can_be_judged(data, case):
    labelled, test = data[case], data[case].records["test"]
    seen = [*labelled.records["train"], *labelled.records["valid"]]
    for learn in BASELINES[case.partition("-")[0]].values():
        said = learn(seen, test, seed=0)
        outcome = judged(case, labelled, said)
        assert len(said) == len(test) and -1 <= outcome.figures[labelled.task.metric] <= 1
        assert learn(seen, test, seed=0) == said


# ------------------------------------------------------------------ inputs


@pytest.mark.parametrize("case", CASES)
def test_inputs_are_what_the_model_reads_and_hang_on_no_answer(data, case):
    task = data[case].task
    for one in data[case].records["test"]:
        bare = one._replace(label=None, target=None, parts=(), group="")
        read = task.inputs(bare) if task.fielded else one.text
        read = (read,) if isinstance(read, str) else tuple(read)
        assert read == (one.target[0] if case == "tag" else parts_of(one))


# ------------------------------------------------------------------ the control


@pytest.mark.parametrize("case", CASES)
def test_shuffling_moves_answers_and_nothing_else(data, case):
    task, before = data[case].task, data[case].records["train"]
    after = task.shuffled(before, 0)
    assert [(a.text, a.parts, a.where, a.group, a.fields) for a in after] == [
        (b.text, b.parts, b.where, b.group, b.fields) for b in before
    ]
    moved = [gold(task, a) != gold(task, b) for a, b in zip(after, before, strict=True)]
    assert np.mean(moved) > 0.3
    if case == "span":
        for a, b in zip(after, before, strict=True):
            (text, start), (was, _) = a.target[0], b.target[0]
            assert a.parts[1][start : start + len(text)] == text and len(text.split()) == len(was.split())
    else:
        assert flat(task, after) == flat(task, before)


def flat(task: TaskConfig, examples) -> Counter:
    """Every answer, how often."""
    values = [gold(task, one) for one in examples]
    return Counter(tag for one in values for tag in (one if isinstance(one, list) else [one]))


@pytest.mark.parametrize("case", CASES)
def test_shuffling_hangs_on_the_seed_alone(data, case):
    task, before = data[case].task, data[case].records["train"]
    assert task.shuffled(before, 3) == task.shuffled(before, 3) != task.shuffled(before, 4)
    assert task.shuffled([], 3) == []


@pytest.mark.parametrize("case", CASES)
def test_shuffled_examples_are_examples_still(data, case):
    """They are judged and counted as any others."""
    task, before = data[case].task, data[case].records["train"]
    after = task.shuffled(before, 1)
    outcome = task_of(case).judged(task, after, [gold(task, one) for one in after])
    metric = "exact_match" if case == "span" else task.metric  # an answer may now be `the`, which has no F1
    assert outcome.figures[metric] == pytest.approx(1)
    counts = task.counts(before), task.counts(after)
    assert np.array_equal(*(np.ones(len(before)) if one is None else one for one in counts))
