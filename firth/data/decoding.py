"""Files → arrays, in order: decoded in threads, a few at a time; what is large in blocks, so that it is never held."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from itertools import chain
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np

from firth.data import media
from firth.data.media import Raw, Reading
from firth.data.records import Problems
from firth.functional.random import hash_bytes
from firth.signal import Look, Media

AHEAD = 64  # files that are being decoded, for each thread
HELD = 24 << 20  # bytes of such files together
LARGE = 8 << 20  # bytes of a file that is read in blocks; as Opus an hour of speech, which is 100 MB decoded
BLOCK = 1 << 20  # bytes of a file that are hashed together
SEEN = 500  # files whose heads are kept to be told of
NOTHING = "gives nothing to learn from", "Leave it out."


class Decoded(NamedTuple):
    """One file, decoded."""

    raw: Raw
    content: int  # 64 bit hash of its bytes
    look: Look
    arrays: Iterable[np.ndarray]  # those of a large file are made as they are asked for
    said: list[tuple[str, str]]  # what a person should know of it and do, complete after its arrays


class Tally:
    """What was seen on the way."""

    def __init__(self) -> None:
        self.broken, self.files, self.forms = 0, 0, Counter[str]()
        self.looks: list[Look] = []  # of the first ones

    def see(self, look: Look) -> None:
        self.files += 1
        self.forms[look.form] += 1
        if len(self.looks) < SEEN:
            self.looks.append(look)


def decoded(reading: Reading, signal: Media, tally: Tally) -> Generator[Decoded, None, None]:
    """The files in order; broken ones are named and left out."""
    threads, waiting, held = cores(), deque[tuple[Raw, Future]](), 0
    with ThreadPoolExecutor(threads) as pool:
        for raw in chain(reading, [None]):  # None: no more comes
            if raw is not None:
                waiting.append((raw, pool.submit(decode, raw, signal)))
                held += held_of(raw, signal)
            while waiting and (raw is None or held > HELD or len(waiting) > AHEAD * threads):
                first, future = waiting.popleft()
                held -= held_of(first, signal)
                yield from done(future.result, first, reading.problems, tally)


def is_large(raw: Raw, signal: Media | type[Media]) -> bool:
    """Whether a file is read in blocks."""
    return signal.streams and raw.size > LARGE


def held_of(raw: Raw, signal: Media) -> int:
    """Bytes in memory of a file that waits: its own, or those of an array of one size where they are more."""
    return 0 if is_large(raw, signal) else max(raw.size, array_size(signal))


def array_size(signal: Media) -> int:
    """Bytes of an array; less than 0 where the length differs."""
    return prod(signal.form) * np.dtype(signal.dtype).itemsize


def head_of(raw: Raw, signal: Media | type[Media]) -> Look:
    """What the head of a file says. Raises Unreadable and whatever goes wrong with files."""
    if not is_large(raw, signal):
        return signal.look(raw.read())
    with raw.source() as source:
        return signal.look(source)


def decode(raw: Raw, signal: Media) -> Decoded:
    said: list[tuple[str, str]] = []
    if is_large(raw, signal):
        with raw.source() as source:
            content = hash_of(source)
        return Decoded(raw, content, head_of(raw, signal), in_blocks(raw, signal, said), said)
    data = raw.read()
    arrays = list(signal.pieces(data, lambda *one: said.append(one)))
    return Decoded(raw, hash_bytes(data), signal.look(data), arrays, said)


def in_blocks(raw: Raw, signal: Media, said: list[tuple[str, str]]) -> Iterator[np.ndarray]:
    """The arrays of a large file, one after the other."""
    with raw.source() as source:
        yield from signal.pieces(source, lambda *one: said.append(one))


def hash_of(source: str | IO[bytes]) -> int:
    """What hash_bytes gives for all of it."""
    digest = blake2b(digest_size=8)
    with open(source, "rb") if isinstance(source, str) else media.rewound(source) as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return int.from_bytes(digest.digest(), "little")


def done(make: Callable[[], Any], raw: Raw, problems: Problems, tally: Tally) -> Iterator[Any]:
    """What comes of a file, or nothing after the trouble was noted."""
    try:
        found = make()
    except Exception as error:
        tally.broken += 1
        note(error, raw, problems)
        return
    tally.see(found.look)
    yield found


def arrays_of(one: Decoded, problems: Problems) -> Iterator[np.ndarray]:
    """The arrays of a file, as far as it can be read; what is odd about it is noted."""
    none = True
    try:
        for array in one.arrays:
            none = False
            yield array
    except Exception as error:
        note(error, one.raw, problems)
        return
    for what, do in one.said or ([NOTHING] if none else []):
        problems.note("warning", one.raw.where, what, do)


def joined(arrays: Iterable[np.ndarray], most: int | None) -> Iterator[np.ndarray]:
    """The arrays of a file, as one where together they have at most so many values; None: never."""
    held, size = list[np.ndarray](), 0
    for array in arrays:
        held.append(array)
        size += array.size
        if most is None or size > most:
            yield from held
            held = []
    if held:
        yield held[0] if len(held) == 1 else np.concatenate(held)


def note(error: Exception, raw: Raw, problems: Problems) -> None:
    """Note the trouble with a file; raises the error where it is of another kind."""
    told = media.trouble(error, raw)
    if told is None:
        raise error
    problems.note("error", raw.where, *told)


def cores() -> int:
    """Threads that decode together."""
    import os

    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
