"""SQuAD JSON: questions with their places, and what is wrong with them word for word."""

import gzip
import io
import json
import os
from pathlib import Path

import pytest

from firth.data import squad
from firth.data.files import expand
from firth.data.readers import read, table
from firth.data.records import Problems, Where
from firth.errors import InputError

SKIP = "--skip-bad leaves out such questions."
SHAPE = "In SQuAD, articles in `data` have `paragraphs`, these a `context` and `qas`, and these `id` and `question`."
LINES = "SQuAD has a list `data`; for anything else write one object a line: jq -c . OLD.json > NEW.jsonl"
CONTEXT = "The cat sat on the mat. Zoë saw the cat — 🙂 and left."


def question(id="q1", text="cat", start=4, **more):
    answers = [] if text is None else [{"text": text, "answer_start": start}]
    return {"question": "Who sat?", "id": id, "answers": answers} | more


def article(*qas, context=CONTEXT, title="Cats"):
    return {"title": title, "paragraphs": [{"context": context, "qas": list(qas)}]}


def tree(*qas, **more):
    return {"version": "1.1", "data": [article(*qas, **more)]}


def file(tmp_path, content, name="a.json"):
    """A file of bytes, text, or anything that becomes JSON."""
    if not isinstance(content, bytes | str):
        content = json.dumps(content, ensure_ascii=False)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return tmp_path / name


def rows(tmp_path, content, name="a.json", skip=False):
    (one,) = expand([file(tmp_path, content, name)])
    problems = Problems(skip)
    return list(table(one, problems)), problems.findings


def message(tmp_path, content, name="a.json"):
    with pytest.raises(InputError) as caught:
        rows(tmp_path, content, name)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_question(tmp_path, name):
    ((where, row),), _ = rows(tmp_path, tree(question(start=4)), name)
    assert row == {"id": "q1", "title": "Cats", "context": CONTEXT, "question": "Who sat?",
                   "answers": [{"text": "cat", "start": 4}], "impossible": False}  # fmt: skip
    assert where.line == 1


def test_version_two(tmp_path):
    found, _ = rows(tmp_path, tree(question(), question("q2", None, is_impossible=True, plausible_answers=[{}])))
    assert [(row["impossible"], row["answers"]) for _, row in found] == [
        (False, [{"text": "cat", "start": 4}]),
        (True, []),
    ]


def test_offsets_count_characters(tmp_path):
    """Letters beyond ASCII and emoji are one character each."""
    for text in ("saw", "🙂", "left", "Zoë"):
        found, _ = rows(tmp_path, tree(question("q", text, CONTEXT.index(text))))
        assert found[0][1]["answers"] == [{"text": text, "start": CONTEXT.index(text)}]


@pytest.mark.parametrize(("indent", "ascii"), [(None, True), (None, False), (2, True), (2, False)])
def test_places(tmp_path, indent, ascii):
    qas = [question(id) for id in ('"id": "q2"', "q2", 'Zoë\\"', "7")]
    text = json.dumps(tree(*qas, title='"id": "q2"'), indent=indent, ensure_ascii=ascii)
    found, _ = rows(tmp_path, text)
    lines = text.split("\n")
    for (where, row), item in zip(found, qas, strict=True):
        assert row["id"] == item["id"]
        assert lines[where.line - 1][where.column - 1 :].startswith(
            f'"id": {json.dumps(item["id"], ensure_ascii=ascii)}'
        )
    assert len({where for where, _ in found}) == 4


def test_ids_that_are_numbers(tmp_path):
    found, _ = rows(tmp_path, tree(question(7), question(8)))
    assert [row["id"] for _, row in found] == ["7", "8"]
    assert found[0][0] < found[1][0]


def test_several_articles_in_order(tmp_path):
    articles = [article(*(question(f"{a}{q}") for q in range(3)), title=str(a)) for a in range(3)]
    found, _ = rows(tmp_path, {"data": articles})
    assert [row["id"] for _, row in found] == [f"{a}{q}" for a in range(3) for q in range(3)]
    assert [row["title"] for _, row in found][::3] == ["0", "1", "2"]


