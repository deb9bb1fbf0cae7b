"""Measuring this machine with real steps: which kernels are fastest here, and how long a step, an evaluation, a
checkpoint takes. Every probe trains a copy; the model that is trained afterwards is untouched.
"""

import copy
import gc
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from firth.data.cache import PROBING, cache_folder
from firth.data.sampler import Batches
from firth.data.source import ListSource, Source
from firth.errors import RunError
from firth.functional.random import Draw
from firth.model.shape import AnyShape
from firth.objective import Composed
from firth.recipe import Recipe, filled
from firth.signal import Signal
from firth.train import build, machine
from firth.train.checkpoint import Checkpoint, Checkpoints
from firth.train.loop import train
from firth.train.measure import EVALUATED, measure
from firth.train.plan import Measured
from firth.train.run import Run

COMPILE_FROM = 300.0  # seconds of budget from which compiling is tried
FEW = 64  # held-out samples that stand for all of an evaluation, where it is timed or only looked at
GAIN = 0.97  # a choice that costs more (a thread, compiling) must take less than this share of the time


class Choice(NamedTuple):
    """What changes the arithmetic or its speed, chosen per machine and shape."""

    threads: int
    precision: str
    attention: str
    compile: str = "off"


def rule(steps: int, native: bool, cores: int, device: str = "cpu", causal: bool = False) -> Choice:
    """The choice without measuring, for runs given in steps: it depends on the kind of machine alone, never on noise.

    bf16 where the processor multiplies it; attention by plain matmul in bf16 up to 512 steps, where it beats the fused
    kernel on CPU, and wherever it is causal, for then it goes by blocks; all cores; no compiling.
    """
    if device != "cpu":
        return Choice(cores, "bf16", "sdpa")
    precision = "bf16" if native else "fp32"
    plain = steps <= 512 if precision == "bf16" else steps <= 128
    return Choice(cores, precision, "plain" if plain or causal else "sdpa")


def most_steps(shape: AnyShape, signal: Signal, source: Source | None) -> int:
    """Steps of the longest sample: of text the context, of sound what its clips last, of a picture its patches."""
    return shape.steps(signal.longest(source.lengths if source else None))


def causal(objective: Composed) -> bool:
    """Whether no step sees a later one."""
    backbone: Any = objective.backbone
    return backbone.shape.causal if objective.causal is None else objective.causal


