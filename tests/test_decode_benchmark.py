"""The benchmark of decoding: its sounds are what it says, every form is read back, and the table has every cell."""

import sys

import numpy as np
import pytest

from benchmarks import decode


def test_speech_has_syllables_and_pauses():
    wave = decode.speech(2.5, 16_000)
    loud = np.abs(wave).reshape(-1, 4000).max(1)
    assert len(wave) == 40_000 and wave.dtype == np.float32 and np.abs(wave).max() <= 1
    assert (loud[4::5] < 2e-3).all() and (loud[0::5] > 0.1).all()


@pytest.mark.parametrize("form", decode.FORMS)
def test_every_form_is_read_back(form):
    data = decode.encoded(decode.speech(1.0, 48_000), 48_000, form)
    assert decode.whole_way(data) == pytest.approx(16_000, abs=1200)
    assert set(decode.parts_of(data, 1)) == {"opening", "decoding", "rate", "rest"}


def test_the_best_setting_changes_least():
    worst, best = (decode.quality(name, 44_100, 1.0, 1) for name in ("MQ", "HQ"))
    assert best[1] < worst[1] < -40 and best[2] < -90


def test_every_cell_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["decode.py", "--seconds", "1", "--rounds", "1", "--rates", "16000,44100"])
    decode.main()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 + len(decode.FORMS) * len(decode.KINDS)
    assert told[2].split()[:2] == ["speech", "wav"] and told[-1].split()[-1] == "–"
