"""Recipes that come with firth: complete, commented, found by name, and what they say of the command holds."""

import re

import pytest

from firth.errors import InputError
from firth.interop.folder import open_shape
from firth.recipe import RECIPES, load_toml, named
from firth.train.pretrain import pretrain, request
from firth.train.schedule import factor
from tests import picture_files, runs
from tests.material import documents

ALL = sorted(RECIPES.glob("*.toml"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_recipe_says_its_command_and_what_it_needs(path):
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert re.search(rf"^# Run: +firth pretrain \S+ --config {path.stem}$", head, re.M)
    assert re.search(r"^# Needs: ", head, re.M)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_recipe_is_found_by_its_name(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert named(path.stem) == path and load_toml(path.stem) == load_toml(path)
    assert request(["a.txt"], (), path.stem, objective=None, size=None, budget=None, source=None, seed=None,
                   device=None).data.paths == ("a.txt",)  # fmt: skip


def test_a_file_goes_before_a_recipe_of_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ALL[0].stem).write_text("seed = 3")
    assert load_toml(ALL[0].stem).seed == 3


def test_a_name_that_is_neither_file_nor_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        load_toml("nanogpt-shakespear")
    assert str(raised.value) == (
        "--config nanogpt-shakespear: is no file, and no recipe that comes with firth. "
        "Did you mean `nanogpt-shakespeare`? "
        f"There is: {', '.join(path.stem for path in ALL)}; or name a file, such as nanogpt-shakespear.toml."
    )


def test_the_recipe_of_nanogpt_is_its_setting(monkeypatch, tmp_path):
    """Sizes, rates and the split that its README and config/train_shakespeare_char.py give."""
    monkeypatch.chdir(tmp_path)
    text = "\n\n".join(documents(300))
    (tmp_path / "shakespeare.txt").write_text(text)
    told = runs.Told()
    quick = ["train.steps=3", "train.evaluate_every=3"]
    done = pretrain(["shakespeare.txt"], config="nanogpt-shakespeare", settings=quick, show=told)
    recipe = load_toml(done.folder / "config.toml")
    model, train, optimizer = recipe.model, recipe.train, recipe.optimizer
    assert (model.shape, model.layers, model.heads, model.width, model.dropout) == ("gpt2", 4, 4, 128, 0.0)
    assert model.intermediate == 512 and model.tied and model.start == "random"
    assert (recipe.tables["text"]["context"], train.batch, load_toml("nanogpt-shakespeare").train.steps) == (
        64,
        12,
        2000,
    )
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay, optimizer.clip) == (1e-3, (0.9, 0.99), 0.1, 1.0)
    assert factor(train.schedule, 1999, 2000, train.warmup, floor=train.floor) == pytest.approx(0.1, abs=1e-3)
    facts = done.folder / "run.json"
    assert facts.exists() and done.tokens == 3 * 12 * 64
    assert "character" in told.lines["Data"] or told.lines["Data"]


def test_the_recipe_for_a_gpu_says_that_it_wants_one(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError) as raised:
        pretrain([colours(tmp_path, 4)], config="simclr-cifar10-gpu", out=tmp_path / "run")
    assert str(raised.value) == "--device cuda: is not available here. Use --device auto or cpu."


def test_the_recipe_for_a_gpu_takes_a_step(tmp_path):
    """On the CPU, with a batch that it bears; the network and the objective are its own."""
    here = ["device=cpu", "train.precision=fp32", "train.batch=8", "train.evaluate_samples=4"]
    done = pretrain(
        [colours(tmp_path, 24)], config="simclr-cifar10-gpu", budget="1steps", settings=here, out=tmp_path / "run"
    )
    recipe = load_toml(done.folder / "config.toml")
    shape = open_shape(done.folder)
    assert (recipe.train.steps, recipe.tables["simclr"]["hidden"], recipe.tables["simclr"]["blur"]) == (1, 2048, 0.0)
    assert (shape.stem, shape.depths, shape.widths) == ("plain", (2, 2, 2, 2), (64, 128, 256, 512))


def colours(folder, count: int):
    """A folder of pictures, 32 × 32 in colour."""
    (folder / "train").mkdir()
    for seed in range(count):
        picture_files.made(32, 32, seed=seed).save(folder / "train" / f"{seed}.png")
    return folder / "train"
