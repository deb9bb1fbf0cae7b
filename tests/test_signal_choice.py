"""Which signal, objective, shape and size a request gets: what a person says, then the method, then the data."""

from typing import ClassVar

import pytest

from firth.errors import InputError
from firth.recipe import apply_settings, filled
from firth.signals.image import Image
from firth.train import build, card, pretrain
from tests.picture_files import write_digits
from tests.recordings import tone, write


@pytest.fixture
def photos(tmp_path):
    return write_digits(tmp_path / "photos", 4)


def asked(paths, settings=(), config=None, **options):
    names = ("objective", "size", "budget", "source", "seed", "device")
    return pretrain.request([paths], settings, config, **{name: options.get(name) for name in names})


def test_pictures_are_learnt_from_by_what_goes_with_pictures(photos):
    recipe = asked(photos)
    assert (recipe.signal, recipe.objective) == ("image", Image.objective)
    assert (recipe.train.batch, recipe.optimizer.lr) == (None, Image.defaults["optimizer.lr"])
    assert recipe.model.start == "random"


def test_texts_are_learnt_from_as_before(tmp_path):
    (tmp_path / "a.txt").write_text("Some words.\n")
    recipe = asked(tmp_path)
    assert (recipe.signal, recipe.objective, recipe.train.batch) == ("text", ("masked-tokens",), None)
    assert recipe.model.start == "co-occurrence"


def test_what_a_person_says_stays(photos):
    recipe = asked(photos, ["train.batch=12", "image.size=24"], objective="byol")
    assert (recipe.objective, recipe.train.batch, recipe.tables["image"]["size"]) == (("byol",), 12, 24)


def test_a_person_may_name_another_signal(photos):
    assert asked(photos, ["signal=text"]).objective == ("masked-tokens",)


def test_a_method_says_more_than_the_signal(photos, monkeypatch):
    from firth.objectives import simclr

    monkeypatch.setattr(simclr.Config, "defaults", {"train.batch": 96, "train.schedule": "cosine"})
    recipe = asked(photos)
    assert (recipe.train.batch, recipe.train.schedule) == (96, "cosine")
    assert recipe.optimizer.lr == Image.defaults["optimizer.lr"]
    assert asked(photos, ["train.schedule=wsd"]).train.schedule == "wsd"


def test_a_config_keeps_its_own_keys(photos, monkeypatch):
    from firth.objectives import simclr

    monkeypatch.setattr(simclr.Config, "defaults", {"train.schedule": "cosine", "train.batch": 96})
    base = apply_settings(asked(photos), {"train.schedule": "linear", "train.batch": 7})
    again = asked(photos, config=base)
    assert (again.train.schedule, again.train.batch, again.signal) == ("linear", 7, "image")


@pytest.mark.parametrize(
    ("seconds", "size"), [(None, "mini"), (20, "tiny"), (300, "mini"), (3600, "3x256"), (10**6, "base")]
)
def test_the_size_goes_by_the_time(photos, seconds, size):
    assert build.sized(asked(photos), seconds).model.size == size


@pytest.mark.parametrize(
    ("seconds", "size"), [(None, "4x192"), (60, "2x128"), (300, "4x192"), (3600, "6x192"), (10**6, "6x256")]
)
@pytest.mark.parametrize(
    "asking", [{"objective": "mae"}, {"settings": ["model.shape=vit"]}], ids=["by method", "named"]
)
def test_each_shape_has_sizes_of_its_own(photos, seconds, size, asking):
    assert build.sized(asked(photos, **asking), seconds).model.size == size


def test_a_size_that_is_named_stays(photos):
    assert build.sized(asked(photos, size="resnet-18"), 60).model.size == "resnet-18"
    layers = filled(asked(photos), model={"layers": 2, "width": 64})
    assert build.sized(layers, 60).model.size is None


