"""What a comparison compares: one task, learnt from the same labels, begun in different ways, or done classically."""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from firth import find
from firth.data.labelled import Labelled, encoded
from firth.data.records import Record
from firth.errors import InputError, did_you_mean
from firth.evaluate import baselines, closed, front_end
from firth.evaluate.baselines import BASELINES, Learn
from firth.evaluate.comparison import MAINS, OPENING, Point, Trial
from firth.interop.folder import open_shape
from firth.recipe import Recipe, filled
from firth.signal import Signal
from firth.task import Outcome
from firth.train import adaptation, adapted, build
from firth.train.adaptation import PRETRAINED, RANDOM, Adaptation
from firth.train.log import Show, Silent

# N test items

Begun = Mapping[str, dict[str, Tensor]]  # name of a start → the tensors it writes, and what it writes there
TITLES = {RANDOM: "Random initialisation", PRETRAINED: "Pre-trained", **baselines.TITLES, **closed.TITLES,
          front_end.NAME: front_end.TITLE}  # fmt: skip
PROBED = "classify"  # the task that vectors which stay as they are can do
TOKENS = frozenset({"tokens"})
LONG = 5.0  # seconds after which a training shows its progress


class Drawn(NamedTuple):
    """The labelled data of one trial, the same for all arms: `labels` examples (of each class, where the signal counts
    so) drawn by `seed`, and the test part."""

    labels: int
    seed: int
    labelled: Labelled
    whole: int | None = None  # the number of labels that stands for all

    @property
    def given(self) -> list[Record]:
        """All labels that may be used, validation included, each once."""
        records = self.labelled.records
        return list({id(one): one for one in [*records["train"], *records["valid"]]}.values())

    @property
    def test(self) -> list[Record]:
        return self.labelled.records["test"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Where each example has one of them; else ()."""
        task = self.labelled.task
        return self.labelled.classes if task.classed and not task.several else ()

    @property
    def gold(self) -> Any:
        """(N,) what is right: class indices where there are classes, else plain values."""
        if not self.classes:
            return [record.target for record in self.test]
        return self.indices([str(record.label) for record in self.test])

    def indices(self, names: Sequence[str]) -> np.ndarray:
        """(N,) int: the classes by number."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers[name] for name in names], dtype=int)

    @property
    def counts(self) -> np.ndarray | None:
        """(N,) over how many items the metric of each test example is; None: one each."""
        return self.labelled.task.counts(self.test)

    def judged(self, predicted: Sequence[Any]) -> Outcome:
        """What plain values, one for each test example, make of the test part."""
        task = self.labelled.task
        return find.find("tasks", task.terms[0]).judged(task, self.test, predicted)

    def trial(self, arm: str, outcome: Outcome, seconds: float, curve: tuple[Point, ...] = ()) -> Trial:
        """What an arm made of the test part: class indices where there are classes, else plain values."""
        if self.classes:
            return Trial(arm, self.labels, self.seed, self.indices(outcome.predicted), curve, seconds)
        return Trial(arm, self.labels, self.seed, outcome.predicted, curve, seconds, np.asarray(outcome.right))


class Arm(Protocol):
    """One way of doing the task."""

    def __call__(self, drawn: Drawn) -> Trial: ...

    def told(self) -> dict[str, Any]:
        """What the report tells of it besides its trials: {"settings": …, "cost": seconds by name, "models": …}, or
        less."""


@dataclass
class Neural:
    """The task of the recipe over the model of `model.source`, begun as `name` says; everything else is equal.

    What a closed-form start writes is computed once, by the first seed, and written over the random initialisation of
    each seed; where there is no raw text, once for each draw, from its labelled texts. So no trial hangs on another.
    """

    name: str
    recipe: Recipe
    signal: Signal
    show: Show = field(default_factory=Silent)
    written: dict[str, Tensor] | None = None  # what the start changes of a random initialisation, whatever the draw
    start_seconds: float = 0.0  # that computing it took, once
    last: Adaptation | None = None  # of the latest trial
    arm: str = ""  # what it is called; "": as its start
    encodes: bool = False  # whether the examples must be encoded by its own signal

    def __call__(self, drawn: Drawn) -> Trial:
        labelled = encoded(drawn.labelled, self.signal) if self.encodes else drawn.labelled
        work = self.begin(self.recipe_for(drawn), labelled)
        began, opening = time.perf_counter(), list[float]()
        adaptation.fit(work, each=self._each(began, opening))
        _, outcome = work.score()
        self.last = work
        curve = tuple(point(step, means) for step, means in work.curve)
        trial = drawn.trial(self.arm or self.name, outcome, time.perf_counter() - began, curve)
        return replace(trial, opening=float(np.mean(opening)), layers=tuple(adapted.shares(work)))

    def recipe_for(self, drawn: Drawn) -> Recipe:
        recipe = filled(self.recipe, model={"start": self.name}, data={"labels": drawn.labels})
        return recipe.model_copy(update={"seed": drawn.seed})

    def begin(self, recipe: Recipe, labelled: Labelled) -> Adaptation:
        """Everything before the first step."""
        if self.name in (PRETRAINED, RANDOM):
            return adaptation.assemble(recipe, self.signal, labelled, self.show)
        random = adaptation.assemble(filled(recipe, model={"start": RANDOM}), self.signal, labelled)
        written = self.started(recipe, labelled) if self.written is None else self.written
        random.objective.load_state_dict(written, strict=False)
        return random

    def started(self, recipe: Recipe, labelled: Labelled) -> dict[str, Tensor]:
        """What the start changes of a random initialisation; kept where it comes from raw text."""
        began, first = time.perf_counter(), recipe.model_copy(update={"seed": self.recipe.seed})
        show = Silent() if self.start_seconds else self.show  # what it has to say, it says once
        before, after = (
            adaptation.assemble(filled(first, model={"start": start}), self.signal, labelled, show)
            for start in (RANDOM, self.name)
        )
        found = changed(before.objective.state_dict(), after.objective.state_dict())
        if (after.begun or {}).get("text") == "raw":
            self.written = found
        self.start_seconds = time.perf_counter() - began
        return found

    def told(self) -> dict[str, Any]:
        """Settings, and the seconds that the start took, once something was trained."""
        if self.last is None:
            return {}
        cost = {f"{self.name} start": self.start_seconds} if self.start_seconds else {}
        backbone: Any = self.last.objective.backbone
        models = {self.arm or self.name: build.describe_model(backbone.shape, self.last.objective)}
        return {"settings": settings_of(self.last.recipe), "cost": cost, "models": models}

    def _each(self, began: float, opening: list[float]):
        """Keeps the first losses; shows steps of a training that takes long, short ones are told by their result."""

        def each(step, run) -> None:
            if step.items and len(opening) < OPENING:
                opening.append(step.loss)
            if time.perf_counter() - began > LONG:
                self.show.progress(step, run)

        return each


@dataclass
class FrontEnd(Neural):
    """The head of the task over frames of the sound, without an encoder."""

    def begin(self, recipe: Recipe, labelled: Labelled) -> Adaptation:
        return front_end.over_frames(super().begin(recipe, labelled))


@dataclass
class Classical:
    """A baseline. It gets all labels, validation included."""

    name: str
    learn: Learn

    def __call__(self, drawn: Drawn) -> Trial:
        began = time.perf_counter()
        found = self.learn(drawn.given, drawn.test, seed=drawn.seed)
        return drawn.trial(self.name, drawn.judged(found), time.perf_counter() - began)

    def told(self) -> dict[str, Any]:
        return {}


def arms_of(
    names: Sequence[str], recipe: Recipe, signal: Signal, show: Show | None = None, begun: Begun | None = None
) -> dict[str, Arm]:
    """The arms by name. begun: what starts write, where it is known already.

    Raises InputError for a name that is neither a start nor a baseline.
    """
    show, begun, offers = show or Silent(), begun or {}, offers_of(signal)
    ready: dict[str, Arm] = {
        name: Classical(name, learn) for name, learn in examples_read(recipe.objective[0], offers).items()
    }
    ready |= closed_arms(recipe, signal, show) if recipe.objective[0] == PROBED else {}
    if hears(recipe.objective[0], offers):
        ready[front_end.NAME] = FrontEnd(RANDOM, recipe, signal, show, arm=front_end.NAME)
    known = [RANDOM, PRETRAINED, *starts(offers), *ready]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"arm `{name}`", "no such arm", f"{hint}There is: {', '.join(known)}.")
    return {
        name: ready[name] if name in ready else Neural(name, recipe, signal, show, begun.get(name)) for name in names
    }


