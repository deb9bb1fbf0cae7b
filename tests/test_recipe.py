"""The recipe as a file: complete, exact, strict."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from firth.errors import InputError
from firth.recipe import Recipe, apply_settings, config_of, filled, load_toml, to_toml, with_table


def back(recipe: Recipe, tmp_path) -> Recipe:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    return load_toml(path)


def refusal(settings, recipe=None) -> str:
    with pytest.raises(InputError) as caught:
        apply_settings(recipe or Recipe(), settings)
    return str(caught.value)


def test_a_recipe_with_everything_set_comes_back_equal(tmp_path):
    recipe = apply_settings(
        Recipe(),
        {
            "seed": 7,
            "objective": ("next-sentence", "masked-tokens"),
            "data.paths": ("a b.txt", 'quo"te', "tab\there", "ünï\\code"),
            "model.layers": 4,
            "optimizer.lr": 1e-3 / 3,
            "train.budget": "20m",
            "masked_tokens.mask_rate": 0.15,
            "text.vocabulary": 500,
        },
    )
    assert back(recipe, tmp_path) == recipe


@settings(max_examples=30, deadline=None)
@given(lr=some.floats(1e-12, 1e6), name=some.text(min_size=1), steps=some.integers(1, 10**9))
def test_every_bit_of_a_float_and_every_letter_survives(tmp_path_factory, lr, name, steps):
    name = name.encode("utf-8", "ignore").decode()
    recipe = filled(Recipe(), optimizer={"lr": lr}, data={"text": name}, train={"steps": steps})
    assert back(recipe, tmp_path_factory.mktemp("toml")) == recipe


def test_fields_without_a_value_are_left_out_and_come_back_as_none(tmp_path):
    text = to_toml(Recipe())
    assert "steps" not in text and "None" not in text
    assert back(Recipe(), tmp_path) == Recipe()


@pytest.mark.parametrize(
    ("setting", "table", "name", "value"),
    [
        ("train.batch=32", "train", "batch", 32),
        ("model.size=4x256", "model", "size", "4x256"),
        ("optimizer.betas=0.9,0.95", "optimizer", "betas", (0.9, 0.95)),
        ("data.skip_bad=true", "data", "skip_bad", True),
        ("data.text=2024", "data", "text", "2024"),
        ("train.patience=none", "train", "patience", None),
        ("optimizer.lr=1e-4", "optimizer", "lr", 1e-4),
        ('data.paths=["a", "b,c"]', "data", "paths", ("a", "b,c")),
        ("data.label = stars", "data", "label", "stars"),
    ],
)
def test_settings_are_read_as_the_field_wants_them(setting, table, name, value):
    assert getattr(getattr(apply_settings(Recipe(), [setting]), table), name) == value


def test_objectives_may_be_joined_by_commas():
    assert apply_settings(Recipe(), ["objective=next-sentence,masked-tokens"]).objective == (
        "next-sentence",
        "masked-tokens",
    )


def test_later_settings_win():
    assert apply_settings(Recipe(), ["seed=1", "seed=2"]).seed == 2


def test_a_recipe_is_never_changed_in_place():
    first = apply_settings(Recipe(), ["masked_tokens.mask_rate=0.2"])
    apply_settings(first, ["masked_tokens.mask_rate=0.4"])
    assert first.tables == {"masked_tokens": {"mask_rate": 0.2}}


def test_a_method_table_becomes_its_config():
    recipe = apply_settings(Recipe(), ["masked_tokens.mask_share=1.0"])
    config = config_of(recipe, "objectives", "masked-tokens")
    assert (config.mask_share, config.random_share, config.keep_share) == (1.0, 0.0, 0.0)


def test_a_filled_config_replaces_the_table_and_survives_the_file(tmp_path):
    config = config_of(Recipe(), "objectives", "masked-tokens").model_copy(update={"vocabulary": 99, "mask_id": 4})
    recipe = with_table(Recipe(), "masked-tokens", config)
    assert config_of(back(recipe, tmp_path), "objectives", "masked-tokens") == config


def test_all_bad_keys_and_values_are_reported_at_once():
    bad = ["train.batchs=3", "optimiser.lr=2", "sede=1", "train.schedule=foo", "data.held_out=2"]
    assert refusal(bad) == (
        "--set: `train.batchs` is no key; `optimiser.lr` is no key; `sede` is no key; `train.schedule` cannot be "
        "`foo`; `data.held_out` cannot be `2`. Did you mean `train.batch`? "
        "Did you mean `optimizer.lr`? Did you mean `seed`? "
        "`train.schedule` is one of `wsd`, `cosine`, `linear`, `constant`. "
        "`data.held_out` is of type float, > 0, < 0.9."
    )


def test_misspelt_keys_of_methods_are_known_too():
    assert refusal(["masked_tokens.mask_rat=0.1"]) == (
        "--set: `masked_tokens.mask_rat` is no key. Did you mean `masked_tokens.mask_rate`?"
    )
    assert refusal(["masked_tokns.mask_rate=0.1"]) == (
        "--set: `masked_tokns.mask_rate` is no key. Did you mean `masked_tokens.mask_rate`?"
    )


def test_a_key_like_nothing_points_to_the_help():
    assert refusal(["qqqqqqqq=1"]) == "--set: `qqqqqqqq` is no key. docs/recipe.md lists the keys."


def test_a_setting_without_a_value_is_refused():
    assert refusal(["seed"]) == "--set seed: has no `=`. Write key=value, as in --set train.batch=32."


def test_a_whole_table_is_no_key():
    assert "`train` is no key" in refusal({"train": {"batch": 3}})


def test_a_table_whose_keys_do_not_fit_together_is_refused():
    assert "mask_share" in refusal(["masked_tokens.mask_share=0.9", "masked_tokens.random_share=0.9"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nbatch = \n", "is no valid TOML: Invalid value (at line 2, column 9). Repair that line; "),
        ("[train]\nbatchs = 1\n", "`train.batchs` is no key. Did you mean `train.batch`?"),
        ("[trian]\nbatch = 1\n", "`trian.batch` is no key. Did you mean `train.batch`?"),
        ('seed = "x"\n', "`seed` cannot be `x`. `seed` is of type int, ≥ 0, < 9223372036854775808."),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_toml(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError) as caught:
        load_toml(tmp_path / "no.toml")
    assert str(caught.value) == (
        f"{tmp_path / 'no.toml'}: cannot be read (No such file or directory). Check the name after --config."
    )


def test_reading_the_recipe_needs_no_torch():
    code = (
        "import sys; from firth.recipe import *; to_toml(apply_settings(Recipe(), ['train.batch=2'])); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
