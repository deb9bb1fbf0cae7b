"""Suites: what the file says, which rows a part takes, where its tables lie, and what is wrong with a suite."""

import json

import pytest

from firth.errors import InputError
from firth.evaluate import suite as suites
from firth.evaluate.suite import Part, Suite, open_suite, parsed, written
from firth.recipe import Recipe, apply_settings

OWN = """
title = "My words"
[settings]
"model.frozen" = true
[tasks.words]
task = "classify"
label = "word"
labels = [2, "all"]
train = { table = "clips.jsonl", where = { split = "train" } }
test = { table = "clips.jsonl", where = { split = "test" } }
[tasks.people]
task = "verify"
label = "speaker"
train = { table = "clips.jsonl", but_last = ["speaker", 1] }
test = { table = "clips.jsonl", last = ["speaker", 1] }
"""
ROWS = [{"audio": f"{i}.wav", "word": "abc"[i % 3], "speaker": "xy"[i % 2], "split": "train" if i < 8 else "test"}
        for i in range(12)]  # fmt: skip


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "mine.toml").write_text(OWN)
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "clips.zip").write_bytes(b"")
    return tmp_path


def test_a_suite_of_ones_own_is_a_file(desk):
    found, folder = open_suite(str(desk / "mine.toml"))
    assert folder == desk and list(found.tasks) == ["words", "people"]
    assert found.tasks["words"].labels == (2, "all") and found.tasks["people"].labels == ("all",)
    some, _ = open_suite(f"{desk / 'mine.toml'}:people")
    assert list(some.tasks) == ["people"]


@pytest.mark.parametrize(
    ("part", "numbers"),
    [
        (Part(table="t"), list(range(12))),
        (Part(table="t", where={"split": "test"}), [8, 9, 10, 11]),
        (Part(table="t", where={"split": "train", "word": "a"}), [0, 3, 6]),
        (Part(table="t", last=("speaker", 1)), [10, 11]),
        (Part(table="t", but_last=("speaker", 1)), list(range(10))),
        (Part(table="t", last=("word", 2), where={"split": "train"}), [2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_part_is_some_rows(part, numbers):
    assert [row["audio"] for row in part.chosen(ROWS)] == [f"{i}.wav" for i in numbers]


def test_a_part_is_written_beside_what_its_rows_name(desk, tmp_path):
    found, folder = open_suite(str(desk / "mine.toml"))
    place = written(found.tasks["words"].test, folder, tmp_path / "out" / "data" / "words-test.jsonl")
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    assert [row["audio"] for row in rows] == ["8.wav", "9.wav", "10.wav", "11.wav"]
    assert (place.parent / "clips.zip").resolve() == desk / "clips.zip"
    assert written(found.tasks["words"].test, folder, place) == place  # again


@pytest.mark.parametrize("name", suites.names())
def test_suites_that_come_along_are_whole(name):
    found = parsed(suites.HERE / f"{name}.toml")
    assert isinstance(found, Suite) and found.data
    for task in found.tasks.values():
        settings = found.settings | task.settings
        recipe = apply_settings(Recipe(verb="adapt", objective=(task.task,)), settings)
        assert recipe.model.frozen and recipe.model.layer_sum


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do(desk, monkeypatch):
    names = ", ".join(suites.names())
    assert refusal(lambda: open_suite("speach")) == (
        f"--suite speach: no such suite. Did you mean `speech`? There is: {names}; or give a TOML file of your own."
    )
    mine = str(desk / "mine.toml")
    assert refusal(lambda: open_suite(f"{mine}:wrds")) == (
        f"--suite {mine}:wrds: has no task `wrds`. Did you mean `words`? It has: words, people."
    )
    monkeypatch.setenv("FIRTH_DATA", str(desk / "nowhere"))
    assert refusal(lambda: open_suite("speech:digits")) == (
        f"{desk / 'nowhere' / 'speech' / 'fsdd.jsonl'}: is not there, and the suite reads it. "
        "Set FIRTH_DATA to the folder that holds `speech`, or write a suite of your own: docs/suite.md."
    )
    broken = desk / "broken.toml"
    broken.write_text(OWN.replace('label = "word"\n', ""))
    assert refusal(lambda: open_suite(str(broken))).startswith(f"{broken}: `tasks.words.label`: Field required. See ")
    broken.write_text("[words")
    assert refusal(lambda: open_suite(str(broken))).startswith(f"{broken}: is no valid TOML: ")
    none = Part(table="clips.jsonl", where={"split": "dev"})
    assert refusal(lambda: written(none, desk, desk / "out" / "x.jsonl")) == (
        f"{desk / 'clips.jsonl'}: has no row with {{'split': 'dev'}}. Check the suite's `where`."
    )


def test_a_task_is_tested_on_something(desk):
    path, test = desk / "some.toml", 'test = { table = "clips.jsonl", where = { split = "test" } }\n'
    path.write_text(OWN.replace(test, ""))
    assert refusal(lambda: open_suite(str(path))).startswith(
        f"{path}: `tasks.words`: Value error, give `test`, or a column to `leave_out`. See "
    )
    path.write_text(OWN.replace(test, 'leave_out = "speaker"\n'))
    found, _ = open_suite(str(path))
    assert list(found.tasks["words"].parts) == ["train"] and list(found.tasks["people"].parts) == ["train", "test"]
