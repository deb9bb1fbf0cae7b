"""Episodes to learn in context from: a hidden function, and words that it turns into words, one pair a line.

    gpkn>fbco
    dbof>hakn
    …

The function is drawn from a family: look-ups, translations between made-up codes, functions of places, patterns. So the
label comes from the input once more: nothing but the lines above says what a line ends in. As in Garg et al. 2022,
arXiv 2208.01066, every episode has its own function, and a model is asked for functions it has never met; that meanings
are new each time and their uses lie together is what in-context learning emerges from (Chan et al. 2022, arXiv
2205.05055); look-ups need the match-and-copy of induction heads (Olsson et al. 2022, arXiv 2209.11895). With `members`
only so many functions of each family are ever seen; below some number a model learns these by heart instead of how to
infer one (Raventós et al. 2023, arXiv 2306.15063).
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from firth.data.synthetic._families import LENGTH, LETTERS, NEAR, TRAINED, UNTRAINED, Family
from firth.functional.random import Draw, hash_bytes

# B episodes, N examples in each, L letters of a word, P integers of a member

VERSION = 2  # raised when the same settings give other episodes
BLOCK = 1024  # episodes made at once
SHOTS = 16  # that a question comes with
OPTIONS = 4  # of which one is right: chance is 1 in 4
CANDIDATES = 48  # neighbours of a member, and neighbours of these, among which wrong options are sought
CODES = np.frombuffer(LETTERS.encode(), np.uint8)
LINE = 2 * LENGTH + 2  # characters: a word, the sign >, a word, the end of the line

Kind = Literal["trained", "new-members", "new-families"]
KINDS: dict[Kind, tuple[Family, ...]] = {"trained": TRAINED, "new-members": TRAINED, "new-families": UNTRAINED}
ALONG: dict[Kind, tuple[int, ...]] = {"new-members": (0, 1, 4, 16), "new-families": (16,)}  # examples, in training
ASKED = 84  # questions of each kind in training: equal parts of four, and of three families


class Config(BaseModel):
    """What stands behind `synthetic:icl:`, as in synthetic:icl:episodes=50000:seed=1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episodes: int = Field(200_000, ge=1)
    examples: int = Field(24, ge=SHOTS + 1, le=1000)  # lines of an episode
    members: int = Field(0, ge=0)  # functions of each family that training sees; 0: a new one for each episode
    seed: int = Field(0, ge=0, lt=2**63)

    @property
    def size(self) -> int:
        """Bytes of all episodes, each with its last line end."""
        return self.episodes * self.examples * LINE


class Question(NamedTuple):
    """Examples of one function, and a further input with several outputs, of which the function gives one."""

    family: str
    examples: tuple[tuple[str, str], ...]  # SHOTS of (input, output)
    query: str
    options: tuple[str, ...]
    answer: int  # place in options

    def prompt(self, shots: int) -> str:
        """The first `shots` examples and the query, in the form of an episode."""
        return "".join(f"{given}>{made}\n" for given, made in self.examples[:shots]) + f"{self.query}>"


def texts(config: Config) -> Iterator[str]:
    """The episodes in order; BLOCK of them are held at a time."""
    for first in range(0, config.episodes, BLOCK):
        yield from block(config, np.arange(first, min(first + BLOCK, config.episodes)))


def block(config: Config, numbers: np.ndarray) -> list[str]:
    """The episodes of these numbers, each of which hangs on the seed and its number alone."""
    draw = Draw(config.seed)
    which = draw.integers(numbers, "family", 1, len(TRAINED))[:, 0]
    found = [""] * len(numbers)
    for place, family in enumerate(TRAINED):
        own = np.flatnonzero(which == place)
        made = episodes(family, config, numbers[own], draw) if len(own) else []
        for at, text in zip(own.tolist(), made, strict=True):
            found[at] = text
    return found


def episodes(family: Family, config: Config, numbers: np.ndarray, draw: Draw) -> list[str]:
    """One episode of a family for each number."""
    of = draw.integers(numbers, "member", 1, config.members)[:, 0] if config.members else numbers
    functions = members(family, of, draw, held_out=False)
    given = family.words(functions, uniform(draw, numbers, "words", config.examples, len(LETTERS)))
    return lines(given, family.apply(functions, given))


def members(family: Family, keys: np.ndarray, draw: Draw, held_out: bool | None) -> np.ndarray:
    """A member for each key, (B, P); drawn again until it lies on the wanted side, None: on any."""
    found = family.member(draw.uniform(keys, f"{family.name} 0", family.needs))
    wrong, attempt = np.flatnonzero(_other_side(family, found, held_out)), 1
    while len(wrong):
        found[wrong] = family.member(draw.uniform(keys[wrong], f"{family.name} {attempt}", family.needs))
        wrong, attempt = wrong[_other_side(family, found[wrong], held_out)], attempt + 1
    return found


