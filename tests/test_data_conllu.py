"""Words with tags: CoNLL-U and files of columns, their places, and what is wrong with them word for word."""

import gzip
import os
from pathlib import Path

import pytest

from firth.data import conllu
from firth.data.encodings import Piece
from firth.data.files import expand
from firth.data.readers import read, table
from firth.data.records import Problems, Where
from firth.errors import InputError

SKIP = "--skip-bad leaves out such sentences."
COLUMNS = f"Put a tag beside each word, and a blank line between sentences; {SKIP}"
TEN = f"Write ten columns with tabs between them (a file of words and tags ends in .conll); {SKIP}"
UNIVERSAL = """\
# newdoc id = one
# sent_id = one-1
# text = They don't sing.
1\tThey\tthey\tPRON\tPRP\t_\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tsing\tsing\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No
4.1\tsung\tsing\tVERB\tVBN\t_\t_\t_\t_\t_
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

1\t10 000\t10000\tNUM\tCD\t_\t2\tnummod\t_\t_
2\tbirds\tbird\tNOUN\tNNS\t_\t0\troot\t_\t_
"""
FOUR = """\
-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

# id = 7
Peter NNP B-NP B-PER
# # B-NP O
"""


def line(number, word, tag="NOUN"):
    return f"{number}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n"


def rows(tmp_path, text, name="a.conll", skip=False):
    """[(line, row)] of a file, and the findings."""
    path = tmp_path / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    problems = Problems(skip)
    (file,) = expand([path])
    assert file.format == "conllu"
    return [(where.line, row) for where, row in table(file, problems)], problems.findings


def test_universal(tmp_path):
    (first, second), _ = rows(tmp_path, UNIVERSAL, "a.conllu")
    assert first == (1, {
        "words": ["They", "do", "n't", "sing", "."],
        "upos": ["PRON", "AUX", "PART", "VERB", "PUNCT"],
        "xpos": ["PRP", "VBP", "RB", "VB", "."],
        "text": "They don't sing.",
    })  # fmt: skip
    assert second == (12, {"words": ["10 000", "birds"], "upos": ["NUM", "NOUN"], "xpos": ["CD", "NNS"],
                           "text": "10 000 birds"})  # fmt: skip


def test_text_without_comment_is_put_together_as_it_was_written(tmp_path):
    bare = "".join(one + "\n" for one in UNIVERSAL.splitlines() if not one.startswith("# text"))
    (first, _), _ = rows(tmp_path, bare, "a.conllu")
    assert first[1]["text"] == "They don't sing."


@pytest.mark.parametrize("name", ["a.conll", "a.conllu", "a.bio", "a.iob", "a.CONLLU.gz"])
def test_universal_is_known_by_its_content(tmp_path, name):
    found, _ = rows(tmp_path, UNIVERSAL, name)
    assert [len(row["upos"]) for _, row in found] == [5, 2]


def test_four_columns(tmp_path):
    found, _ = rows(tmp_path, FOUR)
    assert found == [
        (3, {"words": ["EU", "rejects"], "tags": ["B-ORG", "O"], "text": "EU rejects"}),
        (6, {"words": ["Peter", "#"], "tags": ["B-PER", "O"], "text": "Peter #"}),
    ]


@pytest.mark.parametrize("gap", ["\t", " ", "   "])
def test_two_columns(tmp_path, gap):
    found, _ = rows(tmp_path, f"Zoë{gap}B-PER\nsings{gap}O\n\n\n\n#good{gap}O\n", "a.bio")
    assert [row["words"] for _, row in found] == [["Zoë", "sings"], ["#good"]]
    assert [row["tags"] for _, row in found] == [["B-PER", "O"], ["O"]]


def test_words_with_blanks_between_tabs(tmp_path):
    found, _ = rows(tmp_path, "New York\tB-LOC\n.\tO\n", "a.iob")
    assert found[0][1]["words"] == ["New York", "."]


def test_line_ends_and_marks_of_other_systems(tmp_path):
    found, _ = rows(tmp_path, b"\xef\xbb\xbfa O\r\nb O\r\n\r\nc O")
    assert [row["words"] for _, row in found] == [["a", "b"], ["c"]]


def test_a_sentence_goes_on_over_the_end_of_a_piece():
    pieces = [Piece("a O\nb O\n", 1), Piece("c O\n", 3), Piece("\nd O\n", 4)]
    found = list(conllu.rows(pieces, "x.conll", Problems()))
    assert [(where, row["words"]) for where, row in found] == [
        (Where("x.conll", 1, 1), ["a", "b", "c"]),
        (Where("x.conll", 5, 1), ["d"]),
    ]


def test_memory_is_bounded():
    """Pieces are asked for as sentences are, one at a time."""
    asked = []

    def pieces():
        for number in range(1000):
            asked.append(number)
            yield Piece("a O\n\n", 1 + 2 * number)

    found = conllu.rows(pieces(), "x.conll", Problems())
    next(found)
    assert len(asked) == 1
    assert sum(1 for _ in found) == 999


