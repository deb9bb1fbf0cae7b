"""Changes to waves and frames, batched on the device, each clip with its own parameters.

What is drawn is drawn by key on the CPU (`between`, `spans_of`); what is done with it are functions of tensors. Padding
stays 0, and a clip comes out the same alone and in a batch.
"""

from collections.abc import Sequence
from math import pi

import numpy as np
import torch
from torch import Tensor

from firth.functional.mel import real
from firth.functional.random import Draw

# B clips, N samples, T frames, M bands, K spans

GOLDEN = -0x61C8864680B583EB  # functional/random.py's, as the signed number that torch has
FACTORS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
SHIFTS = (30, 27, 31)
TAPS = 255  # of the filter that limits a band: 16 ms at 16 kHz


# ------------------------------------------------------------------ drawn by key, on the CPU


def between(draw: Draw, keys, purpose: str, low: float, high: float) -> Tensor:
    """(B,) float32 in [low, high), one for each key."""
    return torch.from_numpy(low + (high - low) * draw.uniform(keys, purpose, 1)[:, 0]).float()


def seeds(draw: Draw, keys, purpose: str) -> Tensor:
    """(B,) int64: what `white` makes noise of."""
    return torch.from_numpy(draw.bits(keys, purpose, 1)[:, 0].view(np.int64))


