"""Frames as Kaldi's: against kaldi-native-fbank, and against its formulas written down plainly; padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional import mel
from firth.functional.mel import CEPSTRAL, GRID, Grid
from tests.recordings import hiss, sweep

# ------------------------------------------------------------------ the formulas, one frame after another, in fp64


def plain_log_mel(wave: np.ndarray, grid: Grid = GRID) -> np.ndarray:
    """(N,) in [-1, 1] -> (T, M), as feature-window.cc, feature-functions.cc and mel-computations.cc say it."""
    samples, size = wave.astype(np.float64) * 32768, grid.size
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(grid.window) / (grid.window - 1))) ** 0.85
    rows = []
    for begin in range(0, len(samples) - grid.window + 1, grid.hop):
        frame = samples[begin : begin + grid.window]
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] * (1 - 0.97)], frame[1:] - 0.97 * frame[:-1]]) * window
        rows.append(np.abs(np.fft.rfft(frame, size)) ** 2)
    energies = np.array(rows)[:, : size // 2] @ plain_filters(grid)
    return np.log(np.maximum(energies, np.finfo(np.float32).eps))


def plain_filters(grid: Grid) -> np.ndarray:
    def scale(hertz):
        return 1127 * np.log(1 + hertz / 700)

    low, high = scale(grid.low), scale(grid.high or grid.rate / 2)
    width = (high - low) / (grid.mels + 1)
    table = np.zeros((grid.size // 2, grid.mels))
    for band in range(grid.mels):
        left, middle, right = low + band * width, low + (band + 1) * width, low + (band + 2) * width
        for place in range(grid.size // 2):
            here = scale(place * grid.rate / grid.size)
            if left < here <= middle:
                table[place, band] = (here - left) / (middle - left)
            elif middle < here < right:
                table[place, band] = (right - here) / (right - middle)
    return table


SOUNDS = {
    "sweep": sweep(0.7) + hiss(0.7, 7, level=1e-3),
    "noise": hiss(0.5, 1),
    "quiet": hiss(0.3, 2, level=1e-3),
    "offset": sweep(0.4) * 0.5 + hiss(0.4, 8, level=1e-3) + 0.3,
    "one frame": hiss(0.025, 3),
}


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("grid", [GRID, Grid(mels=40), Grid(rate=8000, window=200, hop=80, mels=23, high=3800.0)])
def test_frames_are_those_of_the_formulas(name, grid):
    found = mel.log_mel(torch.from_numpy(SOUNDS[name])[None], grid=grid)[0].numpy()
    wanted = plain_log_mel(SOUNDS[name], grid)
    assert found.shape == wanted.shape
    apart = np.abs(found - wanted)
    assert np.median(apart) < 3e-5
    assert apart.max() < 2e-2  # where a band holds next to nothing, fp32 keeps few digits
    loud = wanted > wanted.max() - 12  # 50 dB
    assert apart[loud].max() < 1e-3


def kaldi(kind: str, grid: Grid, wave: np.ndarray) -> np.ndarray:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.MfccOptions() if kind == "mfcc" else knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.samp_freq = 0.0, grid.rate
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = grid.mels, grid.low, grid.high
    if kind == "mfcc":
        options.use_energy, options.num_ceps = False, 13
    online = knf.OnlineMfcc(options) if kind == "mfcc" else knf.OnlineFbank(options)
    online.accept_waveform(grid.rate, (wave * 32768).tolist())
    online.input_finished()
    return np.array([online.get_frame(number) for number in range(online.num_frames_ready)])


@pytest.mark.parametrize("name", ["sweep", "noise", "quiet"])
def test_frames_are_those_of_kaldi(name):
    wanted = kaldi("fbank", GRID, SOUNDS[name])
    found = mel.log_mel(torch.from_numpy(SOUNDS[name])[None])[0].numpy()
    assert found.shape == wanted.shape
    assert np.median(np.abs(found - wanted)) < 3e-5
    assert np.quantile(np.abs(found - wanted), 0.95) < 2e-3


@pytest.mark.parametrize("name", ["sweep", "noise"])
def test_cepstra_are_those_of_kaldi(name):
    wanted = kaldi("mfcc", CEPSTRAL, SOUNDS[name])
    found = mel.mfcc(torch.from_numpy(SOUNDS[name])[None])[0].numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 5e-3 * np.abs(wanted).max()


def test_cepstra_are_a_cosine_transform_of_the_bands():
    from scipy.fft import dct

    wave = torch.from_numpy(SOUNDS["noise"])[None]
    bands = mel.log_mel(wave, grid=CEPSTRAL)[0].numpy()
    lifter = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    wanted = dct(bands, type=2, norm="ortho", axis=1)[:, :13] * lifter
    np.testing.assert_allclose(mel.mfcc(wave)[0].numpy(), wanted, atol=1e-3)


# ------------------------------------------------------------------ how many frames, and of what


@pytest.mark.parametrize(
    "samples, frames", [(1, 1), (399, 1), (400, 1), (401, 1), (559, 1), (560, 2), (16_000, 98), (480_000, 2998)]
)
def test_how_many_frames(samples, frames):
    assert mel.frame_count(samples) == frames
    assert mel.frame_count(np.array([samples, samples])).tolist() == [frames, frames]
    assert mel.frame_count(torch.tensor([samples])).tolist() == [frames]
    if samples <= 16_000:
        assert mel.log_mel(torch.zeros(1, samples)).shape == (1, frames, 80)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=4), st.integers(0, 2**31), st.integers(0, 700))
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(lengths, seed, more):
    """Bit for bit: also clips shorter than a frame, and whatever stands in the padding."""
    drawn = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (len(lengths), max(lengths) + more))).float()
    together = mel.log_mel(drawn, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        frames = mel.frame_count(length)
        alone = mel.log_mel(drawn[row : row + 1, :length])
        assert alone.shape[1] == frames
        torch.testing.assert_close(together[row, :frames], alone[0], rtol=0, atol=2e-3)


def test_silence_is_at_the_floor():
    found = mel.log_mel(torch.full((1, 800), 0.25))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, torch.full_like(found, float(np.log(mel.FLOOR))), atol=1e-4, rtol=0)


# ------------------------------------------------------------------ slopes


def plain_slope(x: np.ndarray) -> np.ndarray:
    """The slope at each frame of a straight line through two frames on each side, the edges repeated."""
    wide = np.concatenate([x[:1]] * 2 + [x] + [x[-1:]] * 2)
    return np.array([np.polyfit(np.arange(-2, 3), wide[t : t + 5], 1)[0] for t in range(len(x))])


def test_the_first_slope_is_that_of_a_line_through_five_frames():
    x = np.random.default_rng(0).normal(size=(9, 3))
    found = mel.deltas(torch.from_numpy(x)[None], order=1)[0].numpy()
    np.testing.assert_allclose(found[:, :3], x)
    np.testing.assert_allclose(found[:, 3:], plain_slope(x), atol=1e-12)


def test_the_second_is_the_slope_of_the_slope_inside():
    x = np.random.default_rng(1).normal(size=(30, 2))
    found = mel.deltas(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(found[4:-4, 4:], plain_slope(plain_slope(x))[4:-4], atol=1e-12)


def test_slopes_do_not_see_padding():
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
    together = mel.deltas(x, torch.tensor([12, 5]))
    torch.testing.assert_close(together[1, :5], mel.deltas(x[1:, :5])[0])


# ------------------------------------------------------------------ normalised


@pytest.mark.parametrize("by, over", [("level", (0, 1)), ("bands", 0)])
def test_a_clip_has_mean_zero_and_deviation_one(by, over):
    frames = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(1)) * 3 + torch.arange(8.0)
    found = mel.normalised(frames, torch.tensor([40, 25]), by)
    for row, length in ((0, 40), (1, 25)):
        torch.testing.assert_close(
            found[row, :length].mean(over), torch.zeros(8)[: 8 if by == "bands" else 1].squeeze()
        )
        deviation = found[row, :length].std(over, unbiased=False)
        torch.testing.assert_close(deviation, torch.ones_like(deviation))
        torch.testing.assert_close(found[row : row + 1, :length], mel.normalised(frames[row : row + 1, :length], by=by))
    assert (found[1, 25:] == 0).all()


def test_the_balance_of_the_bands_stays_where_the_level_goes():
    frames = torch.randn(1, 40, 8) + 5 * torch.arange(8.0)
    assert (mel.normalised(frames, by="level").mean((0, 1)).diff() > 0).all()


def test_silence_becomes_zero_and_one_frame_is_finite():
    assert (mel.normalised(torch.full((1, 7, 4), -15.9)) == 0).all()
    assert torch.isfinite(mel.normalised(torch.randn(1, 1, 4), by="bands")).all()
    frames = torch.randn(1, 5, 4)
    torch.testing.assert_close(mel.normalised(frames, by="none"), frames)


def test_moments_are_mean_and_deviation_of_the_real_frames():
    frames = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(3))
    found = mel.moments(frames, torch.tensor([30, 11]))
    for row, length in ((0, 30), (1, 11)):
        part = frames[row, :length]
        torch.testing.assert_close(found[row], torch.cat([part.mean(0), part.std(0, unbiased=False)]))
