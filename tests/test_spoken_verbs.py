"""Transcribe, verify, units and a suite on recordings of tones, through the same functions as the command line."""

import json
from itertools import combinations, product
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from firth.errors import InputError
from firth.evaluate.compare import Request, compare, opened
from firth.evaluate.predict import predict
from firth.evaluate.scoring import score
from firth.evaluate.standings import run_suite
from firth.evaluate.units import units
from firth.train.adapt import adapt
from firth.train.pretrain import pretrain
from tests.recordings import hiss, tone, write
from tests.runs import Told

HERTZ = {"a": 300, "b": 700, "c": 1200, "d": 2000}
PITCH = {"ann": 0.9, "bob": 1.0, "cid": 1.15, "dot": 1.3}
WORDS = ("ab", "cad", "dab")
FROZEN = ["model.frozen=true", "model.layer_sum=true", "train.precision=fp32"]
SUITE = """
title = "Tones"
[settings]
"model.frozen" = true
"model.layer_sum" = true
"train.steps" = 3
"train.evaluate_every" = 3
[tasks.words]
task = "classify"
label = "word"
labels = [2]
baselines = ["mfcc"]
train = { table = "clips.jsonl", where = { speaker = "ann" } }
test = { table = "clips.jsonl", where = { speaker = "bob" } }
[tasks.letters]
task = "transcribe"
label = "phones"
baselines = ["frames"]
train = { table = "clips.jsonl", where = { speaker = "ann" } }
test = { table = "clips.jsonl", where = { speaker = "bob" } }
"""


OTHERS = """
title = "Strangers"
[settings]
"model.frozen" = true
"train.steps" = 2
[tasks.unheard]
task = "classify"
label = "word"
leave_out = "speaker"
labels = [2]
baselines = ["mfcc"]
train = { table = "clips.jsonl" }
"""


def clip(word: str, speaker: str, number: int) -> np.ndarray:
    """float32 (n,): a tone for each letter, at the pitch of the speaker."""
    source = np.random.default_rng([number, *map(ord, word + speaker)])
    parts = [tone(HERTZ[letter] * PITCH[speaker], float(source.uniform(0.08, 0.12))) for letter in word]
    wave = np.concatenate(parts)
    return wave + hiss(len(wave) / 16_000 + 1, number, level=0.01)[: len(wave)]


