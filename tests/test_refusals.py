"""Requests that contradict themselves, word for word; and what the Python calls of the package leave behind."""

from types import SimpleNamespace

import pytest

import firth
from firth.data.config import Data
from firth.errors import InputError
from firth.recipe import Model, Recipe, load_toml
from firth.train import budget, checks
from firth.train.budget import Budget
from firth.train.pretrain import keys
from firth.train.pretrain import request as to_pretrain
from tests import material, runs

NONE = dict.fromkeys(("objective", "size", "budget", "source", "seed", "device"))


def said(call, *given, **options) -> str:
    with pytest.raises(InputError) as caught:
        call(*given, **options)
    return str(caught.value).replace(str(runs.folder()), "HERE")


# ------------------------------------------------------------------ ranks


@pytest.mark.parametrize("verb", ["adapt", "compare"])
def test_several_ranks_are_refused(monkeypatch, verb):
    runs.folder()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert said(getattr(firth, verb), "x", ["y"]) == (
        "environment: WORLD_SIZE is 2, and this command runs as one process: each would write the same folder. "
        "Start it without torchrun, or unset WORLD_SIZE; pretrain runs on several."
    )


@pytest.mark.parametrize("value", ["1", "", "many"])
def test_one_rank_is_not(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    checks.refuse_ranks()


# ------------------------------------------------------------------ sizes beside a model


def going_on(settings=(), config=None, **options):
    given = NONE | {"source": runs.folder() / "pretrained", "budget": "5steps"} | options
    return to_pretrain([runs.folder() / "corpus.txt"], settings, config, **given)


LEAVE = "Leave it out, or name a model of that shape."
OTHER = {
    "model.size=4x64": "model.size = 4x64: HERE/pretrained has 2x32",
    "model.layers=3": "model.layers = 3: HERE/pretrained has 2",
    "model.heads=4": "model.heads = 4: HERE/pretrained has 1",
    "model.shape=bert": "model.shape = bert: HERE/pretrained has modernbert",
}


@pytest.mark.parametrize("setting", OTHER)
def test_another_shape_than_the_models_is_refused(setting):
    along = "takes the shape along with the weights. " + LEAVE
    assert said(going_on, [setting]) == f"{OTHER[setting]}, and --from {along}"
    given = [runs.folder() / "pretrained", [runs.folder() / "reviews.tsv"]]
    assert said(runs.adapt, *given, settings=[setting]) == f"{OTHER[setting]}, and adapt {along}"


def test_the_option_is_refused_like_the_setting():
    assert said(going_on, size="4x64").startswith("model.size = 4x64: HERE/pretrained has 2x32")
    assert said(going_on, size="tiny").startswith("model.size = tiny: HERE/pretrained has 2x32")


def test_the_models_own_shape_may_be_said():
    settings = ["model.size=2x32", "model.layers=2", "model.width=32", "model.shape=modernbert", "model.dropout=0.1"]
    assert going_on(settings).model.size == "2x32"


def test_a_start_beside_a_model_is_refused():
    assert said(going_on, ["model.start=random"]) == (
        "model.start = random: is not used with --from: the weights come from HERE/pretrained. "
        "Leave out one of the two."
    )


def test_a_config_counts_where_it_names_the_same_model():
    place = str(runs.folder() / "pretrained")
    beside = Recipe(model=Model(source=place, layers=7))
    assert said(checks.refuse_other_shape, beside, set(), beside, "--from").startswith("model.layers = 7: HERE/")
    checks.refuse_other_shape(beside, set(), Recipe(model=Model(source="another", layers=7)), "--from")
    checks.refuse_other_shape(beside, set(), None, "--from")
    checks.refuse_other_shape(Recipe(model=Model(layers=7)), {"model.layers"}, None, "--from")


def test_the_config_of_a_run_goes_with_its_model():
    config = load_toml(runs.folder() / "pretrained" / "config.toml")
    assert going_on(config=config).model.layers == 2


def test_keys_of_settings():
    assert keys(["a.b=1", " c = 2"]) == {"a.b", "c"} and keys({"a.b": 1}) == {"a.b"} and keys(None) == set()


# ------------------------------------------------------------------ one file for two parts


def parts(**given):
    checks.refuse_same_files(Data(**{name: tuple(map(str, paths)) for name, paths in given.items()}))


@pytest.fixture
def files(tmp_path):
    for number, name in enumerate(("a.tsv", "b.tsv")):
        material.write_labels(tmp_path, 20, seed=number, name=name)
    (tmp_path / "copy.tsv").write_bytes((tmp_path / "a.tsv").read_bytes())
    (tmp_path / "link.tsv").symlink_to("a.tsv")
    return SimpleNamespace(**{name: tmp_path / f"{name}.tsv" for name in ("a", "b", "copy", "link")}, folder=tmp_path)


@pytest.mark.parametrize("name", ["a", "copy", "link"])
def test_the_training_file_is_no_test_file(files, name):
    path = getattr(files, name)
    assert said(parts, paths=[files.a], test=[path]) == (
        f"--test {path}: is the training data, too: nothing is left to learn from. "
        "Give --test a file of its own, or leave it out: the validation part is then scored."
    )
    assert said(parts, paths=[files.a], valid=[path]) == (
        f"--valid {path}: is the training data, too: nothing is left to learn from. "
        "Give --valid a file of its own, or leave it out: a part is then split off to validate on."
    )


def test_one_file_does_not_validate_and_test(files):
    assert said(parts, paths=[files.a], valid=[files.b], test=[files.b]) == (
        f"--valid {files.b}: is also given as --test: nothing is left to validate on. "
        "Give --valid a file of its own, or leave it out: a part is then split off to validate on."
    )


def test_parts_that_only_overlap_are_no_error(files):
    parts(paths=[files.folder], test=[files.b])
    parts(paths=[files.a], valid=[files.b])
    parts(paths=[files.a], test=[files.folder / "none.tsv"])  # told when it is read
    parts(paths=[files.a])


def test_adapt_says_so_before_anything_is_read(files):
    told = said(runs.adapt, runs.folder() / "pretrained", [files.a], settings=[f"data.test={files.a}"])
    assert told.startswith(f"--test {files.a}: is the training data, too")


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize("seconds", [0.5, 4.9])
def test_a_budget_of_an_instant_is_refused_at_once(seconds):
    assert said(budget.refuse_short, Budget("seconds", seconds)) == (
        f"--budget {seconds:g}s: is over before training could begin: starting and measuring alone take some seconds. "
        "Give --budget 60s or more, or --budget 100steps."
    )
    for other in (Budget("seconds", 5), Budget("steps", 1), Budget("epochs", 0.1)):
        assert budget.refuse_short(other) == other


def test_more_text_than_a_budget_can_read_is_refused():
    asked = Budget("seconds", 60)
    assert said(budget.refuse_reading, asked, 3.0, 2_000_000_000, 2) == (
        "--budget 60s: is over before 2,000 MB are read and tokenised: at least 503 s on 2 cores. "
        "Give --budget 1020s or more, or less text. It is kept for the next run."
    )
    budget.refuse_reading(asked, 3.0, 200_000_000, 2)
    budget.refuse_reading(Budget("steps", 10), 3.0, 10**12, 2)


def test_reading_is_refused_before_it_begins_and_not_where_the_cache_has_it(tmp_path, monkeypatch):
    path = material.write_corpus(tmp_path, 60)
    settings = ["data.held_out=0.2", "text.vocabulary=120", "text.context=32", "model.size=1x32"]
    monkeypatch.setattr(budget, "FASTEST", 10.0)
    told = said(firth.pretrain, path, budget="60s", settings=settings, out=tmp_path / "run")
    assert told.startswith("--budget 60s: is over before 0 MB are read and tokenised")
    firth.pretrain(path, budget="2steps", settings=settings, out=tmp_path / "run")  # fills the cache
    firth.pretrain(path, budget="60s", settings=settings, out=tmp_path / "timed", dry_run=True)


# ------------------------------------------------------------------ reports of Python calls


def test_python_calls_write_the_report(tmp_path):
    path = material.write_corpus(tmp_path, 60)
    settings = ["data.held_out=0.2", "text.vocabulary=120", "text.context=32", "model.size=1x32"]
    planned = firth.pretrain(path, budget="2steps", settings=settings, out=tmp_path / "run", dry_run=True)
    assert planned.status == "planned" and not (tmp_path / "run").exists()
    result = firth.pretrain(path, budget="2steps", settings=settings, out=tmp_path / "run")
    assert result.steps == 2 and "<html" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    labels = material.write_labels(tmp_path, 20)
    firth.adapt(tmp_path / "run", labels, settings=["train.steps=2"], out=tmp_path / "adapted")
    assert (tmp_path / "adapted" / "report.html").is_file()


def test_wrapped_verbs_keep_their_names_and_help():
    assert firth.pretrain.__name__ == "pretrain" and "Self-supervised" in firth.pretrain.__doc__
    assert firth.demo.__name__ == "demo" and firth.check.__module__ == "firth.evaluate.doctor"


def test_demo_is_given_the_writer_of_its_report(monkeypatch):
    given = {}
    firth.comparing(lambda **options: given.update(options))(seed=1)
    assert given["seed"] == 1 and given["report"].__name__ == "write_comparison"
