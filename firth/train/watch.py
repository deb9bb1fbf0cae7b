"""Vectors of held-out samples while a run goes on: how much room they take, what their neighbours say, whether they
collapse. A collapsed run can have a good loss: nothing else shows it.

Read at each evaluation, beside the loss, by objectives that are after one vector a sample (`Objective.vectors`). Labels
are read where the data has some, and nothing learns from them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.data.source import Source
from firth.functional import collapse
from firth.functional.neighbours import neighbour_accuracy
from firth.functional.random import Draw
from firth.objective import Composed, collate, quiet
from firth.signal import TOGETHER, Batch, Sample, Signal, answered

# N samples, D dimensions

Reading = Mapping[str, float]

SEEN = 256  # held-out samples
BANK = 2048  # training samples whose labels vote, where there are labels
ROOM = 2**26  # bytes of samples that are held, about; of large ones fewer are taken
LEFT = {"rank": 0.25, "spread": 0.25}  # share of what there was before the first step; below it, vectors collapse
LEAST = {"rank": 1.0, "spread": 0.0}  # what no vectors have less of
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
        self.active = any(part.vectors or part.collapses for part in objective.objectives)
        self.history: list[tuple[int, Reading]] = []
        self.held_out = taken(held_out, SEEN, seed) if self.active else []
        known = taken(source, BANK, seed) if any(map(has_class, self.held_out)) else []
        self.bank = [sample for sample in known if has_class(sample)]

    def read(self, step: int) -> Reading:
        """What there is to say of the vectors now; also into the history. {} where nothing is watched."""
        if not self.active or len(self.held_out) < 2:
            return {}
        vectors, compared = encoded(self.objective, self.signal, self.held_out, self.device)
        reading = measures(vectors)
        if compared is not None:
            reading |= {f"compared_{name}": value for name, value in measures(compared).items()}
        if (alignment := self.aligned()) is not None:
            reading["alignment"] = alignment
        if self.bank:
            reading["neighbour_accuracy"] = self.neighbours_right(vectors)
        self.history.append((step, reading))
        return reading

    def aligned(self) -> float | None:
        """Alignment of two views of each held-out sample, always the same views; None where there are none."""
        pairs = []
        for begin in range(0, len(self.held_out), TOGETHER):
            some = self.held_out[begin : begin + TOGETHER]
            batch = collate(some, self.objective.configs, self.signal, Draw(self.seed)).to(self.device)
            with quiet(self.objective), torch.no_grad():
                twins = (part.twins(batch) for part in self.objective.objectives)
                pairs += [pair for pair in twins if pair is not None]
        if not pairs:
            return None
        return collapse.alignment(*(torch.cat(vectors).float().cpu() for vectors in zip(*pairs, strict=True)))

    def neighbours_right(self, vectors: Tensor) -> float:
        """Of the vectors (N, D) of held-out samples, the share whose class their neighbours in the bank name."""
        known, _ = encoded(self.objective, self.signal, self.bank, self.device)
        tested = [i for i, sample in enumerate(self.held_out) if has_class(sample)]
        gold = torch.tensor([int(self.held_out[i].label) for i in tested])
        labels = torch.tensor([int(sample.label) for sample in self.bank])
        return neighbour_accuracy(known, labels, vectors[tested], gold)

    @property
    def alarm(self) -> Alarm | None:
        """The first collapse that was seen, where an objective of the run may come to one."""
        if not any(part.collapses for part in self.objective.objectives):
            return None
        first = next((one for one in self.history if fallen(self.history[0][1], one[1])), None)
        return None if first is None else self.told(*first)

    @property
    def collapsed(self) -> bool:
        """Whether the vectors were collapsed when last looked at."""
        return self.alarm is not None and bool(fallen(self.history[0][1], self.history[-1][1]))

    def told(self, step: int, reading: Reading) -> Alarm:
        """The alarm of a reading in which something fell."""
        before = self.history[0][1]
        what = ", ".join(described(name, reading, before) for name in fallen(before, reading))
        config = next(part.config for part in self.objective.objectives if part.collapses)
        return Alarm(step, what, *config.blamed())


def has_class(sample: Sample) -> bool:
    """Whether it has a label, and that is a class; -1 stands for none."""
    return isinstance(sample.label, int | np.integer) and sample.label >= 0


def taken(source: Source, most: int, seed: int) -> list[Sample]:
    """At most so many samples, evenly spread over the source."""
    if len(source) == 0:
        return []
    size = sum(part.nbytes for part in source.get(np.zeros(1, np.int64), Draw(seed))[0].parts)
    most = min(most, len(source), max(2, ROOM // max(size, 1)))
    return source.get(np.linspace(0, len(source) - 1, most).astype(np.int64), Draw(seed))


def encoded(
    objective: Composed, signal: Signal, samples: Sequence[Sample], device: Any
) -> tuple[Tensor, Tensor | None]:
    """float32 (N, D) on the CPU: the pooled vector of each sample; and what the loss compares of it, or None."""
    compare = [part.compared for part in objective.objectives]

    def run(batch: Batch) -> list[tuple[Tensor, Tensor | None]]:
        features = objective.encode(batch.to(device))
        second = next((found for one in compare if (found := one(features)) is not None), None)
        pooled = features.pooled.float().cpu()
        return list(zip(pooled, [None] * len(pooled) if second is None else second.float().cpu(), strict=True))

    with quiet(objective), torch.no_grad():
        rows = answered(run, signal, samples)
    vectors, compared = zip(*rows, strict=True)
    return torch.stack(vectors), None if compared[0] is None else torch.stack(compared)


def measures(vectors: Tensor) -> dict[str, float]:
    """(N, D) -> rank, spread, uniformity."""
    return {
        "rank": collapse.effective_rank(vectors),
        "spread": collapse.spread(vectors),
        "uniformity": collapse.uniformity(vectors),
    }


def fallen(before: Reading, now: Reading) -> list[str]:
    """The names of what fell to a small share of what it was."""
    names = [prefix + name for prefix in KINDS for name in LEFT if prefix + name in now and prefix + name in before]
    return [name for name in names if left(name, before, now) < LEFT[plain(name)]]


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
