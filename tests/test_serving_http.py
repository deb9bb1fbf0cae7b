"""Bytes on the line: bodies too large or too slow, nonsense, clients that leave, and sixty-four at once."""

import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from firth.serving.limits import Limits
from tests import served

SMALL = Limits(body=2000, body_seconds=0.5)
ASKED = {"model": "tales", "prompt": "The", "max_tokens": 3}


@pytest.fixture(scope="module")
def place():
    with served.live(served.writer(), SMALL) as found:
        yield found


def message(answer) -> str:
    return answer[1]["error"]["message"]


def test_health_says_what_is_served(place):
    assert place.ask("/health") == (200, {"status": "ok", "model": "tales", "waiting": 0})


def test_the_models_are_a_list_of_one(place):
    status, found = place.ask("/v1/models")
    assert status == 200 and [one["id"] for one in found["data"]] == ["tales"]


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/v1/chat/completions", 404), ("/v1/models/x", 404)])
def test_other_places_say_what_there_is(place, path, status):
    answer = place.ask(path)
    assert answer[0] == status and set(answer[1]["error"]) == {"message", "type", "param", "code"}


def test_nothing_here_word_for_word(place):
    offers = "There is: GET /health, GET /v1/models, POST /v1/completions, POST /v1/embeddings."
    assert message(place.ask("/v1/chat/completions", {})) == f"/v1/chat/completions: there is nothing here. {offers}"
    answer = place.ask("/v1/completions")
    assert answer[0] == 405 and message(answer) == f"GET /v1/completions: is not how this is asked. {offers}"


@pytest.mark.parametrize("body", [b"", b"{", b"[1, 2]", b'"text"', b"\xff\xfe", b'{"model": NaN}', b"[" * 1900])
def test_what_is_no_json_object_is_answered_with_400(place, body):
    status, answer = place.ask("/v1/completions", body)
    assert status == 400 and answer["error"]["code"] == "json"


def test_a_foreign_host_is_answered_with_403(place):
    assert place.ask("/v1/models", Host="rebound.example.org")[0] == 403


def test_a_form_of_a_page_is_answered_with_415(place):
    assert place.ask("/v1/completions", ASKED, Content_Type="text/plain")[0] == 415


@pytest.mark.parametrize("size", [2001, 20_000, 500_000])
def test_a_body_over_the_limit_is_answered_with_413(place, size):
    status, headers, answer = place.send(served.request("/v1/completions", b"x" * size))
    assert status == 413 and headers["connection"] == "close"
    assert json.loads(answer)["error"]["message"] == (
        "the request: is larger than 2,000 bytes. Send it in several, each smaller."
    )


def test_a_body_in_pieces_is_taken_and_limited_like_any_other(place):
    body = json.dumps(ASKED).encode()
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = served.request("/v1/completions", Content_Length="", Transfer_Encoding="chunked")
    assert place.send(head + pieces)[0] == 200
    assert place.send(head + b"7d0\r\n" + b" " * 2000 + b"\r\n1\r\n{\r\n0\r\n\r\n")[0] == 413


def test_a_slow_client_is_answered_with_408(place):
    whole = served.request("/v1/completions", json.dumps(ASKED).encode())
    began = time.monotonic()
    status, headers, answer = place.send(whole[:-5])
    assert status == 408 and 0.4 < time.monotonic() - began < 5 and headers["connection"] == "close"
    assert json.loads(answer)["error"]["message"] == (
        "the request: did not come in whole within 0.5 s. Send it again, and at once."
    )


def test_a_client_that_never_says_what_it_wants_is_left(place):
    with place.line() as line:
        line.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert served.answer_on(line)[0] == 408


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST /\x00 HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_ends_with_400(place, junk):
    assert place.send(junk + b"\r\n\r\n")[0] == 400


