"""Tables of recordings beyond one file a row: usual names of the label column, and rows that name two files."""

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from firth.data.arrays import inputs
from firth.data.config import Data
from firth.data.given import Failures
from firth.data.labelled import open_labelled
from firth.data.media import NO_COLUMN, Reading, rows_of
from firth.data.records import Problems
from firth.errors import InputError
from firth.evaluate.model import Model
from firth.find import find
from firth.signals.speech import Config, Speech
from tests.recordings import tone, write

SIGNAL = Speech(Config(mels=8))
verify, transcribe = find("tasks", "verify"), find("tasks", "transcribe")


@pytest.fixture
def desk(tmp_path):
    for number in range(6):
        write(tmp_path / "voices" / f"{number}.wav", tone(300 + 100 * number, 0.2))
    rows = [{"path": f"voices/{i}.wav", "sex": "mf"[i % 2], "client_id": f"s{i % 3}", "sentence": f"say {i % 4}"}
            for i in range(6)]  # fmt: skip
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "trials.tsv").write_text("first\tsecond\nvoices/0.wav\tvoices/3.wav\nvoices/1.wav\tvoices/2.wav\n")
    return tmp_path


def reads(record):
    return verify.Config().inputs(record)


def test_a_column_is_found_by_the_first_of_its_usual_names(desk):
    reading = Reading.of([str(desk / "clips.jsonl")], Speech, None, Problems())
    assert reading.column(("transcript", "sentence", "sex")) == "sentence"
    assert reading.column(("text",)) is None
    assert Reading.of([str(desk / "voices")], Speech, None, Problems()).column(("sentence",)) is None


@pytest.mark.parametrize(
    ("task", "label"),
    [(transcribe.Config(), "say 0"), (verify.Config(), "s0"), (find("tasks", "classify").Config(), "m")],
)
def test_each_task_finds_its_own_column(desk, task, label):
    config = Data(paths=(str(desk / "clips.jsonl"),), label=None if task.columns else "sex")
    found = open_labelled(config, SIGNAL, 0, task=task)
    first = next(one for part in found.records.values() for one in part if one.text == "voices/0.wav")
    assert first.label == label


def test_a_row_of_two_files_is_one_input(desk):
    first, second = (one.content for one in inputs(str(desk / "trials.tsv"), SIGNAL, reads))
    assert [str(one) for one in first] == ["voices/0.wav", "voices/3.wav"]
    assert [str(one) for one in second] == ["voices/1.wav", "voices/2.wav"]
    assert all(len(one.array) == 3200 for one in (*first, *second))


def test_two_files_stand_in_one_string(desk):
    names = [str(desk / "voices" / f"{i}.wav") for i in (0, 5)]
    [pair] = (one.content for one in inputs(" | ".join(names), SIGNAL, reads))
    assert [str(one) for one in pair] == names


def odd_pair(desk) -> list[str]:
    """Two files of which one has a | in its name."""
    (desk / "voices" / "0.wav").rename(desk / "voices" / "a | b.wav")
    return [str(desk / "voices" / name) for name in ("a | b.wav", "5.wav")]


def test_files_that_are_read_together_may_have_any_name(desk):
    names = odd_pair(desk)
    [pair] = (one.content for one in inputs(names, SIGNAL, reads))
    assert [str(one) for one in pair] == names
    (desk / "trials.tsv").write_text("first\tsecond\nvoices/a | b.wav\tvoices/5.wav\n")
    [pair] = (one.content for one in inputs(str(desk / "trials.tsv"), SIGNAL, reads))
    assert [len(one.array) for one in pair] == [3200, 3200]


def test_from_python_a_pair_of_paths_is_one_input(desk, monkeypatch):
    names = odd_pair(desk)
    model = Model(desk)
    loaded = SimpleNamespace(signal=SIGNAL, reads=reads, predict=lambda given, top: list(given))
    monkeypatch.setitem(vars(model), "loaded", loaded)
    pairs = model.predict([tuple(map(Path, names)), " | ".join(names[1:] * 2)])
    assert [[str(one) for one in pair] for pair in pairs] == [names, names[1:] * 2]


def test_a_string_that_is_a_file_is_that_file(desk):
    (desk / "a | b").mkdir()
    (desk / "trials.tsv").rename(desk / "a | b" / "trials.tsv")
    (desk / "voices").rename(desk / "a | b" / "voices")
    assert len(list(inputs(str(desk / "a | b" / "trials.tsv"), SIGNAL, reads))) == 2


