"""What objectives over sound may do to clips before a model hears them: another clip sounds in, noise, a narrow band, a
different level. All of it is off where nobody asks for it.

Each clip is changed by itself, by numbers drawn by its key, so that neither batch nor rank changes what is heard. Units
that were found before (HuBERT's) stay those of the clip as it was: what is guessed is clean, as in WavLM (Chen et al.
2021, arXiv 2110.13900, section III-A).
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from firth.functional.random import Draw
from firth.functional.sound import band_limit, between, gain, mix, noise, padded, seeds, to_int16
from firth.objective import ObjectiveConfig
from firth.signal import Sample

# N samples of sound

MIXED = (-5.0, 5.0)  # decibels by which another clip is below this one (WavLM, section III-A)
HISSED = (5.0, 30.0)  # decibels by which noise is below the clip
LOW, HIGH = (0.0, 0.06), (0.25, 1.0)  # edges of a band, shares of half the rate; a telephone: 0.04 to 0.42 at 16 kHz
SHORT = 2  # samples below which a clip stays as it is

Waves = list[Tensor]  # (1, N) of each clip


class HeardConfig(ObjectiveConfig):
    mixing: float = Field(
        0.0, ge=0, le=1, description="share of the clips in part of which another one sounds; 0.2: WavLM"
    )
    hiss: float = Field(0.0, ge=0, le=1, description="share of the clips with white noise, 5 to 30 dB below them")
    band: float = Field(0.0, ge=0, le=1, description="share of the clips of which only a band stays, as by telephone")
    gain: float = Field(0.0, ge=0, le=40, description="decibels by which clips are made louder or quieter, at most")

    @property
    def partnered(self) -> bool:
        return self.mixing > 0

    def arrange(self, samples: list[Sample], draw: Draw) -> list[Sample]:
        asked = (
            (self.mixing, self.mixed),
            (self.band, self.narrowed),
            (self.hiss, self.hissed),
            (self.gain, self.louder),
        )
        changes = [change for amount, change in asked if amount]
        if not samples or not changes:
            return samples
        keys = np.array([sample.key for sample in samples], np.uint64)
        waves = [padded([sample.parts[0]])[0] for sample in samples]
        for change in changes:
            waves = change(waves, samples, keys, draw)
        long = (len(sample.parts[0]) >= SHORT for sample in samples)
        return [
            one.but(parts=(to_int16(wave[0].numpy()),), partner=None) if changed else one
            for one, wave, changed in zip(samples, waves, long, strict=True)
        ]

    def mixed(self, waves: Waves, samples: list[Sample], keys: np.ndarray, draw: Draw) -> Waves:
        """Up to half of the clip, anywhere, from anywhere in the other."""
        luck = draw.uniform(keys, "mix", 5)  # (B, 5)
        return [
            _mixed(wave, one.partner.parts[0], row[1:]) if one.partner is not None and row[0] < self.mixing else wave
            for wave, one, row in zip(waves, samples, luck, strict=True)
        ]

    def narrowed(self, waves: Waves, samples: list[Sample], keys: np.ndarray, draw: Draw) -> Waves:
        luck = draw.uniform(keys, "band", 1)
        low, high = between(draw, keys, "low", *LOW), between(draw, keys, "high", *HIGH)
        return [
            band_limit(wave, low[i : i + 1], high[i : i + 1], 2) if luck[i, 0] < self.band else wave
            for i, wave in enumerate(waves)
        ]

    def hissed(self, waves: Waves, samples: list[Sample], keys: np.ndarray, draw: Draw) -> Waves:
        luck, ratio = draw.uniform(keys, "hiss", 1), between(draw, keys, "hiss ratio", *HISSED)
        grains = seeds(draw, keys, "hiss grains")
        return [
            noise(wave, grains[i : i + 1], ratio[i : i + 1]) if luck[i, 0] < self.hiss else wave
            for i, wave in enumerate(waves)
        ]

    def louder(self, waves: Waves, samples: list[Sample], keys: np.ndarray, draw: Draw) -> Waves:
        decibels = between(draw, keys, "gain", -self.gain, self.gain)
        return [gain(wave, decibels[i : i + 1]) for i, wave in enumerate(waves)]


def _mixed(wave: Tensor, other: np.ndarray, luck: np.ndarray) -> Tensor:
    """(1, N), int16 (n,), (4,) in [0, 1): ratio, width, place here, place there -> (1, N)"""
    ratio = MIXED[0] + (MIXED[1] - MIXED[0]) * luck[0]
    width = min(1 + int(luck[1] * (wave.shape[1] // 2)), len(other))
    begin, there = int(luck[2] * (wave.shape[1] - width + 1)), int(luck[3] * (len(other) - width + 1))
    voice, _ = padded([other[there : there + width]])
    return mix(wave, voice, torch.tensor([ratio]).float(), torch.tensor([begin]), torch.tensor([width]))
