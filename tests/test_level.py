"""Levelled numbers before the map of a head: their arithmetic, the fold into the map, and runs over frozen encoders."""

import json

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from firth.evaluate.predict import load
from firth.find import find
from firth.functional.random import Draw
from firth.interop.folder import open_folder
from firth.model.level import FEW, LEAST, Level
from firth.train.adapt import adapt
from firth.train.adaptation import level
from firth.train.log import Silent
from firth.train.pretrain import pretrain
from tests import tones
from tests.recordings import write
from tests.test_spoken_verbs import FROZEN, PITCH, WORDS, clip, table

WIDTH = 6


def rows(count: int, seed: int = 0) -> torch.Tensor:
    """(count, WIDTH) fp64: numbers of very different size and place."""
    drawn = torch.randn(count, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.logspace(-1, 1, WIDTH, dtype=torch.float64) + torch.arange(WIDTH)


def settled(values: torch.Tensor, padding: torch.Tensor | None = None) -> Level:
    own = Level(nn.Linear(WIDTH, 3).double())
    own.look()
    own(values, padding)
    own.settle()
    return own


def test_of_many_rows_it_is_what_scikit_learn_makes_of_them():
    values = rows(4000)
    expected = StandardScaler().fit_transform(values.numpy())
    np.testing.assert_allclose(settled(values)(values).numpy(), expected, rtol=0.02)


def test_until_it_has_looked_and_settled_it_is_not_there():
    own, values = Level(nn.Linear(WIDTH, 3)), rows(5)
    assert own(values) is values
    own.look()
    assert own(values) is values
    assert list(own.parameters()) == [] and own.state_dict() == {}


def test_steps_of_padding_are_not_counted():
    values, padding = rows(20).view(2, 10, WIDTH), torch.zeros(2, 10, dtype=torch.bool)
    padding[1, 4:] = True
    spoilt = values.masked_fill(padding[..., None], 1e6)
    alone = settled(torch.cat([values[0], values[1, :4]]))
    torch.testing.assert_close(settled(spoilt, padding).mean, alone.mean)
    torch.testing.assert_close(settled(spoilt, padding).scale, alone.scale)


def test_in_pieces_as_at_once():
    own, values = Level(nn.Linear(WIDTH, 3).double()), rows(30)
    own.look()
    for piece in values.split([7, 13, 10]):
        own(piece)
    own.settle()
    torch.testing.assert_close(own.scale, settled(values).scale)


def test_of_two_rows_nobody_knows_a_variance():
    """The rows decide the less, the fewer there are; by the formula in plain numbers."""
    values = rows(2)
    own, variance = settled(values), values.var(0, correction=0)
    ratio = (variance / variance.mean()).clamp(min=LEAST**2) ** (2 / (2 + FEW))
    expected = (variance.mean() * ratio).rsqrt()
    torch.testing.assert_close(own.scale, expected.float())
    assert own.scale.max() / own.scale.min() < 10


def test_noise_is_not_blown_up():
    values = rows(100_000)
    values[:, 0] = 5 + 1e-9 * values[:, 0]
    own = settled(values)
    usual = values.var(0, correction=0).mean().sqrt()
    assert own.scale[0] <= 1 / (LEAST * usual) * (1 + 1e-6)
    same = settled(torch.ones(10, WIDTH, dtype=torch.float64))
    assert same.mean is None and (same(torch.ones(2, WIDTH)) == 1).all()


def test_the_map_takes_it_in():
    values, own = rows(50), settled(rows(50))
    (linear,) = own._map
    before = linear(own(values))
    own.fold()
    assert own.mean is None and own(values) is values
    torch.testing.assert_close(linear(values), before, rtol=1e-6, atol=1e-6)
    own.fold()  # there is nothing left to take in
    torch.testing.assert_close(linear(values), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_transcriber_says_the_same_after_the_fold(hidden):
    transcribe = find("tasks", "transcribe")
    classes = tuple(sorted(tones.LETTERS))
    config = transcribe.Config(units="characters", dropout=0.0, hidden=hidden, classes=classes)
    objective = tones.composed("transcribe", transcribe.Transcribe, config).double()
    part = objective.parts["transcribe"]
    samples = config.samples([config.example(tones.example(name)) for name in tones.names(6)], tones.SIGNAL)
    batch = config.prepare(tones.SIGNAL.stack(samples), Draw(0))
    with torch.no_grad():
        plain = objective(batch).terms["transcribe"].sum
        part.level.look()
        objective(batch)
        part.level.settle()
        levelled = objective(batch).terms["transcribe"].sum
        part.level.fold()
        folded = objective(batch).terms["transcribe"].sum
    assert abs(float(plain - levelled)) > 1e-3
    torch.testing.assert_close(levelled, folded, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------ over a frozen encoder, from end to end


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """clips.jsonl and runs/voices, a run over its recordings."""
    place, made = tmp_path_factory.mktemp("level"), []
    for number, (word, speaker) in enumerate((word, speaker) for word in WORDS for speaker in PITCH for _ in range(3)):
        name = f"voices/{number}.wav"
        write(place / name, clip(word, speaker, number))
        made.append({"audio": name, "word": word, "speaker": speaker})
    table(place / "clips.jsonl", made[1::3] + made[2::3])
    table(place / "test.jsonl", made[::3])
    settings = ["train.batch=4", "train.precision=fp32"]
    pretrain([place / "voices"], budget="2steps", size="1x32", out=place / "runs" / "voices", settings=settings)
    return place


def learn(desk, name: str, *settings: str, **options):
    clips, out = desk / "clips.jsonl", desk / "runs" / name
    settings = (*FROZEN, "train.steps=12", "train.batch=8", *settings)
    options = {"label": "word", "test": [desk / "test.jsonl"], **options}
    return adapt(desk / "runs" / "voices", [clips], task="classify", out=out, settings=[*settings], **options)


def weights(run) -> bytes:
    return (run.folder / "model" / "model.safetensors").read_bytes()


def test_a_run_that_was_ended_measures_the_same_again(desk):
    class Stop(Silent):
        def progress(self, step, run):
            if step.index == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(desk, "ended", "train.checkpoint_every=5", show=Stop())
    again, whole = learn(desk, "ended", "train.checkpoint_every=5"), learn(desk, "whole", "train.checkpoint_every=5")
    assert weights(again) == weights(whole)


def test_nothing_of_it_is_in_the_folder_and_the_folder_says_what_the_run_scored(desk):
    found = learn(desk, "scored")
    names = {name for name in open_folder(found.folder).state if name.startswith("parts.classify.")}
    assert names == {
        "parts.classify.classifier.weight",
        "parts.classify.classifier.bias",
        "parts.classify.layer_sum.weights",
    }
    test = [json.loads(line) for line in (desk / "test.jsonl").read_text().splitlines()]
    said = load(found.folder).predict([str(desk / row["audio"]) for row in test])
    right = [one.label == row["word"] for one, row in zip(said, test, strict=True)]
    assert np.mean(right) == pytest.approx(found.score["accuracy"])


def test_a_head_learns_what_stands_in_small_numbers(desk, monkeypatch):
    """The same run without levelling is far behind after as many steps."""
    from firth.train import adaptation

    found = learn(desk, "levelled", "train.steps=60", "optimizer.lr=3e-3")
    monkeypatch.setattr(adaptation, "level", lambda *_: None)
    plain = learn(desk, "plain", "train.steps=60", "optimizer.lr=3e-3")
    assert found.curve[-1][1]["loss"] < 0.7 * plain.curve[-1][1]["loss"]
    assert found.score["accuracy"] >= plain.score["accuracy"]


def test_an_encoder_that_learns_is_read_as_it_is(desk, monkeypatch):
    from firth.train import adaptation

    monkeypatch.setattr(adaptation, "level", None)  # would be an error
    adapt(desk / "runs" / "voices", [desk / "clips.jsonl"], task="classify", label="word", out=desk / "runs" / "tuned",
          settings=["train.steps=2", "train.batch=8", "train.precision=fp32"])  # fmt: skip


def test_no_more_is_looked_at_than_training_goes_through():
    seen = []

    class Batches:
        def evaluation(self, samples, batch):
            seen.append((samples, batch))
            return iter(())

    from types import SimpleNamespace

    own = Level(nn.Linear(WIDTH, 3))
    for steps in (3, 10_000):
        recipe = SimpleNamespace(train=SimpleNamespace(batch=16, steps=steps), device="cpu")
        part = nn.Module()
        part.layer_sum = None
        level(SimpleNamespace(train=Batches(), recipe=recipe, objective=part), {part: own})
    assert seen == [(48, 16), (2048, 16)] and own.mean is None
