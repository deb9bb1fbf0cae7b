"""Pre-training on recordings, end to end: each objective over sound, going on, teachers, pictures, what is said."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from firth.errors import InputError
from firth.interop.folder import open_folder
from firth.objective import ObjectiveConfig
from firth.objectives import wav2vec2
from firth.recipe import Recipe, load_toml
from firth.signals.speech import Config as SpeechConfig
from firth.signals.speech import Speech
from firth.train import session
from firth.train.former import vectors_of
from firth.train.pretrain import pretrain
from tests import recordings, sounds
from tests.runs import Told

QUICK = ["train.precision=fp32", "train.batch=4", "train.threads=1"]
BOOKS = ["wav2vec2.codes=16", "wav2vec2.code_width=16", "wav2vec2.guess_width=16", "wav2vec2.negatives=8"]
CLUSTERS = ["hubert.clusters=12", "hubert.guess_width=16"]
OWN = {"wav2vec2": BOOKS, "hubert": CLUSTERS}
SHAPES = {"next-frame": "causal-frames", "masked-frames": "frames", "wav2vec2": "wav2vec2", "hubert": "hubert"}


@cache
def folder() -> Path:
    """48 recordings of four words."""
    return recordings.folder_of_words(Path(mkdtemp(prefix="firth-test-")) / "words", each=12)


@cache
def finished(objective: str) -> Path:
    out = folder().parent / objective
    quick(objective, out)
    return out


def quick(objective: str, out: Path, *settings: str, show=None, **options):
    given = {"size": "1x32", "budget": "4steps"} | options
    own = [*QUICK, *OWN.get(objective, []), *settings]
    return pretrain([folder()], objective=objective, out=out, settings=own, show=show, **given)


def facts_of(place: Path) -> dict:
    return json.loads((place / "run.json").read_text())["result"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FIRTH_CACHE", str(folder().parent / "cache"))


@pytest.mark.parametrize("objective", SHAPES)
def test_a_run_is_complete(objective):
    place = finished(objective)
    recipe, opened = load_toml(place / "config.toml"), open_folder(place)
    assert recipe.model.shape == opened.shape.name == SHAPES[objective]
    assert objective in opened.parts and not opened.unused
    metrics = facts_of(place)["metrics"]
    assert {objective.replace("-", "_"), "loss"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert facts_of(place)["loss"] < facts_of(place)["random_loss"] + 0.05


def test_the_front_follows_the_objective():
    fronts = {name: load_toml(finished(name) / "config.toml").tables["speech"]["front"] for name in SHAPES}
    assert fronts == {"next-frame": "mel", "masked-frames": "mel", "wav2vec2": "wave", "hubert": "wave"}


@pytest.mark.parametrize("objective", ["next-frame", "hubert", "wav2vec2"])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(objective, tmp_path):
    from firth.errors import Interrupted
    from firth.train.log import Silent

    class Stopping(Silent):
        def progress(self, step, run) -> None:
            if step.index == 2:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        quick(objective, tmp_path / "run", show=Stopping())
    quick(objective, tmp_path / "run")
    one, other = (load_file(place / "model" / "model.safetensors") for place in (finished(objective), tmp_path / "run"))
    assert all((one[name] == other[name]).all() for name in one)


def test_the_quantiser_of_a_run_began_centred():
    """Four steps at the rate of the run move a number by 0.002 at most."""
    bias = open_folder(finished("wav2vec2")).state["parts.wav2vec2.quantiser.scores.bias"]
    assert bias.abs().max() > 0.1


def test_masked_frames_are_shown_along_the_way():
    from PIL import Image

    pictures = sorted((finished("masked-frames") / "samples").glob("frames-*.png"))
    assert {"frames-0", "frames-4"} <= {path.stem for path in pictures}
    with Image.open(pictures[0]) as picture:
        assert picture.size[1] == 12 * (2 * 80 + 4)


def test_sounds_that_are_guessed_in_a_shape_that_sees_them_are_refused(tmp_path):
    with pytest.raises(InputError) as raised:
        quick("next-frame", tmp_path / "run", "model.shape=frames")
    assert str(raised.value) == (
        "model.shape `frames`: a step sees later ones too, wherever the folder is opened, and `next-frame` cannot "
        "learn so. Choose model.shape = causal-frames, or another --objective."
    )


# ------------------------------------------------------------------ a step before the first batch


def test_units_are_made_once_and_named(tmp_path):
    told = Told()
    quick("hubert", tmp_path / "one", "hubert.clusters=9", show=told)
    again = Told()
    quick("hubert", tmp_path / "two", "hubert.clusters=9", "seed=0", show=again)
    note = next(note for note in told.notes if "clusters of" in note)
    assert note.startswith("9 clusters of ") and "cepstra" in note
    assert not [note for note in again.notes if "clusters of" in note]
    recipe = load_toml(tmp_path / "one" / "config.toml")
    assert Path(recipe.tables["hubert"]["units"]).is_file()


@pytest.mark.parametrize("teacher", ["hubert", "masked-frames"])
def test_a_second_iteration_learns_from_the_first(teacher, tmp_path):
    told = Told()
    quick("hubert", tmp_path / "second", f"hubert.teacher={finished(teacher)}", show=told)
    assert any(f"steps, {finished(teacher)}:" in note for note in told.notes)
    assert facts_of(tmp_path / "second")["loss"] < 5


def test_a_teacher_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError) as raised:
        quick("hubert", tmp_path / "run", f"hubert.teacher={tmp_path / 'nowhere'}")
    assert str(raised.value).startswith(f"{tmp_path / 'nowhere'}: no such folder.")


def test_a_layer_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError) as raised:
        quick("hubert", tmp_path / "run", f"hubert.teacher={finished('hubert')}", "hubert.layer=7")
    assert str(raised.value) == f"layer 7: {finished('hubert')} has 1 blocks. Name one from 1 to 1."


def test_vectors_of_a_former_model_are_those_of_its_block():
    place = finished("hubert")
    mark, describe = vectors_of(Recipe(signal="speech"), str(place), 1)
    chosen = sounds.waves(3)
    found = describe(chosen)
    opened, signal = open_folder(place), Speech(SpeechConfig(front="wave"))
    from firth.model.backbones import backbone_of

    backbone = backbone_of(opened.shape).eval()
    own = {
        name.removeprefix("backbone."): value for name, value in opened.state.items() if name.startswith("backbone.")
    }
    backbone.load_state_dict(own)
    for sample, rows in zip(chosen, found, strict=True):
        alone = backbone(signal.stack([sample]), layers=True).layers[1][0].detach()
        assert rows.shape == alone.shape
        np.testing.assert_allclose(rows, alone.numpy(), atol=1e-4)
    assert vectors_of(Recipe(signal="speech"), str(place), 0)[0] == mark
    assert vectors_of(Recipe(signal="speech"), str(finished("masked-frames")), 0)[0] != mark


def test_most_objectives_have_nothing_to_do_before():
    config = ObjectiveConfig()
    assert config.ready(None) is config and config.ailing({}) == []


# ------------------------------------------------------------------ what is said of codes


def test_what_ails_is_asked_of_every_objective():
    recipe = Recipe(signal="speech", objective=("wav2vec2",))
    assert session.ailing(recipe, {"wav2vec2_codes": 500.0}) == []
    (found,) = session.ailing(recipe, {"wav2vec2_codes": 2.2})
    assert found.level == "warning" and "2.2" in found.what
    assert found == wav2vec2.Config().ailing({"wav2vec2_codes": 2.2})[0]


def test_collapsed_codes_are_told_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(wav2vec2, "FEW", 1.0)
    told = Told()
    quick("wav2vec2", tmp_path / "run", show=told)
    assert any("step 4: the code books collapse: the perplexity of their 32 codes is" in note for note in told.notes)
    assert "the code books collapse" in (tmp_path / "run" / "train.log").read_text()


def test_a_model_of_transformers_goes_on_and_opens_there_again(tmp_path):
    import transformers

    torch.manual_seed(0)
    own = {"num_codevectors_per_group": 16, "codevector_dim": 16, "proj_codevector_dim": 16, "conv_dim": (16,) * 7}
    large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, **own, **large,
    )  # fmt: skip
    transformers.Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path / "theirs")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "theirs")
    told = Told()
    quick("wav2vec2", tmp_path / "run", source=tmp_path / "theirs", size=None, show=told)
    assert told.lines["Weights"].endswith("new: parts.wav2vec2.softness · none unused")
    model = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "run" / "model")
    assert model.config.do_stable_layer_norm and model.config.num_codevectors_per_group == 16
