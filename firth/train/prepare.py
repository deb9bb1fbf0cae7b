"""Everything between the request and the first step: data, model, the choices for this machine, the start, the plan."""

import math
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any

import torch

from firth import distributed
from firth.data.cache import cache_folder
from firth.data.keeping import free
from firth.data.sampler import Batches
from firth.data.source import Source
from firth.errors import InputError
from firth.functional.random import Draw
from firth.model.shape import AnyShape
from firth.objective import Before, Composed, ObjectiveConfig, collate
from firth.recipe import Recipe, config_of, filled, with_table
from firth.signal import Batch, Finding, Signal
from firth.train import build, machine, plan, probe
from firth.train.budget import Budget, Clock, refuse_reading
from firth.train.checkpoint import Checkpoint
from firth.train.describe import name as words
from firth.train.former import vectors_of
from firth.train.log import Recorded
from firth.train.measure import measure
from firth.train.plan import Measured, Plan
from firth.train.watch import Watch, taken

LOOKED = 256  # training samples that objectives look at before a run begins


@dataclass
class Work:
    """A recipe on its way to a run."""

    recipe: Recipe
    budget: Budget
    clock: Clock
    show: Recorded
    place: Any  # of the run folder to be
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    facts: dict[str, Any] = field(default_factory=dict)  # for run.json
    plan: Plan | None = None
    corpus: build.AnyCorpus = None  # type: ignore[assignment]
    signal: Signal = None  # type: ignore[assignment]
    shape: AnyShape = None  # type: ignore[assignment]
    objective: Composed = None  # type: ignore[assignment]
    source: Source = None  # type: ignore[assignment]
    held_out: Source = None  # type: ignore[assignment]
    train: Batches = None  # type: ignore[assignment]
    valid: Batches = None  # type: ignore[assignment]
    found: Checkpoint | None = None  # what an unfinished run goes on from, until the loop takes it
    notes: list[str] = field(default_factory=list)  # on checkpoints that were skipped for it

    @property
    def timed(self) -> bool:
        return self.budget.kind == "seconds"

    def line(self, key: str, text: str) -> None:
        self.show.line(key, text)


