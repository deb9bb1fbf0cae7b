"""From a budget and a measurement to numbers: size, batch, steps, when to evaluate and save, minutes, memory, disk."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from firth.errors import InputError
from firth.recipe import Recipe, filled
from firth.signal import Rung
from firth.train.budget import Budget
from firth.train.describe import count, duration, size
from firth.train.measure import EVALUATED

AIM = 0.97  # of a time budget; the rest is for what cannot be foreseen
PROBING = 0.04  # of a time budget may go into measuring
FINISH = 1.0  # seconds for model card, report and the end of the process
EVALUATIONS = 10  # along the way, fewer where they would cost more than
EVALUATING = 0.03  # of the time
WATCHING = 0.05  # of the time that the fewest evaluations may take, before they become smaller, down to
WATCHED = 64  # samples
CHECKPOINT_SECONDS = 60.0  # of training between checkpoints
LATER = 1.06  # what a long run holds at its peak, over the peak of the measured steps: saving, longer rows, heap
FEWEST = 10  # steps that are worth a run
LADDER = ((20, "2x128"), (180, "2x256"), (3600, "4x256"), (6 * 3600, "4x512"), (24 * 3600, "8x512"))
SLOW = 0.75  # of the rate on a ladder; a machine below it has the size for the time it really has
REFERENCE = 15_000  # tokens per second of 4x256 on two cores with bf16, for which LADDER was set


@dataclass(frozen=True)
class Measured:
    """Real steps on this machine; seconds are means over the steps after the first two."""

    step_seconds: float
    tokens_per_step: float
    evaluation_seconds: float
    checkpoint_seconds: float
    checkpoint_bytes: int
    memory: int  # bytes; the peak of the process, after the worst batch, an evaluation and a checkpoint
    steps: int  # how many were measured


@dataclass(frozen=True)
class Plan:
    """What will be done and what it is expected to take. Times in seconds, memory and disk in bytes."""

    steps: int
    tokens: int  # real tokens (padding not counted) over all steps
    epochs: float
    seconds: float | None  # of the whole command, from its start to its end; None: not estimated
    spent: float  # of these, already spent when the plan was made
    evaluate_every: int
    checkpoint_every: int
    memory: int  # peak of the process
    disk: int  # of the run folder, at its largest
    tokens_per_second: float
    evaluate_samples: int = EVALUATED
    unit: str = "tokens"  # what `tokens` are of another signal

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self) -> str:
        """17,100 steps × 2,048 tokens · 35.0 M tokens (2.4 epochs) · about 19 min · 1.9 GiB memory · 260 MB disk"""
        parts = [
            f"{self.steps:,} steps × {self.tokens / max(self.steps, 1):,.0f} {self.unit}",
            f"{count(self.tokens)} {self.unit} ({self.epochs:.2g} epochs)",
            f"about {duration(self.seconds)}" if self.seconds is not None else "",
            f"{size(self.memory)} memory" if self.memory else "",
            f"{size(self.disk)} disk",
        ]
        return " · ".join(part for part in parts if part)


def defaults(seconds: float | None, tokens_per_second: float = REFERENCE, started: bool = True) -> dict[str, Any]:
    """The choices a person need not make, by dotted recipe key: what learns most in the time there is.

    seconds: of a time budget; None for budgets in steps, epochs and tokens, which get 4x256.
    started: the embeddings begin from statistics of the text. At the full rate the first steps undo what they know: at
    a tenth of it, sentiment read from the last layer at 200 labels rose from .606 to .666 (docs/decisions/0004),
    while the masked loss fell more slowly; 0.3 is the compromise.
    tokens_per_second: what 4x256 reaches on this machine; a machine half as fast has half the time.

    Small models first: at one to three minutes 2x256 ends at a lower loss and adapts as well as 4x256; batch 16 beat 64
    and 32 at equal time, mask_rate 0.30 beat 0.15, and lr 1e-3 was the best of 0.5, 1 and 2e-3 (docs/benchmarks.md).
    """
    effective = None if seconds is None else seconds * tokens_per_second / REFERENCE
    sizes = [name for limit, name in LADDER if effective is not None and effective <= limit] or ["12x768"]
    return {
        "model.size": "4x256" if effective is None else sizes[0],
        "train.batch": 16,
        "optimizer.lr": 1e-3,
        "optimizer.embedding_lr": 0.3 if started else 1.0,
    }


def rung(ladder: Sequence[Rung], seconds: float, factor: float = 1.0) -> Rung:
    """The highest of a ladder whose samples fit into a time budget; factor: on the rates, of this machine."""
    return next((one for one in reversed(ladder) if seconds * factor * one.rate >= one.samples), ladder[0])


def lower(ladder: Sequence[Rung], size: str, seconds: float, rate: float) -> tuple[str, float]:
    """The size for a machine that is much slower than the ladder says, and its rate to be expected.

    rate: samples a second, measured at `size`. What is nearly as quick keeps the size; so does one of no ladder.
    """
    now = next((one for one in ladder if one.size == size), None)
    if now is None or rate >= SLOW * now.rate:
        return size, rate
    found = rung(ladder, seconds, rate / now.rate)
    return found.size, rate * found.rate / now.rate


def started_by_statistics(recipe: Recipe) -> bool:
    """Whether the embeddings begin with knowledge: then they may move slowly."""
    return recipe.model.source is None and recipe.model.start != "random"


def rate_of_mini(tokens_per_second: float, layers: int, width: int) -> float:
    """What 4x256 would reach on a machine on which a model of this size reaches that many tokens per second."""

    def work(layers: int, width: int) -> int:  # per token, up to a factor: blocks, and a vocabulary of 8,192 at 0.3
        return 12 * layers * width**2 + 2458 * width

    return tokens_per_second * work(layers, width) / work(4, 256)


def with_defaults(recipe: Recipe, seconds: float | None, tokens_per_second: float = REFERENCE) -> Recipe:
    """The recipe with `defaults` wherever a person has said nothing."""
    changes: dict[str, dict[str, Any]] = {}
    for key, value in defaults(seconds, tokens_per_second, started_by_statistics(recipe)).items():
        table, _, name = key.partition(".")
        if getattr(getattr(recipe, table), name) is None:
            changes.setdefault(table, {})[name] = value
    return filled(recipe, **changes)


def make(recipe: Recipe, budget: Budget, measured: Measured, spent: float, steps_per_epoch: int) -> Plan:
    """The plan for a budget. spent: seconds since the command began.

    Raises InputError for a time budget that leaves fewer than ten steps.
    """
    samples, measured = watching(recipe, budget, measured, spent)
    if budget.kind == "seconds":
        steps, evaluations = steps_in(budget.amount * AIM - spent, measured)
        if steps < FEWEST:
            raise too_short(budget, measured, spent)
        first = complete(recipe, steps, evaluations, measured, spent, steps_per_epoch)
        over = (first.seconds or 0.0) - budget.amount * AIM
        steps = max(FEWEST, steps - math.ceil(over / measured.step_seconds))  # whole evaluations and checkpoints
    else:
        steps, evaluations = steps_of(budget, measured, steps_per_epoch), EVALUATIONS
    return replace(complete(recipe, steps, evaluations, measured, spent, steps_per_epoch), evaluate_samples=samples)


def watching(recipe: Recipe, budget: Budget, measured: Measured, spent: float) -> tuple[int, Measured]:
    """Held-out samples per evaluation, and the measurement with their seconds: fewer where the time is short."""
    samples = recipe.train.evaluate_samples or EVALUATED
    if recipe.train.evaluate_samples or budget.kind != "seconds":
        return samples, measured
    share = WATCHING * (budget.amount - spent) / max(3 * measured.evaluation_seconds, 1e-6)
    fewer = min(samples, max(WATCHED, int(share * samples)))
    return fewer, replace(measured, evaluation_seconds=measured.evaluation_seconds * fewer / samples)


def steps_in(seconds: float, measured: Measured) -> tuple[int, int]:
    """Steps and evaluations that fit into `seconds`, end and checkpoints included."""
    left = seconds - ending(measured)
    evaluations = max(2, min(EVALUATIONS, int(EVALUATING * left / max(measured.evaluation_seconds, 1e-3))))
    left -= (evaluations + 1) * measured.evaluation_seconds  # one before the first step
    per_step = measured.step_seconds * (1 + measured.checkpoint_seconds / CHECKPOINT_SECONDS)
    return max(0, int(left / per_step)), evaluations


def steps_of(budget: Budget, measured: Measured, steps_per_epoch: int) -> int:
    """Steps of a budget given in steps, epochs or tokens: at least one."""
    per_unit = {"steps": 1.0, "epochs": float(steps_per_epoch), "tokens": 1 / max(measured.tokens_per_step, 1)}
    return max(1, round(budget.amount * per_unit[budget.kind]))


def complete(
    recipe: Recipe, steps: int, evaluations: int, measured: Measured, spent: float, steps_per_epoch: int
) -> Plan:
    """All numbers that follow from the steps; a person's own intervals stay."""
    every = recipe.train.evaluate_every or max(1, -(-steps // evaluations))
    save = recipe.train.checkpoint_every or max(
        1, min(steps, round(CHECKPOINT_SECONDS / max(measured.step_seconds, 1e-6)))
    )
    seconds = spent + training_seconds(steps, every, save, measured) + ending(measured)
    tokens = round(steps * measured.tokens_per_step)
    return Plan(
        steps=steps,
        tokens=tokens,
        epochs=steps / max(steps_per_epoch, 1),
        seconds=seconds,
        spent=spent,
        evaluate_every=every,
        checkpoint_every=save,
        memory=round(LATER * measured.memory),
        disk=disk(measured),
        tokens_per_second=measured.tokens_per_step / measured.step_seconds,
    )


def training_seconds(steps: int, evaluate_every: int, checkpoint_every: int, measured: Measured) -> float:
    """The steps, an evaluation before the first, and the evaluations and checkpoints before the last."""
    return (
        steps * measured.step_seconds
        + (1 + (steps - 1) // evaluate_every) * measured.evaluation_seconds
        + (steps - 1) // checkpoint_every * measured.checkpoint_seconds
    )


def ending(measured: Measured) -> float:
    """After the last step: a checkpoint, an evaluation, the model folder (a third of a checkpoint), card, exit."""
    return measured.evaluation_seconds + 1.4 * measured.checkpoint_seconds + FINISH


def disk(measured: Measured) -> int:
    """Two checkpoints, a third while it is written, the model; logs and card are small."""
    return 3 * measured.checkpoint_bytes + measured.checkpoint_bytes // 3 + 10**6


def too_short(budget: Budget, measured: Measured, spent: float) -> InputError:
    """Says what would do."""
    needed = (spent + ending(measured) + 2 * measured.evaluation_seconds + 100 * measured.step_seconds) / AIM
    return InputError(
        f"--budget {budget.amount:g}s",
        f"leaves no time to train: {duration(spent)} went into reading and preparing, "
        f"{duration(ending(measured))} are needed to end",
        f"Give at least --budget {max(5, 5 * -(-needed // 5)):.0f}s.",
    )


def with_plan(recipe: Recipe, plan: Plan) -> Recipe:
    """The recipe with the plan's steps and intervals: what config.toml keeps."""
    return filled(
        recipe,
        train={
            "steps": plan.steps,
            "evaluate_every": plan.evaluate_every,
            "evaluate_samples": plan.evaluate_samples,
            "checkpoint_every": plan.checkpoint_every,
        },
    )


def training_memory(parameters: int, activations: int) -> int:
    """A lower bound in bytes before anything is built: weights, masters, gradient, two moments; what a step holds."""
    return 18 * parameters + 2 * activations


def refuse_memory(needed: int, free: int | None) -> None:
    """Raises InputError where more memory is needed than is free."""
    if free is not None and needed > free:
        raise InputError(
            "the plan",
            f"needs about {size(needed)} of memory, {size(free)} are free",
            "Choose a smaller --size, or --set train.micro_batch=4, or close other programs.",
        )


def refuse_disk(needed: int, free: int, place) -> None:
    """Raises InputError where the run folder would not fit."""
    if needed > free:
        raise InputError(
            place,
            f"has {size(free)} of free disk, the run needs about {size(needed)}",
            "Make room, or choose another disk with --out.",
        )
