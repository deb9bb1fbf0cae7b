"""Statistics of clips: what they are of, in which order, and that they tell words apart."""

import numpy as np
import pytest
import torch

from firth.evaluate import closed, linear, plain_sounds
from firth.evaluate.linear import Part
from firth.functional import mel
from firth.functional.sound import to_float, to_int16
from firth.signal import Sample
from tests.recordings import hiss, word


def clip(wave: np.ndarray, key: int) -> Sample:
    return Sample((to_int16(wave),), key)


CLIPS = [clip(hiss(0.1 + 0.05 * ((7 * n) % 40), n), n) for n in range(40)]  # of many lengths, in no order


def alone(one: Sample) -> torch.Tensor:
    return torch.from_numpy(to_float(one.parts[0]))[None]


def test_log_mel_statistics_are_mean_and_deviation_over_time():
    found = plain_sounds.log_mel(CLIPS)
    assert found.shape == (40, 160) and found.dtype == np.float32
    for row, one in list(zip(found, CLIPS, strict=True))[::13]:
        frames = mel.log_mel(alone(one))[0].numpy()
        np.testing.assert_allclose(row, np.concatenate([frames.mean(0), frames.std(0)]), rtol=1e-3, atol=1e-3)


def test_cepstral_statistics_are_of_cepstra_and_two_slopes():
    found = plain_sounds.mfcc(CLIPS)
    assert found.shape == (40, 78)
    for row, one in list(zip(found, CLIPS, strict=True))[::13]:
        frames = mel.deltas(mel.mfcc(alone(one)))[0].numpy()
        np.testing.assert_allclose(row, np.concatenate([frames.mean(0), frames.std(0)]), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["log-mel", "mfcc"])
def test_they_tell_words_apart(name):
    samples, labels = [], []
    for label, kind in enumerate(("low", "high", "rise")):  # only the order of its tones tells "fall" from "rise"
        samples += [clip(word(kind, 100 * label + n), 100 * label + n) for n in range(12)]
        labels += [label] * 12
    made = plain_sounds.PLAIN[name].make(None, 0)(samples)  # type: ignore[arg-type]
    gold = np.array(labels)
    place = np.arange(len(gold)) % 12
    parts = [Part(made[chosen], gold[chosen]) for chosen in (place < 6, (place >= 6) & (place < 8))]
    said = linear.classified(*parts, made[place >= 8], linear.logistic)
    assert (said == gold[place >= 8]).mean() >= 0.8


def test_they_stand_among_the_arms_of_signals_that_have_time():
    arms = closed.plain_arms(frozenset({"frames", "pooled", "time"}), lambda: None, 0)
    assert list(arms) == ["log-mel", "mfcc"]
    assert not {"log-mel", "mfcc"} & set(closed.plain_arms(frozenset({"pixels", "pooled"}), lambda: None, 0))
    assert closed.TITLES["mfcc"] == "MFCC statistics + logistic regression"
