"""What a model says of inputs, beside where they came from; what could not be said stands in its place."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import tee
from math import isfinite
from typing import Any, TypeVar

from firth.data.given import Given
from firth.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Answered:
    """What a model says of one input. said: an InputError where it could not be read or answered."""

    said: Any
    where: str = ""  # file:row, or the file; "": typed, or from a pipe
    row: Mapping[str, Any] = field(default_factory=dict)  # the input's own columns, where there is a table
    number: int = 1  # its place among the inputs, from 1

    @property
    def failed(self) -> bool:
        return isinstance(self.said, InputError)

    def as_dict(self) -> dict[str, Any]:
        place = {"where": self.where} if self.where else {}
        if self.failed:
            return {"row": self.number, "error": self.said.what, **place}
        return {**plain(self.said), **place}


def answered(given: Iterable[Given], answer: Callable[[Iterator[Any]], Iterator[Any]]) -> Iterator[Answered]:
    """Each input with its answer, in order, as far as they are read. answer: of the inputs that could be read."""
    ahead, behind = tee(given)
    said = answer(one.content for one in ahead if not isinstance(one.content, InputError))
    for number, one in enumerate(behind, 1):
        found = one.content if isinstance(one.content, InputError) else next(said)
        yield Answered(found, one.where, one.row, number)


def each(ask: Callable[[Sequence[T]], Sequence[Any]], asked: Sequence[T]) -> list[Any]:
    """The answers to what is asked together; an InputError stands for each that has none.

    Raises InputError for an option, such as a temperature: that is wrong for all, and no fault of theirs.
    """
    try:
        return list(ask(asked))
    except InputError as error:
        if error.where.startswith("--"):
            raise
        if len(asked) == 1:
            return [error]
        half = len(asked) // 2
        return [*each(ask, asked[:half]), *each(ask, asked[half:])]


def plain(one: Any) -> Mapping[str, Any]:
    """A named tuple, with those in its lists, a dataclass or a mapping as a mapping."""
    if hasattr(one, "_asdict"):
        return {key: _plain_list(value) if isinstance(value, list) else value for key, value in one._asdict().items()}
    if hasattr(one, "as_dict"):
        return one.as_dict()
    if isinstance(one, Mapping):
        return one
    raise InputError(type(one).__name__, "is nothing that can be printed", "Give a prediction or a mapping.")


def strict(value: Any) -> Any:
    """As JSON has it, which knows no NaN and no infinity: null stands for what is not known."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: strict(one) for key, one in value.items()}
    return [strict(one) for one in value] if isinstance(value, list | tuple) else value


def as_json(value: Any) -> str:
    """The text of a JSON file; what JSON does not know, such as a path, as text."""
    return json.dumps(strict(value), indent=1, ensure_ascii=False, default=str) + "\n"


def _plain_list(values: list[Any]) -> list[Any]:
    return [plain(value) if hasattr(value, "_asdict") else value for value in values]
