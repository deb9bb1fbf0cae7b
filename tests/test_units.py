"""What `firth units` makes of models and tables: units of transcripts over steps, clips by name, what is refused."""

import json

import pytest

from firth.data.records import Record, Where
from firth.errors import InputError
from firth.evaluate.discovery import Discovery
from firth.evaluate.units import Rows, chosen, filled, opened, write
from firth.signals.speech import Speech
from firth.tasks.transcribe import Heard
from tests import runs
from tests.runs import Told

ROWS = [{"audio": f"clips/{i}.wav", "word": "ab"[i % 2], "speaker": 7 + i % 3, "text": f"say {i}"} for i in range(6)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "clips.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


@pytest.mark.parametrize(
    ("heard", "steps", "units"),
    [
        ([], 3, [None, None, None]),
        ([Heard("a", 1, 2)], 4, [None, "a", None, None]),
        ([Heard("a", 0, 1), Heard("b", 4, 5)], 6, ["a", "a", "a", "b", "b", None]),
        ([Heard("a", 1, 3), Heard("b", 3, 4)], 4, [None, "a", "a", "b"]),
        ([Heard("a", 0, 1), Heard("b", 2, 3), Heard("c", 6, 7)], 7, ["a", "a", "b", "b", "b", "c", "c"]),
    ],
)
def test_steps_between_units_go_to_the_nearer_one(heard, steps, units):
    found = filled(heard, steps)
    assert len(found) == steps
    inside = [unit for one in heard for unit in [one.unit] * (one.end - one.begin)]
    assert [found[step] for one in heard for step in range(one.begin, one.end)] == inside
    assert [unit is None for unit in found] == [unit is None for unit in units]


def test_clips_are_drawn_by_their_names_and_keep_their_order():
    names = [f"{i}.wav" for i in range(20)]
    some = chosen(names, 5, seed=1)
    assert len(some) == 5 and some == sorted(some)
    assert [19 - place for place in chosen(names[::-1], 5, seed=1)][::-1] == some
    assert chosen(names, 5, seed=2) != some and chosen(names, 50, seed=1) == list(range(20))


def test_tables_say_what_a_clip_is_of(table):
    rows = Rows([table], Speech, "text", None)
    record = Record("clips/4.wav", "say 4", Where("clips/4.wav"))
    clip = rows.clip(record, None)
    assert rows.speaker == "speaker" and clip.speaker == "8" and clip.label == "say 4"
    assert rows.transcript(record) == "say 4"
    assert Rows([table], Speech, None, "word").clip(record, None).speaker == "a"


def test_a_column_that_is_not_there_is_named(table):
    with pytest.raises(InputError) as caught:
        Rows([table], Speech, None, "spaeker")
    assert str(caught.value) == (
        f"{table}: has no column `spaeker`. Did you mean `speaker`? "
        "--speaker can be `audio`, `speaker`, `text`, `word`."
    )


def test_a_model_of_text_has_no_time():
    folder = runs.folder() / "pretrained"
    with pytest.raises(InputError) as caught:
        opened(folder, None, (), "cpu")
    assert str(caught.value) == (
        f"{folder}: is a model of text, which has no time. Give the folder of a model of sound."
    )


def test_units_are_written_as_words(tmp_path):
    found = Discovery(2, 5, 3, 2.0, 1.0, [0.2, 0.4, 0.4], sequences={"a.wav": [0, 2, 1], "b.wav": []})
    told = Told()
    write(tmp_path / "units.jsonl", found, told)
    rows = [json.loads(line) for line in (tmp_path / "units.jsonl").read_text().splitlines()]
    assert rows == [{"text": "u0 u2 u1", "clip": "a.wav"}]  # b.wav is too short for a unit
    assert "--objective next-token" in told.lines["Saved"]
    write(tmp_path / "units.txt", found, told)
    assert (tmp_path / "units.txt").read_text() == "u0 u2 u1\n\n"
