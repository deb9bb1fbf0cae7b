"""Next sentence: pairs agree with the definition, and neither lengths nor ends give the answer away."""

import numpy as np
import pytest
import torch

from firth.errors import RunError
from firth.functional.losses import IGNORE
from firth.functional.random import Draw
from firth.objectives import next_sentence
from firth.objectives.next_sentence import OTHER, TRUE
from firth.signal import Sample
from tests import contract
from tests.contract import SIGNAL


def sentence_rows(count, seed=0, document=100):
    """Windows whose tokens say where they come from: id = 100 x window + place; sentences of 3 to 7 tokens."""
    source = np.random.default_rng(seed)

    def one(number):
        length = int(source.integers(30, 60))
        breaks = np.cumsum(source.integers(3, 8, 20))
        tokens = (document * number + np.arange(length)).astype(np.int32)
        return Sample((tokens,), key=int(source.integers(2**63)), breaks=breaks[breaks < length].astype(np.int32))

    return [one(2 * i).but(partner=one(2 * i + 1)) for i in range(count)]


def arranged(count=2000, seed=0, **settings):
    samples = sentence_rows(count, seed)
    return samples, next_sentence.Config(**settings).arrange(samples, Draw(3))


def label(sample):
    return int(sample.targets["next_sentence"])


@pytest.mark.parametrize("mode", ["next", "order"])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_half_of_the_pairs_are_true(mode, share):
    labels = np.array([label(s) for s in arranged(4000, mode=mode, share=share)[1]])
    assert set(labels) == {TRUE, OTHER}
    assert (labels == OTHER).mean() == pytest.approx(share, abs=4 * np.sqrt(0.25 / 4000))


def test_true_pairs_go_on_and_others_come_from_the_partner():
    for before, after in zip(*arranged(300), strict=True):
        first, second = after.parts
        cut = len(first)
        assert (first == before.parts[0][:cut]).all() and cut in before.breaks
        origin = before if label(after) == TRUE else before.partner
        start = int(second[0] - origin.parts[0][0])
        assert (second == origin.parts[0][start : start + len(second)]).all()
        assert start == cut if label(after) == TRUE else start in origin.breaks
        assert after.partner is None and after.breaks is None and after.key == before.key


def test_the_cut_is_the_sentence_start_nearest_the_middle():
    for before, after in zip(*arranged(100), strict=True):
        middle = len(before.parts[0]) / 2
        assert abs(len(after.parts[0]) - middle) == np.abs(before.breaks - middle).min()


def test_lengths_are_the_same_whichever_second_part_is_shown():
    samples = sentence_rows(200)
    true = next_sentence.Config(share=0).arrange(samples, Draw(3))
    other = next_sentence.Config(share=1).arrange(samples, Draw(3))
    assert {label(s) for s in true} == {TRUE} and {label(s) for s in other} == {OTHER}
    assert [[len(p) for p in s.parts] for s in true] == [[len(p) for p in s.parts] for s in other]


def test_little_is_lost_to_equal_lengths():
    before, after = arranged(500)
    kept = sum(len(p) for s in after for p in s.parts) / sum(len(s.parts[0]) for s in before)
    assert kept > 0.9


def test_order_swaps_whole_sentences_of_one_window():
    for before, after in zip(*arranged(300, mode="order"), strict=True):
        first, second = after.parts if label(after) == TRUE else after.parts[::-1]
        start, end = before.breaks[0], before.breaks[-1]
        assert (np.concatenate([first, second]) == before.parts[0][start:end]).all()
        assert start + len(first) in before.breaks and len(second) > 0


@pytest.mark.parametrize("mode", ["next", "order"])
def test_lengths_alone_do_not_tell(mode):
    """A logistic regression on both lengths guesses no better than chance."""
    from sklearn.linear_model import LogisticRegression

    after = arranged(4000, mode=mode)[1]
    lengths = np.array([[len(p) for p in s.parts] for s in after])
    features = np.column_stack([lengths, lengths[:, 0] - lengths[:, 1], lengths**2])
    labels = np.array([label(s) for s in after])
    guess = LogisticRegression(max_iter=2000).fit(features[:2000] / 60, labels[:2000])
    assert guess.score(features[2000:] / 60, labels[2000:]) < 0.55


