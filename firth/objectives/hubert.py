"""HuBERT: hide runs of a sound and guess which of k clusters each hidden step belongs to.

Loss: the sum over hidden steps t of -log exp(cos(A o_t, e_z) / κ) / Σ_c exp(cos(A o_t, e_c) / κ), over their number;
o is the vector of the encoder and z the cluster of the step. The clusters are k-means of cepstra (MFCC) with their
slopes, or with `hubert.teacher` of the vectors of a layer of a former model. Hsu et al. 2021, arXiv 2106.07447,
sections II-A to II-C.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from firth.errors import InputError
from firth.functional.cluster import kmeans
from firth.functional.losses import IGNORE, cross_entropy_sum
from firth.functional.mel import CEPSTRAL, Grid, deltas, frame_count, mfcc
from firth.functional.random import Draw, hash_bytes
from firth.functional.sound import padded
from firth.functional.steps import steps_of
from firth.objective import Before, Loss, Objective, Term
from firth.objectives._projector import unit
from firth.objectives._steps import HidingConfig, at_hidden
from firth.objectives._units import Describe, all_units, every, read_units, some_steps, write_units
from firth.signal import Batch, Features, Sample

# B rows, T steps, N hidden steps, C clusters, E numbers of a guess


class Config(HidingConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"time"})
    reads: ClassVar[frozenset[str]] = HidingConfig.reads | {"units"}
    adds: ClassVar[frozenset[str]] = HidingConfig.adds | {"units", "target"}
    terms: ClassVar[tuple[str, ...]] = ("hubert",)
    shape: ClassVar[str | None] = "hubert"
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer.lr": 5e-4, "train.warmup": 0.1}

    mask_start: float = Field(0.08, gt=0, le=1, description="share of the steps that begin a hidden run")
    clusters: int = Field(100, ge=2, le=2**15 - 1, description="kinds of sound")
    teacher: str = Field("", description="run or model folder whose vectors are clustered; empty: cepstra are")
    layer: int = Field(0, ge=0, description="block of the teacher whose output is clustered; 0: the middle one")
    fitted_on: int = Field(100_000, ge=2, description="steps that the clusters are made of, at most")
    guess_width: int = Field(256, ge=1, description="numbers of a guess")
    temperature: float = Field(0.1, gt=0, description="divides the cosine of guess and cluster")
    units: str = Field("", description="filled: file of the clusters of every step")

    def ready(self, given: Before) -> Self:
        """Cluster the steps of the training part; write down the cluster of every step of all parts."""
        if self.units and Path(self.units).is_file():
            return self
        mark, describe = self.described(given)
        path = given.place / f"units-{self.name(given, mark):016x}.safetensors"
        if not path.is_file():
            steps = some_steps(given.sources[0], describe, self.fitted_on, given.seed)
            self.refuse_few(steps)
            found = kmeans(steps, self.clusters, given.seed)
            rows = (row for source in given.sources for row in all_units(source, describe, found.centres))
            write_units(path, rows, found.centres)
            given.note(f"{len(found.centres)} clusters of {len(steps):,} steps, {self.teacher or 'cepstra'}: {path}")
        return self.model_copy(update={"units": str(path)})

    def described(self, given: Before) -> tuple[str, Describe]:
        """What is clustered, cepstra or a layer of the teacher: a name of it, and one row for each step of ours."""
        mark, vectors = given.encode(self.teacher, self.layer) if self.teacher else ("", cepstra(given.signal))
        return mark, lambda samples: [
            every(rows, steps_of(given.signal.length(sample), self.field, self.stride))
            for sample, rows in zip(samples, vectors(samples), strict=True)
        ]

    def name(self, given: Before, mark: str) -> int:
        """A hash of all that decides the units of the data."""
        chosen = self.model_dump(include={"clusters", "layer", "fitted_on", "field", "stride"})
        sizes = [len(source) for source in given.sources]
        return hash_bytes(repr((chosen, sizes, mark, given.signal.config, given.seed)).encode())

    def refuse_few(self, steps: np.ndarray) -> None:
        """Raises InputError where there is too little to cluster."""
        if len(steps) < 2 * self.clusters:
            do = f"Give more sound, or set hubert.clusters={max(2, len(steps) // 20)}."
            raise InputError(f"hubert.clusters = {self.clusters}", f"the data has {len(steps):,} steps only", do)

    def arrange(self, samples: list[Sample], draw: Draw) -> list[Sample]:
        known = [sample if "units" in sample.targets else self.labelled(sample) for sample in samples]
        return super().arrange(known, draw)

    def labelled(self, sample: Sample) -> Sample:
        """With the units of its steps as targets. Raises InputError for a sample that the file does not know."""
        found = read_units(self.units).of(sample.key)
        if found is None:
            raise InputError(self.units, "does not know a sample of this data", "Leave out hubert.units.")
        return sample.but(targets={**sample.targets, "units": found.astype(np.int64)})

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        hiding, units = self.hiding(batch, draw), batch["units"]
        hidden = hiding["hidden"]
        missing = max(0, hidden.shape[1] - units.shape[1])
        units = F.pad(units, (0, missing), value=-1)[:, : hidden.shape[1]]
        target = units.masked_fill(~hidden | (units < 0), IGNORE)  # (B, T)
        counts = {**batch.counts, "hubert": int((target != IGNORE).sum())}
        return Batch({**batch, **hiding, "units": units, "target": target}, counts=counts)


Settings = Config  # the type, where the class below has its own name `Config`


class Hubert(Objective):
    """A linear map, and a vector for each cluster; their cosine."""

    Config = Config
    config: Settings
    causal = False
    all_steps = False

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.guess = nn.Linear(backbone.shape.width, config.guess_width)
        self.clusters = nn.Parameter(torch.zeros(config.clusters, config.guess_width))

    def loss(self, features: Features, batch: Batch) -> Loss:
        target = batch["target"][batch["hidden"]]  # (N,)
        guess = self.guess(at_hidden(features, batch["hidden"]))  # (N, E)
        alike = unit(guess) @ unit(self.clusters).T  # (N, C), in full precision: it is divided by a small number
        nats, right = cross_entropy_sum(alike / self.config.temperature, target, IGNORE)
        count = batch.counts["hubert"]
        return Loss({"hubert": Term(nats, count)}, {"hubert_accuracy": Term(right, count)})


def cepstra(signal: Any) -> Describe:
    """The function from samples to their cepstra and slopes (F, 39), 100 a second, of mean 0 and variance 1 in each."""
    rate = signal.config.rate
    grid = Grid(rate, rate // 40, rate // 100, CEPSTRAL.mels)

    def describe(samples: list[Sample]) -> list[np.ndarray]:
        wave, lengths = padded([sample.parts[0] for sample in samples])
        counts = frame_count(lengths, grid)
        found = deltas(mfcc(wave, lengths, grid), counts).numpy()
        return [_standard(rows[:count]) for rows, count in zip(found, counts.tolist(), strict=True)]

    return describe


def _standard(rows: np.ndarray) -> np.ndarray:
    """(F, D) -> (F, D)"""
    return (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-3)