WRONG = {
    "by one": (
        question(start=5),
        "the answer `cat` is not at character 5 of the document; it is at 4",
        "Set answer_start to 4 (characters count from 0); ",
    ),
    "nearest": (
        question(start=35),
        "the answer `cat` is not at character 35 of the document; it is at 36",
        "Set answer_start to 36 (characters count from 0); ",
    ),
    "negative": (
        question(start=-1),
        "the answer `cat` is not at character -1 of the document; it is at 4",
        "Set answer_start to 4 (characters count from 0); ",
    ),
    "far": (
        question(start=4000),
        "the answer `cat` is not at character 4,000 of the document; it is at 36",
        "Set answer_start to 36 (characters count from 0); ",
    ),
    "absent": (
        question(text="dog"),
        "the answer `dog` is not in the document",
        "Copy it from the document, letter by letter; ",
    ),
    "long": (
        question(text="dog" * 30),
        f"the answer `{'dog' * 19}do…` is not in the document",
        "Copy it from the document, letter by letter; ",
    ),
    "placeless": (
        question(start=None),
        "the answer `cat` has no `answer_start`",
        "Say at which character it begins, from 0; ",
    ),
    "no text": (question(text=""), "an answer is empty", "Fill in `text`, or leave the answer out; "),
    "no question": (question(question=" "), "the question is empty", "Write the question, or leave it out; "),
    "no answer": (
        question(text=None),
        "has no answer and no `is_impossible`",
        'Add an answer, or "is_impossible": true; ',
    ),
    "both": (question(is_impossible=True), "has an answer and `is_impossible`", "Keep one of the two; "),
}


@pytest.mark.parametrize("name", WRONG)
def test_message(tmp_path, name):
    item, what, do = WRONG[name]
    column = json.dumps(tree(item), ensure_ascii=False).index('"id"') + 1
    assert message(tmp_path, tree(item)) == f"a.json:1:{column}: question `q1`: {what}. {do}{SKIP}"


@pytest.mark.parametrize("name", WRONG)
def test_skip_bad_leaves_out_the_question(tmp_path, name):
    found, findings = rows(tmp_path, tree(WRONG[name][0], question("q2")), skip=True)
    assert [row["id"] for _, row in found] == ["q2"]
    assert [finding.what for finding in findings] == [f"question `q1`: {WRONG[name][1]}"]


def test_an_empty_document_and_a_second_id(tmp_path):
    assert message(tmp_path, tree(question(), context=" \n")).endswith(
        f": question `q1`: the document is empty. Fill in `context`, or leave the question out; {SKIP}"
    )
    assert message(tmp_path, tree(question(), question())).endswith(
        f": question `q1`: another question has the same id. Give each question an id of its own; {SKIP}"
    )


NO_SQUAD = {
    "object": ({"text": "a film"}, f"a.json:1:1: is JSON, but no SQuAD file. {LINES}"),
    "data": ({"data": {"a": 1}}, f"a.json:1:1: is JSON, but no SQuAD file. {LINES}"),
    "string": ('"words"', f"a.json:1:1: is JSON, but no SQuAD file. {LINES}"),
    "array": (
        [{"text": "a film"}],
        "a.json:1:1: is one JSON array, not one object a line. "
        "Turn the array into lines with: jq -c '.[]' OLD.json > NEW.jsonl",
    ),
    "torn": (
        '{"data": [\n  {"title": ]}',
        "a.json:2:13: is no valid JSON: Expecting value. "
        "Write the file again with a JSON library; one JSON object a line belongs into a .jsonl file.",
    ),
    "deep": (
        '{"data": ' + "[" * 200_000,
        "a.json:1:1: is no valid JSON: nested too deeply. "
        "Write the file again with a JSON library; one JSON object a line belongs into a .jsonl file.",
    ),
    "pdf": (
        b"%PDF-1.7 \x00",
        "a.json: is a PDF document. "
        "Take the text out of it first, or leave this file out; --skip-bad leaves out all such files.",
    ),
    "latin": (
        '{"data":\n ["café"]}'.encode("latin-1"),
        "a.json:2:7: byte 0xE9 is not UTF-8. Save the file as UTF-8: "
        "iconv -f CP1252 -t UTF-8 OLD > NEW converts one that is all of one kind.",
    ),
    "article": ({"data": [{"title": "Cats"}]}, f"a.json: `data[0]` has no list `paragraphs`. {SHAPE}"),
    "number": ({"data": [article(), 3]}, f"a.json: `data[1]` has no list `paragraphs`. {SHAPE}"),
    "context": (
        {"data": [{"paragraphs": [{"qas": []}]}]},
        f"a.json: `data[0].paragraphs[0]` has no `context`. {SHAPE}",
    ),
    "qas": (
        {"data": [{"paragraphs": [{"context": "words"}]}]},
        f"a.json: `data[0].paragraphs[0]` has no `qas`. {SHAPE}",
    ),
    "id": (tree({"question": "Who?"}), f"a.json: `data[0].paragraphs[0].qas[0]` has no `id`. {SHAPE}"),
    "question": (
        tree(question(), {"id": "2"}),
        f"a.json: `data[0].paragraphs[0].qas[1]` has no `question`. {SHAPE}",
    ),
}


