"""Tags, pairs, numbers, answers through the command line: adapt, predict from a text, a pipe, files; score of that."""

import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import chdir

import pytest
from typer.testing import CliRunner

from firth.cli import app
from firth.evaluate.predict import load
from tests import labelled_files, runs
from tests.house import ROOT
from tests.test_bad_input import firth, refused
from tests.test_verbs import done, strict

QUICK = ["train.steps=30", "train.batch=8", "train.evaluate_every=15", "optimizer.lr=3e-3", "train.precision=fp32"]
SET = [word for key in QUICK for word in ("--set", key)]
ADAPT = {  # name of the run → what is typed after `adapt pretrained`
    "tag": ["tags.conllu", "--task", "tag", "--test", "test.conllu"],
    "pairs": ["pairs.tsv", "--task", "pairs", "--test", "test.tsv"],
    "numbers": ["pairs.tsv", "--task", "pairs", "--label", "closeness", "--test", "test.tsv"],
    "span": ["questions.json", "--task", "span", "--test", "test.json", "--set", "text.context=64"],
}
TEST = {"tag": "test.conllu", "pairs": "test.tsv", "numbers": "test.tsv", "span": "test.json"}
TEXT = "The ship carries the barn. The captain carries the fence."
INPUT = {
    "tag": "The old ship meets the tram .",
    "pairs": "A ship moves past.\tThe ship sleeps there.",
    "numbers": "A ship moves past.\tThe ship sleeps there.",
    "span": f"What does the ship carry?\t{TEXT}",
}
KEYS = {
    "tag": {"text", "words", "tags", "probabilities"},
    "pairs": {"text", "label", "probability", "probabilities"},
    "numbers": {"text", "number"},
    "span": {"text", "answer", "begin", "end", "probability", "best"},
}
ODD = "odd [bold] ä;'& name"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Labelled files of each task beside the pre-trained run, and a finished run of each, made by `firth adapt`."""
    folder = tmp_path_factory.mktemp("tasks")
    runs.copied(folder, "pretrained")
    labelled_files.write_tags(folder)
    labelled_files.write_tags(folder, 20, seed=5, name="test.conllu")
    labelled_files.write_pairs(folder)
    labelled_files.write_pairs(folder, 24, seed=4, name="test.tsv")
    labelled_files.write_questions(folder)
    labelled_files.write_questions(folder, 12, seed=3, name="test.json")
    with chdir(folder):
        for name, words in ADAPT.items():
            found = firth("adapt", "pretrained", *words, *SET, "--out", name)
            assert found.exit_code == 0, found.output
            (folder / f"{name}.told").write_text(found.output)
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def lines(text: str) -> list[dict]:
    return [strict(line) for line in text.splitlines()]


# ------------------------------------------------------------------ adapt


@pytest.mark.parametrize("name", ADAPT)
def test_adapt_says_what_it_read_how_it_did_and_where_it_lies(place, name):
    told = (place / f"{name}.told").read_text()
    for key in ("Data", "Model", "Result", "Report"):
        assert f"\n{key:<9}" in f"\n{told}", told
    assert (place / name / "report.html").exists() and (place / name / "model" / "config.json").exists()
    kept = json.loads((place / name / "run.json").read_text())
    assert kept["status"] == "finished" and kept["result"]["score"]["items"] > 0


@pytest.mark.parametrize("name", ADAPT)
def test_the_same_command_again_prints_the_result_and_does_no_work(place, name):
    before = (place / name / "run.json").stat().st_mtime_ns
    assert "Result" in done("adapt", "pretrained", *ADAPT[name], *SET, "--out", name)
    assert (place / name / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ADAPT)
def test_a_dry_run_of_adapt_prints_the_plan_as_json(place, name):
    told = strict(done("adapt", "pretrained", *ADAPT[name], "--out", "new", "--dry-run", "--json"))
    assert told["status"] == "planned" and told["plan"] and not (place / "new").exists()


# ------------------------------------------------------------------ predict


@pytest.mark.parametrize("name", ADAPT)
def test_a_text_and_a_pipe_give_the_same_json_lines(name):
    (one,) = lines(done("predict", name, INPUT[name]))
    assert set(one) == KEYS[name]
    first, second = lines(done("predict", name, "-", input=f"{INPUT[name]}\n{INPUT[name]}\n"))
    assert first == second and set(first) == KEYS[name] and first["text"] == one["text"]


def test_tags_are_as_many_as_words():
    (one,) = lines(done("predict", "tag", INPUT["tag"]))
    assert one["words"] == INPUT["tag"].split() and len(one["tags"]) == len(one["probabilities"]) == 7


def test_candidates_of_an_answer_have_names(place):
    (one,) = lines(done("predict", "span", INPUT["span"], "--top", "2"))
    assert one["answer"] == TEXT[one["begin"] : one["end"]] and len(one["best"]) == 2
    assert set(one["best"][0]) == {"text", "begin", "end", "score", "probability"}
    assert one["best"][0]["text"] == one["answer"]


@pytest.mark.parametrize("name", ADAPT)
def test_a_labelled_file_is_read_as_the_task_reads_it(place, name):
    loaded = load(name)
    given = list(loaded.predict(map(loaded.reads, rows(TEST[name]))))
    found = lines(done("predict", name, TEST[name]))
    assert len(found) > 10 and [one["text"] for one in found] == [one.text for one in given]


def rows(path):
    from firth.data.readers import expand, read

    return read(expand([path]), rows=True)


def test_documents_of_a_file_keep_their_offsets(place):
    (place / "blank.jsonl").write_text(json.dumps({"question": "What?", "context": f"  \n {TEXT}"}) + "\n")
    (one,) = lines(done("predict", "span", "blank.jsonl"))
    assert one["answer"] == f"  \n {TEXT}"[one["begin"] : one["end"]]


def test_plain_text_beside_tables_is_read_line_by_line(place):
    (place / "both").mkdir(exist_ok=True)
    (place / "both" / "a.txt").write_text("The ship sails .\nThe cow meets the barn .\n")
    shutil.copy(place / "test.conllu", place / "both" / "b.conllu")
    found = lines(done("predict", "tag", "both"))
    assert [len(one["tags"]) for one in found] == [4, 6, *[7] * 20]


def test_words_that_hold_blanks_stay_words(place):
    (place / "words.jsonl").write_text(json.dumps({"words": ["New York", "🙂", "ship"]}) + "\n")
    (one,) = lines(done("predict", "tag", "words.jsonl"))
    assert one["words"] == ["New York", "🙂", "ship"] and len(one["tags"]) == 3


def test_a_named_column_is_taken_as_text(place):
    (place / "column.jsonl").write_text(json.dumps({"id": 1, "body": "The ship sails ."}) + "\n")
    (one,) = lines(done("predict", "tag", "column.jsonl", "--text", "body"))
    assert one["words"] == ["The", "ship", "sails", "."]


def test_names_with_odd_characters(place):
    shutil.copytree(place / "tag", place / ODD)
    shutil.copy(place / "test.conllu", place / f"{ODD}.conllu")
    text = done("predict", ODD, f"{ODD}.conllu", "--out", f"{ODD}.jsonl")
    assert text == f"Saved    {ODD}.jsonl\n" and len(lines((place / f"{ODD}.jsonl").read_text())) == 20


# ------------------------------------------------------------------ a terminal


def on_a_terminal(*words) -> str:
    """What a person sees: standard output is a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen([sys.executable, "-m", "firth", *words], stdout=theirs, stdin=theirs, stderr=theirs,
                          env=environment) as running:  # fmt: skip
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end was closed
                break
            seen += piece
            if not piece:
                break
    os.close(ours)
    assert running.returncode == 0, seen
    return seen.decode().replace("\r\n", "\n")


