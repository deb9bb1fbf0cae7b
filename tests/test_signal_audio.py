"""Sound files of every kind become the same samples; what is odd about a file is counted or refused."""

import subprocess
import sys

import numpy as np
import pytest

from firth.functional.sound import to_float, to_int16
from firth.signal import Unreadable
from firth.signals import _audio as audio
from firth.signals._audio import Heard
from tests.house import ROOT
from tests.recordings import RATE, hiss, sweep, tone, write

# ------------------------------------------------------------------ kinds of files


@pytest.mark.parametrize(
    "name, subtype, near",
    [
        ("a.wav", "PCM_U8", 8e-3),
        ("a.wav", "PCM_16", 4e-5),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.wav", "ULAW", 2e-2),
        ("a.flac", "PCM_16", 4e-5),
        ("a.aiff", "PCM_16", 4e-5),
    ],
)
def test_a_file_without_loss_gives_its_samples(tmp_path, name, subtype, near):
    wave = sweep(0.5)
    found = audio.whole(write(tmp_path / name, wave, subtype=subtype), RATE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wave, atol=near)


@pytest.mark.parametrize("name, subtype", [("a.mp3", None), ("a.ogg", "VORBIS"), ("a.ogg", "OPUS")])
def test_a_file_with_loss_sounds_alike(tmp_path, name, subtype):
    wave = sweep(1.0)
    heard = audio.whole(write(tmp_path / name, wave, subtype=subtype), RATE)
    assert abs(len(heard) - len(wave)) < 0.1 * RATE
    lag = int(np.correlate(heard[:9000], wave[:8000], "valid").argmax())  # mp3 begins late
    one, two = heard[lag : lag + 12_000], wave[:12_000]
    assert np.corrcoef(one, two)[0, 1] > 0.9


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_every_rate_becomes_one(tmp_path, rate):
    wave = sweep(1.0, rate, 200, 3000)
    found = audio.whole(write(tmp_path / "a.wav", wave, rate, "FLOAT"), RATE)
    assert len(found) == pytest.approx(RATE, abs=2)
    wanted = sweep(1.0, RATE, 200, 3000)
    inner = slice(400, len(found) - 400)
    np.testing.assert_allclose(found[inner], wanted[: len(found)][inner], atol=0.01)


def test_blocks_are_what_soxr_makes_of_the_whole(tmp_path, monkeypatch):
    import soxr

    wave = hiss(2.0, rate=44_100)
    path = write(tmp_path / "a.wav", wave, 44_100, "FLOAT")
    monkeypatch.setattr(audio, "BLOCK", 1000)
    found = audio.whole(path, RATE)
    wanted = soxr.resample(wave, 44_100, RATE)
    assert abs(len(found) - len(wanted)) <= 1
    size = min(len(found), len(wanted))
    np.testing.assert_allclose(found[:size], wanted[:size], atol=1e-4)


def test_channels_are_averaged(tmp_path):
    left, right = tone(300, 0.2), tone(900, 0.2)
    path = write(tmp_path / "a.wav", np.stack([left, right], 1), subtype="FLOAT")
    np.testing.assert_allclose(audio.whole(path, RATE), (left + right) / 2, atol=1e-6)
    assert audio.header(path).channels == 2


def test_a_stream_is_read_like_a_file(tmp_path):
    path = write(tmp_path / "a.ogg", sweep(0.5), subtype="OPUS")
    with path.open("rb") as stream:
        inside = audio.whole(stream, RATE)
        again = audio.whole(path.read_bytes(), RATE)
    np.testing.assert_array_equal(inside, again)
    np.testing.assert_array_equal(inside, audio.whole(path, RATE))


def test_the_header_says_what_a_file_is(tmp_path):
    found = audio.header(write(tmp_path / "a.flac", tone(300, 0.25, 8000), 8000))
    assert (found.rate, found.channels, found.samples, found.seconds) == (8000, 1, 2000, 0.25)
    assert found.form.startswith("FLAC")


# ------------------------------------------------------------------ odd files


def test_one_sample_is_a_sound_and_none_is_not(tmp_path):
    assert len(audio.whole(write(tmp_path / "one.wav", np.array([0.5], np.float32)), RATE)) == 1
    with pytest.raises(Unreadable, match="holds no sample"):
        audio.whole(write(tmp_path / "none.wav", np.empty(0, np.float32)), RATE)


