"""Vectors of clips without a network: statistics of log-mel frames, and of cepstra and their slopes.

Frames are 25 ms of every 10 ms at 16,000 samples a second.
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from firth.evaluate.plain import Plain
from firth.functional import mel
from firth.functional.mel import frame_count
from firth.functional.sound import padded
from firth.signal import Sample

# n clips, B of them together, N samples of sound, T frames, C numbers of a frame

TOGETHER = 32  # clips that are padded to one length

Frames = Callable[[Tensor, Tensor], Tensor]  # wave (B, N), lengths (B,) -> (B, T, C)


def log_mel(samples: Sequence[Sample]) -> np.ndarray:
    """(n, 160) float32: mean and standard deviation of each of 80 bands."""
    return statistics(samples, mel.log_mel)


def mfcc(samples: Sequence[Sample]) -> np.ndarray:
    """(n, 78) float32: mean and standard deviation of 13 cepstra, of their slopes, and of the slopes of these."""
    return statistics(samples, lambda wave, lengths: mel.deltas(mel.mfcc(wave, lengths), frame_count(lengths)))


def statistics(samples: Sequence[Sample], frames: Frames) -> np.ndarray:
    """(n, 2 C), in the order of the samples; clips of like length are computed together."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].parts[0]))
    found: dict[int, np.ndarray] = {}
    for first in range(0, len(order), TOGETHER):
        places = order[first : first + TOGETHER]
        wave, lengths = padded([samples[i].parts[0] for i in places])
        made = mel.moments(frames(wave, lengths), frame_count(lengths))
        found |= zip(places, made.numpy(), strict=True)
    return np.stack([found[i] for i in range(len(samples))])


TIME = frozenset({"time"})
PLAIN = {  # the strongest last
    "log-mel": Plain("Log-mel statistics + logistic regression", TIME, lambda source, seed: log_mel),
    "mfcc": Plain("MFCC statistics + logistic regression", TIME, lambda source, seed: mfcc),
}
