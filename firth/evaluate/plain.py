"""Vectors that anybody can compute without a network: what a classical baseline reads.

A file of this room that has some keeps them by name in a table `PLAIN`; closed.py makes arms of them.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from firth.data.source import Source
from firth.signal import Sample

# n samples, D numbers

Vectors = Callable[[Sequence[Sample]], np.ndarray]  # n samples → (n, D) float32


class Plain(NamedTuple):
    """One kind of vectors. make: of samples to learn from, labels left aside (raw ones, where there are some), and a
    seed; so that what is learnt is learnt once. learns: whether it looks at them at all."""

    title: str
    needs: frozenset[str]  # what a signal must offer
    make: Callable[[Source, int], Vectors]
    reads: Literal["logistic", "ridge"] = "logistic"
    learns: bool = False
