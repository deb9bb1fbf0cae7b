"""The benchmark of wav2vec 2.0 steps: both sides do the same work at the same size, and every arm is told."""

import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks import wav2vec2
from firth.interop.folder import save_folder

SMALL = SimpleNamespace(size="1x32", batch=2, seconds=1.0, steps=3, rounds=1, threads=1, arms="", cpu=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = wav2vec2.run_of(SMALL, "fp32")
    place = tmp_path_factory.mktemp("model")
    save_folder(place, run.objective.backbone.shape, run.objective.state_dict())
    return place


def test_both_sides_have_the_same_weights_and_see_as_much_sound(folder):
    theirs = wav2vec2.Theirs(SMALL, folder, None, False)
    run = wav2vec2.run_of(SMALL, "fp32")
    assert sum(p.numel() for p in theirs.model.parameters()) == sum(p.numel() for p in run.objective.parameters())
    (batch,) = run.batches.step(0)
    assert batch["wave"].shape == theirs.waves.shape == (2, 16_000)
    hidden = theirs.batch()["mask_time_indices"]
    assert hidden.shape == batch["hidden"].shape


def test_their_step_trains_and_lowers_the_temperature(folder):
    theirs = wav2vec2.Theirs(SMALL, folder, "eager", False)
    before = [parameter.detach().clone() for parameter in theirs.model.parameters()]
    theirs.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, theirs.model.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved) and theirs.model.quantizer.temperature < 2


def test_every_arm_is_told(monkeypatch, capsys):
    own = [
        "--size",
        "1x32",
        "--batch",
        "2",
        "--seconds",
        "1",
        "--steps",
        "3",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--cpu",
    ]
    monkeypatch.setattr(sys, "argv", ["wav2vec2.py", *own, "--arms", "theirs fp32,firth fp32"])
    wav2vec2.main()
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("1x32, ") and told[0].endswith("parameters, 2 clips of 1 s")
    assert [line.split(":")[0].strip() for line in told[1:3]] == ["theirs fp32", "firth fp32"]
    assert all("audio-seconds/s" in line for line in told[3:])
