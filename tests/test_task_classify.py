"""Classify: its loss against the formula, its metrics against scikit-learn, its pooling, predictions and refusals."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from firth.errors import InputError
from firth.functional.random import Draw
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.init import initialise
from firth.model.sizes import shape_of
from firth.objective import Composed, collate
from firth.signal import Batch, Facts, Features, Sample
from firth.task import Example, Where
from firth.tasks import _one_label, classify
from firth.tasks.classify import Classify, Config
from tests.contract import SIGNAL

CLASSES = ("bad", "good", "so-so")


def model(shape_name="modernbert", seed=0, **config) -> Composed:
    shape = shape_of(shape_name, "2x32", SIGNAL.facts.vocabulary, 32, dropout=0.1)
    backbone = Backbone(shape, TokenEmbedding(shape))
    objective = Composed(backbone, {"classify": Classify(Config(classes=CLASSES, **config), backbone)})
    initialise(objective, shape, seed)
    return objective


def samples(count=6, longest=12, seed=0) -> list[Sample]:
    source = np.random.default_rng(seed)
    rows = [source.integers(5, 40, source.integers(2, longest)).astype(np.int32) for _ in range(count)]
    return [Sample((row,), key=i, label=i % 3) for i, row in enumerate(rows)]


def batch_of(items, objective) -> Batch:
    return collate(items, objective.configs, SIGNAL, Draw(0))


def probabilities(part, batch) -> torch.Tensor:
    return _one_label.logits_of(part, batch).softmax(-1)


def test_the_loss_is_the_sum_of_negative_log_probabilities():
    objective = model().eval()
    batch = batch_of(samples(), objective)
    loss = objective(batch)
    shares = probabilities(objective.parts["classify"], batch)
    expected = -shares[range(6), batch["label"]].log().sum()
    torch.testing.assert_close(loss.terms["classify"].sum, expected)
    right = (shares.argmax(-1) == batch["label"]).sum()
    assert loss.metrics["classify_accuracy"].sum == right
    assert loss.terms["classify"].count == batch.counts["classify"] == 6


def test_label_smoothing_spreads_the_target():
    objective = model(label_smoothing=0.3).eval()
    batch = batch_of(samples(), objective)
    logs = probabilities(objective.parts["classify"], batch).log()
    target = torch.full((6, 3), 0.1).scatter(1, batch["label"][:, None], 0.8)
    torch.testing.assert_close(objective(batch).terms["classify"].sum, -(target * logs).sum())


def test_the_loss_is_double_in_double_and_at_least_single_otherwise():
    double = model().eval().double()
    batch = batch_of(samples(), double)
    assert double(batch).terms["classify"].sum.dtype == torch.float64
    assert double.bfloat16()(batch).terms["classify"].sum.dtype == torch.float32


def test_padding_changes_nothing():
    objective = model().eval()
    items = samples()
    together = probabilities(objective.parts["classify"], batch_of(items, objective))
    alone = [probabilities(objective.parts["classify"], batch_of([item], objective)) for item in items]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("shape", "asked", "used"), [
    ("bert", "auto", "first"), ("bert", "first", "first"),
    ("modernbert", "auto", "mean"), ("modernbert", "first", "first"),
    ("llama", "auto", "last"), ("gpt2", "last", "last"),
])  # fmt: skip
def test_pooling_follows_the_shape_unless_told(shape, asked, used):
    part = model(shape, pooling=asked).eval().parts["classify"]
    assert part.pooling == used
    values = torch.randn(2, 4, 32)
    padding = torch.tensor([[False, False, True, True], [False] * 4])
    mean, last = torch.stack([values[0, :2].mean(0), values[1].mean(0)]), torch.stack([values[0, 1], values[1, 3]])
    expected = part.classifier(part.pool({"first": values[:, 0], "mean": mean, "last": last}[used]))
    torch.testing.assert_close(part.logits(Features(values, padding)), expected)


@pytest.mark.parametrize("shape", ["frames", "causal-frames", "wav2vec2", "hubert"])
def test_of_sound_it_reads_how_much_steps_differ_too(shape):
    backbone = SimpleNamespace(shape=SimpleNamespace(name=shape, width=32, patch=0))
    values, padding = torch.randn(2, 4, 32), torch.tensor([[False, False, True, True], [False] * 4])
    part = Classify(Config(classes=CLASSES), backbone).eval()
    assert part.facts == {"pooling": "statistics"}
    rows = [values[0, :2], values[1]]
    moments = torch.stack([torch.cat([one.mean(0), (one.var(0, correction=0) + 1e-5).sqrt()]) for one in rows])
    torch.testing.assert_close(part.logits(Features(values, padding)), part.classifier(moments))
    former = Classify(Config(classes=CLASSES, pooling="mean"), backbone)
    assert former.classifier.in_features == 32


def test_dropout_of_the_pooled_vector_acts_in_training_only():
    part = model(dropout=0.5).parts["classify"]
    torch.nn.init.normal_(part.classifier.weight)  # which begins at 0, so that nothing would show
    features = Features(torch.randn(4, 3, 32))
    assert not torch.equal(part.train().logits(features), part.logits(features))
    assert torch.equal(part.eval().logits(features), part.logits(features))


def test_classes_come_from_the_facts():
    facts = Facts(frozenset({"tokens"}), classes=("ham", "spam"))
    assert Config().fill(facts).classes == ("ham", "spam")
    assert Config(classes=CLASSES).fill(Facts(frozenset())).classes == CLASSES


def test_counts_are_written_before_forward_and_need_labels():
    config = Config(classes=CLASSES)
    assert config.prepare(Batch(label=torch.tensor([0, 1])), Draw(0)).counts == {"classify": 2}
    assert config.prepare(Batch(tokens=torch.zeros(2, 3)), Draw(0)).counts == {"classify": 0}


def test_one_batch_is_learnt_by_heart():
    objective = model(dropout=0.0)
    batch = batch_of(samples(), objective)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    for _ in range(60):
        loss = objective(batch).terms["classify"].sum / 6
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


# ------------------------------------------------------------------ predict


def texts(count=5):
    return [" ".join(map(str, range(5 + i, 9 + 2 * i))) for i in range(count)]


def test_predict_names_the_likeliest_label_first():
    found = classify.predict(model(), SIGNAL, texts())
    assert [item.text for item in found] == texts()
    for item in found:
        assert list(item.probabilities) == sorted(CLASSES, key=lambda label: -item.probabilities[label])
        assert item.label == next(iter(item.probabilities)) and item.probability == item.probabilities[item.label]
        assert math.isclose(sum(item.probabilities.values()), 1, abs_tol=1e-5)


def test_predict_names_as_many_labels_as_asked():
    assert [len(item.probabilities) for item in classify.predict(model(), SIGNAL, texts(2), top=2)] == [2, 2]
    assert classify.predict(model(), SIGNAL, []) == []


def test_predict_leaves_the_modules_in_the_mode_they_were_in_and_is_the_same_each_time():
    objective = model().train()
    objective.backbone.embed.eval()
    modes = [module.training for module in objective.modules()]
    assert classify.predict(objective, SIGNAL, texts()) == classify.predict(objective, SIGNAL, texts())
    assert [module.training for module in objective.modules()] == modes


# ------------------------------------------------------------------ score


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scikit_learn(classes, seed):
    source = np.random.default_rng(seed)
    gold = source.integers(0, classes, 200)
    predicted = np.where(source.random(200) < 0.6, gold, source.integers(0, classes, 200))
    found = _one_label.score(gold.tolist(), predicted.tolist(), [str(i) for i in range(classes)])
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(gold, predicted), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(gold, predicted, average="macro"), abs=1e-12)
    assert found["matthews"] == pytest.approx(sklearn_metrics.matthews_corrcoef(gold, predicted), abs=1e-12)
    expected = sklearn_metrics.confusion_matrix(gold, predicted, labels=range(classes))
    assert found["confusion"] == expected.tolist() and found["items"] == 200


def test_scores_equal_scikit_learn_where_a_class_is_never_guessed():
    gold, predicted = [0, 0, 1, 2], [0, 0, 0, 0]
    found = _one_label.score(gold, predicted, CLASSES)
    expected = sklearn_metrics.f1_score(gold, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["matthews"] == sklearn_metrics.matthews_corrcoef(gold, predicted) == 0


def test_evaluate_scores_all_examples_and_says_what_is_wrong():
    objective, items = model(), samples(9)
    texts = [" ".join(map(str, item.parts[0])) for item in items]
    examples = [Example(text, CLASSES[item.label], Where("x")) for text, item in zip(texts, items, strict=True)]
    found = classify.evaluate(objective, SIGNAL, examples)
    whole = probabilities(objective.parts["classify"], batch_of(items, objective))
    right = [int(row.argmax()) == item.label for row, item in zip(whole, items, strict=True)]
    assert found.figures["accuracy"] == pytest.approx(sum(right) / 9) and found.right.tolist() == right
    missed = {text for text, ok in zip(texts, right, strict=True) if not ok}
    assert {wrong["text"] for wrong in found.wrong} == missed
    shares = [wrong["probability"] for wrong in found.wrong]
    assert shares == sorted(shares, reverse=True) and all(one["gold"] != one["predicted"] for one in found.wrong)


def test_score_refuses_lists_of_different_length():
    with pytest.raises(InputError) as caught:
        _one_label.score([0, 1], [0], CLASSES)
    assert str(caught.value) == "score: 2 gold labels and 1 predictions. Give one prediction per gold label."


# ------------------------------------------------------------------ what it says about data, and refuses


def test_a_rare_class_is_told_of():
    config = Config(classes=("bad", "good", "none"))
    examples = [Example("x", label, Where("a.tsv", 1)) for label in ["good"] * 98 + ["bad"] * 2]
    found = config.remarks(examples)
    assert [f.level for f in found] == ["warning"]
    assert found[0].what == "`none` has 0 examples, the commonest class 98"
    two = Config(classes=("bad", "good"))
    assert two.remarks(examples)[0].what == "`bad` has 2 examples, the commonest class 98"
    assert two.remarks(examples[-7:]) == two.remarks([]) == []


@pytest.mark.parametrize(("classes", "what"), [((), "there are no classes"), (("a",), "there is one class only, `a`")])
def test_one_class_is_refused(classes, what):
    backbone = SimpleNamespace(shape=SimpleNamespace(name="bert", width=8))
    with pytest.raises(InputError) as caught:
        Classify(Config(classes=classes), backbone)
    assert str(caught.value) == (
        f"task `classify`: {what}: nothing to tell apart. "
        "Give labelled data with at least two labels; --label names the column."
    )


def test_a_pooling_that_the_shape_cannot_hold_is_refused():
    with pytest.raises(InputError) as caught:
        model("bert", pooling="mean")
    assert str(caught.value) == (
        "classify.pooling: the shape `bert` cannot hold `mean`. Leave classify.pooling out, or set it to first."
    )


def test_the_head_has_the_parameters_of_the_usual_form():
    part = model("bert").parts["classify"]
    assert isinstance(part.classifier, nn.Linear) and part.classifier.out_features == 3
    assert {name.split(".")[0] for name, _ in part.named_parameters()} == {"pool", "classifier"}
