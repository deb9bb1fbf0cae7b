"""Next token: every token of a stream is guessed once, from its own text alone; the loss is the plain formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth.data.shards import Shard, ShardWriter
from firth.data.windows import StreamRows, cut_at
from firth.errors import InputError
from firth.functional.losses import IGNORE
from firth.functional.random import Draw
from firth.objective import collate
from firth.objectives import next_token
from firth.signal import Facts, Sample
from firth.signals.text import Config as TextConfig
from firth.signals.text import Text
from firth.train import build
from tests import contract
from tests.material import documents

END, INFILL = 3, (5, 6, 7)
FACTS = Facts(frozenset({"tokens", "stream"}), vocabulary=40, end_id=END, infill_ids=INFILL, special_ids=(0, 1, 3))
ROWS = st.lists(st.integers(10, 39) | st.just(END), min_size=2, max_size=40)


def filled(**settings) -> next_token.Config:
    return next_token.Config(**settings).fill(FACTS)


def sample(row, key: int = 1) -> Sample:
    return Sample((np.array(row, np.int32),), key=key)


def stacked(*rows):
    """(B, T) without special tokens, padded with 0."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    pad = torch.tensor([[step >= len(row) for step in range(longest)] for row in rows])
    return next_token.Batch(tokens=tokens, bytes=tokens % 4, **({"pad": pad} if pad.any() else {}))


# ------------------------------------------------------------------ what is read and what is guessed


def test_each_step_is_to_guess_the_next():
    batch = filled().prepare(stacked([10, 11, 12, 13], [20, 21]), Draw(0))
    assert batch["tokens"].tolist() == [[10, 11, 12], [20, 21, 0]]
    assert batch["target"].tolist() == [[11, 12, 13], [21, IGNORE, IGNORE]]
    assert batch["pad"].tolist() == [[False] * 3, [False, False, True]]
    assert batch["bytes"].tolist() == [[3, 0, 1], [1, 0, 0]]
    assert batch.counts == {"next_token": 4}


def test_texts_in_one_row_are_told_apart_and_counted_anew():
    batch = filled().prepare(stacked([10, 11, END, 12, 13, END, 14], [10, 11, 12, 13, 14, 15, END]), Draw(0))
    assert batch["documents"].tolist() == [[0, 0, 1, 1, 1, 2], [0] * 6]
    assert batch["position"].tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]]
    assert batch["target"][0].tolist() == [11, END, 12, 13, END, 14]  # the end is guessed, and begins what follows


@pytest.mark.parametrize("rows", [[[END, 10, 11]], [[10, 11, END]], [[10, 11, 12]]])
def test_one_text_in_a_row_needs_no_mask(rows):
    assert "documents" not in filled().prepare(stacked(*rows), Draw(0))


def test_texts_may_see_each_other():
    assert "documents" not in filled(across_documents=True).prepare(stacked([10, END, 11, 12]), Draw(0))


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9), context=st.integers(4, 50), epoch=st.integers(0, 5)
)
def test_every_token_of_the_stream_is_read_and_guessed_exactly_once(tmp_path_factory, lengths, context, epoch):
    ids = np.arange(10, 10 + sum(lengths), dtype=np.int32)
    writer = ShardWriter(tmp_path_factory.mktemp("shard"), np.uint16, END)
    none = np.zeros(len(lengths), np.int64)
    writer.extend(ids, np.array(lengths), np.empty(0, np.int32), none, 100 + np.arange(len(lengths)))
    writer.close()
    source = StreamRows(Shard(writer.folder, np.uint16, END), context)
    stream = np.concatenate([[*part, END] for part in np.split(ids, np.cumsum(lengths)[:-1])])
    rows = source.get(np.arange(len(source)), Draw(0, epoch))
    stream = np.roll(stream, -cut_at(Draw(0, epoch), context))  # a ring, cut elsewhere in every epoch
    read, guessed = (np.concatenate([one.parts[0][part] for one in rows]) for part in (slice(-1), slice(1, None)))
    assert np.array_equal(guessed, stream) and np.array_equal(read, np.roll(stream, 1))
    assert {len(one.parts[0]) for one in rows[:-1]} <= {context + 1} and len({one.key for one in rows}) == len(rows)


