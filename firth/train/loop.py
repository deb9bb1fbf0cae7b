"""The one training loop. It knows nothing of text, images, masks or classes.

`for step in train(run)`: an update, then a checkpoint where one is due, then an evaluation where one is due, then the
step is handed out. Showing, logging and drawing samples are the business of whoever iterates.
"""

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

import torch

from firth import distributed
from firth.errors import InputError
from firth.functional.random import combine
from firth.objective import total
from firth.signal import Batch
from firth.train.failure import is_number, not_a_number
from firth.train.measure import EVALUATED, Sums, items, measure, weighted
from firth.train.prefetch import Prefetch
from firth.train.run import Batches, Run, Step
from firth.train.schedule import factor
from firth.train.state import State
from firth.train.stop import Stop


def train(run: Run) -> Iterator[Step]:
    """Train `run.objective` in place, going on from the newest checkpoint in `run.folder`.

    When the iteration ends (also by an error, or because the caller stops), the objective holds the weights in full
    precision: the last ones, or with patience the best. Raises Interrupted after Ctrl-C or SIGTERM, RunError for a
    loss that is no number or a disk that is full, InputError for micro-batches where samples are compared.
    """
    with State(run) as state, Stop() as stop, Prefetch(run.batches.step, state.index, lambda: run.steps) as batches:
        if run.ready:
            run.ready()
        if run.valid is not None and _evaluates_on_entry(run, state):
            evaluation = _evaluate(run, state, run.valid)
            yield Step(state.index, run.steps, evaluation["loss"], evaluation=evaluation)
        while not state.over:
            with stop.told(run.where, state.index + 1):
                step = update(run, state, batches)
            last = state.index == run.steps
            stopping = stop.agreed() and not last
            if stopping or last or _due(run.recipe.train.checkpoint_every, state.index):
                state.save()
            if run.valid is not None and not stopping and (last or _due(run.recipe.train.evaluate_every, state.index)):
                step = replace(step, evaluation=_evaluate(run, state, run.valid))
            yield step
            if stopping:
                raise stop.interrupted(run.where, state.index, run.steps, run.folder is not None)


def update(run: Run, state: State, source: Iterator[list[Batch]]) -> Step:
    """One step: counts first, then every micro-batch forward and backward, then one update of the weights."""
    began = perf_counter()
    batches = [batch.to(run.device) for batch in next(source)]
    refuse_accumulation(run, len(batches))
    counts = totals(batches)
    torch.manual_seed(step_seed(run.recipe.seed, state.index, distributed.rank()))
    run.objective.train()
    means, norm = _gradient(run, state, batches, counts)
    loss = weighted(means, run.objective.weights)
    rate = rate_of(run, state.index)
    if not is_number(loss, norm):
        lr = rate * state.optimizer.lr
        raise not_a_number(run.where, state.index + 1, loss, norm, run.objective, lr, state.saved())
    lr = state.optimizer.step(rate, norm)
    state.index += 1
    run.objective.after_step(state.index / run.steps)
    seconds, seen = perf_counter() - began, max(round(counts["items"]), 1)  # 0 stands for an evaluation
    return Step(state.index, run.steps, loss, means, lr, seconds, seen, norm)


def rate_of(run: Run, step: int) -> float:
    """What the learning rate of this update is multiplied by."""
    settings = run.recipe.train
    return factor(settings.schedule, step, run.steps, settings.warmup, settings.decay, settings.floor)


def _gradient(run: Run, state: State, batches: list[Batch], counts: dict[str, float]) -> tuple[dict[str, float], float]:
    """Means of the terms and metrics over all ranks, and the norm of the gradient, which lies in the optimizer."""
    sums, weights = Sums(), run.objective.weights
    for number, batch in enumerate(batches):
        loss = run.objective(batch)
        total(loss, counts, weights).backward()
        state.optimizer.collect(first=number == 0)
        sums.add(loss)
    return sums.means(), state.optimizer.norm()


def totals(batches: list[Batch]) -> dict[str, float]:
    """Counts of each term, and "items", over the micro-batches of all ranks: known before any forward."""
    counts: dict[str, float] = {"items": sum(items(batch) for batch in batches)}
    for batch in batches:
        for name, count in batch.counts.items():
            counts[name] = counts.get(name, 0) + float(count)
    return distributed.total(counts)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Dropout and other noise on the device: the same again when a run goes on, different on every rank."""
    return int(combine(seed, step, rank)) & (2**63 - 1)


def refuse_accumulation(run: Run, micro_batches: int) -> None:
    if run.objective.compares_samples and micro_batches > 1:
        raise InputError(
            "train.micro_batch",
            f"`{','.join(run.objective.parts)}` compares the samples of a batch with each other, and {micro_batches} "
            "micro-batches would each be compared within themselves only: a different, easier task",
            "Leave train.micro_batch out, and lower train.batch if memory does not suffice.",
        )


def _evaluates_on_entry(run: Run, state: State) -> bool:
    """Before the first step if asked for; where a run goes on, the evaluation that saving came before is repeated."""
    if state.index == 0:
        return run.evaluate_first
    return state.index == run.steps or _due(run.recipe.train.evaluate_every, state.index)


def _evaluate(run: Run, state: State, valid: Batches) -> dict[str, float]:
    settings = run.recipe.train
    samples = settings.evaluate_samples or EVALUATED
    found = measure(
        run.objective, valid.evaluation(samples, settings.micro_batch or settings.batch or samples), run.device
    )
    state.best.see(state.index, run.score(found), state.optimizer.weights.state)
    return found


def _due(every: int | None, index: int) -> bool:
    return every is not None and index % every == 0
