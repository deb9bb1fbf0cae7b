"""What a comparison compares: one task, learnt from the same labels, begun in different ways, or done classically."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from firth import find
from firth.data.labelled import Labelled
from firth.errors import InputError, did_you_mean
from firth.evaluate.baselines import tf_idf
from firth.evaluate.comparison import Point, Trial
from firth.recipe import Recipe, filled
from firth.signal import Signal
from firth.train import adaptation
from firth.train.adaptation import PRETRAINED, RANDOM, Adaptation
from firth.train.log import Show, Silent

# N test items

Begun = Mapping[str, dict[str, Tensor]]  # name of a start → the tensors it writes, and what it writes there
BASELINES: dict[str, Callable[..., np.ndarray]] = {"tf-idf": tf_idf}
TITLES = {RANDOM: "Random initialisation", PRETRAINED: "Pre-trained", "tf-idf": "TF-IDF + logistic regression"}
DEFAULT = (RANDOM, "co-occurrence", PRETRAINED, "tf-idf")
LONG = 5.0  # seconds after which a training shows its progress


class Drawn(NamedTuple):
    """The labelled data of one trial, the same for all arms: `labels` examples drawn by `seed`, and the test part."""

    labels: int
    seed: int
    labelled: Labelled

    @property
    def gold(self) -> np.ndarray:
        """(N,) int: class index of each test item."""
        return indices(self.labelled, "test")


class Arm(Protocol):
    """One way of doing the task."""

    def __call__(self, drawn: Drawn) -> Trial: ...


@dataclass
class Neural:
    """The task of the recipe over the model of `model.source`, begun as `name` says; everything else is equal.

    What a closed-form start writes does not depend on the labels, so it is computed once and written over the random
    initialisation of each seed.
    """

    name: str
    recipe: Recipe
    signal: Signal
    show: Show = field(default_factory=Silent)
    written: dict[str, Tensor] | None = None  # what the start changes of a random initialisation
    start_seconds: float = 0.0  # that computing it took, once
    last: Adaptation | None = None  # of the latest trial

    def __call__(self, drawn: Drawn) -> Trial:
        work = self.begin(self.recipe_for(drawn), drawn.labelled)
        began = time.perf_counter()
        adaptation.fit(work, each=self._progress(began))
        _, score = work.score()
        seconds = time.perf_counter() - began
        self.last = work
        curve = tuple(point(step, means) for step, means in work.curve)
        return Trial(self.name, drawn.labels, drawn.seed, predicted(drawn.labelled, score["wrong"]), curve, seconds)

    def recipe_for(self, drawn: Drawn) -> Recipe:
        recipe = filled(self.recipe, model={"start": self.name}, data={"labels": drawn.labels})
        return recipe.model_copy(update={"seed": drawn.seed})

    def begin(self, recipe: Recipe, labelled: Labelled) -> Adaptation:
        """Everything before the first step."""
        if self.name in (PRETRAINED, RANDOM):
            return adaptation.assemble(recipe, self.signal, labelled, self.show)
        random = adaptation.assemble(filled(recipe, model={"start": RANDOM}), self.signal, labelled)
        if self.written is None:
            began = time.perf_counter()
            started = adaptation.assemble(recipe, self.signal, labelled, self.show).objective.state_dict()
            self.written = changed(random.objective.state_dict(), started)
            self.start_seconds = time.perf_counter() - began
        random.objective.load_state_dict(self.written, strict=False)
        return random

    def _progress(self, began: float):
        """Shows steps of a training that takes long; short ones are told by their result alone."""

        def each(step, run) -> None:
            if time.perf_counter() - began > LONG:
                self.show.progress(step, run)

        return each


@dataclass
class Classical:
    """A baseline: `learn(texts, labels, test texts, seed) -> class indices`. It gets all labels."""

    name: str
    learn: Callable[..., np.ndarray]

    def __call__(self, drawn: Drawn) -> Trial:
        began, labelled = time.perf_counter(), drawn.labelled
        given = [record.text for part in ("train", "valid") for record in labelled.records[part]]
        labels = np.concatenate([indices(labelled, "train"), indices(labelled, "valid")])
        test = [record.text for record in labelled.records["test"]]
        found = self.learn(given, labels, test, seed=drawn.seed)
        return Trial(self.name, drawn.labels, drawn.seed, np.asarray(found), (), time.perf_counter() - began)


def arms_of(
    names: Sequence[str], recipe: Recipe, signal: Signal, show: Show | None = None, begun: Begun | None = None
) -> dict[str, Arm]:
    """The arms by name. begun: what starts write, where it is known already.

    Raises InputError for a name that is neither a start nor a baseline.
    """
    known = [RANDOM, PRETRAINED, *find.names("starts"), *BASELINES]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"arm `{name}`", "no such arm", f"{hint}There is: {', '.join(known)}.")
    show, begun = show or Silent(), begun or {}
    return {
        name: Classical(name, BASELINES[name])
        if name in BASELINES
        else Neural(name, recipe, signal, show, begun.get(name))
        for name in names
    }


def title(name: str) -> str:
    """How people call an arm."""
    return TITLES.get(name, f"{name.capitalize()} start alone")


def point(step: int, means: dict[str, float]) -> Point:
    """Validation means as a point of the curve; accuracy: the first metric of that name."""
    return Point(step, means["loss"], next((v for k, v in means.items() if k.endswith("accuracy")), float("nan")))


def indices(labelled: Labelled, part: str) -> np.ndarray:
    """(N,) int: the class index of each record of a part."""
    numbers = {name: number for number, name in enumerate(labelled.classes)}
    return np.array([numbers[str(record.label)] for record in labelled.records[part]], dtype=int)


def predicted(labelled: Labelled, wrong: Sequence[Any]) -> np.ndarray:
    """(N,) int: the predictions on the test part, from what was wrong there (key, predicted label)."""
    numbers = {name: number for number, name in enumerate(labelled.classes)}
    said = {one.key: numbers[one.predicted] for one in wrong}
    gold = indices(labelled, "test").tolist()
    keys = [sample.key for sample in labelled.test.samples]  # type: ignore[union-attr]
    return np.array([said.get(key, label) for key, label in zip(keys, gold, strict=True)], dtype=int)


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that are not equal, as they are after."""
    return {name: tensor.clone() for name, tensor in after.items() if not tensor.equal(before[name])}