def offers_of(signal: Signal | None) -> frozenset[str]:
    """What the signal offers; text where there is none yet."""
    return TOKENS if signal is None else signal.facts.offers


def hears(task: str, offers: frozenset[str]) -> bool:
    """Whether there is an arm over frames themselves; where one class is to be said, their statistics are read."""
    return task != PROBED and offers >= front_end.NEEDS


def starts(offers: frozenset[str]) -> list[str]:
    """The closed-form starts that can read what the signal offers."""
    return [name for name in find.names("starts") if offers >= find.find("starts", name).NEEDS]


def examples_read(task: str, offers: frozenset[str]) -> dict[str, Learn]:
    """The baselines that read the examples of a task as they stand in the files."""
    return BASELINES.get(task, {}) if offers >= baselines.NEEDS else {}


def closed_arms(recipe: Recipe, signal: Signal, show: Show) -> dict[str, Arm]:
    """Arms that read vectors which stay as they are."""

    def model(drawn: Drawn, pretrained: bool) -> Any:
        one = Neural(PRETRAINED if pretrained else RANDOM, recipe, signal, show)
        return one.begin(one.recipe_for(drawn), drawn.labelled).objective

    def raw() -> Any:
        return adaptation.raw_text(recipe, signal, show)

    return {**closed.probes(signal, model), **closed.plain_arms(offers_of(signal), raw, recipe.seed)}


