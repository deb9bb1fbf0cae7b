"""Adapting with the encoder frozen, and with blocks at the top drawn anew: what learns, what stays, what is said."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from firth.cli import app
from firth.errors import InputError
from firth.interop.folder import open_folder
from firth.recipe import Recipe, apply_settings, filled, load_toml
from firth.train import adaptation, checks
from firth.train.adapt import default_place
from firth.train.folder import RunFolder
from firth.train.log import Silent
from firth.train.pretrain import pretrain
from tests import contract, labelled_files, runs
from tests.house import ROOT
from tests.test_adapt import asked, message

TASKS = contract.learnt_tasks()
OF_TEXT = [name for name in TASKS if contract.reads(name) == "tokens"]
FROZEN = "model.frozen=true"
FILES = {"pairs": labelled_files.write_pairs, "tag": labelled_files.write_tags, "span": labelled_files.write_questions}


def encoder_of(place) -> dict[str, torch.Tensor]:
    return {name: t for name, t in open_folder(place).state.items() if name.startswith("backbone.")}


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def said(**model) -> str:
    """The message of a recipe with these keys."""
    with pytest.raises(InputError) as caught:
        adaptation.assemble(filled(asked(), model=model))
    return message(caught)


# ------------------------------------------------------------------ a frozen encoder, for every task


def frozen(name: str):
    """A task over an encoder with dropout, frozen, in training mode."""
    shape = "modernbert" if contract.reads(name) == "tokens" else ""  # else the usual one
    objective = contract.build((name,), torch.float32, shape)
    for module in objective.backbone.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.5
    objective.backbone.freeze()
    return objective.train()


@pytest.mark.parametrize("name", TASKS)
def test_a_frozen_encoder_is_in_evaluation_mode_and_outside_the_graph(name):
    objective = frozen(name)
    batch = contract.batch_of(objective, contract.samples(5, of=(name,)))
    first, again = objective.encode(batch), objective.encode(batch)
    assert torch.equal(first.values, again.values) and not first.values.requires_grad
    assert objective.training and not any(module.training for module in objective.backbone.modules())
    assert torch.equal(first.values, objective.eval().encode(batch).values)


@pytest.mark.parametrize("name", TASKS)
def test_all_of_the_head_learns_and_nothing_else(name):
    objective = frozen(name)
    batch = contract.batch_of(objective, contract.samples(5, of=(name,)))
    contract.backward(objective, [batch], batch.counts)
    got = {n for n, p in objective.named_parameters() if p.grad is not None}
    assert got == {n for n, _ in objective.named_parameters() if n.startswith("parts.")} and got


def test_an_encoder_that_is_not_frozen_keeps_its_mode_and_its_graph():
    objective = contract.build(("classify",), torch.float32).train()
    assert objective.backbone.training and not objective.backbone.frozen
    assert objective.encode(contract.batch_of(objective, contract.samples(2))).values.requires_grad


@pytest.mark.parametrize("task", OF_TEXT)
def test_adapting_a_frozen_encoder_leaves_its_weights_as_they_are(task, tmp_path):
    labels = FILES[task](tmp_path) if task in FILES else runs.folder() / "reviews.tsv"
    settings = [FROZEN, "train.steps=6", "train.evaluate_every=3", "model.dropout=0.3"]
    result = runs.quick_adapt(tmp_path / "run", settings=settings, labels=labels, task=task)
    assert equal(encoder_of(tmp_path / "run"), encoder_of(runs.folder() / "pretrained"))
    assert result.curve[-1][1]["loss"] != result.curve[0][1]["loss"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_head_learns_and_the_encoder_stays_bit_by_bit(tmp_path, precision):
    settings = [FROZEN, f"train.precision={precision}", "train.steps=80", "optimizer.lr=1e-2", "train.patience=none"]
    told = runs.Told()
    result = runs.quick_adapt(tmp_path / "run", settings=settings, show=told)
    losses = [means["loss"] for _, means in result.curve]
    assert losses[-1] < losses[0] - 0.02
    assert equal(encoder_of(tmp_path / "run"), encoder_of(runs.folder() / "pretrained"))
    assert told.lines["Weights"].endswith(" · encoder frozen: 1,122 parameters learn")
    assert "(pretrained, encoder frozen) with 120 labels" in (tmp_path / "run" / "README.md").read_text()


def test_an_interrupted_frozen_run_goes_on_and_ends_with_the_same_weights(tmp_path):
    settings = [FROZEN, "optimizer.layer_decay=0.8", "train.checkpoint_every=5", "train.patience=100"]

    class Stop(Silent):
        def progress(self, step, run):
            if step.index == 17:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.quick_adapt(tmp_path / "run", settings=settings, show=Stop())
    runs.quick_adapt(tmp_path / "run", settings=settings)
    runs.quick_adapt(tmp_path / "whole", settings=settings)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]


def test_an_interrupted_run_with_layer_decay_and_a_new_block_goes_on_too(tmp_path):
    settings = ["optimizer.layer_decay=0.8", "model.reinitialise=1", "train.checkpoint_every=5", "train.patience=100"]

    class Stop(Silent):
        def progress(self, step, run):
            if step.index == 12:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.quick_adapt(tmp_path / "run", settings=settings, show=Stop())
    runs.quick_adapt(tmp_path / "run", settings=settings)
    runs.quick_adapt(tmp_path / "whole", settings=settings)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    assert RunFolder(tmp_path / "run").recipe.optimizer.layer_decay == 0.8


@pytest.mark.parametrize("start", ["random", "co-occurrence"])
def test_a_frozen_encoder_that_was_never_trained_is_allowed_and_noted(tmp_path, start):
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", settings=[FROZEN], start=start, show=told, dry_run=True)
    note = f"The encoder is frozen as `{start}` begins it: a head learns over vectors that nothing was learnt for."
    assert note in told.notes and told.lines["Weights"].endswith("parameters learn")


def test_a_frozen_encoder_that_was_trained_needs_no_note(tmp_path):
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", settings=[FROZEN], show=told, dry_run=True)
    assert not any("is frozen as" in note for note in told.notes)


def test_a_head_alone_has_a_rate_of_its_own():
    assert adaptation.assemble(asked(settings=[FROZEN])).recipe.optimizer.lr == adaptation.HEAD_LR == 1e-3
    assert adaptation.assemble(asked(settings=[FROZEN, "optimizer.lr=0.5"])).recipe.optimizer.lr == 0.5
    assert adaptation.assemble(asked()).recipe.optimizer.lr == adaptation.LR


def test_the_place_says_that_the_encoder_is_frozen():
    assert str(default_place(asked(settings=[FROZEN]))) == "runs/reviews-classify-frozen"
    assert str(default_place(asked(settings=[FROZEN], start="random"))) == "runs/reviews-classify-random-frozen"


def test_the_option_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs.folder() / "pretrained", "pretrained")
    shutil.copy(runs.folder() / "reviews.tsv", "reviews.tsv")
    words = ["adapt", "pretrained", "reviews.tsv", "--frozen", "--dry-run", "--set", "train.steps=4"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "encoder frozen: 1,122 parameters learn" in done.output
    assert not (tmp_path / "runs").exists()


def test_in_a_comparison_all_encoders_are_frozen(tmp_path):
    from firth.evaluate.compare import compare

    place, labels = runs.folder() / "pretrained", runs.folder() / "reviews.tsv"
    settings = [FROZEN, "train.steps=4", "train.evaluate_every=2", "train.precision=fp32"]
    found = compare(place, [labels], labels=[40], seeds=1, arms=["random", "pretrained"], settings=settings)
    assert {trial.arm for trial in found.trials} == {"random", "pretrained"}


# ------------------------------------------------------------------ blocks drawn anew


def test_the_top_blocks_and_what_stands_on_them_begin_as_drawn():
    before = adaptation.assemble(asked()).objective.state_dict()
    drawn = adaptation.assemble(asked(start="random")).objective.state_dict()
    work = adaptation.assemble(asked(settings=["model.reinitialise=1"]))
    for name, tensor in work.objective.state_dict().items():
        below = name.startswith(("backbone.embed.", "backbone.encoder.blocks.0."))
        assert torch.equal(tensor, (before if below else drawn)[name]), name
    assert not torch.equal(before[QKV], drawn[QKV])
    assert QKV in work.weights.anew and QKV not in {*work.weights.new, *work.weights.unused, *work.weights.loaded}


QKV = "backbone.encoder.blocks.1.attention.qkv.weight"


def test_all_blocks_may_begin_anew_and_embeddings_stay():
    before = encoder_of(runs.folder() / "pretrained")
    drawn = adaptation.assemble(asked(start="random")).objective.state_dict()
    found = adaptation.assemble(asked(settings=["model.reinitialise=2"])).objective.state_dict()
    for name in found:
        assert torch.equal(found[name], (before if name.startswith("backbone.embed.") else drawn)[name]), name


def test_what_is_drawn_anew_is_said(tmp_path):
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", settings=["model.reinitialise=1"], show=told, dry_run=True)
    assert told.lines["Weights"].replace(str(runs.folder()), "HERE") == (
        "7 tensors loaded from HERE/pretrained · new: parts.classify.classifier, parts.classify.pool · "
        "unused: parts.masked-tokens.head · drawn anew: backbone.encoder.blocks, backbone.encoder.norm"
    )


def test_a_head_that_was_loaded_begins_anew_with_the_blocks_below_it():
    place = runs.adapted()
    recipe = filled(asked(), model={"source": str(place)})
    loaded = adaptation.assemble(recipe).objective.state_dict()
    anew = adaptation.assemble(filled(recipe, model={"reinitialise": 1}))
    head = "parts.classify.pool.dense.weight"
    assert torch.equal(loaded[head], open_folder(place).state[head])
    assert not torch.equal(anew.objective.state_dict()[head], loaded[head]) and head in anew.weights.anew
    assert anew.weights.describe("x").endswith(
        "drawn anew: backbone.encoder.blocks, backbone.encoder.norm, parts.classify.classifier and 1 more"
    )


def test_with_another_start_there_is_nothing_to_draw_anew():
    plain = adaptation.assemble(asked(start="random")).objective.state_dict()
    asked_for = adaptation.assemble(asked(start="random", settings=["model.reinitialise=1"])).objective.state_dict()
    assert equal(dict(plain), dict(asked_for))


# ------------------------------------------------------------------ messages


def test_more_blocks_than_there_are():
    assert said(reinitialise=3) == (
        "model.reinitialise = 3: HERE/pretrained has 2 blocks. Set model.reinitialise=2 or less."
    )


def test_blocks_drawn_anew_in_a_frozen_encoder():
    assert said(reinitialise=1, frozen=True) == (
        "model.reinitialise = 1: in a frozen encoder, blocks drawn anew would stay random. Leave out one of the two."
    )


@pytest.mark.parametrize(("setting", "shown"), [
    (FROZEN, "model.frozen = true"), ("model.reinitialise=2", "model.reinitialise = 2"),
])  # fmt: skip
def test_pre_training_knows_neither(setting, shown):
    with pytest.raises(InputError) as caught:
        pretrain([runs.folder() / "corpus.txt"], budget="5steps", settings=[setting])
    expected = f"{shown}: is a key of adapt: pre-training trains the whole encoder. Leave it out."
    assert str(caught.value) == expected


def test_recipes_without_these_keys_are_not_looked_at():
    checks.refuse_adapting_keys(Recipe())
    checks.refuse_reinitialising(Recipe())


@pytest.mark.parametrize(("setting", "kind"), [("model.frozen=2", "bool"), ("model.reinitialise=-1", "int, ≥ 0")])
def test_values_of_the_wrong_kind(setting, kind):
    key, _, value = setting.partition("=")
    with pytest.raises(InputError) as caught:
        apply_settings(Recipe(), [setting])
    assert str(caught.value) == f"--set: `{key}` cannot be `{value}`. `{key}` is of type {kind}."


# ------------------------------------------------------------------ the page, and comparisons


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs.folder() / "pretrained", "runs/raw-masked-tokens")
    shutil.copy(runs.folder() / "reviews.tsv", "labels.tsv")
    text = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    lines = re.findall(r"^firth (.*)$", re.search(r"^```sh\n(.*?)^```", text, re.M | re.S)[1], re.M)
    assert len(lines) == 5
    for line in lines:
        done = CliRunner().invoke(app, [*shlex.split(line), "--set", "train.steps=4", "--set", "train.batch=4"])
        assert done.exit_code == 0, f"{line}\n{done.output[-3000:]}"
    assert {path.name for path in Path("runs").iterdir()} == {
        "raw-masked-tokens", "labels-decay", "labels-anew", "labels-lora", "labels-classify-frozen", "frozen"
    }  # fmt: skip


def test_a_kept_comparison_of_another_encoder_is_refused(tmp_path):
    from firth.evaluate.compare import asked as asked_for
    from firth.evaluate.compare import recipe_of
    from firth.evaluate.kept import Kept

    def kept(*settings):
        recipe = recipe_of(runs.folder() / "pretrained", ["labels.tsv"], "classify", 0, None, settings)
        return asked_for(recipe, [], False)

    assert kept()["encoder"] is None and kept(FROZEN)["encoder"] == {"frozen": True}
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "asked.json").write_text(json.dumps({k: v for k, v in kept().items() if k != "encoder"}))
    Kept(folder, kept())  # kept before there was the key
    for setting in (FROZEN, "model.reinitialise=1", "model.dropout=0.3"):
        with pytest.raises(InputError) as caught:
            Kept(folder, kept(setting))
        assert str(caught.value) == (
            f"{folder}: holds a comparison with another encoder. Choose another --out, or delete it: rm -r {folder}"
        )


def test_a_comparison_tells_how_the_encoder_was_fine_tuned():
    from firth.evaluate.arms import settings_of

    plain = settings_of(asked())
    assert not {"encoder", "layer decay", "blocks drawn anew"} & set(plain)
    told = settings_of(asked(settings=[FROZEN, "optimizer.layer_decay=0.9", "model.reinitialise=1"]))
    assert told == plain | {"encoder": "frozen", "layer decay": 0.9, "blocks drawn anew": 1}


def test_a_recipe_file_of_a_comparison_may_freeze(tmp_path):
    from firth.evaluate.versus import merged

    (tmp_path / "frozen.toml").write_text('[model]\nfrozen = true\nsize = "4x256"\n')
    settings = merged(load_toml(tmp_path / "frozen.toml"), ["model.reinitialise=1"])
    assert "model.frozen=true" in settings and settings[-1] == "model.reinitialise=1"
    assert not any(one.startswith("model.size") for one in settings)
