"""The door: names of this machine only, JSON only, not too many, and not for ever."""

import asyncio
import json

import pytest

from firth.serving import guard as module
from firth.serving.guard import Guard, is_loopback, is_own
from firth.serving.limits import Limits


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "[::1]", "127.8.8.8"]
)
def test_names_of_this_machine_are_let_in(host):
    assert is_own(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host",
    ["", "example.org", "example.org:8000", "localhost.example.org", "127.0.0.1.example.org", "0.0.0.0", "10.0.0.7",
     "a@localhost:x", "[::1", "[::g]", "localhost.", "127.1", "2130706433"],
)  # fmt: skip
def test_foreign_names_are_not(host):
    assert not is_own(host, "127.0.0.1")


def test_beyond_this_machine_any_address_will_do_but_no_foreign_name(monkeypatch):
    monkeypatch.setattr(module.socket, "gethostname", lambda: "Desk")
    for host in ("10.0.0.7:8000", "[fe80::1]:80", "desk", "localhost", "127.0.0.1"):
        assert is_own(host, "0.0.0.0"), host
    for host in ("example.org", "desk.example.org", ""):
        assert not is_own(host, "0.0.0.0"), host
    assert is_own("models.example.org:8000", "models.example.org")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("desk", False)],
)
def test_what_is_this_machine_alone(host, loopback):
    assert is_loopback(host) == loopback


# ------------------------------------------------------------------ requests


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def asked(guard: Guard, parts=(b"{}",), method: str = "POST", path: str = "/v1/completions", **headers: str):
    """Status and body of the answer; headers with _ for -."""
    own = {"host": "localhost", "content_type": "application/json"} | headers
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in own.items() if value]
    left, sent = parts if isinstance(parts, list) else list(parts), []

    async def receive():
        if not left:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    asyncio.run(guard(scope, receive, send))
    body = b"".join(one.get("body", b"") for one in sent[1:])
    return (sent[0]["status"], json.loads(body)) if sent else None


def message_of(answer) -> str:
    return answer[1]["error"]["message"]


def test_a_request_from_this_machine_is_answered_and_told():
    told = []
    assert asked(Guard(hello, "127.0.0.1", Limits(), told.append)) == (200, {})
    assert told[0].pop("seconds") >= 0
    assert told == [{"method": "POST", "path": "/v1/completions", "status": 200}]


def test_a_foreign_name_is_refused():
    answer = asked(Guard(hello, "127.0.0.1", Limits()), host="rebound.example.org")
    assert answer[0] == 403 and message_of(answer) == (
        "the Host header: `rebound.example.org` is no name of this machine. "
        "Ask for the address that firth serve printed."
    )
    answer = asked(Guard(hello, "127.0.0.1", Limits()), host="")
    assert message_of(answer).startswith("the Host header: is missing. ")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_page_may_send_unasked_is_refused(kind):
    answer = asked(Guard(hello, "127.0.0.1", Limits()), content_type=kind)
    what = f"is `{kind}`" if kind else "is missing"
    assert answer[0] == 415
    assert message_of(answer) == f"the Content-Type header: {what}. Send JSON, as application/json."


def test_json_with_a_charset_is_json_and_asking_needs_no_type():
    assert asked(Guard(hello, "127.0.0.1", Limits()), content_type="Application/JSON; charset=utf-8")[0] == 200
    assert asked(Guard(hello, "127.0.0.1", Limits()), method="GET", content_type="")[0] == 200


def test_one_request_too_many_is_told_to_come_again_but_health_is_answered():
    guard = Guard(hello, "127.0.0.1", Limits(requests=2))
    guard.taken = 2
    answer = asked(guard)
    assert answer[0] == 429 and message_of(answer) == ("the server: has 2 requests already. Try again in a moment.")
    assert answer[1]["error"]["type"] == "rate_limit_error"
    assert asked(guard, method="GET", path="/health")[0] == 200
    assert guard.taken == 2


@pytest.mark.parametrize("fails", [False, True])
def test_the_place_of_a_request_is_free_again_whatever_came_of_it(fails):
    async def app(scope, receive, send):
        assert guard.taken == 1
        if fails:
            raise ZeroDivisionError
        await hello(scope, receive, send)

    guard = Guard(app, "127.0.0.1", Limits())
    if fails:
        with pytest.raises(ZeroDivisionError):
            asked(guard)
    else:
        asked(guard)
    assert guard.taken == 0


def test_an_answer_that_never_comes_ends_with_503(monkeypatch):
    async def never(scope, receive, send):
        await asyncio.sleep(60)

    monkeypatch.setattr(module, "GRACE", 0.05)
    answer = asked(Guard(never, "127.0.0.1", Limits(seconds=0.05)))
    assert answer[0] == 503 and answer[1]["error"]["code"] == "timeout"


def test_an_answer_that_stops_half_way_is_left(monkeypatch):
    async def stuck(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": True})
        await asyncio.sleep(60)

    monkeypatch.setattr(module, "GRACE", 0.05)
    told = []
    guard = Guard(stuck, "127.0.0.1", Limits(seconds=0.05), told.append)
    assert asked(guard) == (200, {}) and guard.taken == 0 and told[0]["status"] == 200


def test_the_body_of_a_refused_request_is_read_and_dropped():
    guard = Guard(hello, "127.0.0.1", Limits(body_seconds=5))
    parts = [b"x" * 400] * 10
    assert asked(guard, parts, host="example.org")[0] == 403 and parts == []


def test_the_rest_of_a_refused_request_is_not_waited_for_for_ever():
    guard = Guard(hello, "127.0.0.1", Limits(body_seconds=0.05))
    assert asked(guard, [], host="example.org")[0] == 403
