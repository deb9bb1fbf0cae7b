"""Random numbers that depend on what is drawn for, not on when: a hash of (seed, epoch, key, purpose, counter).

Ranks, workers, batch order and resume therefore never change a mask. The hash is the finaliser of SplitMix64
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"), vectorised in NumPy.
"""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(x: np.ndarray) -> np.ndarray:
    """uint64 (...) -> uint64 (...): SplitMix64's finaliser, a bijection with full avalanche."""
    with np.errstate(over="ignore"):
        return _mix(np.asarray(x, dtype=np.uint64))


def _mix(x):
    x = (x ^ (x >> SHIFTS[0])) * FACTORS[0]
    x = (x ^ (x >> SHIFTS[1])) * FACTORS[1]
    return x ^ (x >> SHIFTS[2])


def hash_bytes(data: bytes) -> int:
    """A 64-bit content hash (BLAKE2b), the same on every machine."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def combine(*parts) -> np.ndarray:
    """Fold integers or uint64 arrays (broadcast together) into one uint64 hash."""
    state = np.uint64(0x243F6A8885A308D3)
    with np.errstate(over="ignore"):
        for part in parts:
            part = np.asarray(part)
            part = part.astype(np.uint64) if part.dtype != object else np.uint64(int(part) & 0xFFFFFFFFFFFFFFFF)
            state = _mix((state + GOLDEN) ^ _mix(part + GOLDEN))
    return np.asarray(state)


class Draw(NamedTuple):
    """The source of all randomness on the data side; pass it along, never store a generator."""

    seed: int
    epoch: int = 0

    def bits(self, keys, purpose: str, count: int) -> np.ndarray:
        """uint64 (B, count) for keys (B,): independent per key, purpose and counter."""
        keys = np.atleast_1d(np.asarray(keys)).astype(np.uint64)
        base = combine(np.uint64(self.seed), np.uint64(self.epoch), np.uint64(hash_bytes(purpose.encode())), keys)
        with np.errstate(over="ignore"):
            steps = (np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)[None, :]
            return mix(base[:, None] + steps)

    def uniform(self, keys, purpose: str, count: int) -> np.ndarray:
        """float64 (B, count) in [0, 1)."""
        return (self.bits(keys, purpose, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, keys, purpose: str, count: int, below: int) -> np.ndarray:
        """int64 (B, count) in [0, below)."""
        return (self.uniform(keys, purpose, count) * below).astype(np.int64)


def permute(index, size: int, seed: int, epoch: int) -> np.ndarray:
    """Keyed permutation of range(size) without a table: where index goes, int64 in, int64 out.

    A four-round Feistel network over the smallest even-bit domain that holds `size`, walked until the
    value falls inside (cycle walking: Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    value = np.atleast_1d(np.asarray(index)).astype(np.uint64)
    todo = np.ones(value.shape, bool)
    while todo.any():
        value[todo] = _feistel(value[todo], half, seed, epoch)
        todo = value >= np.uint64(size)
    return value.astype(np.int64)


def _feistel(value: np.ndarray, half: int, seed: int, epoch: int) -> np.ndarray:
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = value >> shift, value & mask
    for round_ in range(4):
        left, right = right, left ^ (combine(np.uint64(seed), np.uint64(epoch), np.uint64(round_), right) & mask)
    return (left << shift) | right
