"""Vectors along the way: what is read of them, and when an alarm is raised, told and taken back."""

import numpy as np
import pytest
import torch
from torch import nn

from firth.data.source import ListSource
from firth.functional import collapse
from firth.functional.neighbours import neighbour_accuracy
from firth.model.batch_norm import statistics_of_the_batch
from firth.objective import Objective, ObjectiveConfig
from firth.train import watch as watching
from firth.train.watch import LEFT, MANY, Alarm, Watch, fallen, said
from tests.digit_pictures import Pictures, composed, source

BEFORE = {"rank": 30.0, "spread": 0.6, "deviation": 0.3, "uniformity": -3.0}
BEFORE |= {"compared_rank": 12.0, "compared_spread": 0.5, "compared_deviation": 0.2}


class Config(ObjectiveConfig):
    def blamed(self):
        return "toy.rate = 9 is too much", "Set toy.rate=1."


class Comparing(Objective):
    Config = Config
    collapses = many_directions = True

    def __init__(self, config, backbone):
        super().__init__(config, backbone)
        self.projector = nn.Linear(backbone.shape.width, 5)

    def compared(self, features):
        return self.projector(features.pooled)


class Pooling(Objective):
    vectors = True


class Seeing(Pooling):
    """Whose second view is another vector."""

    def twins(self, batch):
        vectors = self.encode(batch).pooled
        return vectors, 1 - vectors


class Blind(Objective):
    pass


def opened(objective=Comparing, labelled=True, held_out=64):
    model = composed(objective)
    bank, tested = source(0, 200, labelled), source(200, 200 + held_out, labelled)
    return Watch(model, Pictures(), bank, tested, seed=0, device="cpu")


# ------------------------------------------------------------------ what is read


def by_hand(found):
    """Vectors of the held-out samples and of the bank in evaluation mode, and with statistics of the batch."""
    found.objective.eval()
    with torch.no_grad():
        tested, known = (found.objective.encode(Pictures().stack(part)).pooled for part in (found.held_out, found.bank))
        with statistics_of_the_batch(found.objective):
            vectors = found.objective.encode(Pictures().stack(found.held_out)).pooled
    found.objective.train()
    return tested, known, vectors


def test_a_reading_is_of_the_held_out_samples_and_of_what_the_loss_compares():
    found = opened()
    reading, (tested, known, vectors) = found.read(0), by_hand(found)
    compared = found.objective.objectives[0].projector(vectors).detach()
    gold, labels = (torch.tensor([one.label for one in part]) for part in (found.held_out, found.bank))
    expected = {}
    for prefix, some in (("", vectors), ("compared_", compared)):
        expected[f"{prefix}rank"] = pytest.approx(collapse.effective_rank(some), rel=1e-4)
        expected[f"{prefix}spread"] = pytest.approx(collapse.spread(some), rel=1e-4)
        expected[f"{prefix}deviation"] = pytest.approx(some.numpy().std(0).mean(), rel=1e-4)
        expected[f"{prefix}uniformity"] = pytest.approx(collapse.uniformity(some), rel=1e-4)
    assert reading == expected | {"neighbour_accuracy": neighbour_accuracy(known, labels, tested, gold)}
    assert found.history == [(0, reading)]


def test_views_are_aligned_by_the_vectors_of_two_of_each_sample():
    found = opened(Seeing)
    vectors = by_hand(found)[2]
    assert found.read(0)["alignment"] == pytest.approx(collapse.alignment(vectors, 1 - vectors), rel=1e-4)
    assert "alignment" not in opened().read(0)


def test_without_labels_no_neighbours_vote():
    assert "neighbour_accuracy" not in opened(labelled=False).read(0)


def test_samples_without_a_label_neither_vote_nor_are_asked():
    model, held = composed(Comparing), source(200, 264)
    some = [one.but(label=-1) if i % 3 else one for i, one in enumerate(source(0, 200).samples)]
    found = Watch(model, Pictures(), ListSource(some, np.ones(200, int)), held, seed=0, device="cpu")
    assert len(found.bank) == 67 and 0 <= found.read(0)["neighbour_accuracy"] <= 1
    none = ListSource([one.but(label=-1) for one in held.samples], np.ones(64, int))
    assert "neighbour_accuracy" not in Watch(model, Pictures(), source(0, 50), none, 0, "cpu").read(0)


def test_an_objective_that_is_after_vectors_is_read_and_never_raises_an_alarm():
    found = opened(Pooling)
    assert set(found.read(0)) == {"rank", "spread", "deviation", "uniformity", "neighbour_accuracy"}
    found.history.append((5, {"rank": 1.0, "spread": 0.0}))
    assert found.alarm is None and not found.collapsed


