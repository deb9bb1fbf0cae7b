"""Multiple choice, and the last word of a text: what a language model finds likeliest, without examples or training.

Multiple choice: each row has a prompt, its choices and which is right; as in lm-evaluation-harness, the figures are the
accuracy by the likelihood as it is (`acc` there), per character (`acc_norm`) and, beside it, per token and per byte.
Unlike there, choices that are equally likely are wrong; there the first of them is taken. Last word: the share of texts
of which the model itself would write the last word, all of its tokens, and the perplexity per word (LAMBADA, Paperno et
al. 2016, arXiv 1606.06031).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firth.data.files import expand
from firth.data.readers import read
from firth.data.records import Record
from firth.errors import InputError
from firth.evaluate.statistics import Interval, proportion
from firth.functional.choices import Likelihood, Scorer, asked, best, scores

PROMPTS = ("prompt", "question", "query", "context", "text", "sentence", "stem")
CHOICES = ("choices", "options", "endings", "answers", "candidates")
RIGHT = ("answer", "gold", "label", "correct", "answer_key", "answerkey")
ROW = 'Write rows like {"prompt": "Grass is", "choices": [" green", " loud"], "answer": 0}.'


class Item(NamedTuple):
    """A prompt with choices, of which one is right."""

    prompt: str
    choices: tuple[str, ...]  # as they are written: their length counts
    answer: int  # place in choices
    delimiter: str = " "  # between prompt and choice; scored with the choice, as tokens begin with their blank

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(self.delimiter + one for one in self.choices)


@dataclass(frozen=True)
class MultipleChoice:
    """Accuracies over items, ties wrong; chance: of guessing, the mean of 1 / options."""

    accuracy: Interval  # by likelihood
    per_character: float
    per_token: float
    per_byte: float
    chance: float
    items: int
    ties: int

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"accuracy": self.accuracy._asdict()}

    def lines(self) -> list[str]:
        one = self.accuracy
        return [
            f"accuracy {100 * one.mean:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f}) of {self.items:,} items · "
            f"guessing {100 * self.chance:.1f} % · {self.ties:,} ties, counted as wrong",
            f"per character {100 * self.per_character:.1f} % · per token {100 * self.per_token:.1f} % · per byte "
            f"{100 * self.per_byte:.1f} %",
        ]


@dataclass(frozen=True)
class LastWord:
    """accuracy: the model would write the word; perplexity: exp of the mean nats of a word."""

    accuracy: Interval
    perplexity: float
    items: int

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"accuracy": self.accuracy._asdict()}

    def lines(self) -> list[str]:
        one = self.accuracy
        ends = f"({100 * one.low:.1f} to {100 * one.high:.1f})"
        return [f"accuracy {100 * one.mean:.1f} % {ends} of {self.items:,} texts · perplexity {self.perplexity:,.1f}"]


# ------------------------------------------------------------------ multiple choice


def multiple_choice(score: Scorer, items: Sequence[Item]) -> MultipleChoice:
    """Raises InputError where there is no item."""
    refuse_none(items, "multiple choice")
    found = asked(score, [one.prompt for one in items], [one.options for one in items])
    right = {way: _right(items, found, way) for way in ("raw", "per-character", "per-token", "per-byte")}
    by_length = {way.replace("-", "_"): float((row > 0).mean()) for way, row in right.items() if way != "raw"}
    chance = float(np.mean([1 / len(one.choices) for one in items]))
    ties = int((right["raw"] < 0).sum())
    return MultipleChoice(proportion(right["raw"] > 0), **by_length, chance=chance, items=len(items), ties=ties)


def _right(items: Sequence[Item], found: Sequence[Sequence[Likelihood]], way: str) -> np.ndarray:
    """(N,) 1 right, 0 wrong, -1 tied."""
    rows = []
    for one, said in zip(items, found, strict=True):
        values = scores(said, one.choices, "raw" if way == "per-character" else way)  # type: ignore[arg-type]
        if way == "per-character":
            values = values / [max(len(choice), 1) for choice in one.choices]
        place = best(one.choices, values)
        rows.append(-1 if place is None else int(place == one.answer))
    return np.array(rows)


def read_items(paths: str | Path | Iterable[str | Path], delimiter: str = " ") -> list[Item]:
    """Items of .jsonl files or tables; delimiter: what stands between prompt and choice where both lack a blank.

    The right option is its place from 0, its letter (A, B, …) or its text. Raises InputError at a row that is none.
    """
    return [item_of(record, delimiter) for record in read(expand(paths), rows=True)]  # type: ignore[arg-type]


def item_of(record: Record, delimiter: str = " ") -> Item:
    fields = record.fields
    prompt, given, right = (_first(fields, names) for names in (PROMPTS, CHOICES, RIGHT))
    names = (
        given.get("label") if isinstance(given, dict) else None
    )  # as some sets write it: {"text": […], "label": […]}
    given = given.get("text") if isinstance(given, dict) else given
    if not isinstance(prompt, str) or not isinstance(given, list) or len(given) < 2 or right is None:
        missing = "prompt" if not isinstance(prompt, str) else "answer" if right is None else "list of two choices"
        raise InputError(record.where, f"has no {missing}", ROW)
    texts = [str(one) for one in given]
    parted = not prompt or prompt[-1].isspace() or any(one[:1].isspace() for one in texts)
    named = [str(one) for one in names] if isinstance(names, list) and len(names) == len(texts) else []
    place = named.index(str(right)) if str(right) in named else _place(right, texts, record)
    return Item(prompt, tuple(texts), place, "" if parted else delimiter)


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    lower = {str(key).lower(): value for key, value in fields.items()}
    return next((lower[name] for name in names if lower.get(name) is not None), None)


def _place(right: Any, texts: Sequence[str], record: Record) -> int:
    """The right option by its text, its place from 0, or its letter."""
    text = str(right).strip()
    if isinstance(right, str) and right in texts:
        return texts.index(right)
    place = int(text) if text.isdecimal() else ord(text.upper()) - ord("A") if re.fullmatch("[A-Za-z]", text) else -1
    if 0 <= place < len(texts):
        return place
    listed = ", ".join(f"`{one}`" for one in texts)
    hint = f"Say 0 to {len(texts) - 1}, A to {chr(64 + len(texts))}, or one of {listed}."
    raise InputError(record.where, f"the answer `{text}` is none of {len(texts)} choices", hint)


# ------------------------------------------------------------------ last word


def last_word(score: Scorer, texts: Sequence[str]) -> LastWord:
    """Raises InputError where there is no text, and for a text of one word."""
    refuse_none(texts, "last word")
    pairs = [parted(text, number) for number, text in enumerate(texts, 1)]
    found = asked(score, [before for before, _ in pairs], [[word] for _, word in pairs])
    nats = float(np.mean([said.nats for (said,) in found]))
    perplexity = exp(-nats) if nats > -700 else float("inf")
    return LastWord(proportion(np.array([said.greedy for (said,) in found], float)), perplexity, len(texts))


def parted(text: str, number: int = 0) -> tuple[str, str]:
    """("all but the last", " word"): signs at the word's end stay with it. Raises InputError for a single word."""
    match = re.fullmatch(r"(.*\S)(\s+\S+)\s*", text, re.S)
    if match is None:
        where = f"text {number:,}" if number else "text"
        raise InputError(where, "has no word before its last", "Give texts of two words or more, one a line.")
    return match[1], match[2]


def refuse_none(items: Sequence[Any], where: str) -> None:
    if not items:
        raise InputError(where, "there is nothing to score", "Give at least one item.")
