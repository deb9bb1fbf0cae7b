"""Learning in context, measured: accuracy against the number of examples, on functions that training never met.

Questions come from `synthetic:icl`: new members of the trained families, families without a training episode, and, to
compare with, members that training episodes are made of. Without examples chance is exact: 1 in 4 (see icl.questions).
Two baselines see the same lines: copy, the last output again, and nearest, the output of the example most like the
query; each takes the option with most letters of it in place, and shares the point where several have as many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from firth.data.synthetic import icl
from firth.data.synthetic.icl import OPTIONS, Kind, Question
from firth.errors import InputError
from firth.evaluate.statistics import Interval, accuracy, proportion
from firth.functional.choices import Scorer, Writer, asked, best, scores

# S models (seeds of one training), N questions

SHOTS = (0, 1, 2, 4, 8, 16)
COUNT = 240  # questions of each kind; the families have equal parts of it
CHANCE = 1 / OPTIONS
BASELINES = {"copy": icl.copied, "nearest": icl.nearest}


@dataclass(frozen=True)
class Curve:
    """Accuracy against shots on questions of one kind, in the order of `shots`."""

    shots: tuple[int, ...]
    arms: dict[str, list[Interval]]  # "model", the baselines, "written" where there is a writer: exactly the output
    families: dict[str, list[float]]  # the model's accuracy on each family

    def accuracy(self, shots: int, arm: str = "model") -> Interval:
        return self.arms[arm][self.shots.index(shots)]

    def as_dict(self) -> dict[str, Any]:
        arms = {name: [one._asdict() for one in row] for name, row in self.arms.items()}
        return {"shots": list(self.shots), "arms": arms, "families": self.families}


@dataclass(frozen=True)
class InContext:
    """The curve of each kind; questions: of each kind; models: over how many seeds of training."""

    curves: dict[Kind, Curve]
    questions: int
    models: int
    chance: float = CHANCE

    def as_dict(self) -> dict[str, Any]:
        curves = {kind: curve.as_dict() for kind, curve in self.curves.items()}
        return {"questions": self.questions, "models": self.models, "chance": self.chance, "curves": curves}

    def lines(self) -> list[str]:
        """A table for each kind: a line for each arm, percent right at each number of shots."""
        found = []
        for kind, curve in self.curves.items():
            head = f"{kind.replace('-', ' ')}, {self.questions:,} questions, chance {100 * self.chance:.0f} %"
            found.append(f"{head:<48}" + "".join(f"{shots:>6}" for shots in curve.shots) + "  shots")
            found += [_row(arm, [one.mean for one in row]) for arm, row in curve.arms.items()]
            found += [_row("  " + family, row) for family, row in curve.families.items()]
            last = curve.arms["model"][-1]
            found.append(f"{'at most shots, 95 %':<48}{100 * last.low:.1f} to {100 * last.high:.1f} %")
        return found


def _row(name: str, shares: Sequence[float]) -> str:
    return f"{name:<48}" + "".join(f"{100 * share:>6.1f}" for share in shares)


def in_context(
    models: Scorer | Sequence[Scorer],
    count: int = COUNT,
    seed: int = 0,
    shots: Sequence[int] = SHOTS,
    kinds: Sequence[Kind] = get_args(Kind),
    write: Writer | None = None,
) -> InContext:
    """The curves of a model, or of several that differ in their seed.

    count: questions of each kind, the same ones for every model and number of shots. seed: draws other questions.
    write: what the (first) model writes on; its first line must be the output. Intervals are over questions, with
    several models over these, too. Raises InputError for more shots than questions have examples.
    """
    scorers = [models] if callable(models) else list(models)
    if max(shots) > icl.SHOTS or min(shots) < 0:
        what = f"a question has {icl.SHOTS} examples"
        raise InputError(f"shots = {', '.join(map(str, shots))}", what, f"Ask for 0 to {icl.SHOTS}.")
    curves = {kind: curve(icl.questions(kind, count, seed), scorers, tuple(shots), write) for kind in kinds}
    return InContext(curves, count, len(scorers))


def curve(
    questions: Sequence[Question], scorers: Sequence[Scorer], shots: tuple[int, ...], write: Writer | None
) -> Curve:
    """One kind: every model, baseline and number of shots on the same questions."""
    right = np.array([[answered(score, questions, n) for n in shots] for score in scorers])  # (S, shots, N)
    arms = {"model": [over_models(right[:, i]) for i in range(len(shots))]}
    for name, say in BASELINES.items():
        points = [[points_of(one, say(one, n)) for one in questions] for n in shots]
        arms[name] = [proportion(np.array(row)) for row in points]
    if write is not None:
        arms["written"] = [proportion(written(write, questions, n)) for n in shots]
    return Curve(shots, arms, by_family(questions, right.mean(0)))


def answered(score: Scorer, questions: Sequence[Question], shots: int) -> np.ndarray:
    """(N,) 1 where the right option alone is the likeliest."""
    found = asked(score, [one.prompt(shots) for one in questions], [one.options for one in questions])
    chosen = [best(one.options, scores(said, one.options)) for one, said in zip(questions, found, strict=True)]
    return np.array([float(one.answer == said) for one, said in zip(questions, chosen, strict=True)])


def written(write: Writer, questions: Sequence[Question], shots: int) -> np.ndarray:
    """(N,) 1 where the first line that is written is the right output, letter by letter."""
    said = write([one.prompt(shots) for one in questions])
    return np.array([float(text.partition("\n")[0] == one.options[one.answer])
                     for one, text in zip(questions, said, strict=True)])  # fmt: skip


def points_of(question: Question, said: str) -> float:
    """1 if the option most like `said` is the right one, 1 / n if n options are as much like it, else 0."""
    alike = [icl.overlap(option, said) for option in question.options]
    top = max(alike)
    return (alike[question.answer] == top) / alike.count(top)


def over_models(right: np.ndarray) -> Interval:
    """(S, N) → the accuracy; of one model over questions, of several over both."""
    return accuracy(right) if len(right) > 1 else proportion(right[0])


def by_family(questions: Sequence[Question], right: np.ndarray) -> dict[str, list[float]]:
    """right (shots, N), a mean over models → family → accuracy at each number of shots."""
    names = [one.family for one in questions]
    own: Mapping[str, list[int]] = {
        name: [i for i, one in enumerate(names) if one == name] for name in dict.fromkeys(names)
    }
    return {name: right[:, places].mean(1).tolist() for name, places in own.items()}
