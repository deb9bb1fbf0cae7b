"""The signal speech: what it makes of recordings, batches that padding does not change, folders that others open."""

import json

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.functional import mel
from firth.functional.sound import to_float, to_int16
from firth.model.sizes import shape_of
from firth.signal import Sample, Unreadable
from firth.signals.speech import Config, Speech
from tests import settings
from tests.house import ROOT
from tests.recordings import RATE, hiss, sweep, tone, write

WAVE = Config(front="wave")


def sample(wave: np.ndarray, key: int = 1, **more) -> Sample:
    return Sample((to_int16(wave),), key, **more)


CLIPS = [sample(sweep(0.5), 1), sample(hiss(0.31, 2), 2), sample(tone(400, 0.05), 3), sample(np.ones(1) * 0.1, 4)]


# ------------------------------------------------------------------ what it says of itself


def test_it_offers_what_its_front_gives():
    assert Speech(Config(mels=40)).facts.offers == {"frames", "pooled", "time"}
    assert Speech(Config(mels=40)).facts.bands == 40
    assert Speech(WAVE).facts.offers == {"wave", "pooled", "time"} and Speech(WAVE).facts.bands == 0


def test_the_need_of_an_objective_chooses_the_front():
    assert Config.suited(frozenset({"wave"})) == {"front": "wave"}
    assert Config.suited(frozenset({"frames"})) == {}


def test_the_page_on_sound_lists_the_settings():
    """FIRTH_GOLDEN=write writes the table into the page."""
    assert all(field.description for field in Config.model_fields.values())
    now = settings.table("speech", Config.model_fields, Config.model_fields)
    assert settings.kept(ROOT / "docs" / "sound.md", now) == now


def test_milliseconds_become_samples():
    grid = Config(rate=8000, window=32, hop=8).grid
    assert (grid.rate, grid.window, grid.hop, grid.size) == (8000, 256, 64, 256)
    assert Config().grid == mel.GRID


# ------------------------------------------------------------------ batches


def test_frames_are_log_mel_normalised_by_clip():
    batch = Speech(Config()).stack(CLIPS[:1])
    wave = torch.from_numpy(to_float(CLIPS[0].parts[0]))[None]
    torch.testing.assert_close(batch["frames"], mel.normalised(mel.log_mel(wave)))
    assert "frame_pad" not in batch and batch["key"].tolist() == [1]


def test_a_wave_has_mean_zero_and_variance_one():
    batch = Speech(WAVE).stack(CLIPS[:1])
    assert batch["wave"].shape == (1, 8000) and batch["wave"].dtype == torch.float32
    assert abs(batch["wave"].mean()) < 1e-5 and batch["wave"].var(unbiased=False).item() == pytest.approx(1, rel=1e-3)


def test_a_wave_as_it_is_lies_between_minus_one_and_one():
    batch = Speech(Config(front="wave", normalise="none")).stack(CLIPS[:1])
    np.testing.assert_array_equal(batch["wave"][0].numpy(), to_float(CLIPS[0].parts[0]))


@pytest.mark.parametrize(
    "config", [Config(), Config(normalise="bands", mels=40), Config(normalise="none"), WAVE], ids=str
)
def test_padding_changes_nothing(config):
    """A clip alone and in a batch; the length is what length() says, and padding is 0 and marked."""
    signal = Speech(config)
    name, pad = ("wave", "pad") if config.front == "wave" else ("frames", "frame_pad")
    together = signal.stack(CLIPS)
    for row, clip in enumerate(CLIPS):
        alone, size = signal.stack([clip]), signal.length(clip)
        assert alone[name].shape[1] == size == int((~together[pad][row]).sum())
        torch.testing.assert_close(together[name][row, :size], alone[name][0], atol=2e-3, rtol=1e-4)
        assert (together[name][row, size:] == 0).all()
        assert together[pad][row, size:].all() and pad not in alone


@pytest.mark.parametrize("config", [Config(), WAVE], ids=str)
@pytest.mark.parametrize("clip", [np.zeros(4000), np.zeros(1), np.ones(1), np.full(800, 0.5)])
def test_silence_and_single_samples_are_finite(config, clip):
    batch = Speech(config).stack([sample(clip)])
    assert all(torch.isfinite(value).all() for value in batch.values() if value.is_floating_point())


