"""The patch k-means start: the filters of the first convolution from what small pieces of the images look like.

The centroids of whitened patches (Coates, Lee & Ng 2011; functional/patches.py), in closed form, before any gradient.
A centroid c is met by a patch x through the dot product c · W (x - m) = (W c) · x - const, W the whitening: so the
filter is W c, less its mean, because a patch loses its own before it is whitened. docs/patch-kmeans.md has more.
"""

import time

import numpy as np
import torch
from torch import Tensor, nn

from firth.errors import InputError
from firth.functional import patches
from firth.functional.places import evenly
from firth.functional.random import Draw
from firth.model.pixels import Normalise

# N images, C channels, S side of a patch, K filters

NEEDS = frozenset({"pixels"})  # what a signal must offer
IMAGES = 10_000  # looked at, at most, evenly spread over the source
PATCHES = 100_000  # drawn from them


def start(objective, source, draw: Draw, special: tuple[int, ...] = ()) -> dict:
    """Write the filters of the first convolution of `objective` (a Composed over images) from the images in `source`.

    special: of no meaning here. Returns facts for the plan and the run: images, patches, filters, seconds.
    Raises InputError where there is no convolution over square patches, or where images are smaller than its kernel.
    """
    began = time.perf_counter()
    convolution = first_convolution(objective.backbone)
    weight = convolution.weight
    size = weight.shape[-1]
    images = read(source, draw, IMAGES)
    refuse_small(images, size)
    learnt = patches.learn(images, len(weight), size, min(PATCHES, 100 * len(images)), draw.seed)
    write(weight, filters(learnt).unflatten(1, (weight.shape[1], -1)).mul(spread(objective.backbone)).flatten(1))
    return {
        "images": len(images),
        "patches": min(PATCHES, 100 * len(images)),
        "filters": len(weight),
        "seconds": round(time.perf_counter() - began, 2),
    }


def first_convolution(backbone: nn.Module) -> nn.Conv2d:
    """The one that sees the pixels. Raises InputError where there is none, or its patches are not square."""
    found = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if found is None or len(set(found.kernel_size)) > 1 or found.groups > 1:
        what = "the shape begins with no convolution over square patches of all channels"
        raise InputError("model.start = patch-kmeans", what, "Choose --set model.start=random.")
    return found


def spread(backbone: nn.Module) -> Tensor:
    """(C, 1): by what the pixels are divided before the convolution, which the filters make good."""
    return next(module for module in backbone.modules() if isinstance(module, Normalise)).std.view(-1, 1)


def refuse_small(images: Tensor, size: int) -> None:
    """Raises InputError where no patch fits."""
    if min(images.shape[2:]) < size:
        what = f"images of {images.shape[2]} × {images.shape[3]} hold no patch of {size} × {size}"
        raise InputError("model.start = patch-kmeans", what, "Choose --set model.start=random.")


def read(source, draw: Draw, limit: int) -> Tensor:
    """uint8 (N, C, H, W): at most so many images of the source, evenly spread."""
    taken = evenly(len(source), limit)
    blocks = (source.get(taken[i : i + 1024], draw) for i in range(0, len(taken), 1024))
    return torch.from_numpy(np.stack([sample.parts[0] for block in blocks for sample in block]))


def filters(learnt: patches.Dictionary) -> Tensor:
    """(K, C × S × S): what each centroid looks for in raw pixels."""
    found = learnt.centroids @ learnt.whiten
    return found - found.mean(1, keepdim=True)


@torch.no_grad()
def write(weight: Tensor, found: Tensor) -> None:
    """The filters into (K, C, S, S), each as long as those that were drawn there are on average."""
    length = weight.flatten(1).norm(dim=1).mean()
    scaled = found * (length / found.norm(dim=1, keepdim=True).clamp(min=1e-12)).to(found)
    weight.copy_(scaled.view_as(weight))
