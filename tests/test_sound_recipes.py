"""What a recipe for sound becomes: front and shape by the objective, fields by the shape, pages that run."""

import re
import shlex

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from firth.cli import app
from firth.errors import InputError
from firth.functional.losses import distance_sum, exact
from firth.model.init import initialise
from firth.model.sizes import shape_of
from firth.objective import ObjectiveConfig
from firth.recipe import Model, Recipe
from firth.signals.speech import Config as SpeechConfig
from firth.signals.speech import Speech
from firth.train import build
from firth.train.pretrain import request
from tests import recordings
from tests.house import ROOT

SMALL = "--size 1x32 --set train.batch=4 --set train.threads=1 --set train.precision=fp32 --set speech.mels=10"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A folder of recordings, and a copy with sub-folders as labels."""
    return recordings.folder_of_words(tmp_path_factory.mktemp("words") / "recordings", each=8)


def asked(words, objective: str, *settings: str) -> Recipe:
    options = dict.fromkeys(("budget", "size", "source", "seed", "device")) | {"objective": objective}
    return request([str(words)], settings, None, **options)


@pytest.mark.parametrize(
    ("objective", "settings", "front"),
    [
        ("next-frame", (), "mel"),
        ("masked-frames", (), "mel"),
        ("data2vec", (), "mel"),
        ("wav2vec2", (), "wave"),
        ("hubert", (), "wave"),
        ("hubert", ("model.shape=frames",), "mel"),
        ("wav2vec2", ("model.shape=frames",), "mel"),
        ("data2vec", ("model.shape=wav2vec2",), "wave"),
        ("data2vec", ("model.shape=hubert", "speech.front=mel"), "mel"),
    ],
)
def test_the_front_is_what_the_shape_reads(words, objective, settings, front):
    table = asked(words, objective, *settings).tables.get("speech", {})
    assert SpeechConfig(**table).front == front


@pytest.mark.parametrize(
    ("objective", "rate", "decay", "warmup"),
    [("wav2vec2", 5e-4, 0.7, 0.1), ("hubert", 5e-4, 1.0, 0.1), ("masked-frames", None, 1.0, 0.05)],
)
def test_methods_over_samples_have_a_rate_of_their_own(words, objective, rate, decay, warmup):
    """Blocks that norm after are upset by the rate of those that norm before; convolutions learn more slowly."""
    recipe = asked(words, objective)
    assert (recipe.optimizer.lr, recipe.optimizer.layer_decay, recipe.train.warmup) == (rate, decay, warmup)
    said = asked(words, objective, "optimizer.lr=2e-3", "optimizer.layer_decay=1", "train.warmup=0.01")
    assert (said.optimizer.lr, said.optimizer.layer_decay, said.train.warmup) == (2e-3, 1.0, 0.01)


@pytest.mark.parametrize(
    ("objective", "front", "shape", "fields"),
    [
        ("next-frame", "mel", None, (2, 2)),
        ("masked-frames", "mel", None, (2, 2)),
        ("hubert", "mel", "frames", (2, 2)),
        ("hubert", "wave", None, (400, 320)),
        ("wav2vec2", "wave", None, (400, 320)),
    ],
)
def test_a_filled_recipe_knows_how_long_a_step_is(objective, front, shape, fields):
    signal = Speech(SpeechConfig(front=front))
    model = Model(layers=1, width=32, shape=shape, start="random")
    recipe = build.fill(Recipe(signal="speech", objective=(objective,), model=model), signal)
    (config,) = build.configs_of(recipe).values()
    assert (config.field, config.stride) == fields
    assert build.shape_for(recipe, signal) == build.compose(recipe, signal).backbone.shape


def test_a_shape_that_reads_something_else_is_refused():
    recipe = Recipe(signal="speech", objective=("hubert",), model=Model(layers=1, width=32, shape="bert"))
    with pytest.raises(InputError) as raised:
        build.fill(recipe, Speech(SpeechConfig(front="wave")))
    assert str(raised.value) == (
        "model.shape `bert`: reads tokens, and the signal is `speech`. Choose model.shape = wav2vec2 or hubert."
    )


def test_other_objectives_follow_from_no_shape():
    config = ObjectiveConfig()
    assert config.fit(shape_of("bert", "1x32", 40)) is config


# ------------------------------------------------------------------ what the parts count and begin with


def test_distances_are_summed_over_items_and_meant_over_their_numbers():
    guess, target = (np.random.default_rng(seed).normal(size=(3, 5, 7)) for seed in (0, 1))
    pad = np.arange(5)[None] >= np.array([[5], [3], [0]])
    found = distance_sum(torch.from_numpy(guess), torch.from_numpy(target), torch.from_numpy(pad))
    wanted = sum(np.abs(guess[r, t] - target[r, t]).mean() for r in range(3) for t in range(5) if not pad[r, t])
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    assert distance_sum(torch.zeros(0, 4), torch.zeros(0, 4)).item() == 0


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float64),
    ],
)
def test_distances_are_taken_in_the_wider_precision(one, other, wanted):
    guess, target = torch.ones(2, 3, dtype=one), torch.zeros(2, 3, dtype=other)
    assert exact(guess, target).dtype == exact(target, guess).dtype == distance_sum(guess, target).dtype == wanted


class Own(torch.nn.Module):
    """Begins with numbers of its own."""

    def __init__(self):
        super().__init__()
        self.table, self.plain = torch.nn.Parameter(torch.zeros(40, 50)), torch.nn.Linear(3, 3)

    def begin(self, drawn) -> None:
        self.table.copy_(drawn("table", self.table.shape, 3.0))


def test_a_module_may_say_where_it_begins():
    one, same, other, inside = (Own() for _ in range(4))
    shape = shape_of("bert", "1x32", 40)
    for module, seed in ((one, 1), (same, 1), (other, 2)):
        initialise(module, shape, seed)
    initialise(torch.nn.ModuleDict({"a": inside}), shape, 1)
    assert torch.equal(one.table, same.table) and not torch.equal(one.table, other.table)
    assert not torch.equal(one.table, inside.table)  # by its place in the whole
    assert one.table.std().item() == pytest.approx(0.88 * 3.0, rel=0.05) and one.table.abs().max() <= 6.0
    assert one.plain.weight.std() < 0.05 and (one.plain.bias == 0).all()


# ------------------------------------------------------------------ pages


@pytest.mark.parametrize("name", ["next-frame", "masked-frames", "hubert", "data2vec", "wav2vec2"])
def test_a_page_on_an_objective_over_sound_runs_from_top_to_bottom(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(words.parent)
    monkeypatch.setenv("FIRTH_CACHE", str(words.parent / "cache"))
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    own = {"hubert": " --set hubert.clusters=10", "wav2vec2": " --set wav2vec2.codes=16"}.get(name, "")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    assert lines
    for line in lines:
        short = re.sub(r"--budget \S+", f"--budget 2steps {SMALL}{own}", line)
        done = CliRunner().invoke(app, shlex.split(short)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output[-3000:]}"
