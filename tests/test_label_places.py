"""Findings about labels point at the label: line and column, in each kind of table."""

import csv as standard
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.data import csv, jsonl
from firth.data.encodings import Piece
from firth.data.files import expand
from firth.data.labels import check_labels
from firth.data.readers import read
from firth.data.records import Problems, Where
from firth.data.row import Row, label_place
from firth.errors import InputError


def said(path) -> str:
    """What reading a labelled file ends with."""
    with pytest.raises(InputError) as caught:
        check_labels(list(read([path], labelled=True, label="label")), None, Problems())
    return str(caught.value).replace(f"{path.parent}/", "")


def written(folder, name: str, text: str):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


ADD = "Give at least two examples of each label, or leave out the row; --skip-bad leaves out such rows."
BEGIN = {"tsv": "a film\tgood\t1\nanother\tbad\t2\n", "csv": '"a film, once",good,1\nanother,bad,2\n'}


def test_a_plain_table(tmp_path):
    path = written(tmp_path, "a.tsv", "text\tlabel\tnumber\n" + BEGIN["tsv"] * 8 + 'a "fine" day\tgod\t7\n')
    assert said(path) == f"a.tsv:18:14: the label `god` is seen only here. {ADD}"


def test_characters_are_counted_not_bytes(tmp_path):
    path = written(tmp_path, "a.tsv", "text\tlabel\tnumber\n" + BEGIN["tsv"] * 8 + "né 🙂\tgod\t7\n")
    assert said(path).startswith("a.tsv:18:6: the label `god`")


def test_a_quoted_table(tmp_path):
    path = written(tmp_path, "a.csv", "text,label,number\n" + BEGIN["csv"] * 8 + '"so ""far"", so",god,7\n')
    assert said(path) == f"a.csv:18:18: the label `god` is seen only here. {ADD}"


def test_a_quoted_label_begins_at_its_quote(tmp_path):
    path = written(tmp_path, "a.csv", "text,label,number\n" + BEGIN["csv"] * 8 + 'words,"god",7\n')
    assert said(path).startswith("a.csv:18:7: the label `god`")


def test_a_label_after_a_cell_of_several_lines(tmp_path):
    last = '"one\ntwo, and\n three",god,7\n'
    path = written(tmp_path, "a.csv", "text,label,number\n" + BEGIN["csv"] * 8 + last)
    assert said(path).startswith("a.csv:20:9: the label `god`")


def test_json_lines(tmp_path):
    rows = [{"text": f"words {i}", "label": "ab"[i % 2]} for i in range(12)]
    lines = [json.dumps(row) for row in rows] + ['{"text": "a \\"label\\": b", "label" : "c"}']
    path = written(tmp_path, "a.jsonl", "\n".join(lines) + "\n")
    assert said(path) == f"a.jsonl:13:38: the label `c` is seen only here. {ADD}"
    assert lines[-1][37:40] == '"c"'


def test_a_key_that_stands_twice_is_not_guessed_at(tmp_path):
    lines = [json.dumps({"text": f"words {i}", "label": "ab"[i % 2]}) for i in range(12)]
    lines.append('{"text": "words", "more": {"label": 1}, "label": "c"}')
    assert said(written(tmp_path, "a.jsonl", "\n".join(lines) + "\n")).startswith("a.jsonl:13:1: the label `c`")


def test_an_empty_label_is_shown_where_it_should_stand(tmp_path):
    path = written(tmp_path, "a.tsv", "text\tlabel\tnumber\n" + BEGIN["tsv"] * 8 + "more words\t\t7\n")
    with pytest.raises(InputError) as caught:
        list(read([path], labelled=True))
    assert str(caught.value).startswith(f"{path}:18:12: `label` is empty.")


def test_a_folder_name_stands_nowhere(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        written(tmp_path / name, "x.txt", "some words")
    records = list(read(expand([tmp_path]), labelled=True))
    assert [label_place(record) for record in records] == [record.where for record in records]


def test_the_raw_text_is_let_go_of(tmp_path):
    path = written(tmp_path, "a.csv", "text,label,number\n" + BEGIN["csv"] * 8)
    for record in read([path], labelled=True, label="label"):
        assert isinstance(record.fields, Row) and record.fields.raw is None
        assert record.fields == dict(record.fields) and set(record.fields) == {"text", "label", "number"}


CELL = st.text(st.sampled_from('ab, "\n;é'), max_size=12).map(lambda cell: f"x{cell}")


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5))
def test_places_in_what_the_standard_library_writes(table):
    """The cell found at the place begins with what the writer wrote for it."""
    stream = io.StringIO()
    standard.writer(stream, lineterminator="\n", quoting=standard.QUOTE_ALL).writerows([("a", "b", "c"), *table])
    lines = stream.getvalue().split("\n")
    found = list(csv.rows([Piece(stream.getvalue(), 1)], "a.csv", Problems()))
    for (where, row), cells in zip(found, table, strict=True):
        for column, cell in zip("abc", cells, strict=True):
            place = row.place(row, where, column)
            rest = "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
            assert rest.startswith('"' + cell.replace('"', '""') + '"')


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers() | st.none(), min_size=1, max_size=4))
def test_places_in_json(row):
    for ascii in (True, False):
        line = json.dumps(row, ensure_ascii=ascii)
        for key, value in row.items():
            place = jsonl.place_of(Row(row.items(), line, jsonl.place_of), Where("a", 1, 1), key)
            if key[:1].isalpha():
                assert line[place.column - 1 :].startswith(json.dumps(value, ensure_ascii=ascii))
            else:
                assert place == Where("a", 1, 1)
