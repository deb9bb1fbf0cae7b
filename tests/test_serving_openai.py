"""The official client package of OpenAI's API against a live server."""

import base64

import numpy as np
import pytest

from firth.evaluate.predict import load
from firth.serving.limits import Limits
from tests import served

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def place():
    with served.live(served.writer()) as found:
        yield found


@pytest.fixture(scope="module")
def blanks():
    with served.live(served.encoder()) as found:
        yield found


def client(place: served.Served, retries: int = 0):
    return openai.OpenAI(base_url=f"{place.address}/v1", api_key="none", max_retries=retries, timeout=30)


def test_a_completion(place):
    made = client(place).completions.create(
        model="tales", prompt=["The ship", "The cow"], max_tokens=6, temperature=0, n=2
    )
    greedy = [one.written for one in load(place.model.folder).predict(["The ship", "The cow"], tokens=6, temperature=0)]
    assert [one.text for one in made.choices] == [greedy[0], greedy[0], greedy[1], greedy[1]]
    assert [one.index for one in made.choices] == [0, 1, 2, 3]
    assert {one.finish_reason for one in made.choices} <= {"length", "stop"}
    assert made.object == "text_completion" and made.model == "tales" and made.id.startswith("cmpl-")
    signal = place.model.encoder.signal
    read = sum(len(signal.prompt(text)) for text in ("The ship", "The cow"))
    usage = made.usage
    assert usage.prompt_tokens == read and usage.total_tokens == read + usage.completion_tokens
    assert usage.completion_tokens <= 24


def test_a_stream_is_the_completion_in_pieces(place):
    asked = {"model": "tales", "prompt": "The ship", "max_tokens": 12, "temperature": 0.9, "seed": 5, "n": 2}
    whole = client(place).completions.create(**asked)
    texts, reasons, usage, pieces = {0: "", 1: ""}, {}, None, 0
    for chunk in client(place).completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage, pieces = chunk.usage or usage, pieces + 1
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert texts == {one.index: one.text for one in whole.choices}
    assert reasons == {one.index: one.finish_reason for one in whole.choices}
    assert usage == whole.usage and pieces > 3