def test_tags_stand_behind_their_words_on_a_terminal():
    (one,) = lines(done("predict", "tag", INPUT["tag"]))
    shown = on_a_terminal("predict", "tag", INPUT["tag"])
    assert "\x1b[1m" not in shown or "NO_COLOR" in os.environ
    assert " ".join(f"{word}/{tag}" for word, tag in zip(one["words"], one["tags"], strict=True)) in shown


# ------------------------------------------------------------------ score of what was predicted

SAME = {
    "tag": {"accuracy": "accuracy", "items": "items"},
    "pairs": {"accuracy": "accuracy", "macro_f1": "macro_f1", "matthews": "matthews", "items": "items"},
    "numbers": {"pearson": "pearson", "spearman": "spearman", "mean_absolute_error": "mean_absolute_error"},
    "span": {"f1": "f1", "exact_match": "exact", "items": "items"},
}


@pytest.mark.parametrize("name", ADAPT)
def test_predict_and_score_give_the_figures_of_the_run(place, name):
    done("predict", name, TEST[name], "--out", f"{name}.jsonl")
    label = ["--label", "closeness"] if name == "numbers" else []
    task = "pairs" if name == "numbers" else name
    told = strict(done("score", TEST[name], f"{name}.jsonl", "--task", task, *label, "--json"))
    kept = json.loads((place / name / "run.json").read_text())["result"]["score"]
    for ours, theirs in SAME[name].items():
        assert told[theirs] == pytest.approx(kept[ours], abs=1e-6), ours


# ------------------------------------------------------------------ refusals

FILL = "Fill it in, or leave out the row; --skip-bad leaves out such rows."
REFUSED = {
    ("pairs", "only one text"): "input 1: 1 text where a pair is needed.\nWrite both with a tab between them.",
    ("pairs", "a pair\tof texts", "only one"): "input 2: 1 text where a pair is needed.\n"
    "Write both with a tab between them.",
    ("span", "What?"): "input 1: a question and a document are needed.\nWrite the question, a tab, the document.",
    ("span", INPUT["span"], INPUT["span"], "What?"): "input 3: a question and a document are needed.\n"
    "Write the question, a tab, the document.",
    ("pairs", "half.tsv"): f"half.tsv:3:1: `hypothesis` is empty.\n{FILL}",
    ("pairs", "other.tsv"): "other.tsv:2:1: has no column `premise`.\n"
    "Name the two columns as in the labelled data: `premise`, `hypothesis`.",
    ("span", "other.tsv"): f"other.tsv:2:1: `question` is empty.\n{FILL}",
    ("tag", "other.tsv"): "other.tsv:2:1: has no `words`.\nGive words and tags, as many tags as words.",
    ("tag", "missing.conllu"): "missing.conllu: no such file.\n"
    "Did you mean `test.conllu`? Put a text in quotes if it is one, with a space in it.",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_predict_refuses(place, monkeypatch, words):
    (place / "half.tsv").write_text("premise\thypothesis\na\tb\nc\t\n")
    (place / "other.tsv").write_text("left\tright\na\tb\n")
    assert refused(place, monkeypatch, ["predict", *words]) == REFUSED[words]


def test_a_bad_line_of_a_pipe_is_named_by_its_place(place, monkeypatch):
    monkeypatch.chdir(place)
    found = CliRunner().invoke(
        app, ["predict", "span", "-"], input=f"{INPUT['span']}\n" * 2 + "What?\n" + f"{INPUT['span']}\n"
    )
    assert (found.exit_code, found.stderr.splitlines()[0]) == (
        2, "input 3: a question and a document are needed."
    )  # fmt: skip
