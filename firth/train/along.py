"""Questions along the way: what made data asks a model in training, so that one can see when it learnt to answer.

A generator of made data that has questions offers `along() -> {name: [(prompt, options, place of the right one)]}`; an
objective that can answer offers `scorer(objective, signal)`. Otherwise nothing is asked.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from firth import find
from firth.data.synthetic import KIND as GENERATORS
from firth.data.synthetic import MARK, parse
from firth.functional.choices import asked, best, scores
from firth.objective import Composed
from firth.recipe import Recipe
from firth.signal import Signal
from firth.train.build import KIND

Question = tuple[str, Sequence[str], int]  # prompt, options, place of the right one
LOOKS = 12  # in a run, about


class Along:
    """answers: {name: share right}, at the steps that are looked at; {} at all others.

    Questions that do not fit the context are left out, a name with all of its questions.
    """

    def __init__(self, recipe: Recipe, signal: Signal, steps: int):
        modules = [find.find(KIND[recipe.verb], name) for name in recipe.objective]
        self.scorer: Callable[..., Any] | None = next((m.scorer for m in modules if hasattr(m, "scorer")), None)
        self.signal, self.steps = signal, set(looks(steps))
        given = questions(recipe) if self.scorer else ()
        self.asked = {name: some for name, some in given if self.fits(some)}

    def fits(self, some: Sequence[Question]) -> bool:
        """Whether prompt and option, and a token before and after them, fit the context."""
        texts = [prompt + option for prompt, options, _ in some for option in options]
        sizes = [len(one.ids) for one in self.signal.encode(texts)]  # type: ignore[attr-defined]
        return max(sizes, default=0) + 2 <= self.signal.config.context  # type: ignore[attr-defined]

    def answers(self, step: int, last: bool, objective: Composed) -> dict[str, float]:
        if not self.asked or (step not in self.steps and not last):
            return {}
        score = self.scorer(objective, self.signal)  # type: ignore[misc]
        return {name: share_right(score, some) for name, some in self.asked.items()}


def questions(recipe: Recipe) -> Iterator[tuple[str, Sequence[Question]]]:
    """Of all generators among the data, by name."""
    for path in recipe.data.paths:
        module = find.find(GENERATORS, parse(path).name) if path.startswith(MARK) else None
        yield from getattr(module, "along", dict)().items()


def described(found: dict[str, float]) -> str:
    """right: new members, 16 examples 81 % · …"""
    return "right: " + " · ".join(f"{name} {100 * share:.0f} %" for name, share in found.items())


def share_right(score, some: Sequence[Question]) -> float:
    """The share of the questions to which the right option alone is the likeliest."""
    found = asked(score, [prompt for prompt, _, _ in some], [options for _, options, _ in some])
    chosen = [best(options, scores(said, options)) for (_, options, _), said in zip(some, found, strict=True)]
    return float(np.mean([place == right for place, (_, _, right) in zip(chosen, some, strict=True)]))


def looks(steps: int, count: int = LOOKS) -> list[int]:
    """Steps at which a run is looked at: 0, then ever further apart, as most happens early, and the last."""
    apart = np.geomspace(max(steps / 100, 1), max(steps, 1), max(count - 1, 1)).round().astype(int).tolist()
    return sorted({0, *apart, steps})