def test_other_objectives_are_left_alone():
    found = opened(Blind)
    assert found.read(0) == {} and found.history == [] and found.held_out == [] and found.alarm is None


def test_one_held_out_sample_says_nothing():
    assert opened(held_out=1).read(0) == {}


def test_reading_changes_nothing():
    found = opened()
    found.objective.train()
    before, state = {k: v.clone() for k, v in found.objective.state_dict().items()}, torch.get_rng_state()
    assert any("running_mean" in name for name in before)
    assert found.read(0) == found.read(0)
    assert all(found.objective.state_dict()[name].equal(value) for name, value in before.items())
    assert torch.get_rng_state().equal(state) and all(module.training for module in found.objective.modules())


def test_numbers_that_are_none_are_no_error():
    vectors = torch.full((9, 4), float("nan"))
    assert watching.measures(vectors)["spread"] == 0
    vectors[0] = torch.tensor([1.0, 2.0, float("inf"), 3.0])
    assert watching.measures(vectors)["rank"] == pytest.approx(1, abs=1e-4)


def test_several_ranks_are_not_watched(monkeypatch):
    """A batch norm would wait for sums of ranks that do not read."""
    monkeypatch.setattr(watching.distributed, "world", lambda: 2)
    assert opened().read(0) == {}


def test_large_samples_are_taken_in_smaller_numbers(monkeypatch):
    monkeypatch.setattr(watching, "ROOM", 64 * 10)
    assert len(watching.taken(source(0, 100), 50, 0)) == 10
    monkeypatch.setattr(watching, "ROOM", 1)
    assert len(watching.taken(source(0, 100), 50, 0)) == 2


# ------------------------------------------------------------------ the alarm


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, []),
        ({"rank": 300.0, "spread": 0.99}, []),
        ({"rank": 6.0, "spread": 0.2, "compared_rank": 3.0, "compared_deviation": 0.06}, []),
        ({"rank": 1.5}, ["rank"]),
        ({"compared_deviation": 0.01}, ["compared_deviation"]),
        ({"spread": 0.01}, ["spread"]),
        ({"compared_spread": 0.001, "compared_rank": 1.01}, ["compared_rank", "compared_spread"]),
        ({"uniformity": -0.01}, []),
    ],
)
def test_what_falls_to_a_small_share_is_named(change, names):
    assert fallen(BEFORE, BEFORE | change, LEFT | {"rank": MANY}) == names


def test_the_alarm_says_step_what_cause_and_remedy():
    found = opened()
    found.history = [(0, BEFORE), (40, BEFORE), (80, BEFORE | {"spread": 0.004}), (120, BEFORE | {"rank": 1.0})]
    what = "spread of the vectors 0.004 (0.6 before the first step)"
    assert found.alarm == Alarm(80, what, "toy.rate = 9 is too much", "Set toy.rate=1.")
    assert str(found.alarm) == (
        "step 80: collapse: spread of the vectors 0.004 (0.6 before the first step). "
        "Likely cause: toy.rate = 9 is too much. Set toy.rate=1."
    )
    assert found.collapsed


def test_a_run_that_recovers_was_warned_of_and_is_not_collapsed():
    found = opened()
    found.history = [(0, BEFORE), (40, BEFORE | {"compared_rank": 1.2}), (80, BEFORE)]
    assert found.alarm is not None and found.alarm.step == 40 and not found.collapsed
    assert found.alarm.what == "rank of the vectors that the loss compares 1.2 (12 before the first step)"


def test_few_directions_are_a_collapse_only_where_the_loss_drives_vectors_into_many(monkeypatch):
    found = opened()
    found.history = [(0, BEFORE), (40, BEFORE | {"rank": 3.0})]
    assert found.collapsed
    monkeypatch.setattr(Comparing, "many_directions", False)
    assert not found.collapsed
    found.history.append((80, BEFORE | {"rank": 1.5}))  # but one is, always
    assert found.alarm is not None and found.alarm.step == 80


def test_equal_vectors_raise_it_whatever_there_was_before():
    found = opened()
    found.read(0)
    with torch.no_grad():
        for parameter in found.objective.objectives[0].projector.parameters():
            parameter.mul_(0 if parameter.dim() > 1 else 1).add_(parameter.dim() == 1)
    found.read(10)
    assert found.alarm is not None and found.alarm.step == 10
    assert "vectors that the loss compares" in found.alarm.what


def test_objectives_have_a_general_word_of_advice():
    cause, do = ObjectiveConfig().blamed()
    assert cause and do.endswith(".")


def test_readings_are_told_in_a_line():
    assert said({"rank": 31.24, "spread": 0.841}) == "rank 31.2 · spread 0.84"
    assert said(BEFORE | {"neighbour_accuracy": 0.613}) == "rank 30.0 · spread 0.60 · nearest neighbours 61.3 % right"
