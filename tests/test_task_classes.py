"""What classify and pairs share: weights of the classes against torch and scikit-learn, and one temperature that lowers
the calibration error, moves no guess and goes with the saved model."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.functional.random import Draw
from firth.recipe import Data, Recipe, apply_settings, config_of, load_toml, to_toml
from firth.signal import Batch
from firth.task import Example, Where
from firth.tasks import _one_label, classify, pairs
from firth.tasks.classify import Config
from firth.train import adaptation, loop
from tests import contract, labelled_files, material, runs
from tests.contract import SIGNAL

CLASSES = ("bad", "good", "so-so")
WEIGHTS = {"bad": 0.3, "good": 1.0, "so-so": 2.7}


def example(label: str, text: str = "a text") -> Example:
    return Example(text, label, Where("x.tsv", 1))


# ------------------------------------------------------------------ weights of classes


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("task", ["classify", "pairs"])
def test_the_weighted_loss_is_the_weighted_mean_of_torch(task, smoothing):
    objective = contract.build([task], **{task: {"class_weights": WEIGHTS, "label_smoothing": smoothing}})
    part = objective.parts[task]
    torch.nn.init.normal_(part.classifier.weight)
    batch = contract.batch_of(objective, contract.samples(9))
    found, count = objective(batch).terms[task]
    factors = torch.tensor(list(WEIGHTS.values()), dtype=torch.float64)
    expected = cross_entropy(part.logits(objective.encode(batch)), batch["label"], factors, label_smoothing=smoothing)
    assert count == batch.counts[task] == pytest.approx(float(factors[batch["label"]].sum()))
    torch.testing.assert_close(found / count, expected, rtol=1e-12, atol=1e-12)
    assert objective(batch).metrics[f"{task}_accuracy"].count == 9


@pytest.mark.parametrize("seed", range(20))
def test_balanced_weights_equal_scikit_learn(seed):
    labels = np.random.default_rng(seed).choice(CLASSES, 60, p=[0.2, 0.7, 0.1]).tolist() + list(CLASSES)
    config = Config(classes=CLASSES, class_weights="balanced").learnt_from([example(label) for label in labels])
    theirs = compute_class_weight("balanced", classes=np.array(CLASSES), y=labels)
    assert config.factors == pytest.approx(theirs)
    assert sum(config.class_weights[label] for label in labels) == pytest.approx(len(labels))


def test_weights_are_numbers_by_class_once_there_is_a_training_part(tmp_path):
    path = material.write_labels(tmp_path, 60)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for i, line in enumerate(lines) if "positive" in line or i % 4 == 0) + "\n")
    task = Config(class_weights="balanced")
    labelled = open_labelled(Data(paths=(str(path),)), None, 0, task=task)
    counts = labelled.facts["classes"]["train"]
    assert counts["negative"] < counts["positive"]
    total = sum(counts.values())
    assert labelled.task.class_weights == {name: total / (2 * count) for name, count in counts.items()}
    one = open_labelled(Data(paths=(str(path),)), None, 0, task=Config(class_weights={"positive": 0.5})).task
    assert one.class_weights == {"negative": 1.0, "positive": 0.5} and one.factors == (1.0, 0.5)
    assert open_labelled(Data(paths=(str(path),)), None, 0, task=Config()).task.factors is None


def test_weights_are_written_down_and_read_again(tmp_path):
    recipe = Recipe(verb="adapt", objective=("classify",))
    for typed, value in (
        ("balanced", "balanced"),
        ("none", "none"),
        ('{spam = 5, "a b" = 0.5}', {"spam": 5, "a b": 0.5}),
    ):
        asked = apply_settings(recipe, [f"classify.class_weights={typed}"])
        assert config_of(asked, "tasks", "classify").class_weights == value
        (tmp_path / "c.toml").write_text(to_toml(asked))
        assert config_of(load_toml(tmp_path / "c.toml"), "tasks", "classify").class_weights == value


@pytest.mark.parametrize("value", ["even", "{spam = -1}", "[1, 2]", "3"])
def test_weights_that_are_none_are_refused(value):
    with pytest.raises(InputError) as caught:
        apply_settings(Recipe(verb="adapt", objective=("classify",)), [f"classify.class_weights={value}"])
    assert str(caught.value) == (
        f"--set: `classify.class_weights` cannot be `{value}`. "
        "`classify.class_weights` is one of `none`, `balanced`, or numbers by name, as in {spam = 5}."
    )


def test_a_stranger_and_numbers_have_no_weight():
    with pytest.raises(InputError) as caught:
        Config(classes=CLASSES, class_weights={"god": 2.0}).learnt_from([])
    assert str(caught.value) == (
        "classify.class_weights: `god` is no class. Did you mean `good`? There is: `bad`, `good`, `so-so`."
    )
    with pytest.raises(InputError) as caught:
        pairs.Config(kind="number", class_weights="balanced").learnt_from([])
    assert str(caught.value) == ("pairs.class_weights: weighs classes, and the labels are numbers. Leave it out.")


def test_counts_of_weights_are_not_rounded():
    config = Config(classes=CLASSES, class_weights=WEIGHTS)
    batches = [
        config.prepare(Batch(label=torch.tensor(labels, dtype=torch.long)), Draw(0)) for labels in ([0], [0, 0], [])
    ]
    assert [batch.counts["classify"] for batch in batches] == [pytest.approx(0.3), pytest.approx(0.6), 0]
    assert loop.totals(batches)["classify"] == pytest.approx(0.9)


@pytest.mark.parametrize("task", ["classify", "pairs"])
def test_a_weighted_training_is_the_same_in_micro_batches(tmp_path, task):
    write = material.write_labels if task == "classify" else labelled_files.write_pairs
    states = []
    for micro in (None, 3):
        settings = [f"{task}.class_weights=balanced", f"{task}.dropout=0", "model.dropout=0", "train.precision=fp64",
                    "train.steps=3", "train.batch=8", "train.patience=0",
                    *([f"train.micro_batch={micro}"] if micro else [])]  # fmt: skip
        recipe = adaptation_recipe(task, write(tmp_path, 42), settings)
        work = adaptation.assemble(recipe)
        assert work.labelled.task.factors is not None
        adaptation.fit(work)
        states.append(work.objective.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-6, atol=1e-7)


def adaptation_recipe(task: str, path, settings):
    from firth.train.adapt import request

    model = runs.folder() / "pretrained"
    return request(model, path, settings, None, task=task, start=None, labels=None, seed=None, device=None)


# ------------------------------------------------------------------ calibration


def head(shape: str = "bert"):
    objective = contract.build(["classify"], torch.float32, shape).eval()
    part = objective.parts["classify"]
    torch.nn.init.normal_(part.classifier.weight, std=0.3)
    torch.nn.init.normal_(part.classifier.bias, std=0.3)
    return objective, part


def texts(count: int, seed: int = 0) -> list[str]:
    source = np.random.default_rng(seed)
    return [" ".join(map(str, source.integers(5, 40, 8))) for _ in range(count)]


def labelled(objective, count: int, times: float, seed: int = 0) -> list[Example]:
    """Labels that the head is `times` too sure of."""
    source, given = np.random.default_rng(seed), texts(count, seed)
    logits = _one_label.outputs(lambda batch: _one_label.logits_of(classify.part_of(objective), batch), SIGNAL,
                                [example("", text) for text in given])  # fmt: skip
    drawn = (logits / times + source.gumbel(size=logits.shape)).argmax(1)
    return [example(CLASSES[label], text) for label, text in zip(drawn, given, strict=True)]


@pytest.mark.parametrize("shape", ["bert", "modernbert"])
def test_the_temperature_is_found_moves_no_guess_and_lowers_the_error(shape):
    objective, part = head(shape)
    with torch.no_grad():
        part.classifier.weight *= 6  # sure of itself
    before = classify.predict(objective, SIGNAL, texts(60, 9))
    told = classify.settle(objective, SIGNAL, labelled(objective, 800, 4.0))
    assert told == {"temperature": pytest.approx(4.0, rel=0.25)}
    after = classify.predict(objective, SIGNAL, texts(60, 9))
    assert [one.label for one in after] == [one.label for one in before]
    assert np.mean([one.probability for one in after]) < np.mean([one.probability for one in before])
    assert part.facts["temperature"] == told["temperature"]
    with torch.no_grad():  # the same texts, as they were before
        part.classifier.weight *= part.temperature
        part.classifier.bias *= part.temperature
    examples = labelled(objective, 400, 4.0, seed=5)
    with torch.no_grad():
        part.classifier.weight /= part.temperature
        part.classifier.bias /= part.temperature
    figures = classify.evaluate(objective, SIGNAL, examples).figures
    assert figures["calibration_error"] < 0.1 < figures["calibration_error_before"]


def test_before_and_after_are_the_errors_of_the_two_heads():
    objective, _ = head()
    examples = labelled(objective, 300, 3.0)
    plain = classify.evaluate(objective, SIGNAL, examples).figures
    assert "calibration_error_before" not in plain
    classify.settle(objective, SIGNAL, examples)
    both = classify.evaluate(objective, SIGNAL, examples).figures
    assert both["calibration_error_before"] == pytest.approx(plain["calibration_error"], abs=1e-6)
    assert {name: both[name] for name in ("accuracy", "macro_f1", "matthews")} == {
        name: plain[name] for name in ("accuracy", "macro_f1", "matthews")
    }


def test_few_examples_or_a_no_leave_the_head_as_it_is():
    objective, part = head()
    examples, weights = labelled(objective, 120, 3.0), part.classifier.weight.clone()
    assert classify.settle(objective, SIGNAL, examples[:99]) == {}
    part.config = part.config.model_copy(update={"calibrate": False})
    assert classify.settle(objective, SIGNAL, examples) == {}
    assert torch.equal(part.classifier.weight, weights) and "temperature" not in part.facts


def test_numbers_have_no_temperature():
    objective = SimpleNamespace(parts={"pairs": contract.build(["pairs"], pairs={"kind": "number"}).parts["pairs"]})
    assert pairs.settle(objective, SIGNAL, [example("1")] * 500) == {}


# ------------------------------------------------------------------ the whole way


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    place, show = tmp_path_factory.mktemp("calibrated"), runs.Told()
    torch.set_num_threads(1)
    labels, test = material.write_labels(place, 600), material.write_labels(place, 100, 1, "test.tsv")
    lines = labels.read_text().splitlines()
    swapped = {"positive": "negative", "negative": "positive"}
    noisy = [line if number % 4 else line.rpartition("\t")[0] + "\t" + swapped[line.rpartition("\t")[2]]
             for number, line in enumerate(lines[1:], 1)]  # fmt: skip
    labels.write_text("\n".join([lines[0], *noisy]) + "\n")
    result = runs.quick_adapt(place / "run", [f"data.test={test}", "train.steps=60"], labels, show=show)
    return place, result, show


def test_the_result_tells_both_errors_and_the_temperature(calibrated):
    place, result, show = calibrated
    assert result.labels["validation"] == 120
    told = result.settled["temperature"]
    assert show.lines["Settled"] == f"temperature {told:.2f} · by 120 validation examples"
    assert "calibration error 0." in show.lines["Result"] and " · before calibration 0." in show.lines["Result"]
    config = json.loads((place / "run" / "model" / "config.json").read_text())
    assert config["firth"]["temperature"] == told
    assert json.loads((place / "run" / "run.json").read_text())["result"]["settled"] == {"temperature": told}


def test_predict_and_transformers_have_the_calibrated_probabilities(calibrated):
    transformers = pytest.importorskip("transformers")
    from firth.evaluate.predict import load

    place, _, _ = calibrated
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place / "run" / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "run" / "model")
    given = ["A wonderful film about the ship and the tram 3.", "A stale film about the sail and the shop 4."]
    with torch.no_grad():
        theirs = model(**tokenizer(given, return_tensors="pt", padding=True)).logits.softmax(-1).tolist()
    for one, row in zip(load(place / "run").predict(given), theirs, strict=True):
        assert one.probabilities == pytest.approx(dict(zip(("negative", "positive"), row, strict=True)), abs=1e-5)


def test_a_finished_run_still_tells_what_was_settled(calibrated):
    place, result, _ = calibrated
    again = runs.quick_adapt(
        place / "run", [f"data.test={place / 'test.tsv'}", "train.steps=60"], place / "reviews.tsv"
    )
    assert again.settled == result.settled and again.score == result.score
