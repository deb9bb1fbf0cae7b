"""Vectors of images without a network: pixels, oriented gradients, whitened-patch k-means."""

from collections.abc import Sequence

import numpy as np
import torch

from firth.data.source import Source
from firth.evaluate.plain import Plain, Vectors
from firth.functional import hog, patches
from firth.functional.random import Draw
from firth.signal import Sample
from firth.starts import patch_kmeans

# n images of C channels, H × W pixels

CENTROIDS = 800  # of patches; Coates, Lee & Ng 2011 go to 4,000
PATCH = 6  # pixels to a side; their best (section 4.4)
PATCHES = 100_000  # drawn for a dictionary
CELLS = 8  # cells of oriented gradients along the shorter side


def pixels(samples: Sequence[Sample]) -> np.ndarray:
    """(n, C × H × W) in [0, 1]"""
    return np.stack([one.parts[0].ravel() for one in samples]).astype(np.float32) / 255


def oriented(samples: Sequence[Sample]) -> np.ndarray:
    """Histograms of oriented gradients, about CELLS cells along the shorter side."""
    images = np.stack([one.parts[0] for one in samples])
    return hog.hog(images, max(2, min(images.shape[2:]) // CELLS))


def patch_vectors(source: Source, seed: int, centroids: int | None = None) -> Vectors:
    """Whitened-patch k-means features by a dictionary that is learnt from images of the source.

    centroids: None: CENTROIDS.
    """
    images = patch_kmeans.read(source, Draw(seed), patch_kmeans.IMAGES)
    size = min(PATCH, *(side // 2 for side in images.shape[2:]))
    wanted, count = min(centroids or CENTROIDS, 10 * len(images)), min(PATCHES, 100 * len(images))
    learnt = patches.learn(images, wanted, size, count, seed)

    def vectors(samples: Sequence[Sample]) -> np.ndarray:
        return patches.features(torch.from_numpy(np.stack([one.parts[0] for one in samples])), learnt).numpy()

    return vectors


PIXELS = frozenset({"pixels"})
PLAIN = {  # the strongest last
    "pixels": Plain("Raw pixels + logistic regression", PIXELS, lambda source, seed: pixels),
    "hog": Plain("Oriented gradients + logistic regression", PIXELS, lambda source, seed: oriented),
    "patches": Plain("Patch k-means features + ridge", PIXELS, patch_vectors, reads="ridge", learns=True),
}
