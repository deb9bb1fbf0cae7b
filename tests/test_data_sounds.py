"""Folders, archives and tables of recordings as a corpus: what is kept, how it is cut, split, named; and the doctor."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from firth.data import arrays, check_media, decoding
from firth.data.config import Data
from firth.data.kind import signal_of
from firth.data.records import Problems
from firth.errors import InputError
from firth.functional.random import Draw
from firth.signals import speech
from firth.signals.speech import Config, Speech
from firth.task import TaskConfig
from tests.house import ROOT
from tests.recordings import RATE, WORDS, folder_of_words, hiss, sweep, tone, word, write


def corpus(folder, config: Config = Config(), **data) -> arrays.ArrayCorpus:  # noqa: B008
    return arrays.open_corpus(Data(paths=(str(folder),), **data), speech, config)


def everything(source) -> list:
    return source.get(np.arange(len(source)), Draw(0))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return folder_of_words(tmp_path_factory.mktemp("words"), each=6)


# ------------------------------------------------------------------ a corpus


def test_a_folder_becomes_clips_of_16_bit_in_two_parts(words):
    found = corpus(words)
    train, held = found.train(), found.held_out()
    assert len(train) + len(held) == 24 and len(held) >= 1
    samples = everything(train)
    assert all(one.parts[0].dtype == np.int16 and one.parts[0].ndim == 1 for one in samples)
    assert train.lengths.tolist() == [len(one.parts[0]) for one in samples]
    assert len({one.key for one in samples + everything(held)}) == 24
    assert found.facts["classes"] == dict.fromkeys(sorted(WORDS), 6)
    assert found.facts["told"][0] == "24 clips" and found.facts["told"][1].endswith(" s")
    assert found.facts["told"][2:4] == ["16,000 Hz", "mono"]


def test_a_second_opening_reads_no_file(words, monkeypatch):
    first = corpus(words)
    monkeypatch.setattr(decoding, "decode", None)
    second = corpus(words)
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(everything(second.train())[3].parts[0], everything(first.train())[3].parts[0])


def test_the_length_of_samples_needs_no_decoding(words, monkeypatch):
    corpus(words)
    monkeypatch.setattr(decoding, "decode", None)
    found = corpus(words, Config(longest=0.1))
    assert found.train().lengths.max() <= 0.1 * RATE


def test_a_long_recording_is_cut_held_out_in_part_and_never_held(tmp_path, monkeypatch):
    """One file: its pieces fall on both sides, whether it is read at once or in blocks."""
    wave = hiss(30.0, 5)
    write(tmp_path / "a" / "long.wav", wave)
    config = Config(segment=2.0, longest=1.5)
    at_once = corpus(tmp_path / "a", config)
    monkeypatch.setattr(decoding, "LARGE", 1000)
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "other"))
    in_blocks = corpus(tmp_path / "a", config)
    for one in (at_once, in_blocks):
        assert len(one.held_out()) >= 1 and one.facts["decoded"] == 1 and one.facts["items"] > 15
        assert max(one.train().lengths.max(), one.held_out().lengths.max()) <= 1.5 * RATE
    assert [one.key for one in everything(at_once.train())] == [one.key for one in everything(in_blocks.train())]
    joined = next(iter(in_blocks.records())).parts[0]
    assert len(joined) == len(wave) and np.abs(joined - 32_768 * wave).max() <= 1


def test_copies_are_dropped_piece_by_piece(tmp_path):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, hiss(3.0, 1))
    found = corpus(tmp_path, Config(segment=1.0))
    assert found.facts["exact_duplicates"] == 1
    assert len(found.train()) + len(found.held_out()) == found.facts["items"] / 2


def test_broken_and_odd_files_are_named_and_the_others_read(tmp_path):
    for number in range(6):
        write(tmp_path / f"good-{number}.wav", word("rise", number))
    (tmp_path / "words.wav").write_text("no sound")
    write(tmp_path / "nothing.wav", np.empty(0, np.float32))
    (tmp_path / "empty.wav").write_bytes(b"")
    loud = np.clip(sweep(0.3, level=3.0), -1, 1)
    loud[7] = np.nan
    write(tmp_path / "odd.wav", loud, subtype="FLOAT")
    found = corpus(tmp_path)
    assert found.facts["decoded"] == 7 and found.facts["broken"] >= 2
    said = {one.where.split("/")[-1]: one.what for one in found.findings}
    assert said["words.wav"].startswith("cannot be read as sound (")
    assert said["nothing.wav"] == "holds no sample"
    assert any("are no numbers" in one.what for one in found.findings)
    assert any("are clipped" in one.what for one in found.findings)
    assert "empty.wav" in said


def test_stereo_and_other_rates_become_alike(tmp_path):
    for number, rate in enumerate((8_000, 11_025, 22_050, 44_100, 48_000)):
        wave = sweep(1.0, rate, 200, 3000)
        write(tmp_path / f"{number}.wav", np.stack([wave, wave], 1), rate)
    samples = everything(corpus(tmp_path).train()) + everything(corpus(tmp_path).held_out())
    assert all(abs(len(one.parts[0]) - RATE) <= 2 for one in samples)
    first, second = samples[0].parts[0][2000:14_000], samples[1].parts[0][2000:14_000]
    assert np.corrcoef(first, second)[0, 1] > 0.999


# ------------------------------------------------------------------ tables


def table_of(folder, archive: bool):
    """rows.jsonl, and its recordings in a zip beside it or in a folder."""
    rows = []
    for number in range(8):
        name = list(WORDS)[number % 4]
        path = write(folder / "clips" / f"{number}.flac", word(name, number))
        rows.append({"audio": f"clips/{number}.flac", "speaker": f"s{number % 2}", "label": name, "seconds": 0.5})
        if archive:
            with zipfile.ZipFile(folder / "rows.zip", "a") as packed:
                packed.write(path, f"clips/{number}.flac")
            path.unlink()
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return table


@pytest.mark.parametrize("archive", [False, True])
def test_a_table_names_recordings_in_a_folder_or_an_archive_beside_it(tmp_path, archive):
    table = table_of(tmp_path, archive)
    assert signal_of([str(table)]) == "speech"
    records = arrays.labelled_records([str(table)], Data(label="label"), Speech(Config()), Problems(), TaskConfig())
    assert [one.label for one in records] == [list(WORDS)[number % 4] for number in range(8)]
    assert all(one.parts[0].dtype == np.int16 for one in records)


def test_a_recording_that_a_table_names_in_vain_is_named(tmp_path):
    table = table_of(tmp_path, False)
    (tmp_path / "clips" / "3.flac").unlink()
    problems = Problems(skip=True)
    records = arrays.labelled_records([str(table)], Data(label="label"), Speech(Config()), problems, TaskConfig())
    assert len(records) == 7
    assert [(one.what, one.do) for one in problems.findings] == [("no such file", "Check the path in the table.")]
    assert problems.findings[0].where.startswith(f"{table}:4")


# ------------------------------------------------------------------ long recordings that are labelled, or asked about


@pytest.fixture
def long(tmp_path, monkeypatch):
    """Two recordings of 9 s, where 5 s are long."""
    monkeypatch.setattr(speech, "WHOLE", 5.0)
    for name in ("low", "high"):
        write(tmp_path / name / f"{name}.wav", np.concatenate([word(name, n) for n in range(40)])[: 9 * RATE])
    return tmp_path


def test_pieces_of_a_long_recording_are_examples_of_its_class(long):
    signal, problems = Speech(Config(segment=2.0)), Problems()
    found = arrays.labelled_records([str(long)], Data(), signal, problems, TaskConfig())
    assert len(found) > 8 and {one.label for one in found} == {"low", "high"}
    assert {one.group for one in found} == {str(long / name / f"{name}.wav") for name in ("low", "high")}
    assert len({one.content for one in found}) == len(found)
    assert sum(len(one.parts[0]) for one in found) == 18 * RATE

    class Whole(TaskConfig):
        @property
        def classed(self) -> bool:
            return False

    whole = arrays.labelled_records([str(long)], Data(), signal, problems, Whole())
    assert [len(one.parts[0]) for one in whole] == [9 * RATE] * 2 and not whole[0].group


def test_a_long_recording_is_asked_about_piece_by_piece(long):
    given = list(arrays.inputs(str(long / "low"), Speech(Config(segment=2.0))))
    found = [one.content for one in given]
    assert {one.where for one in given} == {str(long / "low" / "low.wav")}
    assert len(found) > 4 and all(len(one.array) <= 2 * RATE for one in found)
    assert "/low.wav 0:00:00–0:00:0" in found[0].name and str(found[-1]).endswith("–0:00:09")
    short = [one.content for one in arrays.inputs(str(long / "low"), Speech(Config(segment=20.0)))]
    assert [(one.name.endswith("low.wav"), len(one.array)) for one in short] == [(True, 9 * RATE)]


# ------------------------------------------------------------------ the doctor


def report(*paths, **data) -> check_media.Report:
    return check_media.look(Data(paths=tuple(map(str, paths)), **data), Speech, Config())


def test_the_doctor_counts_and_suggests(words):
    found = report(words)
    facts = found.facts
    assert (facts["files"], facts["unit"], facts["broken"], facts["exact_duplicates"]) == (24, "clip", 0, 0)
    assert facts["rates"] == {16_000: 24} and facts["channels"] == {1: 24} and facts["forms"] == {"WAV, PCM_16": 24}
    assert 5 < facts["seconds"] < 20 and facts["silence"] < 0.2
    lines = list(found.lines())
    assert lines[0].startswith("Data     24 clips · 0.4 MB · WAV, PCM_16 24")
    assert lines[1].startswith("Sound    ") and " · 16,000 Hz · mono · " in lines[1]
    assert lines[2].startswith("Lengths  median 0.")
    assert "Classes  fall 6 · high 6 · low 6 · rise 6" in lines
    assert f"Next     firth pretrain {words} --budget 1m" in lines
    assert not found.errors


def test_the_doctor_finds_what_is_wrong(tmp_path):
    wave = tone(300, 0.5)
    for name in ("a.wav", "copy.wav"):
        write(tmp_path / name, wave)
    write(tmp_path / "silent.wav", np.zeros(3 * RATE, np.float32))
    write(tmp_path / "short.wav", wave[:500])
    write(tmp_path / "slow.wav", tone(300, 0.5, 8000), 8000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    found = report(tmp_path)
    said = [(one.level, one.where.split("/")[-1], one.what) for one in found.findings]
    assert ("warning", "bad.wav") in {one[:2] for one in said} and not found.errors  # pre-training leaves it out
    assert ("warning", "silent.wav", "is silent throughout") in said
    assert any(what == "1 of 5 recordings are shorter than 0.1 s" for _, _, what in said)
    assert any(what == "1 of 5 files are copies of others" for _, _, what in said)
    assert any("of the time is silence" in what for _, _, what in said)
    assert any("8,000 samples a second or fewer" in what for _, _, what in said)


def test_a_broken_file_is_an_error_where_labels_go_by_it_or_most_are_broken(tmp_path):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, tone(300, 0.5))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    rows = [{"audio": name, "label": name[0]} for name in ("a.wav", "b.wav", "bad.wav")]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = report(tmp_path / "clips.jsonl", label="label").errors
    assert any(one.where.endswith("clips.jsonl:3:1") and "cannot be read as sound" in one.what for one in found)
    for name in ("worse.wav", "worst.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    (tmp_path / "clips.jsonl").unlink()
    assert len(report(tmp_path).errors) == 3


def test_the_doctor_tells_speakers_and_leaks(tmp_path, words):
    table = table_of(tmp_path, True)
    found = report(table, label="label")
    assert found.facts["speakers"] == {"s0": 4, "s1": 4}
    assert any(line == "Whose    2 speakers, 4 to 4 clips each" for line in found.lines())
    leaking = report(words, test=(str(words / "low"),))
    assert leaking.facts["leaks"] == 6


def test_the_doctor_takes_what_is_said_for_transcripts(tmp_path):
    """Not for labels that are seen once."""
    rows = []
    for number in range(12):
        write(tmp_path / f"{number}.wav", word("rise", number))
        rows.append({"audio": f"{number}.wav", "text": f"WORD NUMBER {number}" if number else " "})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for label in (None, "text"):
        found = report(tmp_path / "rows.jsonl", label=label)
        assert found.facts["transcripts"] == {"text": {"number": 12, "words": 33, "signs": 20}}
        assert "Said     12 transcripts (`text`) · 33 words · 20 different signs" in list(found.lines())
        assert "classes" not in found.facts and not found.errors
        assert [one.what for one in found.findings] == ["1 of 12 transcripts in `text` are empty"]


def test_the_doctor_refuses_where_there_is_no_sound(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.wav: .*"):
        report(tmp_path)


def test_the_verb_takes_recordings_for_what_they_are(words):
    done = subprocess.run(
        [sys.executable, "-m", "firth", "check", str(words)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "24 clips" in done.stdout + done.stderr


CORPUS = """
import resource, sys
from firth.data import arrays
from firth.data.config import Data
from firth.signals import speech
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = arrays.open_corpus(Data(paths=(sys.argv[1],)), speech, speech.Config())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(after - before, after, len(found.train()) + len(found.held_out()), found.facts["told"][1].replace(" ", ""))
"""


@pytest.mark.slow
def test_eight_hours_become_a_corpus_in_less_than_a_gibibyte(tmp_path):
    """One file of flac at 44,100 samples a second; memory of the whole process, torch included."""
    import soundfile

    minute = (8000 * np.concatenate([word("rise", n, 44_100) for n in range(130)])).astype(np.int16)[: 60 * 44_100]
    with soundfile.SoundFile(tmp_path / "day.flac", "w", 44_100, 1, "PCM_16") as sound:
        for _ in range(8 * 60):
            sound.write(minute)
    done = subprocess.run(
        [sys.executable, "-c", CORPUS, tmp_path / "day.flac"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown, whole, samples, length = done.stdout.split()
    assert int(whole) < 1024 * 1024 and int(grown) < 500 * 1024
    assert int(samples) > 8 * 3600 / 20 and length == f"{480 * len(minute) / 44_100 / 3600:.1f}h"


# ------------------------------------------------------------------ what is refused, and in which words


def test_a_folder_of_broken_files_is_refused_at_the_first(tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"nothing that sounds")
    with pytest.raises(InputError) as caught:
        corpus(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/a.wav: cannot be read as sound (Format not recognised). "
        "Convert it to wav or flac, or leave it out; --skip-bad leaves out such files."
    )


def test_more_broken_files_than_whole_ones_are_refused(tmp_path):
    write(tmp_path / "good.wav", word("low", 1))
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, np.empty(0, np.float32))
    with pytest.raises(InputError) as caught:
        corpus(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/a.wav: 2 of 3 files are broken; the first: holds no sample. "
        "Record it again, or leave it out; --skip-bad leaves out such files."
    )


def test_one_clip_cannot_be_learnt_from_and_measured_on(tmp_path):
    write(tmp_path / "only.wav", word("low", 1))
    with pytest.raises(InputError) as caught:
        corpus(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: there is only 1 clip, too few to learn from some and to measure on others. Give more clips."
    )


# ------------------------------------------------------------------ partners


def test_each_window_comes_with_one_of_another_file(tmp_path):
    for number in range(6):
        write(tmp_path / "w" / f"{number}.wav", hiss(1.0 + number / 4, number))
    found = corpus(tmp_path / "w", Config(longest=0.5), held_out=0.3)
    rows = found.train(partner=True)
    every = np.arange(len(rows))
    samples = rows.get(every, Draw(3))
    names = {one.key: rows.name(place) for place, one in enumerate(everything(found.train()))}
    assert all(names[one.partner.key] != names[one.key] for one in samples)
    assert len({one.partner.key for one in samples}) > len(samples) // 3
    assert [one.partner.key for one in rows.get(every[4:6], Draw(3))] == [one.partner.key for one in samples[4:6]]
    assert [one.partner.key for one in rows.get(every, Draw(3, 1))] != [one.partner.key for one in samples]
    assert all(one.partner is None for one in everything(found.train()))


def test_a_single_file_has_no_other(tmp_path):
    write(tmp_path / "w" / "a.wav", hiss(1.0, 1))
    write(tmp_path / "w" / "b.wav", hiss(1.0, 2))
    rows = corpus(tmp_path / "w", held_out=0.5).train(partner=True)
    assert len(rows) == 1 and rows.get(np.array([0]), Draw(0))[0].partner is None
