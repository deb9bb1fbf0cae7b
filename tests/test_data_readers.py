"""Files become records: which files, which documents, at which place."""

import gzip
import zipfile

import pytest

from firth.data import text as text_module
from firth.data.readers import expand, read
from tests.material import documents, write_corpus, write_jsonl, write_labels


def texts(path, **options):
    return [record.text for record in read([path], **options)]


def many(folder, count=20, name="{}.txt"):
    for number in range(count):
        path = folder / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Text {number}.\n\nIts second block.\n")
    return folder


def test_blocks_are_documents_and_know_their_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ngoes on\n\n \t\n\n  two\n\nthree\n")
    reading = read([path])
    assert [(r.text, str(r.where)) for r in reading] == [
        ("one\ngoes on", f"{path}:1:1"), ("two", f"{path}:6:1"), ("three", f"{path}:8:1"),
    ]  # fmt: skip
    assert reading.unit == "block" and not reading.running


def test_reading_can_be_repeated(tmp_path):
    reading = read([write_corpus(tmp_path, 30)])
    assert list(reading) == list(reading)
    assert [record.text for record in reading] == documents(30)


def test_twenty_files_are_twenty_documents_and_nineteen_are_blocks(tmp_path):
    assert len(texts(many(tmp_path / "twenty", 20))) == 20
    assert len(texts(many(tmp_path / "nineteen", 19))) == 38


def test_lines_are_documents_where_no_blank_line_parts_them(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{'word ' * (i % 17 + 1)}{i}.\n" for i in range(200)))
    reading = read([path])
    assert reading.unit == "line" and len(list(reading)) == 200 and not reading.running


def test_one_stray_blank_line_does_not_make_blocks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{'word ' * (i % 17 + 1)}{i}.\n" for i in range(900)) + "\nlast\n")
    assert read([path]).unit == "line"


@pytest.mark.parametrize("kind, count", [("file", 2), ("block", 4), ("line", 4)])
def test_document_overrides(tmp_path, kind, count):
    assert len(texts(many(tmp_path / "two", 2), document=kind)) == count


def test_a_running_text_is_read_in_parts_that_lose_nothing(tmp_path):
    path = tmp_path / "book.txt"
    words = " ".join(documents(300)).split()
    lines = [" ".join(words[i : i + 11]) for i in range(0, len(words), 11)]
    path.write_text("\n".join(lines))
    reading = read([path])
    found = list(reading)
    assert reading.running and reading.unit == "part" and len(found) > 3
    assert " ".join(record.text for record in found).split() == words
    assert [lines[record.where.line - 1].strip() in record.text for record in found] == [True] * len(found)


def test_a_single_line_is_a_running_text(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text(" ".join(documents(300)))
    reading = read([path])
    assert reading.running and max(len(record.text) for record in reading) <= text_module.RUNNING_PART


def test_pieces_of_any_size_give_the_same_documents(tmp_path, monkeypatch):
    path = write_corpus(tmp_path, 40)
    whole = list(read([path]))
    for size in (7, 100, 1001):
        monkeypatch.setattr("firth.data.encodings.CHUNK", size)
        assert list(read([path], document="block")) == whole


def test_a_long_document_is_cut_with_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "LIMIT", 1000)
    monkeypatch.setattr(text_module, "PART", 300)
    many(tmp_path, 1, "b.txt")
    (tmp_path / "a.txt").write_text("x " * 200 + "\n" + "word " * 400 + "\n")
    reading = read([tmp_path], document="file")
    assert max(len(record.text) for record in reading) <= 300
    assert "cut into parts" in reading.findings[0].what


def test_class_folders_are_labels(tmp_path):
    many(tmp_path, 2, "good/{}.txt")
    many(tmp_path, 2, "bad/{}.txt")
    assert [record.label for record in read([tmp_path], document="file")] == ["bad", "bad", "good", "good"]


def test_gz_and_zip_read_as_what_they_hold(tmp_path):
    plain = write_corpus(tmp_path, 25)
    want = texts(plain)
    with gzip.open(tmp_path / "b.txt.gz", "wb") as stream:
        stream.write(plain.read_bytes())
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "in/corpus.txt")
        archive.write(tmp_path / "b.txt.gz", "in/b.txt.gz")
        archive.writestr("__MACOSX/._corpus.txt", b"\x00")
        archive.writestr("in/photo.jpg", b"\xff\xd8")
    assert texts(tmp_path / "b.txt.gz") == want
    reading = read([tmp_path / "c.zip"])
    found = list(reading)
    assert [record.text for record in found] == want + want
    assert str(found[25].where) == f"{tmp_path}/c.zip/in/corpus.txt:1:1"
    assert reading.findings[0].what == "files of other kinds were left out: 1 .jpg"


def test_globs_folders_and_doubles(tmp_path):
    many(tmp_path, 3)
    (tmp_path / ".hidden.txt").write_text("no")
    assert len(expand([tmp_path / "*.txt"])) == 3
    assert len(expand([tmp_path, tmp_path / "0.txt", str(tmp_path / "[01].txt")])) == 3


def test_links_to_folders_are_not_followed(tmp_path):
    many(tmp_path / "a", 2)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert len(expand([tmp_path / "a"])) == 2


def test_other_kinds_in_a_folder_are_counted(tmp_path):
    many(tmp_path, 2)
    (tmp_path / "x.pdf").write_bytes(b"%PDF")
    reading = read([tmp_path])
    assert reading.findings[0][:3] == ("warning", str(tmp_path), "files of other kinds were left out: 1 .pdf")


def test_a_file_without_ending_is_text(tmp_path):
    many(tmp_path, 2, "{}")
    many(tmp_path, 1, "draft.1")
    assert {file.format for file in expand([tmp_path])} == {"text"}


def test_jsonl_rows(tmp_path):
    reading = read([write_jsonl(tmp_path, 50)])
    first = next(iter(reading))
    assert (reading.unit, reading.text_column, reading.label_column) == ("row", "text", None)
    assert first.fields["title"] == "0" and str(first.where).endswith("documents.jsonl:1:1")
    assert [record.text for record in reading] == documents(50)


def test_tsv_rows_and_columns(tmp_path):
    reading = read([write_labels(tmp_path, 120)])
    assert (reading.text_column, reading.label_column) == ("text", "label")
    assert {record.label for record in reading} == {"positive", "negative"}


def test_tables_and_texts_together(tmp_path):
    write_jsonl(tmp_path, 5)
    write_corpus(tmp_path, 5)
    assert len(texts(tmp_path)) == 6  # the corpus is one file among tables


def test_empty_files_among_others_are_named(tmp_path):
    many(tmp_path, 3)
    (tmp_path / "empty.txt").touch()
    reading = read([tmp_path])
    assert len(list(reading)) == 6
    assert reading.findings[0] == ("warning", str(tmp_path / "empty.txt"), "is empty", "Remove it, or put its text in.")


def test_memory_stays_bounded(tmp_path):
    import tracemalloc

    path = tmp_path / "large.txt"
    block = "\n\n".join(documents(2000)) + "\n\n"
    path.write_text(block * 20)
    tracemalloc.start()
    for _ in read([path]):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 10e6 and peak < 8e6
