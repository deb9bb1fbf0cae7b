"""An adaptation: a task over a backbone that is pre-trained, random, or begun in closed form; everything else equal.

`assemble` makes one out of a recipe, `fit` trains it through the one loop. Both are what `adapt` and `compare` call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from firth import find
from firth.data.labelled import Labelled, open_labelled
from firth.data.row import label_place
from firth.data.sampler import Batches
from firth.data.source import Source
from firth.errors import FirthError, InputError, did_you_mean
from firth.functional.random import Draw, combine, hash_bytes
from firth.interop import peft
from firth.interop.folder import model_folder, open_shape
from firth.model import low_rank
from firth.model.layer_sum import as_begun
from firth.model.level import Level
from firth.model.shape import Shape
from firth.model.store import LIMIT, Store
from firth.objective import Composed, Objective, quiet
from firth.recipe import Recipe, config_of, filled, with_table
from firth.signal import Sample, Signal
from firth.task import Outcome, TaskConfig
from firth.train import budget as budgets
from firth.train import build, checks, machine, probe
from firth.train.build import Weights
from firth.train.folder import RunFolder
from firth.train.log import Show, Silent, read_metrics
from firth.train.loop import train
from firth.train.measure import EVALUATED
from firth.train.run import Run, Step

PRETRAINED, RANDOM = "pretrained", "random"
LR = 3e-4  # of AdamW up to width 256; wider models take less
HEAD_LR = 1e-3  # of a head on a frozen encoder, however wide: the customary rate of Adam (arXiv 1412.6980)
LORA_LR = 5e-4  # of adapters and head (Hu et al. 2021, arXiv 2106.09685, appendix D: RoBERTa, 3e-4 to 5e-4)
EPOCHS = 3  # through many labels
FEW_STEPS = 400  # through few labels, at most
FEW_EPOCHS = 20  # through very few labels, at most
EVALUATIONS = 20  # along the way
SHARE = 6  # of the free memory, one part may hold what a frozen encoder gives; several trainings may run side by side
LEVELLED = 2048  # training samples by which the numbers of a frozen encoder are levelled, at most
PATIENCE, ENOUGH = 5, 200  # evaluations; validation examples below which the last weights are better than the chosen


@dataclass
class Adaptation:
    """Everything before the first step. recipe: complete; weights: what was loaded; begun: facts of the start."""

    recipe: Recipe
    signal: Signal
    labelled: Labelled
    objective: Composed
    train: Batches
    valid: Batches
    test: Batches | None
    weights: Weights
    begun: dict[str, Any] | None = None
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # (step, validation means), step 0 first
    kept: int = 0  # the step whose weights the objective has: that of the lowest validation loss, or the last
    settled: dict[str, Any] = field(default_factory=dict)  # what validation chose after training, by name

    @property
    def task(self) -> str:
        return self.recipe.objective[0]

    def score(self) -> tuple[str, Outcome]:
        """("test" or "validation", what the model made of it)."""
        name, part = ("test", "test") if self.test else ("validation", "valid")
        module = find.find("tasks", self.task)
        return name, module.evaluate(self.objective, self.signal, self.labelled.records[part])


def assemble(
    recipe: Recipe, signal: Signal | None = None, labelled: Labelled | None = None, show: Show | None = None
) -> Adaptation:
    """The task of the recipe over the model of `model.source`, begun as `model.start` says.

    signal, labelled: where the caller already has them (compare shares them between arms). The head is initialised from
    the seed, as is the backbone before it is loaded or started: arms differ in nothing but the start.
    """
    check_start(recipe.model.start)
    refuse_unfinished(recipe.model.source)
    checks.refuse_adapters(recipe)
    checks.refuse_reinitialising(recipe)
    signal = signal or open_signal(recipe)
    labelled = labelled or open_labelled(recipe.data, signal, recipe.seed, task=task_of(recipe))
    learn_from, validate_on = refuse_empty(recipe, labelled)
    refuse_unlearnt(labelled, recipe.objective[0])
    recipe = plan(fill(recipe, signal, labelled), labelled)
    objective = build.compose(recipe, signal)
    build.apply_choices(recipe, objective)
    objective.to(build.device_of(recipe))
    weights, begun = begin(recipe, objective, signal, labelled, show or Silent())
    hold(recipe, objective)
    train, valid = (build.batches_of(recipe, signal, source) for source in (learn_from, validate_on))
    test = build.batches_of(recipe, signal, labelled.test) if labelled.test else None
    return Adaptation(recipe, signal, labelled, objective, train, valid, test, weights, begun)


def hold(recipe: Recipe, objective: Composed) -> None:
    """Freeze the encoder, or all of it but low-rank adapters, where the recipe says so."""
    backbone: Any = objective.backbone
    if recipe.model.frozen:
        backbone.freeze()
    if recipe.model.lora:
        low_rank.adapt(backbone, recipe.model.lora, peft.parts_of(backbone.shape), recipe.seed)


def fit(
    adaptation: Adaptation, folder: RunFolder | None = None, each: Callable[[Step, Run], None] | None = None
) -> Run:
    """Train to the end or until validation no longer gets better; the objective then holds the best weights, and has
    settled what its task chooses by the validation part, such as a temperature."""
    job = Run(
        objective=adaptation.objective,
        batches=adaptation.train,
        recipe=adaptation.recipe,
        folder=folder,
        valid=adaptation.valid,
        device=build.device_of(adaptation.recipe),
        evaluate_first=True,
        unit=adaptation.signal.unit.steps,
    )
    curve: dict[int, dict[str, float]] = {}
    with remembering(adaptation), levelling(adaptation, job):
        for step in train(job):
            curve = curve or evaluated(folder, job.resumed)
            if step.evaluation:
                curve[step.index] = step.evaluation
            if each:
                each(step, job)
    adaptation.curve, adaptation.kept = sorted(curve.items()), job.kept
    settle = getattr(find.find("tasks", adaptation.task), "settle", None)
    if settle:
        adaptation.settled = settle(adaptation.objective, adaptation.signal, adaptation.labelled.records["valid"])
    return job


def evaluated(folder, step: int) -> dict[int, dict[str, float]]:
    """What validation said up to the step that a run goes on from."""
    rows = read_metrics(RunFolder(folder).metrics) if folder and step else []
    return {row["step"]: row["held_out"] for row in rows if row.get("held_out") and row["step"] <= step}


@contextmanager
def remembering(adaptation: Adaptation) -> Iterator[None]:
    """While a head learns on a frozen encoder, each sample is encoded once."""
    frozen = adaptation.recipe.model.frozen
    parts = [part for part in adaptation.objective.objectives if frozen and part.all_steps]
    for part in parts:
        part.store = store = Store(max(LIMIT, (machine.free_memory() or 0) // SHARE))
        if len(adaptation.objective.objectives) == 1:
            adaptation.signal.known = store
    try:
        yield
    finally:
        adaptation.signal.known = ()
        for part in parts:
            part.store = None


@contextmanager
def levelling(adaptation: Adaptation, job: Run) -> Iterator[None]:
    """While a head learns on a frozen encoder, the numbers it reads are levelled by the training part; at the end the
    head has taken that into its weights. A run that goes on measures the same again."""
    frozen = adaptation.recipe.model.frozen
    heads = {part: part.level for part in adaptation.objective.objectives if frozen and part.level is not None}
    if heads:
        job.ready = partial(level, adaptation, heads)
    try:
        yield
    finally:
        for one in heads.values():
            one.fold()


def level(adaptation: Adaptation, heads: Mapping[Objective, Level]) -> None:
    """By training samples, no more than training goes through, of near lengths together; what the encoder gives of them
    is kept. Always as the head begins, so that a run that goes on finds the same."""
    for one in heads.values():
        one.look()
    batch, steps = adaptation.recipe.train.batch or EVALUATED, adaptation.recipe.train.steps or 1
    device = build.device_of(adaptation.recipe)
    sums = [part.layer_sum for part in heads if part.layer_sum is not None]
    with quiet(adaptation.objective), torch.no_grad(), as_begun(sums):
        for found in adaptation.train.evaluation(min(LEVELLED, batch * steps), batch):
            for part in heads:  # no loss: that of transcripts takes time
                part.levelled(part.encode(found.to(device)))
    for one in heads.values():
        one.settle()


def refuse_unfinished(folder) -> None:
    """Raises InputError for a run that has no model yet."""
    run = RunFolder(folder)
    if run.facts and not run.model.exists():
        raise InputError(folder, "is a run without a model: it is not finished", "Run its command again; it goes on.")


def refuse_empty(recipe: Recipe, labelled: Labelled) -> tuple[Source, Source]:
    """Training and validation part. Raises InputError where there is nothing to learn from, or to validate on."""
    if labelled.train and labelled.valid:
        return labelled.train, labelled.valid
    name = "to validate on" if labelled.train else "to learn from"
    paths = ", ".join(recipe.data.paths) or "DATA"
    raise InputError(paths, f"leaves no labelled example {name}", "Label more of it, or give --valid FILE.")


def task_of(recipe: Recipe) -> TaskConfig:
    """The table of the recipe's task."""
    return config_of(recipe, "tasks", recipe.objective[0])


