"""The whole way of recordings with defaults, but for sizes: check, pretrain, adapt, predict, embed, compare."""

import json
import re
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from firth.cli import app
from firth.evaluate.doctor import check
from tests.house import ROOT
from tests.recordings import folder_of_words, hiss, word, write

TINY = ["--size", "1x32", "--set", "train.batch=4"]
FEW = ["--set", "train.steps=6", "--set", "train.batch=8"]


def typed(*words: str) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output[-3000:]
    return done.output


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder of words, a run on them, and a classifier of them."""
    folder = tmp_path_factory.mktemp("desk")
    folder_of_words(folder / "words", each=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRTH_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        said = typed("pretrain", "words", "--budget", "4steps", *TINY)
        (folder / "said.txt").write_text(said)
        (folder / "adapted.txt").write_text(typed("adapt", "runs/words-masked-frames", "words", *FEW))
    return folder


@pytest.fixture
def at_desk(desk, monkeypatch):
    monkeypatch.setenv("FIRTH_CACHE", str(desk / "cache"))
    monkeypatch.chdir(desk)
    return desk


def test_recordings_need_nothing_but_a_budget(desk):
    said = (desk / "said.txt").read_text()
    assert "32 clips · " in said and "16,000 Hz · mono" in said
    assert "audio-seconds" in said and "audio-seconds/s measured" in said
    assert re.search(r"step 4 of 4 · .* audio-seconds/s · ", said)
    assert "masked frames loss" in said
    run = desk / "runs" / "words-masked-frames"
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    kept = json.loads((run / "model" / "preprocessor_config.json").read_text())
    assert kept["firth"]["front"] == "mel" and kept["firth"]["rate"] == 16_000


def test_the_same_command_again_has_nothing_to_do(at_desk):
    assert "is finished; nothing to do" in typed("pretrain", "words", "--budget", "4steps", *TINY)


def test_folders_are_classes(desk):
    said = (desk / "adapted.txt").read_text()
    assert "4 classes (fall, high, low, rise)" in said and "accuracy" in said


def test_files_are_said_something_about(at_desk):
    lines = typed("predict", "runs/words-classify", "words/low/low-1.wav", "words/high").splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 9 and found[0]["text"] == "words/low/low-1.wav"
    assert all(one["label"] in ("fall", "high", "low", "rise") for one in found)


def test_a_broken_file_is_refused_with_what_to_do(at_desk):
    (at_desk / "bad.wav").write_bytes(b"RIFF")
    done = CliRunner().invoke(app, ["predict", "runs/words-classify", "bad.wav"])
    assert done.exit_code == 2
    assert "bad.wav: cannot be read as sound" in done.output and "Convert it to wav or flac" in done.output


def test_recordings_become_vectors(at_desk):
    typed("embed", "runs/words-masked-frames", "words", "--out", "vectors.npy")
    vectors = np.load("vectors.npy")
    assert vectors.shape == (32, 32) and np.isfinite(vectors).all()


def test_a_vector_does_not_hang_on_the_others(at_desk):
    """A clip alone, and among longer ones."""
    write(at_desk / "one" / "a.wav", word("rise", 5))
    write(at_desk / "two" / "a.wav", word("rise", 5))
    write(at_desk / "two" / "b.wav", hiss(3.0))
    vectors = {}
    for name in ("one", "two"):
        typed("embed", "runs/words-masked-frames", name, "--out", f"{name}.npy")
        vectors[name] = np.load(f"{name}.npy")
    np.testing.assert_allclose(vectors["one"][0], vectors["two"][0], atol=1e-4)


def test_a_comparison_has_the_classical_baselines(at_desk):
    out = typed("compare", "runs/words-masked-frames", "words", "--labels", "3", "--seeds", "2", *FEW)
    for title in ("Random initialisation", "Pre-trained", "Log-mel statistics", "MFCC statistics"):
        assert title in out
    kept = json.loads(next((at_desk / "runs").glob("*compare*/comparison.json")).read_text())
    assert kept


def test_one_long_recording_without_labels_goes_through(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "field" / "tape.flac", np.concatenate([word("low", n) for n in range(80)]))
    report = check("field")
    assert report.facts["files"] == 1 and report.suggestion.startswith("firth pretrain field")
    said = typed("pretrain", "field", "--budget", "3steps", *TINY, "--set", "speech.segment=5")
    assert "1 clip · " in said
    typed("embed", "runs/field-masked-frames", "field", "--out", "v.npy")


def lines_of(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]


def small(line: str) -> str:
    """The same command with a few steps of a tiny model."""
    line = line.partition(" #")[0].replace("--budget 15m", " ".join(["--budget 3steps", *TINY]))
    few = line.split()[1] in ("adapt", "compare")
    return line.replace("--labels 40", "--labels 3") + (" " + " ".join(FEW) if few else "")


def test_the_page_on_sound_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_words(tmp_path / "recordings", each=6)
    rows = [{"audio": str(path.relative_to(tmp_path)), "label": path.parent.name}
            for path in sorted((tmp_path / "recordings").rglob("*.wav"))]  # fmt: skip
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "some.wav", word("low", 77))
    for line in map(small, lines_of("sound.md")):
        typed(*shlex.split(line)[1:])


def test_odd_clips_get_vectors_and_answers_too(at_desk):
    """One sample, less than a step, silence, both among others and alone."""
    clips = {"one": np.ones(1) * 0.5, "short": word("low", 1)[:300], "silent": np.zeros(9000), "usual": word("low", 2)}
    for name, wave in clips.items():
        write(at_desk / "odd" / f"{name}.wav", wave)
    typed("embed", "runs/words-masked-frames", "odd", "--out", "odd.npy")
    vectors = np.load("odd.npy")
    assert vectors.shape == (4, 32) and np.isfinite(vectors).all()
    for line in typed("predict", "runs/words-classify", "odd").splitlines():
        assert sum(json.loads(line)["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    typed("embed", "runs/words-masked-frames", "odd/one.wav", "--out", "alone.npy")
    np.testing.assert_allclose(np.load("alone.npy")[0], vectors[0], atol=1e-5)


def test_units_are_learnt_and_written_on_as_the_page_says(at_desk):
    """From sound to a file of units, a language model over them, and what it writes: three commands."""
    chain = [line for line in lines_of("discovery.md") if re.search("units.txt|units-next-token", line)]
    units, learn, write_on = (line.partition(" #")[0] for line in chain)
    typed(*shlex.split(units.replace("voices-masked-frames voices/", "words-masked-frames words --units 6"))[1:])
    texts = [text for text in (at_desk / "units.txt").read_text().split("\n\n") if text]
    assert len(texts) == 32 and all(re.fullmatch(r"u[0-5]( u[0-5])*", text) for text in texts)
    own = ["--size", "1x32", "--set", "train.batch=8", "--set", "text.context=16", "--set", "data.held_out=0.2"]
    budget = ["--set", "optimizer.lr=0.02", "--set", "data.duplicates=keep"]
    said = typed(*shlex.split(learn.replace("20m", "60steps"))[1:], *own, *budget)
    assert "tokens/s" in said
    [line] = typed(
        *shlex.split(write_on.replace("u7 u12", "u1 u2"))[1:], "--temperature", "0", "--tokens", "6"
    ).splitlines()
    found = json.loads(line)
    assert found["text"] == "u1 u2" and re.fullmatch(r"( ?u[0-5])*", found["written"])
