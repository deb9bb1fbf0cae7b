"""Comparisons of tags, answers, pairs and numbers: on the page and on the terminal, in their own metric, offline."""

import io
import json
import re

import numpy as np
import pytest

from firth.evaluate.comparison import Comparison, Point, Trial
from firth.report import comparison_page as page
from firth.report.html import write_comparison
from firth.report.terminal import Terminal
from tests.comparisons import HOSTILE
from tests.test_report_html import Structure, check

TITLES = {"random": "Random initialisation", "pretrained": "Pre-trained", "word-overlap": "Word overlap"}
RATES = {"random": 0.5, "pretrained": 0.75, "word-overlap": 0.6}
ITEMS = 200
METRICS = {"tag": "accuracy", "span": "f1", "numbers": "pearson", "pairs": "accuracy"}


def made(kind: str, seeds: int = 3, rates=None, budgets=(30,)) -> Comparison:
    """A comparison whose arms have the known rates, nearly."""
    rates, source = rates or RATES, np.random.default_rng(5)
    count = source.integers(1, 12, ITEMS).astype(float) if kind == "tag" else None
    trials = [trial(kind, arm, rates[arm], labels, seed, count) for arm in TITLES for labels in budgets
              for seed in range(seeds)]  # fmt: skip
    classes = ("contradiction", "entailment", "neutral") if kind == "pairs" else ()
    gold = np.arange(ITEMS) % 3 if kind == "pairs" else [["NOUN"]] * ITEMS
    inputs = [f"first text {i} {HOSTILE}\nsecond text" for i in range(ITEMS)]
    return Comparison(TITLES, classes, gold, trials, rivals=["random", "word-overlap"], inputs=inputs,
                      metric=METRICS[kind], count=count)  # fmt: skip


def trial(kind: str, arm: str, rate: float, labels: int, seed: int, count) -> Trial:
    source = np.random.default_rng([seed, labels, len(arm)])
    share = float("nan") if kind == "numbers" else rate
    curve = () if arm == "word-overlap" else tuple(Point(step, 1.1 - rate * step / 100, share) for step in (0, 50, 100))
    if kind == "pairs":
        gold = np.arange(ITEMS) % 3
        said = np.where(source.random(ITEMS) < rate, gold, (gold + 1) % 3)
        said[:3] = (gold[:3] + 1) % 3  # wrong with every seed
        return Trial(arm, labels, seed, said, curve, 1.0)
    right = np.clip(rate + source.normal(size=ITEMS) * 0.2, 0, 1) * (1 if count is None else count)
    return Trial(arm, labels, seed, ["NOUN"] * ITEMS, curve, 1.0, right)


def written(tmp_path, found: Comparison) -> str:
    return write_comparison(found, tmp_path / "report.html").read_text(encoding="utf-8")


def printed(found: Comparison) -> str:
    shown = Terminal(file=io.StringIO())
    shown.result(found)
    return shown.out.getvalue()


# ------------------------------------------------------------------ the page


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_is_whole_asks_nothing_and_says_the_verdict(tmp_path, kind, seeds):
    found = made(kind, seeds, budgets=(30, 60))
    text = written(tmp_path, found)
    shown = check(text)
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert all("w3.org" in one or one.startswith("http://example.org/x.png") for one in addresses)
    assert "img" not in shown.tags and found.verdict in "".join(shown.text)
    assert not re.search(r"\bnan\b", "".join(Structure(text).text))


@pytest.mark.parametrize(("kind", "name"), [("tag", "accuracy"), ("span", "F1"), ("numbers", "Pearson's correlation")])
def test_the_metric_is_called_by_its_name(tmp_path, kind, name):
    found = made(kind)
    assert page.table(found, 30)["head"][1] == f"test {name}"
    assert page.accuracies(found, 30)["title"] == f"{name[0].upper()}{name[1:]} on 200 test items, 30 labels"
    assert page.efficiency(made(kind, budgets=(30, 60)))["title"] == f"{name[0].upper()}{name[1:]} against labels"


@pytest.mark.parametrize("kind", METRICS)
def test_the_numbers_on_the_page_are_those_of_the_comparison(kind):
    found = made(kind)
    for arm, row in zip(TITLES, page.table(found, 30)["rows"], strict=True):
        mean = np.mean([found.score(one) for one in found.of(arm, 30)])
        assert row[1] == f"{100 * mean:.1f} %"
        assert mean == pytest.approx(RATES[arm], abs=0.06)


