"""Plain text into documents: what the layout is taken for, and that nothing is lost whatever the pieces are."""

import codecs
import gzip
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firth.data import archives, encodings, text
from firth.data.encodings import Decoder, Piece
from firth.data.records import Problems, Where

QUICK = settings(max_examples=80, deadline=None)
LINES = st.lists(st.text("ab c.é", max_size=10), max_size=12).map("\n".join)


def cut(whole: str, size: int) -> list[Piece]:
    """Pieces of whole lines, of about `size` characters."""
    pieces, line, held = [], 1, ""
    for one in whole.splitlines(keepends=True):
        held += one
        if len(held) >= size:
            pieces.append(Piece(held, line))
            line, held = line + held.count("\n"), ""
    return pieces + ([Piece(held, line)] if held else [])


def found(whole: str, unit: str, size: int = 5) -> list[tuple[Where, str]]:
    return list(text.documents(cut(whole, size), unit, "a.txt", Problems()))


# ------------------------------------------------------------------ layout and unit

BLOCKS = "\n\n".join(f"block number {n}\nwith two lines" for n in range(30))
WRAPPED = "\n".join("word " * 14 + "end" * (n % 3) for n in range(200))
SHORT = "one line\nand another\n"


@pytest.mark.parametrize(
    ("whole", "blocks", "lines", "has_blocks", "runs"),
    [
        (BLOCKS, 30, 60, True, False),
        (WRAPPED, 1, 200, False, True),
        (SHORT, 1, 2, False, True),
        ("", 0, 0, False, True),
        ("\n \n\t\n", 0, 0, False, True),
    ],
)
def test_layouts(whole, blocks, lines, has_blocks, runs):
    layout = text.layout([whole])
    assert (layout.blocks, layout.lines, layout.has_blocks, layout.runs) == (blocks, lines, has_blocks, runs)


@pytest.mark.parametrize(
    ("whole", "files", "document", "unit"),
    [
        (BLOCKS, 1, "auto", "block"),
        (BLOCKS, 5, "auto", "block"),
        (BLOCKS, 20, "auto", "file"),
        (BLOCKS, 20, "line", "line"),
        (BLOCKS, 2, "file", "file"),
        (BLOCKS, 1, "file", "part"),
        (WRAPPED, 1, "auto", "part"),
        (WRAPPED, 3, "auto", "line"),
        (WRAPPED, 1, "line", "line"),
        ("\n".join(f"a tweet {'x' * (n % 90)}" for n in range(200)), 1, "auto", "line"),
    ],
)
def test_what_a_document_is(whole, files, document, unit):
    assert text.unit(text.layout([whole]), files, document) == unit


@pytest.mark.parametrize(("lines", "share"), [([], 0.0), (["x" * 30] * 9, 0.0), (["x" * 70] * 9, 1.0)])
def test_wrapped_prose_ends_near_one_width(lines, share):
    assert text._wrapped(lines) == share


# ------------------------------------------------------------------ documents


@QUICK
@given(LINES, st.integers(1, 30))
def test_lines_are_the_lines_that_hold_something(whole, size):
    assert [body for _, body in found(whole, "line", size)] == [s.strip() for s in whole.split("\n") if s.strip()]


@QUICK
@given(LINES, st.integers(1, 30))
@example("a\n \n\nb\n\n", 1)
def test_blocks_do_not_depend_on_the_pieces(whole, size):
    assert found(whole, "block", size) == found(whole, "block", 10**6)


@QUICK
@given(LINES, st.sampled_from(["file", "block", "line", "part"]), st.integers(1, 30))
def test_no_letter_is_lost_and_every_place_is_right(whole, unit, size):
    documents = found(whole, unit, size)
    assert "".join("".join(body.split()) for _, body in documents) == "".join(whole.split())
    lines = whole.split("\n")
    for where, body in documents:
        assert lines[where.line - 1].strip().startswith(body.split("\n")[0].strip()[:3].strip())


def test_a_file_is_one_document():
    assert found("\n\n one\n\ntwo \n", "file", 3) == [(Where("a.txt", 3, 1), "one\n\ntwo")]


@QUICK
@given(st.text("ab \n", max_size=200), st.integers(2, 50))
def test_parts_are_whole_again_and_small(whole, size):
    parts = list(text.parts(whole, size))
    assert "".join(part for _, part in parts) == whole
    assert all(0 < len(part) <= size for _, part in parts)
    assert [start for start, _ in parts] == [sum(len(p) for _, p in parts[:i]) for i in range(len(parts))]


def test_parts_are_cut_at_line_ends_then_at_spaces():
    assert [part for _, part in text.parts("aaa bbb\nccc ddd", 10)] == ["aaa bbb\n", "ccc ddd"]
    assert [part for _, part in text.parts("aaa bbb ccc", 9)] == ["aaa bbb ", "ccc"]
    assert [part for _, part in text.parts("aaaabbbbcc", 4)] == ["aaaa", "bbbb", "cc"]


def test_a_long_document_is_cut_and_told(monkeypatch):
    monkeypatch.setattr(text, "LIMIT", 40)
    monkeypatch.setattr(text, "PART", 20)
    problems = Problems()
    pieces = [Piece("\nwords in a row " * 5, 1)]
    documents = list(text.documents(pieces, "block", "a.txt", problems))
    assert "".join(body.replace(" ", "").replace("\n", "") for _, body in documents) == "wordsinarow" * 5
    assert all(len(body) <= 20 for _, body in documents)
    assert problems.findings[0].what == "a document of 80 characters is cut into parts"


