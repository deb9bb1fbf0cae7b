"""Images through the command line: found by their files, pre-trained, resumed, adapted, asked, embedded, compared."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

import firth
from firth.errors import InputError
from firth.evaluate.predict import load, predict
from firth.evaluate.vectors import embed
from firth.recipe import load_toml
from firth.train.adapt import adapt
from firth.train.folder import RunFolder
from firth.train.pretrain import pretrain
from tests.picture_files import made, write_digits, written
from tests.runs import Told

QUICK = ["train.precision=fp32", "train.batch=32", "data.held_out=0.1"]


@cache
def folder() -> Path:
    """digits/ (240 files in class folders), more/ (60 others), and run/: a finished run of 6 steps on digits/."""
    place = Path(mkdtemp(prefix="firth-test-"))
    write_digits(place / "digits", 240)
    write_digits(place / "more", 60, first=300)
    pretrain([place / "digits"], size="tiny", budget="6steps", out=place / "run", settings=QUICK)
    return place


def tell(*given, **options) -> Told:
    told = Told()
    pretrain(*given, **({"settings": QUICK, "budget": "3steps", "show": told} | options))
    return told


# ------------------------------------------------------------------ pretrain


def test_the_files_say_which_signal_it_is_and_the_signal_what_is_learnt():
    recipe = load_toml(folder() / "run" / "config.toml")
    assert (recipe.signal, recipe.objective, recipe.model.shape) == ("image", ("simclr",), "resnet")
    assert recipe.tables["image"]["size"] == 8 and recipe.model.size == "tiny"


def test_the_plan_speaks_of_images(tmp_path):
    told = tell([folder() / "digits"], out=tmp_path / "run", dry_run=True)
    assert told.lines["Data"].startswith("240 images · 8 × 8 PNG · 10 labels left aside")
    assert "96 images (0." in told.lines["Plan"] and "3 steps × 32 images" in told.lines["Plan"]
    assert told.lines["Model"].startswith("ResNet-shaped, 3 blocks, 32-64-128 channels, ")
    words = " ".join([*told.lines.values(), *told.notes])
    assert not [word for word in ("token", "vocabulary", "document", "text") if word in words]
    assert "images/s measured" in told.lines["Machine"]


def test_a_run_leaves_what_people_keep():
    run = RunFolder(folder() / "run")
    assert run.status == "finished" and run.facts["result"]["tokens"] == 6 * 32
    names = {path.name for path in run.model.iterdir()}
    assert {"config.json", "model.safetensors", "firth.safetensors", "preprocessor_config.json"} <= names
    assert list(run.samples.glob("*.png"))
    card = run.card.read_text()
    assert "| images | 192 |" in card and "on images that were never trained on" in card
    assert "library_name: firth" in card and "from_pretrained" not in card


def test_the_same_command_again_does_nothing():
    told = Told()
    again = pretrain(
        [folder() / "digits"], size="tiny", budget="6steps", out=folder() / "run", settings=QUICK, show=told
    )
    assert again.steps == 6 and "is finished; nothing to do" in told.notes[0]


def test_its_config_repeats_the_run(tmp_path):
    again = pretrain(config=folder() / "run" / "config.toml", out=tmp_path / "again")
    first = RunFolder(folder() / "run").facts["result"]
    assert again.metrics == pytest.approx(first["metrics"], rel=1e-6)


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path):
    from safetensors.torch import load_file

    from firth.errors import Interrupted

    settings = [*QUICK, "train.checkpoint_every=2"]
    pretrain([folder() / "digits"], size="tiny", budget="6steps", out=tmp_path / "whole", settings=settings)

    class Stopping(Told):
        def progress(self, step, run):
            if step.index == 3 and step.items:
                raise Interrupted("here", "stopped", "Go on.")

    given = {"size": "tiny", "budget": "6steps", "out": tmp_path / "cut", "settings": settings}
    with pytest.raises(Interrupted):
        pretrain([folder() / "digits"], show=Stopping(), **given)
    pretrain([folder() / "digits"], **given)
    for name in ("model.safetensors", "firth.safetensors"):
        one, two = (load_file(tmp_path / run / "model" / name) for run in ("whole", "cut"))
        assert one.keys() == two.keys() and all((one[key] == two[key]).all() for key in one), name


def test_going_on_from_a_run(tmp_path):
    told = tell([folder() / "more"], source=folder() / "run", out=tmp_path / "on", settings=[*QUICK, "train.batch=16"])
    assert "none new · none unused" in told.lines["Weights"]
    assert load_toml(tmp_path / "on" / "config.toml").signal == "image"


def test_a_vision_transformer_is_as_well(tmp_path):
    told = tell([folder() / "digits"], size="1x32", out=tmp_path / "vit", settings=[*QUICK, "model.shape=vit"])
    assert told.lines["Model"].startswith("ViT-shaped, 1 layers × 32")
    config = json.loads((tmp_path / "vit" / "model" / "config.json").read_text())
    assert (config["image_size"], config["patch_size"], config["model_type"]) == (8, 2, "vit")


def test_a_time_budget_is_planned_by_measured_images(tmp_path):
    told = tell([folder() / "digits"], budget="2m", out=tmp_path / "run", dry_run=True)
    assert "about " in told.lines["Plan"] and " images (" in told.lines["Plan"]
    assert told.lines["Machine"].endswith(" images/s measured")


def refusal(*given, **options) -> str:
    with pytest.raises(InputError) as raised:
        pretrain(*given, **({"budget": "3steps", "settings": QUICK} | options))
    return str(raised.value)


def test_objectives_and_shapes_of_text_are_refused(tmp_path):
    given = {"out": tmp_path / "x"}
    assert refusal([folder() / "digits"], objective="masked-tokens", **given) == (
        "objective `masked-tokens`: needs tokens, which the signal `image` does not offer. "
        "Choose another --objective; image offers pixels, pooled."
    )
    assert refusal([folder() / "digits"], settings=[*QUICK, "model.shape=bert"], **given) == (
        "model.shape `bert`: reads tokens, and the signal is `image`. Choose model.shape = vit or resnet."
    )


# ------------------------------------------------------------------ adapt, predict, embed


LEARN = ["train.steps=150", "train.evaluate_every=50", "train.precision=fp32", "optimizer.lr=3e-3"]


@cache
def adapted() -> Path:
    adapt(folder() / "run", [folder() / "digits"], out=folder() / "adapted",
          settings=[*LEARN, f"data.test={folder() / 'more'}"])  # fmt: skip
    return folder() / "adapted"


def test_adapting_learns_the_folders_of_the_pictures():
    facts = RunFolder(adapted()).facts
    score = facts["result"]["score"]
    assert facts["result"]["labels"] == {"train": 191, "validation": 49, "test": 60}
    assert score["accuracy"] > 0.5 and score["classes"] == [str(n) for n in range(10)]
    wrong = (adapted() / "samples" / "wrong.jsonl").read_text().splitlines()
    assert all(json.loads(line)["text"].endswith(".png") for line in wrong)


@pytest.mark.parametrize("shape", ["resnet", "vit"])
def test_frozen_and_random_and_few_labels(tmp_path, shape):
    pretrain([folder() / "digits"], size="1x32", budget="2steps", out=tmp_path / "run",
             settings=[*QUICK, f"model.shape={shape}"])  # fmt: skip
    told = Told()
    settings = [*LEARN, "train.steps=2", "model.frozen=true"]
    found = adapt(tmp_path / "run", [folder() / "digits"], labels=5, out=tmp_path / "few", settings=settings, show=told)
    assert found.labels == {"train": 40, "validation": 10} and "encoder frozen" in told.lines["Weights"]
    found = adapt(tmp_path / "run", [folder() / "digits"], labels=1, start="random", out=tmp_path / "one",
                  settings=settings)  # fmt: skip
    assert found.labels == {"train": 10, "validation": 10}


def test_a_run_without_a_head_has_vectors_from_python():
    model = firth.load(folder() / "run")
    found = model.embed([folder() / "more"])
    assert found.shape == (60, model.encoder.shape.width)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="has no head that predicts"):
        model.predict(folder() / "more")


def test_a_budget_of_labels_is_of_each_class(tmp_path):
    with pytest.raises(InputError) as raised:
        adapt(folder() / "run", [folder() / "digits"], labels=0, out=tmp_path / "x")
    assert str(raised.value) == (
        "--labels 0: takes no label of a class. The number is of each class: use 1 or more, or leave it out."
    )


def test_pictures_without_a_folder_of_their_own_are_refused(tmp_path):
    shutil.copytree(folder() / "digits", tmp_path / "digits")
    (tmp_path / "digits" / "loose.png").write_bytes(written(made(8, 8)))
    with pytest.raises(InputError) as raised:
        adapt(folder() / "run", [tmp_path / "digits"], out=tmp_path / "x")
    assert str(raised.value) == (
        f"{tmp_path}/digits/loose.png: this image has no label. "
        "Put the images of each class into a folder with its name, or give a table with a column of labels."
    )


def test_predicting_names_the_file_and_its_class():
    found = list(predict(adapted(), [str(folder() / "more" / "7")], top=3))
    assert [Path(one.text).name for one in found] == sorted(path.name for path in (folder() / "more" / "7").iterdir())
    assert all(len(one.probabilities) == 3 and one.label in "0123456789" for one in found)
    assert sum(one.label == "7" for one in found) > len(found) / 2


def test_predicting_takes_paths_and_arrays():
    model, path = load(adapted()), sorted((folder() / "more").rglob("*.png"))[0]
    one, two = model.predict([str(path), np.stack([np.asarray(picture(path))] * 3)])
    assert one.probabilities == pytest.approx(two.probabilities) and two.text == "array (3, 8, 8)"


def picture(path: Path):
    from PIL import Image

    return Image.open(path)


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(InputError) as raised:
        list(predict(adapted(), [str(tmp_path / "a.png")]))
    assert str(raised.value) == (
        f"{tmp_path}/a.png: holds text, and is no picture. "
        "Open it to see what it says; a download that failed leaves such files."
    )
    with pytest.raises(InputError, match="no such file or folder"):
        list(predict(adapted(), [str(tmp_path / "b.png")]))


def test_embedding_gives_a_vector_for_each_picture(tmp_path):
    given = [str(folder() / "more")]
    vectors = embed(folder() / "run", given)
    assert vectors.shape == (60, 64) and np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    embed(folder() / "run", given, out=tmp_path / "v.npy", pooling="first")
    assert np.load(tmp_path / "v.npy") == pytest.approx(vectors, abs=1e-5)


def test_layers_of_a_convolution_net_are_not_asked_for():
    with pytest.raises(InputError) as raised:
        embed(folder() / "run", [str(folder() / "more")], layer=0)
    assert str(raised.value) == (
        "layer 0: a convolution net has one vector for a picture, after its last block. Leave the layer out."
    )
