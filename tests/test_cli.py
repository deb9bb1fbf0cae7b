"""The command line: quick help without torch, three-part errors without traceback, exit codes, options on each verb."""

import json
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from firth import __version__
from firth.cli import app
from firth.options import asking
from firth.recipe import Recipe, apply_settings, with_options
from tests.house import ROOT
from tests.material import write_corpus

VERBS = [
    "adapt",
    "check",
    "company",
    "compare",
    "demo",
    "embed",
    "export",
    "measure",
    "predict",
    "pretrain",
    "runs",
    "score",
    "serve",
    "units",
]
EVERYWHERE = {"--dry-run", "--json", "--config", "--set", "--out", "--seed", "--device"}


def firth(*words, **options):
    return CliRunner().invoke(app, list(map(str, words)), **options)


def process(*words, cwd=ROOT):
    return subprocess.run([sys.executable, "-m", "firth", *map(str, words)], cwd=cwd, capture_output=True, text=True)


def test_help_lists_the_verbs_that_work_and_no_other():
    assert sorted(get_command(app).commands) == VERBS
    for verb in VERBS:
        assert verb in firth("--help").output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_common_options(verb):
    offered = {name for p in get_command(app).commands[verb].params for name in p.opts}
    assert offered >= EVERYWHERE


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["pretrain", "-h"], ["--version"]])
def test_help_needs_no_torch(words):
    code = f"import sys, firth.cli as c\ntry: c.app({words})\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.slow
def test_help_answers_in_under_300_milliseconds():
    def once():
        began = time.perf_counter()
        process("--help")
        return time.perf_counter() - began

    assert min(once() for _ in range(5)) < 0.3


def test_version():
    assert firth("--version").output.strip() == f"firth {__version__}"


def test_no_verb_prints_the_help_and_exits_2():
    done = process()
    assert done.returncode == 2
    assert "pretrain" in done.stdout + done.stderr


def test_an_unknown_verb_or_option_exits_2():
    assert firth("pretain").exit_code == 2
    assert firth("pretrain", "x", "--bugdet", "2m").exit_code == 2


