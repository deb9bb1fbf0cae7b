"""Documents are executed: every command of the README and the pages runs, on small data, from top to bottom."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.material import documents, write_labels

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)
SMALL = "--size 1x32 --set text.vocabulary=300 --set text.context=32 --set data.held_out=0.2 --set train.batch=4"


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def small(line: str) -> str:
    """The same command at a size for a test: a few steps of a tiny model. Nothing else is changed."""
    line = re.sub(r"--budget \S+", f"--budget 4steps {SMALL}", line.split("  #")[0].rstrip())
    if line.startswith("firth adapt"):
        line += " --set train.steps=4"
    return line


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder as the pages take it for granted: raw files, and a table of labels."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "raw").mkdir()
    for number, text in enumerate(documents(60)):
        (folder / "raw" / f"{number}.txt").write_text(text + "\n")
    write_labels(folder, 60, name="labels.tsv")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FIRTH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done


def test_the_readme_runs_from_top_to_bottom(desk):
    for kind, text in blocks(ROOT / "README.md"):
        if kind == "sh":
            for line in filter(str.strip, map(small, text.splitlines())):
                if line.startswith("firth"):
                    run(line.replace("firth", f"{sys.executable} -m firth", 1), desk)


def test_the_python_of_the_readme_runs(desk):
    code = next(text for kind, text in blocks(ROOT / "README.md") if kind == "python")
    options = (
        'budget="4steps", size="1x32", settings=["text.vocabulary=300", "text.context=32", "data.held_out=0.2",'
        ' "train.batch=4"], out="runs/from-python"'
    )
    code = code.replace('budget="20m"', options)
    code = code.replace('task="classify")', 'task="classify", settings=["train.steps=4"], out="runs/adapted")')
    done = run(f"{sys.executable} -c {shlex.quote(code)}", desk)
    assert re.search(r"^(positive|negative) 0\.\d+", done.stdout, re.M)


def test_the_targets_that_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for text in (text for kind, text in blocks(ROOT / "README.md") if kind == "sh"):
        for target in re.findall(r"^make (\S+)", text, re.M):
            assert re.search(rf"^{target}:", makefile, re.M)


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_in_pages_name_verbs_and_options_that_exist(page):
    for kind, text in blocks(page):
        for line in text.replace("\\\n", " ").splitlines() if kind == "sh" else []:
            words = shlex.split(line, comments=True)
            if words[:1] == ["firth"]:
                offered = options_of(words[1])
                assert {w.split("=")[0] for w in words if w.startswith("--")} <= offered, line


def options_of(verb: str) -> set[str]:
    from typer.main import get_command

    from firth.cli import app

    command = get_command(app).commands[verb]
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{shown(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_pages_say_nothing_of_the_machine_they_were_written_on(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|/tmp/", text)


def test_the_readme_shows_its_commands_on_the_first_screen():
    top = (ROOT / "README.md").read_text().splitlines()[:22]
    assert any(line.startswith("make demo") for line in top)
    assert any(line.startswith("make test") for line in top)
    assert any("docs/images/" in line for line in top)
