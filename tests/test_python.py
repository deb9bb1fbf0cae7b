"""The verbs from Python: every verb and its options, what is shown, the page of a comparison, a model that is asked."""

import inspect

import numpy as np
import pytest
from typer.main import get_command

import firth
from firth.cli import app
from firth.errors import InputError
from firth.evaluate.vectors import embed
from firth.report.html import write_comparison
from firth.report.terminal import Terminal
from tests import runs

VERBS = get_command(app).commands
ELSEWHERE = {"as_json", "debug", "data", "suite"}  # of the command line alone; `data` is called paths


def test_every_verb_is_a_function():
    assert {*firth.VERBS} == {*VERBS, "load"}
    assert all(callable(getattr(firth, name)) for name in firth.VERBS)
    assert {*dir(firth)} == {*firth.VERBS, "__version__"}


@pytest.mark.parametrize("verb", ["pretrain", "adapt", "compare"])
def test_every_option_is_an_argument(verb):
    options = {parameter.name for parameter in VERBS[verb].params} - ELSEWHERE
    assert options <= {*inspect.signature(getattr(firth, verb)).parameters}


def test_a_name_that_is_no_verb_is_none():
    with pytest.raises(AttributeError, match=r"firth: there is no `tune`\. It has: adapt, check"):
        _ = firth.tune


# ------------------------------------------------------------------ what is shown, and written


@pytest.fixture
def asked(monkeypatch) -> dict:
    """What the comparison behind `firth.compare` is asked for."""
    found: dict = {}
    monkeypatch.setattr("firth.evaluate.versus.versus", lambda *given, **options: found.update(options))
    return found


def test_compare_is_what_the_command_line_calls_and_writes_its_page(asked):
    firth.compare("model", "labels.tsv", vary=["size=1x32,2x32"], control="shuffled-labels")
    assert asked == {"report": write_comparison, "vary": ["size=1x32,2x32"], "control": "shuffled-labels"}
    firth.compare("model", "labels.tsv", report=None)
    assert asked["report"] is None


def test_a_call_prints_where_it_is_told_to_show(asked):
    firth.compare("model", "labels.tsv")
    assert "show" not in asked
    firth.compare("model", "labels.tsv", show=True)
    assert isinstance(asked["show"], Terminal)
    own = runs.Told()
    firth.compare("model", "labels.tsv", show=own)
    assert asked["show"] is own


def test_arguments_are_keys_of_the_recipe_and_settings_win(tmp_path):
    given = {"text": "text", "test": runs.folder() / "test.tsv", "document": "line", "frozen": True, "dry_run": True}
    plan = firth.adapt(runs.folder() / "pretrained", runs.folder() / "reviews.tsv", **given, budget="2epochs",
                       settings={"model.frozen": False, "train.batch": 8}, out=tmp_path / "run")  # fmt: skip
    assert plan.labels["test"] == 40 and plan.plan["steps"] == 2 * -(-plan.labels["train"] // 8)
    assert plan.plan["lr"] == 3e-4  # not the rate of a frozen encoder


# ------------------------------------------------------------------ a model that is asked


@pytest.fixture(scope="module")
def model():
    return firth.load(runs.folder() / "pretrained")


def test_vectors_are_those_of_the_verb(model):
    texts = ["The wide ship meets the tide.", "A dreadful film."]
    np.testing.assert_array_equal(model.embed(texts), embed(runs.folder() / "pretrained", texts))
    assert model.embed(texts[0], layer=0, pooling="max", normalise=False).shape == (1, 32)


def test_a_file_stands_for_its_texts(model):
    found = model.embed([runs.folder() / "test.tsv", "A dreadful film."])
    assert found.shape == (41, 32) and found.dtype == np.float32


def test_it_predicts_what_the_model_folder_predicts(model):
    (found,) = model.predict("The wide ship meets the [MASK].", top=3)
    assert len(found.guesses[0]) == 3 and model.classes == ()


def test_a_folder_without_a_model_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.json"):
        firth.load(tmp_path)