def refuse_unlearnt(labelled: Labelled, task: str) -> None:
    """Raises InputError at the first validation or test example whose label no training example has."""
    if not labelled.task.classed:
        return
    classes_of = labelled.task.classes_of
    learnt = {label for record in labelled.records["train"] for label in classes_of(record)}
    for record in [*labelled.records["valid"], *labelled.records["test"]]:
        for label in sorted(set(classes_of(record)) - learnt):
            what = f"label `{label}` is in no training example"
            do = "Add examples of it to the training files, or leave out these rows."
            raise InputError(str(label_place(record)), what, do)


def data_facts(labelled: Labelled) -> dict[str, Any]:
    """The labelled data as plain values for run.json, and a fingerprint of its parts."""
    parts = [source for source in (labelled.train, labelled.valid, labelled.test) if source]
    rows = [
        combine(number, sample.key, mark_of(sample)) for number, part in enumerate(parts) for sample in part.samples
    ]
    mark = np.add.reduce(np.array(rows, np.uint64))  # in any order; equal rows count
    return {"fingerprint": f"{int(mark):016x}", **labelled.facts}


def mark_of(sample: Sample) -> int:
    """64 bit of what the sample is to be answered with."""
    label = sample.label.tolist() if isinstance(sample.label, np.ndarray) else sample.label
    said = [label, *(np.asarray(sample.targets[name]).tolist() for name in sorted(sample.targets))]
    return hash_bytes(repr(said).encode())


