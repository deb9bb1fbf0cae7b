"""Vectors of held-out samples while a run goes on: how much room they take, what their neighbours say, whether they
collapse. A collapsed run can have a good loss: nothing else shows it.

Read at each evaluation, beside the loss, by objectives that are after one vector a sample (`Objective.vectors`). Labels
are read where the data has some, and nothing learns from them.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth import distributed
from firth.data.source import Source
from firth.functional import collapse
from firth.functional.neighbours import neighbour_accuracy
from firth.functional.places import evenly
from firth.functional.random import Draw
from firth.model.batch_norm import statistics_of_the_batch
from firth.objective import Composed, collate, quiet
from firth.signal import TOGETHER, Batch, Sample, Signal, answered

# N samples, D dimensions

Reading = Mapping[str, float]

SEEN = 256  # held-out samples
BANK = 2048  # training samples whose labels vote, where there are labels
ROOM = 2**26  # bytes of samples that are held, about; of large ones fewer are taken
LARGE = 2**16  # bytes of a sample; up to here all held-out samples go through the model at once
LEFT = {"rank": 0.03, "spread": 0.25, "deviation": 0.25}  # share of what there was before the first step; below it
# vectors collapse. docs/collapse.md has what healthy and broken runs keep
MANY = 0.15  # the same of the rank, where the loss drives vectors into many directions
LEAST = {"rank": 1.0, "spread": 0.0, "deviation": 0.0}  # what no vectors have less of
KINDS = {"": "vectors", "compared_": "vectors that the loss compares"}  # by prefix in a reading


class Alarm(NamedTuple):
    """Where the vectors were first seen to collapse."""

    step: int
    what: str  # rank of the vectors 1.1 (31.2 before the first step)
    cause: str
    do: str

    def __str__(self) -> str:
        return f"step {self.step:,}: collapse: {self.what}. Likely cause: {self.cause}. {self.do}"


class Watch:
    """Reads the vectors of the same samples each time; silent where no objective of the run is after any.

    history: (step, reading), step 0 first; of a run that goes on, the readings of its earlier sittings.
    """

    def __init__(self, objective: Composed, signal: Signal, source: Source, held_out: Source, seed: int, device: Any):
        self.objective, self.signal, self.seed, self.device = objective, signal, seed, device
        watched = any(part.vectors or part.collapses for part in objective.objectives)
        self.active = watched and distributed.world() == 1  # one rank alone must not ask the others for a sum
        self.history: list[tuple[int, Reading]] = []
        self.held_out = taken(held_out, SEEN, seed) if self.active else []
        self.together = SEEN if self.held_out and size_of(self.held_out[0]) <= LARGE else TOGETHER
        known = taken(source, BANK, seed) if any(map(has_class, self.held_out)) else []
        self.bank = [sample for sample in known if has_class(sample)]

    def read(self, step: int) -> Reading:
        """What there is to say of the vectors now; also into the history. {} where nothing is watched."""
        if not self.active or len(self.held_out) < 2:
            return {}
        vectors, compared = encoded(self.objective, self.signal, self.held_out, self.device, self.together)
        reading = measures(vectors)
        if compared is not None:
            reading |= {f"compared_{name}": value for name, value in measures(compared).items()}
        if (alignment := self.aligned()) is not None:
            reading["alignment"] = alignment
        if self.bank:
            reading["neighbour_accuracy"] = self.neighbours_right()
        self.history.append((step, reading))
        return reading

    def aligned(self) -> float | None:
        """Alignment of two views of each held-out sample, always the same views; None where there are none."""
        pairs = []
        for begin in range(0, len(self.held_out), self.together):
            some = self.held_out[begin : begin + self.together]
            batch = collate(some, self.objective.configs, self.signal, Draw(self.seed)).to(self.device)
            with quiet(self.objective), statistics_of_the_batch(self.objective), torch.no_grad():
                twins = (part.twins(batch) for part in self.objective.objectives)
                pairs += [pair for pair in twins if pair is not None]
        if not pairs:
            return None
        one, other = (torch.cat(vectors).float().cpu() for vectors in zip(*pairs, strict=True))
        return collapse.alignment(one, other)

    def neighbours_right(self) -> float:
        """The share of held-out samples whose class their neighbours in the bank name."""
        parts = [self.bank, [sample for sample in self.held_out if has_class(sample)]]
        vectors = [encoded(self.objective, self.signal, part, self.device)[0] for part in parts]
        labels = [torch.tensor([int(sample.label) for sample in part]) for part in parts]
        return neighbour_accuracy(vectors[0], labels[0], vectors[1], labels[1])

    @property
    def alarm(self) -> Alarm | None:
        """The first collapse that was seen, where an objective of the run may come to one."""
        if not any(part.collapses for part in self.objective.objectives):
            return None
        first = next((one for one in self.history if self.fallen(one[1])), None)
        return None if first is None else self.told(*first)

    @property
    def collapsed(self) -> bool:
        """Whether the vectors were collapsed when last looked at."""
        return self.alarm is not None and bool(self.fallen(self.history[-1][1]))

    def fallen(self, reading: Reading) -> list[str]:
        """The names of what fell to a small share of what there was before the first step."""
        many = any(part.many_directions for part in self.objective.objectives)
        return fallen(self.history[0][1], reading, LEFT | ({"rank": MANY} if many else {}))

    def told(self, step: int, reading: Reading) -> Alarm:
        """The alarm of a reading in which something fell."""
        before = self.history[0][1]
        what = ", ".join(described(name, reading, before) for name in self.fallen(reading))
        config = next(part.config for part in self.objective.objectives if part.collapses)
        return Alarm(step, what, *config.blamed())


def has_class(sample: Sample) -> bool:
    """Whether it has a label, and that is a class; -1 stands for none."""
    return isinstance(sample.label, int | np.integer) and bool(sample.label >= 0)


def size_of(sample: Sample) -> int:
    """Bytes."""
    return sum(part.nbytes for part in sample.parts)


def taken(source: Source, most: int, seed: int) -> list[Sample]:
    """At most so many samples, evenly spread over the source."""
    if len(source) == 0:
        return []
    size = size_of(source.get(np.zeros(1, np.int64), Draw(seed))[0])
    return source.get(evenly(len(source), min(most, max(2, ROOM // max(size, 1)))), Draw(seed))


def encoded(
    objective: Composed, signal: Signal, samples: Sequence[Sample], device: Any, together: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """float32 (N, D) on the CPU: the vector of each sample; and what the loss compares of it, or None.

    In evaluation mode; but with so many samples `together` batch norm takes the statistics of the batch, as the loss
    sees them: at first the running ones are of nothing yet.
    """
    compare = [part.compared for part in objective.objectives]
    first = next((part for part in objective.objectives if part.vectors), objective.objectives[0])

    def run(batch: Batch) -> list[tuple[Tensor, Tensor | None]]:
        features = objective.encode(batch.to(device))
        second = next((found for one in compare if (found := one(features)) is not None), None)
        pooled = first.watched(features).float().cpu()
        return list(zip(pooled, [None] * len(pooled) if second is None else second.float().cpu(), strict=True))

    of_batch = statistics_of_the_batch(objective) if together else nullcontext()
    with quiet(objective), of_batch, torch.no_grad():
        rows = answered(run, signal, samples, together or TOGETHER)
    vectors, compared = zip(*rows, strict=True)
    return torch.stack(vectors), None if compared[0] is None else torch.stack(compared)


def measures(vectors: Tensor) -> dict[str, float]:
    """(N, D) -> rank, spread, deviation, uniformity; numbers that are none count as 0."""
    vectors = vectors.nan_to_num(0.0, 0.0, 0.0)
    return {
        "rank": collapse.effective_rank(vectors),
        "spread": collapse.spread(vectors),
        "deviation": float(vectors.std(0, correction=0).mean()),
        "uniformity": collapse.uniformity(vectors),
    }


def fallen(before: Reading, now: Reading, least: Mapping[str, float]) -> list[str]:
    """The names of what fell below these shares of what it was."""
    names = [prefix + name for prefix in KINDS for name in LEAST if prefix + name in now and prefix + name in before]
    return [name for name in names if left(name, before, now) < least[plain(name)]]


def left(name: str, before: Reading, now: Reading) -> float:
    """The share that is left of what was above the least there can be."""
    least = LEAST[plain(name)]
    return (now[name] - least) / max(before[name] - least, 1e-12)


def plain(name: str) -> str:
    return name.removeprefix("compared_")


def described(name: str, now: Reading, before: Reading) -> str:
    """rank of the vectors 1.1 (31.2 before the first step)"""
    of = KINDS[name.removesuffix(plain(name))]
    return f"{plain(name)} of the {of} {now[name]:.3g} ({before[name]:.3g} before the first step)"


def said(reading: Reading) -> str:
    """rank 31.2 · spread 0.84 · 61.3 % of neighbours right"""
    parts = [f"rank {reading['rank']:.1f}", f"spread {reading['spread']:.2f}"]
    right = reading.get("neighbour_accuracy")
    return " · ".join([*parts, *([f"nearest neighbours {100 * right:.1f} % right"] if right is not None else [])])
