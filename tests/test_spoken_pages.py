"""The pages on sound tasks are executed: every command, on recordings of tones, from top to bottom."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firth.cli import app
from firth.evaluate.suite import parsed
from tests.house import ROOT
from tests.test_docs import blocks
from tests.test_spoken_verbs import desk  # noqa: F401  (a fixture)

SMALL = "--set train.steps=4 --set train.evaluate_every=4"


@pytest.fixture(scope="module")
def place(desk, tmp_path_factory) -> Path:  # noqa: F811
    """The files that the pages name."""
    folder = shutil.copytree(desk, tmp_path_factory.mktemp("pages") / "desk")
    (folder / "runs" / "voices").rename(folder / "runs" / "voices-masked-frames")
    shutil.copy(next((folder / "voices").glob("*.wav")), folder / "voices" / "hello.wav")
    return folder


def lines(page: str) -> list[str]:
    """The commands of a page; those that write on in units are run in test_sound_verbs."""
    found = [line for kind, text in blocks(ROOT / "docs" / f"{page}.md") if kind == "sh" for line in text.splitlines()]
    return [line for line in found if not re.search("units.txt|units-next-token", line)]


def small(line: str) -> str:
    """The same command with a few steps, and few units."""
    if line.startswith("firth adapt"):
        return f"{line} {SMALL}"
    return f"{line} --units 4" if line.startswith("firth units") else line


@pytest.mark.parametrize("page", ["transcribe", "verify", "discovery"])
def test_a_page_runs_from_top_to_bottom(page, place, monkeypatch):
    """In this order: discovery aligns with what transcribe has learnt."""
    monkeypatch.chdir(place)
    for line in map(small, lines(page)):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output[-2000:]}"


def test_the_suite_on_its_page_is_one(tmp_path):
    page = (ROOT / "docs" / "suite.md").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.S)[1])
    found = parsed(tmp_path / "mine.toml")
    assert list(found.tasks) == ["words", "people", "words-unheard"] and found.tasks["words"].labels == (10, "all")
    assert found.tasks["words-unheard"].leave_out == "speaker"
    assert found.settings["model.frozen"] is True and found.tasks["people"].settings == {"verify.margin": 0.3}