def test_one_sample_of_another_rate(tmp_path):
    path = write(tmp_path / "one.wav", np.array([0.5], np.float32), 44_100)
    assert len(audio.whole(path, RATE)) <= 1


@pytest.mark.parametrize("content", [b"", b"not a sound at all, only words", b"RIFF\x10\x00\x00\x00WAVEfmt "])
def test_what_is_no_sound_is_refused(tmp_path, content):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=r"cannot be read as sound|holds no sample"):
        audio.whole(path, RATE)


def test_a_file_that_ends_early_gives_what_there_is(tmp_path):
    path = write(tmp_path / "a.wav", sweep(1.0))
    path.write_bytes(path.read_bytes()[:10_044])
    assert len(audio.whole(path, RATE)) == 5000


def test_few_samples_that_are_no_numbers_become_silence_and_are_counted(tmp_path):
    wave = sweep(0.5)
    wave[[10, 11]] = np.nan, np.inf
    heard = Heard()
    found = audio.whole(write(tmp_path / "a.wav", wave, subtype="FLOAT"), RATE, heard)
    assert heard.no_numbers == 2 and (found[[10, 11]] == 0).all() and np.isfinite(found).all()


def test_many_samples_that_are_no_numbers_are_refused(tmp_path):
    wave = sweep(0.5)
    wave[: len(wave) // 4] = np.nan
    with pytest.raises(Unreadable, match="25% of its samples are no numbers"):
        audio.whole(write(tmp_path / "a.wav", wave, subtype="FLOAT"), RATE)


def test_clipped_samples_are_counted(tmp_path):
    heard = Heard()
    audio.whole(write(tmp_path / "a.wav", np.clip(sweep(0.5, level=2.0), -1, 1)), RATE, heard)
    assert heard.clipped > 0.5 * heard.samples and heard.peak == pytest.approx(1, abs=1e-3)


def test_what_is_heard_is_what_looking_at_every_sample_finds():
    source = np.random.default_rng(3)
    block = source.uniform(-1.2, 1.2, (5000, 3)).astype(np.float32)
    block[[5, 70], [0, 2]], block[9, 1] = np.nan, -np.inf
    heard, plain = Heard(), np.where(np.isfinite(block), block, 0)
    np.testing.assert_array_equal(heard.listen(block), plain)
    assert (heard.samples, heard.no_numbers) == (15_000, 3)
    assert heard.clipped == (np.abs(plain) >= audio.CLIPPED).sum() and heard.peak == np.abs(plain).max()


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_the_mean_of_channels_is_that_of_numpy(channels):
    block = np.random.default_rng(4).uniform(-1, 1, (1000, channels)).astype(np.float32)
    np.testing.assert_allclose(audio.averaged(block), block.mean(1, dtype=np.float64), atol=1e-6)


# ------------------------------------------------------------------ numbers of 16 bit


def test_numbers_of_16_bit_come_back_as_they_were():
    numbers = np.arange(-32_768, 32_768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(to_float(numbers)), numbers)


def test_what_is_too_loud_is_clipped():
    assert to_int16(np.array([-3, -1, 0, 1, 3], np.float32)).tolist() == [-32_768, -32_768, 0, 32_767, 32_767]


# ------------------------------------------------------------------ long recordings


LONG = """
import resource, sys
from pathlib import Path
from firth.functional import segments
from firth.signals import _audio as audio
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = longest = 0
for piece in segments.segments(audio.blocks(path, 16_000), 16_000, 20.0):
    seconds, longest = seconds + len(piece) / 16_000, max(longest, len(piece))
print(seconds, longest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_hours_take_no_more_memory_than_minutes(tmp_path):
    """Two hours at 8 kHz, in another process; peak memory above that of the imports below 200 MiB."""
    import soundfile

    second = (3000 * sweep(1.0, 8000)).astype(np.int16)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8000, 1, "PCM_16") as sound:
        for _ in range(120):
            sound.write(np.tile(second, 60))
    done = subprocess.run([sys.executable, "-c", LONG, tmp_path / "long.wav"], cwd=ROOT, capture_output=True, text=True)
    seconds, longest, kilobytes = map(float, done.stdout.split())
    assert seconds == pytest.approx(7200, abs=0.01) and longest <= 20 * RATE
    assert kilobytes * (1 if sys.platform == "linux" else 1 / 1024) < 200 * 1024