def test_a_packed_row_costs_what_its_texts_cost_alone():
    signal = Text.fit(documents(40), TextConfig(tokenizer="bpe", frame="stream", vocabulary=300, context=120))
    objective = contract.build(["next-token"], shape="llama", vocabulary=signal.facts.vocabulary)
    objective.parts["next-token"].config = config = next_token.Config().fill(signal.facts)
    texts = [[signal.sep_id, *signal.encode([one])[0].ids[:30]] for one in documents(3, seed=5)]
    packed = collate([sample([*texts[0], *texts[1], *texts[2]])], [config], signal, Draw(0))
    alone = [collate([sample([*text, signal.sep_id])], [config], signal, Draw(0)) for text in texts]
    found, wanted = objective(packed), [objective(one) for one in alone]
    ends = wanted[-1].terms["next_token"].count  # the last text ends the row, and so has no end to guess
    assert packed.counts["next_token"] == sum(one.counts["next_token"] for one in alone) - 1 and ends == 31
    cut = objective(collate([sample(texts[2])], [config], signal, Draw(0))).terms["next_token"].sum
    whole = sum(one.terms["next_token"].sum for one in wanted[:2]) + cut
    torch.testing.assert_close(found.terms["next_token"].sum, whole)


# ------------------------------------------------------------------ the loss


@pytest.mark.parametrize("shape", ["llama", "gpt2", "bert"])
def test_loss_equals_a_plain_formula(shape):
    objective = contract.build(["next-token"], shape=shape)
    batch = contract.batch_of(objective, contract.samples(4))
    part = objective.parts["next-token"]
    logits = part.head(objective.backbone(batch, causal=True).values).detach().numpy()  # (B, T, V)
    nats = right = 0
    for row, step in (batch["target"] != IGNORE).nonzero().tolist():
        shares = np.exp(logits[row, step]) / np.exp(logits[row, step]).sum()
        true = int(batch["target"][row, step])
        nats, right = nats - np.log(shares[true]), right + (shares.argmax() == true)
    loss = objective(batch)
    assert loss.terms["next_token"].sum.item() == pytest.approx(nats, rel=1e-10)
    assert loss.metrics["next_token_accuracy"].sum.item() == right


