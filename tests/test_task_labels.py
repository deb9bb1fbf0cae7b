"""Classify with any number of labels a text: its loss against torch's, its figures against scikit-learn's, its model in
transformers, its threshold and temperature, and every verb on files with lists and separators."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from firth.data.labelled import open_labelled
from firth.data.splits import split
from firth.errors import InputError
from firth.functional.calibration import best_threshold
from firth.recipe import Data
from firth.task import Example, Outcome, Where
from firth.tasks import _labels
from firth.tasks.classify import Config
from tests import contract, labelled_files

NAMES = ("farm", "sea", "star", "town")
WEIGHTS = {"bad": 0.25, "good": 1.0, "so-so": 3.5}


def example(labels, text: str = "") -> Example:
    return Example(text or " ".join(labels) or "nothing", ", ".join(labels), Where("x.tsv", 1), target=tuple(labels))


def opened(folder, write=labelled_files.write_topics, config: Config | None = None, signal=None, **options):
    path = write(folder, **options)
    return open_labelled(Data(paths=(str(path),)), signal, 0, test_share=0.2, task=config or Config())


# ------------------------------------------------------------------ the loss


@pytest.mark.parametrize("weights", ["none", WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_torch_over_all_decisions(weights, smoothing):
    own = {"class_weights": weights, "label_smoothing": smoothing}
    objective = contract.build(["classify.several"], **{"classify.several": own})
    torch.nn.init.normal_(objective.parts["classify"].classifier.weight)
    batch = contract.batch_of(objective, contract.samples(6))
    part, loss = objective.parts["classify"], objective(batch)
    logits, label = part.logits(objective.encode(batch)), batch["label"].double()
    target = label * (1 - smoothing) + smoothing / 2
    factors = None if weights == "none" else torch.tensor(list(WEIGHTS.values()), dtype=torch.float64)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=factors)(logits, target)
    found, count = loss.terms["classify"]
    assert count == batch.counts["classify"] == 18
    torch.testing.assert_close(found / count, expected, rtol=1e-12, atol=1e-12)
    exact = ((logits > 0) == (label > 0)).all(1).sum()
    assert loss.metrics["classify_exact"] == (exact, 6)


def test_balanced_weights_give_both_sides_of_a_decision_the_same_part():
    config = Config(separator="|", class_weights="balanced", classes=("a", "b"))
    examples = [example(labels) for labels in (["a"], ["a"], ["a", "b"], [])]
    weights = config.learnt_from(examples).class_weights
    assert weights == {"a": pytest.approx(1 / 3), "b": pytest.approx(3)}
    for name in ("a", "b"):
        holds = [name in one.target for one in examples]
        assert sum(holds) * weights[name] == pytest.approx(len(holds) - sum(holds))


# ------------------------------------------------------------------ reading rows


@pytest.mark.parametrize("separator", ["|", ";", ", ", None])
def test_labels_are_found_by_content_and_the_plan_says_how(tmp_path, separator):
    name = "topics.jsonl" if separator is None else "topics.tsv"
    labelled = opened(tmp_path, name=name, separator=separator)
    assert labelled.classes == labelled.task.classes == NAMES and labelled.task.several
    how = "as lists" if separator is None else f"separated by `{separator.strip()}`"
    assert labelled.task.notes == [f"several labels a text, {how}"]
    for record in labelled.records["train"]:
        told = tuple(name for name in NAMES if any(word in record.text for word in labelled_files.TOPICS[name][0]))
        assert record.target == told and record.label == ", ".join(told)
    counts = labelled.facts["classes"]["train"]
    assert counts == {name: sum(name in one.target for one in labelled.records["train"]) for name in NAMES}


def test_parquet_has_lists_too(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = labelled_files.write_topics(tmp_path, name="topics.jsonl", separator=None)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "topics.parquet")
    both = [
        open_labelled(Data(paths=(str(one),)), None, 0, task=Config()) for one in (path, tmp_path / "topics.parquet")
    ]
    assert [one.target for one in both[0].records["train"]] == [one.target for one in both[1].records["train"]]


def test_a_separator_may_be_named_or_denied(tmp_path):
    named = opened(tmp_path, separator="/", config=Config(separator="/"))
    assert named.classes == NAMES and named.task.separator == "/"
    denied = opened(tmp_path, config=Config(separator="none"))
    assert not denied.task.several and "farm|sea" in denied.classes


def test_one_label_a_text_stays_as_it_was():
    labels = ["good", "bad", "Arts, crafts", "Bed, bath"]
    looked = Config().look([Example("x", label, Where("x")) for label in labels])
    assert (looked.separator, looked.several, looked.metric) == ("none", False, "accuracy")
    one = Example("x", "Arts, crafts", Where("x"))
    assert looked.example(one) is one and looked.notes == []


def test_rare_labels_come_to_both_sides_of_a_split():
    source = np.random.default_rng(0)
    records = [example([name for name, rate in (("a", 0.6), ("b", 0.3), ("c", 0.06)) if source.random() < rate], str(i))
               for i in range(200)]  # fmt: skip
    done = split({"train": records, "valid": [], "test": []}, 100, 0, 0.2, classes_of=lambda one: one.target)
    for part in ("train", "valid", "test"):
        assert {name for one in done.parts[part] for name in one.target} == {"a", "b", "c"}


def test_a_sample_has_a_row_of_labels(tmp_path):
    labelled = opened(tmp_path, signal=SimpleNamespace(encode=lambda texts: [
        SimpleNamespace(ids=np.array([5], np.int32), breaks=None) for _ in texts]))  # fmt: skip
    for sample, record in zip(labelled.train.samples, labelled.records["train"], strict=True):
        assert sample.label.dtype == np.float32
        assert [name for name, there in zip(NAMES, sample.label, strict=True) if there] == list(record.target)


@pytest.mark.parametrize(("rows", "options", "message"), [
    (["a\tsea|farm", "b\tsea", "c\tfarm", "d\tsea|farms", "e\tfarm|sea"], {},
     "topics.tsv:5:3: the label `farms` is seen once. Did you mean `farm`? Give at least two examples of each label, "
     "or leave out the row; --skip-bad leaves out such rows."),
    (["a\tsea|farm", "b\tSea", "c\tfarm", "d\tsea", "e\tfarm|sea"], {},
     "topics.tsv:3:3: the label `Sea` (1×) is written `sea` (3×), too. Write it in one way everywhere; --skip-bad "
     "leaves out the rarer spelling."),
    (["a\tsea|farm", "b\tsea", "c\tfarm", "d\t", "e\tfarm|sea"], {},
     "topics.tsv:5:3: `label` is empty. Fill in the label, or leave out the row; --skip-bad leaves out such rows."),
    (["a\tsea|farm", "b\tsea", "c\tfarm", "d\tsea"], {"class_weights": {"sea": 2.0, "fram": 1.0}},
     "classify.class_weights: `fram` is no class. Did you mean `farm`? There is: `farm`, `sea`."),
])  # fmt: skip
def test_what_is_wrong_with_labels_is_said_where_it_stands(tmp_path, monkeypatch, rows, options, message):
    monkeypatch.chdir(tmp_path)
    lines = ["text\tlabel", *rows, *(f"more {i}\tfarm" for i in range(4))]
    (tmp_path / "topics.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as caught:
        open_labelled(Data(paths=("topics.tsv",)), None, 0, task=Config(separator="|", **options))
    assert str(caught.value) == message


# ------------------------------------------------------------------ answers


class Head:
    """Gives made-up logits."""

    temperature = None

    def __init__(self, config: Config):
        self.config = config

    def soften(self, temperature: float) -> None:
        self.temperature = temperature


@pytest.fixture
def given(monkeypatch):
    """evaluate and settle over made-up logits."""

    def make(logits, gold, **own):
        head, rows = Head(Config(separator="|", classes=NAMES, **own)), np.asarray(logits, np.float32)
        monkeypatch.setattr(_labels, "outputs", lambda run, signal, examples: rows / (head.temperature or 1))
        return head, [example(labels, str(i)) for i, labels in enumerate(_labels.names(gold, NAMES))]

    return make


def decisions(seed: int, count: int, times: float = 1.0):
    source = np.random.default_rng(seed)
    true = source.normal(-1, 2, (count, len(NAMES)))
    return true * times, source.random(true.shape) < 1 / (1 + np.exp(-true))


def test_few_examples_choose_no_threshold_and_no_temperature(given):
    head, examples = given(*decisions(0, 19))
    assert _labels.settle(head, None, examples, None) == {"threshold": 0.5}


def test_some_examples_choose_a_threshold_and_more_a_temperature(given):
    logits, gold = decisions(0, 40)
    head, examples = given(logits, gold)
    told = _labels.settle(head, None, examples, None)
    assert told == {"threshold": pytest.approx(best_threshold(_labels.shares_of(logits.astype(np.float32)), gold))}
    head, examples = given(*decisions(1, 5000, times=2.0))
    told = _labels.settle(head, None, examples, None)
    assert told["temperature"] == head.temperature == pytest.approx(2.0, rel=0.1)
    assert 0.2 < told["threshold"] < 0.5
    assert _labels.settle(given(*decisions(1, 200), calibrate=False)[0], None, examples[:200], 0.7) == {
        "threshold": 0.7
    }


def test_scores_and_calibration_equal_scikit_learn_and_plain_numpy(given):
    logits, gold = decisions(2, 300, times=3.0)
    head, examples = given(logits, gold)
    head.temperature = 3.0
    found = _labels.evaluate(head, None, examples, 0.4)
    shares = 1 / (1 + np.exp(-logits.astype(np.float32).astype(float) / 3))
    said = shares > 0.4
    figures = found.figures
    assert figures["micro_f1"] == pytest.approx(reference.f1_score(gold, said, average="micro"))
    assert figures["macro_f1"] == pytest.approx(reference.f1_score(gold, said, average="macro"))
    assert figures["exact_match"] == pytest.approx(reference.accuracy_score(gold, said))
    assert figures["decision_accuracy"] == pytest.approx(1 - reference.hamming_loss(gold, said))
    assert figures["calibration_error"] == pytest.approx(error(shares, gold), abs=1e-6)
    sharp = 1 / (1 + np.exp(-logits))
    assert figures["calibration_error_before"] == pytest.approx(error(sharp, gold), abs=1e-6)
    assert figures["calibration_error"] < figures["calibration_error_before"]
    assert found.right.mean() == pytest.approx(figures["micro_f1"])
    wrong = (said != gold).any(1)
    assert len(found.wrong) == wrong.sum() and {one["text"] for one in found.wrong} == set(
        map(str, np.flatnonzero(wrong))
    )
    sure = [one["probability"] for one in found.wrong]
    assert sure == sorted(sure, reverse=True) and min(sure) > 0.3


def error(shares, holds, bins: int = 15) -> float:
    """Calibration error over all decisions, bin by bin."""
    shares, holds, total = shares.ravel(), holds.ravel(), 0.0
    for number in range(bins):
        inside = (shares > number / bins) & (shares <= (number + 1) / bins)
        total += abs((holds[inside] - shares[inside]).sum())
    return total / len(shares)


def test_the_spread_of_right_is_that_of_the_score():
    """Its variance over N is that of micro-F1 over samples of N, by drawing them."""
    source = np.random.default_rng(0)
    gold = source.random((4000, 3)) < [0.5, 0.2, 0.1]
    said = np.where(source.random(gold.shape) < 0.8, gold, ~gold)
    whole = _labels.score(gold, said, NAMES[:3])["micro_f1"]
    drawn = [source.integers(0, 4000, 200) for _ in range(2000)]
    scores = [_labels.score(gold[i], said[i], NAMES[:3])["micro_f1"] for i in drawn]
    values = _labels.influence(gold, said, whole)
    assert values.mean() == pytest.approx(whole)
    assert np.sqrt(values.var() / 200) == pytest.approx(np.std(scores), rel=0.1)


def test_nothing_said_and_nothing_true_is_zero():
    config = Config(separator="|", classes=NAMES)
    found: Outcome = _labels.judged(config, [example([])], [[]])
    assert found.figures["micro_f1"] == 0 and found.right.tolist() == [0] and found.wrong == []
    assert found.figures["exact_match"] == 1
