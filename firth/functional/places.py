"""Some of many, chosen by where they stand."""

import numpy as np


def evenly(size: int, most: int) -> np.ndarray:
    """int64: at most so many of range(size), evenly spread from the first to the last."""
    return np.linspace(0, size - 1, min(most, size)).astype(np.int64) if size else np.zeros(0, np.int64)
