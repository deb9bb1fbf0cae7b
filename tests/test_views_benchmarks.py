"""The benchmarks of views and of SimCLR's step: both sides do the same work, and every rate is told."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import augment as views
from benchmarks import simclr_step
from firth.functional import augment
from firth.objectives import simclr

SMALL = SimpleNamespace(side=8, resolution=1.0, batch=4, steps=4, rounds=1, threads=1, workers=0, precision="fp32")


def many(count: int = 2000) -> dict[str, np.ndarray]:
    """Numbers of their views, by name."""
    source = random.Random(0)
    rows = [simclr_step.drawn(simclr_step.POLICY, source) for _ in range(count)]
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def test_their_numbers_are_drawn_as_firths_are():
    """From the same ranges, with the same chances."""
    keys = np.arange(2000, dtype=np.uint64)
    ours = augment.draw_views(augment.Draw(0), keys, "views", [simclr_step.POLICY])[:, 0].numpy().T
    firths, theirs = dict(zip(augment.NAMES, ours, strict=True)), many()
    for name, numbers in theirs.items():
        if name != "threshold":
            assert numbers.mean() == pytest.approx(firths[name].mean(), abs=0.08), name
            assert np.quantile(numbers, 0.99) == pytest.approx(np.quantile(firths[name], 0.99), abs=0.08), name
    assert (theirs["top"] + theirs["height"] <= 1 + 1e-9).all() and (theirs["left"] + theirs["width"] <= 1 + 1e-9).all()


def test_the_same_numbers_make_the_same_views():
    """Within what Pillow rounds on the way."""
    pixels, source = views.pictures(24, 32), random.Random(1)
    rows = [simclr_step.drawn(simclr_step.POLICY, source) for _ in range(24)]
    parameters = augment.draw_views(augment.Draw(0), np.arange(24), "still", [augment.STILL])[:, 0]
    for row, given in zip(parameters, rows, strict=True):
        for name, value in given.items():
            row[augment.PLACE[name]] = float(value)
    ours = 255 * augment.apply(pixels, parameters).permute(0, 2, 3, 1).numpy()
    theirs = [views.one_view(one, given) for one, given in zip(pixels.permute(0, 2, 3, 1).numpy(), rows, strict=True)]
    assert np.abs(ours - np.stack(theirs)).mean() < 2


def test_their_loss_is_the_mean_of_firths():
    first, second = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    summed, _ = simclr.nt_xent(torch.cat([first, second]), torch.arange(len(first)), 0.2)
    torch.testing.assert_close(simclr_step.nt_xent(first, second, 0.2), summed / 10)


def test_both_sides_have_the_same_network_and_see_the_same_pictures():
    run = simclr_step.run_of(SMALL, "tiny")
    side = simclr_step.Theirs(SMALL, run)
    own = run.objective.backbone.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in side.backbone.state_dict().items())
    (batch,) = run.batches.step(0)
    pairs = simclr_step.Pairs(simclr_step.pixels_of(SMALL), 0)
    assert batch["pixels"].shape == (4, 3, 8, 8) and len(pairs) == 16
    first, second = pairs[3]
    assert first.shape == (3, 8, 8) and first.min() >= 0 and first.max() <= 1 and (first != second).any()


def test_their_step_trains():
    side = simclr_step.Theirs(SMALL, simclr_step.run_of(SMALL, "tiny"))
    views = tuple(torch.rand(2, 16, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    losses = [side.step(views) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_the_network_is_that_of_the_budget():
    assert simclr_step.size_for(20.0) == "tiny" and simclr_step.size_for(simclr_step.MINUTES) == "mini"


def run(monkeypatch, capsys, module, *words: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    module.main()
    return capsys.readouterr().out.splitlines()


def test_every_rate_is_told(monkeypatch, capsys):
    small = ["--side", "8", "--batch", "4", "--steps", "4", "--rounds", "2", "--threads", "1", "--workers", "1"]
    told = run(monkeypatch, capsys, simclr_step, "--sizes", "tiny", *small)
    assert told[0] == "tiny: resnet, 2 rounds in turn"
    assert ["by the clock" in told[1], "of processor time" in told[2]] == [True, True]
    assert all("firth" in line and "theirs" in line and "ratio" in line for line in told[1:])


def test_the_rates_of_views_are_told(monkeypatch, capsys):
    small = ["--side", "8", "--batch", "8", "--rounds", "2", "--threads", "1", "--pillow", "4"]
    told = run(monkeypatch, capsys, views, *small)
    assert [line.split(":")[0].split(",")[0] for line in told] == ["of processor time", "by the clock", "difference"]
    assert all("tensors" in line and "Pillow" in line and "ratio" in line for line in told[:2])