@pytest.mark.parametrize(
    ("mode", "breaks"), [("next", None), ("next", []), ("next", [0, 12]), ("order", [4, 8]), ("order", None)]
)
def test_what_cannot_be_cut_stays_whole_and_counts_for_nothing(mode, breaks):
    partner = Sample((np.arange(12, dtype=np.int32),), key=2, breaks=np.array([6]))
    breaks = None if breaks is None else np.array(breaks)
    sample = Sample((np.arange(12, dtype=np.int32),), key=1, breaks=breaks, partner=partner)
    (after,) = next_sentence.Config(mode=mode).arrange([sample], Draw(0))
    assert label(after) == IGNORE and len(after.parts) == 1 and (after.parts[0] == sample.parts[0]).all()


def test_a_partner_that_cannot_be_cut_leaves_the_sample_whole():
    partner = Sample((np.arange(12, dtype=np.int32),), key=2)
    sample = Sample((np.arange(12, dtype=np.int32),), key=1, breaks=np.array([6]), partner=partner)
    (after,) = next_sentence.Config().arrange([sample], Draw(0))
    assert label(after) == IGNORE and len(after.parts) == 1


def test_a_missing_partner_is_a_fault_of_the_source():
    with pytest.raises(RunError) as raised:
        next_sentence.Config().arrange([Sample((np.arange(9),), key=1, breaks=np.array([4]))], Draw(0))
    assert str(raised.value) == (
        "objective `next-sentence`: a sample came without a partner. "
        "Build the source with partner=True, as `needs` of its Config says."
    )


def test_one_kept_step_is_enough_and_others_are_left_in_place():
    config = next_sentence.Config()
    batch = SIGNAL.stack(config.arrange(contract.samples(6), Draw(0)))
    assert config.prepare(batch, Draw(0))["keep"].tolist() == [[0]] * 6
    batch["keep"] = torch.tensor([[0, 4]] * 6)
    assert config.prepare(batch, Draw(0))["keep"].tolist() == [[0, 4]] * 6


def test_counts_leave_out_what_was_not_cut():
    samples = contract.samples(6)
    samples[2] = samples[2].but(breaks=None)
    config = next_sentence.Config()
    batch = config.prepare(SIGNAL.stack(config.arrange(samples, Draw(0))), Draw(0))
    assert batch.counts == {"next_sentence": 5}
    assert (batch["next_sentence"] != IGNORE).sum() == 5


def test_loss_equals_a_plain_formula():
    objective = contract.build(["next-sentence"])
    samples = contract.samples(6)
    samples[2] = samples[2].but(breaks=None)
    batch = contract.batch_of(objective, samples)
    part = objective.parts["next-sentence"]
    logits = part.classifier(part.pool(objective.backbone(batch).values[:, 0])).detach().numpy()
    real = batch["next_sentence"].numpy() != IGNORE
    true = batch["next_sentence"].numpy()[real]
    shares = np.exp(logits[real]) / np.exp(logits[real]).sum(1, keepdims=True)
    loss = objective(batch)
    assert loss.terms["next_sentence"].sum.item() == pytest.approx(-np.log(shares[range(5), true]).sum(), rel=1e-10)
    assert loss.metrics["next_sentence_accuracy"].sum.item() == (shares.argmax(1) == true).sum()


def test_in_a_composition_words_are_hidden_in_the_pairs():
    objective = contract.build(["next-sentence", "masked-tokens"])
    batch = contract.batch_of(objective, contract.samples(8))
    assert (batch["segments"].amax(1) == 1).all()
    hidden = batch["keep"][batch["target"] != IGNORE]
    rows = (batch["target"] != IGNORE).nonzero()[:, 0]
    assert {0, 1} == set(batch["segments"][rows, hidden].tolist())
    assert batch["keep"].shape == batch["target"].shape and batch["keep"].shape[1] < batch["tokens"].shape[1]


def test_check_speaks_up_where_sentences_are_missing():
    config = next_sentence.Config()
    bare, cut = Sample((np.arange(9),), key=1), Sample((np.arange(9),), key=2, breaks=np.array([4]))
    assert config.check([cut, cut, bare]) == []
    (finding,) = config.check([bare, bare, cut])
    assert finding.what == "2 of 3 samples have too few sentence starts to be cut in two"
    assert next_sentence.Config(mode="order").check([cut])
