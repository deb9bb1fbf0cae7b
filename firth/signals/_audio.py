"""Sound files → mono samples at one rate, block by block: hours of a recording take no more memory than seconds.

libsndfile reads wav, flac, mp3, ogg and opus of any width and number of channels; soxr changes the rate (its setting
"HQ"). Channels are averaged. Samples that are no numbers (NaN, infinite) become silence and are counted.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from firth.signal import Unreadable

Source = str | Path | bytes | IO[bytes]  # a file, what is in it, or a stream that can be searched

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64")
BLOCK = 1 << 20  # samples of all channels read at once
RATES = (1_000, 768_000)  # samples a second that a recording can have
CLIPPED = 32_767 / 32_768  # a sample as loud as that is at the end of its range
NO_NUMBERS = 0.01  # share of samples beyond which a file is refused
CONVERT = "Convert it to wav or flac, or leave it out; --skip-bad leaves out such files."
RECORD = "Record it again, or leave it out; --skip-bad leaves out such files."


class Header(NamedTuple):
    """What the head of a file says."""

    rate: int  # samples a second
    channels: int
    samples: int  # in each channel
    form: str  # "WAV, PCM_16"

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


@dataclass
class Heard:
    """What was found on the way through a file, in samples of its own rate, all channels together."""

    samples: int = 0
    no_numbers: int = 0
    clipped: int = 0
    peak: float = 0.0

    def listen(self, block: np.ndarray) -> np.ndarray:
        """Count, and return the block with what is no number silent. The usual block is gone through twice, for its
        ends; only one that has something odd is looked at sample by sample."""
        self.samples += block.size
        peak = loudest(block)
        if not np.isfinite(peak):
            good = np.isfinite(block)
            self.no_numbers += block.size - int(good.sum())
            block = np.where(good, block, np.float32(0))
            peak = loudest(block)
        if peak >= CLIPPED:
            self.clipped += int((np.abs(block) >= CLIPPED).sum())
        self.peak = max(self.peak, peak)
        return block

    def refuse(self) -> None:
        """Raises Unreadable at the end of a file without sound, or with too little of it that is a number."""
        if not self.samples:
            raise Unreadable("holds no sample", RECORD)
        if self.no_numbers > NO_NUMBERS * self.samples:
            raise Unreadable(f"{self.no_numbers / self.samples:.0%} of its samples are no numbers", RECORD)


@contextmanager
def opened(source: Source) -> Iterator[Any]:
    """The file as soundfile has it. Raises Unreadable, OSError."""
    import soundfile

    with _stream(source) as stream:
        try:
            with soundfile.SoundFile(stream) as sound:
                _refuse(sound)
                yield sound
        except soundfile.LibsndfileError as error:
            what = str(error.error_string).strip().rstrip(".")
            raise Unreadable(f"cannot be read as sound ({what})", CONVERT) from None


@contextmanager
def _stream(source: Source) -> Iterator[IO[bytes]]:
    """Closed afterwards where it was opened here."""
    if isinstance(source, str | Path):
        with open(source, "rb") as opened_here:
            yield opened_here
        return
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    stream.seek(0)
    yield stream


def _refuse(sound) -> None:
    """Raises Unreadable for what no recorder writes."""
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise Unreadable(f"has {sound.samplerate:,} samples a second", CONVERT)


def header(source: Source) -> Header:
    """By the head of the file alone. Raises Unreadable."""
    with opened(source) as sound:
        return Header(sound.samplerate, sound.channels, sound.frames, f"{sound.format}, {sound.subtype}")


def blocks(source: Source, rate: int, heard: Heard | None = None) -> Iterator[np.ndarray]:
    """float32 (n,) blocks of one channel at `rate`, in [-1, 1] where the file keeps to that. Raises Unreadable.

    heard: counts on the way. A file that ends early gives what there is of it.
    """
    import soxr

    heard = heard if heard is not None else Heard()
    with opened(source) as sound:
        change = soxr.ResampleStream(sound.samplerate, rate, 1, dtype="float32") if sound.samplerate != rate else None
        for block in _read(sound):
            mono = averaged(heard.listen(block))
            yield mono if change is None else change.resample_chunk(mono)
        heard.refuse()
        if change is not None:
            yield change.resample_chunk(np.empty(0, np.float32), last=True)


def _read(sound) -> Iterator[np.ndarray]:
    """float32 (n, channels), until nothing more comes."""
    size = max(1, BLOCK // sound.channels)
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        yield block


def loudest(block: np.ndarray) -> float:
    """The greatest absolute value, 0 where there is nothing; no number where one of them is none."""
    return float(np.maximum(block.max(initial=0), -block.min(initial=0)))


def averaged(block: np.ndarray) -> np.ndarray:
    """(n, channels) -> (n,): the mean of the channels, one after the other: numpy's mean of rows this short is slow."""
    if block.shape[1] == 1:
        return block[:, 0]
    total = block[:, 0] + block[:, 1]
    for channel in range(2, block.shape[1]):
        total += block[:, channel]
    return total / np.float32(block.shape[1])


def whole(source: Source, rate: int, heard: Heard | None = None) -> np.ndarray:
    """float32 (n,): all of a file that fits into memory. Raises Unreadable."""
    return np.concatenate([np.empty(0, np.float32), *blocks(source, rate, heard)])
