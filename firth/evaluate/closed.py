"""Arms of a comparison that train no network: vectors of samples that stay as they are, and what is read off them.

Frozen vectors of a model, or of its untrained network, by a linear classifier (the probe of papers on self-supervision)
or by nearest neighbours; and vectors that need no model (plain.py).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch

from firth.data.labelled import Labelled
from firth.data.source import Source
from firth.errors import InputError
from firth.evaluate import linear, plain_images, plain_sounds
from firth.evaluate.comparison import Trial
from firth.evaluate.linear import Learn, Part
from firth.evaluate.plain import Plain, Vectors
from firth.functional import neighbours
from firth.functional.random import Draw, hash_bytes
from firth.signal import Batch, Sample, Signal, answered

# n samples, D dimensions

PLAIN = plain_images.PLAIN | plain_sounds.PLAIN
KEPT = 2**30  # bytes of vectors that are kept for other trials
TOGETHER = 256  # samples that are made into vectors at once

READS = {"logistic": linear.logistic, "ridge": linear.ridge}
Read = Callable[[Part, Part, np.ndarray], np.ndarray]  # learnt, valid, test vectors → class indices


def by_neighbours(learnt: Part, valid: Part, test: np.ndarray) -> np.ndarray:
    """Weighted votes of the 20 nearest, as DINO has them; nothing is chosen, so validation votes, too."""
    bank = torch.from_numpy(np.concatenate([learnt.vectors, valid.vectors]))
    labels = torch.from_numpy(np.concatenate([learnt.labels, valid.labels]))
    found = neighbours.nearest(bank, torch.from_numpy(test))
    return neighbours.weighted_votes(found, labels, int(labels.max()) + 1).argmax(1).numpy()


def by(learn: Learn) -> Read:
    """A linear classifier, its penalty chosen by validation."""
    return lambda learnt, valid, test: linear.classified(learnt, valid, test, learn)


@dataclass
class Kept:
    """Vectors of whole lists of samples, so that a list that several trials have (the test part) is computed once, and
    no vector hangs on which trial came first."""

    vectors: Vectors
    found: dict[int, np.ndarray] = field(default_factory=dict)

    def __call__(self, samples: Sequence[Sample]) -> np.ndarray:
        """float32 (n, D)"""
        name = hash_bytes(np.array([one.key for one in samples], np.uint64).tobytes())
        if name in self.found:
            return self.found[name]
        rows = np.concatenate([self.vectors(samples[i : i + TOGETHER]) for i in range(0, len(samples), TOGETHER)])
        if rows.nbytes + sum(other.nbytes for other in self.found.values()) <= KEPT:
            self.found[name] = rows
        return rows


def frozen(objective: Any, signal: Signal) -> Vectors:
    """What a probe of the task is given of each sample, by an objective (a Composed) as it is."""
    part, device = objective.objectives[0], next(objective.parameters()).device

    def run(batch: Batch) -> Any:
        return part.probed(part.encode(batch.to(device))).float().cpu().numpy()

    @torch.no_grad()
    def vectors(samples: Sequence[Sample]) -> np.ndarray:
        objective.eval()
        return np.stack(answered(run, signal, samples))

    return vectors


def samples_of(labelled: Labelled) -> dict[str, list[Sample]]:
    """Of each part."""
    sources = {"train": labelled.train, "valid": labelled.valid, "test": labelled.test}
    return {name: source.get(np.arange(len(source)), Draw(0)) if source else [] for name, source in sources.items()}


def rows(samples: Mapping[str, list[Sample]], kept: Vectors) -> dict[str, Part]:
    """Vectors and labels of each part."""
    return {name: Part(kept(some), labels_of(some)) for name, some in samples.items()}


def labels_of(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([one.label for one in samples], dtype=np.int64)


def mark_of(samples: Mapping[str, list[Sample]]) -> int:
    """A hash of what is learnt from, and of what is asked."""
    keys = [np.array([one.key for one in some], np.uint64).tobytes() for some in samples.values()]
    labels = [labels_of(some).tobytes() for some in samples.values()]
    return hash_bytes(b"|".join([*keys, *labels]))


def refuse_several(name: str, classes: Sequence[str]) -> None:
    """Raises InputError for a task that is not one of a few classes."""
    if not classes:
        what = "reads one class of each sample, and here samples have several, or numbers"
        raise InputError(f"arm `{name}`", what, "Leave it out of --arms.")


@dataclass
class Maker:
    """Vectors for the samples of a draw; arms that read the same vectors share it.

    hangs_on: of a draw, what the vectors hang on besides the sample: nothing, or its seed. make: of a draw.
    """

    hangs_on: Callable[[Any], Any]
    make: Callable[[Any], Vectors]
    made: dict[Any, Kept] = field(default_factory=dict)

    def __call__(self, drawn: Any) -> Vectors:
        name = self.hangs_on(drawn)
        if name not in self.made:
            self.made = {name: Kept(self.make(drawn))}  # those of another seed are no longer asked for
        return self.made[name]


def always(drawn: Any) -> None:
    """What the vectors of all draws hang on."""


def by_seed(drawn: Any) -> int:
    return drawn.seed


@dataclass
class ClosedArm:
    """Vectors that stay as they are, and what is read off them: once where draws are the same, as those of all labels
    are for every seed."""

    name: str
    maker: Maker
    read: Read
    said: dict[Any, tuple[np.ndarray, float]] = field(default_factory=dict)  # class indices, seconds

    def __call__(self, drawn: Any) -> Trial:
        refuse_several(self.name, drawn.classes)
        samples = samples_of(drawn.labelled)
        name = (self.maker.hangs_on(drawn), mark_of(samples))
        if name not in self.said:
            began = time.perf_counter()
            parts = rows(samples, self.maker(drawn))
            found = self.read(parts["train"], parts["valid"], parts["test"].vectors)
            self.said[name] = found, time.perf_counter() - began
        found, seconds = self.said[name]
        return drawn.trial(self.name, drawn.judged([drawn.classes[i] for i in found.tolist()]), seconds)

    def told(self) -> dict[str, Any]:
        return {}


TITLES = {
    "linear": "Pre-trained, frozen + logistic regression",
    "linear-random": "Untrained, frozen + logistic regression",
    "neighbours": "Pre-trained, frozen + nearest neighbours",
    "neighbours-random": "Untrained, frozen + nearest neighbours",
} | {name: one.title for name, one in PLAIN.items()}


def plain_arms(offers: frozenset[str], raw: Callable[[], Source | None], seed: int) -> dict[str, ClosedArm]:
    """The baselines that can read what the signal offers. raw: unlabelled samples, asked for once; None where there are
    none: then those with labels are learnt from, of each draw its own."""
    raw = cache(raw)

    def hangs_on(drawn: Any) -> Any:
        return None if raw() else (drawn.labels, drawn.seed)

    def maker(one: Plain) -> Maker:
        if not one.learns:
            return Maker(always, lambda drawn: one.make(drawn.labelled.train, seed))
        return Maker(hangs_on, lambda drawn: one.make(raw() or drawn.labelled.train, seed))

    return {name: ClosedArm(name, maker(one), by(READS[one.reads])) for name, one in PLAIN.items()
            if offers >= one.needs}  # fmt: skip


def probes(signal: Signal, model: Callable[[Any, bool], Any]) -> dict[str, ClosedArm]:
    """Frozen vectors, read in two ways. model: of a draw, and whether pre-trained, the objective (a Composed)."""
    makers = {
        "": Maker(always, lambda drawn: frozen(model(drawn, True), signal)),
        "-random": Maker(by_seed, lambda drawn: frozen(model(drawn, False), signal)),
    }
    reads = {"linear": by(linear.logistic), "neighbours": by_neighbours}
    return {f"{name}{end}": ClosedArm(f"{name}{end}", maker, read)
            for name, read in reads.items() for end, maker in makers.items()}  # fmt: skip
