"""What may be asked for: the fields of OpenAI's API that a model of firth can heed, checked one by one.

A field that is known there and cannot be heeded here is taken with the value that changes nothing, and refused with any
other; so no client believes in something that does not happen.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firth.errors import did_you_mean
from firth.serving.limits import Limits
from firth.serving.refusal import Refusal

Text = str | list[int]  # or its token ids
NEUTRAL: dict[str, tuple[Any, ...]] = {  # values that change nothing
    "suffix": ("",), "best_of": (1,), "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},),
}  # fmt: skip


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str
    user: str = ""  # whatever a client says of its own users; not heeded


class StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    include_usage: bool = False


class Completion(Body):
    """`/v1/completions`. top_k, min_p and repetition_penalty go by the names that other servers give them."""

    prompt: list[Text] = [""]
    n: int = Field(1, ge=1, le=1024)  # texts to each prompt
    max_tokens: int = Field(16, ge=0)
    temperature: float = Field(1.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)  # -1 and 0: all
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0.01, le=100)
    stop: list[str] = []
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    echo: bool = False
    logprobs: int | None = Field(None, ge=0)

    @property
    def told_likelihoods(self) -> bool:
        return self.logprobs is not None


class Embedding(Body):
    """`/v1/embeddings`."""

    input: list[Text]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


Asked = TypeVar("Asked", bound=Body)


def completion(given: Mapping[str, Any], limits: Limits) -> Completion:
    """Raises Refusal."""
    given = dict(given)
    for name, values in NEUTRAL.items():
        if name in given and given.pop(name) not in values:
            raise Refusal(name, "is not offered here", "Leave it out.", code="unsupported")
    given["prompt"] = texts_of("prompt", given.get("prompt", ""))
    given["stop"] = stops_of(given.get("stop", []), limits)
    asked = checked(Completion, given)
    refuse_more(asked, limits)
    return asked


def embedding(given: Mapping[str, Any], limits: Limits) -> Embedding:
    """Raises Refusal."""
    if "input" not in given:
        raise Refusal("input", "is missing", "Send a text, or a list of texts.")
    asked = checked(Embedding, {**given, "input": texts_of("input", given["input"])})
    at_most("input", len(asked.input), limits.inputs, "texts")
    if empty := next((number for number, one in enumerate(asked.input) if not one), None):
        raise Refusal("input", f"number {empty} is empty", "Leave empty texts out.")
    if not asked.input or not asked.input[0]:
        raise Refusal("input", "is empty", "Send a text, or a list of texts.")
    return asked


def refuse_more(asked: Completion, limits: Limits) -> None:
    """Raises Refusal for more than one request may ask for, or for what does not go together."""
    if not asked.prompt:
        raise Refusal("prompt", "is an empty list", "Send a text, or a list of texts.")
    at_most("prompt", len(asked.prompt) * asked.n, limits.prompts, "texts, n counted")
    at_most("max_tokens", asked.max_tokens, limits.tokens, "tokens")
    at_most("logprobs", asked.logprobs or 0, limits.likeliest, "tokens")
    if asked.told_likelihoods and asked.stream:
        raise Refusal("logprobs", "is not told in a stream", "Leave stream out, or logprobs.", code="unsupported")


def at_most(name: str, number: int, most: int, unit: str) -> None:
    """Raises Refusal."""
    if number > most:
        raise Refusal(name, f"asks for {number:,} {unit}, {most:,} is the most", "Ask for less, or ask again.")


def texts_of(name: str, given: Any) -> list[Text]:
    """A text, its tokens, or a list of either, as a list. Raises Refusal."""
    if isinstance(given, str) or (given and is_tokens(given)):
        given = [given]
    if not isinstance(given, list) or not all(isinstance(one, str) or is_tokens(one) for one in given):
        raise Refusal(name, "is neither text nor tokens", "Send a text, token ids, or a list of either.")
    return [whole(name, one) if isinstance(one, str) else one for one in given]


def is_tokens(given: Any) -> bool:
    return isinstance(given, list) and all(type(one) is int for one in given)


def stops_of(given: Any, limits: Limits) -> list[str]:
    """Raises Refusal."""
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise Refusal("stop", "is no text, or an empty one", "Send a text, or a list of texts.")
    at_most("stop", len(stops), limits.stops, "texts")
    at_most("stop", max(map(len, stops), default=0), limits.stop, "characters")
    return [whole("stop", one) for one in stops]


def whole(name: str, text: str) -> str:
    """Raises Refusal for text that UTF-8 cannot say: JSON may hold half of a pair that stands for one character."""
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise Refusal(name, "holds half a character (a lone surrogate)", "Send whole characters.")
    return text


def checked(kind: type[Asked], given: Mapping[str, Any]) -> Asked:
    """Raises Refusal for the first field that cannot be."""
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name, message = str(first["loc"][0]), first["msg"]
        if first["type"] == "missing":
            raise Refusal(name, "is missing", "Send the name that GET /v1/models tells.") from None
        if first["type"] == "extra_forbidden":
            do = did_you_mean(name, kind.model_fields) or "Leave it out."
            raise Refusal(name, "is no field of this request", do.strip()) from None
        raise Refusal(name, f"{message[0].lower()}{message[1:]}", "Leave it out for the usual value.") from None
