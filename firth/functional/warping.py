"""Dynamic time warping: how far apart two sequences of frames are, whatever their pace (Sakoe & Chiba 1978)."""

from collections.abc import Sequence

import numpy as np

# P pairs, T, S frames of one and of the other, D width


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(…, T, D), (…, S, D) -> (…, T, S) in [0, 1]: the angle between frames by π, as ZeroSpeech measures them.

    A frame of zeros stands at a right angle to every other.
    """
    one, other = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (one, other))
    return np.arccos(np.clip(one @ np.swapaxes(other, -1, -2), -1.0, 1.0)) / np.pi


def warped(distances: np.ndarray, lengths: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(P, T, S) distances of frames, (P,), (P,) frames that count -> (P,) mean distance along the cheapest path.

    A step goes on in one sequence, in the other, or in both; the sum along the path with the least sum is divided by
    its frames. Of equally cheap steps the one in both is taken, then that in the first sequence.
    """
    pairs, steps, other_steps = distances.shape
    cost = np.full((pairs, steps + 1, other_steps + 1), np.inf)
    cost[:, 0, 0] = 0.0
    size = np.zeros((pairs, steps + 1, other_steps + 1))
    for diagonal in range(2, steps + other_steps + 1):
        i = np.arange(max(1, diagonal - other_steps), min(steps, diagonal - 1) + 1)
        j = diagonal - i
        ways = np.stack([cost[:, i - 1, j - 1], cost[:, i - 1, j], cost[:, i, j - 1]])  # (3, P, cells)
        lengths_so_far = np.stack([size[:, i - 1, j - 1], size[:, i - 1, j], size[:, i, j - 1]])
        chosen = ways.argmin(0)[None]
        cost[:, i, j] = np.take_along_axis(ways, chosen, 0)[0] + distances[:, i - 1, j - 1]
        size[:, i, j] = np.take_along_axis(lengths_so_far, chosen, 0)[0] + 1
    rows = np.arange(pairs)
    return cost[rows, lengths, others] / size[rows, lengths, others]


def distances_to(one: np.ndarray, others: Sequence[np.ndarray], together: int = 64) -> np.ndarray:
    """(T, D), several (S, D) -> (P,): how far each of the others is from the one."""
    order = np.argsort([len(other) for other in others], kind="stable")
    found = np.empty(len(others))
    for begin in range(0, len(order), together):
        places = order[begin : begin + together]
        chosen = [others[place] for place in places]
        sizes = np.array([len(other) for other in chosen])
        padded = np.zeros((len(chosen), sizes.max(), one.shape[1]))
        for row, other in enumerate(chosen):
            padded[row, : len(other)] = other
        whole = np.full(len(chosen), len(one))
        found[places] = warped(angles(one[None], padded), whole, sizes)
    return found