def test_bits_per_byte_are_nats_by_ln_2_over_the_bytes_guessed():
    signal = Text.fit(documents(40), TextConfig(tokenizer="bpe", frame="stream", vocabulary=300, context=200))
    objective = contract.build(["next-token"], shape="llama", vocabulary=signal.facts.vocabulary)
    config = next_token.Config().fill(signal.facts)
    texts = [text[:90] for text in documents(2, seed=3)]
    rows = [sample([0, *signal.encode([text])[0].ids, 0], key) for key, text in enumerate(texts)]
    loss = objective(collate(rows, [config], signal, Draw(0)))
    bits, count = loss.metrics["bits_per_byte"]
    assert int(count) == sum(len(text.encode()) for text in texts)
    assert bits.item() == pytest.approx(loss.terms["next_token"].sum.item() / math.log(2))
    assert not bits.requires_grad


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_loss_and_gradient_equal_those_of_transformers(shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    from firth.interop.folder import save_folder

    ours = contract.build(["next-token"], torch.float32, shape)
    save_folder(tmp_path, ours.backbone.shape, ours.state_dict())
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").double().eval()
    ours.double()
    config = next_token.Config().fill(FACTS)
    batch = config.prepare(stacked([*range(10, 30)], [*range(20, 33)]), Draw(0))
    labels = torch.cat([torch.full((2, 1), IGNORE), batch["target"]], 1)  # theirs are shifted inside
    tokens = torch.cat([batch["tokens"], torch.zeros(2, 1, dtype=torch.int64)], 1)
    theirs = model(tokens, attention_mask=torch.ones_like(tokens), labels=labels).loss
    ours(batch).terms["next_token"].sum.div(batch.counts["next_token"]).backward()
    theirs.backward()
    torch.testing.assert_close(
        ours.backbone.embed.word.weight.grad, model.get_input_embeddings().weight.grad, rtol=1e-4, atol=1e-7
    )
    loss = ours(batch).terms["next_token"].sum.item() / batch.counts["next_token"]
    assert loss == pytest.approx(theirs.item(), rel=1e-6)


# ------------------------------------------------------------------ fill in the middle


def parsed(text: list[int]) -> list[int]:
    """The text that was rearranged, put together again."""
    if not {*INFILL} <= set(text):
        return text
    begins, between, ends = (text.index(number) for number in INFILL)
    head = text[:begins]
    if ends == begins + 1:  # the end stands first; beginning and middle follow together
        return [*head, *text[between + 1 :], *text[ends + 1 : between]]
    return [*head, *text[begins + 1 : ends], *text[between + 1 :], *text[ends + 1 : between]]


@given(row=st.lists(st.integers(10, 39), min_size=1, max_size=30), draws=st.tuples(*[st.floats(0, 0.999)] * 3))
def test_a_rearranged_text_holds_the_whole_text(row, draws):
    text = np.array([END, *row], np.int32)
    found = filled(infill_rate=1.0).rearranged(text, 0.0, *draws).tolist()
    assert parsed(found) == text.tolist()
    assert len(found) == len(text) + (3 if len(row) > 1 else 0)


@given(row=ROWS, key=st.integers(0, 2**63))
def test_rows_keep_their_length_and_their_key(row, key):
    (found,) = filled(infill_rate=1.0).arrange([sample(row, key)], Draw(0))
    assert len(found.parts[0]) == len(row) and found.key == key and found.parts[0].dtype == np.int32


def test_the_rate_is_the_share_of_texts_and_both_orders_are_as_frequent():
    rows = [sample([END, *range(10, 30)], key) for key in range(600)]
    found = [one.parts[0].tolist() for one in filled(infill_rate=0.4).arrange(rows, Draw(0))]
    moved = [row for row in found if 5 in row]
    assert len(moved) / 600 == pytest.approx(0.4, abs=0.07)
    first = [row for row in moved if row.index(7) == row.index(5) + 1] if moved else []
    assert len(first) / len(moved) == pytest.approx(0.5, abs=0.15)


def test_each_text_of_a_row_has_a_fate_of_its_own():
    row = [END, *range(10, 20)] * 3
    found = [filled(infill_rate=0.5).arrange([sample(row, key)], Draw(0))[0].parts[0].tolist() for key in range(40)]
    assert {row.count(5) for row in found} == {0, 1, 2, 3}


def test_without_a_rate_nothing_moves():
    rows = [sample([END, 10, 11])]
    assert filled().arrange(rows, Draw(0)) is rows


# ------------------------------------------------------------------ refusals and findings


def test_a_tokenizer_without_the_tokens_is_refused():
    with pytest.raises(InputError) as raised:
        next_token.Config(infill_rate=0.5).fill(FACTS._replace(infill_ids=()))
    assert str(raised.value) == (
        "next_token.infill_rate = 0.5: the tokenizer has no tokens for beginning, middle and end. "
        "Leave it out, or train a tokenizer (without `--from`)."
    )


def test_it_cannot_share_a_pass_with_what_looks_to_both_sides():
    with pytest.raises(InputError) as raised:
        contract.build(["next-token", "masked-tokens"])
    assert str(raised.value) == (
        "objective `next-token,masked-tokens`: `next-token` must not see what comes later, and `masked-tokens` must: "
        "one pass cannot be both. Run `--objective next-token` alone."
    )


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "next-token",
            "modernbert",
            "model.shape `modernbert`: a step sees later ones too, wherever the folder is opened, and `next-token` "
            "cannot learn so. Choose model.shape = llama or gpt2, or another --objective.",
        ),
        (
            "masked-tokens",
            "llama",
            "model.shape `llama`: a step sees only earlier ones, wherever the folder is opened, and `masked-tokens` "
            "cannot learn so. Choose model.shape = bert or modernbert, or another --objective.",
        ),
    ],
)
def test_shapes_that_cannot_hold_it_are_refused(name, shape, message):
    objective = contract.build([name], shape=shape)
    with pytest.raises(InputError) as raised:
        build.refuse_sight(objective.backbone.shape, dict(objective.parts))
    assert str(raised.value) == message


def test_check_speaks_up_about_short_samples():
    config, short, long = next_token.Config(), sample([5, 6]), sample(range(5, 30))
    assert config.check([long, long, short]) == []
    (finding,) = config.check([short, short, long])
    assert finding.what == "2 of 3 samples have fewer than 8 tokens: little to guess from"


def test_a_filled_config_survives_writing_and_reading():
    config = filled(infill_rate=0.5, across_documents=True)
    assert next_token.Config(**config.model_dump()) == config
    assert (config.end_id, config.infill_ids, config.vocabulary) == (END, INFILL, 40)