def table(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """voices/, clips.jsonl, heard.jsonl (two speakers), strangers.jsonl (the other two), trials.tsv, runs/voices."""
    place = tmp_path_factory.mktemp("spoken")
    rows = []
    for number, (word, speaker) in enumerate((word, speaker) for word in WORDS for speaker in PITCH for _ in range(3)):
        name = f"voices/{speaker}-{word}-{number}.wav"
        write(place / name, clip(word, speaker, number))
        rows.append({"age": 30 + number % 2, "audio": name, "text": word, "word": word, "speaker": speaker,
                     "phones": [letter.upper() for letter in word]})  # fmt: skip
    table(place / "clips.jsonl", rows)
    table(place / "heard.jsonl", [row for row in rows if row["speaker"] in ("ann", "bob")])
    strangers = [row for row in rows if row["speaker"] in ("cid", "dot")]
    table(place / "strangers.jsonl", strangers)
    pairs = [f"{a['audio']}\t{b['audio']}\t{int(a['speaker'] == b['speaker'])}" for a, b in combinations(strangers, 2)]
    (place / "trials.tsv").write_text("\n".join(["first\tsecond\tlabel", *pairs[:30]]) + "\n")
    (place / "mine.toml").write_text(SUITE)
    settings = ["train.batch=4", "train.precision=fp32"]
    pretrain([place / "voices"], budget="3steps", size="1x32", out=place / "runs" / "voices", settings=settings)
    return place


def learn(desk: Path, task: str, data: str, *settings: str, **options):
    out = desk / "runs" / f"{task}-{len(settings)}"
    more = ["train.steps=4", "train.evaluate_every=4", *FROZEN, *settings]
    return adapt(desk / "runs" / "voices", [desk / data], task=task, out=out, settings=more, **options)


@pytest.fixture(scope="module")
def transcriber(desk):
    return learn(desk, "transcribe", "clips.jsonl")


@pytest.fixture(scope="module")
def verifier(desk):
    return learn(desk, "verify", "heard.jsonl", f"data.test={desk / 'strangers.jsonl'}")


# ------------------------------------------------------------------ transcribe


def test_the_usual_column_of_transcripts_is_found(transcriber):
    """`age` looks more like a label than any other; `text` is what a transcript is called."""
    assert list(transcriber.score)[:4] == ["items", "word_accuracy", "wer", "cer"]
    assert len(transcriber.layers) == 2 and sum(transcriber.layers) == pytest.approx(1)
    config = json.loads((transcriber.folder / "model" / "config.json").read_text())
    assert config["firth"]["classes"] == ["a", "b", "c", "d"] and config["firth"]["units"] == "characters"


def test_lists_are_phones(desk):
    found = learn(desk, "transcribe", "clips.jsonl", "data.label=phones", "transcribe.hidden=8")
    assert list(found.score)[:3] == ["items", "phone_accuracy", "per"] and found.task == "transcribe"


def test_clips_are_heard_from_files_folders_and_tables(desk, transcriber):
    one = sorted((desk / "voices").glob("*.wav"))[0]
    [alone] = predict(transcriber.folder, str(one))
    folder = {str(said.text): said for said in predict(transcriber.folder, str(desk / "voices"))}
    rows = list(predict(transcriber.folder, str(desk / "clips.jsonl"), top=2, settings=["transcribe.beam=4"]))
    assert len(folder) == len(rows) == 36
    assert folder[str(one)].transcript == alone.transcript
    assert all(len(said.others) <= 1 for said in rows)


def test_what_was_heard_is_scored_as_it_was_in_the_run(desk, transcriber, tmp_path):
    said = tmp_path / "said.jsonl"
    found = predict(transcriber.folder, str(desk / "clips.jsonl"))
    table(said, [one._asdict() for one in found])
    figures = score(desk / "clips.jsonl", said, "transcribe", label="text")
    assert figures["items"] == figures["units"] == 36 and 0 <= figures["wer"] <= 3


# ------------------------------------------------------------------ verify


def test_speakers_of_the_test_part_were_never_heard(verifier):
    assert verifier.score["speakers"] == 2 and verifier.score["clips"] == 18
    assert verifier.score["items"] == 18 * 17 / 2 and 0 <= verifier.score["eer"] <= 1
    assert verifier.labels["train"] + verifier.labels["validation"] == 18


def test_trials_are_rows_of_two_clips(desk, verifier, tmp_path):
    found = list(predict(verifier.folder, str(desk / "trials.tsv")))
    said = table(tmp_path / "said.jsonl", [one._asdict() for one in found])
    figures = score(desk / "trials.tsv", said, "verify")
    assert figures["items"] == 30 and 0 <= figures["eer"] <= 1
    first, second = (str(path) for path in sorted((desk / "voices").glob("*.wav"))[:2])
    [one] = predict(verifier.folder, f"{first} | {second}")
    assert one.text == f"{first} | {second}" and -1 <= one.score <= 1 and isinstance(one.same, bool)


def test_a_single_clip_is_no_pair(desk, verifier):
    one = str(sorted((desk / "voices").glob("*.wav"))[0])
    with pytest.raises(InputError) as caught:
        list(predict(verifier.folder, one))
    assert str(caught.value) == (
        f'input 1, `{one}`: is no pair of clips. Write "first.wav | second.wav", '
        "or give a table with columns `first` and `second`."
    )


# ------------------------------------------------------------------ units and suites


def test_units_need_nothing_but_recordings(desk):
    told = Told()
    found = units(desk / "runs" / "voices", str(desk / "voices"), count=5, show=told)
    assert found.clips == 36 and found.units == 5 and not found.abx
    assert told.lines["Model"].endswith("layer 1")


def test_long_recordings_are_cut_as_for_pre_training(desk, tmp_path):
    long = np.concatenate([clip(word, "ann", number) for number, word in enumerate(WORDS * 16)])  # about 13 s
    write(tmp_path / "long.wav", long)
    write(tmp_path / "short.wav", clip("ab", "bob", 1))
    found = units(desk / "runs" / "voices", [str(tmp_path / "long.wav"), str(tmp_path / "short.wav")], count=4)
    names = [name.rpartition("/")[2] for name in found.sequences]
    assert names == ["long.wav (1)", "long.wav (2)", "short.wav"]
    assert units(desk / "runs" / "voices", str(tmp_path / "long.wav"), count=4, most=1).clips == 1


def test_units_are_held_against_labels_speakers_and_what_a_run_aligns(desk, transcriber, tmp_path):
    given, out = str(desk / "clips.jsonl"), tmp_path / "units.jsonl"
    found = units(desk / "runs" / "voices", given, count=5, label="word", out=out)
    assert set(found.abx) == {"within", "across"} and found.eer is not None
    assert set(found.agreements) == {"labels of whole clips", "speakers of whole clips"}
    assert json.loads(out.read_text().splitlines()[0])["text"].startswith("u")
    held = units(desk / "runs" / "voices", given, count=5, label="text", aligner=transcriber.folder)
    assert "characters (by forced alignment)" in held.agreements and "labels of whole clips" not in held.agreements


def test_a_layer_that_is_not_there_is_named(desk):
    with pytest.raises(InputError) as caught:
        units(desk / "runs" / "voices", str(desk / "voices"), layer=7)
    assert str(caught.value) == (
        f"--layer 7: {desk / 'runs' / 'voices'} has layers 0 (the embedding) to 1. "
        "Choose one of them; the middle ones know most of what is said."
    )


def test_a_model_that_transcribes_nothing_aligns_nothing(desk, verifier):
    with pytest.raises(InputError) as caught:
        units(desk / "runs" / "voices", str(desk / "clips.jsonl"), label="text", aligner=verifier.folder)
    assert str(caught.value) == (
        f"{verifier.folder}: answers with verify, and transcripts are to be aligned. "
        f"Adapt one: firth adapt {verifier.folder} LABELS --task transcribe."
    )


def test_a_suite_puts_runs_and_baselines_side_by_side(desk, tmp_path):
    found = run_suite([desk / "runs" / "voices"], str(desk / "mine.toml"), seeds=1, out=tmp_path / "suite")
    assert found.columns == {"words": "accuracy", "letters": "PER"}
    titles = [row.title for row in found.rows]
    assert titles == ["voices, random weights", "voices", "MFCC statistics + logistic regression",
                      "Log-mel frames, the same head"]  # fmt: skip
    cells = {row.title: set(row.cells) for row in found.rows}
    assert cells["voices"] == {"words", "letters"} and cells["Log-mel frames, the same head"] == {"letters"}
    assert {name: len(shares) for name, shares in found.layers.items()} == {"voices · words": 2, "voices · letters": 2}
    again = run_suite([desk / "runs" / "voices"], str(desk / "mine.toml"), seeds=1, out=tmp_path / "suite")
    assert again.as_dict() == found.as_dict()  # nothing was trained again
    assert (
        (tmp_path / "suite" / "suite.md")
        .read_text()
        .startswith("## Tones\n\nIn %, with 95 % intervals over 1 seed.\n\n|  | words accuracy | letters PER |")
    )


def test_random_weights_of_one_network_are_trained_once(desk, tmp_path):
    copytree(desk / "runs" / "voices", tmp_path / "others")
    found = run_suite([desk / "runs" / "voices", tmp_path / "others"], f"{desk / 'mine.toml'}:words", seeds=1,
                      out=tmp_path / "suite")  # fmt: skip
    rows = {row.title: row.cells["words"] for row in found.rows}
    assert rows["voices, random weights"].mean == rows["others, random weights"].mean
    kept = [sorted((tmp_path / "suite" / "words" / name / "trials").glob("*.json")) for name in ("voices", "others")]
    same = {one.name for one, other in product(*kept) if one.read_bytes() == other.read_bytes()}  # seconds, too
    assert same and all(name.startswith("random-") for name in same)


def test_each_speaker_is_left_out_in_turn(desk, tmp_path):
    settings = [*FROZEN, "train.steps=2", "data.label=word"]
    given = {
        "labels": (2, None),
        "arms": ("random", "pretrained", "mfcc"),
        "settings": settings,
        "leave_out": "speaker",
    }
    found = compare(desk / "runs" / "voices", desk / "clips.jsonl", out=tmp_path / "c", **given)
    assert found.seeds == [0, 1, 2, 3] and len(found.gold) == 36 and found.budgets == [2, 27]
    assert {len(trial.predicted) for trial in found.trials} == {9}
    assert found.facts["notes"][0].startswith("Each seed is a fold that leaves one `speaker` out (ann, bob, cid, dot)")
    assert found.accuracy("mfcc", 27).seeds == 4 and "4 seeds" in found.verdict
    again = compare(desk / "runs" / "voices", desk / "clips.jsonl", out=tmp_path / "c", jobs=2, **given)
    assert again.as_dict()["arms"] == found.as_dict()["arms"]  # nothing was trained again
    with pytest.raises(InputError) as caught:
        compare(desk / "runs" / "voices", desk / "clips.jsonl", out=tmp_path / "c", **given | {"leave_out": "age"})
    assert "holds a comparison with another left out" in str(caught.value)


def test_nothing_of_a_speaker_who_is_left_out_is_learnt_from(desk):
    asked = Request(str(desk / "runs" / "voices"), [str(desk / "clips.jsonl")], "classify", 0, None,
                    ["data.label=word"], ["random"], [], False, leave_out="speaker")  # fmt: skip
    work = opened(asked, Told())
    for seed, speaker in enumerate(PITCH):
        drawn = work.drawn(4, seed)
        learnt = {one.fields["speaker"] for one in drawn.given}
        assert learnt and speaker not in learnt and {one.fields["speaker"] for one in drawn.test} == {speaker}
        assert [one.text for one in work.folds.part(seed).test] == [one.text for one in drawn.test]


def test_a_suite_leaves_speakers_out_too(desk, tmp_path):
    (desk / "others.toml").write_text(OTHERS)
    found = run_suite([desk / "runs" / "voices"], str(desk / "others.toml"), seeds=1, out=tmp_path / "suite")
    assert found.columns == {"unheard": "accuracy"}
    assert {row.cells["unheard"].seeds for row in found.rows} == {4}
