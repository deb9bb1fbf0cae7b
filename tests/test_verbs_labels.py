"""Several labels a text through every verb: the baseline, scoring, adapting, the model in transformers, comparing."""

import json

import pytest
import torch
from sklearn import metrics as reference
from sklearn.multiclass import OneVsRestClassifier

from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.evaluate import baselines
from firth.evaluate.predict import load, predict
from firth.evaluate.scoring import score
from firth.evaluate.versus import versus
from firth.functional.calibration import best_threshold
from firth.interop.folder import open_folder
from firth.recipe import Data
from firth.report.html import write_comparison
from firth.report.terminal import Terminal
from firth.signal import Batch
from firth.tasks import _labels, classify
from firth.tasks.classify import Config
from tests import contract, labelled_files, runs
from tests.test_task_labels import NAMES, example

# ------------------------------------------------------------------ the baseline


def test_the_baseline_is_one_vs_rest_with_strength_and_threshold_from_the_labels_themselves(tmp_path):
    path = labelled_files.write_topics(tmp_path, 70)
    labelled = open_labelled(Data(paths=(str(path),)), None, 0, test_share=0.2, task=Config())
    given_, test = [*labelled.records["train"], *labelled.records["valid"]], labelled.records["test"]
    said = baselines.tf_idf(given_, test, seed=3)
    words = baselines._words(given_)
    seen, unseen = (words.transform([one.text for one in part]) for part in (given_, test))
    gold = _labels.holds([one.target for one in given_], NAMES)
    found = []
    for strength in baselines.STRENGTHS:
        model = OneVsRestClassifier(baselines.logistic(strength)).fit(seen, gold)
        held = baselines.held_out_shares(seen, gold, strength, 3)
        found.append((reference.log_loss(gold.ravel(), held.ravel()), strength, best_threshold(held, gold), model))
    _, _, threshold, model = min(found, key=lambda one: one[0])
    assert said == _labels.names(model.predict_proba(unseen) > threshold, NAMES)
    figures = classify.judged(labelled.task, test, said).figures
    assert figures["micro_f1"] > 0.8


def test_the_baseline_can_do_with_a_label_that_all_have():
    given_ = [example(["a", name], f"text {name}") for name in ("b", "c")] * 2
    assert all("a" in labels for labels in baselines.tf_idf(given_, given_[:2]))


# ------------------------------------------------------------------ scoring what any tool said


