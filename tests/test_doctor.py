"""The doctor's verb, and how `predict` takes what it is given."""

import io
import json

import pytest
import torch

from firth.errors import InputError
from firth.evaluate import doctor, inputs, predict
from firth.interop.folder import Opened
from firth.signal import Finding
from tests.labelled_files import write_topics
from tests.material import write_corpus, write_labels
from tests.models import SHAPES
from tests.runs import Told


def said(call, *given) -> str:
    with pytest.raises(InputError) as caught:
        call(*given)
    return str(caught.value)


# ------------------------------------------------------------------ check


def test_the_report_is_told_line_by_line(tmp_path):
    show = Told()
    report = doctor.check([write_corpus(tmp_path, 60)], show=show)
    assert show.notes == list(report.lines())
    assert show.notes[-2].startswith(f"Next     firth pretrain {tmp_path / 'corpus.txt'} --budget")


def test_the_report_is_written_as_json(tmp_path):
    report = doctor.check(write_labels(tmp_path, 40), out=tmp_path / "report.json")
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["facts"] == report.facts and kept["suggestion"] == report.suggestion
    assert kept["facts"]["classes"] == {"positive": 20, "negative": 20}


@pytest.mark.parametrize(("separator", "how"), [("|", "separated by `|`"), (None, "as lists")])
def test_several_labels_a_text_are_counted_one_by_one(tmp_path, separator, how):
    name = "topics.tsv" if separator else "topics.jsonl"
    report = doctor.check(write_topics(tmp_path, 90, name=name, separator=separator))
    assert set(report.facts["classes"]) == {"farm", "sea", "star", "town"} and report.errors == []
    (told,) = (line for line in report.lines() if line.startswith("Classes"))
    assert told.endswith(f"(`label`) · several labels a text, {how}")
    lines = (tmp_path / name).read_text().replace("sea", "Sea", 1)
    (tmp_path / name).write_text(lines)
    report = doctor.check(tmp_path / name, label="label")
    assert [one.what for one in report.errors] == [
        f"the label `Sea` (1×) is written `sea` ({report.facts['classes']['sea']}×), too"
    ]


def test_a_report_that_cannot_be_written_is_said(tmp_path):
    path = tmp_path / "none" / "report.json"
    found = said(lambda: doctor.check(write_corpus(tmp_path), out=path))
    assert found == f"--out {path}: lies in a folder that does not exist. Make it: mkdir -p {path.parent}"


def test_options_come_from_config_settings_and_arguments(tmp_path):
    write_labels(tmp_path, 40, name="a.tsv")
    (tmp_path / "a.toml").write_text(f'[data]\npaths = ["{tmp_path / "a.tsv"}"]\ntext = "label"\n')
    for options in ({}, {"settings": ["data.label=text"]}):
        report = doctor.check([], config=tmp_path / "a.toml", **options)
        assert report.facts["text_column"] == "label"
    assert doctor.check([], config=tmp_path / "a.toml", text="text").facts["text_column"] == "text"


def test_leaks_between_given_parts_are_found(tmp_path):
    one = write_labels(tmp_path, 40, name="a.tsv")
    other = write_labels(tmp_path, 20, name="b.tsv")
    report = doctor.check([one], test=[str(other)])
    assert report.facts["leaks"] > 0 and report.errors == []
    assert f"--test {other}" in report.suggestion


def test_nothing_to_look_at_is_an_error(tmp_path):
    assert "no such file or folder" in said(lambda: doctor.check([tmp_path / "none"]))


def test_errors_are_what_training_would_refuse(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "a good film\tgood\na bad film\tbad\n" * 8 + "odd one\tgod\n")
    report = doctor.check([path], label="label")
    assert [finding.level for finding in report.errors] == ["error"] and isinstance(report.errors[0], Finding)
    assert report.errors[0].where == f"{path}:18:9"


# ------------------------------------------------------------------ what an input stands for


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.txt").write_text("one\ntwo\n")
    (tmp_path / "texts").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("reviews.txt", True),
        ("texts", True),
        ("a sentence about reviews.txt", False),
        ("good", False),
        ("3.14", False),
        ("x" * 5000, False),
        ("one\nreviews.txt", False),
    ],
)
def test_files_are_told_from_texts(desk, given, file):
    assert inputs.looks_like_a_file(given) is file