@pytest.mark.parametrize("kind", ["tag", "span", "numbers"])
def test_without_classes_there_is_no_confusion_and_no_list_of_mistakes(kind):
    found = made(kind)
    assert page.confusions(found) == [] and found.mistakes("pretrained", 30) == []


def test_pairs_have_a_confusion_and_mistakes_that_are_text(tmp_path):
    found = made("pairs")
    assert [len(one["rows"]) for one in page.confusions(found)] == [3, 3]
    mistakes = found.mistakes("pretrained", 30)
    assert mistakes[0] == (f"first text 0 {HOSTILE}\nsecond text", "contradiction", "entailment")
    assert HOSTILE in "".join(Structure(written(tmp_path, found)).text)


def test_numbers_have_a_curve_of_the_loss_alone():
    titles = [chart["title"] for chart in page.budget(made("numbers"), 30)["charts"]]
    assert titles[0].startswith("Validation loss") and not any("accuracy" in one for one in titles)
    assert len(page.budget(made("tag"), 30)["charts"]) == len(titles) + 1


# ------------------------------------------------------------------ numbers for other programs


@pytest.mark.parametrize("kind", METRICS)
def test_as_json_nothing_is_no_number(tmp_path, kind):
    def refuse(name):
        raise AssertionError(name)

    told = json.loads(made(kind, 2).save(tmp_path / "c.json").read_text(), parse_constant=refuse)
    assert told["metric"] == METRICS[kind] and len(told["curves"]) == 4
    assert told["curves"][0]["accuracy"] == ([None] * 3 if kind == "numbers" else [RATES["random"]] * 3)
    assert (told["arms"][0]["confusion"] is None) == (kind != "pairs")


# ------------------------------------------------------------------ the terminal


@pytest.mark.parametrize("kind", METRICS)
def test_the_terminal_shows_table_and_verdict_in_the_metric(kind):
    found = made(kind)
    text = printed(found)
    assert f"Verdict  {found.verdict}\n" in text and found.sentences[0] in text
    (head,) = (line for line in text.splitlines() if "95 % interval" in line and "start" in line)
    assert METRICS[kind] in head
    assert ("validation accuracy" in text) == (kind != "numbers") and "nan" not in text


def test_the_weights_of_sentences_are_their_words():
    """A long sentence counts as often as it has words: not the mean over sentences."""
    found = made("tag", 1)
    (one,) = found.of("pretrained", 30)
    assert found.score(one) == pytest.approx(one.right.sum() / found.count.sum())
    assert found.score(one) != pytest.approx((one.right / found.count).mean(), abs=1e-6)


@pytest.mark.parametrize(("rate", "finding"), [(0.75, "better"), (0.5, "a difference is not shown"), (0.3, "worse")])
@pytest.mark.parametrize("kind", ["tag", "span"])
def test_what_is_found_follows_the_rates(kind, rate, finding):
    found = made(kind, 6, {"random": 0.5, "pretrained": rate, "word-overlap": 0.6})
    (first, _) = found.as_dict()["differences"]
    assert first["against"] == "random"
    assert first["finding"] == finding or (rate == 0.5 and abs(first["accuracy"]) < 0.03)


def test_one_seed_is_one_seed(tmp_path):
    assert "30 labels in all, 1 seed, 200 test items" in printed(made("tag", 1))
    text = "".join(Structure(written(tmp_path, made("tag", 1))).text)
    assert "Every arm was adapted with 1 seed." in text and "1 seeds" not in text and "mean over 1 seed." in text


@pytest.mark.parametrize(("rival", "said"), [("word-overlap", "over word overlap at"), ("tf-idf", "over TF-IDF at")])
def test_names_keep_their_capitals_within_a_sentence(rival, said):
    trials = [trial("span", arm, 0.6, 30, seed, None) for arm in ("pretrained", rival) for seed in range(3)]
    titles = {"pretrained": "Pre-trained", rival: {"tf-idf": "TF-IDF"}.get(rival, "Word overlap")}
    found = Comparison(titles, (), [["x"]] * ITEMS, trials, rivals=[rival], metric="f1")
    assert said in found.verdict and page.table(found, 30)["head"][3] == "pre-trained gains"