def spans_of(
    draw: Draw, keys, purpose: str, sizes, count: int, widest: int, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(B,) lengths -> begins and widths (B, K) int64 of `count` spans, each 0 to `widest` wide and inside its length.

    share: of the length, beyond which no span goes (p in SpecAugment, arXiv 1904.08779, section 2).
    """
    sizes = np.asarray(sizes, np.int64)[:, None]
    most = np.minimum(widest, (share * sizes).astype(np.int64))  # (B, 1)
    drawn = draw.uniform(keys, purpose, 2 * count)
    widths = (drawn[:, :count] * (most + 1)).astype(np.int64)
    begins = (drawn[:, count:] * (sizes - widths + 1)).astype(np.int64)
    return torch.from_numpy(begins), torch.from_numpy(widths)


def span_of_bands(draw: Draw, keys, frames: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """(B, F, M) -> begin and width (B, 1) of a span of bands of each clip, up to `share` of them wide."""
    bands = frames.shape[2]
    return spans_of(draw, keys, "bands", np.full(len(frames), bands), 1, round(share * bands))


# ------------------------------------------------------------------ waves


def to_int16(wave: np.ndarray) -> np.ndarray:
    """[-1, 1] → 16 bit, to the nearest; what is louder is clipped. 16-bit files come back as they were."""
    scaled = wave * np.float32(32_768)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32_768, 32_767, out=scaled).astype(np.int16)


def to_float(samples: np.ndarray) -> np.ndarray:
    """16 bit → float32 in [-1, 1)."""
    return samples / np.float32(32_768)


def padded(clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """int16 clips -> (B, N) float32 in [-1, 1), and how many samples each has (B,)."""
    lengths = torch.tensor([len(clip) for clip in clips])
    wave = np.zeros((len(clips), max(1, int(lengths.max()))), np.float32)
    for row, clip in zip(wave, clips, strict=True):
        row[: len(clip)] = to_float(clip)
    return torch.from_numpy(wave), lengths


def standardised(wave: Tensor, lengths: Tensor | None = None) -> Tensor:
    """(B, N) -> mean 0 and variance 1 in each clip, as transformers' Wav2Vec2FeatureExtractor with do_normalize."""
    here = real(wave, lengths)
    count = here.sum(1, keepdim=True).clamp(min=1)
    mean = (wave.double() * here).sum(1, keepdim=True) / count
    variance = ((wave - mean).square() * here).sum(1, keepdim=True) / count
    return ((wave - mean) / (variance + 1e-7).sqrt() * here).to(wave.dtype)


def gain(wave: Tensor, decibels: Tensor) -> Tensor:
    """(B, N), (B,) -> louder by so many decibels."""
    return wave * 10 ** (decibels / 20)[:, None]


def noise(wave: Tensor, seeds: Tensor, ratio: Tensor, lengths: Tensor | None = None) -> Tensor:
    """White noise added, `ratio` (B,) decibels below the clip's own mean power; silence stays silent."""
    hiss = white(seeds, wave.shape[1]).to(wave.dtype) * real(wave, lengths)
    return wave + hiss * (3 * mean_power(wave, lengths)).sqrt() * 10 ** (-ratio / 20)[:, None]


def white(seeds: Tensor, count: int) -> Tensor:
    """(B,) int64 -> (B, count) float32, uniform in [-1, 1), of power 1/3: SplitMix64, the same on all devices."""
    x = seeds[:, None] + torch.arange(1, count + 1, device=seeds.device) * GOLDEN
    for shift, factor in zip(SHIFTS, FACTORS, strict=False):
        x = (x ^ _right(x, shift)) * factor
    x = x ^ _right(x, SHIFTS[2])
    return (x >> 40).float() * 2.0**-23


def _right(x: Tensor, shift: int) -> Tensor:
    """x >> shift as unsigned numbers have it: zeros come in."""
    return (x >> shift) & ((1 << (64 - shift)) - 1)


def mean_power(wave: Tensor, lengths: Tensor | None = None) -> Tensor:
    """(B, N) -> (B, 1): the mean square over the real samples."""
    here = real(wave, lengths)
    total = (wave.double().square() * here).sum(1, keepdim=True)
    return (total / here.sum(1, keepdim=True).clamp(min=1)).to(wave.dtype)


def band_limit(wave: Tensor, low: Tensor, high: Tensor, rate: int, lengths: Tensor | None = None) -> Tensor:
    """Only what lies between `low` and `high` (B,) Hz stays, as over a telephone; no delay.

    A windowed sine cardinal (Hamming) of TAPS samples, applied by FFT; outside a clip there is silence.
    """
    places = torch.arange(TAPS, device=wave.device, dtype=torch.float64) - TAPS // 2
    window = 0.54 + 0.46 * torch.cos(2 * pi * places / (TAPS - 1))
    low, high = ((edge.double() / rate)[:, None] for edge in (low, high))
    kernel = (2 * high * torch.sinc(2 * high * places) - 2 * low * torch.sinc(2 * low * places)) * window  # (B, TAPS)
    size = 1 << (wave.shape[1] + TAPS - 2).bit_length()
    spectrum = torch.fft.rfft(wave, size) * torch.fft.rfft(kernel.to(wave.dtype), size)
    found = torch.fft.irfft(spectrum, size)[:, TAPS // 2 :][:, : wave.shape[1]]
    return found * real(wave, lengths)


def mix(
    wave: Tensor, other: Tensor, ratio: Tensor, begins: Tensor, widths: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Another clip sounds in part of each: the first `widths` (B,) samples of other (B, N'), from `begins` (B,) on.

    ratio (B,): decibels by which the part of the other is below the clip. Utterance mixing: WavLM, arXiv 2110.13900,
    section III-A. Widths beyond the other's length are silence.
    """
    place = torch.arange(wave.shape[1], device=wave.device) - begins[:, None]  # (B, N): where in the other
    inside = (place >= 0) & (place < widths.clamp(max=other.shape[1])[:, None]) & real(wave, lengths)
    voice = other.gather(1, place.clamp(0, other.shape[1] - 1)) * inside
    loud = voice.double().square().sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    factor = (mean_power(wave, lengths) / loud.clamp(min=1e-12)).sqrt() * 10 ** (-ratio / 20)[:, None]
    return wave + (factor * voice).to(wave.dtype)


# ------------------------------------------------------------------ frames


def covered(begins: Tensor, widths: Tensor, size: int) -> Tensor:
    """(B, K), (B, K) -> (B, size) bool: True inside any of the spans."""
    place = torch.arange(size, device=begins.device)
    return ((place >= begins[..., None]) & (place < (begins + widths)[..., None])).any(1)


def hide_spans(frames: Tensor, times: tuple[Tensor, Tensor], bands: tuple[Tensor, Tensor]) -> Tensor:
    """(B, T, M) -> 0, the mean after normalisation, in spans of time and of bands (SpecAugment, arXiv 1904.08779).

    times, bands: begins and widths (B, K), as spans_of draws them.
    """
    return hide_bands(frames.masked_fill(covered(*times, frames.shape[1])[..., None], 0), bands)


def hide_bands(frames: Tensor, bands: tuple[Tensor, Tensor]) -> Tensor:
    """(B, T, M) -> 0 in spans of bands, throughout the clip."""
    return frames.masked_fill(covered(*bands, frames.shape[2])[:, None], 0)
