"""The places of the API over one model: what is asked is checked, the worker works, the answer takes OpenAI's form."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from firth.serving.asked import Body, Completion, completion, embedding
from firth.serving.body import read_json
from firth.serving.guard import Guard, Told
from firth.serving.limits import Limits
from firth.serving.model import Choice, Model, Start
from firth.serving.refusal import Refusal, fault, fault_of, refused, unknown
from firth.serving.worker import END, Job, Worker


def make_app(
    model: Model,
    worker: Worker,
    bound: str = "127.0.0.1",
    limits: Limits = Limits(),  # noqa: B008
    seed: int | None = None,
    told: Told = lambda _: None,
) -> Guard:
    """The ASGI application. bound: the host it is served at. seed: of requests that name none; None: drawn."""
    api = Api(model, worker, limits, seed)
    routes = [
        Route("/health", api.health),
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.one_model),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/v1/embeddings", api.embeddings, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {Refusal: refused, HTTPException: unknown, ClientDisconnect: nobody}
    app = Starlette(routes=routes, exception_handlers=handlers | {Exception: fault})
    return Guard(app, bound, limits, told)


def nobody(request: Request, error: Exception) -> Response:
    """The client went away."""
    return Response(status_code=499)


class Api:
    def __init__(self, model: Model, worker: Worker, limits: Limits, seed: int | None = None):
        self.model, self.worker, self.limits, self.seed = model, worker, limits, seed

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self.model.name, "waiting": self.worker.jobs.qsize()})

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self.card()]})

    async def one_model(self, request: Request) -> Response:
        self.refuse_other(request.path_params["name"])
        return JSONResponse(self.card())

    def card(self) -> dict[str, Any]:
        return {"id": self.model.name, "object": "model", "created": self.model.created, "owned_by": "firth"}

    def refuse_other(self, name: str) -> None:
        """Raises Refusal for a model that is not served."""
        if not self.model.is_called(name):
            do = f"Ask for `{self.model.name}`."
            raise Refusal("model", f"`{name}` is not served here", do, 404, "model_not_found")

    async def asked(self, request: Request, check: Callable[..., Body]) -> Any:
        """Raises Refusal."""
        asked = check(await read_json(request, self.limits), self.limits)
        self.refuse_other(asked.model)
        return asked

    # ---------------------------------------------------------------- writing on

    async def completions(self, request: Request) -> Response:
        asked: Completion = await self.asked(request, completion)
        if self.model.writer is None:
            what = f"`{self.model.name}` does not write: it was not trained to guess the next token"
            do = "Ask it for /v1/embeddings, or serve a run of firth pretrain --objective next-token."
            raise Refusal("model", what, do, code="unsupported")
        if asked.seed is None:
            drawn = secrets.randbits(62) if self.seed is None else self.seed
            asked = asked.model_copy(update={"seed": drawn})
        job = self.worker.submit(partial(self.model.write, asked, self.limits))
        async with watched(request, job):
            start = await job.next()
            if start is END:
                return nobody(request, ClientDisconnect())
            answer = Answer(self.model.name, asked, start)
            if not asked.stream:
                return JSONResponse(answer.whole([choice async for choice in job.pieces()]))
        return Events(answer.events(job), job)

    # ---------------------------------------------------------------- vectors

    async def embeddings(self, request: Request) -> Response:
        asked = await self.asked(request, embedding)
        job = self.worker.submit(partial(self.model.embed, asked))
        async with watched(request, job):
            parts = [part async for part in job.pieces()]
        form: Any = coded if asked.encoding_format == "base64" else np.ndarray.tolist
        vectors = [form(vector) for part, _ in parts for vector in part]
        tokens = sum(count for _, count in parts)
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": self.model.name, "usage": usage})


class Answer:
    """What is written, in the form of OpenAI's API: in one piece, or as events."""

    def __init__(self, model: str, asked: Completion, start: Start):
        self.asked, self.start = asked, start
        self.base = {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion",
                     "created": int(time.time()), "model": model}  # fmt: skip

    def prompt(self, number: int) -> str:
        """What stands before the written text: the prompt, where an echo is asked for."""
        return self.start.texts[number // self.asked.n] if self.asked.echo else ""

    def whole(self, choices: list[Choice]) -> dict[str, Any]:
        texts = {number: self.prompt(number) for number in sorted({choice.number for choice in choices})}
        for choice in choices:
            texts[choice.number] += choice.text
        last = {choice.number: choice for choice in choices if choice.ended}
        found = [self.choice(text, last[number]) for number, text in texts.items()]
        return {**self.base, "choices": found, "usage": self.usage(sum(one.tokens for one in last.values()))}

    def choice(self, text: str, choice: Choice) -> dict[str, Any]:
        offset = 0 if self.asked.echo else len(self.start.texts[choice.number // self.asked.n])
        told = choice.told and choice.told.as_dict(offset)
        return {"index": choice.number, "text": text, "logprobs": told, "finish_reason": choice.ended or None}

    def usage(self, written: int) -> dict[str, int]:
        read = self.start.tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    async def events(self, job: Job) -> AsyncIterator[bytes]:
        """Server-sent events: each piece as it comes; a fault on the way is one, too."""
        begun: set[int] = set()
        written = 0
        try:
            async for choice in job.pieces():
                text = choice.text if choice.number in begun else self.prompt(choice.number) + choice.text
                begun.add(choice.number)
                written += choice.tokens
                yield event({**self.base, "choices": [self.choice(text, choice)]})
            if self.asked.stream_options.include_usage:
                yield event({**self.base, "choices": [], "usage": self.usage(written)})
            yield b"data: [DONE]\n\n"
        except Exception as error:
            yield event(fault_of(error).as_dict())


class Events(StreamingResponse):
    """Gives the job up with its end, however it comes: the client may have gone away."""

    def __init__(self, lines: AsyncIterator[bytes], job: Job):
        super().__init__(lines, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancel()


@asynccontextmanager
async def watched(request: Request, job: Job) -> AsyncIterator[None]:
    """Meanwhile the job is given up where the client goes away."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel()

    watching = asyncio.create_task(gone())
    try:
        yield
    finally:
        watching.cancel()


def event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def coded(vector: np.ndarray) -> str:
    """float32, little-endian, in base64: a third of the size of decimal numbers."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
