"""Adapting end to end on a toy: what is loaded and new, equal arms, early stopping, resuming, the folder, refusals."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.find import learnable, names
from firth.recipe import Data, apply_settings, filled
from firth.train import adaptation
from firth.train.adapt import DEFAULTS, default_place, request
from firth.train.adapted import Adapted, confusion, describe_result
from firth.train.folder import RunFolder
from firth.train.log import Silent, read_metrics
from tests import material, runs


def asked(tmp_path=None, **options):
    recipe = request(runs.folder() / "pretrained", [runs.folder() / "reviews.tsv"], options.pop("settings", ()), None,
                     task=None, labels=None, seed=None, device=None, start=options.pop("start", None))  # fmt: skip
    return filled(recipe, train={"steps": 6, "evaluate_every": 3, "precision": "fp32"} | options)


def message(caught) -> str:
    return str(caught.value).replace(str(runs.folder()), "HERE")


# ------------------------------------------------------------------ the whole verb


def test_adapting_learns_scores_on_the_test_part_and_leaves_a_run_folder(tmp_path):
    told = runs.Told()
    settings = [f"data.test={runs.folder() / 'test.tsv'}"]
    result = runs.quick_adapt(tmp_path / "run", settings=settings, show=told)
    assert result.scored == "test" and result.score["items"] == 40 and result.accuracy > 0.7
    assert sum(map(sum, result.score["confusion"])) == 40
    assert result.labels == {"train": 96, "validation": 24, "test": 40}
    assert result.curve[0][0] == 0 and result.best_step == result.steps  # 24 are too few to choose a step by
    assert result.validation == result.curve[-1][1]
    kept = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"README.md", "config.toml", "run.json", "metrics.jsonl", "train.log", "model", "samples"} <= kept
    facts = RunFolder(tmp_path / "run").facts
    assert facts["status"] == "finished" and facts["result"]["accuracy"] == result.accuracy
    assert next(row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "held_out" in row) == 0
    assert told.lines["Data"] == "96 train · 24 validation · 40 test · 2 classes (negative, positive)"
    assert told.steps[0] == 0


def test_what_was_loaded_what_is_new_and_what_is_unused_is_said(tmp_path):
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", show=told, dry_run=True)
    assert told.lines["Weights"].replace(str(runs.folder()), "HERE") == (
        "14 tensors loaded from HERE/pretrained · new: parts.classify.classifier, parts.classify.pool · "
        "unused: parts.masked-tokens.head"
    )
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", show=told, dry_run=True, start="random")
    assert told.lines["Weights"] == f"random start; weights of {runs.folder() / 'pretrained'} unused"
    assert told.lines["Plan"] == ("40 steps × 16 samples · learning rate 0.003 · validated every 10 steps")
    assert not (tmp_path / "run").exists()


def test_the_model_folder_opens_with_transformers_and_gives_the_same_probabilities():
    transformers = pytest.importorskip("transformers")
    from firth.evaluate.predict import load

    place = runs.adapted()
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(place / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "model")
    texts = ["A wonderful film about the tide and the tram.", "A dreadful film."]
    with torch.no_grad():
        logits = theirs(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    found = list(load(place).predict(texts))
    for row, one in zip(logits.softmax(-1), found, strict=True):
        assert theirs.config.id2label[int(row.argmax())] == one.label
        assert one.probability == pytest.approx(float(row.max()), abs=1e-4)


def test_the_card_and_the_wrong_samples_say_what_happened():
    place = runs.adapted()
    card = (place / "README.md").read_text()
    for words in ("adapted by firth to `classify`", "truth \\ said", "Classes: negative, positive."):
        assert words in card
    result = RunFolder(place).facts["result"]
    wrong = [json.loads(line) for line in (place / "samples" / "wrong.jsonl").read_text().splitlines()]
    matrix = result["score"]["confusion"]
    assert len(wrong) == matrix[0][1] + matrix[1][0]
    assert all(row["gold"] != row["predicted"] and row["text"].startswith("A ") for row in wrong)


def test_without_a_test_part_validation_is_scored(tmp_path):
    result = runs.quick_adapt(tmp_path / "run", settings=["train.steps=2"])
    assert result.scored == "validation" and result.score["items"] == 24


def test_a_finished_run_is_shown_and_not_trained_again():
    told, place = runs.Told(), runs.adapted()
    before = (place / "model" / "model.safetensors").stat().st_mtime_ns
    again = runs.quick_adapt(place, settings=[f"data.test={runs.folder() / 'test.tsv'}"], show=told)
    assert again.accuracy == RunFolder(place).facts["result"]["accuracy"] and again.curve[0][0] == 0
    assert told.notes == [f"{place} is finished; nothing to do. To train anew, choose another --out."]
    assert (place / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(tmp_path):
    settings = ["train.checkpoint_every=5", "train.patience=100"]

    class Stop(Silent):
        def progress(self, step, run):
            if step.index == 17:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.quick_adapt(tmp_path / "run", settings=settings, show=Stop())
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", settings=settings, show=told)
    whole = runs.quick_adapt(tmp_path / "whole", settings=settings)
    assert told.notes[0] == f"{tmp_path / 'run'} is unfinished; going on." and 1 not in told.steps
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    told = RunFolder(tmp_path / "run").facts["result"]
    assert told["score"] == whole.score and told["best_step"] == whole.best_step
    assert [step for step, _ in told["curve"]] == [step for step, _ in whole.curve]  # what was seen before counts


def test_config_toml_repeats_the_run(tmp_path):
    first = runs.quick_adapt(tmp_path / "one")
    again = runs.adapt(runs.folder() / "pretrained", (), config=tmp_path / "one" / "config.toml", out=tmp_path / "two")
    assert again.curve == first.curve and again.score == first.score


# ------------------------------------------------------------------ arms are equal but for the start


def test_arms_share_everything_but_the_start():
    arms = {start: adaptation.assemble(asked(start=start)) for start in ("pretrained", "random", "co-occurrence")}
    states = {start: arm.objective.state_dict() for start, arm in arms.items()}
    for name, tensor in states["random"].items():
        closed, loaded = states["co-occurrence"][name], states["pretrained"][name]
        assert torch.equal(tensor, closed) == (name != "backbone.embed.word.weight"), name
        if name.startswith("parts.classify"):
            assert torch.equal(tensor, loaded), name
    word = "backbone.embed.word.weight"
    assert not torch.equal(states["pretrained"][word], states["random"][word])
    indices = [arm.train.indices(3).tolist() for arm in arms.values()]
    assert indices[0] == indices[1] == indices[2]
    recipes = [filled(arm.recipe, model={"start": ""}) for arm in arms.values()]
    assert recipes[0] == recipes[1] == recipes[2]
    assert arms["co-occurrence"].begun["tokens"] > 1_000 and arms["random"].begun is None


def test_loaded_weights_are_those_of_the_folder():
    from firth.interop.folder import open_folder

    state = open_folder(runs.folder() / "pretrained").state
    work = adaptation.assemble(asked())
    for name in work.weights.loaded:
        assert torch.equal(work.objective.state_dict()[name], state[name])
    assert len(work.weights.loaded) == 14


def test_the_closed_form_start_without_the_raw_text_uses_the_labelled_texts(tmp_path):
    shutil.copytree(runs.folder() / "pretrained" / "model", tmp_path / "bare")
    told = runs.Told()
    recipe = filled(asked(start="co-occurrence"), model={"source": str(tmp_path / "bare")})
    begun = adaptation.assemble(recipe, show=told).begun
    assert begun["tokens"] < 3_000
    assert told.notes == [
        f"{tmp_path / 'bare'} is no run of firth; the start is computed from the labelled training texts."
    ]


def test_fit_keeps_the_weights_of_the_lowest_validation_loss_and_stops_early():
    work = adaptation.assemble(asked(steps=60, evaluate_every=2, patience=2))
    work.recipe = filled(work.recipe, optimizer={"lr": 0.3}, train={"warmup": 0.0})  # far too high: it gets worse
    job = adaptation.fit(work)
    assert work.curve[-1][0] < 60
    losses = [means["loss"] for _, means in work.curve]
    assert work.kept == work.curve[losses.index(min(losses))][0]
    from firth.train.measure import measure

    found = measure(work.objective, work.valid.evaluation(2000, 16))
    assert found["loss"] == pytest.approx(min(losses), rel=1e-5)
    assert job.folder is None


# ------------------------------------------------------------------ the plan


@pytest.mark.parametrize(("samples", "batch", "steps"), [
    (40, 16, 60), (160, 16, 200), (800, 16, 400), (8_000, 16, 1_500), (64_000, 32, 6_000),
])  # fmt: skip
def test_steps_follow_the_number_of_labels(samples, batch, steps):
    found = adaptation.plan(DEFAULTS, SimpleNamespace(train=range(samples), valid=range(100))).train
    assert (found.batch, found.steps, found.evaluate_every) == (batch, steps, max(1, steps // 20))


def test_a_budget_may_be_steps_or_epochs():
    labelled = SimpleNamespace(train=range(160), valid=range(40))
    for text, steps in (("70steps", 70), ("3epochs", 30)):
        recipe = apply_settings(DEFAULTS, {"train.budget": text})
        assert adaptation.plan(recipe, labelled).train.steps == steps
    with pytest.raises(InputError) as caught:
        adaptation.plan(apply_settings(DEFAULTS, {"train.budget": "90s"}), labelled)
    assert str(caught.value) == "train.budget = 90s: adapting is counted in steps or epochs. Write 500steps or 5epochs."


def test_the_learning_rate_falls_with_width():
    assert [adaptation.rate(width) for width in (128, 256, 512, 768)] == [3e-4, 3e-4, 1.1e-4, 5.8e-5]


def test_what_a_person_sets_stays():
    settings = ["optimizer.lr=1e-4", "train.batch=7", "model.dropout=0.0", "classify.label_smoothing=0.1"]
    recipe = adaptation.assemble(asked(settings=[*settings, "text.context=16"])).recipe
    assert recipe.optimizer.lr == 1e-4 and recipe.train.batch == 7 and recipe.model.dropout == 0.0
    assert recipe.tables["classify"]["label_smoothing"] == 0.1 and recipe.tables["text"]["context"] == 16
    assert recipe.tables["classify"]["classes"] == ["negative", "positive"]


def test_the_default_place_names_data_task_and_start():
    assert str(default_place(asked())) == "runs/reviews-classify"
    assert str(default_place(asked(start="random"))) == "runs/reviews-classify-random"


def test_a_label_budget_holds_validation_too():
    recipe = filled(asked(), data={"labels": 30})
    labelled = adaptation.assemble(recipe).labelled
    assert len(labelled.train) + len(labelled.valid) == 30


# ------------------------------------------------------------------ refusals


def test_unknown_start_and_task():
    with pytest.raises(InputError) as caught:
        runs.quick_adapt("unused", start="co-ocurrence")
    assert str(caught.value) == (
        "--start co-ocurrence: no such start. Did you mean `co-occurrence`? "
        f"There is: pretrained, random, {', '.join(names('starts'))}."
    )
    with pytest.raises(InputError) as caught:
        runs.quick_adapt("unused", task="clasify")
    assert str(caught.value) == (
        f"--task clasify: no such task. Did you mean `classify`? There is: {', '.join(learnable())}."
    )


def test_missing_model_and_data():
    with pytest.raises(InputError) as caught:
        runs.adapt("", ["x.tsv"])
    assert str(caught.value) == (
        "MODEL: is not given. Name a run folder or a model folder: firth adapt runs/x labels.tsv."
    )
    with pytest.raises(InputError) as caught:
        runs.adapt("x")
    assert str(caught.value) == "DATA: is not given. Name labelled files: firth adapt runs/x labels.tsv."


@pytest.mark.parametrize(("rows", "expected"), [
    (["good\tpositive", "fine\tpositive"] * 4, "only the label `positive` was found"),
    (["good\tpositive", "bad\tnegative", "odd\tpostive"] + ["well\tpositive", "poor\tnegative"] * 3, "postive"),
])  # fmt: skip
def test_labels_that_cannot_be_learnt_are_refused_where_they_stand(tmp_path, rows, expected):
    path = tmp_path / "labels.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{i} {row}\n" for i, row in enumerate(rows)))
    with pytest.raises(InputError) as caught:
        runs.quick_adapt(tmp_path / "run", labels=path)
    assert expected in str(caught.value) and str(path) in caught.value.where
    assert not (tmp_path / "run").exists()


def test_a_test_label_that_training_has_not_is_refused(tmp_path):
    path = tmp_path / "odd.tsv"
    path.write_text("text\tlabel\n" + "so so\tneutral\nso la\tneutral\nfine\tpositive\n")
    with pytest.raises(InputError) as caught:
        runs.quick_adapt(tmp_path / "run", settings=[f"data.test={path}"])
    assert str(caught.value) == (
        f"{path}:2:7: label `neutral` is in no training example. "
        "Add examples of it to the training files, or leave out these rows."
    )


def test_a_context_beyond_learned_positions_is_refused(tmp_path):
    from firth.model.sizes import shape_of

    recipe = filled(asked(), train={"steps": 2})
    shape = shape_of("bert", "2x32", 223, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation.build, "shape_for", lambda *_: shape)
        recipe = recipe.model_copy(update={"tables": {"text": {"context": 64}}})
        with pytest.raises(InputError) as caught:
            adaptation.refuse_long(recipe, None)
    assert str(caught.value) == "text.context = 64: the model has learned 32 positions. Set text.context=32 or less."


def test_a_folder_without_weights_or_without_a_finished_model_is_refused(tmp_path):
    shutil.copytree(runs.folder() / "pretrained" / "model", tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        runs.adapt(tmp_path / "bare", [runs.folder() / "reviews.tsv"], out=tmp_path / "run")
    assert str(tmp_path / "bare") in caught.value.where and caught.value.do
    shutil.copytree(runs.folder() / "pretrained", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "model")
    with pytest.raises(InputError) as caught:
        runs.adapt(tmp_path / "half", [runs.folder() / "reviews.tsv"], out=tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'half'}: is a run without a model: it is not finished. Run its command again; it goes on."
    )


def test_other_data_in_an_unfinished_run_is_refused(tmp_path):
    labels = shutil.copy(runs.folder() / "reviews.tsv", tmp_path)
    runs.quick_adapt(tmp_path / "run", labels=labels, settings=["train.steps=2"])
    RunFolder(tmp_path / "run").update(status="interrupted")
    material.write_labels(tmp_path, 100, seed=5)
    with pytest.raises(InputError) as caught:
        runs.quick_adapt(tmp_path / "run", labels=labels, settings=["train.steps=2"])
    assert str(caught.value) == (
        f"{labels}: is not the data {tmp_path / 'run'} was begun with. "
        f"Put the former files back, or delete the run: firth runs --delete {tmp_path / 'run'}."
    )


def test_nothing_to_validate_on_is_refused():
    labelled = open_labelled(Data(paths=(str(runs.folder() / "reviews.tsv"),)), None, 0)
    with pytest.raises(InputError) as caught:
        adaptation.refuse_empty(asked(), labelled)
    assert message(caught) == (
        "HERE/reviews.tsv: leaves no labelled example to learn from. Label more of it, or give --valid FILE."
    )


# ------------------------------------------------------------------ how results read


def test_results_read_as_a_sentence_and_a_matrix():
    score = {"items": 1500, "accuracy": 0.6561, "macro_f1": 0.655, "matthews": 0.312,
             "confusion": [[400, 350], [166, 584]], "classes": ["negative", "positive"]}  # fmt: skip
    result = Adapted("runs/x", score=score, steps=200, best_step=140, seconds=4.2)
    assert describe_result(result) == (
        "test accuracy 65.6 % · macro F1 0.655 · Matthews 0.312 (1,500 items) · step 140 of 200 kept · 4.2 s"
    )
    assert confusion(score) == [
        "truth \\ said  negative  positive",
        "negative           400       350",
        "positive           166       584",
    ]
    assert confusion({}) == []


@pytest.mark.parametrize(("valid", "asked", "patience"), [(199, None, 0), (200, None, 5), (50, 3, 3), (900, 0, 0)])
def test_the_best_weights_are_chosen_only_where_validation_can_tell(valid, asked, patience):
    labelled = SimpleNamespace(train=range(400), valid=range(valid))
    recipe = filled(DEFAULTS, train={"patience": asked})
    assert adaptation.plan(recipe, labelled).train.patience == patience