def files(tmp_path, gold, said):
    for name, rows in (("gold.jsonl", gold), ("said.jsonl", said)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "gold.jsonl", tmp_path / "said.jsonl"


@pytest.mark.parametrize("write", ["|".join, "; ".join, ", ".join, list, " ".join, json.dumps])
def test_labels_are_scored_however_they_are_written(tmp_path, write):
    gold = [["a", "b"], ["a"], ["b", "c"], ["c"], [], ["b"]]
    said = [["a"], ["a"], ["c", "b"], ["c"], [], ["a", "b"]]
    rows = [{"label": "|".join(one) or "[]"} for one in gold]
    found = score(*files(tmp_path, rows, [{"labels": write(one)} for one in said]), "classify")
    true, guess = (_labels.holds(part, ["a", "b", "c"]) for part in (gold, said))
    assert found["micro_f1"] == pytest.approx(reference.f1_score(true, guess, average="micro"))
    assert found["exact_match"] == pytest.approx(4 / 6) and found["classes"] == ["a", "b", "c"]


def test_a_setting_says_what_separates(tmp_path):
    gold = [{"label": "a/b"}, {"label": "a"}, {"label": "b"}]
    paths = files(tmp_path, gold, [{"labels": ["a"]}, {"labels": ["a"]}, {"labels": []}])
    found = score(*paths, "classify", settings=["classify.separator=/"])
    assert found["micro_f1"] == pytest.approx(2 * 2 / (2 + 4)) and found["exact_match"] == pytest.approx(1 / 3)
    with pytest.raises(InputError) as caught:
        score(*paths, "classify", settings=["classify.seperator=/"])
    assert str(caught.value).startswith("--set: `classify.seperator` is no key. Did you mean `classify.separator`?")


def test_a_label_that_nobody_knows_is_refused(tmp_path):
    paths = files(tmp_path, [{"label": ["sea"]}, {"label": ["farm", "sea"]}], [{"labels": ["se"]}, {"labels": []}])
    with pytest.raises(InputError) as caught:
        score(*paths, "classify")
    assert str(caught.value) == (
        f"{paths[1]}:1:1: the label `se` is not in {paths[0]}. Did you mean `sea`? There is: `farm`, `sea`. "
        "If `se` may be predicted: --classes se"
    )
    assert score(*paths, "classify", classes=["se"])["classes"] == ["farm", "se", "sea"]


# ------------------------------------------------------------------ the whole way


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    place = tmp_path_factory.mktemp("labels")
    torch.set_num_threads(1)
    labels, test = labelled_files.write_topics(place, 160), labelled_files.write_topics(place, 40, 1, "test.tsv")
    show = runs.Told()
    result = runs.quick_adapt(place / "run", [f"data.test={test}"], labels, show=show)
    return place, result, show


def test_the_plan_names_the_separator_and_the_result_the_threshold(adapted):
    _, result, show = adapted
    assert show.lines["Data"].endswith("4 classes (farm, sea, star, town) · several labels a text, separated by `|`")
    assert show.lines["Settled"] == f"threshold {result.settled['threshold']:.2f} · by 32 validation examples"
    assert show.lines["Result"].startswith(f"test micro F1 {result.score['micro_f1']:.3f} · macro F1 ")
    assert result.score["items"] == 40 and "confusion" not in result.score


def test_transformers_opens_the_model_as_one_of_several_labels(adapted):
    transformers = pytest.importorskip("transformers")
    place, result, _ = adapted
    config = json.loads((place / "run" / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {str(number): name for number, name in enumerate(NAMES)}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place / "run" / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "run" / "model")
    loaded = load(place / "run")
    texts = ["The ship meets the anchor.", "The cow leaves the barn and the tram."]
    read = tokenizer(texts, return_tensors="pt", padding=True)
    label = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 1]])
    with torch.no_grad():
        theirs = model(**read, labels=label)
    ours = list(loaded.predict(texts))
    for one, row in zip(ours, theirs.logits.sigmoid().tolist(), strict=True):
        assert one.probabilities == pytest.approx(dict(zip(NAMES, row, strict=True)), abs=1e-5)
        assert one.labels == [
            name for name in one.probabilities if one.probabilities[name] > result.settled["threshold"]
        ]
    part = loaded.objective.parts["classify"]
    batch = Batch(tokens=read["input_ids"], pad=read["attention_mask"] == 0, label=label)
    found = part.eval()(part.config.prepare(batch, contract.DRAW)).terms["classify"]
    assert float(found.sum.detach() / found.count) == pytest.approx(float(theirs.loss), abs=1e-5)


def test_a_model_of_several_labels_by_others_is_opened_as_one(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
                                     intermediate_size=48, problem_type="multi_label_classification",
                                     id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    assert open_folder(tmp_path).facts["separator"] == "list"


def test_predictions_are_scored_as_adapt_scored_them(adapted):
    place, result, _ = adapted
    Terminal().predictions(predict(place / "run", [str(place / "test.tsv")]), place / "said.jsonl")
    found = score(place / "test.tsv", place / "said.jsonl", "classify")
    for name in ("items", "micro_f1", "macro_f1", "exact_match", "decision_accuracy", "classes"):
        assert found[name] == result.score[name]
    first = json.loads((place / "said.jsonl").read_text().splitlines()[0])
    assert set(first) == {"text", "labels", "probabilities"}


def test_arms_are_compared_by_micro_f1(adapted, tmp_path):
    place, _, _ = adapted
    plan = versus(runs.folder() / "pretrained", place / "topics.tsv", labels="60", out=tmp_path / "c", dry_run=True)
    assert plan["rows"] == ["several labels a text, separated by `|`"]
    few = {"train.steps": 4, "train.batch": 4, "train.evaluate_every": 2, "train.precision": "fp32"}
    found = versus(runs.folder() / "pretrained", place / "topics.tsv", labels="60", seeds=3, settings=few,
                   arms="random,pretrained,tf-idf", out=tmp_path / "c", report=write_comparison)  # fmt: skip
    assert found.metric == "micro_f1" and found.classes == ()
    assert found.accuracy("tf-idf", 60).mean > 0.8
    told = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert told["arms"][0]["confusion"] is None and told["metric"] == "micro_f1"
    assert "micro F1" in (tmp_path / "c" / "report.html").read_text()
    again = versus(runs.folder() / "pretrained", place / "topics.tsv", labels="60", seeds=3, settings=few,
                   arms="random,pretrained,tf-idf", out=tmp_path / "c")  # fmt: skip
    assert again.as_dict()["arms"] == found.as_dict()["arms"]
