"""Nearest neighbours by cosine, and what their labels say; nothing is learnt, so the vectors alone are judged."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# N vectors of the bank, Q queries, K neighbours, D dimensions, C classes

NEIGHBOURS = 20  # DINO, arXiv 2104.14294, section 4.1: 20 is the best number for all methods
TEMPERATURE = 0.07  # Wu et al. 2018, arXiv 1805.01978, section 3.4
CELLS = 2**24  # similarities held at once


class Nearest(NamedTuple):
    """Of each query, the nearest first."""

    similarity: Tensor  # (Q, K) float32, cosines
    place: Tensor  # (Q, K) int64, rows of the bank


def nearest(bank: Tensor, queries: Tensor, count: int = NEIGHBOURS) -> Nearest:
    """(N, D), (Q, D) -> the `count` (or all N) vectors of the bank with the greatest cosine to each query."""
    bank, queries = (F.normalize(vectors.float(), dim=1) for vectors in (bank, queries))
    count = min(count, len(bank))
    parts = [torch.topk(some @ bank.T, count, dim=1) for some in queries.split(max(1, CELLS // len(bank)))]
    return Nearest(torch.cat([one.values for one in parts]), torch.cat([one.indices for one in parts]))


def weighted_votes(found: Nearest, labels: Tensor, classes: int, temperature: float = TEMPERATURE) -> Tensor:
    """labels (N,) of the bank -> (Q, C): for each class the sum of exp(cosine / temperature) over its neighbours.

    Wu et al. 2018, arXiv 1805.01978, section 3.4, divided by the greatest exponential of each query.
    """
    weights = ((found.similarity - found.similarity[:, :1]) / temperature).exp()  # (Q, K)
    return weights.new_zeros(len(weights), classes).scatter_add_(1, labels[found.place], weights)


def neighbour_accuracy(bank: Tensor, labels: Tensor, queries: Tensor, gold: Tensor, count: int = NEIGHBOURS,
                       temperature: float = TEMPERATURE) -> float:  # fmt: skip
    """(N, D), (N,), (Q, D), (Q,) -> the share of queries whose class the weighted votes name; of equal votes the first.

    The bank must not hold the queries.
    """
    classes = int(max(labels.max(), gold.max())) + 1
    votes = weighted_votes(nearest(bank, queries, count), labels, classes, temperature)
    return float((votes.argmax(1) == gold).double().mean())


def principal_map(vectors: Tensor, width: int = 2) -> tuple[Tensor, Tensor]:
    """(N, D) -> (N, width) coordinates along the directions of most variance, and (width,) the shares of it they hold.

    Each direction's largest coordinate is positive: a decomposition fixes no sign.
    """
    centred = vectors.double() - vectors.double().mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    places = left[:, :width] * sizes[:width]
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    shares = sizes.square() / sizes.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return places * torch.where(largest < 0, -1.0, 1.0), shares[:width]
