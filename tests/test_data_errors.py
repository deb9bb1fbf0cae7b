"""Every message of the readers, word for word: where, what, what to do."""

import gzip
import os
import stat
import zipfile
import zlib

import pytest

from firth.data import archives, encodings
from firth.data.config import Data
from firth.data.corpus import open_corpus
from firth.data.readers import expand, read
from firth.data.records import Problems
from firth.errors import InputError
from firth.find import find
from firth.train.log import Recorded
from tests.material import write_corpus, write_jsonl, write_labels


def message(path, **options) -> str:
    """The one error, with the folder of the test left out."""
    with pytest.raises(InputError) as caught:
        list(read(path if isinstance(path, list) else [path], **options))
    folder = os.path.dirname(str(path[0] if isinstance(path, list) else path))
    return str(caught.value).replace(folder + "/", "")


def file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def archive(tmp_path, *members, name="a.zip"):
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as made:
        for member, content in members:
            made.writestr(member, content)
    return tmp_path / name


NO_READER = (
    "firth reads .txt, .md, .jsonl, .csv, .tsv, .parquet, .conllu, .conll, SQuAD .json, and .zip or .gz of them."
)
OWN = "Take the text out of it first, or leave this file out; --skip-bad leaves out all such files."
CONVERT = "Save the file as UTF-8: iconv -f CP1252 -t UTF-8 OLD > NEW converts one that is all of one kind."
TRUST = "If you trust it, unpack it yourself and give the folder."
GOLDEN = {
    "empty.txt": (b"", "empty.txt: is empty. Give a file that holds text."),
    "blank.txt": (b" \n\n\t\n", "blank.txt: nothing to read was found. Give files that hold text."),
    "pdf.txt": (b"%PDF-1.7 \x00", f"pdf.txt: is a PDF document. {OWN}"),
    "binary.txt": (bytes(range(256)), f"binary.txt: is binary data, not text. {OWN}"),
    "photo.jpg": (b"\xff\xd8", f"photo.jpg: `.jpg` files have no reader. {NO_READER}"),
    "mixed.txt": (
        "Zoë\ncafé ".encode() + b"caf\xe9\n",
        f"mixed.txt:2:9: byte 0xE9 is not UTF-8, and other lines of the file are: two encodings are mixed. {CONVERT}",
    ),
    "after.txt": (
        b"caf\xe9\n" + "Zoë\n".encode(),
        f"after.txt:1:4: byte 0xE9 is not UTF-8, and other lines of the file are: two encodings are mixed. {CONVERT}",
    ),
    "half.txt": (
        b"\xff\xfea\x00b\x00\xd8\xd8",
        f"half.txt:1: is no valid utf-16-le: unexpected end of data. {CONVERT}",
    ),
    "bad.jsonl": (
        '{"text": "a"}\n{"text": oh}\n',
        "bad.jsonl:2:10: is no valid JSON: Expecting value. "
        "Write one JSON object a line; --skip-bad leaves out the lines that are none.",
    ),
    "list.jsonl": (
        '{"text": "a"}\n["b"]\n',
        "list.jsonl:2:1: is JSON, but no object. "
        "Write one JSON object a line; --skip-bad leaves out the lines that are none.",
    ),
    "array.json": (
        '[{"text": "a"}]',
        "array.json:1:1: is one JSON array, not one object a line. "
        "Turn the array into lines with: jq -c '.[]' OLD.json > NEW.jsonl",
    ),
    "null.jsonl": (
        '{"text": "some words"}\n{"text": null}\n',
        "null.jsonl:2:1: `text` is empty. Fill it in, or leave out the row; --skip-bad leaves out such rows.",
    ),
    "number.jsonl": (
        '{"text": "some words"}\n{"text": "and more"}\n{"text": 3}\n',
        "number.jsonl:3:1: `text` is no text. Fill it in, or leave out the row; --skip-bad leaves out such rows.",
    ),
    "cells.csv": (
        'text,label\n"some, words",a\nsome, other, words,b\n',
        "cells.csv:3:1: 4 cells where the header has 2. "
        "Put cells that hold the separator in quotes; --skip-bad leaves out such rows.",
    ),
    "quote.csv": (
        'text,label\n"one, two",a\n"three, four",b\n"never closed, it is,a\n',
        "quote.csv:4:1: is no valid row: a quote is opened here and never closed. "
        'Close the quote, or write a quote inside a cell twice ("").',
    ),
    "header.csv": (
        "text,label\n",
        "header.csv: has a header at most, and no rows. Add rows, or leave the file out.",
    ),
    "numbers.csv": (
        "one,two\n1,2\n3,4\n",
        "numbers.csv: no column looks like text. Name it: --text can be `one`, `two`.",
    ),
    "no.parquet": (
        b"PAR1 nonsense",
        "no.parquet: is no readable parquet file (Parquet magic bytes not found in footer. Either the file is "
        "corrupted "
        "or this is not a parquet file). Copy or write the file again.",
    ),
    "torn.zip": (
        b"PK\x03\x04 torn",
        "torn.zip: is no readable zip archive (File is not a zip file). "
        "The file is damaged: copy or download it again.",
    ),
    "no.txt.gz": (
        b"no gzip",
        "no.txt.gz: is damaged (Not a gzipped file (b'no')). The file is damaged: copy or download it again.",
    ),
    "cut.txt.gz": (
        gzip.compress(b"some words " * 99)[:-12],
        "cut.txt.gz: is damaged (Compressed file ended before the end-of-stream marker was reached). "
        "The file is damaged: copy or download it again.",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_message(tmp_path, name):
    content, want = GOLDEN[name]
    assert message(file(tmp_path, name, content)) == want


@pytest.mark.parametrize("name", [name for name in GOLDEN if name not in ("empty.txt", "blank.txt")])
def test_skip_bad_goes_on_and_keeps_the_finding(tmp_path, name):
    content, want = GOLDEN[name]
    write_corpus(tmp_path, 5)
    reading = read([file(tmp_path, name, content), tmp_path / "corpus.txt"], skip_bad=True, document="block")
    assert len(list(reading)) >= 5
    errors = [finding for finding in reading.findings if finding.level == "error"]
    found = [f"{where}: {what}. {do}".replace(f"{tmp_path}/", "") for _, where, what, do in errors]
    assert found == [want]


KINDS = {
    "a.xlsx": "`.xlsx` files have no reader. In Excel: Save as, CSV UTF-8.",
    "a.docx": "`.docx` files have no reader. Save it as .txt: Save as, Plain text.",
    "a.pdf": "`.pdf` files have no reader. Take its text out first: pdftotext a.pdf.",
    "a.m4a": "`.m4a` files have no reader. Convert it: ffmpeg -i a.m4a -ar 16000 NEW.wav.",
    "a.mbox": "`.mbox` files have no reader. "
    "Write one JSON object a message into a .jsonl file, with a short script of Python's `email`.",
    "a.tar.gz": "`.tar.gz` files have no reader. Unpack it first: gunzip a.tar.gz; a .tar is read as it is.",
    "a.pdf.gz": f"`.pdf.gz` files have no reader. {NO_READER}",
}


@pytest.mark.parametrize("name", KINDS)
def test_files_of_common_kinds_are_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    assert message(tmp_path / name) == f"{name}: {KINDS[name]}"


def test_a_folder_of_other_kinds_says_what_to_do_about_one(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.docx").touch()
    with pytest.raises(InputError) as caught:
        expand([tmp_path / "letters"])
    assert caught.value.do == f"Save it as .txt: Save as, Plain text. {NO_READER}"


def test_missing_paths(tmp_path):
    write_jsonl(tmp_path)
    assert message(tmp_path / "document.jsonl") == (
        "document.jsonl: no such file or folder. Did you mean `documents.jsonl`? Check the name."
    )
    assert message(tmp_path / "*.csv") == "*.csv: no file matches. Check the pattern, and put it in quotes."
    with pytest.raises(InputError) as caught:
        expand([])
    assert str(caught.value) == "DATA: no file or folder was given. Name at least one: firth check reviews/"
    (tmp_path / "nothing").mkdir()
    assert message(tmp_path / "nothing") == f"nothing: holds no file that can be read. {NO_READER}"


def test_wrong_columns(tmp_path):
    path = write_labels(tmp_path)
    assert message(path, text="texts") == (
        "reviews.tsv: has no column `texts`. Did you mean `text`? --text can be `text`, `label`."
    )
    assert message(path, label="clas") == "reviews.tsv: has no column `clas`. --label can be `text`, `label`."


def test_label_columns_that_cannot_be_told(tmp_path):
    rows = "".join(f"some words {i}\t{'ab'[i % 2]}\t{'cd'[i % 3 // 2]}\n" for i in range(20))
    two = file(tmp_path, "two.tsv", "text\tone\ttwo\n" + rows)
    none = write_jsonl(tmp_path)
    assert message(two, labelled=True) == "two.tsv: `one` and `two` look like labels. Say which: --label one"
    assert message(none, labelled=True) == (
        "documents.jsonl: no column looks like a label. Name it: --label can be `title`."
    )


def test_an_empty_label(tmp_path):
    path = file(tmp_path, "a.tsv", "text\tlabel\n" + "some words\ta\nother words\tb\n" * 9 + "more words\t \n")
    assert message(path, labelled=True) == (
        "a.tsv:20:12: `label` is empty. Fill in the label, or leave out the row; --skip-bad leaves out such rows."
    )


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(encodings, "LINE_LIMIT", 3 << 20)
    for name, content in (("long.txt", b"x " * (5 << 20)), ("long.jsonl", b'{"text": "' + b"x " * (5 << 20))):
        path = file(tmp_path, name, b"\n\n" + content)
        assert message(path) == (
            f"{name}:3:1: the line is longer than 16 MiB. "
            "Break it into lines, for example with: fold -s -w 4000 OLD > NEW"
        )  # fmt: skip
    wide = file(tmp_path, "wide.txt", ("x " * (4 << 20)).encode("utf-16"))
    assert message(wide).startswith("wide.txt:1:1: the line is longer than 16 MiB. ")


def test_a_quote_that_swallows_the_rest(tmp_path):
    rows = [f'"some, words {i}",a' for i in range(2100)]
    path = file(tmp_path, "a.csv", "\n".join(["text,label", *rows, '"open, words,a', *["words,b"] * 3000]) + "\n")
    assert message(path) == (
        "a.csv:2102:1: is no valid row: a quote is opened here and not closed within 1,000 lines. "
        'Close the quote, or write a quote inside a cell twice ("").'
    )


def test_a_column_missing_in_the_second_file(tmp_path):
    first = file(tmp_path, "a.csv", "text,label\nsome words,a\nother words,b\n")
    second = file(tmp_path, "b.csv", "body,label\nsome words,a\nother words,b\n")
    assert message([first, second]) == "b.csv: has no column `text`. --text can be `body`, `label`."


def test_zip_names_that_climb(tmp_path):
    made = "the name leads out of the archive. Such an archive was made by mistake or to do harm. " + TRUST
    assert message(archive(tmp_path, ("../evil.txt", "words"))) == f"a.zip/../evil.txt: {made}"
    assert message(archive(tmp_path, ("/etc/evil.txt", "words"))) == f"a.zip//etc/evil.txt: {made}"
    assert message(archive(tmp_path, ("a/..\\..\\evil.txt", "words"))).endswith(made)


def test_zip_links(tmp_path):
    info = zipfile.ZipInfo("link.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert message(archive(tmp_path, (info, "/etc/passwd"))) == (
        "a.zip/link.txt: is a link to another file. Put the file itself into the archive."
    )


def test_encrypted_zip(tmp_path):
    path = archive(tmp_path, ("a.txt", "words"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert message(path) == "a.zip/a.txt: is encrypted. Unpack it with its password and give the folder."


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    path = archive(tmp_path, ("a.txt", b"0" * (4 << 20)))
    assert message(path) == f"a.zip: unpacks to 1,001 times its size: a zip bomb. {TRUST}"
    packed = file(tmp_path, "a.txt.gz", zlib_gzip(b"0" * (40 << 20)))
    assert message(packed) == f"a.txt.gz: unpacks to more than 200 times its size: a gzip bomb. {TRUST}"


def zlib_gzip(data: bytes) -> bytes:
    made = zlib.compressobj(9, wbits=31)
    return made.compress(data) + made.flush()


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS", 2)
    path = archive(tmp_path, *((f"{i}.txt", "words") for i in range(3)))
    assert message(path) == f"a.zip: holds 3 files, more than 2. {TRUST}"


def test_no_right_to_read(tmp_path, monkeypatch):
    path = write_corpus(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert message(path) == (
        f"corpus.txt: cannot be read (Permission denied). Give yourself the right to read it: chmod u+r {path}"
    ).replace(f"{tmp_path}/", "")


def test_a_file_that_goes_away(tmp_path):
    path = write_corpus(tmp_path)
    files = expand([path])
    path.unlink()
    with pytest.raises(InputError) as caught:
        list(read(files, document="block"))
    assert (caught.value.where, caught.value.what) == (str(path), "cannot be read (No such file or directory)")


def test_special_files_and_dead_links(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    assert message(tmp_path / "pipe.txt") == "pipe.txt: is no regular file. Write the data to a file first."
    assert message(tmp_path / "link.txt") == (
        "link.txt: is a link to a file that does not exist. Remove the link, or put the file in its place."
    )


def test_a_dead_link_in_a_folder_is_a_warning(tmp_path):
    write_corpus(tmp_path)
    (tmp_path / "link.txt").symlink_to("gone.txt")
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    problems = Problems()
    assert [file.path.name for file in expand([tmp_path], problems)] == ["corpus.txt"]
    told = "is a link to a file that does not exist, and is left out"
    do = "Remove the link, or put the file in its place."
    assert [(found.level, found.where) for found in problems.findings] == [
        ("warning", f"{tmp_path}/link.jpg"), ("warning", f"{tmp_path}/link.txt")]  # fmt: skip
    assert {(found.what, found.do) for found in problems.findings} == {(told, do)}


def test_a_folder_of_dead_links_only(tmp_path):
    (tmp_path / "link.txt").symlink_to("gone.txt")
    with pytest.raises(InputError) as caught:
        expand([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path}: holds no file that can be read, only links to files that do not exist ({tmp_path}/link.txt). "
        "Remove the link, or put the file in its place."
    )


def test_a_corpus_goes_on_past_a_dead_link_and_says_so(tmp_path):
    write_corpus(tmp_path, 60)
    (tmp_path / "link.txt").symlink_to("gone.txt")
    show = Recorded()
    module = find("signals", "text")
    for _ in range(2):  # packed, and from the cache
        corpus = open_corpus(
            Data(paths=(str(tmp_path),), held_out=0.2), module, module.Config(vocabulary=120), show=show
        )
        assert show.lines[0].startswith(f"{tmp_path}/link.txt: is a link to a file that does not exist, and is left")
        assert [finding.where for finding in corpus.findings][:1] == [f"{tmp_path}/link.txt"]
        show.lines.clear()


def test_skip_bad_leaves_out_what_is_no_file_in_a_folder(tmp_path):
    path = write_corpus(tmp_path, 60)
    os.mkfifo(tmp_path / "pipe.txt")
    module = find("signals", "text")
    for paths in ((str(tmp_path),), (str(path), str(tmp_path / "pipe.txt"))):
        data = Data(paths=paths, held_out=0.2, skip_bad=True)
        corpus = open_corpus(data, module, module.Config(vocabulary=120))
        assert corpus.findings[0][:3] == ("error", f"{tmp_path}/pipe.txt", "is no regular file")
        with pytest.raises(InputError, match="is no regular file"):
            open_corpus(data.model_copy(update={"skip_bad": False}), module, module.Config(vocabulary=120))
    with pytest.raises(InputError, match=r"pipe\.txt: is no regular file"):
        nothing = Data(paths=(str(tmp_path / "pipe.txt"),), skip_bad=True)
        open_corpus(nothing, module, module.Config(vocabulary=120))


def test_mixed_encodings_with_skip_bad_lose_the_bad_line_only(tmp_path):
    path = file(tmp_path, "a.txt", "Zoë\n\n".encode() + b"caf\xe9\n\n" + "naïve\n".encode())
    reading = read([path], skip_bad=True)
    assert [(record.text, record.where.line) for record in reading] == [("Zoë", 1), ("naïve", 5)]
    assert len(reading.findings) == 1


def test_many_findings_of_a_kind_are_counted(tmp_path):
    path = file(tmp_path, "a.jsonl", '{"text": "some words"}\n' + "oh\n" * 1000)
    reading = read([path], skip_bad=True)
    assert len(list(reading)) == 1
    assert len(reading.findings) == Problems.shown + 1
    assert reading.findings[-1].what == "and 980 more of this kind"