@contextmanager
def own_threads():
    """Give the caller's thread count back at the end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fresh(work: Work) -> None:
    """Up to the plan of a new run."""
    given = work.recipe.model.size is not None or work.recipe.model.layers is not None
    seconds = work.budget.amount if work.timed else None
    asked = work.recipe.train.batch
    work.recipe = plan.with_defaults(build.sized(work.recipe, seconds), seconds)
    data(work)
    if asked is None and (batch := work.signal.batch_for(work.source.lengths)) is not None:
        work.recipe = filled(work.recipe, train={"batch": batch})
    model(work)
    seconds = choices(work)
    if seconds and not given and not work.recipe.model.source:
        seconds = shrink(work, seconds)
    if seconds and asked is None:
        rebatch(work, seconds)
    losses_and_start(work)
    planning(work)


def again(work: Work) -> None:
    """Up to the first step of a run whose recipe is complete and whose plan stands."""
    data(work)
    model(work)
    build.apply_choices(work.recipe, work.objective)
    if work.recipe.train.threads:
        torch.set_num_threads(work.recipe.train.threads)
    if work.found is None:
        work.objective.meet(partial(first_batch, work))
        begin_weights(work)


def data(work: Work) -> None:
    """Open the corpus; cut it the way the objectives need."""
    work.device = build.device_of(work.recipe)
    refuse_long = partial(refuse_reading, work.budget, work.clock.spent, cores=machine.cores())
    work.corpus = build.open_data(work.recipe, work.show, refuse_long)
    work.signal = work.corpus.signal
    work.recipe = build.fill(work.recipe, work.signal)
    context, rows = probe.recipe_context(work.recipe), build.rows_of(work.recipe)
    work.source = work.corpus.train(context=context, **rows)
    work.held_out = work.corpus.held_out(context=context, **rows)
    refuse_empty(work)
    make_ready(work)
    work.facts["data"] = {"fingerprint": work.corpus.fingerprint, **plain_facts(work.corpus.facts)}
    work.line("Data", build.describe_data(work.corpus))
    for one in remarks(work):
        work.show.note(one.text)
    work.clock.lap("data")


def remarks(work: Work) -> list[Finding]:
    """What the objectives say of training samples from all over the source."""
    asked = [one for one in build.configs_of(work.recipe).values() if type(one).check is not ObjectiveConfig.check]
    samples = taken(work.source, LOOKED, work.recipe.seed) if asked else []
    return [finding for one in asked for finding in one.check(samples)]


def make_ready(work: Work) -> None:
    """What the objectives do with the whole data before the first batch."""
    place = cache_folder() / "ready" / work.corpus.fingerprint
    encode = partial(vectors_of, work.recipe)
    given = Before([work.source, work.held_out], work.signal, encode, place, work.recipe.seed, work.show.note)
    with distributed.main_first():
        for name, config in build.configs_of(work.recipe).items():
            work.recipe = with_table(work.recipe, name, config.ready(given))


def plain_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """What of the facts is a number, a word, or a table of them."""
    return {key: value for key, value in facts.items() if isinstance(value, str | int | float | bool | dict)}


def refuse_empty(work: Work) -> None:
    """Raises InputError where one side of the split has nothing to learn from or to measure on, on each rank."""
    for side, source in (("training", work.source), ("held-out", work.held_out)):
        if len(source) < distributed.world():
            paths = ", ".join(map(str, work.recipe.data.paths)) or "the data"
            few = "fewer samples than ranks" if len(source) else "no sample"
            raise InputError(paths, f"leaves {few} in the {side} part", "Give more text, or --set data.held_out=0.2.")


def model(work: Work) -> None:
    """Build the model, refuse what cannot fit, and make its batches."""
    work.shape = build.shape_for(work.recipe, work.signal)
    shape, samples = work.shape, work.recipe.train.micro_batch or work.recipe.train.batch or 16
    held = samples * shape.activations(work.signal.longest(work.source.lengths))
    plan.refuse_memory(plan.training_memory(shape.weights, held), machine.free_memory())
    work.objective = build.compose(work.recipe, work.signal, shape)
    make_batches(work)
    work.objective.to(work.device)
    work.clock.lap("model")


def make_batches(work: Work) -> None:
    work.train = build.batches_of(work.recipe, work.signal, work.source)
    work.valid = build.batches_of(work.recipe, work.signal, work.held_out)


def choices(work: Work) -> float | None:
    """Threads, precision, attention, compiling: measured for a time budget, by rule otherwise. Seconds per step."""
    seconds = None
    if work.timed:
        limit = plan.PROBING / 2 * work.budget.amount
        long = work.budget.amount > probe.COMPILE_FROM
        extent = work.signal.extent(work.source.lengths)
        choice, seconds = probe.choose(work.recipe, work.objective, work.train, work.device, limit, long, extent)
    else:
        native, causal = machine.native_bf16(), probe.causal(work.objective)
        steps = probe.most_steps(work.shape, work.signal, work.source)
        choice = probe.rule(steps, native, machine.cores(), work.device.type, causal)
    work.recipe = probe.with_choice(work.recipe, choice)
    torch.set_num_threads(work.recipe.train.threads or choice.threads)
    work.clock.lap("probing")
    return seconds


def shrink(work: Work, seconds_per_step: float) -> float:
    """On a machine much slower than the one the sizes were set for: the size for the time it really has. Returns the
    seconds of a step that are then to be expected, where a ladder says so."""
    batch, before = work.recipe.train.batch or 16, work.recipe.model.size
    if ladder := build.ladder_of(work.recipe):
        seen = batch * work.signal.extent(work.source.lengths)
        size, rate = plan.lower(ladder, before or "", work.budget.amount, seen / seconds_per_step)
        seconds_per_step = seen / rate
    else:
        size = smaller(work, batch / seconds_per_step)
    if size != before:
        work.show.note(f"size {before} is more than this machine trains well in the time: {size}; --size keeps another")
        changes = {"size": size, **dict.fromkeys(("layers", "width", "heads", "intermediate", "key_heads"))}
        work.recipe = build.fill(plan.filled(work.recipe, model=changes), work.signal)
        model(work)
    return seconds_per_step


def smaller(work: Work, rate: float) -> str:
    """The size by tokens a second, where there is no ladder. rate: samples a second."""
    tokens = plan.rate_of_mini(rate * probe.recipe_context(work.recipe), work.shape.layers, work.shape.width)
    return plan.defaults(work.budget.amount, min(tokens, plan.REFERENCE))["model.size"]


def rebatch(work: Work, seconds_per_step: float) -> None:
    """As many samples a step as go with what the whole run will see."""
    rate = (work.recipe.train.batch or 16) / seconds_per_step
    batch = work.signal.batch_for(work.source.lengths, rate * work.budget.amount)
    if batch is not None and batch != work.recipe.train.batch:
        work.recipe = filled(work.recipe, train={"batch": batch})
        make_batches(work)


def losses_and_start(work: Work) -> None:
    """Show the model; say what is loaded and what is new; first-step loss against random initialisation."""
    build.apply_choices(work.recipe, work.objective)
    work.line("Model", build.describe_model(work.shape, work.objective))
    work.objective.meet(partial(first_batch, work))
    untrained = few_losses(work)
    begin_weights(work)
    first = few_losses(work) if work.facts.get("start") or work.recipe.model.source else untrained
    work.facts |= {"random_loss": untrained, "first_loss": first}
    work.line("Begin", describe_losses(work, untrained, first))
    work.clock.lap("start")


def begin_weights(work: Work) -> None:
    """From a model folder, from a closed-form start, or random; said in one line."""
    if work.recipe.model.source:
        loaded = build.load_weights(work.objective, work.recipe.model.source)
        work.objective.meet(partial(first_batch, work), loaded.loaded)
        work.facts["weights"] = {"loaded": len(loaded.loaded), "new": loaded.new, "unused": loaded.unused}
        work.line("Weights", loaded.describe(work.recipe.model.source))
        return
    start = build.start_weights(work.recipe, work.objective, work.source)
    work.facts["start"] = plain_facts(start) if start else None
    text = (
        f"{work.recipe.model.start} start ({build.describe_start(start)}); the rest is new" if start else "all random"
    )
    work.line("Weights", text)


def first_batch(work: Work) -> Batch:
    """The samples of the first step, of all ranks and micro-batches."""
    draw = Draw(work.recipe.seed)
    samples = work.source.get(work.train.indices(0), draw)
    return collate(samples, work.train.configs, work.signal, draw).to(work.device)


def few_losses(work: Work) -> dict[str, float]:
    """Held-out means over a few samples."""
    return measure(work.objective, work.valid.evaluation(probe.FEW, work.recipe.train.batch or 16), work.device)


def describe_losses(work: Work, untrained: dict[str, float], first: dict[str, float]) -> str:
    """held-out masked tokens loss 6.84 before the first step · 9.03 at random initialisation (theory 9.01)"""
    parts = []
    for name, term in terms_of(work.recipe):
        theory = chance(work.recipe, name)
        text = f"{words(term)} loss {first[term]:.2f} · {untrained[term]:.2f} at random initialisation"
        parts.append(text + (f" (theory ln V = {theory:.2f})" if theory else ""))
    return "held-out " + " · ".join(parts)


def terms_of(recipe: Recipe) -> list[tuple[str, str]]:
    """(objective, term) for each term of each objective."""
    return [(name, term) for name, config in build.configs_of(recipe).items() for term in config.terms]


def chance(recipe: Recipe, objective: str) -> float | None:
    """ln V, the loss of guessing evenly over the vocabulary, for objectives that guess tokens."""
    vocabulary = getattr(config_of(recipe, build.KIND[recipe.verb], objective), "vocabulary", 0)
    return math.log(vocabulary) if vocabulary else None


def planning(work: Work) -> None:
    """Measure real steps, plan, refuse what does not fit, show."""
    limit = min(8.0, plan.PROBING / 2 * work.budget.amount) if work.timed else 0.5
    limit = limit if distributed.world() == 1 else 0.0  # ranks must do equally many steps: the fewest
    worst = probe.worst_batches(work.recipe, work.signal, work.source)
    measured = probe.measure_steps(work.recipe, work.objective, worst, work.train, work.valid, work.device, limit)
    measured = watched(work, measured)
    work.clock.lap("probing")
    epoch = work.train.steps_per_epoch
    work.plan = plan.make(work.recipe, work.budget, measured, work.clock.spent, epoch)
    work.plan = replace(work.plan, unit=work.signal.unit.steps)
    work.recipe = plan.with_plan(work.recipe, work.plan)
    plan.refuse_disk(work.plan.disk, free(work.place), work.place)
    work.facts["plan"] = work.plan.as_dict()
    work.line("Plan", work.plan.describe())
    choice, rate = work.recipe.train, f"{work.plan.tokens_per_second:,.0f} {work.plan.unit}/s measured"
    kernel = f"{choice.attention} attention · " if probe.attends(work.objective) else ""
    work.line("Machine", f"{choice.threads} threads · {choice.precision} · {kernel}compile {choice.compile} · {rate}")


def watched(work: Work, measured: Measured) -> Measured:
    """The measurement with the seconds of reading vectors, where an evaluation does."""
    watch = Watch(work.objective, work.signal, work.source, work.held_out, work.recipe.seed, work.device)
    began = perf_counter()
    with build.uncompiled(work.recipe):
        read = watch.read(0)
    if not read:
        return measured
    return replace(measured, evaluation_seconds=measured.evaluation_seconds + perf_counter() - began)
