"""What a comparison found: every trial, and the intervals, curves and sentences that follow from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firth.evaluate.answers import as_json
from firth.evaluate.mistakes import in_common, shortened
from firth.evaluate.statistics import (
    Interval,
    accuracy,
    area_under,
    lower_throughout,
    mean_interval,
    of_few,
    paired_difference,
)
from firth.evaluate.verdict import against, but, finding, verdict
from firth.task import Outcome
from firth.train.folder import write_atomically, writing

# N test items, S seeds, L classes

OPENING = 20  # steps: where an arm begins
MAINS = ("pretrained", "linear", "neighbours")  # over the pre-trained model; a verdict is about the first that is there


class Point(NamedTuple):
    """The validation part at one moment of a training: loss in nats per item, accuracy in [0, 1]."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Trial:
    """One arm, trained once: what it says about the common test part, and its way there."""

    arm: str
    labels: int  # in all, or of each class where these are counted; validation included
    seed: int  # of the draw of labels, the initialisation and the order
    predicted: Any  # (N,): class index of each test item, or a plain value
    curve: tuple[Point, ...] = ()  # step 0 first; empty for arms without steps
    seconds: float = 0.0
    right: np.ndarray | None = None  # (N,) what each item adds to the metric; None: 1 where predicted is gold
    opening: float | None = None  # mean training loss of the first OPENING steps
    layers: tuple[float, ...] = ()  # what was learnt to be read of each layer, where all are read

    @property
    def area(self) -> float | None:
        """Under the loss curve, over its span of steps: the mean loss on the way."""
        return area_under([p.step for p in self.curve], [p.loss for p in self.curve]) if self.curve else None

    def items(self, gold: Any, count: np.ndarray | None = None) -> np.ndarray:
        """(N,) values whose mean is the metric, and whose spread is that of its estimate. count: (N,) over how many
        each item's `right` is. For a ratio of sums r = Σ right / Σ count: r + (right - r count) / mean count
        (linearisation; Cochran 1977, section 6.3)."""
        right = np.asarray(self.predicted == gold if self.right is None else self.right, float)
        if count is None:
            return right
        ratio = right.sum() / count.sum()
        return ratio + (right - ratio * count) / count.mean()