def _other_side(family: Family, found: np.ndarray, held_out: bool | None) -> np.ndarray:
    return np.zeros(len(found), bool) if held_out is None else family.held_out(found) != held_out


def uniform(draw: Draw, keys: np.ndarray, purpose: str, *shape: int) -> np.ndarray:
    """(B, *shape) in [0, 1)."""
    return draw.uniform(keys, purpose, int(np.prod(shape))).reshape(len(keys), *shape)


def lines(given: np.ndarray, made: np.ndarray) -> list[str]:
    """words (B, N, L), (B, N, L) → the text of each episode, without the last line end."""
    signs = np.empty((*given.shape[:2], LINE), np.uint8)
    signs[..., :LENGTH], signs[..., LENGTH + 1 : -1] = CODES[given], CODES[made]
    signs[..., LENGTH], signs[..., -1] = ord(">"), ord("\n")
    return [row.tobytes()[:-1].decode() for row in signs.reshape(len(given), -1)]


def words(numbers: np.ndarray) -> list[str]:
    """(N, L) → N words."""
    return [row.tobytes().decode() for row in CODES[numbers]]


def questions(kind: Kind, count: int, seed: int = 0) -> list[Question]:
    """`count` questions, each of its own function, the families in turn; the same for the same seed.

    "trained": of the members that training episodes are drawn from; "new-members": of the held-out members of the same
    families; "new-families": of families without a training episode. The functions whose outputs are the options are
    neighbours on the same side, and which of them made the examples is drawn last, so that without examples no scorer
    can do better or worse than 1 in OPTIONS but by luck.
    """
    families, draw = KINDS[kind], Draw(hash_bytes(f"questions {kind} {seed}".encode()) >> 1)
    held_out = {"trained": False, "new-members": True}.get(kind)
    return [question(families[number % len(families)], number, draw, held_out) for number in range(count)]


def question(family: Family, number: int, draw: Draw, held_out: bool | None) -> Question:
    """The question of this number; a member with too few neighbours makes place for another."""
    attempt = 0
    while (found := _rivals(family, np.array([(number << 16) + attempt]), draw, held_out)) is None:
        attempt += 1
    rivals, query, key = found  # (OPTIONS, P), (1, 1, L), (1,)
    answer = int(draw.integers(key, "answer", 1, OPTIONS)[0, 0])
    own = rivals[answer : answer + 1]
    given = family.words(own, uniform(draw, key, "examples", SHOTS, len(LETTERS)))
    pairs = zip(words(given[0]), words(family.apply(own, given)[0]), strict=True)
    options = words(family.apply(rivals, np.repeat(query, OPTIONS, 0))[:, 0])
    return Question(family.name, tuple(pairs), words(query[0])[0], tuple(options), answer)


def _rivals(
    family: Family, key: np.ndarray, draw: Draw, held_out: bool | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A member and neighbours of it that all answer a query differently, the query, and the key; None: too few."""
    first = members(family, key, draw, held_out)
    one, two = uniform(draw, key, "near", 2, CANDIDATES, NEAR)[0]
    near = family.near(np.repeat(first, CANDIDATES, 0), one)
    near = np.concatenate([near, family.near(near, two)])  # a step from the member, and two
    able = np.concatenate([first, near[~_other_side(family, near, held_out)]])
    query = family.words(first, uniform(draw, key, "query", 1, len(LETTERS)))
    outputs = family.apply(able, np.repeat(query, len(able), 0))[:, 0]  # (able, L)
    different = np.sort(np.unique(outputs, axis=0, return_index=True)[1])[:OPTIONS]
    if len(different) < OPTIONS:
        return None
    order = draw.uniform(key, "order", OPTIONS)[0].argsort()
    return able[different][order], query, key


def along() -> dict[str, list[tuple[str, tuple[str, ...], int]]]:
    """What a model in training is asked, by name: prompts, their options, the place of the right one."""
    found = {}
    for kind, numbers in ALONG.items():
        some = questions(kind, ASKED)
        for shots in numbers:
            name = f"{kind.replace('-', ' ')}, {shots} example{'s' * (shots != 1)}"
            found[name] = [(one.prompt(shots), one.options, one.answer) for one in some]
    return found


def overlap(one: str, other: str) -> int:
    """At how many places two words have the same letter."""
    return sum(a == b for a, b in zip(one, other, strict=False))


def copied(question: Question, shots: int) -> str:
    """The baseline that says the last output again; nothing without examples."""
    return question.examples[shots - 1][1] if shots else ""


def nearest(question: Question, shots: int) -> str:
    """The baseline that says the output of the example most like the query, the latest of several."""
    seen: Sequence[tuple[str, str]] = question.examples[:shots]
    best = max(range(len(seen)), key=lambda at: (overlap(seen[at][0], question.query), at), default=None)
    return seen[best][1] if best is not None else ""