GOLDEN = {
    "unequal.conll": ("a O\nb\n", "unequal.conll:2:2: 2 words and 1 tag: 1 column where the file has 2. " + COLUMNS),
    "empty.conll": (
        "a\tO\nb\tO\nfilm\t\n",
        "empty.conll:3:5: 3 words and 2 tags: 1 column where the file has 2. " + COLUMNS,
    ),
    "more.conll": (
        "New York B-LOC\na O\n",
        "more.conll:2:4: 2 words and 1 tag: 2 columns where the file has 3. " + COLUMNS,
    ),
    "most.conll": ("a O\nNew York B-LOC\n", "most.conll:2:10: 3 columns where the file has 2. " + COLUMNS),
    "tabs.conll": ("a\tO\nb\tX\tO\n", "tabs.conll:2:5: 3 columns where the file has 2. " + COLUMNS),
    "blank.conll": ("a\tO\n\tO\n", "blank.conll:2:1: the word is empty. " + COLUMNS),
    "lone.conll": ("word\nother\n", "lone.conll:1:5: 2 words and 0 tags: 1 column where the file has 2. " + COLUMNS),
    "nine.conllu": (
        line(1, "a") + "2\tfilm\t_\tNOUN\n",
        "nine.conllu:2:14: 4 columns where CoNLL-U has 10. " + TEN,
    ),
    "eleven.conllu": (
        "# text = a\n1\ta\t_\tX\t_\t_\t_\t_\t_\t_\tmore\n",
        "eleven.conllu:2:21: 11 columns where CoNLL-U has 10. " + TEN,
    ),
    "two.conllu": ("a O\n", "two.conllu:1:4: 1 column where CoNLL-U has 10. " + TEN),
    "number.conllu": (
        line(1, "a") + line("x", "b"),
        "number.conllu:2:1: the line begins with `x`, not with the number of a word. " + TEN,
    ),
    "tagless.conllu": (line(1, "a", ""), "tagless.conllu:1:7: column 4 is empty. " + TEN),
    "wordless.conllu": (line(1, " "), "wordless.conllu:1:3: column 2 is empty. " + TEN),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_message(tmp_path, name):
    text, want = GOLDEN[name]
    with pytest.raises(InputError) as caught:
        rows(tmp_path, text, name)
    assert str(caught.value).replace(f"{tmp_path}/", "") == want


@pytest.mark.parametrize("name", GOLDEN)
def test_skip_bad_leaves_out_the_sentence_and_keeps_the_finding(tmp_path, name):
    text, want = GOLDEN[name]
    after = line(1, "fine") if name.endswith("u") else "fine O\n" if "\t" not in text else "fine\tO\n"
    after = after if name not in ("more.conll",) else "fine X O\n"
    found, findings = rows(tmp_path, f"{text}\n{after}", name, skip=True)
    assert [row["words"] for _, row in found] == [["fine"]]
    assert [f"{one.where}: {one.what}. {one.do}".replace(f"{tmp_path}/", "") for one in findings] == [want]


def test_a_sentence_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(conllu, "MOST", 3)
    text = "a O\n\n" + "b O\n" * 9 + "\nc O\n"
    with pytest.raises(InputError) as caught:
        rows(tmp_path, text)
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        f"a.conll:3:1: a sentence of more than 3 lines begins here. Put a blank line between sentences; {SKIP}"
    )
    found, findings = rows(tmp_path, text, skip=True)
    assert [row["words"] for _, row in found] == [["a"], ["c"]]
    assert len(findings) == 1


def test_comments_alone_are_no_sentence(tmp_path):
    found, _ = rows(tmp_path, f"# newdoc\n\n{line(1, 'a')}\n# end\n", "a.conllu")
    assert [row["words"] for _, row in found] == [["a"]]
    found, _ = rows(tmp_path, "-DOCSTART- -X- O\na X O\n\n-DOCSTART- -X- O\n\n")
    assert [row["words"] for _, row in found] == [["a"]]


def test_the_text_can_be_read_for_training(tmp_path):
    (tmp_path / "a.conllu").write_text("".join(f"{line(1, f'word{i}')}{line(2, 'sings')}\n" for i in range(20)))
    reading = read([tmp_path / "a.conllu"])
    assert reading.text_column == "text" and reading.label_column is None
    assert [record.text for record in reading][:2] == ["word0 sings", "word1 sings"]


REAL = Path(os.environ.get("FIRTH_DATA", "")) / "text" / "ud_ewt"


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FIRTH_DATA") or not REAL.exists(), reason="FIRTH_DATA holds no text/ud_ewt")
@pytest.mark.parametrize(
    ("part", "sentences", "words"), [("dev", 2001, 25147), ("test", 2077, 25094), ("train", 12544, 204577)]
)
def test_the_english_web_treebank(part, sentences, words):
    (file,) = expand([REAL / f"{part}.conllu.gz"])
    found = [row for _, row in table(file, Problems())]
    assert (len(found), sum(len(row["words"]) for row in found)) == (sentences, words)
    assert all(len(row["words"]) == len(row["upos"]) == len(row["xpos"]) for row in found)
    assert len({tag for row in found for tag in row["upos"]}) == 17


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FIRTH_DATA") or not REAL.exists(), reason="FIRTH_DATA holds no text/ud_ewt")
def test_texts_put_together_are_those_of_the_treebank(tmp_path):
    whole = gzip.decompress((REAL / "dev.conllu.gz").read_bytes()).decode("utf-8")
    bare = "".join(one + "\n" for one in whole.split("\n") if not one.startswith("# text"))
    said, made = rows(tmp_path, whole, "a.conllu")[0], rows(tmp_path, bare, "b.conllu")[0]
    same = [one["text"] == other["text"] for (_, one), (_, other) in zip(said, made, strict=True)]
    assert sum(same) >= 0.99 * len(same)
