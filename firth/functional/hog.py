"""Histograms of oriented gradients: Dalal & Triggs 2005, "Histograms of oriented gradients for human detection".

Unsigned orientations in nine bins, cells of pixels, overlapping blocks of 2 × 2 cells, each made to have length 1,
clipped, and again (L2-Hys; Lowe 2004): the settings of their section 6, and the numbers of scikit-image's `hog`.
"""

import numpy as np

# N images, C channels, H height, W width, R × R' cells

ORIENTATIONS = 9
BLOCK = 2  # cells to a side
CLIP = 0.2  # greatest number of a block, before it is normalised again
EPSILON = 1e-5


def hog(images: np.ndarray, cell: int) -> np.ndarray:
    """(N, C, H, W) -> float32 (N, blocks × BLOCK² × ORIENTATIONS). cell: side in pixels; pixels beyond the last whole
    cell are left out. Raises ValueError where not even one block fits."""
    if min(images.shape[2:]) < BLOCK * cell:
        raise ValueError(f"hog: images of {images.shape[2:]} hold no {BLOCK} × {BLOCK} cells of {cell} pixels.")
    size, angle = gradients(images.astype(np.float32))
    return blocks(histograms(size, angle, cell)).reshape(len(images), -1)


def gradients(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W) -> (N, H, W) magnitudes, and angles in degrees, [0, 180): of the channel with the greatest."""
    down, right = np.zeros_like(images), np.zeros_like(images)
    down[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    right[..., 1:-1] = images[..., 2:] - images[..., :-2]
    best = np.hypot(down, right).argmax(1)[:, None]  # (N, 1, H, W)
    down, right = (np.take_along_axis(one, best, 1)[:, 0] for one in (down, right))
    return np.hypot(down, right), np.rad2deg(np.arctan2(down, right)) % 180


def histograms(size: np.ndarray, angle: np.ndarray, cell: int) -> np.ndarray:
    """(N, H, W), (N, H, W) -> (N, R, R', ORIENTATIONS): mean magnitude in each bin of each cell."""
    count, rows, columns = len(size), size.shape[1] // cell, size.shape[2] // cell
    size, angle = size[:, : rows * cell, : columns * cell], angle[:, : rows * cell, : columns * cell]
    number = np.minimum((angle * ORIENTATIONS / 180).astype(np.int64), ORIENTATIONS - 1)
    place = np.arange(count)[:, None, None] * rows + (np.arange(rows * cell) // cell)[:, None]  # (N, H, 1)
    place = place * columns + np.arange(columns * cell) // cell  # (N, H, W)
    flat = np.bincount((place * ORIENTATIONS + number).ravel(), size.ravel(), count * rows * columns * ORIENTATIONS)
    return flat.reshape(count, rows, columns, ORIENTATIONS) / cell**2


def blocks(cells: np.ndarray) -> np.ndarray:
    """(N, R, R', O) -> float32 (N, R - 1, R' - 1, 2, 2, O), each block normalised."""
    found = np.lib.stride_tricks.sliding_window_view(cells, (BLOCK, BLOCK), (1, 2))  # (N, R - 1, R' - 1, O, 2, 2)
    found = np.moveaxis(found, 3, -1)
    for clip in (CLIP, np.inf):
        length = np.sqrt(np.square(found).sum((3, 4, 5), keepdims=True) + EPSILON**2)
        found = np.minimum(found / length, clip)
    return found.astype(np.float32)
