"""Toy sounds to state the contract on: noise as a model reads it, in samples or in frames of a few bands."""

import numpy as np
import torch

from firth.functional.random import Draw
from firth.functional.steps import steps_of
from firth.signal import Batch, Facts, Sample, Signal, SignalConfig, stack_targets

FIELD, STRIDE = 400, 320  # samples that a step of wav2vec 2.0 sees, and from one step to the next
BANDS, JOIN = 6, 2
UNITS = 5


class ToySoundConfig(SignalConfig):
    rate: int = 16_000


class ToySound(Signal):
    """int16 (n,) as numbers of deviation about 1: the samples themselves, or `BANDS` of them as a frame."""

    Config = ToySoundConfig
    config = ToySoundConfig()

    def __init__(self, front: str):
        self.name = self.front = front

    @property
    def facts(self) -> Facts:
        offers = frozenset({self.front, "pooled", "time", "labels"})
        return Facts(offers, classes=("bad", "good", "so-so"), bands=BANDS if self.front == "frames" else 0)

    @property
    def sizes(self) -> dict:
        return {"bands": self.facts.bands}

    def stack(self, samples: list[Sample]) -> Batch:
        rows = [self.read(sample) for sample in samples]
        lengths = np.array([len(row) for row in rows])
        sound = np.zeros((len(rows), max(1, lengths.max()), *rows[0].shape[1:]), np.float32)
        for place, row in zip(sound, rows, strict=True):
            place[: len(row)] = row
        batch = Batch(stack_targets(samples), **{self.front: torch.from_numpy(sound)})
        if lengths.min() < sound.shape[1]:
            name = "frame_pad" if self.front == "frames" else "pad"
            batch[name] = torch.from_numpy(np.arange(sound.shape[1]) >= lengths[:, None])
        return batch

    def read(self, sample: Sample) -> np.ndarray:
        """(n,) or (frames, BANDS)"""
        wave = sample.parts[0].astype(np.float32) / 2**12
        return wave if self.front == "wave" else wave[: len(wave) // BANDS * BANDS].reshape(-1, BANDS)

    def length(self, sample: Sample) -> int:
        return len(self.read(sample))

    def embed(self, shape):
        from firth.model.sound import embedding_of

        return embedding_of(shape)


WAVE, FRAMES = ToySound("wave"), ToySound("frames")


def waves(count: int, seed: int = 0, shortest: int = 6, longest: int = 26) -> list[Sample]:
    """Clips that become `shortest` to `longest` steps by the convolutions of wav2vec 2.0, and a few samples more."""
    return clips(count, seed, shortest, longest, FIELD, STRIDE)


def frames(count: int, seed: int = 0, shortest: int = 6, longest: int = 26) -> list[Sample]:
    """Clips that become as many steps by joining frames, and some left over."""
    return clips(count, seed, shortest, longest, JOIN * BANDS, JOIN * BANDS)


def clips(count: int, seed: int, shortest: int, longest: int, field: int, stride: int) -> list[Sample]:
    source = np.random.default_rng(seed)
    keys = source.integers(0, 2**63, count).tolist()
    sizes = field + stride * (source.integers(shortest, longest + 1, count) - 1) + source.integers(0, stride, count)
    return [clip(source, int(size), key, field, stride) for size, key in zip(sizes, keys, strict=True)]


def clip(source: np.random.Generator, size: int, key: int, field: int = FIELD, stride: int = STRIDE) -> Sample:
    """Noise of so many samples, with a unit for each step, and a transcript."""
    wave = source.normal(0, 2**12, size).clip(-(2**15), 2**15 - 1).astype(np.int16)
    units = source.integers(0, UNITS, steps_of(size, field, stride))
    said = np.random.default_rng(key).integers(1, 4, max(1, len(units) // 3))  # classes of a transcript
    return Sample((wave,), key=key, label=int(source.integers(3)), targets={"units": units, "transcript": said})


def nothing() -> list[Sample]:
    """Two clips without a sample."""
    empty = {name: np.empty(0, np.int64) for name in ("units", "transcript")}
    return [Sample((np.empty(0, np.int16),), key=key, targets=empty) for key in (1, 2)]


def batch(front: Signal, chosen: list[Sample], config, draw: Draw = Draw(7)) -> Batch:
    """As collate makes it, of one objective."""
    return config.prepare(front.stack(config.arrange(chosen, draw)), draw)
