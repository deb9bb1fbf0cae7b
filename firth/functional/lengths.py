"""Rows of like length together, so that little is padded."""

from collections.abc import Iterator, Sequence

import numpy as np


def batches(lengths: Sequence[int], most: int) -> Iterator[np.ndarray]:
    """Places of rows of like length, the longest first: rows × longest row is at most so much, but for a single row."""
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    begin = 0
    while begin < len(order):
        count = max(1, most // max(lengths[order[begin]], 1))
        yield order[begin : begin + count]
        begin += count
