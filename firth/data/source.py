"""What data hands to the sampler: numbered samples, got many at a time."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from firth.functional.random import Draw
from firth.signal import Sample


@runtime_checkable
class Source(Protocol):
    """Samples 0 … len-1. What depends on the draw: partners and, after the first epoch, where a stream is cut."""

    lengths: Any  # int array (len,): tokens of each sample; None where all are equally long

    def __len__(self) -> int: ...

    def get(self, indices: np.ndarray, draw: Draw) -> list[Sample]:
        """The samples at int64 indices (n,), in that order; `partner` attached where the source was built with it."""
        ...


def windows_elsewhere(first: np.ndarray, own: np.ndarray, total: int, keys: np.ndarray, draw: Draw) -> np.ndarray:
    """int64 (n,): for each a window of `total` that is none of its document's, all such windows equally likely.

    The document of each has the windows first … first + own - 1; drawn by key.
    """
    chosen = (draw.uniform(keys, "partner", 1)[:, 0] * (total - own)).astype(np.int64)
    return np.where(chosen >= first, chosen + own, chosen)


class ListSource:
    """Samples that fit into memory: labelled data, tests."""

    def __init__(self, samples: list[Sample], lengths: np.ndarray | None = None):
        self.samples = list(samples)
        self.lengths = _token_counts(self.samples) if lengths is None else np.asarray(lengths)

    def __len__(self) -> int:
        return len(self.samples)

    def get(self, indices: np.ndarray, draw: Draw | None = None) -> list[Sample]:
        return [self.samples[index] for index in np.asarray(indices).tolist()]


def _token_counts(samples: list[Sample]) -> np.ndarray:
    """int64 (n,): steps of all parts together, without separators."""
    return np.array([sum(len(part) for part in sample.parts) for sample in samples], dtype=np.int64)