def test_the_async_client_streams_too(place):
    import asyncio

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{place.address}/v1", api_key="none", max_retries=0) as own:
            stream = await own.completions.create(model="tales", prompt="The", max_tokens=5, temperature=0, stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

    (one,) = load(place.model.folder).predict(["The"], tokens=5, temperature=0)
    assert asyncio.run(run()) == one.written


def test_stop_and_echo(place):
    free = client(place).completions.create(model="tales", prompt="The", max_tokens=20, temperature=0).choices[0].text
    stop = free[3:5]
    cut = client(place).completions.create(
        model="tales", prompt="The", max_tokens=20, temperature=0, stop=[stop], echo=True
    )
    assert cut.choices[0].text == "The" + free[: free.index(stop)] and cut.choices[0].finish_reason == "stop"


def test_log_likelihoods(place):
    made = client(place).completions.create(
        model="tales", prompt="The old cow", max_tokens=4, temperature=0, logprobs=2, echo=True
    )
    told = made.choices[0].logprobs
    assert "".join(told.tokens) == made.choices[0].text
    assert [
        made.choices[0].text[at:][: len(token)] for at, token in zip(told.text_offset, told.tokens, strict=True)
    ] == (told.tokens)
    assert len(told.token_logprobs) == len(told.tokens) == len(told.top_logprobs)
    for own, token, likeliest in zip(told.token_logprobs, told.tokens, told.top_logprobs, strict=True):
        assert likeliest[token] == own and own <= max(likeliest.values())


def test_the_same_seed_writes_the_same_and_none_does_not(place):
    asked = {"model": "tales", "prompt": "The", "max_tokens": 20, "temperature": 2.0}

    def text(**more):
        return client(place).completions.create(**asked, **more).choices[0].text

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert len({text() for _ in range(3)}) == 3


def test_firths_own_ways_of_writing(place):
    only = {"top_k": 1}
    made = client(place).completions.create(model="tales", prompt="The", max_tokens=6, temperature=3, extra_body=only)
    assert made.choices[0].text == client(place).completions.create(
        model="tales", prompt="The", max_tokens=6, temperature=0
    ).choices[0].text  # fmt: skip


@pytest.mark.parametrize("kind", ["tales", "blanks"])
def test_embeddings(kind, place, blanks):
    own = place if kind == "tales" else blanks
    texts = ["The wide ship", "cow"]
    plain = client(own).embeddings.create(model=kind, input=texts, encoding_format="float")
    coded = client(own).embeddings.create(model=kind, input=texts, encoding_format="base64")
    usual = client(own).embeddings.create(model=kind, input=texts)  # the client asks for base64 and decodes it
    vectors = np.array([one.embedding for one in plain.data])
    assert vectors.shape == (2, 32) and [one.index for one in plain.data] == [0, 1]
    np.testing.assert_allclose(np.array([one.embedding for one in usual.data]), vectors, atol=1e-6)
    decoded = [np.frombuffer(base64.b64decode(one.embedding), "<f4") for one in coded.data]
    np.testing.assert_allclose(decoded, vectors, atol=1e-6)
    single = client(own).embeddings.create(model=kind, input="cow", encoding_format="float")
    np.testing.assert_allclose(single.data[0].embedding, vectors[1], atol=1e-5)
    assert plain.usage.prompt_tokens == plain.usage.total_tokens > 0


def test_models(place):
    assert [one.id for one in client(place).models.list()] == ["tales"]
    assert client(place).models.retrieve("tales").owned_by == "firth"
    with pytest.raises(openai.NotFoundError):
        client(place).models.retrieve("fables")


# ------------------------------------------------------------------ errors


def refused(kind, call) -> dict:
    with pytest.raises(kind) as raised:
        call()
    return {"message": raised.value.body["message"], "param": raised.value.param, "code": raised.value.code}


def test_an_unknown_model(place):
    call = lambda: client(place).completions.create(model="fables", prompt="The")  # noqa: E731
    assert refused(openai.NotFoundError, call) == {
        "message": "model: `fables` is not served here. Ask for `tales`.",
        "param": "model",
        "code": "model_not_found",
    }


def test_a_bad_request(place):
    call = lambda: client(place).completions.create(model="tales", prompt="The", top_p=2)  # noqa: E731
    assert refused(openai.BadRequestError, call) == {
        "message": "top_p: input should be less than or equal to 1. Leave it out for the usual value.",
        "param": "top_p",
        "code": None,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context(place, stream):
    call = lambda: client(place).completions.create(model="tales", prompt="ship " * 50, stream=stream)  # noqa: E731
    assert refused(openai.BadRequestError, call)["code"] == "context_length_exceeded"


def test_a_model_that_does_not_write_says_what_to_do(blanks):
    call = lambda: client(blanks).completions.create(model="blanks", prompt="The")  # noqa: E731
    assert refused(openai.BadRequestError, call)["message"] == (
        "model: `blanks` does not write: it was not trained to guess the next token. "
        "Ask it for /v1/embeddings, or serve a run of firth pretrain --objective next-token."
    )


def test_a_request_that_is_too_large():
    with served.live(served.writer(), Limits(body=2000)) as small, pytest.raises(openai.APIStatusError) as raised:
        client(small).completions.create(model="tales", prompt="x" * 3000)
    assert raised.value.status_code == 413 and raised.value.code == "too_large"


def test_a_full_server_and_the_client_that_comes_again():
    with served.live(served.writer(), Limits(requests=2)) as full:
        full.app.taken = 2
        with pytest.raises(openai.RateLimitError):
            client(full).completions.create(model="tales", prompt="The")
        full.app.taken = 0
        assert client(full).completions.create(model="tales", prompt="The").choices


def test_an_answer_that_is_not_ready_in_time():
    with served.live(served.writer(), Limits(seconds=0.3)) as slow, pytest.raises(openai.InternalServerError) as raised:
        client(slow).completions.create(model="tales", prompt=["The"] * 64, max_tokens=4000, temperature=1)
    assert raised.value.status_code == 503 and raised.value.code == "timeout"


def test_a_fault_on_the_way_is_an_event_that_the_client_raises(monkeypatch):
    model = served.writer()

    def breaking(asked, limits):
        start, first, *_ = model.write(asked, limits)
        yield start
        yield first._replace(ended="")
        raise ZeroDivisionError("secret")

    with served.live(model) as place:
        monkeypatch.setattr(place.app.app.routes[3].endpoint.__self__, "model", Broken(model, breaking))
        pieces = client(place).completions.create(model="tales", prompt="The", stream=True, temperature=0)
        with pytest.raises(openai.APIError, match="went wrong") as raised:
            list(pieces)
        assert "secret" not in str(raised.value)
        with pytest.raises(openai.InternalServerError) as raised:
            client(place).completions.create(model="tales", prompt="The", temperature=0)
        assert "secret" not in str(raised.value)


class Broken:
    """A model whose writing is another's."""

    def __init__(self, model, write):
        self.model, self.write = model, write

    def __getattr__(self, name: str):
        return getattr(self.model, name)
