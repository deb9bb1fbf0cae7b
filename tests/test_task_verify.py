"""Verify: vectors that tell speakers apart, pairs and their equal error rate, trials, refusals."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from firth.data.media_inputs import Input
from firth.errors import InputError
from firth.evaluate.statistics import bootstrap_variance
from firth.find import find
from firth.functional.random import Draw, permute
from firth.functional.verification import cosines, equal_error
from firth.task import Example, Where
from tests import tones

verify = find("tasks", "verify")


def config(**own):
    return verify.Config(**{"dropout": 0.0, "vector": 16, "classes": tones.SPEAKERS, **own})


def examples(count: int = 18, seed: int = 0) -> list[Example]:
    return [tones.example(name, tones.speaker_of(name)) for name in tones.names(count, seed)]


def made(**own):
    return tones.composed("verify", verify.Verify, config(**own))


@pytest.fixture(scope="module")
def learnt():
    objective = made()
    losses = tones.learn(objective, examples(30), steps=60)
    assert losses[-1] < 0.3 * losses[0]
    return objective.eval()


def batch_of(rows, objective):
    own = objective.objectives[0].config
    return own.prepare(tones.SIGNAL.stack(own.samples(rows, tones.SIGNAL)), Draw(0))


# ------------------------------------------------------------------ the loss


def test_the_loss_is_the_cross_entropy_of_cosines_with_a_margin():
    objective, rows = made().double(), examples(5)
    batch, part = batch_of(rows, objective), objective.parts["verify"]
    loss = objective(batch)
    vectors = part.vector(part.encode(batch))
    nats = 0.0
    for vector, label in zip(vectors, batch["label"].tolist(), strict=True):
        cosine = normalize(part.speakers.weight, dim=-1) @ normalize(vector, dim=0)
        cosine[label] = cosine[label] - 0.2
        nats -= (30 * cosine).log_softmax(0)[label].item()
    assert loss.terms["verify"].sum.item() == pytest.approx(nats, rel=1e-9)
    assert loss.terms["verify"].count == batch.counts["verify"] == 5


def test_a_speaker_that_is_not_learnt_counts_for_nothing():
    objective = made().double()
    rows = [*examples(4), tones.example("abc@dot#7", "dot")]
    batch = batch_of(rows, objective)
    assert batch["label"].tolist()[-1] == verify.UNKNOWN and batch.counts["verify"] == 4
    alone = objective(batch_of(rows[:4], objective)).terms["verify"].sum.item()
    assert objective(batch).terms["verify"].sum.item() == pytest.approx(alone, rel=1e-9)


def test_mean_and_deviation_are_those_of_the_steps_that_are_there():
    objective = made()
    rows = [tones.example("ab@ann#1", "ann"), tones.example("abcdeabc@bob#2", "bob")]
    features = objective.encode(batch_of(rows, objective))
    found = features.statistics
    for row, one in enumerate(rows):
        steps = features.values[row, : len(tones.frames(one.text))]
        torch.testing.assert_close(found[row, : tones.WIDTH], steps.mean(0))
        torch.testing.assert_close(found[row, tones.WIDTH :], (steps.var(0, correction=0) + 1e-5).sqrt())


# ------------------------------------------------------------------ pairs


def test_speakers_of_new_clips_are_told_apart(learnt):
    rows = examples(15, seed=6)
    found = verify.evaluate(learnt, tones.SIGNAL, rows)
    assert found.figures["eer"] < 0.1 and found.figures["balanced_accuracy"] > 0.9
    assert found.figures["items"] == 15 * 14 / 2 and found.figures["speakers"] == 3 and found.figures["clips"] == 15
    assert found.right.mean() == pytest.approx(found.figures["balanced_accuracy"])


def test_the_figure_is_the_equal_error_rate_over_all_pairs():
    source = np.random.default_rng(0)
    rows, vectors = examples(12), source.normal(size=(12, 4))
    found = verify.judged(config(), rows, vectors)
    first, second = np.triu_indices(12, 1)
    same = np.array([rows[i].label == rows[j].label for i, j in zip(first, second, strict=True)])
    expected = equal_error(cosines(vectors, first, second), same)
    assert found.figures["eer"] == pytest.approx(expected.rate)
    assert 1 - found.figures["balanced_accuracy"] == pytest.approx(expected.rate, abs=0.06)
    assert {one["gold"] for one in found.wrong} == {"same", "different"}
    assert all(one["gold"] != one["predicted"] for one in found.wrong)


def test_the_variance_of_a_mean_over_pairs_is_not_told_too_small():
    """Clips heard well or badly: the spread of the score over 200 draws of them, and that which a draw tells."""
    source, scores, told = np.random.default_rng(1), [], []
    labels = [f"s{number % 20}" for number in range(60)]
    rows = [one._replace(label=label) for one, label in zip(examples(60), labels, strict=True)]
    for _ in range(200):
        voices = source.normal(size=(20, 6))
        noise = source.choice([0.2, 1.5], size=(60, 1)) * source.normal(size=(60, 6))
        found = verify.judged(config(), rows, np.tile(voices, (3, 1)) + noise)
        scores.append(found.right.mean())
        told.append(bootstrap_variance(found.right))
    assert 0.8 < np.sqrt(np.mean(told)) / np.std(scores) < 2


def test_of_many_pairs_some_are_drawn_of_both_kinds_alike():
    labels = ["ann"] * 40 + ["bob"] * 40
    everything, some = verify.trials(labels, 10_000), verify.trials(labels, 100)
    assert len(everything.same) == 80 * 79 / 2
    assert some.same.sum() == 50 and len(some.same) == 100
    assert (some.first < some.second).all() and len({*zip(some.first, some.second, strict=True)}) == 100


def plain_trials(labels, most):
    """All pairs first, then some of them."""
    first, second = np.triu_indices(len(labels), 1)
    same = np.array(labels)[first] == np.array(labels)[second]
    kept = []
    for kind in (True, False):
        places = np.flatnonzero(same == kind)
        few = len(places) <= most // 2
        kept.append(places if few else places[permute(np.arange(most // 2), len(places), 0, 0)])
    chosen = np.sort(np.concatenate(kept))
    return first[chosen], second[chosen], same[chosen]


@pytest.mark.parametrize(
    ("clips", "speakers", "most"),
    [(1, 1, 4), (2, 2, 4), (9, 1, 6), (12, 3, 1000), (12, 3, 10), (90, 7, 60), (90, 80, 8)],
)
def test_pairs_are_those_drawn_from_all_of_them(clips, speakers, most):
    labels = [f"s{number}" for number in np.random.default_rng(clips).integers(0, speakers, clips)]
    for found, wanted in zip(verify.trials(labels, most), plain_trials(labels, most), strict=True):
        assert found.tolist() == wanted.tolist()


def test_pairs_of_many_clips_take_little_memory():
    """50,000 clips have 1.2 thousand million pairs."""
    labels = [f"s{number}" for number in np.random.default_rng(0).integers(0, 500, 50_000)]
    tracemalloc.start()
    found = verify.trials(labels, 20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.same) == 20_000 and found.same.sum() == 10_000 and peak < 50e6
    names = np.array(labels)
    assert ((names[found.first] == names[found.second]) == found.same).all()
    assert (found.first < found.second).all() and len({*zip(found.first, found.second, strict=True)}) == 20_000


def test_a_pair_is_scored_by_the_cosine_whatever_its_company(learnt):
    pairs = [("abc@ann#90", "de@ann#91"), ("abc@ann#90", "de@bob#92")]
    same, different = verify.predict(learnt, tones.SIGNAL, pairs)
    assert same.score > different.score and same.same is None
    assert same.text == "abc@ann#90 | de@ann#91"
    [alone] = verify.predict(learnt, tones.SIGNAL, ["abc@ann#90 | de@bob#92"])
    assert alone.score == pytest.approx(different.score, abs=1e-5)


def test_clips_of_one_name_are_two_where_they_are_not_the_same(monkeypatch):
    """Tables in two folders may name a.wav each; and long arrays look alike where only their ends are written out."""
    heard: list[int] = []

    def vectors_of(part, signal, clips):
        heard.append(len(clips))
        return np.stack([np.asarray(getattr(clip, "array", clip))[1000:1002] for clip in clips]).astype(float)

    monkeypatch.setattr(verify, "vectors_of", vectors_of)
    one, other = np.zeros((2, 2000), np.int16)
    one[1000], other[1001] = 1, 1
    pairs = [(Input("a.wav", one), Input("b.wav", one)), (Input("a.wav", other), Input("b.wav", one)), (one, other)]
    scores = [said.score for said in verify.predict(made(), None, pairs)]
    assert scores == [1.0, 0.0, 0.0] and heard == [2]


def test_validation_chooses_the_threshold(learnt):
    told = verify.settle(learnt, tones.SIGNAL, examples(12, seed=8))
    part = learnt.parts["verify"]
    try:
        assert told == {"threshold": part.threshold} and -1 <= part.threshold <= 1
        assert part.facts == {"vector": 16, "threshold": part.threshold}
        found = verify.predict(learnt, tones.SIGNAL, [("abc@ann#90", "de@ann#91"), ("abc@ann#90", "de@bob#92")])
        assert [one.same for one in found] == [True, False]
    finally:
        part.threshold = None
    alone = [one for one in examples(9) if one.label == "ann"]
    assert verify.settle(learnt, tones.SIGNAL, alone) == {}


# ------------------------------------------------------------------ rows and refusals


@pytest.mark.parametrize("names", [("first", "second"), ("enrol", "test"), ("A", "B"), ("audio_1", "audio_2")])
def test_a_trial_is_two_columns_of_a_row(names):
    row = Example("", None, Where("trials.tsv", 2), dict(zip(names, ("x.wav", "y.wav"), strict=True)))
    assert config().inputs(row) == ("x.wav", "y.wav")


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do(learnt):
    row = Example("", None, Where("trials.tsv", 4), {"first": "x.wav"})
    assert refusal(lambda: config().inputs(row)) == (
        "trials.tsv:4: names no two clips. Give a table with columns `first` and `second`."
    )
    assert refusal(lambda: verify.predict(learnt, tones.SIGNAL, ["ab@ann"])) == (
        'input 1, `ab@ann`: is no pair of clips. Write "first.wav | second.wav", '
        "or give a table with columns `first` and `second`."
    )
    alone = [one for one in examples(9) if one.label == "ann"]
    assert refusal(lambda: config().learnt_from(alone)) == (
        "task `verify`: all clips of the training part are of one speaker. "
        "Give clips of at least two; --label names the column of speakers."
    )
    assert refusal(lambda: verify.judged(config(), alone, np.eye(3))) == (
        "task `verify`: pairs of clips are all of one kind: same speaker, or different ones. "
        "Test on at least two speakers, one of them with two clips."
    )
