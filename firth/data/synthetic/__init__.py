"""Data that is made, not found: `synthetic:NAME:key=value` is read like a file, its documents made as they are read.

A generator is one file here: a frozen `Config` with what can be set and the `size` in bytes, `texts(config)`, which
yields the documents in an order that hangs on the config alone, and a VERSION, which is raised when they change.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from firth.data.records import Problems, Where
from firth.errors import InputError, did_you_mean
from firth.find import find, names

MARK = "synthetic:"  # what such a name begins with
KIND = "data/synthetic"


@dataclass(frozen=True)
class Made:
    """One set of made documents, opened like a stream."""

    name: str  # of the generator
    config: Any

    def __str__(self) -> str:
        """What a person types for it; settings at their default are left out."""
        return ":".join([MARK + self.name, *(f"{key}={value}" for key, value in _changed(self.config).items())])

    def __iter__(self) -> Iterator[str]:
        return find(KIND, self.name).texts(self.config)

    @property
    def fingerprint(self) -> list[Any]:
        """What decides the documents."""
        return [self.name, find(KIND, self.name).VERSION, self.config.model_dump(mode="json")]


def parse(given: str) -> Made:
    """ "synthetic:icl:episodes=500:seed=1" → what it stands for. Raises InputError with the nearest name."""
    name, *pairs = given.removeprefix(MARK).split(":")
    if name not in names(KIND):
        known = ", ".join(MARK + one for one in names(KIND))
        raise InputError(given, "is no made data", f"{did_you_mean(name, names(KIND))}There is: {known}.")
    config = find(KIND, name).Config
    settings = dict(_pair(pair, given, config) for pair in pairs)
    try:
        return Made(name, config(**settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        what = f"`{key}` cannot be `{settings[key]}`: {_lower(first['msg'])}"
        example = f"{MARK}{name}:{key}={config.model_fields[key].default}"
        raise InputError(given, what, f"Give it like {example}.") from None


def rows(stream: Made, name: str, problems: Problems) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Each document as a row with one column; its number stands for the line."""
    for number, text in enumerate(stream, 1):
        yield Where(name, number), {"text": text}


def _pair(text: str, given: str, config: type[BaseModel]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(given, f"`{text}` has no `=`", f"Write key=value: {given.rpartition(':')[0]}:seed=1.")
    if key not in config.model_fields:
        known = ", ".join(config.model_fields)
        raise InputError(given, f"`{key}` is no key of it", f"{did_you_mean(key, config.model_fields)}It has: {known}.")
    return key, value


def _changed(config: BaseModel) -> dict[str, Any]:
    return {key: value for key, value in config if value != type(config).model_fields[key].default}


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
