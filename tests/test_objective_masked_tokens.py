"""Masked tokens: the batch agrees with the definition, exactly and statistically; the loss with a plain formula."""

import time

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.functional.losses import IGNORE
from firth.functional.random import Draw
from firth.objectives import masked_tokens
from firth.signal import Facts, Sample
from firth.signals.text import Config as TextConfig
from firth.signals.text import Text
from tests import contract
from tests.contract import CLS, CONTEXT, MASK, SEP, SIGNAL, VOCABULARY
from tests.material import documents


def many(count=64, length=120, **settings):
    """(batch as stacked, batch as prepared, config) of `count` rows of `length` tokens."""
    source = np.random.default_rng(4)
    config = contract.config_of("masked-tokens", **settings)
    plain = SIGNAL.stack([contract.window(source, length, key) for key in range(1, count + 1)])
    return plain, config.prepare(plain, Draw(0)), config


def hidden_of(batch):
    """(B, T) bool: the steps to guess."""
    hidden = torch.zeros(batch["tokens"].shape, dtype=torch.bool)
    rows, columns = (batch["target"] != IGNORE).nonzero(as_tuple=True)
    hidden[rows, batch["keep"][rows, columns]] = True
    return hidden


@pytest.mark.parametrize("rate", [0.15, 0.30, 1.0])
def test_every_row_hides_the_exact_number_so_that_keep_is_rectangular(rate):
    plain, batch, _ = many(mask_rate=rate)
    hidden = hidden_of(batch)
    assert (hidden.sum(1) == round(rate * 120)).all()
    assert batch["keep"].shape == (64, 1 + round(rate * 120))
    assert (batch["keep"][:, 0] == 0).all() and (batch["keep"].diff(dim=1) > 0).all()
    assert (batch["target"][:, 0] == IGNORE).all() and (batch["target"][:, 1:] != IGNORE).all()
    assert batch.counts == {"masked_tokens": 64 * round(rate * 120)} and plain.counts == {}


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_targets_are_the_true_tokens_and_the_rest_is_untouched(unit):
    plain, batch, _ = many(unit=unit)
    hidden = hidden_of(batch)
    real = batch["target"] != IGNORE
    assert torch.equal(plain["tokens"].gather(1, batch["keep"])[real], batch["target"][real])
    assert torch.equal(plain["tokens"][~hidden], batch["tokens"][~hidden])
    assert not (hidden & plain["special"]).any()


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({}, (0.8, 0.1, 0.1)),
        ({"mask_share": 1}, (1, 0, 0)),
        ({"random_share": 1}, (0, 1, 0)),
        ({"keep_share": 1}, (0, 0, 1)),
        ({"mask_share": 0.5, "random_share": 0.5}, (0.5, 0.5, 0)),
        ({"mask_share": 0.6}, (0.6, 0.2, 0.2)),
        ({"mix": "80-10-10"}, (0.8, 0.1, 0.1)),
        ({"mix": "100-0-0"}, (1, 0, 0)),
        ({"mix": "0-100-0"}, (0, 1, 0)),
        ({"mix": "0-100-0", "random_share": 1}, (0, 1, 0)),
    ],
)
@pytest.mark.parametrize("unit", ["token", "span"])
def test_hidden_tokens_meet_their_fate_in_these_shares(given, shares, unit):
    plain, batch, config = many(600, unit=unit, **given)
    assert (config.mask_share, config.random_share, config.keep_share) == pytest.approx(shares)
    hidden = hidden_of(batch)
    was, now = plain["tokens"][hidden], batch["tokens"][hidden]
    masked, same = (now == MASK).float().mean().item(), (now == was).float().mean().item()
    luck = shares[1] / (VOCABULARY - 5)  # a random token may be the true one
    noise = 4 * np.sqrt(0.25 / len(was)) * (1 if unit == "token" else 4)  # spans share their fate
    assert masked == pytest.approx(shares[0], abs=noise if 0 < shares[0] < 1 else 0)
    assert same == pytest.approx(shares[2] + luck, abs=noise)
    assert (now != MASK).any() == (shares[0] < 1)


def test_replacements_are_ordinary_tokens_each_as_often():
    _, batch, _ = many(400, random_share=1)
    now = batch["tokens"][hidden_of(batch)].numpy()
    often = np.bincount(now, minlength=VOCABULARY)
    assert (often[:5] == 0).all() and (often[5:] > 0).all()
    expected = len(now) / (VOCABULARY - 5)
    assert ((often[5:] - expected) ** 2 / expected).sum() < 75  # chi-square, 34 degrees of freedom, p < 0.0001


