"""The work of a served model: what predict writes, what embed gives, and likelihoods as transformers has them."""

from dataclasses import replace
from math import log
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.evaluate.predict import load
from firth.evaluate.vectors import embed_texts
from firth.model.cache import Cache
from firth.serving.asked import completion, embedding
from firth.serving.likelihoods import offsets_of
from firth.serving.limits import Limits
from firth.serving.model import Choice, Start, open_model, rows_together
from firth.serving.refusal import Refusal
from tests import exported, served

LIMITS = Limits()
WHOLE = "The old cow"  # the likeliest answer is of letters that are whole: read again, it gives the same tokens
PROMPTS = ["The ship", "", WHOLE]


def written(limits: Limits = LIMITS, **given) -> tuple[Start, dict[int, str], list[Choice]]:
    """Start, the text of each number, and the last pieces in the order of their numbers."""
    asked = completion({"model": "m", "max_tokens": 8, "seed": 3, **given}, limits)
    start, *choices = served.writer().write(asked, limits)
    texts: dict[int, str] = {}
    for choice in choices:
        texts[choice.number] = texts.get(choice.number, "") + choice.text
    return start, texts, sorted((one for one in choices if one.ended), key=lambda one: one.number)


def predicted(texts, **writing):
    return list(load(served.writer().folder).predict(texts, **{"tokens": 8, "temperature": 1.0, "seed": 3} | writing))


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"top_p": 0.5, "top_k": 5, "min_p": 0.1}, {"top_p": 0.5, "top_k": 5, "min_p": 0.1}),
        ({"repetition_penalty": 2.0, "max_tokens": 40}, {"repetition": 2.0, "tokens": 40}),
        ({"stop": ["e", " the"], "max_tokens": 30}, {"stop": ("e", " the"), "tokens": 30}),
    ],
)
def test_what_is_written_is_what_predict_writes(asked, same):
    start, texts, last = written(prompt=PROMPTS, **asked)
    found = predicted(PROMPTS, **same)
    assert [texts[number] for number in range(3)] == [one.written for one in found]
    assert [one.tokens for one in last] == [one.tokens for one in found]
    assert [one.ended for one in last] == ["length" if one.ended == "length" else "stop" for one in found]
    assert start.texts == PROMPTS


def test_several_texts_to_a_prompt_differ_and_a_seed_repeats_them():
    _, texts, last = written(prompt="The ship", n=4, temperature=2.0)
    assert sorted(texts) == [0, 1, 2, 3] and len(set(texts.values())) == 4 and len(last) == 4
    assert written(prompt="The ship", n=4, temperature=2.0)[1] == texts
    assert written(prompt="The ship", n=4, temperature=2.0, seed=4)[1] != texts


def test_tokens_are_as_good_as_the_text():
    ids = np.asarray(served.writer().encoder.signal.prompt("The ship")).tolist()
    start, texts, _ = written(prompt=[ids])
    assert texts == written(prompt="The ship")[1] and start == Start(["The ship"], len(ids))


def test_rows_that_do_not_fit_together_are_written_in_turn_with_the_same_result():
    shape = served.writer().encoder.shape
    cache = Cache(shape.layers)
    one = torch.zeros(1, shape.groups, 24, shape.head_width)
    for past in cache.layers:
        past.add(one, one)
    row = sum(past.held.numel() * 4 for past in cache.layers)
    assert [rows_together(shape, 24, size) for size in (0, row, 3 * row - 1, 3 * row)] == [1, 1, 2, 3]
    for size in (0, 2 * row):
        assert written(replace(LIMITS, cache=size), prompt=PROMPTS, n=2)[1] == written(prompt=PROMPTS, n=2)[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"prompt": "The ship meets the tide. " * 20},
            "prompt: has 161 tokens with what is to be written, the model reads 24. Shorten it.",
        ),
        ({"prompt": [5, 10**6]}, "prompt: holds token 1000000. Send ids from 0 to 399."),
        ({"prompt": [-1]}, "prompt: holds token -1. Send ids from 0 to 399."),
        (
            {"prompt": "The ship", "logprobs": 1, "max_tokens": 23},
            "prompt: has 26 tokens with what is to be written, the model reads 24. Shorten it.",
        ),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(given, message):
    with pytest.raises(Refusal) as raised:
        written(**given)
    assert raised.value.status == 400
    assert str(raised.value).split(":")[0] == message.split(":")[0]
    assert str(raised.value).split(". ")[-1] == message.split(". ")[-1]


# ------------------------------------------------------------------ likelihoods


def reference(text: str) -> tuple[list[int], torch.Tensor]:
    """Token ids, the end token before them, and log-likelihoods (T, V) of each given those before, by transformers."""
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(served.writer().folder).eval()
    ids = np.asarray(served.writer().encoder.signal.prompt(text)).tolist()
    with torch.no_grad():
        return ids, model(torch.tensor([ids])).logits[0].log_softmax(-1)


