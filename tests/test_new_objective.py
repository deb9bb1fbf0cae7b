"""A new objective is one file: the whole verb runs it, from raw text to a model folder, and goes on from there."""

import json

import pytest
from safetensors.torch import load_file

from firth import find
from firth.errors import InputError
from firth.evaluate.predict import load
from firth.interop.folder import open_folder
from firth.recipe import load_toml
from firth.train.log import read_metrics
from firth.train.pretrain import pretrain
from tests.material import write_corpus
from tests.runs import QUICK, Told
from tests.test_contract import TOY

SETTINGS = [*QUICK, "data.held_out=0.2", "train.batch=8", "train.evaluate_samples=16", "train.threads=1"]


@pytest.fixture
def toy(tmp_path, monkeypatch) -> str:
    """The file, in a folder that find searches beside the real one."""
    import firth.objectives

    place = tmp_path / "package"
    for kind in ("objectives", "tasks", "signals", "starts"):
        (place / kind).mkdir(parents=True)
        for name in find.names(kind):
            (place / kind / f"{name.replace('-', '_')}.py").touch()
    (place / "objectives" / "largest_token.py").write_text(TOY)
    monkeypatch.setattr(find, "HERE", place)
    monkeypatch.setattr(firth.objectives, "__path__", [*firth.objectives.__path__, str(place / "objectives")])
    return "largest-token"


def run(tmp_path, objective: str, name: str = "run", budget: str | None = "6steps", **options):
    show = Told()
    corpus = write_corpus(tmp_path, 80)
    settings = {"settings": SETTINGS, "size": "1x32"} | options
    result = pretrain([corpus], objective=objective, budget=budget, out=tmp_path / name, show=show, **settings)
    return result, show


def test_the_verb_runs_it_to_the_end(toy, tmp_path):
    result, show = run(tmp_path, toy)
    assert result.status == "finished" and result.steps == 6 == show.steps[-1]
    assert set(result.metrics) == {"loss", "largest_token", "largest_token_accuracy"}
    assert result.loss == pytest.approx(result.metrics["largest_token"])
    assert "largest token loss" in show.lines["Begin"] and "largest token loss" in show.lines["Result"]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "with largest-token on raw data" in card and "| largest token accuracy |" in card


def test_its_rows_and_its_weights_are_kept_under_its_name(toy, tmp_path):
    run(tmp_path, toy)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all("largest_token" in row or "held_out" in row for row in rows)
    own = load_file(tmp_path / "run" / "model" / "firth.safetensors")
    assert {name for name in own if name.startswith("parts.")} == {
        "parts.largest-token.score.weight",
        "parts.largest-token.score.bias",
    }
    assert json.loads((tmp_path / "run" / "run.json").read_text())["asked"]["objective"] == ["largest-token"]
    assert list((tmp_path / "run" / "samples").iterdir()) == []


def test_its_recipe_repeats_the_run(toy, tmp_path):
    first, _ = run(tmp_path, toy)
    config = tmp_path / "run" / "config.toml"
    assert load_toml(config).objective == ("largest-token",)
    again, _ = run(tmp_path, None, "again", budget=None, config=config, settings=[], size=None)
    assert again.metrics == first.metrics
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "again"))
    assert all((one[name] == two[name]).all() for name in one)


def test_it_shares_the_encoder_with_others(toy, tmp_path):
    result, _ = run(tmp_path, f"{toy},masked-tokens")
    assert {"largest_token", "masked_tokens", "masked_tokens_accuracy"} <= set(result.metrics)
    parts = result.metrics["largest_token"] + result.metrics["masked_tokens"]
    assert result.loss == pytest.approx(parts, rel=1e-5)
    names = set(open_folder(tmp_path / "run").state)
    assert any(name.startswith("parts.masked-tokens.") for name in names)
    assert any(name.startswith("parts.largest-token.") for name in names)


def test_another_objective_goes_on_from_it(toy, tmp_path):
    run(tmp_path, toy)
    settings = [text for text in SETTINGS if "vocabulary" not in text]
    _, show = run(tmp_path, "masked-tokens", "next", source=tmp_path / "run", settings=settings, size=None)
    assert "unused: parts.largest-token.score" in show.lines["Weights"]
    assert "new: parts.masked-tokens" in show.lines["Weights"]


def test_without_predict_it_says_what_to_do(toy, tmp_path):
    run(tmp_path, toy)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "run")
    assert caught.value.what == "has no head that predicts"


def test_a_slip_in_its_name_is_answered(toy, tmp_path):
    with pytest.raises(InputError) as caught:
        run(tmp_path, "largest-tokens")
    assert str(caught.value) == (
        "objectives `largest-tokens`: no such name. Did you mean `largest-token`? "
        f"There is: {', '.join(find.names('objectives'))}."
    )


def test_its_settings_are_recipe_keys(toy, tmp_path):
    result, _ = run(tmp_path, toy, settings=[*SETTINGS, "largest_token.weight=0.5"])
    assert result.loss == pytest.approx(0.5 * result.metrics["largest_token"])
    with pytest.raises(InputError, match=r"Did you mean `largest_token.weight`"):
        run(tmp_path, toy, "other", settings=[*SETTINGS, "largest_token.wieght=0.5"])
