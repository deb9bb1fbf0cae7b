"""What predict and embed are given: what one input is, where it came from, and what cannot be read, in its place."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from firth.data.config import listed
from firth.data.given import Failures, Given, place_of
from firth.data.media_inputs import inputs
from firth.errors import InputError
from firth.evaluate import prompting
from firth.evaluate.answers import Answered, answered, each
from firth.evaluate.inputs import How, Query, texts_of
from firth.evaluate.judge import Judge
from firth.functional.choices import Likelihood
from firth.objectives._writing import asked
from firth.signals.image import Config, Image
from firth.task import Where
from tests.picture_files import made, written

THREE = "one line\nanother line\nthe last line\n"


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder, count: int, text: str = THREE) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02}.txt").write_text(text)


def read(*typed: str, **how) -> list[tuple]:
    return [(one.content, one.where) for one in texts_of(typed, How(**how))]


def shown(one) -> tuple:
    return (one.content.what if isinstance(one.content, InputError) else one.content, one.where)


# ------------------------------------------------------------------ what one input is


def test_a_single_file_is_read_by_lines_unless_one_says_otherwise(there):
    (there / "a.txt").write_text("one\n\ntwo\nthree\n")
    assert read("a.txt") == [("one", "a.txt:1"), ("two", "a.txt:3"), ("three", "a.txt:4")]
    assert read("a.txt", document="block") == [("one", "a.txt:1"), ("two\nthree", "a.txt:3")]
    assert read("a.txt", document="file") == [("one\n\ntwo\nthree", "a.txt")]


def test_twenty_files_are_twenty_inputs_as_in_training(there):
    files(there / "many", 20)
    found = read("many")
    assert found == [(THREE.strip(), f"many/{number:02}.txt") for number in range(20)]
    assert len(read("many", document="line")) == 60


def test_files_named_one_by_one_count_as_those_of_a_folder(there):
    files(there / "many", 20)
    names = [f"many/{number:02}.txt" for number in range(20)]
    assert read(*names) == read("many")
    assert read(*names[:2], "a text")[-1] == ("a text", "")


def test_a_long_file_stays_one_input(there):
    (there / "a.txt").write_text("words and words\n" * 5_000)
    assert len(read("a.txt", document="file")) == 1


def test_a_table_says_the_row(there):
    (there / "a.csv").write_text("id,text\n7,a funny film\n8,a stale film\n")
    first, second = texts_of(["a.csv"], How())
    assert (first.content, first.where, dict(first.row)) == (
        "a funny film",
        "a.csv:2",
        {"id": "7", "text": "a funny film"},
    )
    assert second.where == "a.csv:3"


@pytest.mark.parametrize(
    ("where", "whole", "place"),
    [
        (Where("a.csv", 3, 1), False, "a.csv:3"),
        (Where("a.txt", 1, 1), True, "a.txt"),
        ("a.txt", False, "a.txt"),
        ("a.csv:3:1", False, "a.csv:3"),
        ("a.csv:3", False, "a.csv:3"),
    ],
)
def test_a_place_is_a_file_and_a_row(where, whole, place):
    assert place_of(where, whole) == place


# ------------------------------------------------------------------ what cannot be read


def test_an_empty_cell_ends_the_reading_or_stands_in_its_place(there):
    (there / "a.csv").write_text("id,text\n1,a funny film\n2,\n3,a stale film\n4,too,many\n")
    with pytest.raises(InputError, match=r"a\.csv:3:1: `text` is empty"):
        list(texts_of(["a.csv"], How()))
    found = list(texts_of(["a.csv"], How(skip_bad=True)))
    assert [shown(one) for one in found] == [
        ("a funny film", "a.csv:2"), ("`text` is empty", "a.csv:3"), ("a stale film", "a.csv:4"),
        ("3 cells where the header has 2", "a.csv:5"),
    ]  # fmt: skip
    assert [one.row.get("id") for one in found] == ["1", "2", "3", None]


def test_a_row_that_a_task_cannot_read_stands_in_its_place(there):
    (there / "a.jsonl").write_text('{"first": "x"}\n{"other": "y"}\n{"first": "z"}\n')

    def reads(record):
        if "first" not in record.fields:
            raise InputError(record.where, "has no `first`", "Give one.")
        return (record.fields["first"],)

    found = texts_of(["a.jsonl"], How(reads=reads, skip_bad=True))
    assert [shown(one) for one in found] == [
        (("x",), "a.jsonl:1"),
        ("has no `first`", "a.jsonl:2"),
        (("z",), "a.jsonl:3"),
    ]


def test_files_that_cannot_be_opened_are_skipped_and_others_go_on(there):
    (there / "a.txt").write_text("a funny film\n")
    (there / "b.txt").touch()
    (there / "c.pdf").write_bytes(b"%PDF")
    found = [shown(one) for one in texts_of(["b.txt", "a.txt", "c.pdf"], How(skip_bad=True))]
    assert found == [("is empty", "b.txt"), ("a funny film", "a.txt:1"), ("`.pdf` files have no reader", "c.pdf")]
    with pytest.raises(InputError, match=r"b\.txt: is empty"):
        list(texts_of(["a.txt", "b.txt"], How()))


def test_a_folder_without_text_is_refused_with_what_to_do(there):
    (there / "docs").mkdir()
    (there / "docs" / "a.docx").touch()
    with pytest.raises(InputError) as caught:
        list(texts_of(["docs"], How()))
    assert "holds no file that can be read" in str(caught.value) and "Save it as .txt" in caught.value.do


def test_a_broken_picture_stands_in_its_place(there):
    (there / "photos").mkdir()
    for number in range(3):
        (there / "photos" / f"{number}.png").write_bytes(written(made(8, 8, seed=number)))
    (there / "photos" / "1.png").write_bytes(b"<html>")
    signal = Image(Config(size=8))
    with pytest.raises(InputError, match=r"photos/1\.png: is a web page"):
        list(inputs("photos", signal))
    first, broken, last = inputs("photos", signal, None, Failures(skip=True))
    assert [str(one.content) for one in (first, last)] == ["photos/0.png", "photos/2.png"]
    assert broken.where == "photos/1.png" and broken.content.what == "is a web page, and no picture"


# ------------------------------------------------------------------ answers


def test_answers_stand_where_their_inputs_stood():
    bad = InputError("a.csv:2:1", "`text` is empty", "Fill it in.")
    given = [Given("x", "a.csv:1", {"id": "1"}), Given(bad, "a.csv:2"), Given("y"), Given(bad)]
    found = list(answered(given, lambda texts: ({"text": text, "label": text * 2} for text in texts)))
    assert [one.as_dict() for one in found] == [
        {"text": "x", "label": "xx", "where": "a.csv:1"}, {"row": 2, "error": "`text` is empty", "where": "a.csv:2"},
        {"text": "y", "label": "yy"}, {"row": 4, "error": "`text` is empty"},
    ]  # fmt: skip
    assert found[0].row == {"id": "1"} and json.dumps(found[1].as_dict())


@pytest.mark.parametrize("bad", [(), (0,), (3, 4), (9,), tuple(range(10))])
def test_what_is_refused_is_found_among_what_is_asked_together(bad):
    def ask(some):
        for one in some:
            if one in bad:
                raise InputError(one, "cannot be", "Leave it out.")
        return [10 * one for one in some]

    found = each(ask, range(10))
    assert [one.where if isinstance(one, InputError) else one for one in found] == [
        str(one) if one in bad else 10 * one for one in range(10)
    ]


def test_an_option_that_is_wrong_is_no_fault_of_each_input():
    """--skip-bad is about inputs: `--temperature -1` ended in a file of errors, and in exit code 0."""
    times: list = []

    def ask(some):
        times.append(some)
        asked({"temperature": -1.0})

    with pytest.raises(InputError, match=r"--temperature -1\.0: must be 0 or more"):
        each(ask, range(10))
    assert len(times) == 1


def test_only_what_could_be_read_is_answered():
    seen: list = []
    given = [Given(InputError("a", "is bad", "Leave it.")), Given("x")]
    found = list(answered(given, lambda texts: (seen.append(text) or {"text": text} for text in texts)))
    assert seen == ["x"] and [one.failed for one in found] == [True, False] and isinstance(found[1], Answered)


@pytest.mark.parametrize("given", ["a text", Path("a text"), ["a text"], (Path("a text"),), iter(["a text"])])
def test_one_or_several_are_listed(given):
    assert listed(given) == ("a text",)


def test_what_is_neither_path_nor_text_is_not_taken_for_one():
    with pytest.raises(TypeError):
        listed([("a question", "a document")])


# ------------------------------------------------------------------ prompts


class Words:
    """As much of a signal of text as a prompt asks for: a token is a word."""

    store, name, config = "corpus", "text", SimpleNamespace(context=8)

    def encode(self, texts):
        return [SimpleNamespace(ids=text.split()) for text in texts]


def longest(prompts, options):
    """A judge that finds the longest option likeliest."""
    return [[Likelihood(float(len(one)), 1, False) for one in some] for some in options]


def test_prompts_have_the_rows_and_the_places_of_their_inputs(there, monkeypatch):
    judge = Judge("a model", "likelihood", Words(), longest, None, (), 8)
    monkeypatch.setattr(prompting, "open_judge", lambda *given: judge)
    (there / "a.csv").write_text("id,text\n1,a funny film\n2,\n3,a film of very many words it is\n4,a stale film\n")
    query = Query("x", ["a.csv"], text="text", skip_bad=True)
    told = {"template": "{id} {text} {label}", "classes": ("good", "bad")}
    found = [one.as_dict() for one in prompting.prompted(query, **told)]
    assert [one.get("label") for one in found] == ["good", None, None, "good"]
    assert [one["where"] for one in found] == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]
    assert found[1]["error"] == "`text` is empty" and "the context of the model 8" in found[2]["error"]
    assert list(prompting.prompted(replace(query, dry_run=True), **told)) == []
    with pytest.raises(InputError, match=r"a\.csv:3:1: `text` is empty"):
        list(prompting.prompted(replace(query, skip_bad=False), **told))
