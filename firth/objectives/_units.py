"""Units of sound: what k-means makes of its steps, kept in a file beside the cache, by the key of the sample."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from firth.errors import InputError
from firth.functional.cluster import assign
from firth.functional.random import Draw, permute
from firth.signal import Sample

# N samples, T steps of one, D numbers of a step, K units

Describe = Callable[[list[Sample]], list[np.ndarray]]  # samples -> (T, D) of each
TOGETHER = 64  # samples that are described at once


class Units(NamedTuple):
    """A file of units, read."""

    keys: np.ndarray  # (N,) uint64, ascending
    begins: np.ndarray  # (N + 1,) int64: where the units of each sample begin
    units: np.ndarray  # int16, of all samples in a row
    centres: np.ndarray  # (K, D) float32

    def of(self, key: int) -> np.ndarray | None:
        """int16 (T,): the units of one sample; None where it is not in the file."""
        place = int(np.searchsorted(self.keys, np.uint64(key)))
        if place == len(self.keys) or self.keys[place] != np.uint64(key):
            return None
        return self.units[self.begins[place] : self.begins[place + 1]]


@lru_cache(maxsize=4)
def read_units(path: str) -> Units:
    """Raises InputError where there is no such file, or it is of another kind."""
    try:
        held = load_file(path)
        return Units(held["keys"].view(np.uint64), held["begins"], held["units"], held["centres"])
    except (OSError, KeyError, SafetensorError) as error:
        what = f"is no file of units ({type(error).__name__})"
        raise InputError(path, what, "Leave out hubert.units; they are made anew.") from None


def write_units(path: Path, found: Iterable[tuple[int, np.ndarray]], centres: np.ndarray) -> None:
    """found: key and units of each sample; of a key that comes twice the first counts. Written under a temporary name,
    then renamed."""
    by_key: dict[int, np.ndarray] = {}
    for key, units in found:
        by_key.setdefault(int(key), units)
    keys = np.array(sorted(by_key), np.uint64)
    rows = [by_key[int(key)] for key in keys]
    tensors = {
        "keys": keys.view(np.int64),
        "begins": np.cumsum([0, *map(len, rows)]),
        "units": np.concatenate([np.empty(0, np.int16), *rows]).astype(np.int16),
        "centres": np.ascontiguousarray(centres, np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial)
    partial.replace(path)


def some_steps(source: Any, describe: Describe, wanted: int, seed: int) -> np.ndarray:
    """(about `wanted`, D): steps of samples in random order, until there are enough."""
    found, held, size = [], 0, len(source)
    for begin in range(0, size, TOGETHER):
        order = permute(np.arange(begin, min(begin + TOGETHER, size)), size, seed, 0)
        rows = [row for row in describe(source.get(order, Draw(seed))) if len(row)]
        found += rows
        held += sum(map(len, rows))
        if held >= wanted:
            break
    return np.concatenate(found)[:wanted] if found else np.empty((0, 0), np.float32)


def all_units(source: Any, describe: Describe, centres: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Key and units of every sample."""
    for begin in range(0, len(source), TOGETHER):
        samples = source.get(np.arange(begin, min(begin + TOGETHER, len(source))), Draw(0))
        for sample, row in zip(samples, describe(samples), strict=True):
            yield sample.key, assign(row, centres)[0] if len(row) else np.empty(0, np.int64)


def every(values: np.ndarray, steps: int) -> np.ndarray:
    """(F, …) -> (steps, …): one for each step, of a row whose rate is a whole multiple of theirs, or lower.

    A row may lack its last vectors, or have some more: of 2 a step, 2 steps may have 3.
    """
    ratio = round(len(values) / max(steps, 1))
    places = np.arange(steps) * ratio if ratio else np.arange(steps) * len(values) // max(steps, 1)
    return values[np.minimum(places, len(values) - 1)]
