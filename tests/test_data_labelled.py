"""Labelled data: what is refused, how it is split, and how a budget of labels is drawn."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.data.labelled import open_labelled
from firth.data.labels import check_labels, class_names
from firth.data.records import Problems, Record, Where
from firth.data.splits import _quota, content, split
from firth.errors import InputError
from firth.recipe import Data
from tests.material import write_corpus, write_labels


class Encoded(NamedTuple):
    ids: np.ndarray
    breaks: np.ndarray


class Letters:
    """A signal whose tokens are characters."""

    def encode(self, texts):
        return [Encoded(np.array([ord(c) for c in text], np.int32), np.empty(0, np.int32)) for text in texts]


def opened(path, seed=0, classes=None, test_share=0.0, **options):
    return open_labelled(Data(paths=(str(path),), **options), Letters(), seed, classes, test_share)


def rows(tmp_path, *pairs, name="a.tsv"):
    path = tmp_path / name
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in pairs))
    return path


def good_and_bad(count=20):
    return [(f"a film number {i}", "good" if i % 2 else "bad") for i in range(count)]


def message(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, **options)
    return str(caught.value).replace(f"{path.parent}/", "")


def names(records):
    return {record.text for record in records}


def test_parts_are_samples_with_labels(tmp_path):
    found = opened(write_labels(tmp_path, 120))
    assert found.classes == ("negative", "positive") and found.test is None
    assert (len(found.train), len(found.valid)) == (96, 24)
    sample = found.train.get(np.array([3]))[0]
    record = found.records["train"][3]
    assert "".join(map(chr, sample.parts[0])) == record.text
    assert found.classes[sample.label] == record.label
    assert found.facts["classes"]["valid"] == {"negative": 12, "positive": 12}


def test_splits_do_not_hang_on_seed_or_order(tmp_path):
    pairs = good_and_bad(200)
    first = opened(rows(tmp_path, *pairs), seed=0, test_share=0.2)
    second = opened(rows(tmp_path, *reversed(pairs), name="b.tsv"), seed=7, test_share=0.2)
    for part in ("train", "valid", "test"):
        assert names(first.records[part]) == names(second.records[part])
    parts = [names(first.records[part]) for part in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [128, 32, 40] and len(set.union(*parts)) == 200


def test_a_budget_holds_validation_and_hangs_on_the_seed(tmp_path):
    path = rows(tmp_path, *good_and_bad(400))
    first, again, other = (opened(path, seed=seed, labels=50) for seed in (0, 0, 1))
    assert len(first.train) + len(first.valid) == 50 and len(first.valid) == 10
    assert Counter(record.label for record in first.records["train"]) == {"good": 20, "bad": 20}
    assert first.records == again.records
    assert names(first.records["train"]) != names(other.records["train"])


def test_a_budget_takes_from_the_validation_file_too(tmp_path):
    train = rows(tmp_path, *good_and_bad(200))
    valid = rows(tmp_path, *[(text + "!", label) for text, label in good_and_bad(100)], name="v.tsv")
    found = opened(train, labels=50, valid=(str(valid),))
    assert (len(found.train), len(found.valid)) == (40, 10)
    assert all(record.text.endswith("!") for record in found.records["valid"])


def test_the_test_file_is_left_alone_and_leaks_leave_the_training_part(tmp_path):
    pairs = good_and_bad(100)
    test = rows(tmp_path, pairs[0], pairs[0], pairs[1], ("new words", "good"), ("newer words", "bad"), name="test.tsv")
    found = opened(rows(tmp_path, *pairs), test=(str(test),))
    assert len(found.test) == 5 and found.facts["leaks"] == 2
    assert not names(found.records["train"] + found.records["valid"]) & names(found.records["test"])
    where, what = found.findings[0][1:3]
    assert (where, what) == (f"{tmp_path}/a.tsv:2:1", f"is at {test}:3:1, too, and is left out of the train part")


def test_equal_texts_stay_on_one_side(tmp_path):
    pairs = good_and_bad(100)
    path = rows(tmp_path, *pairs, *pairs, (pairs[0][0], "good"))
    dropped, kept = opened(path), opened(path, duplicates="keep")
    assert len(dropped.train) + len(dropped.valid) == 100
    assert dropped.facts["duplicates"] == 100 and dropped.facts["conflicts"] == 1
    assert dropped.findings[0].what == f"the same text has the label `bad` at {path}:2:1; `good` is left out"
    assert len(kept.train) + len(kept.valid) == 201
    assert not names(kept.records["train"]) & names(kept.records["valid"])


def test_class_folders(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for i in range(15):
            (tmp_path / name / f"{i}.txt").write_text(f"a {name} film, number {i}\n\nwith a second block\n")
    found = opened(tmp_path)
    assert found.classes == ("bad", "good") and sum(found.facts["examples"].values()) == 30


def test_classes_of_numbers_are_in_their_order():
    records = [Record("", label, Where("f")) for label in ("10", "9", "-1")]
    assert class_names(records) == ("-1", "9", "10")


ADD = "Give at least two examples of each label, or leave out the row; --skip-bad leaves out such rows."
GOLDEN = {
    "once": ([("some words", "odd")], f"a.tsv:22:12: the label `odd` is seen only here. {ADD}"),
    "slip": ([("some words", "goood")], f"a.tsv:22:12: the label `goood` is seen once. Did you mean `good`? {ADD}"),
    "case": (
        [("some words", "Good"), ("more words", "Good")],
        "a.tsv:22:12: the label `Good` (2×) is written `good` (10×), too. "
        "Write it in one way everywhere; --skip-bad leaves out the rarer spelling.",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_suspicious_labels(tmp_path, name):
    extra, want = GOLDEN[name]
    path = rows(tmp_path, *good_and_bad(20), *extra)
    assert message(path) == want
    found = opened(path, skip_bad=True)
    assert found.classes == ("bad", "good") and sum(found.facts["examples"].values()) == 20
    assert f"{found.findings[0].where}: {found.findings[0].what}".endswith(want.split(". ")[0])


def test_a_slip_made_more_than_once(tmp_path):
    pairs = [(f"words {i}", "positive" if i % 2 else "negative") for i in range(600)]
    assert message(rows(tmp_path, *pairs, ("a", "postive"), ("b", "postive"))) == (
        f"a.tsv:602:3: the label `postive` is seen 2 times. Did you mean `positive`? {ADD}"
    )


def test_numbers_are_no_slips():
    records = [Record("", label, Where("f")) for label in ["1000"] * 500 + ["1001"] * 2 + ["2000"] * 300]
    assert check_labels(records, None, Problems()) == records


def test_one_label_only(tmp_path):
    assert message(rows(tmp_path, ("some words", "good"), ("more words", "good"), ("other words", "good"))) == (
        "a.tsv: only the label `good` was found. Give examples of at least two labels; --label names the column."
    )


def test_a_label_the_model_does_not_know(tmp_path):
    path = rows(tmp_path, *good_and_bad(20))
    assert message(path, classes=("goods", "bad")) == (
        "a.tsv:3:17: the label `good` is no class of the model. Did you mean `goods`? It has `goods`, `bad`."
    )


def test_budgets_that_cannot_be(tmp_path):
    path = rows(tmp_path, *good_and_bad(20))
    assert message(path, labels=3) == (
        "--labels 3: too few for 2 classes. Use at least 4: one of each class to learn from, and one to validate."
    )
    assert message(path, labels=21) == (
        "--labels 21: there are only 20 labelled examples. Say `--labels 20` or fewer, or leave it out."
    )


def test_text_without_labels(tmp_path):
    assert message(write_corpus(tmp_path)) == (
        "corpus.txt:1:1: this text has no label. "
        "Put the texts of each class into a folder with its name, or give a table with a column of labels."
    )


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 300), min_size=1), st.data())
def test_quotas_sum_and_fit(sizes, data):
    amount = data.draw(st.integers(1, sum(sizes.values())))
    quota = _quota(sizes, amount)
    assert sum(quota.values()) == amount
    assert all(0 <= quota[label] <= sizes[label] for label in sizes)
    if amount >= 2 * len(sizes):
        assert all(quota[label] >= min(2, sizes[label]) for label in sizes)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab")), min_size=8), st.booleans())
def test_no_text_is_in_two_parts(pairs, drop):
    records = [Record(f"text {i}", label, Where("f", n)) for n, (i, label) in enumerate(pairs)]
    parts = split({"train": records, "valid": [], "test": []}, None, 0, 0.3, drop).parts
    found = [{content(record) for record in part} for part in parts.values()]
    assert sum(map(len, found)) == len(set.union(*found)) == len({i for i, _ in pairs})
