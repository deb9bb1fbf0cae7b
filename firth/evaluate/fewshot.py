"""Few-shot accuracy against the number of shots: over draws and orders of the examples, beside honest baselines.

The accuracy of a prompt hangs on which examples it shows, and in which order (Zhao et al. 2021, arXiv 2102.09690,
section 3; Lu et al. 2021, arXiv 2104.08786). One prompt is therefore no result: every number of shots is drawn several
times, and the interval is over these draws and over the test items. The majority class of the labelled examples, and
guessing, stand beside it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from firth.errors import InputError
from firth.evaluate.statistics import Interval, accuracy, proportion
from firth.functional.choices import Normalise, Scorer, Writer
from firth.task import Example
from firth.tasks import prompt
from firth.tasks.prompt import Config, Room

# S draws of the shots, N test items, K classes

SHOTS = (0, 1, 4, 16)
DRAWS = 5
WAYS: tuple[Normalise, ...] = get_args(Normalise)


@dataclass(frozen=True)
class FewShot:
    """Accuracy for each number of shots, by how options are compared; `way` was chosen before anything was scored."""

    shots: tuple[int, ...]
    arms: dict[str, list[Interval]]  # raw, per-token, per-byte, calibrated; "written" where there is a writer
    commonest: list[
        float
    ]  # share of the items that get the label said most, of `way`: 1 is a model that always says it
    majority: float
    random: float
    way: str
    items: int
    draws: int

    def as_dict(self) -> dict[str, Any]:
        arms = {name: [one._asdict() for one in row] for name, row in self.arms.items()}
        others = ("commonest", "majority", "random", "way", "items", "draws")
        return {"shots": list(self.shots), "arms": arms} | {name: getattr(self, name) for name in others}

    def lines(self) -> list[str]:
        """A line for each number of shots, and one for the baselines."""
        found = [f"accuracy on {self.items:,} items, {self.draws} draws of the examples, 95 %; options by {self.way}"]
        for place, shots in enumerate(self.shots):
            one = self.arms[self.way][place]
            others = " · ".join(f"{n} {_percent(row[place].mean)}" for n, row in self.arms.items() if n != self.way)
            found.append(f"{shots:>4} shots  {_percent(one.mean)} ({_percent(one.low)} to {_percent(one.high)}) · "
                         f"{others} · one label for {_percent(self.commonest[place])}")  # fmt: skip
        return [*found, f"majority   {_percent(self.majority)} · random {_percent(self.random)}"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def fewshot(
    score: Scorer,
    learnt: Sequence[Example],
    test: Sequence[Example],
    config: Config,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
    room: Room | None = None,
    write: Writer | None = None,
) -> FewShot:
    """The curve of a model.

    learnt: labelled examples that shots are drawn from; test: others, scored. config: with its classes filled.
    draws: of the shots, each with examples and an order of its own; without shots there is only one prompt.
    room: what fits the model; None: nothing is checked. write: what the model writes on, to count exact matches, too.
    Raises InputError where there is nothing to score, where classes have too few examples, and for prompts that do not
    fit, before anything is scored.
    """
    refuse(test, config)
    chosen = {n: [drawn(learnt, config, n, seed, number) for number in range(draws if n else 1)] for n in shots}
    for n, each in chosen.items():
        refuse_long(config, each, test, n, room)
    points = [[one_draw(score, config, some, test, write) for some in chosen[n]] for n in shots]
    names = [*WAYS, *(["written"] if write else [])]
    arms = {name: [interval(np.array([right[name] for right, _ in each])) for each in points] for name in names}
    commonest = [float(np.mean([share for _, share in each])) for each in points]
    common = Counter(one.label for one in learnt).most_common(1)
    majority = float(np.mean([one.label == common[0][0] for one in test])) if common else 0.0
    return FewShot(tuple(shots), arms, commonest, majority, 1 / len(config.classes), config.normalise, len(test), draws)


def refuse(test: Sequence[Example], config: Config) -> None:
    """Raises InputError where nothing could be measured."""
    if not test:
        raise InputError("prompt", "there is no test item", "Give labelled rows to score on: --test FILE.")
    if len(config.classes) < 2:
        what = "there is nothing to tell apart: fewer than two classes"
        raise InputError("prompt", what, "Give labelled examples of at least two labels; --label names the column.")


def drawn(learnt: Sequence[Example], config: Config, shots: int, seed: int, number: int) -> list[Example]:
    """The shots of one draw."""
    return prompt.drawn(learnt, config.model_copy(update={"shots": shots}), seed, number)


def refuse_long(config: Config, draws: Sequence[Sequence[Example]], test: Sequence[Example], shots: int,
                room: Room | None) -> None:  # fmt: skip
    """Raises InputError at the first test item whose prompt does not fit, with any of the draws."""
    form = prompt.parse(config.template)
    for chosen in draws if room else ():
        texts = [prompt.prompt(config, form, chosen, one) for one in test]
        prompt.refuse_long(texts, prompt.options(config, form), test, shots, room)


def one_draw(score: Scorer, config: Config, chosen: Sequence[Example], test: Sequence[Example],
             write: Writer | None) -> tuple[dict[str, np.ndarray], float]:  # fmt: skip
    """With one set of shots: by name, which items are right (N,); and the share of the label said most."""
    answer = prompt.said(score, config, chosen, test)
    labels: dict[str, list[str | None]] = {
        way: [None if i is None else config.classes[i] for i in answer.chosen(way)] for way in WAYS
    }
    gold = [str(one.label) for one in test]
    right = {way: equal(gold, found) for way, found in labels.items()}
    if write is not None:
        right["written"] = equal([config.word(label) for label in gold], prompt.written(write, config, chosen, test))
    counts = Counter(label for label in labels[config.normalise] if label is not None)
    return right, max(counts.values(), default=0) / len(test)


def equal(gold: Sequence[str], said: Sequence[str | None]) -> np.ndarray:
    """(N,) 1 where both are the same."""
    return np.array([one == other for one, other in zip(gold, said, strict=True)], float)


def interval(right: np.ndarray) -> Interval:
    """(S, N) → over draws and items; of one prompt over items alone."""
    return accuracy(right) if len(right) > 1 else proportion(right[0])