@pytest.mark.parametrize("given", ["review.txt", "reviews.tsv", "reviews.txt.gz", "none/reviews.txt"])
def test_a_slip_in_a_file_name_is_no_text(desk, given):
    found = said(inputs.looks_like_a_file, given)
    assert found.startswith(f"{given}: no such file.") and found.endswith("with a space in it.")
    assert ("Did you mean `reviews.txt`?" in found) is not given.startswith("none")


def test_a_file_is_read_by_lines_and_a_text_stands_for_itself(desk):
    found = list(inputs.texts_of(["reviews.txt", "just a text"], inputs.How()))
    assert [one.content for one in found] == ["one", "two", "just a text"]
    assert [one.where for one in found] == ["reviews.txt:1", "reviews.txt:2", ""]


@pytest.mark.parametrize("given", ["", "  ", "\n\t"])
def test_an_empty_text_is_refused(given):
    assert said(inputs.refuse_input, given) == "INPUT: is empty. Give a text in quotes, a file, or - for a pipe."


def test_half_characters_are_refused():
    found = said(inputs.refuse_input, "caf\udce9 au lait")
    assert found == "INPUT: is not UTF-8. Convert it: iconv -f CP1252 -t UTF-8 OLD > NEW"
    inputs.refuse_broken("café \U0001f642", "INPUT")


# ------------------------------------------------------------------ streams


def test_lines_lose_their_ends_only():
    stream = io.StringIO("one\n two \r\n\nlast", newline="")
    assert list(inputs.lines(stream)) == ["one", " two ", "", "last"]


@pytest.mark.parametrize("length", [9, 10, 11, 20, 21, 35])
def test_a_long_line_is_cut_and_the_next_begins_anew(monkeypatch, length):
    monkeypatch.setattr(inputs, "LONGEST", 10)
    found = list(inputs.lines(io.StringIO("x" * length + "\nnext\n")))
    assert found == ["x" * min(length, 10), "next"]


def test_a_line_that_is_not_utf_8_is_named():
    stream = io.TextIOWrapper(io.BytesIO(b"good\ncaf\xe9\n"), encoding="utf-8")
    found = said(inputs.read_line, stream, 1)
    assert found.startswith("standard input, near line 1: byte 0xE9 is not UTF-8.")


def test_half_characters_in_a_stream_are_named_by_line():
    stream = io.TextIOWrapper(io.BytesIO(b"good\ncaf\xe9\n"), encoding="utf-8", errors="surrogateescape")
    assert said(list, inputs.lines(stream)).startswith("standard input:2: is not UTF-8.")


def test_a_closed_input_is_said():
    found = said(list, inputs.lines(None))
    assert found == "standard input: is closed. Pipe lines into it: firth predict RUN - < lines.txt"


# ------------------------------------------------------------------ heads


def opened(*parts: str) -> Opened:
    return Opened(SHAPES["bert"], {f"parts.{name}.head.weight": torch.zeros(1) for name in parts}, [])


@pytest.mark.parametrize(
    ("parts", "head"),
    [
        (("classify",), ("classify", "tasks")),
        (("masked-tokens",), ("masked-tokens", "objectives")),
        (("masked-tokens", "classify"), ("classify", "tasks")),
        (("next-sentence", "masked-tokens"), ("masked-tokens", "objectives")),
        (("something-else", "masked-tokens"), ("masked-tokens", "objectives")),
    ],
)
def test_a_task_is_asked_before_the_objectives_it_came_from(parts, head):
    assert predict.head_of(opened(*parts), "run") == head


@pytest.mark.parametrize("parts", [(), ("next-sentence",), ("something-else",)])
def test_a_model_that_cannot_answer_says_what_to_do(parts):
    found = said(predict.head_of, opened(*parts), "runs/a")
    do = "Adapt it first: firth adapt runs/a LABELS.tsv --task classify."
    assert found == f"runs/a: has no head that predicts. {do}"
