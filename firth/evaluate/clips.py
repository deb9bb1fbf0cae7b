"""What a classical method reads off clips of sound: statistics of log-mel frames, and of cepstra and their slopes.

One vector a clip; the vectors then go to a logistic regression (evaluate/linear.py).
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from firth.functional import mel
from firth.functional.mel import Grid, frame_count
from firth.functional.sound import padded
from firth.signal import Sample

# n clips, N samples of sound, T frames

BANDS, CEPSTRAL_BANDS = 80, 23  # Kaldi's for frames of neural networks, and under cepstra
TOGETHER = 32  # clips that are padded to one length
WINDOW, HOP = 0.025, 0.010  # seconds of a frame, and from frame to frame

Frames = Callable[[Tensor, Tensor, Grid], Tensor]  # wave (B, N), lengths (B,) -> (B, T, C)


def log_mel_statistics(samples: Sequence[Sample], rate: int) -> np.ndarray:
    """(n, 160) float32: mean and standard deviation of each of 80 bands."""
    return _statistics(samples, _grid(rate, BANDS), mel.log_mel)


def mfcc_statistics(samples: Sequence[Sample], rate: int) -> np.ndarray:
    """(n, 78) float32: mean and standard deviation of 13 cepstra, of their slopes, and of the slopes of these."""
    return _statistics(samples, _grid(rate, CEPSTRAL_BANDS), _slopes)


def _slopes(wave: Tensor, lengths: Tensor, grid: Grid) -> Tensor:
    return mel.deltas(mel.mfcc(wave, lengths, grid), frame_count(lengths, grid))


def _grid(rate: int, bands: int) -> Grid:
    return Grid(rate, round(WINDOW * rate), round(HOP * rate), bands)


def _statistics(samples: Sequence[Sample], grid: Grid, frames: Frames) -> np.ndarray:
    """Clips of like length together; in the order of the samples."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].parts[0]))
    found: dict[int, np.ndarray] = {}
    for first in range(0, len(order), TOGETHER):
        places = order[first : first + TOGETHER]
        wave, lengths = padded([samples[i].parts[0] for i in places])
        made = mel.moments(frames(wave, lengths, grid), frame_count(lengths, grid))
        found |= zip(places, made.numpy(), strict=True)
    return np.stack([found[i] for i in range(len(samples))])
