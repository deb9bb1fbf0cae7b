"""Samples along the way: five held-out sentences, a word of each hidden, and what the model guesses so far."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firth import find
from firth.data.source import Source
from firth.functional.random import Draw
from firth.objective import Composed
from firth.recipe import Recipe
from firth.signal import Signal
from firth.train.build import KIND

WORDS = range(5, 31)  # of a sentence that is shown
LONG = 4  # letters of a word worth hiding


class Blank(NamedTuple):
    text: str  # with [MASK]
    truth: str


class Fills:
    """Writes samples/fills-<step>.txt; does nothing where no objective of the recipe can fill blanks in."""

    def __init__(self, recipe: Recipe, signal: Signal, source: Source, folder: Path, count: int = 5):
        modules = [find.find(KIND[recipe.verb], name) for name in recipe.objective]
        self.fill_in = next((module.fill_in for module in modules if hasattr(module, "fill_in")), None)
        self.signal, self.folder = signal, Path(folder)
        self.blanks = blanks(signal, source, Draw(recipe.seed), count) if self.fill_in else []

    def write(self, step: int, objective: Composed) -> list[str]:
        """The lines, also written into the folder."""
        if not self.fill_in or not self.blanks:
            return []
        guesses = self.fill_in(objective, self.signal, [blank.text for blank in self.blanks], top=3)
        lines = [line(blank, found[0]) for blank, found in zip(self.blanks, guesses, strict=True)]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"fills-{step}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return lines


def line(blank: Blank, guesses: list[tuple[str, float]]) -> str:
    """the ship [MASK] the tide · follows 31 %, meets 20 %, loses 9 % · truth: carries"""
    shown = ", ".join(f"{token} {100 * share:.0f} %" for token, share in guesses)
    return f"{blank.text} · {shown} · truth: {blank.truth}"


def blanks(signal: Signal, source: Source, draw: Draw, count: int) -> list[Blank]:
    """The first `count` held-out sentences of a fit length, each with one longer word hidden; the same for one seed."""
    found: list[Blank] = []
    for number, sentence in enumerate(sentences(signal, source, draw)):
        words = sentence.split()
        choices = [i for i, word in enumerate(words) if word.isalpha() and len(word) >= LONG]
        if len(words) in WORDS and choices:
            place = choices[int(draw.integers(number, "blank", 1, len(choices))[0, 0])]
            found.append(Blank(" ".join([*words[:place], "[MASK]", *words[place + 1 :]]), words[place]))
        if len(found) == count:
            break
    return found


def sentences(signal: Signal, source: Source, draw: Draw, most: int = 100) -> Iterator[str]:
    """One sentence from the middle of each of the first held-out samples."""
    for index in range(min(most, len(source))):
        sample = source.get(np.array([index]), draw)[0]
        text = signal.decode(sample.parts[0])  # type: ignore[attr-defined]
        parts = [part.strip() for part in text.replace("!", ".").replace("?", ".").split(".")]
        whole = parts[1:-1] or parts
        yield whole[len(whole) // 2] + " ."
