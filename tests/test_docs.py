"""Documents are executed: every command of the README and the pages runs, on small data, from top to bottom."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firth.cli import app
from tests.exported import CLASSES, write_model
from tests.house import ROOT
from tests.labelled_files import (
    write_choices,
    write_minimal_pairs,
    write_pairs,
    write_questions,
    write_tags,
    write_topics,
)
from tests.material import documents, write_labels
from tests.picture_files import write_digits

TASKS = [
    "classify",
    "tag",
    "pairs",
    "span",
    "score",
    "compare",
    "embed",
    "company",
    "export",
]  # pages that begin with a model
ALONE = ["minimal-pairs", "collapse", "neighbours", "patch-kmeans"]  # pages that need no model
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)
SMALL = "--size 1x32 --set text.vocabulary=300 --set text.context=32 --set data.held_out=0.2 --set train.batch=4"


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def small(line: str) -> str:
    """The same command at a size for a test: a few steps of a tiny model. Nothing else is changed."""
    line = re.split(r"\s+# ", line)[0].rstrip()
    verb = line.removeprefix("firth ").partition(" ")[0]
    if verb == "serve":  # it would go on for ever: its own page is run against a server
        return line + " --port 0 --dry-run"
    own = (
        " --vary size=1x32 --vary text.vocabulary=300 --vary text.context=32 --vary data.held_out=0.2"
        if verb == "compare"
        else f" {SMALL}"
    )
    budget = f"--budget 4steps{own}"
    line = re.sub(r"--budget \S+", budget, line).replace(" --size 3x128", "")
    line = re.sub(r"pretrain synthetic:icl", "pretrain synthetic:icl:episodes=300", line)
    line = line.replace("0,1,4,16", "0,1,4") + " --most 4" if verb == "measure" else line
    return line + " --set train.steps=4 --set train.batch=4" if verb in ("adapt", "compare") else line


def laid(folder: Path) -> Path:
    """A folder as the pages take it for granted: raw files, and labelled files of each task."""
    for name in ("raw", "held-out"):
        (folder / name).mkdir()
    for number, text in enumerate(documents(200)):
        (folder / "raw" / f"{number}.txt").write_text(text + "\n")
    (folder / "held-out" / "one.txt").write_text("\n".join(documents(8, seed=1, sentences=2)))
    write_labels(folder, 60, name="labels.tsv")
    write_labels(folder, 20, seed=1, name="test.tsv")
    write_tags(folder, 60)
    write_tags(folder, 10, seed=1, name="test.conllu")
    write_pairs(folder, 60)
    write_questions(folder, 30)
    write_minimal_pairs(folder)
    write_choices(folder)
    write_topics(folder, 90)
    write_digits(folder / "photos", 30, classes=False)
    write_digits(folder / "labelled", 60)
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    return laid(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A desk with the run that pages on tasks begin with: that of the README."""
    folder = laid(tmp_path_factory.mktemp("trained"))
    lines = [line for _, text in blocks(ROOT / "README.md") for line in text.splitlines()]
    run(command(small(next(line for line in lines if line.startswith("firth pretrain")))), folder)
    return folder


def command(line: str) -> str:
    return line.replace("firth", f"{sys.executable} -m firth", 1)


