"""Answers as files: JSON lines, tables for a spreadsheet; what is there already stays, a stream is added to."""

import csv
import io
import json
import os
from collections import namedtuple

import pytest

from firth.errors import InputError
from firth.evaluate.answer_files import Table, cell_of, check_out, kept, name_of
from firth.evaluate.answers import Answered
from firth.report.terminal import Terminal
from firth.train.folder import free_place, is_stream, whole_file

Guess = namedtuple("Guess", "text label probability probabilities")
BAD = InputError("a.csv:3:1", "`text` is empty", "Fill it in.")


def guess(label: str) -> Guess:
    return Guess("ignored", label, 0.75, {label: 0.75})


def table(*answers, errors: bool = False) -> list[list[str]]:
    file = io.StringIO()
    made = Table(file, errors=errors)
    for one in answers:
        made.write(one)
    made.close()
    return list(csv.reader(io.StringIO(file.getvalue())))


# ------------------------------------------------------------------ tables


def test_the_columns_of_the_input_stand_beside_the_answer():
    rows = table(Answered(guess("good"), "a.csv:2", {"id": "7", "body": 'said "no",\nthen'}))
    assert rows == [["id", "body", "label", "probability"], ["7", 'said "no",\nthen', "good", "0.75"]]


def test_a_text_without_a_table_has_its_place_beside_it():
    assert table(Answered(guess("good"), "a.txt")) == [
        ["where", "text", "label", "probability"],
        ["a.txt", "ignored", "good", "0.75"],
    ]
    assert table(guess("bad"))[0] == ["text", "label", "probability"]


def test_rows_without_an_answer_keep_their_place_and_say_why():
    row = {"id": "1", "text": "x"}
    bad, good = Answered(BAD, "a.csv:2", {"id": "2", "text": ""}), Answered(guess("good"), "a.csv:3", row)
    assert table(bad, good, errors=True) == [
        ["id", "text", "label", "probability", "error"], ["2", "", "", "", "`text` is empty"],
        ["1", "x", "good", "0.75", ""],
    ]  # fmt: skip
    assert table(bad, errors=True) == [["id", "text", "error"], ["2", "", "`text` is empty"]]
    assert table() == []


def test_columns_that_the_first_row_lacks_are_named():
    made = Table(io.StringIO())
    for row in ({"id": "1"}, {"id": "2", "other": "x"}, {"id": "3", "other": "y", "more": "z"}):
        made.write(Answered(guess("good"), "", row))
    made.write(Answered(BAD, "a.csv:5"))  # a line with a cell too many
    assert list(made.left_out) == ["other", "more"]


@pytest.mark.parametrize(
    ("said", "cells"),
    [
        (
            {"text": "a b", "words": ["a", "b"], "tags": ["DET", "NOUN"], "probabilities": [0.9, 0.8]},
            {"tags": "DET NOUN"},
        ),
        ({"text": "a", "labels": ["sea", "farm"]}, {"labels": "sea|farm"}),
        ({"text": "a | b", "number": 2.5}, {"number": "2.5"}),
        ({"text": "Who?", "answer": "Anna", "begin": 3, "probability": 0.5}, {"answer": "Anna", "probability": "0.5"}),
        (
            {"text": "a.wav", "transcript": "one two", "probability": 0.5},
            {"transcript": "one two", "probability": "0.5"},
        ),
        ({"text": "a | b", "score": 0.5, "same": True}, {"score": "0.5", "same": "true"}),
        ({"text": "the [MASK]", "filled": "the ship"}, {"filled": "the ship"}),
        ({"text": "the", "written": " ship", "tokens": 3}, {"written": " ship"}),
    ],
)
def test_each_kind_of_answer_has_its_cells(said, cells):
    header, row = table(said)
    assert dict(zip(header, row, strict=True)) == {"text": said["text"], **cells}


@pytest.mark.parametrize(
    ("key", "columns", "name"),
    [
        ("label", ["text"], "label"), ("label", ["text", "Label"], "prediction"), ("probability", ["Probability"],
         "prediction_probability"), ("label", ["label", "prediction"], "prediction_label"),
    ],
)  # fmt: skip
def test_the_input_keeps_the_names_of_its_columns(key, columns, name):
    assert name_of(key, columns) == name


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, ""), (b"\xff", ""), ("a", "a"), (3, "3"), (True, "true"), (["a"], '["a"]'), ({"ä": 1}, '{"ä": 1}'),
     ({"bytes": b"\xff", "path": "a.png"}, "a.png")],
)  # fmt: skip
def test_cells(value, cell):
    assert cell_of(value) == cell