def test_labels_and_targets_come_along():
    batch = Speech(Config()).stack([CLIPS[0].but(label=2), CLIPS[1].but(label=0)])
    assert batch["label"].tolist() == [2, 0]


@pytest.mark.parametrize("seconds, clips", [(0.1, 64), (0.4, 64), (2.0, 32), (4.0, 16), (10.0, 8), (60.0, 4)])
def test_a_step_sees_about_a_minute(seconds, clips):
    lengths = np.full(100, round(seconds * RATE))
    assert Speech(Config()).batch_for(lengths) == clips
    assert Speech(Config()).batch_for(None) is None
    assert Speech(Config()).batch_for(lengths[:20]) <= 16  # no clip twice in a step


@pytest.mark.parametrize(
    ("heard", "clips"),  # seconds in the whole run
    [(None, 16), (10**6, 16), (64 * 1500, 16), (32 * 1500, 8), (20_000, 4), (10, 4)],
)
def test_where_a_run_hears_little_it_has_more_and_smaller_steps(heard, clips):
    lengths = np.full(2000, 4 * RATE)
    assert Speech(WAVE).batch_for(lengths, None if heard is None else heard / 4) == clips


def test_a_sample_counts_its_seconds_and_is_as_long_as_a_model_reads_it():
    lengths, frames = np.array([8_000, 24_000, 40_000]), Speech(Config())
    assert Speech(WAVE).extent(lengths) == frames.extent(lengths) == 1.5
    assert Speech(WAVE).longest(lengths) == 40_000
    assert frames.longest(lengths) == frames.length(sample(np.zeros(40_000))) == 248
    assert Speech(WAVE).longest(None) == 160_000 and Speech(WAVE).extent(None) == 10  # speech.longest


@pytest.mark.parametrize("shape", ["frames", "causal-frames", "wav2vec2", "hubert"])
def test_the_ladder_of_a_shape_rises_in_what_it_wants_and_falls_in_its_rate(shape):
    rungs = Speech.ladders[shape]
    wanted, rates = ([getattr(one, name) for one in rungs] for name in ("samples", "rate"))
    assert wanted == sorted(wanted) and wanted[0] == 0 and rates == sorted(rates, reverse=True)
    weights = [shape_of(shape, one.size, bands=80).weights for one in rungs]
    assert weights == sorted(weights) and rungs[1].size == "mini"


def test_steps_of_a_shape_are_those_of_its_encoder():
    for shape, length, steps in (("wav2vec2", 64_000, 199), ("wav2vec2", 10, 1), ("frames", 398, 199)):
        assert shape_of(shape, "1x32", bands=80).steps(length) == steps
    assert shape_of("bert", "1x32", 40).steps(77) == 77
    assert shape_of("vit", "1x32", image=32, channels=3).steps(1) == 65


def test_a_clip_can_be_seen():
    """A tone is a bright line, low tones below."""
    low, high = (Speech(Config()).picture(sample(tone(hertz, 0.5))).sum(2) for hertz in (300, 3000))
    assert low.shape[1] == 48 and low.shape[0] >= 80
    assert low[:80].mean(1).argmax() > high[:80].mean(1).argmax() + 20


# ------------------------------------------------------------------ files


def test_a_recording_becomes_segments_that_joined_are_the_recording(tmp_path):
    wave = hiss(7.0, 3)
    path = write(tmp_path / "long.wav", wave)
    pieces = list(Speech(Config(segment=2.0)).pieces(path))
    assert len(pieces) > 3 and all(one.dtype == np.int16 and len(one) <= 2 * RATE for one in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), Speech(Config()).decode(path))
    np.testing.assert_allclose(np.concatenate(pieces), to_int16(wave), atol=1)