@pytest.mark.parametrize("name", NO_SQUAD)
def test_what_is_no_squad(tmp_path, name):
    content, want = NO_SQUAD[name]
    assert message(tmp_path, content) == want


@pytest.mark.parametrize("name", NO_SQUAD)
def test_skip_bad_goes_on(tmp_path, name):
    content, want = NO_SQUAD[name]
    found, findings = rows(tmp_path, content, skip=True)
    assert len(found) == (name == "question")
    assert [f"{one.where}: {one.what}. {one.do}".replace(f"{tmp_path}/", "") for one in findings] == [want]


def test_a_file_larger_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(squad, "LIMIT", 3 << 20)
    assert message(tmp_path, tree(question(), context=CONTEXT + "x" * (3 << 20))) == (
        "a.json: is a JSON file of more than 1 GiB, which has to be parsed as a whole. "
        "Split it by articles, or write one question a line into a .jsonl file."
    )
    assert len(rows(tmp_path, tree(question(), context=CONTEXT + "x" * (2 << 20)))[0]) == 1


def test_a_line_longer_than_lines_may_be(tmp_path):
    """SQuAD's own training set is one line of 30 MB."""
    found, _ = rows(tmp_path, tree(question(), context=CONTEXT + " word" * (4 << 20)))
    assert len(found) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings(tmp_path, encoding):
    content = json.dumps(tree(question()), ensure_ascii=False).encode(encoding)
    found, _ = rows(tmp_path, content)
    assert found[0][1]["context"] == CONTEXT


def test_one_object_a_line_is_read_as_such(tmp_path):
    lines = "".join(json.dumps({"text": f"some words {i}", "label": "ab"[i % 2]}) + "\n" for i in range(20))
    found, _ = rows(tmp_path, lines)
    assert [where.line for where, _ in found] == list(range(1, 21))
    assert [record.label for record in read([tmp_path / "a.json"], labelled=True)][:2] == ["a", "b"]


def test_the_join_gives_every_byte_once():
    joined = squad.Joined(b"abc", io.BytesIO(b"defg"))
    assert [joined.read(2), joined.read(2), joined.read(9), joined.read(9)] == [b"abc", b"de", b"fg", b""]


def test_places_that_are_not_found_name_the_file():
    places = squad.Places('{"\\u0069d": "q1"}', "a.json")
    assert places.find("q1") == Where("a.json")


REAL = Path(os.environ.get("FIRTH_DATA", "")) / "text" / "squad"


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FIRTH_DATA") or not REAL.exists(), reason="FIRTH_DATA holds no text/squad")
@pytest.mark.parametrize(("name", "questions", "documents"), [("dev-v1.1", 10570, 2067), ("train_sample", 8149, None)])
def test_squad_itself(name, questions, documents):
    (one,) = expand([REAL / f"{name}.json.gz"])
    found = list(table(one, Problems()))
    assert len(found) == questions
    assert documents is None or len({row["context"] for _, row in found}) == documents
    assert all(where.line and where.column for where, _ in found)
    for _, row in found:
        for answer in row["answers"]:
            assert row["context"][answer["start"] :].startswith(answer["text"])
