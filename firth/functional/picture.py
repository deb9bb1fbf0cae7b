"""Pictures for people: spectrograms, numbers → colours, several sounds below each other; and sheets of pictures."""

from collections.abc import Sequence

import numpy as np

# F frames, M bands, H, W pixels

COLOURS = np.array(  # from low to high; dark to bright, so that grey print shows the same
    [(5, 5, 20), (45, 20, 90), (120, 30, 110), (190, 55, 85), (240, 110, 45), (252, 185, 70), (252, 250, 190)],
    np.float64,
)
PAPER = 255
GAP = 4  # pixels between spectrograms
EDGE = 2  # pixels between the pictures of a sheet


def coloured(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(…) -> (…, 3) uint8: the colour of each number between low and high; no number is paper."""
    there = np.isfinite(values)
    share = np.where(there, values - low, 0) / max(high - low, 1e-9)
    place = share.clip(0, 1) * (len(COLOURS) - 1)
    below = np.minimum(place.astype(np.int64), len(COLOURS) - 2)
    mixed = COLOURS[below] + (place - below)[..., None] * (COLOURS[below + 1] - COLOURS[below])
    return np.where(there[..., None], np.rint(mixed), PAPER).astype(np.uint8)


def spectrograms(rows: Sequence[np.ndarray], scale: int = 2) -> np.ndarray:
    """(F, M) each -> (H, W, 3) uint8: below each other, low bands below, colours shared; NaN is paper."""
    known = np.concatenate([row[np.isfinite(row)] for row in rows])
    low, high = np.quantile(known, (0.01, 0.99)) if len(known) else (0.0, 1.0)
    width = max(len(row) for row in rows)
    return np.concatenate([_strip(row, width, float(low), float(high), scale) for row in rows])


def _strip(row: np.ndarray, width: int, low: float, high: float, scale: int) -> np.ndarray:
    picture = coloured(row.T[::-1], low, high)  # (M, F, 3)
    large = picture.repeat(scale, 0).repeat(scale, 1)
    return np.pad(large, ((0, GAP), (0, scale * (width - len(row))), (0, 0)), constant_values=PAPER)


def sheet(rows: Sequence[Sequence[np.ndarray]], scale: int) -> np.ndarray:
    """Pictures (H, W, 3) uint8, enlarged without smoothing, smaller ones at the upper left → one picture on paper."""
    height, width = (scale * max(one.shape[axis] for row in rows for one in row) + EDGE for axis in (0, 1))
    found = np.full((height * len(rows) + EDGE, width * max(map(len, rows)) + EDGE, 3), PAPER, np.uint8)
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            large = one.repeat(scale, 0).repeat(scale, 1)
            top, left = EDGE + i * height, EDGE + j * width
            found[top : top + large.shape[0], left : left + large.shape[1]] = large
    return found
