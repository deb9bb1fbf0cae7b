"""Text in, text on: prompts, stop strings, given choices, and pieces of text as they come."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from firth.errors import InputError
from firth.model.generate import Writer
from firth.model.sampling import Writing

BROKEN = "\ufffd"  # a letter of which not all bytes are there yet
RANGES = {
    "tokens": (lambda value: value >= 1, "1 or more"),
    "temperature": (lambda value: 0 <= value < float("inf"), "0 or more; 0 always writes the likeliest"),
    "top_k": (lambda value: value >= 0, "0 (all tokens) or more"),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "min_p": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "repetition": (lambda value: 0.01 <= value <= 100, "between 0.01 and 100; 1 changes nothing"),
}
BACK = 6  # tokens before the new ones that are decoded with them: what a decoder may look back at


class Written(NamedTuple):
    """A text, written on."""

    text: str
    written: str
    tokens: int  # that were written
    ended: str  # by "end" (of a text), "stop" (string), "length", or "choice"
    unread: int  # tokens at the beginning of the text that were beyond the context


class Piece(NamedTuple):
    """A part of what is written to one prompt; the last one says how it ended."""

    prompt: int
    text: str
    last: Written | None = None
    ids: tuple[int, ...] = ()  # of the last piece: all tokens that were written


class Choices:
    """The tokens of the texts one of which is to be written; a text that begins another ends with the end token."""

    def __init__(self, sequences: Sequence[Sequence[int]], end_id: int):
        self.sequences, self.end_id = [tuple(map(int, one)) for one in sequences], end_id

    def __call__(self, written: list[int]) -> set[int]:
        size, so_far = len(written), tuple(written)
        fitting = [one for one in self.sequences if one[:size] == so_far]
        return {one[size] if len(one) > size else self.end_id for one in fitting}

    @property
    def longest(self) -> int:
        return max(map(len, self.sequences))

    def done(self, written: list[int]) -> bool:
        """Whether nothing but the end can follow."""
        return self(written) <= {self.end_id}


class Tail:
    """The text of a growing list of tokens, handed out as far as it will not change."""

    def __init__(self, signal: Any, stops: Sequence[str]):
        self.signal, self.stops = signal, [stop for stop in stops if stop]
        self.ids: list[int] = []
        self.settled = self.shown = 0  # tokens whose text is known; characters handed out
        self.text = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that became certain with this token."""
        self.ids.append(token)
        first = max(0, self.settled - BACK)
        before, after = (self.signal.decode(self.ids[first:end]) for end in (self.settled, len(self.ids)))
        if not after.endswith(BROKEN):
            self.text, self.settled = self.text + after[len(before) :], len(self.ids)
        found = [place for stop in self.stops if (place := self.text.find(stop)) >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True
        return self.out(len(self.text) if self.stopped else len(self.text) - self.held())

    def finish(self) -> str:
        """What is left; broken letters included."""
        if not self.stopped and self.settled < len(self.ids):
            first = max(0, self.settled - BACK)
            before, after = (self.signal.decode(self.ids[first:end]) for end in (self.settled, len(self.ids)))
            self.text += after[len(before) :]
        return self.out(len(self.text))

    def out(self, end: int) -> str:
        begin, self.shown = self.shown, max(self.shown, end)
        return self.text[begin : self.shown]

    def held(self) -> int:
        """Characters at the end that may begin a stop string."""
        return max(map(self._begun, self.stops), default=0)

    def _begun(self, stop: str) -> int:
        """Of one: the longest of its beginnings that the text ends with."""
        longest = min(len(stop) - 1, len(self.text))
        return next((size for size in range(longest, 0, -1) if self.text.endswith(stop[:size])), 0)


def write_on(
    part: Any,
    signal: Any,
    texts: Sequence[str | Sequence[int]],
    writing: Writing,
    stops: Sequence[str] = (),
    choices: Sequence[str] = (),
    numbers: Sequence[int] = (),
    cached: bool = True,
) -> Iterator[Piece]:
    """The texts written on, piece by piece, each as if it were alone.

    part: a NextToken; signal: that of its text. texts: or their tokens, at least one. stops: what is written
    ends before one of these. choices: what is written is one of these. numbers: the texts' places in a
    longer stream, on which their luck depends.
    """
    prompts = [signal.prompt(text) if isinstance(text, str) else text for text in texts]
    facts, allowed = signal.facts, chosen_from(signal, choices)
    writing = replace(writing, tokens=allowed.longest + 1) if allowed else writing
    banned = [] if choices else sorted(set(facts.special_ids) - {facts.end_id})
    context = signal.config.context
    writer = Writer(part.backbone, part.head, prompts, writing, context, facts.end_id, banned,
                    numbers or range(1, len(texts) + 1), allowed, cached)  # fmt: skip
    tails = [Tail(signal, stops) for _ in texts]
    unread = [max(0, len(prompt) - context) for prompt in prompts]
    while not writer.over:
        before, found = list(writer.live), writer.step()
        for row in before:
            text = tails[row].add(found[row]) if row in found else ""
            if how := ending(writer, row, found, tails[row], allowed):
                writer.stop(row)
                text += tails[row].finish()
                given = text_of(signal, texts[row])
                done = Written(given, tails[row].text, len(writer.written[row]), how, unread[row])
                yield Piece(row, text, done, tuple(writer.written[row]))
            elif text:
                yield Piece(row, text)


def text_of(signal: Any, given: str | Sequence[int]) -> str:
    return given if isinstance(given, str) else signal.decode(given)


def ending(writer: Writer, row: int, found: dict[int, int], tail: Tail, allowed: Choices | None) -> str:
    """How a row ended with this step; "" where it goes on."""
    if allowed is not None and (row not in found or allowed.done(writer.written[row])):
        return "choice"
    if row not in found:
        return "end"
    if tail.stopped:
        return "stop"
    return "length" if len(writer.written[row]) >= writer.writing.tokens else ""


def asked(options: dict[str, Any]) -> tuple[Writing, list[str], list[str]]:
    """How to write, stop strings, choices. Among choices the likeliest is written, unless a temperature is given.

    Raises InputError for a number that cannot be.
    """
    stops, choices = (list(options.get(name) or ()) for name in ("stop", "choice"))
    given = {name: value for name, value in options.items() if name not in ("stop", "choice") and value is not None}
    for name, value in given.items():
        fits, range_of = RANGES.get(name, (lambda _: True, ""))
        if not fits(value):
            option = f"--{name.replace('_', '-')} {value}"
            raise InputError(option, f"must be {range_of}", "Leave it out for the usual value.")
    return Writing(**({"temperature": 0.0} if choices else {}) | given), stops, choices


def chosen_from(signal: Any, choices: Sequence[str]) -> Choices | None:
    """Raises InputError for a choice that is empty, or that the tokenizer writes otherwise."""
    if not choices:
        return None
    if not all(choices):
        raise InputError("--choice", "is empty", "Give a text, for instance --choice positive --choice negative.")
    found = [np.asarray(one.ids).tolist() for one in signal.encode(list(choices))]
    for text, ids in zip(choices, found, strict=True):
        if (spelt := signal.decode(ids)) != text:
            raise InputError(f"--choice {text}", f"the model's tokenizer writes it as `{spelt}`", "Give it like that.")
    return Choices(found, signal.facts.end_id)


def written(pieces: Iterator[Piece]) -> list[Written]:
    """All of them, in the order of the prompts."""
    done = {piece.prompt: piece.last for piece in pieces if piece.last is not None}
    return [done[number] for number in sorted(done)]
