"""A signal of small pictures held in memory, digits of scikit-learn, and the ResNet that reads them."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from firth.data.source import ListSource
from firth.model.backbones import backbone_of, embedding_of
from firth.model.init import initialise
from firth.model.shape import ConvShape
from firth.model.sizes import resnet_of
from firth.objective import Composed, Objective
from firth.signal import Batch, Facts, Sample, Signal, SignalConfig, stack_targets


class Pictures(Signal):
    """parts[0]: uint8 (C, H, W), all of one size."""

    name = "pictures"
    config = SignalConfig()

    @property
    def facts(self) -> Facts:
        return Facts(offers=frozenset({"pixels", "pooled"}))

    def stack(self, samples: list[Sample]) -> Batch:
        pixels = torch.from_numpy(np.stack([one.parts[0] for one in samples]))
        return Batch(stack_targets(samples) | {"pixels": pixels})

    def length(self, sample: Sample) -> int:
        return 1

    def embed(self, shape):
        return embedding_of(shape)

    def picture(self, sample: Sample) -> np.ndarray:
        return np.repeat(sample.parts[0][:1], 3, 0).transpose(1, 2, 0)


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (1797, 1, 8, 8) and their classes, shuffled once and for all."""
    order = np.random.default_rng(0).permutation(1797)
    return (load_digits().images[order] * 15).astype(np.uint8)[:, None], load_digits().target[order]


def source(begin: int = 0, end: int = 400, labelled: bool = True) -> ListSource:
    images, labels = digits()
    samples = [
        Sample((images[i],), key=1000 + i, label=int(labels[i]) if labelled else None) for i in range(begin, end)
    ]
    return ListSource(samples, np.ones(end - begin, int))


def shape(size: str = "1x16") -> ConvShape:
    return resnet_of(size, image=8, channels=1)


def composed(objective: type[Objective], seed: int = 0, size: str = "1x16", name: str = "toy", **settings) -> Composed:
    """An objective over a freshly initialised ResNet."""
    backbone = backbone_of(shape(size))
    found = Composed(backbone, {name: objective(objective.Config(**settings), backbone)})
    initialise(found, shape(size), seed)
    for part in found.objectives:
        part.begun()
    return found