@pytest.mark.parametrize(
    ("objective", "seconds", "size"),
    [
        ("masked-frames", None, "mini"),
        ("masked-frames", 30, "tiny"),
        ("masked-frames", 900, "mini"),
        ("masked-frames", 2 * 3600, "small"),
        ("wav2vec2", 100, "tiny"),
        ("wav2vec2", 900, "mini"),
        ("wav2vec2", 2 * 3600, "mini"),  # convolutions over samples take their time
    ],
)
def test_the_size_for_sound_goes_by_how_much_of_it_is_heard(tmp_path, objective, seconds, size):
    place = write(tmp_path / "sounds" / "a.wav", tone(300, 0.1)).parent
    assert build.sized(asked(place, objective=objective), seconds).model.size == size


def test_texts_have_a_ladder_of_their_own(tmp_path):
    (tmp_path / "a.txt").write_text("Some words.\n")
    assert build.sized(asked(tmp_path), 60).model.size is None


@pytest.mark.parametrize(
    ("seconds", "size"),
    [(19, "2x64"), (60, "3x64"), (154, "3x128"), (600, "4x128"), (3600, "4x192"), (24 * 3600, "6x384")],
)
def test_decoders_over_characters_go_by_the_characters_they_read(tmp_path, seconds, size):
    (tmp_path / "a.txt").write_text("Some words.\n")
    given = asked(tmp_path, ["text.tokenizer=characters"], objective="next-token")
    assert build.sized(given, seconds).model.size == size
    assert build.sized(asked(tmp_path, objective="next-token"), seconds).model.size is None


def test_next_tokens_are_learnt_by_muon_where_a_run_begins_anew(tmp_path):
    (tmp_path / "a.txt").write_text("Some words.\n")
    new = asked(tmp_path, objective="next-token").optimizer
    assert (new.name, new.lr, new.embedding_lr) == ("muon", 3e-3, 1.0)
    assert asked(tmp_path, ["optimizer.name=adamw"], objective="next-token").optimizer.name == "adamw"
    older = asked(tmp_path, objective="next-token", source=str(tmp_path / "model")).optimizer
    assert (older.name, older.lr) == ("adamw", None)
    assert asked(tmp_path, config="nanogpt-shakespeare").optimizer.name == "adamw"


def test_sizes_that_no_shape_has_are_refused_before_anything_is_read(photos):
    with pytest.raises(InputError, match="is neither a name nor layers x width"):
        asked(photos, size="resnet-19")


@pytest.mark.parametrize(("shape", "kept"), [("resnet", {"size": "tiny"}), ("vit", {"layers": 2, "width": 128})])
def test_what_is_kept_of_a_shape_makes_it_again(photos, shape, kept):
    signal = Image(Image.Config(size=16))
    recipe = build.fill(asked(photos, [f"model.shape={shape}"], size="tiny"), signal)
    assert {key: getattr(recipe.model, key) for key in kept} == kept
    assert build.shape_for(recipe, signal) == build.shape_for(build.fill(recipe, signal), signal)
    assert recipe.tables["image"]["size"] == 16


def test_shapes_of_another_signal_are_refused(photos):
    with pytest.raises(InputError) as raised:
        build.fill(asked(photos, ["model.shape=llama"]), Image(Image.Config(size=16)))
    assert str(raised.value) == (
        "model.shape `llama`: reads tokens, and the signal is `image`. Choose model.shape = vit or resnet."
    )


def test_the_next_command_names_what_is_adapted_to(photos):
    assert card.uses(asked(photos))[:2] == [
        "firth compare {} LABELLED/ --task classify", "firth adapt {} LABELLED/ --task classify",
    ]  # fmt: skip


def test_a_batch_norm_that_learns_compares_samples(photos):
    recipe = build.fill(asked(photos, size="tiny"), signal := Image(Image.Config(size=8)))
    objective = build.compose(recipe, signal)
    assert objective.compares_samples
    objective.backbone.freeze()
    assert objective.compares_samples  # SimCLR does so itself


def test_begun_is_called_once_weights_are_drawn(photos, monkeypatch):
    from firth.objectives import simclr

    calls: ClassVar[list] = []
    monkeypatch.setattr(simclr.SimCLR, "begun", lambda self: calls.append(self.projector is not None))
    recipe = build.fill(asked(photos, size="tiny"), signal := Image(Image.Config(size=8)))
    build.compose(recipe, signal)
    assert calls == [True]
