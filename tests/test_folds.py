"""Groups left out in turn: folds stand in the place of seeds, each tested on its own share of one test part."""

from types import SimpleNamespace

import numpy as np
import pytest

from firth.data.groups import Rule
from firth.data.labelled import Labelled, Rows
from firth.data.records import Problems, Record, Where
from firth.errors import InputError
from firth.evaluate import compare
from firth.evaluate import folds as core
from firth.evaluate.comparison import Comparison, Trial
from firth.evaluate.folds import Folds, opened, refuse_answers, refuse_number
from firth.evaluate.statistics import mean_interval
from firth.recipe import Recipe, filled
from firth.task import TaskConfig

ITEMS, CLASSES = 10, ("no", "yes")
SHARES = {4: [0, 1, 2, 3], 5: [4, 5, 6], 6: [7, 8, 9]}  # seed → items
PLACES = {seed: np.array(places) for seed, places in SHARES.items()}
GOLD = np.array([0, 1] * 5)


def found(wrong: dict[str, dict[int, int]], **more) -> Comparison:
    """wrong: arm → seed → how many of its items, the first ones, it gets wrong."""
    trials = []
    for arm, seeds in wrong.items():
        for seed, number in seeds.items():
            said = GOLD[PLACES[seed]].copy()
            said[:number] = 1 - said[:number]
            trials.append(Trial(arm, 8, seed, said))
    titles = {arm: arm.title() for arm in wrong}
    return Comparison(titles, CLASSES, GOLD, trials, "pretrained", ["random"], [f"item {i}" for i in range(ITEMS)],
                      tested=PLACES, **more)  # fmt: skip


WRONG = {"random": {4: 2, 5: 1, 6: 2}, "pretrained": {4: 1, 5: 0, 6: 1}}


def test_the_accuracy_is_the_mean_of_the_folds_with_their_spread():
    comparison = found(WRONG)
    shares = [3 / 4, 1.0, 2 / 3]
    assert comparison.scores("pretrained", 8).tolist() == pytest.approx(shares)
    assert comparison.accuracy("pretrained", 8) == mean_interval(shares)


def test_the_difference_is_paired_by_fold():
    comparison = found(WRONG)
    expected = mean_interval([3 / 4 - 2 / 4, 1 - 2 / 3, 2 / 3 - 1 / 3])
    assert comparison.difference("pretrained", "random", 8) == pytest.approx(expected)
    assert comparison.verdict.startswith(
        "Pre-training pays here: +30.6 points over random at 8 labels (95 % interval +"
    )
    assert comparison.verdict.endswith(", 3 seeds).")
    fewer = found({"random": {4: 2, 5: 1}, "pretrained": WRONG["pretrained"]})
    assert fewer.difference("pretrained", "random", 8).seeds == 2


def test_of_a_few_items_in_all_folds_nothing_is_known():
    """A difference of a few folds with an item each is the same in all of them, and has no spread."""
    places = {seed: np.array([number]) for number, seed in enumerate((4, 5, 6))}
    said = {"random": 0, "pretrained": 1}
    trials = [Trial(arm, 8, seed, np.array([one])) for arm, one in said.items() for seed in places]
    few = Comparison(dict.fromkeys(said, ""), CLASSES, np.ones(3, int), trials, rivals=["random"], tested=places)
    difference = few.difference("pretrained", "random", 8)
    assert difference.mean == 1 and np.isnan([difference.low, difference.high]).all()


def test_every_item_is_in_the_confusion_once():
    matrix = found(WRONG).confusion("pretrained", 8)
    assert matrix.sum() == ITEMS and np.trace(matrix) == 8


def test_mistakes_are_those_of_the_fold_that_was_asked():
    assert [one[0] for one in found(WRONG).mistakes("pretrained", 8)] == ["item 0", "item 7"]
    partly = found({"random": {4: 0}, "pretrained": {4: 1}})
    assert [one[0] for one in partly.mistakes("pretrained", 8)] == ["item 0"]


def test_rates_of_units_are_over_the_units_of_the_fold():
    count = np.arange(1.0, 11.0)
    trial = Trial("pretrained", 8, 5, ["x"] * 3, right=np.array([5.0, 3.0, 0.0]))
    comparison = Comparison({"pretrained": "P"}, (), list("abcdefghij"), [trial], count=count, tested=PLACES)
    assert comparison.score(trial) == pytest.approx(8 / (5 + 6 + 7))


def test_its_page_is_written():
    from firth.report.comparison_page import content

    told = content(found(WRONG, facts={"notes": ["Each seed is a fold."]}))
    assert told["method"][-1] == "Each seed is a fold."


# ------------------------------------------------------------------ from labelled data


