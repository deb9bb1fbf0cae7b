"""Which samples in which order: step i → this rank's micro-batches, a pure function of i.

Nothing is stored between steps, so resuming costs nothing, and a step can be asked for again at any time.
"""

from collections.abc import Iterator

import numpy as np

from firth.data.source import Source
from firth.errors import InputError
from firth.functional.random import Draw, permute
from firth.objective import ObjectiveConfig, collate
from firth.signal import Batch, Signal

GROUP = 50  # steps whose samples are chosen together, and sorted by length together with group_lengths


class Batches:
    """The endless keyed permutation of a source, cut into steps, ranks and micro-batches.

    batch: samples per step over all ranks and micro-batches. micro_batch: samples per forward; None: the rank's share.
    A step that runs over the end of an epoch draws its masks with the epoch of its first sample.
    """

    def __init__(
        self,
        source: Source,
        signal: Signal,
        configs: list[ObjectiveConfig],
        seed: int,
        batch: int,
        micro_batch: int | None = None,
        rank: int = 0,
        world: int = 1,
        group_lengths: bool = False,
    ):
        _check(source, batch, micro_batch, world)
        self.source, self.signal, self.configs, self.seed = source, signal, list(configs), seed
        self.batch, self.rank, self.world = batch, rank, world
        self.micro_batch = micro_batch or -(-batch // world)
        self.group_lengths = group_lengths and source.lengths is not None
        self.group = max(1, min(GROUP, len(source) // batch))  # steps; beyond an epoch copies would meet in a batch
        self._group: tuple[int, np.ndarray] | None = None  # the steps last asked for: a copy, never state

    def __len__(self) -> int:
        """The number of samples in an epoch."""
        return len(self.source)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.source) // self.batch)

    def step(self, i: int) -> list[Batch]:
        """This rank's micro-batches of step i ≥ 0."""
        draw = Draw(self.seed, i * self.batch // len(self.source))
        mine = self.indices(i)[self.rank :: self.world]
        return [self._collate(part, draw) for part in _cut(mine, self.micro_batch)]

    def indices(self, i: int) -> np.ndarray:
        """int64 (batch,): the samples of step i, of all ranks."""
        group, place = divmod(i, self.group)
        if self._group is None or self._group[0] != group:
            self._group = (group, self._indices_of(group))
        return self._group[1][place]

    def evaluation(self, samples: int, batch: int) -> Iterator[Batch]:
        """This rank's share of each batch of the first `samples` of a fixed permutation, of one a rank at least; masks
        never change (epoch 0).

        Ranks have equally many batches, which together are those of one process: where samples are compared, a rank
        waits in each for the others.
        """
        size = len(self.source)
        chosen = np.sort(permute(np.arange(min(max(samples, self.world), size)), size, self.seed, 0))
        if self.group_lengths:
            chosen = chosen[np.argsort(self.source.lengths[chosen], kind="stable")]
        for part in _shared(chosen, batch, self.world):
            yield self._collate(part[self.rank :: self.world], Draw(self.seed, 0))

    def _collate(self, indices: np.ndarray, draw: Draw) -> Batch:
        return collate(self.source.get(indices, draw), self.configs, self.signal, draw)

    def _permuted(self, first: int, count: int) -> np.ndarray:
        """Positions first … first+count of the epochs one after another → indices."""
        size = len(self.source)
        epochs, places = np.divmod(np.arange(first, first + count, dtype=np.int64), size)
        parts = [permute(places[epochs == e], size, self.seed, int(e)) for e in range(epochs[0], epochs[-1] + 1)]
        return np.concatenate(parts)

    def _indices_of(self, group: int) -> np.ndarray:
        """(group, batch): the samples of these steps; with group_lengths near lengths together, then shuffled."""
        indices = self._permuted(group * self.group * self.batch, self.group * self.batch)
        if not self.group_lengths:
            return indices.reshape(self.group, self.batch)
        indices = indices[np.argsort(self.source.lengths[indices], kind="stable")].reshape(self.group, self.batch)
        return indices[permute(np.arange(self.group), self.group, self.seed, group)]


def _cut(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return [indices[first : first + size] for first in range(0, len(indices), size)]


def _shared(indices: np.ndarray, size: int, world: int) -> list[np.ndarray]:
    """Batches of which every rank has something; a last one that is too small joins the one before."""
    parts = _cut(indices, max(size, world))
    if len(parts) > 1 and len(parts[-1]) < world:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def _check(source: Source, batch: int, micro_batch: int | None, world: int) -> None:
    if len(source) == 0:
        raise InputError("data", "there is no sample to train on", "Give files that hold text.")
    if batch < world:
        raise InputError(
            f"train.batch = {batch}",
            f"{world} ranks cannot share fewer samples than ranks",
            f"Set train.batch = {world} or more.",
        )
    if micro_batch is not None and micro_batch < 1:
        raise InputError(
            f"train.micro_batch = {micro_batch}", "a forward needs a sample", "Set train.micro_batch = 1 or more."
        )
