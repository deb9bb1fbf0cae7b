"""The page on serving runs from top to bottom: the server it starts, then its commands and its Python, against it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests import exported, served
from tests.house import ROOT
from tests.test_docs import blocks

PAGE = ROOT / "docs" / "serve.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = exported.write_writer(tmp_path_factory.mktemp("desk") / "runs" / "raw-next-token", "bpe")
    with served.live(served.open_model(folder)) as found:
        yield found


def here(text: str, place: served.Served) -> str:
    return text.replace("http://127.0.0.1:8000", place.address)


def lines(kind: str) -> list[str]:
    found = [text for own, text in blocks(PAGE) if own == kind]
    return [line for text in found for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_page_begins_with_the_command_that_serves():
    assert lines("sh")[0].split("  #")[0].strip() == "firth serve runs/raw-next-token"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("line", [line for line in lines("sh") if line.startswith("curl")])
def test_a_command_of_the_page_is_answered(line, place):
    words = shlex.split(here(line, place))
    done = subprocess.run([*words, "--silent", "--fail-with-body"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    if '"stream"' in line:
        assert done.stdout.rstrip().endswith("data: [DONE]")
    else:
        assert json.loads(done.stdout)


def test_the_python_of_the_page_runs(place):
    pytest.importorskip("openai")
    code = textwrap.dedent(here("\n".join(text for kind, text in blocks(PAGE) if kind == "python"), place))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_limits_in_the_page_are_those_of_the_server():
    text = PAGE.read_text(encoding="utf-8")
    limits = served.Limits()
    for number in (limits.prompts, limits.tokens, limits.inputs, limits.requests, limits.stops, limits.likeliest):
        assert re.search(rf"\| {number:,} ", text), number
    assert "| 1 MiB " in text and limits.body == 2**20
    assert f"| {limits.seconds:g} s " in text and f"| {limits.body_seconds:g} s " in text