def others(models: Sequence[str | Path], recipe: Recipe, show: Show) -> dict[str, Arm]:
    """An arm for each further model folder, with its own tokenizer and shape; named by its folder."""
    found: dict[str, Arm] = {}
    taken = {RANDOM, PRETRAINED, *find.names("starts"), *BASELINES.get(recipe.objective[0], {}), *closed.TITLES}
    for model in models:
        own = filled(recipe, model={"source": str(model)})
        name = name_of(Path(model), {*taken, *found})
        found[name] = Neural(PRETRAINED, own, adaptation.open_signal(own), show, arm=name, encodes=True)
    return found


def name_of(model: Path, taken: Container[str]) -> str:
    """The folder's name; of `x/model` that of x; numbered where it is taken."""
    place = model.resolve()
    name = place.parent.name if place.name == "model" else place.name
    numbered = (f"{name}-{number}" for number in count(2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def default(task: str, offers: frozenset[str] = TOKENS) -> tuple[str, ...]:
    """The arms where none are named: random initialisation, the closed-form start, pre-training, the baselines."""
    plain = [name for name, one in closed.PLAIN.items() if task == PROBED and offers >= one.needs]
    probes = ["linear-random", "linear"] if plain else []
    frames = [front_end.NAME] if hears(task, offers) else []
    return (RANDOM, *starts(offers), PRETRAINED, *probes, *plain, *frames, *examples_read(task, offers))


def main_of(names: Container[str]) -> str:
    """The arm that the verdict is about."""
    return next((name for name in MAINS if name in names), PRETRAINED)


def title(name: str) -> str:
    """How people call an arm."""
    if name in TITLES:
        return TITLES[name]
    return f"{name.capitalize()} start alone" if name in find.names("starts") else name


def titles(arms: Mapping[str, Arm], main: str | None = None) -> dict[str, str]:
    """How people call each; where models of several shapes are compared, with the shape. main: of the pre-trained."""
    found = {name: title(name) for name in arms} | ({PRETRAINED: main} if main else {})
    shapes = {name: open_shape(arm.recipe.model.source).name for name, arm in arms.items() if isinstance(arm, Neural)}
    if len({*shapes.values()}) < 2:
        return found
    return found | {name: f"{found[name]} ({build.TITLES[shape]})" for name, shape in shapes.items()}


def point(step: int, means: dict[str, float]) -> Point:
    """Validation means as a point of the curve; accuracy: the share that is right, where the task has one."""
    right = next((v for k, v in means.items() if k.endswith(("accuracy", "exact"))), float("nan"))
    return Point(step, means["loss"], right)


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that are not equal, as they are after."""
    return {name: tensor.clone() for name, tensor in after.items() if not tensor.equal(before[name])}


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What all neural arms share."""
    train, model = recipe.train, recipe.model
    return {
        "model": f"{model.shape}, {model.layers} layers × {model.width}",
        "steps": train.steps,
        "batch": train.batch,
        "learning rate": recipe.optimizer.lr,
        "schedule": train.schedule,
        "dropout": model.dropout,
        "evaluated every": f"{train.evaluate_every} steps",
        "precision": train.precision,
        "threads": train.threads,
    } | fine_tuning(recipe)


def fine_tuning(recipe: Recipe) -> dict[str, Any]:
    """What is only told where it was asked for."""
    told = {
        "layer decay": recipe.optimizer.layer_decay if recipe.optimizer.layer_decay < 1 else None,
        "encoder": "frozen" if recipe.model.frozen else None,
        "blocks drawn anew": recipe.model.reinitialise or None,
        "rank of the adapters": recipe.model.lora or None,
        "layers read": "all, in a learnt weighted sum" if recipe.model.layer_sum else None,
    }
    return {name: value for name, value in told.items() if value is not None}
