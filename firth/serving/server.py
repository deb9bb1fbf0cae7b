"""`firth serve`: a model behind HTTP on this machine, in the form that clients of OpenAI's API speak."""

import errno
import json
import shlex
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from firth.data.records import printable
from firth.errors import InputError
from firth.serving.app import make_app
from firth.serving.guard import is_loopback
from firth.serving.limits import Limits
from firth.serving.model import Model, open_model
from firth.serving.patience import Patient
from firth.serving.worker import Worker
from firth.train.describe import count
from firth.train.log import Show, Silent

HOST, PORT = "127.0.0.1", 8000
BACKLOG = 1024  # connections that the system holds until they are taken up
CONNECTIONS = 4  # times as many as requests: a client may keep one open between requests
LEAVE = 3  # seconds for answers that are on their way when the server is stopped


class Server(uvicorn.Server):
    """Ends of its own accord after Ctrl-C and SIGTERM, and answers what waits before."""

    def __init__(self, config: uvicorn.Config, worker: Worker):
        super().__init__(config)
        self.worker = worker

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.worker.stop()
        self.should_exit, self.force_exit = True, self.should_exit


def serve(
    model: str | Path,
    host: str = HOST,
    port: int = PORT,
    settings: Iterable[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    ready: Callable[[dict[str, Any]], None] = lambda _: None,
    limits: Limits = Limits(),  # noqa: B008
    debug: bool = False,
) -> dict[str, Any]:
    """Serve a run folder or a model folder until Ctrl-C or SIGTERM; returns what was served, and where.

    host: other addresses than this machine's own must be named. port: 0 is any that is free. seed: of requests that
    name none; None: drawn anew for each. out: a file to which a JSON line is added for each request, without its text.
    ready: told the same as is returned, once requests are taken. dry_run: the model is opened, nothing is served.
    debug: the traceback of a fault goes to standard error.
    Raises InputError for a model that cannot be opened, and for an address that cannot be had.
    """
    show = show or Silent()
    with listening(host, port) as door:
        opened = open_model(model, settings, device)
        found = facts(opened, host, door.getsockname()[1])
        describe(opened, found, show)
        if dry_run:
            return found | {"status": "planned"}
        worker = Worker(limits.seconds)
        app = make_app(opened, worker, host, limits, seed, diary(show, out))
        ready(found)
        Server(settings_of(app, limits, debug), worker).run(sockets=[door])
        worker.stop()
    show.note("Stopped.")
    return found | {"status": "stopped"}


def settings_of(app: Any, limits: Limits, debug: bool = False) -> uvicorn.Config:
    level = "error" if debug else "critical"
    patient: Any = partial(Patient, limits.body_seconds)
    return uvicorn.Config(
        app, http=patient, ws="none", lifespan="off", log_config=None, log_level=level,
        access_log=False, server_header=False, backlog=BACKLOG, timeout_graceful_shutdown=LEAVE,
        limit_concurrency=CONNECTIONS * limits.requests,
    )  # fmt: skip


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises InputError where the address cannot be had."""
    if not 0 <= port < 2**16:
        raise InputError(f"--port {port}", "is no port", "Choose one from 1024 to 65535, or 0 for any that is free.")
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
        door.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        door.close()
        raise refusal(host, port, error) from None
    return door


def refusal(host: str, port: int, error: Exception) -> InputError:
    """Why an address cannot be had, and what to do."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return InputError(f"--port {port}", "is taken by another program", "Choose another, or --port 0 for any.")
    if number == errno.EACCES:
        return InputError(f"--port {port}", "may not be used by everybody", "Choose one above 1023.")
    return InputError(f"--host {host}", f"is no address of this machine ({error})", f"Leave it out for {HOST}.")


def facts(model: Model, host: str, port: int) -> dict[str, Any]:
    name = f"[{host}]" if ":" in host else host
    return {"status": "serving", "model": model.name, "address": f"http://{name}:{port}", "host": host, "port": port,
            "completions": model.writer is not None, "embeddings": True, "context": model.context}  # fmt: skip


def describe(model: Model, found: dict[str, Any], show: Show) -> None:
    """The model, the address, a command to try."""
    shape = model.encoder.shape
    size = f"{shape.layers} layers × {shape.width}, {count(parameters(model))} parameters"
    does = "writes on, and gives vectors" if model.writer else "gives vectors"
    show.line("Model", f"{model.name}: {shape.name}, {size}, context {model.context:,} · {does}")
    if not is_loopback(found["host"]):
        show.note(f"Whoever reaches {found['host']} can use the model: there is no password, and nothing is encrypted.")
    show.line("Serving", f"{found['address']} · Ctrl-C ends it")
    place = "completions" if model.writer else "embeddings"
    asked = {"prompt": "The", "max_tokens": 20} if model.writer else {"input": "The"}
    body = json.dumps({"model": model.name, **asked})
    show.line("Try", f"curl {found['address']}/v1/{place} -H content-type:application/json -d {shlex.quote(body)}")


def parameters(model: Model) -> int:
    """Of the encoder; an output map of its own is not counted."""
    return sum(one.numel() for one in model.encoder.backbone.parameters())


def diary(show: Show, out: str | Path | None) -> Callable[[dict[str, Any]], None]:
    """Tells of each request; with `out` in a file, too. Raises InputError for a file that cannot be written."""

    def told(entry: dict[str, Any]) -> None:
        if entry["path"] != "/health":
            show.note(
                "{method} {path} · {status} · {seconds:.2f} s".format(**entry | {"path": printable(entry["path"])})
            )
        add(json.dumps(entry) + "\n")

    def add(line: str) -> None:
        if out is not None:
            with open(out, "a", encoding="utf-8") as file:
                file.write(line)

    try:
        add("")
    except OSError as error:
        raise InputError(out, f"cannot be written to ({error.strerror})", "Choose another --out.") from None
    return told