@dataclass(frozen=True)
class Comparison:
    """All trials of one comparison. titles: name of each arm → how people call it, in the order they are shown.

    gold: (N,) int, class index of each test item. main, rivals: the arm the verdict is about, and what it is held
    against, the first of them in the headline. facts: data, settings, machine, costs: what the report tells.
    """

    titles: Mapping[str, str]
    classes: Sequence[str]
    gold: Any  # (N,)
    trials: Sequence[Trial]
    main: str = "pretrained"
    rivals: Sequence[str] = ("random", "co-occurrence", "tf-idf")
    inputs: Sequence[str] = ()  # the N test items as text, for showing mistakes
    facts: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "accuracy"
    count: np.ndarray | None = None  # (N,) over how many each item's `right` is; None: one each
    by_class: bool = False  # numbers of labels are those of each class
    whole: int | None = None  # the number that stands for all labels there are
    judge: Callable[[Any], Outcome] | None = None  # what a trial's plain values make of the items, mistakes named
    tested: Mapping[int, np.ndarray] | None = None  # by seed: places of the items that its trials are about; None: all

    @property
    def budgets(self) -> list[int]:
        return sorted({trial.labels for trial in self.trials})

    def amount(self, labels: int, in_all: bool = False) -> str:
        """200 labels (in all); or, where they are counted so, 5 labels a class."""
        return amount(labels, self.by_class, self.whole, in_all)

    def placed(self, labels: int) -> float:
        """The number on an axis of labels: where they are counted by class, all there are stand at their mean."""
        return labels / max(1, len(self.classes)) if self.by_class and labels == self.whole else labels

    @property
    def seeds(self) -> list[int]:
        return sorted({trial.seed for trial in self.trials})

    def of(self, arm: str, labels: int) -> list[Trial]:
        """The trials of an arm by seed."""
        chosen = [trial for trial in self.trials if (trial.arm, trial.labels) == (arm, labels)]
        return sorted(chosen, key=lambda trial: trial.seed)

    def right(self, arm: str, labels: int) -> np.ndarray:
        """(S, N): values by seed and item whose mean is the metric, and whose spread is that of its estimate."""
        return np.stack([self.items(trial) for trial in self.of(arm, labels)])

    def about(self, values: Any, seed: int) -> Any:
        """Of what there is for each item, that of the items that a seed is tested on."""
        if self.tested is None or values is None:
            return values
        places = self.tested[seed]
        return values[places] if isinstance(values, np.ndarray) else [values[place] for place in places.tolist()]

    def items(self, trial: Trial) -> np.ndarray:
        """(N,): as `right`, of one trial, over the items that it is about."""
        return trial.items(self.about(self.gold, trial.seed), self.about(self.count, trial.seed))

    def score(self, trial: Trial) -> float:
        return float(self.items(trial).mean())

    def scores(self, arm: str, labels: int) -> np.ndarray:
        """(S,): of each seed."""
        return np.array([self.score(trial) for trial in self.of(arm, labels)])

    def accuracy(self, arm: str, labels: int) -> Interval:
        """Over seeds and items; where each seed has items of its own, their spread is in that of the seeds."""
        if self.tested is not None:
            return mean_interval(self.scores(arm, labels).tolist())
        return accuracy(self.right(arm, labels))

    def difference(self, arm: str, rival: str, labels: int) -> Interval:
        """Accuracy of the arm less that of the rival, paired by seed and by test item, over the seeds both have."""
        both = {t.seed for t in self.of(arm, labels)} & {t.seed for t in self.of(rival, labels)}
        if self.tested is not None:
            own, other = ([self.score(t) for t in self.of(name, labels) if t.seed in both] for name in (arm, rival))
            return of_few(mean_interval((np.array(own) - np.array(other)).tolist()), len(self.gold))
        rights = [np.stack([self.items(t) for t in self.of(name, labels) if t.seed in both]) for name in (arm, rival)]
        return paired_difference(*rights)

    def mean_curve(self, arm: str, labels: int) -> list[Point]:
        """The mean over seeds at the steps that all of them were measured at."""
        curves = [{point.step: point for point in trial.curve} for trial in self.of(arm, labels)]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        return [
            Point(step, *(float(np.mean([getattr(c[step], name) for c in curves])) for name in ("loss", "accuracy")))
            for step in steps
        ]

    def area(self, arm: str, labels: int) -> Interval | None:
        """Area under the loss curve over seeds; None for arms without steps."""
        areas = [trial.area for trial in self.of(arm, labels) if trial.area is not None]
        return mean_interval(areas) if areas else None

    def opening(self, arm: str, labels: int) -> Interval | None:
        """Mean training loss of the first OPENING steps, over seeds; None for arms without steps."""
        found = [trial.opening for trial in self.of(arm, labels) if trial.opening is not None]
        return mean_interval(found) if found else None

    def best(self, arm: str, labels: int) -> Point | None:
        """Where the mean curve of an arm has its lowest loss."""
        return min(self.mean_curve(arm, labels), key=lambda point: point.loss, default=None)

    def reaches(self, arm: str, rival: str, labels: int) -> int | None:
        """The first step at which the arm's mean loss is as low as the rival's ever is; None: never, or no curves."""
        best = self.best(rival, labels)
        return next((p.step for p in self.mean_curve(arm, labels) if best and p.loss <= best.loss), None)

    def lower_throughout(self, arm: str, rival: str, labels: int) -> bool | None:
        """Whether the arm's mean loss curve lies below the rival's from 10 % of the steps to its own minimum."""
        first, second = self.mean_curve(arm, labels), self.mean_curve(rival, labels)
        if not first or [p.step for p in first] != [p.step for p in second]:
            return None
        return lower_throughout([p.step for p in first], [p.loss for p in first], [p.loss for p in second])

    @cached_property
    def confused(self) -> tuple[str, ...]:
        """Which classes can be taken for each other: those of the items, or of their words; () where there are none."""
        if self.classes or self.judge is None:
            return tuple(self.classes)
        figures = self.judge(self.trials[0].predicted).figures
        return tuple(figures["classes"]) if "confusion" in figures else ()

    def confusion(self, arm: str, labels: int) -> np.ndarray:
        """(L, L) counts over all seeds of the classes in `confused`, rows: gold."""
        size = len(self.confused)
        if self.judge and not self.classes:
            found = [self.judge(trial.predicted).figures["confusion"] for trial in self.of(arm, labels)]
            return np.sum(found, axis=0, dtype=int)
        matrix = np.zeros((size, size), dtype=int)
        for trial in self.of(arm, labels):
            np.add.at(matrix, (self.about(self.gold, trial.seed), trial.predicted), 1)
        return matrix

    def mistakes(self, arm: str, labels: int, most: int = 8) -> list[tuple[str, str, str]]:
        """Test items (of tags, words) that every seed gets wrong alike: (input, gold, predicted)."""
        if not self.classes:
            wrong = [self.judge(trial.predicted).wrong for trial in self.of(arm, labels)] if self.judge else [[]]
            return in_common(wrong)[:most]
        predicted = self.said(arm, labels)  # (S, N)
        first = predicted.max(0)
        alike = ((predicted == first) | (predicted < 0)).all(0) & (first != self.gold) & (first >= 0)
        places = [i for i in np.flatnonzero(alike).tolist() if i < len(self.inputs)][:most]
        named = [(self.inputs[i], self.classes[self.gold[i]], self.classes[first[i]]) for i in places]
        return [(shortened(text), gold, said) for text, gold, said in named]

    def said(self, arm: str, labels: int) -> np.ndarray:
        """(S, N) the class that each seed gives each item; -1 where it is not asked."""
        trials = self.of(arm, labels)
        found = np.full((len(trials), len(self.gold)), -1)
        for row, trial in zip(found, trials, strict=True):
            row[slice(None) if self.tested is None else self.tested[trial.seed]] = trial.predicted
        return found

    @property
    def compared(self) -> list[str]:
        """The rivals that have trials."""
        return [rival for rival in self.rivals if rival in self.titles and any(t.arm == rival for t in self.trials)]

    @cached_property
    def verdict(self) -> str:
        """The headline: the main arm against its first rival, at the fewest labels; and who does better than it."""
        rival, labels = self.compared[0], self.budgets[0]
        found, title = self.difference(self.main, rival, labels), self.titles[rival]
        pays = title != rival and rival not in MAINS  # another model is called by its name: it, too, was pre-trained
        headline = (
            verdict(found, self.amount(labels), within(title))
            if pays
            else against(found, self.amount(labels), self.titles[self.main], title)
        )
        others = {self.titles[name]: self.difference(self.main, name, labels) for name in self.compared[1:]}
        return " ".join([headline, *but(others)])

    @cached_property
    def sentences(self) -> list[str]:
        """The main arm against each other rival and budget, one sentence each."""
        pairs = [(rival, labels) for labels in self.budgets for rival in self.compared]
        title = self.titles[self.main]
        return [
            against(self.difference(self.main, rival, labels), self.amount(labels), title, self.titles[rival])
            for rival, labels in pairs[1:]
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and words; shares, not points."""
        return {
            "kind": "comparison",
            "metric": self.metric,
            "verdict": self.verdict,
            "sentences": self.sentences,
            "classes": list(self.confused),
            "test_items": len(self.gold),
            "seeds": self.seeds,
            "budgets": self.budgets,
            "arms": [self._arm(arm, labels) for labels in self.budgets for arm in self.titles if self.of(arm, labels)],
            "differences": [self._difference(rival, labels) for labels in self.budgets for rival in self.compared],
            "curves": [_curve(trial) for trial in self.trials if trial.curve],
            "facts": dict(self.facts),
        }

    def _arm(self, arm: str, labels: int) -> dict[str, Any]:
        trials, found, area = self.of(arm, labels), self.accuracy(arm, labels), self.area(arm, labels)
        return {
            "arm": arm,
            "title": self.titles[arm],
            "labels": labels,
            "accuracy": found.mean,
            "interval": _ends(found),
            "by_seed": {t.seed: self.score(t) for t in trials},
            "area_under_loss": area.mean if area else None,
            "opening_loss": opening.mean if (opening := self.opening(arm, labels)) else None,
            "lowest_loss": list(best)[:2] if (best := self.best(arm, labels)) else None,
            "seconds": float(np.mean([trial.seconds for trial in trials])),
            "confusion": self.confusion(arm, labels).tolist() if self.confused else None,
        }

    def _difference(self, rival: str, labels: int) -> dict[str, Any]:
        found = self.difference(self.main, rival, labels)
        return {
            "arm": self.main,
            "against": rival,
            "labels": labels,
            "accuracy": found.mean,
            "interval": _ends(found),
            "seeds": found.seeds,
            "finding": finding(found),
            "steps_to_its_lowest_loss": self.reaches(self.main, rival, labels),
            "loss_lower_throughout": self.lower_throughout(self.main, rival, labels),
        }

    def save(self, path) -> Path:
        """As JSON, whole or not at all. Raises InputError, RunError."""
        path = Path(path)
        with writing(path):
            write_atomically(path, as_json(self.as_dict()))
        return path


def amount(labels: int, by_class: bool = False, whole: int | None = None, in_all: bool = False) -> str:
    """200 labels (in all); by class: 5 labels a class, and of all there are: all 60,000 labels."""
    named = f"{labels:,} label{'s' * (labels != 1)}"
    if not by_class:
        return named + " in all" * in_all
    return f"all {named}" if labels == whole else f"{named} a class"


def within(title: str) -> str:
    """A title in the middle of a sentence: random initialisation, but TF-IDF."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _ends(found: Interval) -> list[float | None]:
    return [None if np.isnan(end) else float(end) for end in (found.low, found.high)]


def _curve(trial: Trial) -> dict[str, Any]:
    return {
        "arm": trial.arm,
        "labels": trial.labels,
        "seed": trial.seed,
        "steps": [point.step for point in trial.curve],
        "loss": [point.loss for point in trial.curve],
        "accuracy": [None if np.isnan(point.accuracy) else point.accuracy for point in trial.curve],
        "area_under_loss": trial.area,
        "seconds": trial.seconds,
    }
