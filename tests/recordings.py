"""Sounds that tests make: sweeps, bursts, "words" of two tones, in files of any kind."""

from pathlib import Path

import numpy as np

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    """float32 (n,): a sine that fades in and out."""
    time = np.arange(round(seconds * rate)) / rate
    fade = np.minimum(1, np.minimum(time, seconds - time) / 0.01).clip(0)
    return (level * fade * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def sweep(seconds: float, rate: int = RATE, low: float = 100.0, high: float = 3000.0, level: float = 0.3) -> np.ndarray:
    """float32 (n,): a sine whose pitch rises evenly."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * (low * time + (high - low) * time**2 / 2 / seconds))).astype(np.float32)


def hiss(seconds: float, seed: int = 0, rate: int = RATE, level: float = 0.1) -> np.ndarray:
    """float32 (n,): white noise."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, round(seconds * rate))
    return (level * drawn).astype(np.float32)


WORDS = {"low": (300, 500), "high": (1500, 2200), "rise": (400, 2000), "fall": (2000, 400)}  # Hz of both halves


def word(name: str, seed: int, rate: int = RATE) -> np.ndarray:
    """float32 (n,): two tones one after the other, somewhat different each time, and a little noise."""
    drawn = np.random.default_rng(seed)
    pitch, length, level = drawn.uniform(0.9, 1.1), drawn.uniform(0.15, 0.3), drawn.uniform(0.1, 0.5)
    halves = [tone(hertz * pitch, length, rate, level) for hertz in WORDS[name]]
    wave = np.concatenate(halves)
    return wave + hiss(len(wave) / rate, seed, rate, 0.01)[: len(wave)]


def write(
    path: Path, wave: np.ndarray, rate: int = RATE, subtype: str | None = None, format: str | None = None
) -> Path:
    """A file of one channel (n,) or several (n, c); the kind follows from the name."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype=subtype, format=format)
    return path


def folder_of_words(folder: Path, each: int = 12, rate: int = RATE) -> Path:
    """A folder with a sub-folder of recordings for each word."""
    for number, name in enumerate(WORDS):
        for one in range(each):
            write(folder / name / f"{name}-{one}.wav", word(name, 1000 * number + one, rate), rate)
    return folder
