"""Odd folders, names, archives and tables of pictures: what can be read is read, the rest is named, nothing hangs."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from firth.data import arrays, decoding, media
from firth.data.arrays import inputs, open_corpus
from firth.data.config import Data
from firth.errors import InputError
from firth.evaluate.doctor import check
from firth.signals import image
from firth.signals.image import Config, Image
from tests.odd_pictures import png, tiff
from tests.picture_files import made, noise, write_digits, written, zipped
from tests.test_odd_pictures import NAMED

GOOD = 60  # pictures beside the odd ones


def corpus(*paths, settings=None, **data):
    return open_corpus(Data(paths=tuple(map(str, paths)), held_out=0.2, **data), image, Config(**settings or {}))


def said(found) -> dict[str, str]:
    return {Path(one.where).name: one.what for one in found.findings}


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_digits(tmp_path / "pictures", GOOD, classes=False)


# ------------------------------------------------------------------ folders


def test_a_folder_of_all_that_is_odd_is_read(folder, monkeypatch):
    monkeypatch.setattr("firth.data.records.Problems.shown", 100)
    for number, (data, _, _) in enumerate(NAMED.values()):
        (folder / f"odd {number}.jpg").write_bytes(data)
    pytest.importorskip("tifffile")
    (folder / "many.tiff").write_bytes(tiff(noise(8, 8, 5)))
    found = corpus(folder)
    assert found.facts["broken"] == len(NAMED) and found.facts["items"] == GOOD + 1
    told = said(found)
    for number, (_, what, _) in enumerate(NAMED.values()):
        assert told[f"odd {number}.jpg"].startswith(what)
    assert told["many.tiff"].startswith("has 5 channels")
    report = check([str(folder)])
    assert report.facts["broken"] == len(NAMED) and report.facts["files"] == GOOD + 1


def test_of_many_broken_files_some_are_named_and_all_counted(folder):
    for number in range(35):
        (folder / f"x{number:02}.png").write_bytes(b"")
    found = corpus(folder)
    assert found.facts["broken"] == 35 and len(found.findings) == 21
    assert found.findings[-1].what == "and 15 more of this kind"


def test_names_of_every_kind(folder):
    names = [
        "a\nb.png",
        "tab\t.png",
        "dash – ünï 漢字.png",
        "-rf.png",
        'it\'s "quoted".png',
        " lead.png",
        "x" * 200 + ".png",
    ]
    for number, name in enumerate(names):
        (folder / name).write_bytes(written(made(8, 8, seed=number)))
    found = corpus(folder)
    assert found.facts["items"] == GOOD + len(names) and found.findings == []
    kept = {found.shard.name(number) for number in range(len(found.shard))}
    assert {f"{folder}/{name}" for name in names} <= kept


def test_a_broken_file_is_named_on_one_line(folder):
    (folder / "a\nb\x1b[31m.png").write_bytes(b"")
    (finding,) = corpus(folder).findings
    assert finding.where == f"{folder}/a\\nb\\x1b[31m.png"


def test_a_name_that_is_no_utf8(folder):
    os.makedirs(os.fsencode(folder) + b"/c\xff")
    for name, data in ((b"c\xff/d\xfe.png", written(made(8, 8))), (b"c\xff/e\xfe.png", b"")):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    found = corpus(folder)
    assert found.facts["classes"] == {"c\\udcff": 1}
    assert [one.where for one in found.findings] == [f"{folder}/c\\udcff/e\\udcfe.png"]
    assert json.dumps(found.facts) and found.findings[0].where.encode()


def test_a_folder_that_is_called_like_a_picture(folder):
    write_digits(folder / "x.jpg", 3, first=GOOD, classes=False)
    found = corpus(folder)
    assert found.facts["items"] == GOOD + 3 and found.facts["classes"] == {"x.jpg": 3}


def test_links_in_a_circle(folder):
    (folder / "self.png").symlink_to("self.png")
    (folder / "to.png").symlink_to("fro.png")
    (folder / "fro.png").symlink_to("to.png")
    (folder / "again").symlink_to(".", target_is_directory=True)
    found = corpus(folder)
    assert found.facts["items"] == GOOD
    assert set(said(found)) == {"self.png", "to.png", "fro.png"}
    assert set(said(found).values()) == {"is a link to a file that does not exist, and is left out"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(folder):
    (folder / "0000.png").chmod(0)
    assert said(corpus(folder)) == {"0000.png": "cannot be read (Permission denied)"}


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "list.csv").write_text("file\n" + "".join(f"{n:04}.png\n" for n in range(GOOD)) + "pipe.png\n")
    assert said(corpus(folder / "list.csv")) == {f"list.csv:{GOOD + 2}:1": "is no regular file"}
    (folder / "list.csv").unlink()
    assert said(corpus(folder)) == {"pipe.png": "is no regular file"}


def test_what_is_larger_than_is_held_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(media, "LARGEST", 5000)
    with open(folder / "hole.png", "wb") as stream:
        stream.truncate(6000)
    assert said(corpus(folder)) == {"hole.png": "is larger than 0 MiB"}


def test_heic_is_counted_and_left_out(folder):
    for name in ("a.heic", "b.HEIC", "c.heif"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic")
    (finding,) = corpus(folder).findings
    assert finding.what == "files of other kinds were left out: 2 .heic, 1 .heif"
    assert finding.do.startswith("firth reads JPEG, PNG, WebP, TIFF")


# ------------------------------------------------------------------ archives


def test_members_are_named_as_files_are(folder, tmp_path):
    for number, (data, _, _) in enumerate(NAMED.values()):
        (folder / f"odd {number}.png").write_bytes(data)
    found = corpus(zipped(folder, tmp_path / "a.zip"))
    assert found.facts["items"] == GOOD and found.facts["broken"] == len(NAMED)


def test_a_member_with_a_wrong_check_sum(folder, tmp_path):
    archive = zipped(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("bad.png", b"x" * 1000)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"x" * 1000, b"y" * 1000))
    assert said(corpus(archive))["bad.png"].startswith("is damaged (Bad CRC-32 for file")


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_archive_that_is_cut_off_is_an_error_with_its_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\3\4" + bytes(300))
    with pytest.raises(InputError, match=f"{name}: is no readable {name[2:]} archive"):
        corpus(tmp_path / name)


def test_a_packed_tar_is_named(folder):
    (folder / "more.tar.gz").write_bytes(b"\x1f\x8b")
    assert said(corpus(folder)) == {"pictures": "files of other kinds were left out: 1 .tar"}


# ------------------------------------------------------------------ tables


def test_empty_cells_are_named(folder):
    names = [f"{n:04}.png" for n in range(GOOD)]
    rows = ["file,label", ",a", *(f"{name},{'ab'[n % 2]}" for n, name in enumerate(names)), ",b"]
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    found = corpus(folder / "list.csv")
    assert found.facts["items"] == GOOD and found.facts["broken"] == 2
    assert said(found) == {"list.csv:2:1": "the cell is empty", f"list.csv:{GOOD + 3}:1": "the cell is empty"}


@pytest.mark.parametrize("nested", [False, True], ids=["bytes", "bytes and path"])
def test_parquet_with_nothing_in_some_rows(folder, nested):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    held: list = [None, *(path.read_bytes() for path in sorted(folder.glob("*.png"))), None, b""]
    kept = [{"bytes": one, "path": None} for one in held] if nested else held
    parquet.write_table(arrow.table({"image": kept}), folder / "a.parquet")
    found = corpus(folder / "a.parquet")
    assert found.facts["items"] == GOOD and found.facts["broken"] == 3
    assert [one.what for one in found.findings] == ["the cell is empty", "the cell is empty", "is empty"]


def test_what_a_table_may_name(folder):
    names = [f"{n:04}.png" for n in range(GOOD)]
    (folder / "sub.png").mkdir()
    strange = ["sub.png", "../gone.png", "y" * 300 + ".png", "https://example.org/a.png"]
    (folder / "list.csv").write_text("file\n" + "\n".join(names + strange) + "\n")
    found = corpus(folder / "list.csv")
    assert [one.what for one in found.findings] == [
        "is a folder", "no such file", "cannot be read (File name too long)", "no such file",
    ]  # fmt: skip


# ------------------------------------------------------------------ much of it


def test_a_single_odd_file_is_refused_by_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"a.jpg: is a web page, and no picture. Open it to see what it says"):
        list(inputs(str(tmp_path / "a.jpg"), Image(Config(size=8))))


def test_large_arrays_that_wait_are_bounded(tmp_path, monkeypatch):
    """However many files may wait, their arrays together are of about HELD bytes."""
    folder = write_digits(tmp_path, 60, classes=False)
    read, done, most = [], [], []

    def counted(raw, signal, real=decoding.decode):
        read.append(raw.name)
        most.append(len(read) - len(done))
        return real(raw, signal)

    monkeypatch.setattr(decoding, "decode", counted)
    monkeypatch.setattr(decoding, "HELD", 3 * 3 * 64 * 64)
    monkeypatch.setattr(decoding, "cores", lambda: 2)
    append = arrays.ArrayWriter.append
    monkeypatch.setattr(arrays.ArrayWriter, "append", lambda *given: (done.append(1), append(*given))[1])
    corpus(folder, settings={"size": 64})
    assert len(read) == 60 and max(most) <= 5


def write_tiny(folder: Path, count: int) -> Path:
    """Pictures of 8 × 8 pixels, 1,000 in a folder, no two alike."""
    source = np.random.default_rng(0)
    for first in range(0, count, 1000):
        (folder / f"{first:06}").mkdir(parents=True)
        for number in range(first, min(first + 1000, count)):
            (folder / f"{first:06}" / f"{number:06}.png").write_bytes(png(source.integers(0, 256, (8, 8), np.uint8)))
    return folder


def test_two_thousand_tiny_files(tmp_path):
    found = corpus(write_tiny(tmp_path / "tiny", 2000))
    assert found.facts["items"] == 2000 and found.facts["classes"] == {"000000": 1000, "001000": 1000}
    assert len(found.train()) + len(found.held_out()) == 2000


TINY = """
import resource, sys, time
from firth.data.arrays import open_corpus
from firth.data.config import Data
from firth.signals import image
began = time.perf_counter()
found = open_corpus(Data(paths=(sys.argv[1],)), image, image.Config())
first = time.perf_counter() - began
began = time.perf_counter()
open_corpus(Data(paths=(sys.argv[1],)), image, image.Config())
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(found.facts["items"], first, time.perf_counter() - began, memory)
"""


@pytest.mark.slow
def test_a_hundred_thousand_tiny_files(tmp_path):
    folder = write_tiny(tmp_path / "tiny", 100_000)
    command = [sys.executable, "-c", TINY, folder]
    place = os.environ | {"FIRTH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=place, timeout=1200)
    items, first, again, memory = map(float, done.stdout.split())
    print(f"{first:.0f} s, again {again:.0f} s, {memory:.0f} MiB with torch")
    assert items == 100_000 and memory < 1500