def run(words: str, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FIRTH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, shell=True, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done


def typed(line: str) -> None:
    """In this process, as loading torch takes longest."""
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, f"{line}\n{done.output[-3000:]}"


def test_the_readme_runs_from_top_to_bottom(desk, monkeypatch):
    monkeypatch.chdir(desk)
    for kind, text in blocks(ROOT / "README.md"):
        for line in map(small, text.splitlines()) if kind == "sh" else ():
            if line.startswith("firth"):
                typed(line)


@pytest.mark.parametrize("name", TASKS)
def test_a_page_on_a_task_runs_from_top_to_bottom(name, trained, tmp_path, monkeypatch):
    place = shutil.copytree(trained, tmp_path / "desk", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(place)
    lines = [line for kind, text in blocks(ROOT / "docs" / f"{name}.md") if kind == "sh" for line in text.splitlines()]
    assert lines
    for line in map(small, lines):
        typed(line)


@pytest.mark.parametrize("name", ALONE)
def test_a_page_without_a_model_runs_from_top_to_bottom(name, desk, monkeypatch):
    monkeypatch.chdir(desk)
    found = blocks(ROOT / "docs" / f"{name}.md")
    for line in (line for kind, text in found if kind == "sh" for line in text.splitlines()):
        typed(line)
    done = run(f"{sys.executable} -c {shlex.quote(''.join(text for kind, text in found if kind == 'python'))}", desk)
    assert done.stdout.strip()


@pytest.mark.parametrize("name", ["start", "next-token", "measure", "prompt", "in-context"])
def test_a_page_that_begins_with_raw_files_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    monkeypatch.chdir(laid(tmp_path))
    found = blocks(ROOT / "docs" / f"{name}.md")
    for line in (small(line) for kind, text in found if kind == "sh" for line in text.splitlines()):
        typed(line)
    if code := "".join(text for kind, text in found if kind == "python"):
        assert run(f"{sys.executable} -c {shlex.quote(code)}", tmp_path).stdout


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


def test_the_page_on_python_runs_from_top_to_bottom(tmp_path):
    code = "".join(text for kind, text in blocks(ROOT / "docs" / "python.md") if kind == "python")
    settings = '{"text.vocabulary": 300, "text.context": 32, "data.held_out": 0.2, "train.batch": 4}'
    for given, few in (
        ('budget="20m"', f'budget="4steps", size="1x32", settings={settings}'),
        ('budget="5epochs"', 'budget="4steps"'),
        ('"train.steps": 300', '"train.steps": 4, "train.batch": 4'),
    ):
        assert code.count(given) == 1
        code = code.replace(given, few)
    done = run(f"{sys.executable} -c {shlex.quote(code)}", laid(tmp_path))
    assert "Plan " in done.stdout and "Did you mean `label`?" in done.stdout
    assert re.search(r"^(positive|negative) 0\.\d+", done.stdout, re.M) and "(61, 32) float32" in done.stdout
    assert (tmp_path / "runs" / "labels-compared" / "report.html").exists()


def test_the_python_of_the_page_on_export_runs(trained, tmp_path):
    """After its commands, without firth."""
    place = shutil.copytree(trained, tmp_path / "desk", ignore=shutil.ignore_patterns("cache"))
    page = blocks(ROOT / "docs" / "export.md")
    run(command(small(page[0][1].splitlines()[0])), place)
    code = next(text for kind, text in page if kind == "python")
    assert "firth" not in code
    assert len(ast.literal_eval(run(f"{sys.executable} -c {shlex.quote(code)}", place).stdout)) == 5


def test_a_text_classifier_in_other_tools_is_as_the_page_on_export_says(tmp_path):
    """In onnxruntime and in a pipeline of transformers, without firth: one label, one share."""
    write_model(tmp_path / "runs" / "labels-classify" / "model", "modernbert", "classify")
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    run(command(re.search(r"`(firth export runs/labels-classify [^`]+)`", text)[1]), tmp_path)
    parts = [code for kind, code in BLOCK.findall(text) if kind == "python" and "labels-" in code]
    assert len(parts) == 2 and "firth" not in "".join(parts)
    lines = run(f"{sys.executable} -c {shlex.quote(''.join(parts))}", tmp_path).stdout.splitlines()
    assert len(lines) == 3 and lines[0] == lines[1] and lines[0].split()[0] in CLASSES


def test_the_targets_that_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for text in (text for kind, text in blocks(ROOT / "README.md") if kind == "sh"):
        for target in re.findall(r"^make (\S+)", text, re.M):
            assert re.search(rf"^{target}:", makefile, re.M)


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_in_pages_name_verbs_and_options_that_exist(page):
    lines = [line for kind, text in blocks(page) if kind == "sh" for line in text.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines += [" ".join(line.split()) for line in re.findall(r"`(firth [^`]+)`", prose)]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["firth"]:
            offered = options_of(words[1])
            assert {w.split("=")[0] for w in words if w.startswith("--")} <= offered, line


def options_of(verb: str) -> set[str]:
    from typer.main import get_command

    command = get_command(app).commands[verb]
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_between_pages_lead_somewhere(page):
    for target, part in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        place = page.parent / target if target else page
        assert place.exists(), f"{shown(page)} links to {target}"
        assert not part or part in headings(place), f"{shown(page)} links to {target}#{part}"


def headings(page: Path) -> list[str]:
    """As links name them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_pages_say_nothing_of_the_machine_they_were_written_on(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|/tmp/", text)


def test_the_readme_shows_its_commands_on_the_first_screen():
    top = (ROOT / "README.md").read_text().splitlines()[:22]
    assert any(line.startswith("make demo") for line in top)
    assert any(line.startswith("make test") for line in top)
    assert any("docs/images/" in line for line in top)
