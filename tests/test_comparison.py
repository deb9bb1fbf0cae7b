"""What follows from trials: intervals, curves, sentences, JSON; with arms whose truth is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from firth.evaluate.comparison import Comparison, Point, Trial
from firth.evaluate.statistics import paired_difference
from tests.comparisons import RATES, TITLES, comparison


def test_accuracy_of_each_arm_is_near_its_rate():
    found = comparison(seeds=5, items=2000)
    for arm, rate in RATES.items():
        assert found.accuracy(arm, 200).mean == pytest.approx(rate, abs=0.04)


def test_the_verdict_holds_the_main_arm_against_random_initialisation():
    found = comparison(seeds=5)
    difference = found.difference("pretrained", "random", 200)
    assert difference == paired_difference(found.right("pretrained", 200), found.right("random", 200))
    assert difference.above_zero
    assert found.verdict.startswith("Pre-training pays here: +")
    assert "over random initialisation at 200 labels (95 % interval +" in found.verdict
    assert len(found.sentences) == 2
    assert found.sentences[1].startswith("Pre-trained against TF-IDF + logistic regression at 200 labels: +")


def test_equal_arms_are_not_shown_to_differ():
    same = dict.fromkeys(RATES, 0.62)
    assert comparison(seeds=5, rates=same).verdict.startswith("Not shown that pre-training pays here")


def test_two_seeds_give_no_verdict():
    found = comparison(seeds=2)
    assert found.verdict.startswith("No verdict: 2 seeds are too few")
    assert all("no verdict" in sentence for sentence in found.sentences)


def test_a_rival_without_trials_is_not_mentioned():
    found = comparison(arms=("random", "pretrained"))
    assert found.compared == ["random"]
    assert found.sentences == []


def test_pairs_are_made_by_seed_whatever_the_order_of_trials():
    found = comparison()
    mixed = Comparison(TITLES, found.classes, found.gold, list(reversed(found.trials)))
    assert mixed.difference("pretrained", "random", 200) == found.difference("pretrained", "random", 200)


def test_only_seeds_that_both_arms_have_are_paired():
    found = comparison(seeds=4)
    fewer = [t for t in found.trials if not (t.arm == "random" and t.seed == 0)]
    assert Comparison(TITLES, found.classes, found.gold, fewer).difference("pretrained", "random", 200).seeds == 3


def test_mean_curve_starts_at_step_zero_and_averages_common_steps():
    gold = np.array([0, 1])
    first = Trial("pretrained", 10, 0, gold, (Point(0, 1.0, 0.5), Point(5, 0.5, 0.7), Point(9, 0.1, 0.9)))
    second = Trial("pretrained", 10, 1, gold, (Point(0, 0.8, 0.4), Point(5, 0.3, 0.9)))
    found = Comparison(TITLES, ("a", "b"), gold, [first, second])
    assert found.mean_curve("pretrained", 10) == [
        Point(0, pytest.approx(0.9), pytest.approx(0.45)),
        Point(5, pytest.approx(0.4), pytest.approx(0.8)),
    ]


def test_the_area_is_the_mean_loss_on_the_way_and_baselines_have_none():
    found = comparison()
    assert found.area("pretrained", 200).mean == pytest.approx(0.69 - 0.25 / 2)
    assert found.area("tf-idf", 200) is None


def test_lower_throughout_follows_from_the_curves():
    found = comparison()
    assert found.lower_throughout("pretrained", "random", 200) is True
    assert found.lower_throughout("random", "pretrained", 200) is False
    assert found.lower_throughout("pretrained", "tf-idf", 200) is None


def test_where_arms_begin_and_how_soon_one_is_as_good_as_the_other():
    found = comparison(seeds=2)
    assert found.opening("pretrained", 200).mean == pytest.approx(0.7 - RATES["pretrained"] / 10)
    assert found.opening("tf-idf", 200) is None and found.best("tf-idf", 200) is None
    assert found.best("random", 200)[:2] == (100, pytest.approx(0.59))
    assert found.reaches("pretrained", "random", 200) == 40  # 0.69 - 0.25 * 40 / 100 = 0.59
    assert found.reaches("random", "pretrained", 200) is None
    assert found.reaches("pretrained", "tf-idf", 200) is None
    told = found.as_dict()
    assert told["arms"][2]["opening_loss"] == pytest.approx(0.625) and told["arms"][3]["opening_loss"] is None
    assert told["arms"][0]["lowest_loss"] == [100, pytest.approx(0.59)]
    assert told["differences"][0]["steps_to_its_lowest_loss"] == 40


def test_confusion_sums_seeds_as_scikit_learn_counts():
    found = comparison()
    expected = sum(confusion_matrix(found.gold, trial.predicted) for trial in found.of("random", 200))
    assert (found.confusion("random", 200) == expected).all()


def test_mistakes_are_what_all_seeds_get_wrong_alike():
    found = comparison()
    wrong = ~found.right("pretrained", 200).any(0)
    mistakes = found.mistakes("pretrained", 200, most=5)
    assert len(mistakes) == 5
    for text, gold, predicted in mistakes:
        place = int(text.rsplit(" ", 1)[1])
        assert wrong[place] and gold != predicted and gold == found.classes[found.gold[place]]


def test_json_is_plain_and_complete(tmp_path):
    found = comparison(budgets=(50, 200), facts={"seed": 3})
    kept = json.loads(found.save(tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert kept["kind"] == "comparison" and kept["verdict"] == found.verdict
    assert kept["budgets"] == [50, 200] and kept["seeds"] == [0, 1, 2]
    assert len(kept["arms"]) == 8 and len(kept["differences"]) == 6
    assert {curve["arm"] for curve in kept["curves"]} == {"random", "co-occurrence", "pretrained"}
    assert kept["curves"][0]["steps"][0] == 0
    assert kept["facts"] == {"seed": 3}


def test_another_model_is_no_proof_that_pre_training_pays():
    """The verdict says who is better; that pre-training pays is said over what was not pre-trained."""
    names = {"pretrained": "mask_rate=0.15", "random": "mask_rate=0.4"}
    found = comparison(seeds=5, items=1000, arms=("pretrained", "random"))
    trials = [replace(one, arm="mask_rate=0.4") if one.arm == "random" else one for one in found.trials]
    titles = {"pretrained": "mask_rate=0.15", "mask_rate=0.4": "mask_rate=0.4"}
    other = Comparison(titles, found.classes, found.gold, trials, rivals=["mask_rate=0.4"])
    assert other.verdict.startswith("mask_rate=0.15 against mask_rate=0.4 at 200 labels: +")
    assert ", better (95 % interval +" in other.verdict and "pays" not in other.verdict
    same = Comparison(names, found.classes, found.gold, found.trials, rivals=["random"])
    assert same.verdict.startswith("Pre-training pays here: ")


def test_another_way_to_read_the_same_model_is_no_proof_either():
    found = comparison(seeds=5, items=1000, arms=("pretrained", "random"))
    trials = [replace(one, arm="neighbours" if one.arm == "random" else "linear") for one in found.trials]
    titles = {"linear": "Linear", "neighbours": "Neighbours"}
    other = Comparison(titles, found.classes, found.gold, trials, "linear", rivals=["neighbours"])
    assert other.verdict.startswith("Linear against Neighbours at 200 labels: +") and "pays" not in other.verdict


def test_one_seed_has_no_interval_in_json():
    assert comparison(seeds=1).as_dict()["differences"][0]["interval"] == [None, None]
