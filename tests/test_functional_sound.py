"""Changes to waves: what each does, that padding stays silent, and that a clip changes alike alone and in a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional import sound
from firth.functional.mel import real
from firth.functional.random import GOLDEN, Draw, mix
from tests.recordings import RATE, hiss, sweep, tone

KEYS = np.array([3, 2**63 + 11, 7], np.uint64)


def decibels(ratio) -> float:
    return float(10 * np.log10(float(ratio)))


# ------------------------------------------------------------------ drawn by key


def test_what_is_drawn_hangs_on_the_key_alone():
    draw = Draw(5, epoch=2)
    together = sound.between(draw, KEYS, "gain", -6, 6)
    alone = torch.cat([sound.between(draw, KEYS[i : i + 1], "gain", -6, 6) for i in range(3)])
    assert torch.equal(together, alone)
    assert ((together >= -6) & (together < 6)).all()
    assert not torch.equal(together, sound.between(Draw(5, epoch=3), KEYS, "gain", -6, 6))
    assert not torch.equal(sound.seeds(draw, KEYS, "a"), sound.seeds(draw, KEYS, "b"))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 60), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_spans_lie_inside_and_are_no_wider_than_allowed(sizes, count, widest, share):
    keys = np.arange(len(sizes), dtype=np.uint64)
    begins, widths = sound.spans_of(Draw(1), keys, "time", sizes, count, widest, share)
    size = torch.tensor(sizes)[:, None]
    assert begins.shape == widths.shape == (len(sizes), count)
    assert (begins >= 0).all() and (begins + widths <= size).all()
    assert (widths <= widest).all() and (widths <= share * size).all()


def test_widths_and_places_are_even():
    begins, widths = sound.spans_of(Draw(1), np.arange(20_000, dtype=np.uint64), "bands", [80] * 20_000, 1, 27)
    assert np.bincount(widths[:, 0]).min() > 600 and len(np.bincount(widths[:, 0])) == 28
    narrow = begins[widths == 0]
    assert narrow.min() == 0 and narrow.max() == 80


# ------------------------------------------------------------------ noise that is the same everywhere


def test_white_noise_is_splitmix():
    """The numbers of functional/random.py, from their upper 24 bits."""
    seeds = np.array([12345, 2**63 + 7], np.uint64)
    with np.errstate(over="ignore"):
        bits = mix(seeds[:, None] + np.arange(1, 6, dtype=np.uint64) * GOLDEN)
    wanted = (bits.view(np.int64) >> 40) * 2.0**-23
    found = sound.white(torch.from_numpy(seeds.view(np.int64)), 5)
    np.testing.assert_array_equal(found.numpy(), wanted.astype(np.float32))


def test_white_noise_has_no_favourite():
    found = sound.white(torch.tensor([1]), 200_000)[0]
    assert abs(found.mean()) < 0.01
    assert found.square().mean().item() == pytest.approx(1 / 3, rel=0.01)
    assert abs((found[1:] * found[:-1]).mean()) < 0.01
    assert found.min() >= -1 and found.max() < 1


@pytest.mark.parametrize("ratio", [0.0, 10.0, 30.0])
def test_noise_lies_so_many_decibels_below(ratio):
    wave = torch.from_numpy(sweep(1.0))[None]
    added = sound.noise(wave, torch.tensor([9]), torch.tensor([ratio])) - wave
    assert decibels(wave.square().mean() / added.square().mean()) == pytest.approx(ratio, abs=0.1)


def test_silence_stays_silent():
    silence, one = torch.zeros(1, 500), torch.tensor([3])
    assert (sound.noise(silence, one, torch.tensor([0.0])) == 0).all()
    voice = torch.from_numpy(hiss(0.1))[None]
    assert (sound.mix(silence, voice, torch.tensor([0.0]), torch.tensor([0]), torch.tensor([400])) == 0).all()
    wave = torch.from_numpy(hiss(0.1))[None]
    mixed = sound.mix(wave, torch.zeros(1, 800), torch.tensor([0.0]), torch.tensor([0]), torch.tensor([400]))
    assert torch.equal(mixed, wave)


# ------------------------------------------------------------------ the others


def test_gain_is_in_decibels():
    wave = torch.from_numpy(np.stack([tone(500, 0.1), tone(900, 0.1)]))
    found = sound.gain(wave, torch.tensor([-6.0, 20.0]))
    torch.testing.assert_close(found[1], 10 * wave[1])
    assert decibels(found[0].square().mean() / wave[0].square().mean()) == pytest.approx(-6, abs=1e-3)


@pytest.mark.parametrize("hertz, stays", [(100, False), (1000, True), (2500, True), (6000, False)])
def test_a_band_is_limited(hertz, stays):
    wave = torch.from_numpy(tone(hertz, 0.5))[None]
    found = sound.band_limit(wave, torch.tensor([500.0]), torch.tensor([3400.0]), RATE)
    kept = decibels(found.square().mean() / wave.square().mean())
    assert abs(kept) < 0.3 if stays else kept < -30
    if stays:  # without delay
        torch.testing.assert_close(found[:, 1000:-1000], wave[:, 1000:-1000], atol=0.01, rtol=0)


def test_a_band_limit_is_the_filter_that_scipy_makes():
    from scipy.signal import firwin, lfilter

    wave = hiss(0.2, 4)
    taps = firwin(sound.TAPS, [500, 3400], pass_zero=False, fs=RATE, window="hamming", scale=False)
    half = sound.TAPS // 2
    wanted = lfilter(taps, 1, np.concatenate([wave, np.zeros(half)]))[half:]
    found = sound.band_limit(torch.from_numpy(wave)[None], torch.tensor([500.0]), torch.tensor([3400.0]), RATE)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-5)


def test_another_clip_is_mixed_in_where_and_as_loud_as_said():
    wave, other = (torch.from_numpy(hiss(0.2, seed))[None] for seed in (1, 2))
    begins, widths = torch.tensor([700]), torch.tensor([1500])
    added = sound.mix(wave, other, torch.tensor([5.0]), begins, widths) - wave
    assert (added[0, :700] == 0).all() and (added[0, 2200:] == 0).all()
    place = added[0, 700:2200]
    assert decibels(wave.square().mean() / place.square().mean()) == pytest.approx(5, abs=1e-2)
    torch.testing.assert_close(place / place.norm(), other[0, :1500] / other[0, :1500].norm(), atol=1e-4, rtol=0)


def test_standardised_is_what_transformers_does():
    transformers = pytest.importorskip("transformers")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    waves = [hiss(0.1, 1) + 0.2, sweep(0.05)]
    wanted = extractor(waves, sampling_rate=RATE, padding=True, return_tensors="pt")
    rows = torch.from_numpy(np.stack([np.pad(one, (0, 1600 - len(one))) for one in waves]))
    found = sound.standardised(rows, torch.tensor([1600, 800]))
    torch.testing.assert_close(found, wanted["input_values"], atol=1e-5, rtol=1e-5)


def test_hidden_spans_are_zero_and_nothing_else_is():
    frames = torch.ones(2, 10, 6)
    times = torch.tensor([[2, 7], [0, 0]]), torch.tensor([[3, 1], [0, 0]])
    bands = torch.tensor([[5], [1]]), torch.tensor([[1], [2]])
    found = sound.hide_spans(frames, times, bands)
    wanted = torch.ones(2, 10, 6)
    wanted[0, 2:5], wanted[0, 7], wanted[0, :, 5], wanted[1, :, 1:3] = 0, 0, 0, 0
    assert torch.equal(found, wanted)


CHANGES = {
    "noise": lambda wave, n, i: sound.noise(wave, torch.tensor([4, 5])[i], torch.tensor([10.0, 3.0])[i], n),
    "band": lambda wave, n, i: sound.band_limit(
        wave, torch.tensor([300.0, 0.0])[i], torch.tensor([4e3, 2e3])[i], RATE, n),
    "mix": lambda wave, n, i: sound.mix(
        wave, torch.from_numpy(np.stack([hiss(0.1, 8), hiss(0.1, 9)]))[i], torch.tensor([0.0, 5.0])[i],
        torch.tensor([100, 200])[i], torch.tensor([900, 900])[i], n),
    "standardised": lambda wave, n, i: sound.standardised(wave, n),
    "gain": lambda wave, n, i: sound.gain(wave, torch.tensor([3.0, -3.0])[i]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_clip_changes_alike_alone_and_in_a_batch(name):
    lengths = torch.tensor([3200, 1100])
    wave = torch.from_numpy(np.stack([hiss(0.2, 1), np.pad(sweep(1100 / RATE), (0, 2100))]))
    together = CHANGES[name](wave, lengths, slice(None))
    assert (together[~real(wave, lengths)] == 0).all()
    for row in (0, 1):
        length = int(lengths[row])
        alone = CHANGES[name](wave[row : row + 1, :length], None, slice(row, row + 1))
        torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


def test_clips_are_padded_with_silence():
    wave, lengths = sound.padded([np.array([-32_768, 16_384], np.int16), np.array([1], np.int16)])
    assert wave.tolist() == [[-1.0, 0.5], [2.0**-15, 0.0]] and lengths.tolist() == [2, 1]