def test_parts_of_a_letter_are_told_where_it_stands():
    """Tokens of single bytes: of letters that are whole, and of one that is not."""
    signal = SimpleNamespace(decode=lambda ids, skip_special: bytes(ids).decode("utf-8", "replace"))
    ids = [*"aé".encode(), *"€".encode()[:2], *"b€c".encode()]
    assert offsets_of(signal, ids) == [0, 1, 2, 2, 3, 3, 4, 5, 5, 5]
    assert offsets_of(signal, list(b"abc")) == [0, 1, 2]


def test_likelihoods_of_prompt_and_answer_are_those_of_transformers():
    _, texts, (last,) = written(prompt=WHOLE, echo=True, logprobs=3, temperature=0, max_tokens=5)
    assert last.told is not None and last.told.likeliest is not None
    ids, logs = reference(WHOLE + texts[0])
    assert "".join(last.told.tokens) == WHOLE + texts[0]
    assert last.told.own == pytest.approx([logs[i - 1, ids[i]].item() for i in range(1, len(ids))], abs=1e-4)
    for place, told in enumerate(last.told.likeliest):
        assert sorted(told.values(), reverse=True)[:3] == pytest.approx(logs[place].topk(3).values.tolist(), abs=1e-4)
        assert told[last.told.tokens[place]] == last.told.own[place]


def test_likelihoods_without_echo_are_of_the_answer_alone():
    _, texts, (last,) = written(prompt=WHOLE, logprobs=0, temperature=0, max_tokens=5)
    assert last.told is not None and "".join(last.told.tokens) == texts[0]
    assert last.told.likeliest is None and last.told.offsets[0] == 0 and len(last.told.own) == 5


def test_a_text_can_be_scored_without_writing():
    """As tools for evaluation ask: tokens, echo, nothing written; before the first token there is nothing."""
    ids, logs = reference("The old cow")
    _, texts, (last,) = written(prompt=ids, echo=True, logprobs=1, max_tokens=0)
    assert texts == {0: ""} and last.tokens == 0 and last.ended == "length"
    assert last.told.own[0] is None and last.told.likeliest[0] is None
    assert last.told.own[1:] == pytest.approx([logs[i - 1, ids[i]].item() for i in range(1, len(ids))], abs=1e-4)


def test_tokens_of_a_stop_string_are_not_told():
    _, texts, (last,) = written(prompt="The ship", logprobs=0, stop=["e"], max_tokens=12, seed=1)
    if last.ended == "stop":
        assert len("".join(last.told.tokens[:-1])) < max(1, len(texts[0]))
        assert len("".join(last.told.tokens)) >= len(texts[0])


def test_likelihoods_are_at_most_certain():
    _, _, last = written(prompt=PROMPTS, logprobs=2, echo=True)
    for one in last:
        assert all(value is None or value <= 1e-6 for value in one.told.own)
        assert all(row is None or sum(map(np.exp, row.values())) <= 1 + 1e-5 for row in one.told.likeliest)
        assert min(value for value in one.told.own if value is not None) > 50 * log(1e-3)


# ------------------------------------------------------------------ vectors


@pytest.mark.parametrize("model", [served.writer, served.encoder], ids=["GPT", "BERT"])
def test_vectors_are_those_of_embed(model):
    texts = ["The wide ship meets the tide.", "cow", "A dreadful film."] * 30
    parts = list(model().embed(embedding({"model": "m", "input": texts}, LIMITS)))
    vectors = np.concatenate([part for part, _ in parts])
    np.testing.assert_allclose(vectors, embed_texts(model().encoder, texts), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(parts) == 2
    signal = model().encoder.signal
    assert sum(count for _, count in parts) == sum(len(one.ids) for one in signal.encode(texts))


def test_vectors_of_tokens_are_those_of_the_text():
    ids = served.encoder().encoder.signal.encode(["The wide ship"])[0].ids.tolist()
    (one, _), (two, _) = (
        next(served.encoder().embed(embedding({"model": "m", "input": given}, LIMITS)))
        for given in ("The wide ship", ids)
    )
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("given", "name", "code"),
    [
        ({"input": "ship " * 100}, "input", "context_length_exceeded"),
        ({"input": [10**9]}, "input", None),
        ({"input": "ship", "dimensions": 8}, "dimensions", "unsupported"),
    ],
)
def test_vectors_that_cannot_be(given, name, code):
    with pytest.raises(Refusal) as raised:
        list(served.encoder().embed(embedding({"model": "m", **given}, LIMITS)))
    assert (raised.value.where, raised.value.code) == (name, code)
    assert list(served.encoder().embed(embedding({"model": "m", "input": "ship", "dimensions": 32}, LIMITS)))


# ------------------------------------------------------------------ opening


def test_a_model_is_called_after_its_folder_or_run(tmp_path):
    exported.write_writer(tmp_path / "sea" / "model", "bytes")
    assert open_model(tmp_path / "sea").name == open_model(tmp_path / "sea" / "model").name == "sea"
    assert served.writer().name == "tales" and served.encoder().name == "blanks"
    assert served.writer().is_called(str(served.writer().folder))


def test_encoders_do_not_write():
    assert served.encoder().writer is None and served.writer().writer is not None


def test_a_writer_and_its_encoder_share_their_weights():
    model = served.writer()
    assert model.encoder.backbone is model.writer.objective.backbone
