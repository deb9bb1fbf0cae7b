"""How fast recordings become samples to learn from: seconds of sound for a second of processor time, on one core.

    python benchmarks/decode.py [--seconds 60] [--rounds 5] [--forms wav,flac,mp3,ogg,opus] [--rates 8000,16000,48000]
    python benchmarks/decode.py --parts            # where the time goes: opening, decoding, changing the rate, the rest
    python benchmarks/decode.py --qualities        # soxr's settings: time, and error against its best one

What is measured is what pre-training does with a file: its bytes go in, 16-bit segments at 16,000 samples a second
come out. Of each form, rate and kind of sound the median over rounds. Kinds: `speech` is made of voiced syllables with
four formants, hissing ones, pauses, and a floor of noise 60 dB below; `noise` is white, the hardest for every codec.
Opus has no 44,100.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from firth.signals import _audio as audio
from firth.signals.speech import Config, Speech

RATE = 16_000
FORMS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
FORMANTS = ((700, 130), (1220, 70), (2600, 160), (3300, 250))  # Hz, bandwidth: an open vowel
QUALITIES = ("QQ", "LQ", "MQ", "HQ", "VHQ")
HEARD = 7_200  # Hz: up to there a change of rate should change nothing
GOAL = 300


# ------------------------------------------------------------------ sounds


def speech(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """float32 (n,): syllables of a quarter of a second, of five one hissing and one a pause."""
    drawn, size = np.random.default_rng(seed), round(seconds * rate)
    syllable = rate // 4
    count = -(-size // syllable)
    parts = [sounded(syllable, rate, drawn, number % 5) for number in range(count)]
    floor = 3e-4 * drawn.standard_normal(size)
    return (np.concatenate(parts)[:size] + floor).astype(np.float32)


def sounded(size: int, rate: int, drawn: np.random.Generator, kind: int) -> np.ndarray:
    """A syllable: 0 to 2 voiced, 3 hissing, 4 a pause."""
    from scipy.signal import lfilter

    if kind == 4:
        return np.zeros(size)
    envelope = np.sin(np.pi * np.arange(size) / size)
    if kind == 3:
        return 0.05 * envelope * np.diff(drawn.standard_normal(size + 1))
    pitch = drawn.uniform(90, 220) * (1 + 0.05 * np.linspace(1, -1, size))
    wave = np.diff(np.floor(np.cumsum(pitch / rate)), prepend=0.0)  # a pulse a period
    for middle, width in FORMANTS:
        if 2 * middle < rate:
            radius = np.exp(-np.pi * width / rate)
            wave = lfilter([1.0], [1, -2 * radius * np.cos(2 * np.pi * middle / rate), radius**2], wave)
    return 0.3 * envelope * wave / np.abs(wave).max()


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32).clip(-1, 1)


KINDS: dict[str, Callable[[float, int], np.ndarray]] = {"speech": speech, "noise": noise}


def encoded(wave: np.ndarray, rate: int, form: str) -> bytes:
    """The bytes of a file."""
    import soundfile

    held = io.BytesIO()
    kind, subtype = FORMS[form]
    with soundfile.SoundFile(held, "w", rate, 1, subtype, format=kind) as sound:
        for begin in range(0, len(wave), rate):  # libsndfile's Opus takes no long pieces
            sound.write(wave[begin : begin + rate])
    return held.getvalue()


def there_is(form: str, rate: int) -> bool:
    return form != "opus" or rate in OPUS_RATES


# ------------------------------------------------------------------ clocks


def cost(work: Callable[[], object], rounds: int) -> float:
    """Seconds of processor time, the median; once before, uncounted."""
    found = []
    for _ in range(rounds + 1):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return median(found[1:])


def whole_way(data: bytes) -> int:
    """Samples that come of the bytes of a file, as pre-training has them."""
    return sum(len(piece) for piece in Speech(Config(rate=RATE)).pieces(data))


def parts_of(data: bytes, rounds: int) -> dict[str, float]:
    """Seconds by what they go to."""
    import soxr

    rate = audio.header(data).rate
    opening = cost(lambda: audio.header(data), rounds)
    decoding = cost(lambda: read(data), rounds)
    wave = read(data)
    change = cost(lambda: soxr.resample(wave, rate, RATE), rounds) if rate != RATE else 0.0
    whole = cost(lambda: whole_way(data), rounds)
    return {"opening": opening, "decoding": decoding - opening, "rate": change, "rest": whole - decoding - change}


def read(data: bytes) -> np.ndarray:
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        return sound.read(dtype="float32")


# ------------------------------------------------------------------ the settings of soxr


def quality(name: str, rate: int, seconds: float, rounds: int) -> tuple[float, float, float]:
    """Seconds of sound a second; error of what lies below HEARD, and what is left of what lies above 8 kHz, in decibels
    under the sound."""
    import soxr

    wave = noise(seconds, rate)
    below, above = (banded(wave, rate, *edges) for edges in ((0, HEARD), (8_800, rate / 2)))
    speed = seconds / cost(lambda: soxr.resample(wave, rate, RATE, name), rounds)
    best = soxr.resample(below.astype(np.float64), rate, RATE, "VHQ")
    error = decibels(soxr.resample(below, rate, RATE, name) - best) - decibels(best)
    left = decibels(soxr.resample(above, rate, RATE, name)) - decibels(above)
    return speed, error, left


def banded(wave: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """float32: what lies between, by FFT."""
    spectrum = np.fft.rfft(wave.astype(np.float64))
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    spectrum[(hertz < low) | (hertz > high)] = 0
    return np.fft.irfft(spectrum, len(wave)).astype(np.float32)


def decibels(wave: np.ndarray) -> float:
    """Of the inner part: at the edges a filter has half of what it needs."""
    inner = wave[len(wave) // 10 : -len(wave) // 10].astype(np.float64)
    return float(10 * np.log10(np.square(inner).mean() + 1e-30))


# ------------------------------------------------------------------ tables


def table(given: argparse.Namespace) -> None:
    print(f"seconds of sound a second of processor time, clips of {given.seconds:g} s; aim: {GOAL}")
    rates = [int(rate) for rate in given.rates.split(",")]
    width = 24 if given.parts else 10
    print(f"{'':14}" + "".join(f"{rate:>{width},}" for rate in rates))
    for kind in given.kinds.split(","):
        for form in given.forms.split(","):
            cells = [cell(given, kind, form, rate) for rate in rates]
            print(f"{kind:<8}{form:<6}" + "".join(f"{one:>{width}}" for one in cells), flush=True)


def cell(given: argparse.Namespace, kind: str, form: str, rate: int) -> str:
    if not there_is(form, rate):
        return "–"
    data = encoded(KINDS[kind](given.seconds, rate), rate, form)
    if not given.parts:
        return f"{given.seconds / cost(lambda: whole_way(data), given.rounds):,.0f}"
    return "/".join(f"{1e6 * one / given.seconds:.0f}" for one in parts_of(data, given.rounds).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--rates", default="8000,16000,44100,48000")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--parts", action="store_true", help="µs for a second: opening/decoding/rate/rest")
    parser.add_argument("--qualities", action="store_true", help="soxr's settings instead")
    given = parser.parse_args()
    if not given.qualities:
        return table(given)
    for rate in (44_100, 48_000):
        for name in QUALITIES:
            speed, error, left = quality(name, rate, given.seconds, given.rounds)
            print(f"{rate:,} {name:<4} {speed:8,.0f} s a second · below {HEARD:,} Hz {error:6.1f} dB · "
                  f"of what is above 8.8 kHz {left:6.1f} dB", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
