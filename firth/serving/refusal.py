"""What a client is told that asks for what cannot be: a status, and a message of three parts in the usual form.

The form is that of OpenAI's API: {"error": {"message", "type", "param", "code"}}, which its client packages turn into
exceptions.
"""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from firth.errors import InputError

TYPES = {404: "not_found_error", 429: "rate_limit_error"}  # below 500; others are invalid_request_error


class Refusal(InputError):
    """where: a field of the request, or what of it is at fault; status: of HTTP; code: for programs."""

    def __init__(self, where: object, what: str, do: str, status: int = 400, code: str | None = None):
        super().__init__(where, what, do)
        self.status, self.code = status, code

    @property
    def kind(self) -> str:
        return "server_error" if self.status >= 500 else TYPES.get(self.status, "invalid_request_error")

    def as_dict(self) -> dict[str, Any]:
        param = self.where if self.where.isidentifier() else None
        return {"error": {"message": str(self), "type": self.kind, "param": param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The connection ends with it where the request may not have been read to its end."""
        headers = {"connection": "close"} if self.status in (408, 413) else {}
        headers |= {"retry-after": "1"} if self.status == 429 else {}
        return JSONResponse(self.as_dict(), self.status, headers)


def refused(request: Request, error: Exception) -> Response:
    """The answer to a request that a Refusal came of."""
    assert isinstance(error, Refusal)
    return error.response


def unknown(request: Request, error: Exception) -> Response:
    """No such place, or not by this method."""
    assert isinstance(error, HTTPException)
    place, offers = request.url.path, "GET /health, GET /v1/models, POST /v1/completions, POST /v1/embeddings"
    if error.status_code == 404:
        return Refusal(place, "there is nothing here", f"There is: {offers}.", 404, "unknown_url").response
    return Refusal(f"{request.method} {place}", "is not how this is asked", f"There is: {offers}.", 405).response


def fault(request: Request, error: Exception) -> Response:
    """Something went wrong here; what, is for the log and not for the client."""
    return fault_of(error).response


def fault_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return Refusal(error.where, error.what, error.do)
    what = f"went wrong ({type(error).__name__}); this is a fault in firth"
    return Refusal("the answer", what, "Start it with --debug to see more.", 500, "fault")


def too_late(seconds: float) -> Refusal:
    what = f"was not ready after {seconds:g} s"
    return Refusal("the answer", what, "Ask for less, or try again when less is asked of it.", 503, "timeout")


def ending() -> Refusal:
    return Refusal("the server", "is being stopped", "Start it again with firth serve.", 503, "stopped")