RUN = ["=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "＝1+1", '="a"']


@pytest.mark.parametrize("cell", RUN)
def test_text_that_a_spreadsheet_would_run_begins_with_a_quote(cell):
    said = {"text": "ignored", "answer": cell}
    header, row = table(Answered(said, "", {"text": cell, cell: "x"}))
    assert header == ["text", f"'{cell}", "answer"] and row == [f"'{cell}", "x", f"'{cell}"]


@pytest.mark.parametrize(
    "cell", ["-3.5", "+1e-5", "-12", "-3,5", "-5 %", "a=b", "", "-", "+", "@", "it's", "'tis", "😀"]
)
def test_numbers_signs_alone_and_other_text_stay_as_they_are(cell):
    assert table(Answered(guess("good"), "", {"text": cell}))[1][0] == cell
    assert table({"text": cell, "score": -0.5})[1] == [cell, "-0.5"]


@pytest.mark.parametrize("label", ["-", "+", "-1", "+positive", "=good", "@home"])
def test_labels_come_back_as_they_were(tmp_path, label):
    """The model's own, and those of the table that was read: as training reads them, and as score does."""
    from firth.data.readers import read
    from firth.evaluate.scoring import score

    gold = tmp_path / "gold.jsonl"
    rows = [{"text": f"=a film {number}", "label": one} for number, one in enumerate([label, "other"])]
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with kept(tmp_path / "said.csv") as sink:
        for row in rows:
            sink.write(Answered(guess(row["label"]), "", row))
    assert [one.label for one in read([tmp_path / "said.csv"], text="text", label="prediction")] == [label, "other"]
    assert [one.label for one in read([tmp_path / "said.csv"], text="text", label="label")] == [label, "other"]
    assert score(gold, tmp_path / "said.csv", "classify", predicted="prediction")["accuracy"] == 1
    assert score(tmp_path / "said.csv", gold, "classify", label="label", predicted="label")["accuracy"] == 1


def test_a_csv_is_one_that_excel_knows_as_utf_8_and_firth_reads_again(tmp_path):
    from firth.data.readers import read

    with kept(tmp_path / "said.csv") as sink:
        sink.write(Answered(guess("gut"), "", {"text": "ein schöner Film, ja"}))
    assert (tmp_path / "said.csv").read_bytes().startswith(b"\xef\xbb\xbftext,label")
    (found,) = read([tmp_path / "said.csv"], text="text", label="label")
    assert (found.text, found.label) == ("ein schöner Film, ja", "gut")
    with kept(tmp_path / "said.tsv") as sink:
        sink.write(Answered(guess("gut"), "", {"text": "x"}))
    assert (tmp_path / "said.tsv").read_text() == "text\tlabel\tprobability\nx\tgut\t0.75\n"


def test_the_terminal_says_what_was_left_out(tmp_path, capsys):
    shown = Terminal()
    answers = [Answered(guess("a"), "", {"id": "1"}), Answered(BAD, "a.csv:3", {"id": "2", "more": "x"}, 2)]
    shown.predictions(answers, tmp_path / "said.csv", errors=True)
    printed = capsys.readouterr()
    assert printed.out == f"Saved    {tmp_path / 'said.csv'}\n"
    assert printed.err == (
        "Columns that the first row does not have were left out: more.\n"
        "1 input could not be read or answered; the errors stand in place.\n"
    )
    shown.predictions(answers)
    assert json.loads(capsys.readouterr().out.splitlines()[1]) == {"row": 2, "error": BAD.what, "where": "a.csv:3"}


# ------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("said.txt", "--out said.txt: answers are kept as .jsonl, .csv or .tsv. Say --out said.jsonl."),
        ("said.json", "--out said.json: answers are kept as .jsonl, .csv or .tsv. Did you mean `.jsonl`? Say --out "
                      "said.jsonl."),
        ("said", "--out said: answers are kept as .jsonl, .csv or .tsv. Say --out said.jsonl."),
        ("there.csv", "--out there.csv: is there already. Choose another name, or remove it first."),
        ("link.csv", "--out link.csv: is there already. Choose another name, or remove it first."),
        ("no/said.csv", "--out no/said.csv: lies in a folder that does not exist. Make it: mkdir -p no"),
        ("there.csv/x.csv", "--out there.csv/x.csv: lies inside a file, not a folder. Choose another place."),
    ],
)  # fmt: skip
def test_a_place_that_is_refused(tmp_path, monkeypatch, out, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").touch()
    (tmp_path / "link.csv").symlink_to("nowhere")
    with pytest.raises(InputError) as caught:
        check_out(out)
    assert str(caught.value) == message


def test_streams_are_no_files_that_could_be_lost(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    assert is_stream(tmp_path / "pipe") and not is_stream(tmp_path / "file") and not is_stream(tmp_path)
    assert free_place(tmp_path / "pipe", streams=True) == tmp_path / "pipe" == check_out(tmp_path / "pipe")
    with pytest.raises(InputError, match="is there already"):
        free_place(tmp_path / "pipe")


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no such device here")
def test_a_device_is_written_to_and_stays(tmp_path):
    with whole_file("/dev/null") as file:
        file.write("words")
    assert is_stream(check_out("/dev/null"))


def test_a_file_that_broke_off_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), whole_file(tmp_path / "a.jsonl") as file:
        file.write("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
