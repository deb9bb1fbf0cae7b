"""Log-mel frames and cepstra as Kaldi computes them (Povey et al. 2011; feature-fbank.cc, feature-mfcc.cc), batched.

Frames lie wholly inside a clip (`snip_edges`), without dither; samples count as 16-bit numbers, as in Kaldi. Of each
frame the mean is taken out, it is pre-emphasised, weighted by Povey's window, and transformed with zeros after it.
"""

from functools import lru_cache
from math import log, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

# B clips, N samples, T frames, K frequencies, M bands, C coefficients

SCALE = 32768.0  # samples in [-1, 1] to the 16-bit numbers of Kaldi
FLOOR = 1.1920928955078125e-07  # the smallest energy: float32's epsilon
EMPHASIS = 0.97
LIFTER = 22.0  # Kaldi's cepstral lifter
REACH = 2  # frames to each side by which a slope is fitted


class Grid(NamedTuple):
    """How a clip is cut into frames, and a spectrum into bands; in Hz and samples."""

    rate: int = 16_000  # samples a second
    window: int = 400  # samples of a frame: 25 ms
    hop: int = 160  # samples from frame to frame: 10 ms
    mels: int = 80  # bands
    low: float = 20.0  # Hz: the lower edge of the lowest band
    high: float = 0.0  # Hz: the upper edge of the highest; 0: half the rate

    @property
    def size(self) -> int:
        """Samples of the transform: the smallest power of two that holds a frame."""
        return 1 << (self.window - 1).bit_length()


GRID = Grid()
CEPSTRAL = Grid(mels=23)  # Kaldi's bands under its cepstra


def frame_count(samples, grid: Grid = GRID):
    """How many frames so many samples give, a number or an array of them: at least 1, where zeros fill it up."""
    return 1 + (samples - grid.window) * (samples > grid.window) // grid.hop


def log_mel(wave: Tensor, lengths: Tensor | None = None, grid: Grid = GRID) -> Tensor:
    """(B, N) in [-1, 1], (B,) real samples of each -> (B, T, M): the natural logarithm of the energy in each band.

    A clip gives the same frames alone and in a batch; those from frame_count(its samples) on mean nothing.
    """
    return (power(wave, lengths, grid) @ filters(grid).to(wave.device)).clamp(min=FLOOR).log()


def mfcc(wave: Tensor, lengths: Tensor | None = None, grid: Grid = CEPSTRAL, kept: int = 13) -> Tensor:
    """(B, N) -> (B, T, C): cepstral coefficients; the first is that of the bands, not the energy (`use_energy`)."""
    return log_mel(wave, lengths, grid) @ cosines(grid.mels, kept).to(wave.device)


