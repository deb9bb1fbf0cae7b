"""What a plan reckons with for sound: seconds of it and its longest clip, not rows of text."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.data.sampler import Batches
from firth.data.source import ListSource
from firth.model.sizes import shape_of
from firth.recipe import Recipe, filled
from firth.signal import Sample
from firth.signals.speech import Speech
from firth.tasks import classify
from firth.train import adaptation, plan, prepare, probe
from firth.train.budget import Budget
from tests import contract, sounds
from tests.test_probe import recipe_of, work


@pytest.mark.parametrize(
    ("shape", "seconds", "size", "batch"),
    [
        ("frames", 64 / 200, "mini", 16),  # of a step of 64 s in a run of 15 min: as quick as the ladder
        ("wav2vec2", 64 / 30, "mini", 4),  # 30 s a second: the size stays, and steps of 18 s make 1,500 of them
        ("wav2vec2", 64 / 9, "mini", 4),  # slow: 2 h 15 min of sound are still worth it
        ("wav2vec2", 64 / 5, "tiny", 4),  # 1 h 15 min are not
    ],
)
def test_sound_goes_by_the_seconds_of_it(monkeypatch, shape, seconds, size, batch):
    """A clip of 4 s counts 4, whatever number of tokens a row of text has."""
    recipe = filled(recipe_of(), model={"size": "mini", "shape": shape}, train={"batch": 16})
    job = work(recipe.model_copy(update={"signal": "speech"}), Budget("seconds", 900))
    job.signal, job.source = Speech(Speech.Config()), SimpleNamespace(lengths=np.full(999, 64_000))
    monkeypatch.setattr(prepare.build, "fill", lambda recipe, signal: recipe)
    monkeypatch.setattr(prepare, "model", lambda job: None)
    monkeypatch.setattr(prepare, "make_batches", lambda job: None)
    prepare.rebatch(job, prepare.shrink(job, seconds))
    assert (job.recipe.model.size, job.recipe.train.batch) == (size, batch)


def test_memory_is_reckoned_for_the_longest_sample(monkeypatch):
    """Of samples of sound, not of a row of text."""
    job, asked = work(), []
    job.signal, job.source = (
        Speech(Speech.Config(front="wave")),
        SimpleNamespace(lengths=np.array([3, 160_000, 80_000])),
    )
    shape = SimpleNamespace(weights=10, activations=lambda length: asked.append(length) or 7)
    monkeypatch.setattr(prepare.build, "shape_for", lambda recipe, signal: shape)

    def refuse(needed, free):
        assert needed == plan.training_memory(10, (job.recipe.train.batch or 16) * 7)
        raise KeyError

    monkeypatch.setattr(prepare.plan, "refuse_memory", refuse)
    with pytest.raises(KeyError):
        prepare.model(job)
    assert asked == [160_000]


@pytest.mark.parametrize(("seconds", "kernel"), [(2.0, "plain"), (4.0, "sdpa")])
def test_adapting_chooses_its_kernel_by_the_longest_clip(monkeypatch, seconds, kernel):
    """2 s are 99 steps of 20 ms, 4 s are 199; up to 128 the plain one is quicker in fp32."""
    signal = Speech(Speech.Config(front="wave"))
    clips = [Sample((np.zeros(round(length * signal.config.rate), np.int16),), key=0) for length in (0.5, seconds)]
    shape = shape_of("wav2vec2", "tiny", **signal.sizes)
    monkeypatch.setattr(adaptation.build, "fill", lambda recipe, signal: recipe)
    monkeypatch.setattr(adaptation.build, "shape_for", lambda recipe, signal: shape)
    monkeypatch.setattr(adaptation.machine, "native_bf16", lambda: False)
    labelled = SimpleNamespace(train=ListSource(clips), classes=("a", "b"), task=classify.Config())
    recipe = Recipe(verb="adapt", objective=("classify",), signal="speech", device="cpu")
    assert adaptation.fill(recipe, signal, labelled).train.attention == kernel
    assert probe.most_steps(shape, signal, labelled.train) == round(50 * seconds) - 1


def test_what_an_objective_meets_is_the_same_on_all_ranks():
    source, made = ListSource(sounds.waves(9)), []
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        job = work()
        job.signal, job.source, configs = sounds.WAVE, source, [contract.config_of("wav2vec2")]
        job.train = Batches(source, sounds.WAVE, configs, 0, batch=4, rank=rank, world=world)
        made.append(prepare.first_batch(job))
    assert len(made[0]["wave"]) == 4
    assert all(torch.equal(other[name], value) for name, value in made[0].items() for other in made[1:])
