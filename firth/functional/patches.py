"""Whitened-patch k-means features: what small pieces of images look like, in closed form.

Coates, Lee & Ng 2011, "An analysis of single-layer networks in unsupervised feature learning" (AISTATS), sections 3
and 4.1: random patches, contrast normalisation, whitening, k-means, the triangle activation, sums over quadrants. The
centroids are found by spherical k-means (Coates & Ng 2012, "Learning feature representations with k-means", sections
2.1 and 3), which needs few rounds. Images are (N, C, H, W), uint8 or float on the scale 0 to 255.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from firth.functional.random import Draw

# N images, C channels, H height, W width, M patches, S side of a patch, P = C × S × S numbers of a patch, K centroids,
# L places of a patch in an image

CONTRAST = 10.0  # added to the variance of a patch; Coates, Lee & Ng 2011, section 3.1.1, for pixels from 0 to 255
WHITEN = 0.1  # added to each eigenvalue; Coates & Ng 2012, section 2.2
ROUNDS = 10  # of spherical k-means; Coates & Ng 2012, section 3: "10 iterations is usually enough"
POOLS = 2  # parts of each side that features are summed over: quadrants
CELLS = 2**20  # distances held at once on a CPU, about what its cache holds
CELLS_ELSEWHERE = 2**27


class Dictionary(NamedTuple):
    """What was learnt of patches."""

    centroids: Tensor  # (K, P) float32, of length 1, in the whitened space
    mean: Tensor  # (P,) float32, of the normalised patches
    whiten: Tensor  # (P, P) float32, symmetric
    size: int  # S

    def to(self, device) -> "Dictionary":
        return Dictionary(self.centroids.to(device), self.mean.to(device), self.whiten.to(device), self.size)


def learn(images: Tensor, centroids: int, size: int, count: int = 100_000, seed: int = 0) -> Dictionary:
    """A dictionary from about `count` patches, evenly many of each image, their places drawn from the seed."""
    patches = normalised(drawn_patches(images, size, -(-count // len(images)), seed))
    mean, whiten = whitening(patches)
    found = spherical_kmeans((patches - mean) @ whiten, centroids, seed=seed)
    return Dictionary(found, mean, whiten, size)


def drawn_patches(images: Tensor, size: int, each: int, seed: int = 0) -> Tensor:
    """(N, C, H, W) -> (N × each, P) float32: patches at places drawn evenly, those of an image one after the other."""
    height, width = images.shape[2:]
    keys = np.arange(len(images))
    top = Draw(seed).integers(keys, "patch top", each, height - size + 1)  # (N, each)
    left = Draw(seed).integers(keys, "patch left", each, width - size + 1)
    reach = np.arange(size)
    rows = torch.from_numpy(top[..., None, None] + reach[:, None])  # (N, each, S, 1)
    columns = torch.from_numpy(left[..., None, None] + reach)  # (N, each, 1, S)
    numbers = torch.arange(len(images))[:, None, None, None]
    found = images.movedim(1, -1)[numbers, rows, columns]  # (N, each, S, S, C)
    return found.movedim(-1, 2).reshape(len(images) * each, -1).float()


def normalised(patches: Tensor, axis: int = -1) -> Tensor:
    """(…, P) -> the same, P along the axis: each patch less its mean, by its standard deviation; flat ones give 0."""
    variance, mean = torch.var_mean(patches, axis, keepdim=True)
    return (patches - mean) * (variance + CONTRAST).rsqrt()


def whitening(patches: Tensor) -> tuple[Tensor, Tensor]:
    """(M, P) -> mean (P,) and the symmetric (P, P) matrix V (Λ + WHITEN)^-0.5 Vᵀ of their covariance V Λ Vᵀ: ZCA."""
    mean = patches.mean(0)
    centred = patches - mean
    values, vectors = torch.linalg.eigh((centred.T @ centred).double() / (len(patches) - 1))
    matrix = vectors * (values.clamp(min=0) + WHITEN).rsqrt() @ vectors.T
    return mean, matrix.to(patches.dtype)


def spherical_kmeans(points: Tensor, count: int, rounds: int = ROUNDS, seed: int = 0) -> Tensor:
    """(M, P) -> (K, P) directions of length 1; each point belongs to the one with the greatest |dot product|.

    Coates & Ng 2012, section 2.1: a new centroid is the old one plus the sum of s x over its points, s their dot
    product, made to have length 1. So none is ever empty. They begin as directions drawn from the seed.
    """
    noise = torch.Generator().manual_seed(seed)
    found = F.normalize(torch.randn(count, points.shape[1], generator=noise), dim=1).to(points)
    for _ in range(rounds):
        found = F.normalize(found + sum(_pulled(some, found) for some in points.split(max(1, CELLS // count))), dim=1)
    return found


def _pulled(points: Tensor, centroids: Tensor) -> Tensor:
    """(M, P), (K, P) -> (K, P): the sum of s x over the points of each centroid."""
    dots = points @ centroids.T  # (M, K)
    place = dots.abs().argmax(1, keepdim=True)  # (M, 1)
    pull = points * dots.gather(1, place)
    return torch.zeros_like(centroids).index_add_(0, place[:, 0], pull)


def features(images: Tensor, dictionary: Dictionary, pools: int = POOLS) -> Tensor:
    """(N, C, H, W) -> (N, pools² × K) float32: triangle activations summed over pools × pools parts of the image.

    Pools stand row by row, each with all its centroids.
    """
    places = (images.shape[2] - dictionary.size + 1) * (images.shape[3] - dictionary.size + 1)
    cells = CELLS if images.device.type == "cpu" else CELLS_ELSEWHERE
    parts = images.split(max(1, cells // (places * len(dictionary.centroids))))
    return torch.cat([_features(some, dictionary, pools) for some in parts])


def _features(images: Tensor, dictionary: Dictionary, pools: int) -> Tensor:
    size, count = dictionary.size, len(images)
    rows, columns = images.shape[2] - size + 1, images.shape[3] - size + 1
    patches = normalised(F.unfold(images.float(), size).transpose(0, 1).flatten(1), 0)  # (P, N·L)
    active = triangle(dictionary.whiten @ (patches - dictionary.mean[:, None]), dictionary.centroids)
    return pooled(active.view(-1, count, rows, columns), pools)


def triangle(points: Tensor, centroids: Tensor) -> Tensor:
    """(P, M), (K, P) -> (K, M): max(0, μ - z), z the distance to each centroid, μ their mean.

    Coates, Lee & Ng 2011, section 3.2.1, equation 4.
    """
    right = torch.cat([points, points.square().sum(0, keepdim=True), torch.ones_like(points[:1])])  # (P + 2, M)
    left = torch.cat([-2 * centroids, torch.ones_like(centroids[:, :1]), centroids.square().sum(1, keepdim=True)], 1)
    distances = (left @ right).clamp_(min=0).sqrt_()  # |x - c|² = |x|² - 2 x·c + |c|² in one product
    mean = distances.mean(0, keepdim=True)
    return distances.neg_().add_(mean).clamp_(min=0)


def pooled(values: Tensor, pools: int = POOLS) -> Tensor:
    """(K, N, R, R') -> (N, pools² × K): sums over parts; where a side does not divide, the first are larger."""
    part = [torch.arange(size, device=values.device) * pools // size for size in values.shape[2:]]
    place = (pools * part[0][:, None] + part[1]).flatten()  # (L,)
    sums = values.flatten(2) @ F.one_hot(place, pools**2).to(values)  # (K, N, pools²)
    return sums.permute(1, 2, 0).flatten(1)
