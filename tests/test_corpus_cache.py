"""The cache: content decides, builders wait for each other, and a death while building leaves nothing broken."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firth.data import cache
from firth.errors import InputError, RunError


def whole(folder: Path) -> bool:
    return (folder / "done").is_file()


def build(folder: Path) -> None:
    (folder / "done").write_text("yes")


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_the_folder_is_the_argument_the_variable_or_the_home(monkeypatch, tmp_path):
    assert cache.cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "own"))
    assert cache.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("FIRTH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "firth"


def test_the_fingerprint_is_of_the_content(tmp_path):
    one, two = tmp_path / "a.txt", tmp_path / "b.TXT"
    one.write_text("same")
    two.write_text("same")
    os.utime(two, (1, 1))
    assert cache.fingerprint([one]) == cache.fingerprint([two])
    two.write_text("sama")
    assert cache.fingerprint([one]) != cache.fingerprint([two])


def test_built_once(tmp_path):
    calls = []
    for _ in range(2):
        folder = cache.get(tmp_path / "x", "key", lambda f: (calls.append(1), build(f)), whole)
    assert calls == [1] and whole(folder) and names(tmp_path / "x") == ["key"]


def test_a_broken_folder_is_built_anew(tmp_path):
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "half").write_text("")
    folder = cache.get(tmp_path, "key", build, whole)
    assert names(folder) == ["done"]


def test_a_failing_builder_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cache.get(tmp_path, "key", lambda folder: 1 / 0, whole)
    assert names(tmp_path) == []


def test_leftovers_of_the_dead_are_removed(tmp_path):
    for key in ("key", "other"):
        (tmp_path / f".building-{key}-abc").mkdir()
    cache.get(tmp_path, "key", build, whole)
    assert names(tmp_path) == ["key"]


BUILDER = """
import sys, time
from pathlib import Path
from firth.data import cache
def build(folder):
    (folder / "half").write_text("x")
    Path(sys.argv[2]).open("a").write("built\\n")
    time.sleep(float(sys.argv[3]))
    (folder / "done").write_text("x")
print(cache.get(Path(sys.argv[1]), "key", build, lambda folder: (folder / "done").is_file()))
"""


def builder(root: Path, log: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", BUILDER, str(root), str(log), str(seconds)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[1])


def test_concurrent_builders_build_once(tmp_path):
    log = tmp_path / "log"
    both = [builder(tmp_path / "cache", log, 0.5) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert log.read_text() == "built\n" and names(tmp_path / "cache") == ["key"]


def test_kill_while_building_leaves_no_broken_cache(tmp_path):
    log, root = tmp_path / "log", tmp_path / "cache"
    process = builder(root, log, 60)
    end = time.monotonic() + 60
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not (root / "key").exists() and len(names(root)) == 1
    assert whole(cache.get(root, "key", build, whole)) and names(root) == ["key"]


def test_the_work_of_the_living_is_left_alone(tmp_path):
    (tmp_path / ".building-other-abc").mkdir()
    with cache._locked(tmp_path, "other"):
        cache.get(tmp_path, "key", build, whole)
    assert names(tmp_path) == [".building-other-abc", "key"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as error:
        cache.get(tmp_path / "file" / "cache", "key", build, whole)
    assert str(error.value) == (
        f"{tmp_path}/file/cache: the cache folder cannot be written (Not a directory). "
        "Set FIRTH_CACHE to a folder that can be written."
    )


def test_a_full_disk(tmp_path):
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError) as error:
        cache.get(tmp_path, "key", full, whole)
    assert str(error.value) == (
        f"{tmp_path}: the disk is full. Make space, or set FIRTH_CACHE to a folder on another disk."
    )
    assert names(tmp_path) == []


def test_other_errors_pass(tmp_path):
    def unreadable(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/secret.txt")

    with pytest.raises(PermissionError):
        cache.get(tmp_path, "key", unreadable, whole)
