"""What objectives over sound do to clips: each by itself, by its key, as much as was asked for; nothing by default."""

import numpy as np
import pytest

from firth.find import find
from firth.functional.random import Draw
from firth.objectives._heard import HISSED, MIXED, HeardConfig
from firth.signal import Sample
from tests import contract, sounds
from tests.recordings import RATE, hiss, tone

SOUND = [name for name in contract.objectives() if issubclass(find("objectives", name).Config, HeardConfig)]


def sixteen(wave: np.ndarray) -> np.ndarray:
    return np.rint(32_768 * wave).astype(np.int16)


def clips(count: int, seconds: float = 0.5, partner: bool = True) -> list[Sample]:
    found = [Sample((sixteen(hiss(seconds, seed, level=0.05)),), key=7 * seed + 1) for seed in range(count)]
    other = Sample((sixteen(tone(500, 2 * seconds, level=0.3)),), key=99)
    return [one.but(partner=other) for one in found] if partner else found


def changed(samples: list[Sample], draw: Draw = Draw(3), **settings) -> list[np.ndarray]:  # noqa: B008
    return [sample.parts[0] for sample in HeardConfig(**settings).arrange(samples, draw)]


def power(wave: np.ndarray) -> float:
    return float(np.square(wave.astype(np.float64)).mean())


def test_every_objective_over_sound_has_the_same_four_settings():
    assert {"next-frame", "masked-frames", "wav2vec2", "hubert", "data2vec"} <= set(SOUND)


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_done_where_nobody_asks(name):
    config = contract.config_of(name)
    assert (config.mixing, config.hiss, config.band, config.gain) == (0, 0, 0, 0) and not config.partnered
    samples = contract.samples(3, of=name)
    found = config.arrange(samples, Draw(1))
    assert [one.parts[0] is other.parts[0] for one, other in zip(found, samples, strict=True)] == [True] * 3


@pytest.mark.parametrize("settings", [{"mixing": 1.0}, {"hiss": 1.0}, {"band": 1.0}, {"gain": 6.0}])
def test_a_clip_changes_by_its_key_alone(settings):
    samples = clips(4)
    together = changed(samples, **settings)
    for one, sample in zip(together, samples, strict=True):
        assert one.dtype == np.int16 and len(one) == len(sample.parts[0])
        assert not np.array_equal(one, sample.parts[0])
        np.testing.assert_array_equal(changed([sample], **settings)[0], one)
    other = changed(samples, Draw(3, epoch=1), **settings)
    assert not any(np.array_equal(a, b) for a, b in zip(together, other, strict=True))


@pytest.mark.parametrize("name", ["mixing", "hiss", "band"])
def test_a_share_of_the_clips_is_changed(name):
    samples = clips(200, 0.05)
    found = changed(samples, **{name: 0.3})
    count = sum(not np.array_equal(a, b.parts[0]) for a, b in zip(found, samples, strict=True))
    assert 35 < count < 85


def test_another_clip_sounds_in_at_most_half_at_its_ratio():
    samples = clips(40)
    ratios, widths = [], []
    for one, sample in zip(changed(samples, mixing=1.0), samples, strict=True):
        added = one.astype(np.float64) - sample.parts[0]
        inside = np.flatnonzero(np.abs(added) > 1)
        widths.append((inside[-1] - inside[0] + 1) / len(one))
        ratios.append(10 * np.log10(power(sample.parts[0]) / power(added[inside[0] : inside[-1] + 1])))
    assert 0 < min(widths) < 0.1 and 0.4 < max(widths) <= 0.5
    assert MIXED[0] - 0.3 < min(ratios) < -3 and 3 < max(ratios) < MIXED[1] + 0.3


def test_without_another_clip_nothing_is_mixed_in():
    samples = clips(5, partner=False)
    for one, sample in zip(changed(samples, mixing=1.0), samples, strict=True):
        np.testing.assert_array_equal(one, sample.parts[0])
    assert HeardConfig(mixing=0.2).partnered


def test_noise_is_so_many_decibels_below():
    samples = clips(60, 0.3)
    found = changed(samples, hiss=1.0)
    below = [
        10 * np.log10(power(b.parts[0]) / power(a.astype(float) - b.parts[0]))
        for a, b in zip(found, samples, strict=True)
    ]
    assert HISSED[0] - 0.5 < min(below) < 9 and 26 < max(below) < HISSED[1] + 0.5


def test_outside_the_band_there_is_silence():
    one = changed(clips(1, 1.0), band=1.0)[0].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(one)) ** 2
    hertz = np.fft.rfftfreq(len(one), 1 / RATE)
    kept = hertz[spectrum > spectrum.max() / 1e3]
    assert spectrum[hertz > kept.max() + 300].sum() < 1e-3 * spectrum.sum()


def test_levels_are_drawn_to_both_sides_and_clip():
    samples = clips(60, 0.1)
    found = changed(samples, gain=6.0)
    levels = [10 * np.log10(power(a) / power(b.parts[0])) for a, b in zip(found, samples, strict=True)]
    assert -6.1 < min(levels) < -4 and 4 < max(levels) < 6.1
    loud = Sample((sixteen(tone(300, 0.1, level=0.9)),), key=4)
    assert (
        max(np.abs(one.astype(int)).max() for one in changed([loud.but(key=k) for k in range(20)], gain=20.0)) == 32_768
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_the_shortest_clips_come_through(size):
    sample = Sample((np.full(size, 1000, np.int16),), key=5, partner=Sample((np.full(1, 500, np.int16),), key=6))
    found = changed([sample], mixing=1.0, hiss=1.0, band=1.0, gain=3.0)
    assert len(found[0]) == size and found[0].dtype == np.int16


def test_what_hubert_guesses_stays_clean():
    config = contract.config_of("hubert", mixing=1.0, hiss=1.0)
    samples = [one.but(partner=other) for one, other in zip(sounds.waves(3), sounds.waves(3, seed=9), strict=True)]
    found = config.arrange(samples, Draw(2))
    for one, sample in zip(found, samples, strict=True):
        np.testing.assert_array_equal(one.targets["units"], sample.targets["units"])
        assert not np.array_equal(one.parts[0], sample.parts[0])
