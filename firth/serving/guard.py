"""The door: who may ask, how many at a time, and for how long.

A page in a browser can be made to send requests to this machine under a foreign name (DNS rebinding), so the Host
header must name this machine. It cannot send JSON to another origin unasked, so bodies must be JSON.
"""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firth.serving.limits import Limits
from firth.serving.refusal import Refusal, too_late

Told = Callable[[dict[str, Any]], None]  # method, path, status, seconds of each request
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d+)?")  # an address in brackets or a name, and a port
GRACE = 5.0  # seconds beyond the limit before a client that reads no answer is left


class Guard:
    """Wraps an ASGI application. bound: the host that the server was told to listen at."""

    def __init__(self, app: ASGIApp, bound: str, limits: Limits, told: Told = lambda _: None):
        self.app, self.bound, self.limits, self.told = app, bound, limits, told
        self.taken = 0  # requests that are being read or answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, sender = time.monotonic(), Sender(send)
        try:
            await self.admit(scope, receive, sender)
        finally:
            spent = round(time.monotonic() - began, 4)
            self.told({"method": scope["method"], "path": scope["path"], "status": sender.status, "seconds": spent})

    async def admit(self, scope: Scope, receive: Receive, send: "Sender") -> None:
        """Answer the request, or say why not. An answer that is not finished in time ends with its connection."""
        if refusal := self.refusal(scope):
            await drained(receive, self.limits)
            return await refusal.response(scope, receive, send)
        self.taken += 1
        try:
            async with asyncio.timeout(self.limits.seconds + GRACE):
                await self.app(scope, receive, send)
        except TimeoutError:
            if not send.status:
                await too_late(self.limits.seconds).response(scope, receive, send)
        finally:
            self.taken -= 1

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why this request is not looked at."""
        host, kind = header(scope, b"host"), header(scope, b"content-type")
        if not is_own(host, self.bound):
            what = f"`{host}` is no name of this machine" if host else "is missing"
            return Refusal("the Host header", what, "Ask for the address that firth serve printed.", 403, "host")
        if scope["method"] == "POST" and kind.split(";")[0].strip().lower() != "application/json":
            what = f"is `{kind}`" if kind else "is missing"
            return Refusal("the Content-Type header", what, "Send JSON, as application/json.", 415, "content_type")
        if self.taken >= self.limits.requests and scope["path"] != "/health":
            what = f"has {self.taken} requests already"
            return Refusal("the server", what, "Try again in a moment.", 429, "rate_limit_exceeded")
        return None


class Sender:
    """Sends on, and remembers the status."""

    def __init__(self, send: Send):
        self.send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        await self.send(message)


def header(scope: Scope, name: bytes) -> str:
    """A header that stands once; "" otherwise."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def is_own(host: str, bound: str) -> bool:
    """Whether a Host header names this machine, with or without a port.

    Behind a foreign name there may be anybody, behind an address only the machine of that address: where the server
    listens beyond this machine, any address will do.
    """
    found = HOST.fullmatch(host.lower())
    name = (found[1] or found[2]) if found else ""
    if name in ("localhost", bound.lower()):
        return True
    address = address_of(name)
    if is_loopback(bound):
        return address is not None and address.is_loopback
    return address is not None or name == socket.gethostname().lower()


def is_loopback(host: str) -> bool:
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def address_of(host: str):
    """None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


async def drained(receive: Receive, limits: Limits) -> None:
    """The body of a refused request, read and dropped while there is time: many clients send first and then read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.body_seconds):
            while (await receive()).get("more_body"):
                pass
