"""The comparison itself: equal data for all arms, arms in turn, common test part; with fakes, then once for real."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.data.records import Record, Where
from firth.errors import InputError
from firth.evaluate import arms, compare
from firth.evaluate.arms import Classical, Drawn, Neural, arms_of, changed, point, title
from firth.evaluate.comparison import Trial
from firth.find import find
from firth.recipe import Recipe, filled
from firth.train.log import Recorded
from firth.train.pretrain import pretrain
from tests import runs
from tests.material import write_corpus, write_labels

ADAPT = Recipe(verb="adapt", objective=("classify",))
CLASSES = ("negative", "positive")


def record(label, text="a text"):
    return Record(text, label, Where("labels.tsv", 1))


def labelled(test=("positive", "negative", "positive"), keys=(1, 2, 3)):
    records = {"train": [record("positive", "good"), record("negative", "bad")], "valid": [record("positive", "fine")]}
    records["test"] = [record(label, f"text {i}") for i, label in enumerate(test)]
    samples = SimpleNamespace(samples=[SimpleNamespace(key=key) for key in keys])
    task = find("tasks", "classify").Config(classes=CLASSES)
    return SimpleNamespace(classes=CLASSES, records=records, test=samples, facts={}, task=task, by_class=False)


# ------------------------------------------------------------------ pieces


def test_arms_are_found_by_name():
    found = arms_of(arms.default("classify"), ADAPT, signal=None)
    assert list(found) == ["random", "co-occurrence", "pretrained", "tf-idf"]
    assert isinstance(found["tf-idf"], Classical) and isinstance(found["random"], Neural)
    assert [title(name) for name in found] == [
        "Random initialisation",
        "Co-occurrence start alone",
        "Pre-trained",
        "TF-IDF + logistic regression",
    ]


def test_an_unknown_arm_is_named():
    with pytest.raises(InputError) as caught:
        arms_of(["pretraind"], ADAPT, signal=None)
    assert str(caught.value) == (
        "arm `pretraind`: no such arm. Did you mean `pretrained`? There is: random, pretrained, co-occurrence, tf-idf, "
        "linear, linear-random, neighbours, neighbours-random."
    )


def test_the_baseline_gets_all_labels_and_only_those():
    seen = {}

    def learn(given, test, seed):
        seen.update(given=[(one.text, one.label) for one in given], test=[one.text for one in test], seed=seed)
        return ["negative", "negative", "positive"]

    trial = Classical("tf-idf", learn)(Drawn(3, 7, labelled()))
    assert seen == {
        "given": [("good", "positive"), ("bad", "negative"), ("fine", "positive")],
        "test": ["text 0", "text 1", "text 2"],
        "seed": 7,
    }
    assert (trial.arm, trial.labels, trial.seed, trial.curve) == ("tf-idf", 3, 7, ())
    assert trial.predicted.tolist() == [0, 0, 1]


def test_a_point_takes_loss_and_accuracy():
    assert point(3, {"loss": 0.5, "classify": 0.5, "classify_accuracy": 0.8}) == (3, 0.5, 0.8)
    assert np.isnan(point(3, {"loss": 0.5}).accuracy)


def test_only_what_a_start_writes_is_kept():
    before = {"a": torch.zeros(2), "b": torch.ones(2)}
    after = {"a": torch.zeros(2), "b": torch.full((2,), 3.0)}
    kept = changed(before, after)
    assert list(kept) == ["b"] and kept["b"].tolist() == [3.0, 3.0]


# ------------------------------------------------------------------ the order of things


def fake_arm(name, calls):
    def arm(drawn):
        calls.append((name, drawn.labels, drawn.seed))
        return Trial(name, drawn.labels, drawn.seed, np.array([1, 0, 1]), (), 0.5)

    return arm


def test_every_arm_sees_every_draw_in_turn():
    calls, show = [], Recorded()
    drawn = [Drawn(10, seed, labelled()) for seed in (4, 5)]
    trials, last = compare.run_trials({"random": fake_arm("random", calls), "x": fake_arm("x", calls)}, drawn, show)
    assert calls == [("random", 10, 4), ("x", 10, 4), ("random", 10, 5), ("x", 10, 5)]
    assert len(trials) == 4 and last.seed == 5
    assert show.lines[0] == "Trial    Random initialisation · 10 labels · seed 4 · test accuracy 100.0 % · 0.5 s"


@pytest.mark.parametrize(
    ("labels", "text"), [(1, "1 label a class"), (10, "10 labels a class"), (600, "all 600 labels")]
)
def test_a_trial_says_whether_its_labels_are_those_of_each_class(labels, text):
    few = labelled()
    few.by_class = True
    told = compare.described(fake_arm("random", [])(Drawn(labels, 0, few)), Drawn(1, 0, few, whole=600))
    assert told == f"Random initialisation · {text} · seed 0 · test accuracy 100.0 % · 0.5 s"


def test_nothing_drawn_is_a_mistake():
    with pytest.raises(ValueError, match="Give at least one seed"):
        compare.run_trials({}, [], Recorded())


@pytest.mark.parametrize(
    ("labels", "seeds", "message"),
    [
        ((), 3, "labels: no number of labels was given. Say how many, as in labels=(200,)."),
        ((10,), 0, "seeds = 0: nothing would be trained. Use at least 3 for a verdict."),
    ],
)
def test_nothing_to_compare_is_refused(labels, seeds, message):
    with pytest.raises(InputError) as caught:
        compare.check(labels, seeds)
    assert str(caught.value) == message


def test_arms_keep_their_last_weights_unless_asked(tmp_path):
    recipe = compare.recipe_of("model", ["x.tsv"], "classify", 3, None, ["train.steps=7"])
    assert recipe.train.patience == 0 and recipe.train.steps == 7
    assert recipe.seed == 3 and recipe.model.start == "random"
    assert compare.recipe_of("model", ["x.tsv"], "classify", 0, None, ["train.patience=2"]).train.patience == 2


def test_the_recipes_of_arms_differ_in_the_start_alone():
    base = filled(Recipe(verb="adapt", objective=("classify",)), model={"source": "m"})
    drawn = Drawn(50, 9, labelled())
    one, two = (Neural(name, base, None).recipe_for(drawn) for name in ("random", "pretrained"))
    assert one.seed == two.seed == 9 and one.data.labels == 50
    assert filled(one, model={"start": "pretrained"}) == two


def test_without_a_test_part_there_is_no_comparison(monkeypatch):
    monkeypatch.setattr(compare, "draw_labelled", lambda *args: SimpleNamespace(test=None))
    rows = SimpleNamespace(records={"train": []})
    with pytest.raises(InputError) as caught:
        compare.open_part(filled(ADAPT, data={"paths": ("a.tsv",)}), None, 10, 0, rows)
    assert str(caught.value) == "a.tsv: leaves nothing to test on. Give a test file: --test FILE."


@pytest.fixture
def reviews(monkeypatch):
    """The labelled reviews as work without arms, and how often files are read."""
    reads, real = [], compare.read_labelled
    monkeypatch.setattr(compare, "read_labelled", lambda *args, **kwargs: reads.append(1) or real(*args, **kwargs))
    recipe = compare.recipe_of(
        str(runs.folder() / "pretrained"), [str(runs.folder() / "reviews.tsv")], "classify", 0, None, ()
    )
    return compare.Work(recipe, compare.adaptation.open_signal(recipe), {}, False), reads


def test_labelled_files_are_read_once_and_the_test_part_encoded_once(reviews):
    work, reads = reviews
    one, other, again = (work.drawn(*draw) for draw in ((20, 0), (40, 1), (20, 0)))
    assert reads == [1] and one.labelled.test is other.labelled.test
    assert [len(one.given), len(other.given)] == [20, 40] and one.given == again.given
    alone = compare.open_part(work.recipe, work.signal, 40, 1)
    assert alone.records == other.labelled.records and alone.facts == other.labelled.facts
    for part in ("train", "valid", "test"):
        ours, theirs = (getattr(found, part).samples for found in (other.labelled, alone))
        assert [sample.key for sample in ours] == [sample.key for sample in theirs]


@pytest.mark.parametrize(("enough", "labels"), [(96, [96]), (97, [None])])
def test_where_nobody_says_how_many_labels_it_is_all_that_are_left_at_most(reviews, monkeypatch, enough, labels):
    work, reads = reviews
    monkeypatch.setattr(compare, "LABELS", enough)
    assert work.usual() == labels and work.count() == 96 and reads == [1]
    assert work.rows.tested is None  # nothing was encoded


def test_the_fold_with_the_fewest_labels_decides_what_is_usual(reviews, monkeypatch):
    work, _ = reviews
    monkeypatch.setattr(compare.Work, "left", lambda self, seed: {0: 300, 1: 150}[seed])
    work.folds = SimpleNamespace(seeds=range(2))
    assert compare.LABELS == 200 and work.usual() == [None]


def test_a_draw_finds_nothing_that_another_has_found(reviews):
    work, _ = reviews
    assert work.drawn(20, 0).labelled.findings == work.drawn(20, 1).labelled.findings


# ------------------------------------------------------------------ once for real, tiny


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    import os

    folder = tmp_path_factory.mktemp("compare")
    os.environ["FIRTH_CACHE"] = str(folder / "cache")
    torch.set_num_threads(1)
    corpus, labels = write_corpus(folder, 120), write_labels(folder, 120)
    settings = {"text.vocabulary": 200, "text.context": 32, "train.steps": 4, "train.batch": 4, "data.held_out": 0.1}
    model = pretrain(corpus, size="1x32", out=folder / "run", settings=settings).folder
    few = {"train.steps": 4, "train.batch": 4, "train.evaluate_every": 2}
    return compare.compare(model, labels, labels=(20,), seeds=2, settings=few), model, labels


def test_a_real_comparison_has_a_trial_for_each_arm_and_seed(found):
    comparison, _, _ = found
    assert sorted({trial.arm for trial in comparison.trials}) == ["co-occurrence", "pretrained", "random", "tf-idf"]
    assert len(comparison.trials) == 8
    assert comparison.verdict.startswith("No verdict: 2 seeds are too few")
    assert len(comparison.gold) == len(comparison.inputs) == 24


def test_neural_arms_have_equal_steps_with_step_zero(found):
    comparison, _, _ = found
    for trial in comparison.trials:
        steps = [point.step for point in trial.curve]
        assert steps == ([] if trial.arm == "tf-idf" else [0, 2, 4])


def test_every_arm_begins_near_the_loss_of_knowing_nothing_and_then_they_part(found):
    comparison, _, _ = found
    neural = [trial for trial in comparison.trials if trial.curve]
    assert [trial.curve[0].loss for trial in neural] == pytest.approx([math.log(2)] * 6, abs=0.05)
    assert len({trial.curve[-1].loss for trial in neural}) == 6


def test_the_first_losses_are_kept(found):
    comparison, _, _ = found
    for trial in comparison.trials:
        assert trial.opening is None if trial.arm == "tf-idf" else abs(trial.opening - math.log(2)) < 0.1


def test_facts_are_told(found):
    comparison, _, _ = found
    assert comparison.facts["settings"]["steps"] == 4
    assert set(comparison.facts["cost"]) == {"co-occurrence start", "comparing"}
    assert comparison.facts["data"]["examples"]["train"] == 16
    assert comparison.facts["data"]["examples"]["valid"] == 4


def test_the_same_call_gives_the_same_numbers(found):
    comparison, model, labels = found
    few = {"train.steps": 4, "train.batch": 4, "train.evaluate_every": 2}
    again = compare.compare(model, labels, labels=(20,), seeds=1, arms=("pretrained",), settings=few)
    before = comparison.of("pretrained", 20)[0]
    assert (again.trials[0].predicted == before.predicted).all()
    assert again.trials[0].curve == before.curve


# ------------------------------------------------------------------ further models


def test_further_models_are_arms_named_by_their_folders_with_their_own_tokenizers():
    models = [runs.adapted(), runs.folder() / "pretrained", runs.folder() / "pretrained" / "model"]
    recipe = compare.recipe_of(models[1], [runs.folder() / "reviews.tsv"], "classify", 0, None, None)
    found = arms.others(models, recipe, Recorded())
    assert list(found) == ["adapted", "pretrained-2", "pretrained-3"]
    for model, (name, arm) in zip(models, found.items(), strict=True):
        assert isinstance(arm, Neural) and (arm.arm, arm.name, arm.encodes) == (name, "pretrained", True)
        assert arm.recipe.model.source == str(model)
        assert title(name) == name
    first, second = (arm.signal for arm in list(found.values())[:2])
    assert first is not second and first.facts.vocabulary == second.facts.vocabulary


def test_a_model_that_is_not_there_is_named_before_anything_is_trained(tmp_path):
    recipe = compare.recipe_of(runs.adapted(), [runs.folder() / "reviews.tsv"], "classify", 0, None, None)
    with pytest.raises(InputError) as caught:
        arms.others([tmp_path / "nowhere"], recipe, Recorded())
    assert str(caught.value).startswith(f"{tmp_path / 'nowhere'}: no such folder.")


def test_fewer_labels_than_were_asked_for_are_refused():
    parts = {"train": [record("positive")] * 8, "valid": [record("negative")] * 2, "test": [record("negative")] * 5}
    told = SimpleNamespace(records=parts)
    compare.refuse_fewer(told, 10)
    with pytest.raises(InputError) as caught:
        compare.refuse_fewer(told, 11)
    assert str(caught.value) == (
        "--labels 11: only 10 labelled examples are left beside a test part of 5. "
        "Say `--labels 10` or `--labels all`, or give `--test FILE`."
    )