def test_requests_are_told_without_their_text(place):
    place.told.clear()
    place.ask("/v1/completions", ASKED)
    (entry,) = place.told
    assert {key: entry[key] for key in ("method", "path", "status")} == {
        "method": "POST", "path": "/v1/completions", "status": 200,
    }  # fmt: skip
    assert set(entry) == {"method", "path", "status", "seconds"}


# ------------------------------------------------------------------ clients that leave


class Endless:
    """A model that writes until nobody waits any more."""

    def __init__(self, model):
        self.model, self.pieces, self.closed = model, 0, Event()

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def write(self, asked, limits):
        start, first, *_ = self.model.write(asked, limits)
        try:
            yield start
            while True:
                self.pieces += 1
                yield first._replace(text="x" * 100, ended="")
                time.sleep(0.001)
        finally:
            self.closed.set()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_writing(stream):
    model = Endless(served.writer())
    with served.live(model) as place:
        body = json.dumps(ASKED | {"stream": stream}).encode()
        with place.line() as line:
            line.sendall(served.request("/v1/completions", body))
            if stream:
                assert line.recv(100).startswith(b"HTTP/1.1 200")
            else:
                time.sleep(0.3)
        assert model.closed.wait(10)
        until = time.monotonic() + 10
        while place.app.taken and time.monotonic() < until:
            time.sleep(0.01)
        assert place.app.taken == 0


def test_a_client_that_reads_nothing_does_not_hold_up_others(monkeypatch):
    """Its own answer is given up after a while; the model has long gone on."""
    monkeypatch.setattr("firth.serving.guard.GRACE", 0.2)
    model = Endless(served.writer())
    body = json.dumps(ASKED | {"stream": True}).encode()
    with served.live(model, Limits(seconds=1.0)) as place, place.line() as line:
        line.sendall(served.request("/v1/completions", body))
        assert model.closed.wait(10)
        assert place.ask("/v1/embeddings", {"model": "tales", "input": "The"})[0] == 200


# ------------------------------------------------------------------ many at once


def ask(place: served.Served, number: int, tokens: int = 8) -> tuple[int, str]:
    """Every fourth client streams."""
    body = {"model": "tales", "prompt": f"The {number}", "max_tokens": tokens, "temperature": 1, "seed": number}
    if number % 4:
        status, answer = place.ask("/v1/completions", body)
        return status, answer["choices"][0]["text"]
    status, _, answer = place.send(served.request("/v1/completions", json.dumps(body | {"stream": True}).encode()))
    lines = [line.removeprefix(b"data: ") for line in answer.split(b"\n") if line.startswith(b"data: {")]
    return status, "".join(json.loads(line)["choices"][0]["text"] for line in lines)


def test_clients_at_once_get_what_each_would_get_alone():
    with served.live(served.writer()) as place:
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda number: ask(place, number), range(16)))
        assert together == [ask(place, number) for number in range(16)]
        assert place.app.taken == 0


@pytest.mark.slow
def test_sixty_four_clients_at_once_are_all_answered_and_memory_is_bounded():
    """Five rounds of 64; the peak of memory grows by less than 64 MiB after the first."""
    with served.live(served.writer()) as place, ThreadPoolExecutor(64) as pool:

        def round() -> list[tuple[int, str]]:
            return list(pool.map(lambda number: ask(place, number, 16), range(64)))

        first = round()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert {status for status, _ in first} == {200}
        for _ in range(4):
            assert round() == first
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
        assert place.app.taken == 0 and place.worker.jobs.qsize() == 0


@pytest.mark.slow
def test_more_clients_than_places_are_told_to_come_again_and_none_is_left_without_an_answer():
    with served.live(served.writer(), Limits(requests=8)) as place, ThreadPoolExecutor(64) as pool:
        body = {"model": "tales", "prompt": "The", "max_tokens": 60}
        found = list(pool.map(lambda _: place.ask("/v1/completions", body)[0], range(64)))
    assert set(found) == {200, 429} and found.count(200) >= 8
