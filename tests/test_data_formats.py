"""Tables and encodings: decided by content, file by file."""

import json
import sys

import pytest

from firth.data.csv import decide
from firth.data.encodings import place, sniff
from firth.data.readers import read
from firth.errors import InputError
from tests.material import documents


def rows(path, **options):
    return [(record.text, record.label) for record in read([path], **options)]


def table(tmp_path, content, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_stray_quotes_in_a_tsv_swallow_nothing(tmp_path):
    lines = ["sentence\tlabel", '" good fun , really\t1', 'a "fine" film\t0', 'it says "no\t1', "a dull film\t0"]
    path = table(tmp_path, "\n".join(lines) + "\n", "a.tsv")
    assert rows(path) == [tuple(line.split("\t")) for line in lines[1:]]


def test_quoted_cells_hold_separators_lines_and_quotes(tmp_path):
    path = table(tmp_path, 'text,label\n"one, two\nthree",a\n"he said ""no"" twice",b\nplain text here,a\n')
    reading = read([path])
    found = list(reading)
    assert [record.text for record in found] == ["one, two\nthree", 'he said "no" twice', "plain text here"]
    assert [record.where.line for record in found] == [2, 4, 5]


def test_a_quoted_tsv_is_seen(tmp_path):
    assert decide('text\tlabel\n"a good film"\ta\n"a ""bad"" film"\tb\n', "a.tsv").quoted
    assert not decide('text\tlabel\n"a good film\ta\n"bad" film\tb\n', "a.tsv").quoted


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_separators(tmp_path, mark):
    path = table(tmp_path, f"text{mark}label\na good film{mark}pos\na bad film{mark}neg\nso so, maybe not{mark}pos\n"
                 if mark != "," else "text,label\na good film,pos\na bad film,neg\nanother film,pos\n")  # fmt: skip
    assert len(rows(path, label="label")) == 3


@pytest.mark.parametrize(("first", "mark"), [("sep=;", ";"), ("SEP=,", ","), ("sep=\t", "\t"), ("sep=|  ", "|")])
def test_the_line_by_which_excel_knows_the_separator(tmp_path, first, mark):
    below = "".join(f'"Wo ist, bitte; mein Paket {n}"{mark}Versand\n' for n in range(3))
    content = f"{first}\nNachricht{mark}Abteilung\n{below}"
    dialect = decide(content)
    assert (dialect.separator, dialect.header, dialect.headed) == (mark, ["Nachricht", "Abteilung"], True)
    found = list(read([table(tmp_path, "\ufeff" + content)], text="Nachricht", label="Abteilung"))
    assert [(one.text, one.label, one.where.line) for one in found] == [
        (f"Wo ist, bitte; mein Paket {n}", "Versand", n + 3) for n in range(3)
    ]


def test_a_file_of_that_line_alone_has_no_rows(tmp_path):
    with pytest.raises(InputError, match="has a header at most, and no rows"):
        list(read([table(tmp_path, "sep=;\n")]))
    assert decide("sep=a word\tlabel\na good film\tb\n").header[0] == "sep=a word"


def test_a_table_without_header(tmp_path):
    lines = ["a good film it was\tpos", "a bad film it was\tneg", "neither this nor that\tpos", "old\tneg"]
    path = table(tmp_path, "\n".join(lines) + "\n", "a.tsv")
    reading = read([path])
    assert (reading.text_column, reading.label_column) == ("column1", "column2")
    assert len(list(reading)) == 4
    assert reading.findings[0].what == "has no header line; the columns are called column1, column2"


def test_a_table_of_one_column(tmp_path):
    found = rows(table(tmp_path, "text\nthe first text\nthe second text\n"))
    assert found == [("the first text", None), ("the second text", None)]


def test_a_long_cell(tmp_path):
    long = "word " * 60_000
    assert rows(table(tmp_path, f'text,label\n"{long}",a\n"short, one",b\n'))[0][0] == long.strip()


def test_numbers_as_labels(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"a film {i}", "label": float(i % 2)}) + "\n" for i in range(20)))
    assert {label for _, label in rows(path)} == {"0", "1"}


def test_line_separators_inside_json_part_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "one\u2028two\x85three"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert rows(path) == [("one\u2028two\x85three", None)]


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    found = documents(40)
    columns = {"text": found, "label": [i % 2 for i in range(40)], "picture": [b"\x00"] * 40}
    columns |= {"tags": [["a", "b"]] * 40, "vector": [[0.5, 1.5]] * 40}
    parquet.write_table(arrow.table(columns), path)
    reading = read([path])
    assert [(record.text, record.label) for record in reading] == [(one, str(i % 2)) for i, one in enumerate(found)]
    assert set(next(iter(reading)).fields) == {"text", "label", "tags"}
    assert str(next(iter(reading)).where) == f"{path}:1"


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = table(tmp_path, b"PAR1", "a.parquet")
    with pytest.raises(InputError) as caught:
        read([path])
    assert str(caught.value) == (
        f"{path}: is a parquet file, and pyarrow is not installed. "
        "Install it with: pip install '.[data]' (in the folder of firth)"
    )


TEXT = "Žluťoučký kůň\n\nÚpěl – ďábelské ódy\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_unicode_in_any_form(tmp_path, encoding, end):
    english = "An English line so that zeros are seen in the bytes.\n\n"
    path = table(tmp_path, (english + TEXT).replace("\n", end).encode(encoding), "a.txt")
    assert [(r.text, r.where.line) for r in read([path])] == [
        (english.strip(), 1), ("Žluťoučký kůň", 3), ("Úpěl – ďábelské ódy", 5)
    ]  # fmt: skip


@pytest.mark.parametrize("text, name", [("café – “naïve”", "cp1252"), ("caf\xe9 na\xefve \x81", "latin-1")])
def test_one_byte_encodings_are_read_and_named(tmp_path, text, name):
    path = table(tmp_path, b"An ASCII block.\n\n" + text.encode(name) + b"\n", "a.txt")
    reading = read([path])
    assert [record.text for record in reading] == ["An ASCII block.", text.strip()]
    assert reading.findings[0] == (
        "warning", f"{path}:3:4", f"byte 0xE9 is not UTF-8; the file is read as {name}",
        "Save the file as UTF-8: iconv -f CP1252 -t UTF-8 OLD > NEW converts one that is all of one kind.",
    )  # fmt: skip


def test_places_count_characters():
    chunk = "erste\r\nzwölf ".encode() + b"\xff"
    assert str(place("f", chunk, len(chunk) - 1, 10)) == "f:11:7"


def test_sniffing():
    assert sniff("abc".encode("utf-16")) == ("utf-16-le", 2)
    assert sniff("abcdef".encode("utf-16-be")) == ("utf-16-be", 0)
    assert sniff(b"plain text") == ("utf-8", 0)