def labelled(speakers: str) -> Labelled:
    records = [Record(f"t{i}", CLASSES[i % 2], Where("d.tsv", i + 2), {"who": who}) for i, who in enumerate(speakers)]
    return Labelled(None, None, None, CLASSES, {"train": [], "valid": [], "test": records}, {}, [])


RECIPE = filled(Recipe(verb="adapt", objective=("classify",), seed=7), data={"paths": ("d.tsv",)})


@pytest.fixture
def parted(monkeypatch):
    monkeypatch.setattr(core, "whole_test", lambda *given: labelled("abcabcaab"))
    return lambda rule: opened(RECIPE, SimpleNamespace(), rule)


def test_each_group_is_a_fold_from_the_seed_on(parted):
    folds = parted("who")
    assert folds.groups == ("a", "b", "c") and list(folds.seeds) == [7, 8, 9]
    assert [folds.places[seed].tolist() for seed in folds.seeds] == [[0, 3, 6, 7], [1, 4, 8], [2, 5]]
    assert [one.text for one in folds.part(8).test] == ["t1", "t4", "t8"]
    assert len(folds.whole.test) == 9
    assert folds.recipe(RECIPE, 9).data.leave_out == "who=c" and RECIPE.data.leave_out is None


def test_named_groups_alone_are_left_out(parted):
    folds = parted("who=c,a")
    assert folds.groups == ("c", "a") and [one.text for one in folds.whole.test] == ["t0", "t2", "t3", "t5", "t6", "t7"]
    assert [one.text for one in folds.part(7).test] == ["t2", "t5"]
    assert folds.told().startswith("Each seed is a fold that leaves one `who` out (c, a): it is tested on its share")


def test_trials_of_another_first_seed_or_of_other_members_are_not_taken_for_these(parted, monkeypatch):
    """Seed 8 leaves out b where the first is 7, and a where it is 8; and a column may be filled in anew."""
    first, again = parted("who"), parted("who")
    assert first.mark == again.mark and first.groups == again.groups
    later = opened(RECIPE.model_copy(update={"seed": 8}), SimpleNamespace(), "who")
    monkeypatch.setattr(core, "whole_test", lambda *given: labelled("abcabcaac"))
    other = opened(RECIPE, SimpleNamespace(), "who")
    assert later.groups == other.groups == first.groups and len({first.mark, later.mark, other.mark}) == 3
    monkeypatch.setattr(compare, "mark_of_weights", str)
    monkeypatch.setattr(compare, "model_folder", str)
    asked, now = (compare.asked(RECIPE, (), False, folds) for folds in (first, later))
    assert {key for key in asked if asked[key] != now[key]} == {"left out"}


def test_trials_that_learnt_from_other_groups_are_not_taken_for_these(parted, monkeypatch):
    """With test files, what a fold learns from hangs on the groups of the training rows, too."""
    monkeypatch.setattr(compare, "mark_of_weights", str)
    monkeypatch.setattr(compare, "model_folder", str)
    tested = labelled("abcabcaab").records["test"]

    def asked(speakers: str) -> dict:
        parts = {"train": labelled(speakers).records["test"], "valid": [], "test": tested}
        rows = Rows(parts, CLASSES, TaskConfig(), None, Problems())
        return compare.asked(RECIPE, (), False, parted("who"), rows)

    first, again, other = asked("abc"), asked("abc"), asked("abd")
    assert first == again and first["content"] == other["content"]  # the texts and labels are the same
    assert {key for key in first if first[key] != other[key]} == {"left out"}


def test_one_group_and_a_crowd_are_refused():
    with pytest.raises(InputError) as caught:
        refuse_number(("ann",), Rule("who"), "who")
    assert str(caught.value) == (
        "--leave-out who: there is only ann. Leave it out with data.leave_out, or name a column."
    )
    crowd = tuple(f"s{number}" for number in range(core.MOST + 1))
    with pytest.raises(InputError) as caught:
        refuse_number(crowd, Rule("who"), "who")
    assert str(caught.value) == (
        "--leave-out who: there are 25, and each would be a training of every arm. "
        "Name at most 24: --leave-out who=s0,s1,s2."
    )


def test_labels_are_no_groups():
    with pytest.raises(InputError) as caught:
        refuse_answers(["no", "yes"], labelled("ab"), "label")
    assert str(caught.value) == (
        "--leave-out label: is what is to be said, and what is left out would never be learnt. Name another column."
    )
    refuse_answers(["a", "b"], labelled("ab"), "who")


def test_folds_are_what_they_are_made_of():
    folds = Folds(Rule("who"), ("a", "b"), 3, labelled("ab"), {3: np.array([0]), 4: np.array([1])})
    assert [folds.part(seed).gold.tolist() for seed in folds.seeds] == [[0], [1]]