def test_every_place_is_hidden_equally_often():
    _, batch, _ = many(2000, 20)
    often = hidden_of(batch)[:, 1:-1].float().mean(0)
    assert often.mean().item() == pytest.approx(0.3)
    assert ((often - 0.3).abs() < 0.05).all()


@pytest.mark.parametrize("unit", ["word", "span"])
def test_words_are_hidden_whole_and_about_as_many(unit):
    plain, batch, _ = many(unit=unit)
    hidden, word = hidden_of(batch), plain["word"]
    for row in range(len(word)):
        inside = word[row][hidden[row]].unique()
        assert torch.equal(torch.isin(word[row], inside), hidden[row])
    assert (hidden.sum(1) - 36).abs().max() <= 5
    assert hidden.sum(1).float().mean().item() == pytest.approx(36, abs=0.5)


def test_spans_run_longer_than_words():
    runs = {}
    for unit in ("token", "word", "span"):
        hidden = hidden_of(many(unit=unit, mask_rate=0.15)[1]).int()
        runs[unit] = hidden.sum().item() / (hidden.diff(dim=1) == 1).sum().item()
    assert runs["token"] < runs["word"] < runs["span"]
    assert runs["span"] > 4


def test_the_same_positions_whatever_the_shares():
    """So that one model can be scored three ways at the same places."""
    several = [many(**given)[1] for given in ({}, {"mask_share": 1}, {"random_share": 1})]
    assert all(torch.equal(batch["keep"], several[0]["keep"]) for batch in several)
    assert all(torch.equal(batch["target"], several[0]["target"]) for batch in several)


def test_steps_that_others_asked_for_stay_kept():
    plain, _, config = many(3)
    plain["keep"] = torch.tensor([[0, 7], [0, 8], [0, 9]])
    batch = config.prepare(plain, Draw(0))
    assert torch.equal(batch["keep"][:, :2], plain["keep"])
    assert (batch["target"][:, :2] == IGNORE).all() and (batch["target"][:, 2:] != IGNORE).all()


def test_prepare_is_quick():
    """16 x 128 in well under a batch's computing time; the best of several, so that a busy machine does not matter."""
    plain, _, config = many(16, 126)
    took = []
    for epoch in range(30):
        start = time.perf_counter()
        config.prepare(plain, Draw(0, epoch))
        took.append(time.perf_counter() - start)
    assert min(took) < 0.0015


def test_loss_equals_a_plain_formula():
    objective = contract.build(["masked-tokens"])
    batch = contract.batch_of(objective, contract.samples(4))
    logits = objective.parts["masked-tokens"].head(objective.backbone(batch).values).detach().numpy()  # (B, T, V)
    nats = right = 0
    for row, steps in enumerate(hidden_of(batch).numpy()):
        for step in steps.nonzero()[0]:
            true = int(batch["target"][row][batch["keep"][row] == step][-1])
            shares = np.exp(logits[row, step]) / np.exp(logits[row, step]).sum()
            nats, right = nats - np.log(shares[true]), right + (shares.argmax() == true)
    loss = objective(batch)
    assert loss.terms["masked_tokens"].sum.item() == pytest.approx(nats, rel=1e-10)
    assert loss.metrics["masked_tokens_accuracy"].sum.item() == right


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(InputError) as raised:
        masked_tokens.Config(mask_share=0.9, random_share=0.3)
    assert str(raised.value) == (
        "masked_tokens: mask_share 0.9 + random_share 0.3 + keep_share 0 is 1.2, not 1. "
        "Set only the share you mean; the others divide what it leaves."
    )


SHAPE = "Write three whole numbers that sum to 100: 80-10-10, 100-0-0 (mask only) or 0-100-0 (replace only)."


@pytest.mark.parametrize("mix", ["80", "80-10", "80-10-20", "0.8-0.1-0.1", "mask-only", "-80-10-10", "80-10-10-0"])
def test_a_mix_that_is_none_is_refused(mix):
    with pytest.raises(InputError) as raised:
        masked_tokens.Config(mix=mix)
    assert str(raised.value) == f"masked_tokens.mix = {mix}: is no mask-random-keep in per cent. {SHAPE}"


def test_a_mix_beside_another_share_is_refused():
    with pytest.raises(InputError) as raised:
        masked_tokens.Config(mix="80-10-10", random_share=1)
    assert str(raised.value) == (
        "masked_tokens.mix = 80-10-10: says 0.1, and masked_tokens.random_share 1. Set one of the two."
    )


def test_a_tokenizer_without_mask_is_refused():
    with pytest.raises(InputError) as raised:
        masked_tokens.Config().fill(Facts(frozenset({"tokens"}), vocabulary=9))
    assert str(raised.value) == (
        "objective `masked-tokens`: the tokenizer has no [MASK] token. "
        "Train a tokenizer (leave out `text.tokenizer=source`), or start from a model of masked text."
    )