def test_several_files_where_each_is_read_alone_are_refused():
    with pytest.raises(InputError) as caught:
        list(inputs(("a.wav", "b.wav"), SIGNAL))
    assert str(caught.value) == ("a.wav | b.wav: are several files, and each is read alone. Give them one by one.")


def test_files_of_trials_may_lie_in_an_archive_beside_the_table(desk):
    with zipfile.ZipFile(desk / "trials.zip", "w") as archive:
        for path in sorted((desk / "voices").glob("*.wav")):
            archive.write(path, f"voices/{path.name}")
            path.unlink()
    first, _ = (one.content for one in inputs(str(desk / "trials.tsv"), SIGNAL, reads))
    assert len(first) == 2 and len(first[0].array) == 3200


def test_a_file_that_is_not_there_is_named(desk):
    (desk / "trials.tsv").write_text("first\tsecond\nvoices/0.wav\tvoices/9.wav\n")
    with pytest.raises(InputError) as caught:
        list(inputs(str(desk / "trials.tsv"), SIGNAL, reads))
    assert "voices/9.wav: no such file" in str(caught.value)


def test_a_row_without_two_files_is_named(desk):
    (desk / "trials.tsv").write_text("first\tother\nvoices/0.wav\tvoices/1.wav\n")
    with pytest.raises(InputError) as caught:
        list(inputs(str(desk / "trials.tsv"), SIGNAL, reads))
    assert str(caught.value) == (
        f"{desk / 'trials.tsv'}:2:1: names no two clips. Give a table with columns `first` and `second`."
    )


def test_a_table_that_names_no_files_is_skipped_where_what_is_bad_is(desk):
    (desk / "a.csv").write_text("who,when\nann,1\nbob,2\n")
    told = f"{desk / 'a.csv'}: has no column with bytes or with paths of files. {NO_COLUMN}"
    with pytest.raises(InputError) as caught:
        list(Reading.of([str(desk)], Speech, None, Problems()))
    assert str(caught.value) == told
    problems = Problems(skip=True)
    with Reading.of([str(desk / "a.csv"), str(desk / "clips.jsonl")], Speech, None, problems) as reading:
        for _ in range(2):  # as often as it is read, the table is named once
            assert [one.name for one in reading] == [f"voices/{number}.wav" for number in range(6)]
        assert len(reading.sources()) == 6 == reading.items
    assert [f"{one.where}: {one.what}. {one.do}" for one in problems.all()] == [told]


def test_predict_names_it_among_the_inputs(desk):
    (desk / "a.csv").write_text("who,when\nann,1\nbob,2\n")
    found = [one.content for one in inputs(str(desk), SIGNAL, failures=Failures(skip=True))]
    bad = [one for one in found if isinstance(one, InputError)]
    assert [one.what for one in bad] == ["has no column with bytes or with paths of files"] and len(found) > 6


def test_one_name_for_two_files_is_refused_where_rows_are_taken_by_name(tmp_path):
    for owner in ("ann", "bob"):
        write(tmp_path / owner / "1.wav", tone(300, 0.2))
        (tmp_path / owner / "list.csv").write_text(f"path,speaker\n1.wav,{owner}\n")
    paths = [str(tmp_path / owner / "list.csv") for owner in ("ann", "bob")]
    assert dict(rows_of(paths[:1], Speech)) == {"1.wav": {"path": "1.wav", "speaker": "ann"}}
    with pytest.raises(InputError) as caught:
        dict(rows_of(paths, Speech))
    assert str(caught.value) == (
        f"{tmp_path}/bob/list.csv: names `1.wav`, as a table in {tmp_path}/ann does for another file. "
        "Give one table, in a folder above both, with paths from there."
    )


@pytest.mark.parametrize("name", ["../0.wav", "/0.wav"], ids=["same", "absolute"])
def test_one_name_for_one_file_in_two_tables_is_not(tmp_path, name):
    name = str(tmp_path / "0.wav") if name == "/0.wav" else name
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        write(tmp_path / part / name, tone(300, 0.2))
        (tmp_path / part / "list.csv").write_text(f"path,speaker\n{name},ann\n")
    paths = [str(tmp_path / part / "list.csv") for part in ("train", "test")]
    assert dict(rows_of(paths, Speech)) == {name: {"path": name, "speaker": "ann"}}
    assert list(Reading.of(paths, Speech, None, Problems()).sources()) == [name]
