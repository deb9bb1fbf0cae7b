"""A toy signal of pictures and samples of it, for the contract of objectives over pixels."""

import numpy as np
import torch

from firth.model.backbones import embedding_of
from firth.signal import Batch, Facts, Sample, Signal, SignalConfig, stack_targets

SIDE = 8  # pixels
CHANNELS = 3


class ToyPictures(Signal):
    """uint8 (3, 8, 8)."""

    Config = SignalConfig
    name = "toy-pictures"
    shape = "resnet"
    config = SignalConfig()

    @property
    def facts(self) -> Facts:
        return Facts(frozenset({"pixels", "pooled", "labels"}), classes=("bad", "good", "so-so"))

    def stack(self, samples: list[Sample]) -> Batch:
        return Batch({"pixels": torch.from_numpy(np.stack([s.parts[0] for s in samples]))} | stack_targets(samples))

    def length(self, sample: Sample) -> int:
        return 1

    @property
    def sizes(self) -> dict[str, int]:
        return {"image": SIDE, "channels": CHANNELS}

    def embed(self, shape):
        return embedding_of(shape)


SIGNAL = ToyPictures()


def samples(
    count: int, seed: int = 0, shortest: int = 0, longest: int = 0, side: int = SIDE, channels: int = CHANNELS
) -> list[Sample]:
    """Pictures of a bright bar on a coloured ground, upright or lying by the label, with noise; all of one size."""
    source = np.random.default_rng(seed)
    return [picture(source, side, channels, int(source.integers(3))) for _ in range(count)]


def picture(source: np.random.Generator, side: int, channels: int, label: int) -> Sample:
    ground = source.integers(0, 120, (channels, 1, 1))
    levels = ground + source.integers(0, 40, (channels, side, side))
    place = int(source.integers(side - 1))
    levels[:, place : place + 2] += 90 * (label != 0)
    levels[:, :, place : place + 2] += 90 * (label != 1)
    return Sample((levels.clip(0, 255).astype(np.uint8),), key=int(source.integers(0, 2**63)), label=label)