def test_an_error_is_one_message_with_exit_code_2(tmp_path):
    done = process("pretrain", tmp_path / "nowhere", "--budget", "5steps", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "nowhere" in done.stderr
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(tmp_path):
    done = process("pretrain", tmp_path / "nowhere", "--budget", "5steps", "--out", tmp_path / "out", "--debug")
    assert "Traceback" in done.stderr and done.returncode != 0


def test_an_unknown_config_key_is_named_with_a_near_one(tmp_path):
    corpus = write_corpus(tmp_path)
    done = process("pretrain", corpus, "--budget", "5steps", "--set", "masked_tokens.mask_rat=0.2", cwd=tmp_path)
    assert done.returncode == 2
    assert "masked_tokens.mask_rat" in done.stderr
    assert "Did you mean `masked_tokens.mask_rate`?" in done.stderr


def test_a_budget_is_asked_for_without_a_terminal(tmp_path):
    done = process("pretrain", write_corpus(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "--budget" in done.stderr


@pytest.mark.parametrize(
    ("as_json", "live", "terminal"),
    [(False, True, True), (True, True, True), (False, False, True), (False, True, False)],
)
def test_only_who_sits_at_a_terminal_is_asked(monkeypatch, as_json, live, terminal):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setattr("typer.prompt", lambda question, default: f"{question} [{default}]")
    ask = asking(as_json, SimpleNamespace(live=live))
    assert (ask is not None) == (terminal and live and not as_json)
    assert ask is None or ask("How long", "20m") == "How long [20m]"


def test_dry_run_writes_nothing_but_the_plan(tmp_path):
    corpus = write_corpus(tmp_path)
    before = set(tmp_path.iterdir())
    done = process("pretrain", corpus, "--budget", "5steps", "--size", "1x32", "--dry-run", "--set",
                   "text.vocabulary=300", "--set", "text.context=32", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Plan" in done.stdout + done.stderr
    assert set(tmp_path.iterdir()) == before


def test_json_is_alone_on_stdout(tmp_path):
    small = ["--set", "text.vocabulary=300", "--set", "text.context=32", "--set", "train.batch=4", "--size", "1x32"]
    done = process("pretrain", write_corpus(tmp_path), "--budget", "3steps", "--json", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["steps"] == 3
    assert re.search(r"Plan", done.stderr)


def test_options_become_settings_and_the_persons_own_come_last():
    given = {"text": "bödy", "label": None, "valid": ["a.tsv"], "test": "b.tsv", "skip_bad": False, "frozen": True}
    own = ['data.text="bödy"', 'data.valid=["a.tsv"]', 'data.test=["b.tsv"]', "model.frozen=true"]
    assert with_options(["data.text=other"], **given) == [*own, "data.text=other"]
    mapping = with_options({"data.text": "other"}, **given)
    assert mapping == {"data.text": "other", "data.valid": ("a.tsv",), "data.test": ("b.tsv",), "model.frozen": True}
    assert apply_settings(Recipe(), own) == apply_settings(Recipe(), with_options({}, **given))


IDLE = {
    "check": "seed device", "score": "config seed device", "embed": "config seed", "units": "config",
    "company": "config", "export": "config seed device", "serve": "config", "runs": "config set seed device",
}  # verb -> options that would change nothing in it  # fmt: skip


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, names in IDLE.items() for name in names.split()])
def test_an_option_that_changes_nothing_is_refused(verb, name):
    value = {"set": "train.steps=1", "seed": "0"}.get(name, "x")
    done = firth(verb, "a", "b", f"--{name}", value)
    assert done.exit_code == 2 and done.stderr == f"--{name}: changes nothing here.\nLeave it out.\n"
    assert f"--{name}" not in firth(verb, "--help").output


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in IDLE])
def test_no_other_option_is_hidden(verb):
    hidden = {p.name for p in get_command(app).commands[verb].params if getattr(p, "hidden", False)}
    assert hidden == {"debug"}


@pytest.mark.parametrize("words", ["--task tag", "--labels 0", "--arms random", "--against b", "--frozen",
                                   "--leave-out speaker", "--vary a=1,2", "--test x.tsv"])  # fmt: skip
def test_what_a_suite_says_itself_is_refused_beside_it(words):
    done = firth("compare", "a", "--suite", "speech", *words.split())
    assert done.exit_code == 2
    assert done.stderr == f"{words.split()[0]}: changes nothing beside --suite.\nLeave it out.\n"


# ------------------------------------------------------------------ runs


@pytest.fixture
def runs_there(tmp_path, monkeypatch):
    """runs/a, as little of a run as is one."""
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text('{"status": "finished"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "a"


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("n", False)])
def test_deleting_asks_on_a_terminal(runs_there, monkeypatch, answer, gone):
    monkeypatch.setattr("firth.verbs.using.person", lambda: True)
    done = firth("runs", "--delete", "a", "--json", input=f"{answer}\n")
    assert done.exit_code == 0 and "Delete runs/a? [y/N]" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [{"folder": "runs/a", "deleted": gone}]
    assert runs_there.exists() is not gone


def test_deleting_without_a_terminal_wants_to_be_told(runs_there):
    done = firth("runs", "--delete", "a")
    assert done.exit_code == 2 and done.stderr == (
        "firth runs --delete runs/a: would delete without asking.\nAdd --yes to delete.\n"
    )
    assert firth("runs", "--delete", "a", "--yes").exit_code == 0 and not runs_there.exists()


@pytest.mark.parametrize("option", ["--in", "--out"])
def test_the_folder_of_runs_can_be_named(runs_there, option):
    assert [one["folder"] for one in json.loads(firth("runs", option, "runs", "--json").stdout)] == ["runs/a"]
    assert json.loads(firth("runs", option, "elsewhere", "--json").stdout) == []
