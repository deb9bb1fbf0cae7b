"""The doctor: what it sees, where it says it is, and what it suggests."""

import gzip
import json
import random

import pytest

from firth.data import inspectors
from firth.data.check import check
from firth.data.records import Record, Where
from firth.errors import InputError
from tests.material import documents, write_corpus, write_labels

GERMAN = "Der alte Mann ging am Morgen zum Hafen hinunter, um die Schiffe zu sehen, die aus dem Norden kamen."


def told(report, level=None):
    return [f"{where}: {what}" for found, where, what, _ in report.findings if level in (None, found)]


def write(tmp_path, texts, name="a.txt"):
    path = tmp_path / name
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_clean_text(tmp_path):
    report = check([str(write_corpus(tmp_path, 200))])
    facts = report.facts
    assert (facts["documents"], facts["unit"], facts["exact_duplicates"]) == (200, "block", 0)
    assert facts["words"] == sum(len(text.split()) for text in documents(200))
    assert sum(facts["lengths"].values()) == 200 and facts["longest"] == max(len(t.split()) for t in documents(200))
    assert report.errors == [] and report.suggestion == f"firth pretrain {tmp_path}/corpus.txt --budget 1m"
    assert "two cores" in report.estimate


def test_bad_rows_are_all_named_and_nothing_is_raised(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": text}) for text in documents(30)]
    rows[3], rows[9] = "no json", '{"text": ""}'
    path.write_text("\n".join(rows) + "\n")
    (tmp_path / "b.pdf.txt").write_bytes(b"%PDF-1.5")
    report = check([str(tmp_path)])
    assert sorted(told(report, "error")) == [
        f"{path}:10:1: `text` is empty", f"{path}:4:1: is no valid JSON: Expecting value",
        f"{tmp_path}/b.pdf.txt: is a PDF document",
    ]  # fmt: skip
    assert report.facts["documents"] == 28
    assert report.findings[0].level == "error"


def test_duplicates(tmp_path):
    texts = documents(60)
    report = check([str(write(tmp_path, texts + texts[:10]))])
    assert report.facts["exact_duplicates"] == 10
    assert any("10 exact and" in line for line in told(report, "warning"))


def test_boilerplate_lines(tmp_path):
    signature = "Sent from my travelling telephone"
    texts = [f"{text}\n{signature}" if i % 2 else text for i, text in enumerate(documents(100))]
    report = check([str(write(tmp_path, texts))])
    assert told(report, "warning") == [f"{tmp_path}/a.txt:4:1: the line `{signature}` is in 50 of 100 documents"]


def test_boilerplate_survives_forgetting():
    found = inspectors.Boilerplate(keep=50)
    for i in range(400):
        text = f"a line that comes only once, {i}\nthis line is at the foot of every page"
        found.add(Record(text, None, Where("f", i)))
    assert [line for line, _ in found.repeated()] == ["this line is at the foot of every page"]
    assert len(found.counts) <= 52


def test_mixed_languages(tmp_path):
    texts = documents(80) + [f"{GERMAN} {i}" for i in range(20)]
    random.Random(0).shuffle(texts)
    report = check([str(write(tmp_path, texts))])
    assert set(report.facts["languages"]) == {"en", "de"}
    line = next(line for line in told(report, "warning") if "texts are de" in line)
    place = int(line.split(":")[1])
    assert GERMAN in (tmp_path / "a.txt").read_text().split("\n")[place - 1]


def test_languages_sample_is_spread_over_everything():
    found = inspectors.Languages(size=8)
    for i in range(1000):
        found.add(Record("x" * 60, None, Where("f", i)))
    places = [where.line for _, where in found.sample]
    assert 8 <= len(places) < 16 and places[0] == 0 and places[-1] > 850


def test_encodings_are_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\n\n".join(documents(30)).encode() + b"\n\ncaf\xe9\n")
    report = check([str(path)])
    assert told(report, "warning") == [f"{path}:61:4: byte 0xE9 is not UTF-8; the file is read as cp1252"]


def test_labels_and_leaks(tmp_path):
    train = write_labels(tmp_path, 120)
    lines = train.read_text().split("\n")
    test = tmp_path / "test.tsv"
    test.write_text("\n".join([lines[0], *lines[5:9], "Fresh words on a film.\tpositve"]) + "\n")
    report = check([str(train)], test=[str(test)])
    assert report.facts["leaks"] == 4 and report.facts["classes"] == {"positive": 62, "negative": 62, "positve": 1}
    assert told(report, "error") == [f"{test}:6:24: the label `positve` is seen once"]
    assert f"{test}:2:1: a text of the test part is in the train part, too" in told(report, "warning")
    assert report.suggestion == f"firth adapt MODEL {train} --test {test}"


def test_an_uneven_class_is_named():
    classes = inspectors.Classes()
    for label in ["yes"] * 30 + ["no"] * 2:
        classes.add(Record("", label, Where("f")))
    assert classes.findings()[0][2] == "`yes` is 15 times as frequent as `no` (30 to 2)"


def test_odd_labels_in_data_for_pretraining_are_only_warnings(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [f"{text}\t{'ab'[i % 2]}" for i, text in enumerate(documents(40))] + ["a last text\tc"]
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    assert check([str(path)]).errors == []
    assert told(check([str(path)], label="label"), "error") == [f"{path}:42:13: the label `c` is seen only here"]


def test_folder_names_that_hold_one_file_are_no_error(tmp_path):
    for name in ("AA", "AB", "AC"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, documents(10, seed=ord(name[1])))
    report = check([str(tmp_path)])
    assert report.errors == [] and report.suggestion.startswith("firth pretrain")


def test_a_running_text_is_said(tmp_path):
    path = tmp_path / "book.txt.gz"
    words = " ".join(documents(300)).split()
    with gzip.open(path, "wt") as stream:
        stream.write("\n".join(" ".join(words[i : i + 11]) for i in range(0, len(words), 11)))
    report = check([str(path)])
    assert report.facts["running"] and "one running text" in next(report.lines())


def test_nothing_at_all_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(InputError) as caught:
        check([str(path)])
    assert caught.value.what == "is binary data, not text"
    with pytest.raises(InputError, match="no such file or folder"):
        check([str(tmp_path / "gone")])


def test_report_as_lines_and_as_json(tmp_path):
    report = check([str(write_labels(tmp_path, 120))])
    lines = list(report.lines())
    assert lines[0].startswith("Data     1 file · 120 documents (rows, text in `text`)")
    assert "Classes  positive 60 · negative 60 (`label`)" in lines
    assert lines[-2] == f"Next     firth adapt MODEL {tmp_path}/reviews.tsv"
    assert json.loads(json.dumps(report.as_dict()))["facts"]["documents"] == 120


def test_histogram():
    assert inspectors.histogram({"0–1": 8, "2–3": 1, "4–7": 0}) == "█▁ "