def check_start(start: str) -> None:
    """Raises InputError for a start that does not exist."""
    known = [PRETRAINED, RANDOM, *find.names("starts")]
    if start.replace("_", "-") not in known:
        hint = did_you_mean(start, known)
        raise InputError(f"--start {start}", "no such start", f"{hint}There is: {', '.join(known)}.")


def open_signal(recipe: Recipe) -> Signal:
    """The signal of the model folder, to adapt as tasks read it; keys of the recipe's own table win over the folder's.

    Raises InputError for a task that the model's shape cannot learn.
    """
    cls = find.main_class(find.find("signals", recipe.signal), Signal)
    folder = model_folder(recipe.model.source)
    signal, table = cls.open(folder), recipe.tables.get(recipe.signal)
    signal = cls.open(folder, signal.config.model_copy(update=table)) if table else signal
    if recipe.verb != "adapt":
        return signal
    refuse_left_to_right(recipe, signal.of_texts().facts.offers)
    return signal.of_texts()


def refuse_left_to_right(recipe: Recipe, offers: frozenset[str]) -> None:
    """Raises InputError for a task whose steps must see later ones, where the shape lets none see them."""
    task = recipe.objective[0]
    kinds = {name: find.main_class(find.find("tasks", name), Objective) for name in find.learnable()}
    if task in kinds and kinds[task].causal is False and open_shape(recipe.model.source).causal:
        fit = [name for name, kind in kinds.items() if kind.causal is not False and kind.Config.needs <= offers]
        able = " or ".join(f"--task {name}" for name in fit)
        what = f"must see what comes after a step, and {recipe.model.source} reads from left to right"
        raise InputError(f"--task {task}", what, f"Take a model that sees both sides (masked tokens), or {able}.")


def fill(recipe: Recipe, signal: Signal, labelled: Labelled) -> Recipe:
    """The recipe with what follows from signal, model folder and labels; unset choices by rule, nothing measured."""
    recipe = build.fill(recipe, signal)
    facts = signal.facts._replace(classes=tuple(labelled.classes))
    recipe = with_table(recipe, recipe.objective[0], labelled.task)
    shape = build.shape_for(recipe, signal)
    for name, config in build.configs_of(recipe).items():
        recipe = with_table(recipe, name, config.fill(facts).fit(shape))
    refuse_long(recipe, signal)
    device, steps = build.device_of(recipe).type, probe.most_steps(shape, signal, labelled.train)
    choice = probe.rule(steps, machine.native_bf16(), machine.cores(), device, shape.causal)
    if recipe.optimizer.lr is None:
        recipe = filled(recipe, optimizer={"lr": default_rate(recipe)})
    return probe.with_choice(recipe, choice)