# ------------------------------------------------------------------ encodings


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (codecs.BOM_UTF8 + b"a", ("utf-8-sig", 3)),
        (codecs.BOM_UTF16_LE + b"a\0", ("utf-16-le", 2)),
        (codecs.BOM_UTF16_BE + b"\0a", ("utf-16-be", 2)),
        (codecs.BOM_UTF32_LE + b"a\0\0\0", ("utf-32-le", 4)),
        (codecs.BOM_UTF32_BE + b"\0\0\0a", ("utf-32-be", 4)),
        ("plain words".encode("utf-16-le"), ("utf-16-le", 0)),
        ("plain words".encode("utf-16-be"), ("utf-16-be", 0)),
        (b"plain words", ("utf-8", 0)),
        (b"", ("utf-8", 0)),
        (b"\0\0\0\0\0\0", ("utf-8", 0)),
    ],
)
def test_the_first_bytes_name_the_encoding(head, encoding):
    assert encodings.sniff(head) == encoding


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7", "a PDF document"),
        (b"\x89PNG\r\n", "a PNG image"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PAR1....", "a parquet file"),
        (b"a\0b", "binary data, not text"),
        (bytes(range(1, 32)), "binary data, not text"),
        (b"text with a tab\tand a \x1b[1mcolour", ""),
        ("naïve".encode(), ""),
        (b"", ""),
    ],
)
def test_what_is_no_text_is_named(head, kind):
    assert encodings.binary(head) == kind


def read(data: bytes, problems: Problems | None = None) -> str:
    pieces = encodings.pieces(io.BytesIO(data), "a.txt", problems or Problems())
    return "".join(piece.text for piece in pieces)


@QUICK
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=80),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_text_comes_back_from_every_unicode_form(whole, encoding):
    data = whole.encode(encoding)
    if whole and not whole.startswith("\ufeff") and (encoding != "utf-8" or not encodings.sniff(data)[1]):
        assert read(data, Problems(skip=True)) == whole


@QUICK
@given(st.lists(st.text("aé ", max_size=6), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_line_ends_of_every_system_are_one(lines, end):
    assert read(end.join(lines).encode()).split("\n") == lines


def test_pieces_know_their_first_line(monkeypatch):
    monkeypatch.setattr(encodings, "CHUNK", 10)
    data = b"".join(b"line %d\r\n" % n for n in range(1, 20))
    pieces = list(encodings.pieces(io.BytesIO(data), "a.txt", Problems()))
    assert len(pieces) > 5
    for piece in pieces:
        assert piece.text.startswith(f"line {piece.line}\n")


def test_a_line_without_end_is_refused_before_memory_is_gone(monkeypatch):
    monkeypatch.setattr(encodings, "CHUNK", 10)
    monkeypatch.setattr(encodings, "LINE_LIMIT", 50)
    problems = Problems(skip=True)
    assert read(b"short\n" + b"x" * 500, problems) == "short\n"
    assert [(f.where, f.what, f.do) for f in problems.findings] == [("a.txt:2:1", encodings.TOO_LONG, encodings.BREAK)]


@pytest.mark.parametrize(
    ("start", "where"),
    [(0, "a.txt:5:1"), (3, "a.txt:5:4"), (4, "a.txt:6:1"), (8, "a.txt:7:1")],
)
def test_a_byte_has_a_line_and_a_column(start, where):
    assert str(encodings.place("a.txt", b"abc\nab\r\nxyz", start, 5)) == where


def test_columns_count_characters_and_not_bytes():
    assert str(encodings.place("a.txt", "ééé!".encode(), 6, 1)) == "a.txt:1:4"


@pytest.mark.parametrize(
    ("chunks", "texts", "encoding"),
    [
        ([b"plain", b"caf\xe9"], ["plain", "café"], "cp1252"),
        ([b"\x93quoted\x94", b"\x85"], ["“quoted”", "…"], "cp1252"),
        ([b"caf\xe9 \x81"], ["café \x81"], "latin-1"),
        (["naïve".encode(), b"more"], ["naïve", "more"], "utf-8"),
    ],
)
def test_a_byte_that_is_not_utf_8_decides_for_the_file(chunks, texts, encoding):
    problems = Problems()
    decoder = Decoder("a.txt", problems)
    assert [decoder.decode(chunk, 1) for chunk in chunks] == texts
    assert decoder.encoding == encoding
    assert len(problems.findings) == (encoding != "utf-8")


# ------------------------------------------------------------------ archives


@QUICK
@given(st.binary(max_size=400), st.integers(1, 50))
def test_unpacking_reads_what_was_packed(data, size):
    stream = archives.Gunzip(io.BytesIO(gzip.compress(data)))
    assert stream.readable()
    read_back = b"".join(iter(lambda: stream.read(size), b""))
    assert (read_back, stream.count) == (data, len(data))
    stream.close()


def test_a_bomb_is_stopped_on_the_way(monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1000)
    stream = archives.Gunzip(io.BytesIO(gzip.compress(b"\0" * 10**6)))
    with pytest.raises(archives.Bomb, match="unpacks to more than 200 times its size: a gzip bomb"):
        while stream.read(1000):
            pass
    assert stream.count < 10**6


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        (".DS_Store", True),
        ("a/.hidden/b.txt", True),
        ("__MACOSX/a.txt", True),
        ("a/__MACOSX.txt", False),
        ("../a.txt", False),
        ("a/./b.txt", False),
        ("a.txt", False),
    ],
)
def test_system_files_are_passed_over(name, hidden):
    assert archives._hidden(name) is hidden
