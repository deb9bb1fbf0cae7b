"""Pairs: columns found, two segments, classes and numbers; correlations; refusals."""

import json

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.evaluate.predict import load
from firth.find import find
from firth.signals.text import Text
from firth.task import Example, Where
from tests import contract, labelled_files, runs

pairs = find("tasks", "pairs")
LABELS = ("contradiction", "entailment", "neutral")


def example(label="neutral", **fields) -> Example:
    return Example("", label, Where("x.tsv", 4, 1), {"premise": "A b.", "hypothesis": "C d.", "label": label, **fields})


@pytest.fixture(scope="module")
def signal():
    return Text.open(runs.folder() / "pretrained" / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pairs")
    labelled_files.write_pairs(place)
    labelled_files.write_pairs(place, 30, seed=4, name="test.tsv")
    test = f"data.test={place / 'test.tsv'}"
    runs.quick_adapt(place / "classes", [test], place / "pairs.tsv", task="pairs")
    runs.quick_adapt(place / "numbers", [test, "data.label=closeness"], place / "pairs.tsv", task="pairs")
    return place


def score(folder, name):
    return json.loads((folder / name / "run.json").read_text())["result"]["score"]


# ------------------------------------------------------------------ the whole way


def test_three_classes(folder):
    found = score(folder, "classes")
    assert found["classes"] == list(LABELS) and found["items"] == 30
    assert found["accuracy"] > 0.6 and 0 <= found["calibration_error"] <= 1
    [said] = load(folder / "classes").predict(["A ship moves past.\tThe ship sleeps there."])
    assert said.text == "A ship moves past. | The ship sleeps there." and said.label in LABELS
    assert sum(said.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_numbers(folder):
    found = score(folder, "numbers")
    assert found["pearson"] > 0.5 and found["spearman"] > 0.3 and found["mean_absolute_error"] < 1.5
    [said] = load(folder / "numbers").predict([("A ship moves past.", "The ship moves there.")])
    assert 0 < said.number < 6 and said.text == "A ship moves past. | The ship moves there."


def test_a_classes_run_opens_with_transformers(folder):
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "classes" / "model")
    theirs = transformers.AutoTokenizer.from_pretrained(folder / "classes" / "model")
    both = ("A ship moves past.", "The ship sleeps there.")
    with torch.inference_mode():
        shares = model.eval()(**theirs(*both, return_tensors="pt")).logits.softmax(-1)[0]
    [said] = load(folder / "classes").predict([both])
    ours = [said.probabilities[model.config.id2label[i]] for i in range(3)]
    assert shares.tolist() == pytest.approx(ours, abs=1e-4)


# ------------------------------------------------------------------ columns and samples


def test_columns_by_name_by_content_and_as_said():
    assert pairs.columns(pairs.Config(), [example()]) == ("premise", "hypothesis")
    rows = [Example("", "1", Where("x"), {"n": str(i), "left": "a b c d", "tag": "t", "right": "e f g", "y": "1"})
            for i in range(3)]  # fmt: skip
    assert pairs.columns(pairs.Config(), rows) == ("left", "right")
    assert pairs.columns(pairs.Config(first="right", second="left"), rows) == ("right", "left")


def test_the_two_texts_are_two_segments(signal):
    config = pairs.Config(classes=LABELS).look([example()])
    [sample] = config.samples([config.example(example())], signal)
    assert len(sample.parts) == 2 and sample.label == 2
    batch = signal.stack([sample])
    assert batch["segments"].max() == 1


@pytest.mark.parametrize(
    ("labels", "kind"), [(["1", "2"] * 4, "classes"), (["1.5", "2.0", "3.5"], "number"), (["a", "2"], "classes"),
                         ([str(i) for i in range(30)], "number")])  # fmt: skip
def test_what_an_answer_is(labels, kind):
    assert pairs.Config().look([example(label) for label in labels]).kind == kind


def test_numbers_are_standardised_by_the_training_part(signal):
    rows = [example(label) for label in ("1.5", "2.5", "4.5")]
    config = pairs.Config().look(rows)
    assert (config.center, config.scale) == pytest.approx((2.8333333, np.std([1.5, 2.5, 4.5])))
    found = [sample.label for sample in config.samples([config.example(row) for row in rows], signal)]
    assert np.mean(found) == pytest.approx(0, abs=1e-6) and np.std(found) == pytest.approx(1, abs=1e-6)


def test_the_loss_of_numbers_is_half_the_squared_error():
    objective = contract.build(["pairs"], pairs={"kind": "number"})
    chosen = [one.but(label=np.float32(one.label)) for one in contract.samples(5)]
    batch = contract.batch_of(objective, chosen)
    part = objective.parts["pairs"]
    said = part.logits(part.encode(batch))[:, 0]
    loss = objective(batch)
    assert loss.terms["pairs"].sum.item() == pytest.approx(((said - batch["label"]) ** 2).sum().item() / 2)
    assert part.classifier.weight.shape[0] == 1


def test_influence_means_pearson_and_spreads_like_its_estimate():
    source = np.random.default_rng(0)
    gold = source.normal(size=4000)
    said = 0.6 * gold + 0.8 * source.normal(size=4000)
    r = np.corrcoef(gold, said)[0, 1]
    values = pairs.influence(gold, said, r)
    assert values.mean() == pytest.approx(r, abs=1e-12)
    resampled = [np.corrcoef(gold[i], said[i])[0, 1] for i in source.integers(0, 4000, (400, 4000))]
    assert values.std() / np.sqrt(4000) == pytest.approx(np.std(resampled), rel=0.15)


# ------------------------------------------------------------------ refusals


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do():
    config = pairs.Config(first="premise", second="hypothesis", kind="classes")
    assert refusal(lambda: config.example(example(hypothesis=" "))) == (
        "x.tsv:4:1: `hypothesis` is empty. Fill it in, or leave out the row; --skip-bad leaves out such rows."
    )
    assert refusal(lambda: pairs.Config(second="hypo").look([example()])) == (
        "x.tsv: has no column `hypo`. Name them: --set pairs.first=A --set pairs.second=B can be `premise`, "
        "`hypothesis`, `label`."
    )
    alone = [Example("", "x", Where("x.tsv", 1), {"text": "a b c", "label": "x"})]
    assert refusal(lambda: pairs.Config().look(alone)).startswith("x.tsv: has no two columns of text.")
    assert refusal(lambda: pairs.number(example("high"))) == (
        "x.tsv:4:1: the label `high` is no number. Write a number, or --set pairs.kind=classes."
    )
    assert refusal(lambda: pairs.pair("only one", 3)) == (
        "input 3: 1 text where a pair is needed. Write both with a tab between them."
    )


def test_an_empty_hypothesis_in_a_file_is_named(tmp_path):
    path = tmp_path / "pairs.tsv"
    lines = labelled_files.write_pairs(tmp_path, 12).read_text().splitlines()
    cells = lines[5].split("\t")
    lines[5] = "\t".join([*cells[:2], "", *cells[3:]])
    path.write_text("\n".join(lines) + "\n")
    message = refusal(lambda: runs.quick_adapt(tmp_path / "run", labels=path, task="pairs"))
    assert message.startswith(f"{path}:6:") and "`hypothesis` is empty" in message
