"""Models without training behind a real port of this machine, and requests as bytes."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import Any

from firth.serving.app import make_app
from firth.serving.guard import Guard
from firth.serving.limits import Limits
from firth.serving.model import Model, open_model
from firth.serving.server import Server, listening, settings_of
from firth.serving.worker import Worker
from tests import exported


@cache
def writer() -> Model:
    """A Llama of next tokens."""
    return open_model(exported.write_writer(Path(mkdtemp(prefix="firth-test-")) / "tales", "bpe"))


@cache
def encoder() -> Model:
    """A BERT of masked tokens."""
    return open_model(exported.write_model(Path(mkdtemp(prefix="firth-test-")) / "blanks", "bert", "masked-tokens"))


@dataclass
class Served:
    port: int
    app: Guard
    worker: Worker
    model: Model
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, request: bytes, seconds: float = 300.0) -> tuple[int, dict[str, str], bytes]:
        """Bytes as they are; status, headers and body of the answer."""
        with self.line(seconds) as line:
            line.sendall(request)
            return answer_on(line)

    def line(self, seconds: float = 300.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def ask(self, place: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """JSON there and back."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        status, _, answer = self.send(request(place, data, "GET" if body is None else "POST", **headers))
        return status, json.loads(answer)


def request(place: str, body: bytes = b"", method: str = "POST", **headers: str) -> bytes:
    """A request for one answer; keys of headers with _ for -. An empty value leaves a header out."""
    own = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body)),
           "Connection": "close"}  # fmt: skip
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {place} HTTP/1.1", *(f"{name}: {value}" for name, value in own.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_on(line: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """What is sent until the end of the connection."""
    data = b"".join(iter(lambda: line.recv(65536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    return int(first.split()[1]), headers, body


@contextmanager
def live(model: Model, limits: Limits = Limits(), **options: Any) -> Iterator[Served]:  # noqa: B008
    """A server of the model in a thread of this process."""
    worker, told = Worker(limits.seconds), []
    app = make_app(model, worker, limits=limits, told=told.append, **options)
    with listening("127.0.0.1", 0) as door:
        server = Server(settings_of(app, limits), worker)
        thread = Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        try:
            yield Served(door.getsockname()[1], app, worker, model, told)
        finally:
            worker.stop()
            server.should_exit = True
            thread.join(20)
            worker.thread.join(20)