def power(wave: Tensor, lengths: Tensor | None, grid: Grid) -> Tensor:
    """(B, N) -> (B, T, K): the power of each frame at the frequencies below half the rate."""
    count = frame_count(wave.shape[1], grid)
    own = wave if lengths is None else wave.masked_fill(~real(wave, lengths), 0)  # of clips shorter than a frame
    x = SCALE * pad(own, (0, (count - 1) * grid.hop + grid.window - wave.shape[1]))
    frames = x.unfold(1, grid.window, grid.hop)  # (B, T, window)
    frames = frames - frames.mean(-1, keepdim=True)
    emphasised = frames[..., 1:] - EMPHASIS * frames[..., :-1]  # the first sample of a frame has no weight
    spectrum = torch.fft.rfft(emphasised * window_of(grid).to(wave.device)[1:], grid.size)[..., : grid.size // 2]
    return spectrum.real.square() + spectrum.imag.square()


@lru_cache(maxsize=16)
def window_of(grid: Grid) -> Tensor:
    """(window,) Povey's window: Hann's to the power 0.85, which begins and ends with 0."""
    places = torch.arange(grid.window, dtype=torch.float64)
    return ((0.5 - 0.5 * torch.cos(2 * pi * places / (grid.window - 1))) ** 0.85).float()


@lru_cache(maxsize=16)
def filters(grid: Grid) -> Tensor:
    """(K, M): triangles of equal width in mel = 1127 ln(1 + Hz / 700), each over its neighbours' middles."""
    high = grid.high or grid.rate / 2
    edges = torch.linspace(mel(grid.low), mel(high), grid.mels + 2, dtype=torch.float64)
    width = edges[1] - edges[0]
    hertz = torch.arange(grid.size // 2, dtype=torch.float64) * grid.rate / grid.size
    far = (1127 * torch.log1p(hertz / 700))[:, None] - edges[None, 1:-1]  # (K, M) from the middle of each band
    return (1 - far.abs() / width).clamp(min=0).float()


def mel(hertz: float) -> float:
    return 1127 * log(1 + hertz / 700)


@lru_cache(maxsize=16)
def cosines(mels: int, kept: int) -> Tensor:
    """(M, C): the orthonormal cosine transform (type II), liftered by 1 + Q / 2 sin(pi c / Q)."""
    band, number = torch.arange(mels, dtype=torch.float64)[:, None], torch.arange(kept, dtype=torch.float64)[None]
    transform = torch.cos(pi / mels * (band + 0.5) * number) * (2 / mels) ** 0.5
    transform[:, 0] = mels**-0.5
    return (transform * (1 + LIFTER / 2 * torch.sin(pi * number / LIFTER))).float()


def deltas(x: Tensor, lengths: Tensor | None = None, order: int = 2) -> Tensor:
    """(B, T, C), (B,) real frames -> (B, T, (order + 1) C): x, its slope, the slope of that, …, as Kaldi's add-deltas.

    Slopes are fitted to two frames on each side; before the first and after the last frame these are repeated.
    """
    last = real(x, lengths).sum(1) - 1  # (B,)
    places = np.arange(-REACH, REACH + 1)
    taps, found = np.ones(1), [x]
    for _ in range(order):
        taps = np.convolve(taps, places / np.square(places).sum())
        found.append(_filtered(x, taps, last))
    return torch.cat(found, -1)


def _filtered(x: Tensor, taps: np.ndarray, last: Tensor) -> Tensor:
    """(B, T, C): the sum of x at the frames around each, weighted by the taps (2 h + 1,)."""
    total, half = torch.zeros_like(x), len(taps) // 2
    frames = torch.arange(x.shape[1], device=x.device)[None]  # (1, T)
    for shift, tap in enumerate(taps.tolist(), -half):
        place = torch.minimum((frames + shift).clamp(min=0), last[:, None].clamp(min=0))  # (B, T)
        total += tap * x.gather(1, place[..., None].expand_as(x))
    return total


def normalised(frames: Tensor, lengths: Tensor | None = None, by: str = "level") -> Tensor:
    """(B, T, M) -> the same with mean 0 and deviation 1 in each clip, 0 where there is no frame.

    by: "level" of all bands together, so that their balance stays; "bands" of each band; "none": as they are.
    """
    here = real(frames, lengths)[..., None].to(frames.dtype)  # (B, T, 1)
    if by == "none":
        return frames * here
    over = (1,) if by == "bands" else (1, 2)
    items = here.sum(1, keepdim=True).clamp(min=1) * (1 if by == "bands" else frames.shape[2])
    mean = (frames.double() * here).sum(over, keepdim=True) / items  # in fp64, so that silence becomes 0
    apart = (frames - mean.to(frames.dtype)) * here
    return apart / (apart.square().sum(over, keepdim=True) / items).sqrt().clamp(min=1e-3)


def moments(frames: Tensor, lengths: Tensor | None = None) -> Tensor:
    """(B, T, C) -> (B, 2 C): mean and standard deviation of each number over the frames of a clip."""
    here = real(frames, lengths)[..., None].to(frames.dtype)  # (B, T, 1)
    count = here.sum(1).clamp(min=1)
    mean = (frames * here).sum(1) / count
    spread = (((frames - mean[:, None]) * here).square().sum(1) / count).sqrt()
    return torch.cat([mean, spread], -1)


def real(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, …), (B,) -> (B, T) bool: True where a clip has something; None: everywhere."""
    places = torch.arange(x.shape[1], device=x.device)[None].expand(len(x), -1)
    return places >= 0 if lengths is None else places < lengths[:, None]
