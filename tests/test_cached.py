"""`firth runs --cache`: what it tells of the cache, and what emptying it removes and leaves."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firth.cli import app
from firth.data import cache
from firth.errors import InputError
from firth.train.cached import age, cached, entries
from firth.train.log import Silent
from firth.train.runs import runs
from tests.runs import Told

OTHERS = ["corpora/brown/a.txt", "photos/a.jpg", "probes/mars.json", "ready/meals.txt", "thesis.txt"]
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A cache with a corpus of three days, what was made ready from it, a measurement, and things of other people."""
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path))
    written(tmp_path / "corpora" / KEY / "shard.bin", 3_000_000)
    written(tmp_path / "corpora" / KEY / "facts.json", json.dumps({"files": 200}))
    for path in (tmp_path / "corpora" / KEY).iterdir():
        os.utime(path, (time.time() - 3 * 86_400,) * 2)
    written(tmp_path / "ready" / KEY / "units.safetensors", 500)
    written(tmp_path / "probes" / "0123456789abcdef.json", "{}")
    written(tmp_path / "thesis.txt", "mine")
    for name in ("photos/a.jpg", "corpora/brown/a.txt", "ready/meals.txt", "probes/mars.json"):
        written(tmp_path / name, 10)
    return tmp_path


def written(path: Path, content: int | str) -> None:
    """A file of these bytes, or of so many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else bytes(content))


def left(root: Path) -> list[str]:
    """All files but locks, which hold nothing."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return sorted(str(path.relative_to(root)) for path in found)


def test_size_and_age_of_each_folder_are_told(root):
    show = Told()
    found = cached(False, False, False, show)
    assert show.lines["Cache"] == f"{root} · 3 MB in 3 folders"
    assert show.lines["corpora"] == "01234567… · 3 MB · of 200 files · 3 days old"
    assert show.lines["ready"].startswith("01234567… · 1 MB · ") and show.lines["probes"].startswith("probes · 1 MB")
    assert found["bytes"] == sum(entry["bytes"] for entry in found["entries"]) and not found["deleted"]
    assert [entry["kind"] for entry in found["entries"]][-1] == "corpora"  # the oldest
    assert len(left(root)) == 4 + len(OTHERS)


def test_a_cache_that_is_not_there_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "none"))
    show = Told()
    assert cached(True, True, False, show)["entries"] == []
    assert show.lines == {"Cache": f"{tmp_path / 'none'} · empty"} and not (tmp_path / "none").exists()


def test_emptying_takes_what_firth_made_and_nothing_else(root):
    written(root / f"{cache.PROBING}x1" / "step-0.safetensors", 20)  # a run was killed while it measured
    written(root / "corpora" / f"{cache.BUILDING}{KEY}-x2" / "half.bin", 20)  # and one while it read
    assert {entry["kind"] for entry in entries(root)} == {"corpora", "ready", "probes", "left"}
    assert runs(cache=True, delete=True, yes=True)["deleted"]
    assert left(root) == OTHERS and entries(root) == []


def test_what_was_emptied_is_built_again(root):
    def build(folder: Path) -> None:
        (folder / "done").write_text("yes")

    cached(True, True, False, Silent())
    folder = cache.get(root / "corpora", KEY, build, lambda folder: (folder / "done").is_file())
    assert left(folder) == ["done"]


@pytest.mark.parametrize(("yes", "dry_run"), [(False, False), (True, True)])
def test_without_yes_and_in_a_dry_run_nothing_is_removed(root, yes, dry_run):
    before, show = left(root), Told()
    if dry_run:
        cached(True, yes, dry_run, show)
        assert show.notes == [f"Would empty {root}."]
    else:
        with pytest.raises(InputError) as caught:
            cached(True, yes, dry_run, show)
        assert str(caught.value) == (
            f"firth runs --cache --delete: would empty {root} without asking. "
            "End the runs that read from it, whose data would be gone, then add --yes."
        )
    assert left(root) == before


@pytest.mark.parametrize("answer", [True, False])
def test_where_somebody_can_be_asked_the_answer_decides(root, answer):
    asked = []
    found = runs(cache=True, delete=True, ask=lambda question: asked.append(question) or answer)
    assert asked == [f"Empty {root}? Runs that read from it should have ended."]
    assert found["deleted"] is answer and (left(root) == OTHERS) is answer


@pytest.mark.skipif(cache.fcntl is None, reason="this system has no file locks")
def test_while_a_run_reads_files_into_it_nothing_is_removed(root):
    before = left(root)
    with cache._locked(root / "corpora", KEY), pytest.raises(InputError) as caught:
        cached(True, True, False, Silent())
    assert str(caught.value) == (
        f"{root / 'corpora' / KEY}: is being built by a run. "
        "Wait until it has read its files, or end it, and run this again."
    )
    assert left(root) == before


def test_runs_and_the_cache_are_not_asked_for_together(root):
    with pytest.raises(InputError) as caught:
        runs(["runs/a"], cache=True)
    assert str(caught.value) == (
        "--cache: was asked for beside runs/a, and belongs to all runs together. Leave out the one or the other."
    )


def test_the_verb_tells_and_empties(root):
    told = CliRunner().invoke(app, ["runs", "--cache", "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout)["folder"] == str(root)
    assert CliRunner().invoke(app, ["runs", "--cache", "--delete"]).exit_code == 2
    assert CliRunner().invoke(app, ["runs", "--cache", "--delete", "--yes"]).exit_code == 0
    assert left(root) == OTHERS


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.25, "3.2 s"), (1140, "19 min"), (19_200, "5 h 20 min"), (259_200, "3 days")]
)
def test_an_age_in_words(seconds, said):
    assert age(seconds) == said
