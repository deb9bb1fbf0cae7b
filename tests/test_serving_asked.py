"""What may be asked for: each field checked, and every refusal word for word."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.serving.asked import NEUTRAL, completion, embedding
from firth.serving.body import parsed
from firth.serving.limits import Limits
from firth.serving.refusal import Refusal

LIMITS = Limits()
WHOLE = {
    "model": "tales", "prompt": "a", "n": 2, "max_tokens": 3, "temperature": 0, "top_p": 0.5, "top_k": 4,
    "min_p": 0.1, "repetition_penalty": 1.1, "stop": ["x", "y"], "seed": 7, "echo": True, "logprobs": 2, "user": "me",
}  # fmt: skip


def refusal_of(check, given) -> str:
    with pytest.raises(Refusal) as raised:
        check(given, LIMITS)
    return str(raised.value)


def test_what_is_not_said_is_as_in_openais_api():
    asked = completion({"model": "tales"}, LIMITS)
    assert (asked.prompt, asked.n, asked.max_tokens, asked.temperature, asked.top_p) == ([""], 1, 16, 1.0, 1.0)
    assert (asked.stop, asked.seed, asked.stream, asked.echo, asked.logprobs) == ([], None, False, False, None)


def test_all_that_is_said_is_heeded():
    asked = completion(WHOLE, LIMITS)
    assert asked.model_dump(include=set(WHOLE)) == {**WHOLE, "prompt": ["a"], "temperature": 0.0}


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]), ("", [""]), (["a", "b"], ["a", "b"]), ([5, 6], [[5, 6]]), ([[5], [6, 7]], [[5], [6, 7]]),
        (["a", [5]], ["a", [5]]),
    ],
)  # fmt: skip
def test_prompts_are_texts_or_tokens_one_or_several(given, texts):
    assert completion({"model": "m", "prompt": given}, LIMITS).prompt == texts
    if given:
        assert embedding({"model": "m", "input": given}, LIMITS).input == texts


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_is_not_offered_is_taken_where_it_changes_nothing(name):
    asked = completion({"model": "m", name: NEUTRAL[name][0]}, LIMITS)
    assert asked == completion({"model": "m"}, LIMITS)
    assert refusal_of(completion, {"model": "m", name: 2}) == f"{name}: is not offered here. Leave it out."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "model: is missing. Send the name that GET /v1/models tells."),
        ({"model": 3}, "model: input should be a valid string. Leave it out for the usual value."),
        ({"model": "m", "maxtokens": 3}, "maxtokens: is no field of this request. Did you mean `max_tokens`?"),
        ({"model": "m", "zzz": 3}, "zzz: is no field of this request. Leave it out."),
        (
            {"model": "m", "max_tokens": -1},
            "max_tokens: input should be greater than or equal to 0. Leave it out for the usual value.",
        ),
        (
            {"model": "m", "max_tokens": "many"},
            "max_tokens: input should be a valid integer. Leave it out for the usual value.",
        ),
        (
            {"model": "m", "max_tokens": 5000},
            "max_tokens: asks for 5,000 tokens, 4,096 is the most. Ask for less, or ask again.",
        ),
        (
            {"model": "m", "top_p": 0},
            "top_p: input should be greater than 0. Leave it out for the usual value.",
        ),
        (
            {"model": "m", "prompt": ["a"] * 40, "n": 2},
            "prompt: asks for 80 texts, n counted, 64 is the most. Ask for less, or ask again.",
        ),
        ({"model": "m", "prompt": []}, "prompt: is an empty list. Send a text, or a list of texts."),
        (
            {"model": "m", "prompt": {"a": 1}},
            "prompt: is neither text nor tokens. Send a text, token ids, or a list of either.",
        ),
        (
            {"model": "m", "prompt": [True]},
            "prompt: is neither text nor tokens. Send a text, token ids, or a list of either.",
        ),
        (
            {"model": "m", "prompt": "\ud800"},
            "prompt: holds half a character (a lone surrogate). Send whole characters.",
        ),
        ({"model": "m", "stop": ["a", ""]}, "stop: is no text, or an empty one. Send a text, or a list of texts."),
        (
            {"model": "m", "stop": ["a", "b", "c", "d", "e"]},
            "stop: asks for 5 texts, 4 is the most. Ask for less, or ask again.",
        ),
        (
            {"model": "m", "stop": "a" * 1001},
            "stop: asks for 1,001 characters, 1,000 is the most. Ask for less, or ask again.",
        ),
        (
            {"model": "m", "repetition_penalty": 1e-300},
            "repetition_penalty: input should be greater than or equal to 0.01. Leave it out for the usual value.",
        ),
        (
            {"model": "m", "logprobs": 1, "stream": True},
            "logprobs: is not told in a stream. Leave stream out, or logprobs.",
        ),
        (
            {"model": "m", "logprobs": 21},
            "logprobs: asks for 21 tokens, 20 is the most. Ask for less, or ask again.",
        ),
    ],
)
def test_a_completion_that_cannot_be(given, message):
    assert refusal_of(completion, given) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "m"}, "input: is missing. Send a text, or a list of texts."),
        ({"model": "m", "input": ""}, "input: is empty. Send a text, or a list of texts."),
        ({"model": "m", "input": []}, "input: is empty. Send a text, or a list of texts."),
        ({"model": "m", "input": ["a", ""]}, "input: number 1 is empty. Leave empty texts out."),
        (
            {"model": "m", "input": ["a"] * 2049},
            "input: asks for 2,049 texts, 2,048 is the most. Ask for less, or ask again.",
        ),
        (
            {"model": "m", "input": "a", "encoding_format": "hex"},
            "encoding_format: input should be 'float' or 'base64'. Leave it out for the usual value.",
        ),
    ],
)
def test_vectors_that_cannot_be(given, message):
    assert refusal_of(embedding, given) == message


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"{", "is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"n": NaN}', "is no JSON: NaN is no number"),
        (b"[" * 200_000, "is nested too deeply"),
        (b"[1]", "is no JSON object"),
    ],
)
def test_a_body_that_is_no_json_object(body, what):
    with pytest.raises(Refusal) as raised:
        parsed(body)
    assert str(raised.value) == f'the request: {what}. Send an object, such as {{"model": …}}.'
    assert raised.value.as_dict()["error"] == {
        "message": str(raised.value), "type": "invalid_request_error", "param": None, "code": "json",
    }  # fmt: skip


def test_bytes_that_are_no_utf_8_are_no_json():
    with pytest.raises(Refusal, match="is no JSON: 'utf-8' codec can't decode byte 0xff"):
        parsed(b'{"model": "\xff"}')


def test_null_is_as_good_as_nothing():
    assert parsed(b'{"model": "m", "stop": null}') == {"model": "m"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted({*WHOLE, *NEUTRAL, "input", "stream", "stream_options", "dimensions"}))


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from([completion, embedding]))
def test_whatever_comes_is_taken_or_refused(given, check):
    """No other exception, which a client would be told as a fault of the server."""
    try:
        check({"model": "m", **given}, LIMITS)
    except Refusal as refusal:
        assert 400 <= refusal.status < 500 and json.dumps(refusal.as_dict())