def test_trimming_and_loudness_are_asked_for(tmp_path):
    silence = np.zeros(RATE, np.float32)
    path = write(tmp_path / "a.wav", np.concatenate([silence, tone(300, 0.5, level=0.05), silence]))
    plain, trimmed = Speech(Config()).decode(path), Speech(Config(trim=True)).decode(path)
    assert len(plain) == 2.5 * RATE and len(trimmed) < 0.8 * RATE
    louder = Speech(Config(trim=True, loudness=True)).decode(path)
    assert np.abs(louder).max() > 1.5 * np.abs(trimmed).max()
    assert list(Speech(Config(trim=True)).pieces(write(tmp_path / "b.wav", silence))) == []


def test_what_is_odd_about_a_recording_is_said(tmp_path):
    said = []
    wave = np.clip(sweep(0.5, level=2.0), -1, 1)
    wave[5] = np.nan
    signal = Speech(Config())
    list(signal.pieces(write(tmp_path / "a.wav", wave, subtype="FLOAT"), lambda *one: said.append(one)))
    list(signal.pieces(write(tmp_path / "b.wav", np.zeros(100)), lambda *one: said.append(one)))
    assert [what for what, _ in said] == [
        "1 of 8,000 samples are no numbers, and count as silence",
        said[1][0],
        "is silent throughout",
    ]
    assert said[1][0].endswith("% of its samples are clipped")


def test_the_head_of_a_file_is_looked_at(tmp_path):
    stereo = write(tmp_path / "a.flac", np.stack([tone(300, 3.0, 44_100)] * 2, 1), 44_100)
    looks = [Speech.look(stereo), Speech.look(write(tmp_path / "b.wav", tone(300, 1.0, 8000), 8000))]
    assert looks[0].form == "FLAC, PCM_16" and looks[0].size == (132_300,)
    assert Speech.fit(looks, Config()).told(looks, 4 * RATE) == ["4 s", "44,100 Hz and 8,000 Hz", "mono and stereo"]


def test_a_file_without_sound_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(Unreadable) as caught:
        Speech.look(tmp_path / "a.wav")
    assert caught.value.what.startswith("cannot be read as sound (")
    assert caught.value.do == "Convert it to wav or flac, or leave it out; --skip-bad leaves out such files."


# ------------------------------------------------------------------ folders


@pytest.mark.parametrize("config", [Config(mels=40, longest=4.0), Config(front="wave", normalise="none")], ids=str)
def test_a_folder_is_opened_as_it_was_saved(tmp_path, config):
    Speech(config).save(tmp_path)
    assert Speech.open(tmp_path).config == config
    assert Speech.open(tmp_path, Config(longest=2.0, mels=20)).config == config.model_copy(update={"longest": 2.0})


def test_transformers_reads_waves_alike(tmp_path):
    transformers = pytest.importorskip("transformers")
    signal = Speech(WAVE)
    signal.save(tmp_path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    waves = [to_float(clip.parts[0]) for clip in CLIPS[:2]]
    wanted = extractor(waves, sampling_rate=RATE, padding=True, return_tensors="pt")
    found = signal.stack(CLIPS[:2])
    torch.testing.assert_close(found["wave"], wanted["input_values"], atol=1e-4, rtol=1e-4)
    assert torch.equal(~found["pad"], wanted["attention_mask"].bool())


def test_a_folder_of_others_is_read(tmp_path):
    theirs = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000, "do_normalize": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(theirs))
    config = Speech.open(tmp_path).config
    assert (config.rate, config.front, config.normalise) == (8000, "wave", "none")


def test_a_folder_that_has_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read .* Give the folder of a model for sound"):
        Speech.open(tmp_path)


def test_frames_are_not_made_of_clips_whose_features_somebody_has():
    signal = Speech(Config(front="mel"))
    clips = [np.random.default_rng(key).normal(0, 3000, size).astype(np.int16) for key, size in enumerate((9000, 4000))]
    made = signal.stack([Sample((clip,), key=key) for key, clip in enumerate(clips)])
    signal.known = {0, 1, 2}
    known = signal.stack([Sample((clip,), key=key) for key, clip in enumerate(clips)])
    assert known["frames"].shape == made["frames"].shape and not known["frames"].any()
    assert torch.equal(known["frame_pad"], made["frame_pad"])
    signal.known = {0}
    again = signal.stack([Sample((clip,), key=key) for key, clip in enumerate(clips)])
    assert torch.equal(again["frames"], made["frames"])
