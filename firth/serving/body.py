"""The body of a request: read within bounds, and made into what was asked for."""

import asyncio
import json
from typing import Any

from starlette.requests import Request

from firth.serving.limits import Limits
from firth.serving.refusal import Refusal


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object that was sent; keys whose value is null are left out. Raises Refusal."""
    return parsed(await read(request, limits))


async def read(request: Request, limits: Limits) -> bytes:
    """Raises Refusal: 408 where the body does not come in time, 413 where it is too large.

    Never more than `limits.body` bytes are held. What is more is read and dropped while there is time: a client that
    sends first and then reads would not find its answer otherwise.
    """
    parts: list[bytes] = []
    size, late = 0, False
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size <= limits.body:
                    parts.append(part)
                else:
                    parts.clear()
    except TimeoutError:
        late = True
    if size > limits.body:
        what = f"is larger than {limits.body:,} bytes"
        raise Refusal("the request", what, "Send it in several, each smaller.", 413, "too_large")
    if late:
        what = f"did not come in whole within {limits.body_seconds:g} s"
        raise Refusal("the request", what, "Send it again, and at once.", 408, "slow")
    return b"".join(parts)


def parsed(body: bytes) -> dict[str, Any]:
    """Raises Refusal for what is no JSON object."""
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else f"is no JSON: {error}"
        raise Refusal("the request", what, 'Send an object, such as {"model": …}.', code="json") from None
    if not isinstance(found, dict):
        raise Refusal("the request", "is no JSON object", 'Send an object, such as {"model": …}.', code="json")
    return {key: value for key, value in found.items() if value is not None}


def no_number(name: str) -> None:
    """NaN, Infinity: Python's JSON knows them, the standard does not."""
    raise ValueError(f"{name} is no number")
