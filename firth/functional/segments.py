"""Long recordings → segments, cut where they are quietest; silence at the edges, and loudness, where that is wanted.

A segment hangs on the samples alone, never on how they were handed over.
"""

from collections.abc import Iterable, Iterator

import numpy as np

STEP = 0.01  # seconds: places at which a recording can be cut
CALM = 0.2  # seconds around a place whose energy counts
QUIET = 40.0  # decibels under the loudest 20 ms: silence at the edges
MARGIN = 0.1  # seconds of silence that are left at each edge
LEVEL = -26.0  # decibels under full scale: the loudness that segments are brought to, as in ITU-T P.56


def segments(blocks: Iterable[np.ndarray], rate: int, longest: float) -> Iterator[np.ndarray]:
    """float32 blocks → segments (n,) of at most `longest` seconds; none is dropped, and joined they are the blocks.

    What is longer is cut at the quietest place of the second half of the time that a segment may take.
    """
    most, held = max(1, round(longest * rate)), np.empty(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > most:
            place = quietest(held[:most], rate)
            yield held[:place]
            held = held[place:]
    if len(held):
        yield held


def quietest(wave: np.ndarray, rate: int) -> int:
    """Where to cut: the middle of the calmest stretch of the second half, the last of equals; at least 1."""
    step = max(1, round(STEP * rate))
    energy = _energy(wave, step)
    width = min(round(CALM / STEP), len(energy))
    sums, counts = (np.convolve(one, np.ones(width), "same") for one in (energy, np.ones_like(energy)))
    calm = (sums / counts)[len(energy) // 2 :]  # at the end there is less around a place
    last = len(calm) - 1 - int(calm[::-1].argmin())
    return min(max(1, (len(energy) // 2 + last) * step + step // 2), len(wave))


def _energy(wave: np.ndarray, step: int) -> np.ndarray:
    """float64 (n,): the mean square of each stretch of `step` samples; the last may be shorter."""
    begins = np.arange(0, len(wave), step)
    sums = np.add.reduceat(np.square(wave, dtype=np.float64), begins)
    return sums / np.diff([*begins, len(wave)])


def trimmed(wave: np.ndarray, rate: int) -> np.ndarray:
    """Without the silence at its edges, up to a margin; nothing is left of silence alone."""
    step = max(1, round(2 * STEP * rate))
    energy = _energy(wave, step) if len(wave) else np.empty(0)
    loud = np.flatnonzero(energy > max(energy.max(initial=0) * 10 ** (-QUIET / 10), 0))
    if not len(loud):
        return wave[:0]
    margin = round(MARGIN * rate)
    return wave[max(0, loud[0] * step - margin) : (loud[-1] + 1) * step + margin]


def levelled(wave: np.ndarray) -> np.ndarray:
    """Brought to one loudness (root mean square), less where peaks would be clipped; silence stays as it is."""
    loudness = np.sqrt(np.square(wave, dtype=np.float64).mean()) if len(wave) else 0.0
    if loudness == 0:
        return wave
    factor = min(10 ** (LEVEL / 20) / loudness, 0.99 / max(float(np.abs(wave).max()), 1e-9))
    return (wave * np.float32(factor)).astype(np.float32)


def silent_share(wave: np.ndarray, rate: int) -> float:
    """Share of the time that is QUIET decibels or more under its loudest 20 ms, or all of it where nothing sounds."""
    energy = _energy(wave, max(1, round(2 * STEP * rate))) if len(wave) else np.zeros(1)
    return float((energy <= energy.max() * 10 ** (-QUIET / 10)).mean())
