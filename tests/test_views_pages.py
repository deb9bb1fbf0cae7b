"""The pages on views and on the objectives over them run from top to bottom, on a few small pictures."""

import json
import re
import shlex
import sys

import pytest

from firth.functional.augment import PRESETS, Policy
from tests.house import ROOT
from tests.picture_files import write_digits
from tests.test_docs import blocks, run, typed

NAMES = ["simclr", "byol", "vicreg", "barlow-twins", "moco", "dino", "mae"]
QUICK = "--budget 2steps --size 1x32 --set train.batch=8 --set train.evaluate_samples=8 --set data.held_out=0.2"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """photos/ and slides/, as the pages take them for granted."""
    folder = tmp_path_factory.mktemp("desk")
    write_digits(folder / "photos", 40)
    write_digits(folder / "slides", 40, first=100)
    return folder


def lines_of(page: str) -> list[str]:
    return [line for kind, text in blocks(ROOT / "docs" / f"{page}.md") if kind == "sh" for line in text.splitlines()]


@pytest.mark.parametrize("page", ["views", *NAMES])
def test_the_commands_of_a_page_run(page, desk, monkeypatch):
    monkeypatch.chdir(desk)
    lines = lines_of(page)
    assert lines
    for number, line in enumerate(lines):
        typed(re.sub(r"--budget \S+", f"{QUICK} --out runs/{page}-{number}", line))
        written = sorted(path.suffix for path in (desk / "runs" / f"{page}-{number}" / "samples").glob("*.png"))
        assert ".png" in written
    facts = json.loads((desk / "runs" / f"{page}-0" / "run.json").read_text())
    assert facts["status"] == "finished"


def test_the_python_of_the_page_on_views_runs(tmp_path):
    code = next(text for kind, text in blocks(ROOT / "docs" / "views.md") if kind == "python")
    assert run(f"{sys.executable} -c {shlex.quote(code)}", tmp_path).stdout == "torch.Size([8, 3, 32, 32])\n"


def test_the_page_on_views_names_every_preset_and_operation():
    text = (ROOT / "docs" / "views.md").read_text()
    assert all(f"| `{name}` |" in text for name in PRESETS)
    told = {"jitter": "brightness", "ratio": "ratio", "sigma": "blur", "threshold": "solaris", "cut_side": "cut-out"}
    assert all(told.get(field, field.partition("_")[0])[:5] in text for field in Policy._fields)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_where_views_come_from(name):
    text = (ROOT / "docs" / f"{name}.md").read_text()
    assert "(views.md)" in text and "Departures:" in text and text.count("arxiv.org") >= 1
