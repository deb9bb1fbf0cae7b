"""Prompt: a language model labels an input in words, after no, one or a few examples; no weight changes.

A template turns rows into text; what the model finds likeliest among the written classes is the label (Brown et al.
2020, arXiv 2005.14165, section 2.4). Examples are drawn from labelled rows, every class as often as it can be, as a
model leans towards what it saw most and last (Zhao et al. 2021, arXiv 2102.09690, section 4). Examples that do not fit
the context are refused, never cut.

The model comes in as a scorer or a writer (functional/choices.py); nothing here knows tokens or tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from firth.errors import InputError, did_you_mean
from firth.functional.choices import Likelihood, Normalise, Scorer, Writer, asked, best, scores, softmax
from firth.functional.random import Draw
from firth.task import Example, TaskConfig, key_of
from firth.tasks._one_label import Prediction

# N inputs, K classes

ANSWER, TEXT = "label", "text"  # fields that are there whatever the columns are called
WHERE = "prompt.template"
EMPTY = Example("", None, None)  # type: ignore[arg-type]  # an input with nothing in it


class Config(TaskConfig):
    learns: ClassVar[bool] = False

    template: str = Field(
        "Text: {text}\nLabel: {label}", description="of one example; fields are columns, {label} the answer"
    )
    separator: str = Field("\n\n", description="between two examples")
    words: dict[str, str] = Field(default_factory=dict, description="class = what is written for it; else its name")
    shots: int = Field(0, ge=0, description="examples in the prompt")
    balanced: bool = Field(True, description="of every class as many, or one more; false: as they are found")
    normalise: Normalise = Field("raw", description="how options of unequal length are compared")

    def look(self, examples: Sequence[Example]) -> "Config":
        """Raises InputError for a field that is no column."""
        form = parse(self.template)
        for name in form.fields if examples else ():
            _cell(examples[0], name)
        return self

    @field_validator("template", "separator")
    @classmethod
    def _with_line_ends(cls, text: str) -> str:
        """A line end may be typed as \\n on the command line."""
        return text.replace("\\n", "\n")

    def word(self, label: str) -> str:
        """What is written for a class."""
        return self.words.get(label, label)


class Template(NamedTuple):
    """Literals and fields in turn, before the answer and after it."""

    before: tuple[tuple[str, str | None], ...]  # (literal, the field after it or None)
    after: tuple[tuple[str, str | None], ...]

    @property
    def fields(self) -> list[str]:
        return [name for _, name in (*self.before, *self.after) if name]

    def asked(self, example: Example) -> str:
        """The example up to its answer."""
        return _filled(self.before, example)

    def shown(self, example: Example, word: str) -> str:
        """The example with its answer."""
        return self.asked(example) + word + _filled(self.after, example)


class Room(NamedTuple):
    """What fits a model. length: tokens of a text; context: tokens that it can see at once."""

    length: Callable[[str], int]
    context: int


def parse(template: str) -> Template:
    """Raises InputError for braces that do not close, for no {label} or two, and for formats such as {text:>9}."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        hint = "Close each { with a }, and write {{ for the sign itself."
        raise InputError(WHERE, f"`{template}` cannot be read ({error})", hint) from None
    for _, name, form, conversion in parts:
        if form or conversion or (name is not None and not name.strip()):
            raise InputError(WHERE, f"`{template}` has a field that is no plain name", "Write fields like {text}.")
    names = [name for _, name, _, _ in parts]
    if names.count(ANSWER) != 1:
        found = "no field" if ANSWER not in names else "more than one field"
        hint = "Put {label} where the answer belongs: Review: {text}\\nSentiment: {label}"
        raise InputError(WHERE, f"`{template}` has {found} {{label}}", hint)
    place = names.index(ANSWER)
    pairs = [(literal, name) for literal, name, _, _ in parts]
    return Template((*pairs[:place], (pairs[place][0], None)), tuple(pairs[place + 1 :]))


def _filled(pieces: Sequence[tuple[str, str | None]], example: Example) -> str:
    return "".join(literal + (_cell(example, name) if name else "") for literal, name in pieces)


def _cell(example: Example, name: str) -> str:
    """One field of an example. Raises InputError where its row has no such column."""
    if example is EMPTY:
        return ""
    if name in example.fields:
        value = example.fields[name]
        return "" if value is None else str(value).strip()
    if name == TEXT:
        return example.text
    known = [TEXT, *(column for column in example.fields if column != TEXT)]
    listed = ", ".join(f"{{{column}}}" for column in known)
    raise InputError(example.where, f"has no column `{name}`", f"{did_you_mean(name, known)}Fields can be {listed}.")


# ------------------------------------------------------------------ examples


def drawn(examples: Sequence[Example], config: Config, seed: int, number: int = 0) -> list[Example]:
    """`config.shots` examples in the order in which they are shown; another `number`, other examples and order.

    Both hang on the content of the examples, not on their order. Raises InputError where a class has too few.
    """
    draw, keys = Draw(seed, number), np.array([key_of(one) for one in examples], np.uint64)
    if config.shots == 0:
        return []
    rank = draw.uniform(keys, "shots", 1)[:, 0].argsort(kind="stable").tolist()
    if config.balanced:
        quota = _quota(config, draw)
        taken = {label: [i for i in rank if examples[i].label == label][:size] for label, size in quota.items()}
        _refuse_few(taken, quota, config)
        chosen = [i for places in taken.values() for i in places]
    else:
        chosen = rank[: config.shots]
        _refuse_few({"": chosen}, {"": config.shots}, config)
    order = draw.uniform(keys[chosen], "order", 1)[:, 0].argsort(kind="stable")
    return [examples[chosen[i]] for i in order.tolist()]


def _quota(config: Config, draw: Draw) -> dict[str, int]:
    """How many examples of each class; who gets one more is drawn."""
    each, more = divmod(config.shots, max(len(config.classes), 1))
    first = draw.uniform(np.arange(len(config.classes)), "quota", 1)[:, 0].argsort(kind="stable").argsort()
    return {label: each + int(place < more) for label, place in zip(config.classes, first.tolist(), strict=True)}


def _refuse_few(taken: Mapping[str, Sequence[int]], quota: Mapping[str, int], config: Config) -> None:
    """Raises InputError where the labelled examples are fewer than the prompt is to have."""
    for label, size in quota.items():
        if len(taken[label]) < size:
            of, other = (f" of `{label}`", ", or --set prompt.balanced=false") if label else ("", "")
            what = f"there are {len(taken[label]):,} labelled examples{of}, and {size:,} are wanted"
            raise InputError(f"prompt.shots = {config.shots}", what, f"Use fewer shots, label more{other}.")


def prompt(config: Config, form: Template, shots: Sequence[Example], example: Example) -> str:
    """The shots, and the example up to its answer, without blanks at the end: these belong to the options."""
    parts = [form.shown(one, config.word(str(one.label))) for one in shots]
    return config.separator.join([*parts, form.asked(example).rstrip(" ")])


def options(config: Config, form: Template) -> list[str]:
    """What is written for each class, with the blanks that stand before it in the template.

    Raises InputError where two classes are written alike, and for words of a class that there is not.
    """
    strange = next((label for label in config.words if label not in config.classes), None)
    if strange is not None:
        listed = ", ".join(f"`{label}`" for label in config.classes)
        hint = f"{did_you_mean(strange, config.classes)}There is: {listed}."
        raise InputError("prompt.words", f"`{strange}` is no class", hint)
    written = [config.word(label) for label in config.classes]
    if len(set(written)) < len(written):
        twice = next(word for word in written if written.count(word) > 1)
        raise InputError("prompt.words", f"two classes are written `{twice}`", "Give each class a word of its own.")
    lead = form.before[-1][0]
    blanks = lead[len(lead.rstrip(" ")) :]
    return [blanks + word for word in written]


def refuse_long(prompts: Sequence[str], answers: Sequence[str], examples: Sequence[Example], shots: int,
                room: Room | None) -> None:  # fmt: skip
    """Raises InputError at the first example whose prompt and longest answer do not fit the context."""
    if room is None:
        return
    longest = max((room.length(one) for one in answers), default=0) - room.length("")
    for text, example in zip(prompts, examples, strict=True):
        size = room.length(text) + longest
        if size > room.context:
            what = f"its prompt of {shots:,} shots has {size:,} tokens, the context of the model {room.context:,}"
            where = example.where or f"`{example.text[:40]}`"
            raise InputError(where, what, "Use fewer shots, shorter examples, or a model with a longer context.")


# ------------------------------------------------------------------ what a model says


class Said(NamedTuple):
    """What a model says of N inputs with one set of shots."""

    found: list[list[Likelihood]]  # (N, K)
    empty: list[Likelihood]  # (K,) after the same shots and an input with nothing in it
    options: list[str]  # (K,)

    def scores(self, normalise: Normalise) -> np.ndarray:
        """(N, K)"""
        return np.array([scores(one, self.options, normalise, self.empty) for one in self.found])

    def chosen(self, normalise: Normalise) -> list[int | None]:
        """The class of each input; None for a tie."""
        return [best(self.options, row) for row in self.scores(normalise)]


def said(score: Scorer, config: Config, shots: Sequence[Example], inputs: Sequence[Example],
         room: Room | None = None) -> Said:  # fmt: skip
    """Every class scored for every input. Raises InputError for prompts that do not fit."""
    form = parse(config.template)
    prompts, answers = [prompt(config, form, shots, one) for one in inputs], options(config, form)
    refuse_long(prompts, answers, inputs, len(shots), room)
    empty = prompt(config, form, shots, EMPTY)
    *found, last = asked(score, [*prompts, empty], [answers] * (len(prompts) + 1))
    return Said(found, last, answers)


def predict(score: Scorer, config: Config, shots: Sequence[Example], inputs: Sequence[Example],
            room: Room | None = None, top: int | None = None) -> list[Prediction]:  # fmt: skip
    """One Prediction per input: shares of the scores over the classes. A tie has the label ""."""
    answer = said(score, config, shots, inputs, room)
    rows, places = answer.scores(config.normalise), answer.chosen(config.normalise)
    return [
        _prediction(one.text, softmax(row), place, config.classes, top)
        for one, row, place in zip(inputs, rows, places, strict=True)
    ]


def _prediction(text: str, shares: np.ndarray, place: int | None, classes: Sequence[str], top: int | None):
    order = np.argsort(-shares, kind="stable").tolist()
    named = {classes[i]: float(shares[i]) for i in order[:top]}
    return Prediction(text, "" if place is None else classes[place], float(shares.max()), named)


def written(write: Writer, config: Config, shots: Sequence[Example], inputs: Sequence[Example],
            room: Room | None = None) -> list[str]:  # fmt: skip
    """What the model writes for each input of itself: the first line, without blanks at its edges."""
    form = parse(config.template)
    prompts = [prompt(config, form, shots, one) for one in inputs]
    refuse_long(prompts, options(config, form), inputs, len(shots), room)
    return [text.strip(" ").partition("\n")[0].strip() for text in write(prompts)]


def judged(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    """Exact match: the share of answers that are the gold one, letter by letter, but for blanks at the edges."""
    right = [one.strip() == other.strip() for one, other in zip(gold, predicted, strict=True)]
    return {"items": len(right), "accuracy": float(np.mean(right)) if right else 0.0}