def refuse_long(recipe: Recipe, signal: Signal) -> None:
    """Raises InputError for a context beyond learned positions."""
    shape, context = build.shape_for(recipe, signal), probe.recipe_context(recipe)
    if "context" not in recipe.tables.get(recipe.signal, {}) or not isinstance(shape, Shape):
        return
    if shape.position_kind == "learned" and context > shape.positions:
        raise InputError(
            f"{recipe.signal}.context = {context}",
            f"the model has learned {shape.positions} positions",
            f"Set {recipe.signal}.context={shape.positions} or less.",
        )


def default_rate(recipe: Recipe) -> float:
    """Learning rate of what learns."""
    if recipe.model.frozen or recipe.model.lora:
        return HEAD_LR if recipe.model.frozen else LORA_LR
    return rate(recipe.model.width or 256)


def rate(width: int) -> float:
    """Learning rate by width: 3e-4 up to 256, about 6e-5 at 768."""
    return float(f"{LR * min(1.0, 256 / width) ** 1.5:.2g}")


def plan(recipe: Recipe, labelled: Labelled) -> Recipe:
    """Batch, steps and intervals from the number of training labels, where the recipe does not say them."""
    samples = len(labelled.train or ())
    batch = recipe.train.batch or (32 if samples >= 20_000 else 16)
    epoch = -(-samples // batch)
    steps = recipe.train.steps or _asked_steps(recipe, epoch) or max(EPOCHS * epoch, min(FEW_EPOCHS * epoch, FEW_STEPS))
    every = recipe.train.evaluate_every or max(1, steps // EVALUATIONS)
    save = recipe.train.checkpoint_every or max(every, 500)
    patience = recipe.train.patience
    if patience is None:
        patience = PATIENCE if len(labelled.valid or ()) >= ENOUGH else 0
    changes = {"batch": batch, "steps": steps, "evaluate_every": every, "checkpoint_every": save, "patience": patience}
    return filled(recipe, train=changes)


def _asked_steps(recipe: Recipe, epoch: int) -> int | None:
    """train.budget in steps or epochs."""
    if not recipe.train.budget:
        return None
    budget = budgets.parse(recipe.train.budget)
    if budget.kind not in ("steps", "epochs"):
        where = f"--budget {recipe.train.budget}"
        raise InputError(where, "adapting is counted in steps or epochs", "Write 500steps or 5epochs.")
    return max(1, round(budget.amount * (epoch if budget.kind == "epochs" else 1)))


def begin(
    recipe: Recipe, objective: Composed, signal: Signal, labelled: Labelled, show: Show
) -> tuple[Weights, dict[str, Any] | None]:
    """Load, start, or leave at random; what was loaded, and the facts of a closed-form start."""
    if recipe.model.start == PRETRAINED:
        return build.load_weights(objective, recipe.model.source, recipe.model.reinitialise), None
    weights = Weights(new=sorted(objective.state_dict()))
    if recipe.model.start == RANDOM:
        return weights, None
    module = find.find("starts", recipe.model.start)
    raw, special = raw_text(recipe, signal, show), signal.facts.special_ids
    facts = module.start(objective, raw or labelled.train, Draw(recipe.seed), special=special)
    return weights, facts | {"text": "raw" if raw else "labelled"}


def raw_text(recipe: Recipe, signal: Signal, show: Show) -> Source | None:
    """What the run in `model.source` was trained on, from the cache or its files; None, and a note, without it."""
    run = RunFolder(Path(str(recipe.model.source)))
    if not run.config.exists():
        show.note(f"{run} is no run of firth; the start is computed from the labelled training texts.")
        return None
    try:
        corpus = build.open_data(run.reached, show)
    except FirthError as error:
        show.note(f"The raw data of {run} is gone ({error.what}); the start is computed from the labelled texts.")
        return None
    same = corpus.signal.facts.vocabulary == signal.facts.vocabulary
    return corpus.train(context=probe.recipe_context(run.recipe)) if same else None