def with_choice(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe with what stands at `auto` (or None) replaced by the choice; what a person set stays."""
    given = {k: v for k, v in recipe.train.model_dump().items() if k in choice._fields and v not in (None, "auto")}
    return filled(recipe, train=choice._asdict() | given)


def choose(
    recipe: Recipe, objective: Composed, batches: Batches, device, limit: float, long: bool, extent: float = 1.0
) -> tuple[Choice, float]:
    """The fastest choice by measurement and its seconds per step, in at most about `limit` seconds of measuring; from
    the cache where it was measured before.

    long: compiling may pay (tried last, in what is left of the limit). extent: of a sample, as Signal.extent says.
    """
    key = cache_key(recipe, objective, str(device), long, extent)
    if known := machine.remembered(key):
        return Choice(**{name: known[name] for name in Choice._fields}), known["seconds_per_step"]
    kind, native = torch.device(device).type, machine.native_bf16()
    fallback = rule(recipe_context(recipe), native, machine.cores(), kind, causal(objective))
    race = Race(recipe, objective, batches, device, time.perf_counter() + limit)
    best = race.fastest(kernels(fallback, attends(objective)))
    best = race.fastest([best, *(best._replace(threads=threads) for threads in fewer_threads(best.threads))])
    if long:
        best = race.fastest([best, best._replace(compile="on")])
    if race.complete:
        machine.remember(key, best._asdict() | {"seconds_per_step": race.seconds[best]})
    return best, race.seconds[best]


def attends(objective: Composed) -> bool:
    """Whether there is attention, of which one kernel may be faster than another."""
    return hasattr(objective.backbone, "set_attention")


def kernels(fallback: Choice, attends: bool = True) -> list[Choice]:
    """Precision × attention, the likely winner first; bf16 only where it is native."""
    precisions = ["bf16", "fp32"] if fallback.precision == "bf16" else ["fp32"]
    ways = ("plain", "sdpa") if attends else (fallback.attention,)
    others = [fallback._replace(precision=p, attention=a) for p in precisions for a in ways]
    return [fallback, *(choice for choice in others if choice != fallback)]


def fewer_threads(threads: int) -> list[int]:
    return [threads // 2] if threads > 1 else []


class Race:
    """Times choices on copies of the model until the time is up; the first is always timed."""

    def __init__(self, recipe: Recipe, objective: Composed, batches: Batches, device, until: float):
        self.recipe, self.objective, self.batches, self.device, self.until = recipe, objective, batches, device, until
        self.seconds: dict[Choice, float] = {}
        self.complete = True  # every choice had its turn

    def fastest(self, choices: list[Choice]) -> Choice:
        """Of choices a person left open; an earlier one wins unless a later one is clearly faster."""
        best = self.allowed(choices[0])
        for choice in dict.fromkeys(map(self.allowed, choices)):
            self.time(choice)
            if self.seconds.get(choice, 1e9) < GAIN * self.seconds.get(best, 1e9):
                best = choice
        return best

    def allowed(self, choice: Choice) -> Choice:
        """The choice with what the recipe fixes."""
        train = with_choice(self.recipe, choice).train
        return Choice(train.threads or choice.threads, train.precision, train.attention, train.compile)

    def time(self, choice: Choice) -> None:
        if choice in self.seconds:
            return
        if self.seconds and time.perf_counter() > self.until:
            self.complete = False
            return
        try:
            self.seconds[choice] = self.steps(choice)
        except Exception:  # a kernel this build lacks, no compiler: the choice is out, the run goes on
            if not self.seconds:
                raise
            self.seconds[choice] = 1e9

    def steps(self, choice: Choice, most: int = 4) -> float:
        """Seconds per step: the best of a few after the first."""
        torch.set_num_threads(choice.threads)
        recipe = with_choice(self.recipe, choice)
        stepper = stepping(recipe, self.objective, self.batches, self.device, 1000)
        next(stepper)
        times = [timed(stepper)]
        while len(times) < most and time.perf_counter() < self.until:
            times.append(timed(stepper))
        return min(times)


def timed(stepper: Iterator) -> float:
    began = time.perf_counter()
    next(stepper)
    return time.perf_counter() - began


def probe_run(recipe: Recipe, objective: Composed, batches: Batches, device, steps: int) -> Run:
    """A run over a copy of the model, without a folder."""
    model = copy.deepcopy(objective)
    build.apply_choices(recipe, model)
    recipe = filled(recipe, train={"steps": steps, "evaluate_every": None, "checkpoint_every": None})
    return Run(objective=model, batches=batches, recipe=recipe, folder=None, valid=None, steps=steps, device=device)


def stepping(recipe: Recipe, objective: Composed, batches: Batches, device, steps: int) -> Iterator:
    return iter(train(probe_run(recipe, objective, batches, device, steps)))


def worst_batches(recipe: Recipe, signal: Signal, source: Source) -> Batches | None:
    """Batches of the longest samples: what needs most memory comes first, not after an hour. None: all are as long."""
    if source.lengths is None:
        return None
    longest = np.argsort(-source.lengths, kind="stable")[: recipe.train.batch or 16]
    return build.batches_of(recipe, signal, cast(Source, ListSource(source.get(longest, Draw(recipe.seed)))))


def measure_steps(
    recipe: Recipe,
    objective: Composed,
    worst: Batches | None,
    batches: Batches,
    valid: Batches,
    device,
    limit: float,
) -> Measured:
    """The worst batch first, then ordinary steps for `limit` seconds (3 to 60), evaluating, one checkpoint."""
    if worst is not None:
        next(stepping(recipe, objective, worst, device, 2))
    run = probe_run(recipe, objective, batches, device, 10**6)
    times, items = time_steps(iter(train(run)), limit)
    evaluation = time_evaluation(run, valid, device)
    seconds, amount = time_checkpoint(run)
    peak = machine.peak_memory() if torch.device(device).type == "cpu" else torch.cuda.max_memory_allocated()
    del run
    gc.collect()
    return Measured(float(np.mean(times)), float(np.mean(items)), evaluation, seconds, amount, peak, len(times))


def time_evaluation(run: Run, valid: Batches, device) -> float:
    """Seconds of an evaluation, from a part of its samples; compiling, which comes once, left out."""
    settings = run.recipe.train
    batch, whole = settings.batch or 16, min(settings.evaluate_samples or EVALUATED, len(valid))
    part = min(FEW, whole)
    measure(run.objective, valid.evaluation(min(batch, whole), batch), device)
    began = time.perf_counter()
    measure(run.objective, valid.evaluation(part, batch), device)
    return (time.perf_counter() - began) * whole / part


def time_steps(stepper: Iterator, limit: float) -> tuple[list[float], list[float]]:
    """Seconds and items of each step after the first two, for `limit` seconds, at least 3 and at most 60 steps."""
    next(stepper), next(stepper)
    times: list[float] = []
    items: list[float] = []
    until = time.perf_counter() + limit
    while len(times) < 3 or (time.perf_counter() < until and len(times) < 60):
        began = time.perf_counter()
        step = next(stepper)
        times.append(time.perf_counter() - began)
        items.append(step.items)
    return times, items


def time_checkpoint(run: Run) -> tuple[float, int]:
    """Seconds to write a checkpoint (weights and two moments in fp32), measured in the cache, and its bytes."""
    amount = 12 * build.parameters(run.objective)
    state = {name: tensor.detach().float() for name, tensor in run.objective.state_dict().items()}
    tensors = {f"{part}.{name}": tensor for part in "abc" for name, tensor in state.items()}
    began = time.perf_counter()
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PROBING, dir=cache_folder()) as folder:
            Checkpoints(folder).save(Checkpoint(0, tensors))
            return time.perf_counter() - began, amount
    except (OSError, RunError):
        return amount / 2e8, amount


def recipe_context(recipe: Recipe) -> int:
    """Steps per sample, as the signal's table says."""
    return int(recipe.tables.get(recipe.signal, {}).get("context", 128))


def cache_key(recipe: Recipe, objective: Composed, device: str, long: bool, extent: float = 1.0) -> dict[str, Any]:
    """Everything a measured choice depends on."""
    backbone: Any = objective.backbone
    given = [recipe.train.threads, recipe.train.precision, recipe.train.attention, recipe.train.compile]
    return {
        "what": "choice",
        "processor": machine.processor(),
        "cores": machine.cores(),
        "torch": torch.__version__,
        "device": device,
        "shape": backbone.shape.model_dump(mode="json"),
        "objective": list(recipe.objective),
        "batch": [recipe.train.batch, recipe.train.micro_batch, recipe_context(recipe), round(extent, 2)],
        "given": given,
        "long": long,
    }
