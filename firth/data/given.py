"""What `predict` and `embed` are given: inputs, each with its place, those that cannot be read among them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from firth.data.records import Problems
from firth.errors import InputError
from firth.task import EMPTY, Where

COLUMN = re.compile(r"(:\d+):\d+$")  # at the end of the place of an error


class Given(NamedTuple):
    """One input, and where it came from."""

    content: Any  # what a model reads: a text, several, a file of another signal; an InputError where it cannot be read
    where: str = ""  # file:row, or the file that it is; "": typed, or from a pipe
    row: Mapping[str, Any] = EMPTY  # where there is a table


def place_of(where: object, whole: bool = False) -> str:
    """`labels.tsv:7`; whole: the file alone."""
    if not isinstance(where, Where):
        return COLUMN.sub(r"\1", str(where))
    return where.file if whole or not where.line else f"{where.file}:{where.line}"


@dataclass
class Failures(Problems):
    """Problems that keep their place among the inputs: with `skip` each becomes an input that cannot be read."""

    met: list[Given] = field(default_factory=list)  # since the last input

    def bad(self, where, what: str, do: str) -> None:
        super().bad(where, what, do)
        self.met.append(Given(InputError(str(where), what, do), place_of(where), self.row))

    def taken(self) -> list[Given]:
        """Those met since it was last asked."""
        met, self.met = self.met, []
        return met

    def among(self, inputs: Iterable[Given]) -> Iterator[Given]:
        """The inputs, with those that cannot be read where they stand."""
        for one in inputs:
            yield from self.taken()
            yield one
        yield from self.taken()

    def until(self, inputs: Iterable[Given], row: Mapping[str, Any] = EMPTY) -> Iterator[Given]:
        """The inputs up to one that is broken, which is bad. row: that they stand in."""
        self.row = row
        try:
            yield from inputs
        except InputError as error:
            self.bad(error.where, error.what, error.do)
        finally:
            self.row = EMPTY