def test_a_filled_config_survives_writing_and_reading():
    for own in ({"mask_share": 1, "unit": "word"}, {"mix": "0-100-0"}):
        config = contract.config_of("masked-tokens", **own)
        assert masked_tokens.Config(**config.model_dump()) == config
    assert config.special_ids == (0, 1, CLS, SEP, MASK)


def test_check_speaks_up_about_short_samples():
    config = masked_tokens.Config()
    short, long = Sample((np.arange(5, 8),), key=1), Sample((np.arange(5, 30),), key=2)
    assert config.check([long, long, short]) == []
    (finding,) = config.check([short, short, long])
    assert finding.what == "2 of 3 samples have fewer than 8 tokens: little to guess from"


@pytest.fixture
def overfitted():
    """A model that knows one sentence by heart."""
    objective = contract.build(["masked-tokens"], torch.float32)
    sentence = [Sample((np.arange(5, 15, dtype=np.int32),), key=k) for k in range(8)]
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for epoch in range(60):
        batch = contract.batch_of(objective, sentence, Draw(0, epoch))
        optimizer.zero_grad()
        (objective(batch).terms["masked_tokens"].sum / 24).backward()
        optimizer.step()
    return objective


def test_fill_in_gives_tokens_with_probabilities_per_mask(overfitted):
    overfitted.train()
    one, two = masked_tokens.fill_in(
        overfitted, SIGNAL, ["5 6 7 [MASK] 9 10 11 12 13 14", "5 [MASK] 7 8 9 10 11 [MASK] 13 14"], top=3
    )
    assert [len(one), len(two), len(one[0])] == [1, 2, 3]
    assert (one[0][0][0], two[0][0][0], two[1][0][0]) == ("8", "6", "12")
    shares = [share for _, share in one[0]]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.5 and sum(shares) <= 1
    assert overfitted.backbone.training


def test_fill_in_does_not_depend_on_the_other_texts(overfitted):
    texts = ["5 6 7 [MASK] 9 10", "[MASK] 6 7 8 9 10 11 12 13 14"]
    part = overfitted.parts["masked-tokens"]
    together, alone = masked_tokens.fill_in(part, SIGNAL, texts), masked_tokens.fill_in(part, SIGNAL, texts[:1])
    assert [token for token, _ in together[0][0]] == [token for token, _ in alone[0][0]]
    assert [share for _, share in together[0][0]] == pytest.approx([share for _, share in alone[0][0]], rel=1e-4)


def test_fill_in_wants_a_mask(overfitted):
    with pytest.raises(InputError) as raised:
        masked_tokens.fill_in(overfitted, SIGNAL, ["5 [MASK]", "5 6 7"])
    assert str(raised.value) == (
        "input 2 `5 6 7`: there is no [MASK] in it. Write [MASK] where a word shall be guessed."
    )


def test_fill_in_names_masks_beyond_the_context():
    signal = Text.fit(documents(40), TextConfig(vocabulary=80, context=12))
    objective = contract.build(["masked-tokens"], torch.float32, vocabulary=signal.facts.vocabulary)
    objective.parts["masked-tokens"].config = masked_tokens.Config().fill(signal.facts)
    with pytest.raises(InputError) as raised:
        masked_tokens.fill_in(objective, signal, ["the [MASK] ship " + "meets the storm " * 9 + "[MASK]."])
    assert str(raised.value) == (
        "input 1 `the [MASK] ship meets the storm meets th…`: 1 of 2 [MASK] lie beyond the context. Shorten the text."
    )


def test_real_text_is_hidden_by_words_and_filled_in():
    signal = Text.fit(documents(60), TextConfig(vocabulary=80, context=CONTEXT))
    config = masked_tokens.Config(unit="word", mask_share=1).fill(signal.facts)
    encoded = signal.encode(documents(20, seed=1))
    plain = signal.stack([Sample((item.ids,), key=k) for k, item in enumerate(encoded)])
    word, hidden = plain["word"], hidden_of(config.prepare(plain, Draw(0)))
    for row in range(20):
        assert torch.equal(torch.isin(word[row], word[row][hidden[row]].unique()), hidden[row])
    objective = contract.build(["masked-tokens"], torch.float32, vocabulary=signal.facts.vocabulary)
    objective.parts["masked-tokens"].config = config
    ((guesses,),) = masked_tokens.fill_in(objective, signal, ["The blue [MASK] meets the storm."], top=4)
    assert len(guesses) == 4 and all(0 < share < 1 and token for token, share in guesses)
