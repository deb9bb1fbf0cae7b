"""Files that are samples themselves, as `predict` and `embed` are given them: decoded one by one, in order."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from firth.data import media
from firth.data.config import listed
from firth.data.decoding import NOTHING, decode, joined
from firth.data.files import expand
from firth.data.given import Failures, Given, place_of
from firth.data.media import Raw, Reading, kinds_of
from firth.data.records import Record
from firth.errors import InputError
from firth.signal import Media, Unreadable


def inputs(
    given: str | Sequence[str],
    signal: Media,
    reads: Callable[[Record], Sequence[str]] | None = None,
    failures: Failures | None = None,
) -> Iterator[Given]:
    """What `predict` and `embed` are given by a path: each of its files, or each piece of one that is long.

    reads: for a task that reads several files together, the names of them in a row of a table; `given` may also be
    these names, or one string with a | between them. Raises InputError for one that is broken, unless `failures` skips
    such, and for several files where each is read alone.
    """
    failures, names = failures or Failures(), names_in(given)
    if reads is None and not isinstance(given, str):
        raise InputError(" | ".join(names), "are several files, and each is read alone", "Give them one by one.")
    if reads and len(names) > 1:
        yield from failures.among(failures.until(side_by_side(names, signal)))
        return
    with Reading.of(listed(given), type(signal), None, failures) as reading:
        if not reading.files and not failures.met:
            expand(listed(given), None, kinds_of(type(signal)))  # says what else is there
        yield from failures.among(
            samples_in(reading, signal, failures) if reads is None else rows_in(reading, signal, reads, failures)
        )


def names_in(given: str | Sequence[str]) -> list[str]:
    """The files that are read together; of one string what stands around each |, unless a file has that very name."""
    if not isinstance(given, str):
        return list(listed(given))
    return [given] if os.path.exists(given) else [name.strip() for name in given.split("|")]


def samples_in(reading: Reading, signal: Media, failures: Failures) -> Iterator[Given]:
    """Each sample, or each piece of a long one."""
    for raw in reading:
        where = place_of(raw.where)
        found = (Given(one, where, raw.fields) for one in opened(raw, signal))
        yield from failures.until(found, raw.fields)


def rows_in(reading: Reading, signal: Media, reads, failures: Failures) -> Iterator[Given]:
    """What each row names, together."""
    for where, row, raws in reading.named(reads):
        yield from failures.until(together(raws, signal, place_of(where), row), row)


def together(raws: Sequence[Raw], signal: Media, where: str, row: Mapping[str, Any]) -> Iterator[Given]:
    """Several files as one input, of each its first piece."""
    yield Given(tuple(next(opened(raw, signal)) for raw in raws), where, row)


def side_by_side(names: Sequence[str], signal: Media) -> Iterator[Given]:
    """What the names stand for, as one input."""
    yield Given(tuple(one.content for name in names for one in inputs(name, signal)))


def opened(raw: Raw, signal: Media) -> Iterator["Input"]:
    """A file decoded, in pieces where it is long. Raises InputError for one that is broken."""
    try:
        yield from pieces_of(raw.name, joined(decode(raw, signal).arrays, signal.whole), signal)
    except Exception as error:
        media.refuse(error, raw)


def pieces_of(name: str, arrays: Iterator[np.ndarray], signal: Media) -> Iterator["Input"]:
    """Under the name of the file; where there are several, with the place of each. Raises Unreadable for none."""
    several, begin = list(islice(arrays, 2)), 0
    if not several:
        raise Unreadable(*NOTHING)
    for array in chain(several, arrays):
        yield Input(f"{name} {signal.span(begin, begin + len(array))}" if len(several) > 1 else name, array)
        begin += len(array)


@dataclass(frozen=True)
class Input:
    """A file to say something about; shown by its name."""

    name: str
    array: np.ndarray

    def __str__(self) -> str:
        return self.name
