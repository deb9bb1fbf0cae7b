"""Pictures that are decoded in each pass: samples, batches and runs are those of arrays that are kept, bit for bit."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from firth.data import keeping
from firth.data.arrays import ArrayCorpus, open_corpus
from firth.data.config import Data
from firth.data.sampler import Batches
from firth.data.streamed import Streamed
from firth.errors import InputError
from firth.signals import image
from firth.signals.image import Config, Image
from firth.train.pretrain import pretrain
from tests.picture_files import made, write_digits, written, zipped
from tests.runs import Told


def corpus(*paths, cache: str = "auto", show=None, **data) -> ArrayCorpus:
    given = Data(paths=tuple(map(str, paths)), held_out=0.2, **data)
    return open_corpus(given, image, Config(cache=cache), show=show)


def small_disk(monkeypatch, free: int = 1000) -> None:
    monkeypatch.setattr(keeping, "disk_usage", lambda _: type("Usage", (), {"free": free})())


def list_of(folder: Path) -> Path:
    paths = [path.relative_to(folder.parent) for path in sorted(folder.rglob("*.png"))]
    rows = "".join(f"{path},{path.parent.name}\n" for path in paths)
    (folder.parent / "list.csv").write_text("file,digit\n" + rows)
    return folder.parent / "list.csv"


@pytest.fixture
def folder(tmp_path) -> Path:
    found = write_digits(tmp_path / "pictures", 60)
    (found / "0" / "broken.png").write_bytes(b"no")
    (found / "1" / "copy.png").write_bytes((found / "1" / "0001.png").read_bytes())
    (found / "2" / "large.png").write_bytes(written(made(40, 30)))
    return found


@pytest.mark.parametrize("kind", ["folder", "zip", "table"])
def test_samples_and_batches_are_those_of_kept_arrays(folder, tmp_path, kind):
    given = {
        "folder": lambda: folder,
        "zip": lambda: zipped(folder, tmp_path / "a.zip"),
        "table": lambda: list_of(folder),
    }
    place = given[kind]()
    kept, streamed = corpus(place, cache="on"), corpus(place, cache="off")
    assert isinstance(streamed.shard, Streamed) and not isinstance(kept.shard, Streamed)
    assert streamed.signal.config.mean == kept.signal.config.mean and streamed.facts == kept.facts
    assert streamed.fingerprint == kept.fingerprint and streamed.findings == kept.findings
    for side in ("train", "held_out"):
        ours, theirs = (Batches(one.source(side), one.signal, [], 0, batch=8) for one in (streamed, kept))
        for step in range(12):
            for one, other in zip(ours.step(step), theirs.step(step), strict=True):
                assert one.keys() == other.keys()
                assert all(torch.equal(one[name], other[name]) for name in one)
        names = [[one.source(side).name(i) for i in range(len(one.source(side)))] for one in (streamed, kept)]
        assert names[0] == names[1]


def test_nothing_that_was_decoded_is_on_disk(folder):
    streamed = corpus(folder, cache="off")
    assert (streamed.folder / "values.bin").stat().st_size == 0
    assert streamed.folder.name == f"{streamed.fingerprint}.index"


def test_the_second_opening_decodes_nothing_until_it_is_asked(folder, monkeypatch):
    corpus(folder, cache="off")
    decoded, real = [], Image.decode
    monkeypatch.setattr(Image, "decode", lambda self, *given: (decoded.append(1), real(self, *given))[1])
    again = corpus(folder, cache="off")
    assert decoded == []
    again.train().get(np.arange(5))
    assert len(decoded) == 5


def test_what_does_not_fit_is_decoded_in_each_pass_and_a_person_is_told(folder, monkeypatch):
    small_disk(monkeypatch, 5_000)
    told = Told()
    assert isinstance(corpus(folder, show=told).shard, Streamed)
    assert told.notes[:2] == [
        "Looking through 63 files; the next run on them starts at once.",
        "Each pass decodes the 62 images again: decoded they take 0.0 GB, and 0.0 GB of disk are free.",
    ]


def test_what_is_kept_already_is_used_however_full_the_disk(folder, monkeypatch):
    corpus(folder)
    small_disk(monkeypatch)
    assert not isinstance(corpus(folder).shard, Streamed)


def test_a_person_may_ask_for_it(folder):
    told = Told()
    corpus(folder, cache="off", show=told)
    assert "Each pass decodes the 62 images again, as image.cache = off says." in told.notes


def test_a_file_that_has_changed_is_named(folder):
    streamed = corpus(folder, cache="off")
    (folder / "0" / "0000.png").write_bytes(written(made(8, 8, seed=5)))
    rows = streamed.train()
    names = [rows.name(i) for i in range(len(rows))]
    changed = f"{folder}/0/0000.png"
    side = rows if changed in names else streamed.held_out()
    with pytest.raises(InputError) as raised:
        side.get(np.arange(len(side)))
    assert str(raised.value) == (
        f"{changed}: is another file than when the data was looked through. "
        "Run the command again: all files are read anew."
    )


def test_files_of_one_name_are_refused_and_not_taken_for_each_other(tmp_path):
    """Arrays that are kept know no names; these would be decoded by them, and found to be other files, for ever."""
    for side, place in enumerate(("a", "b")):
        (tmp_path / place).mkdir()
        for number in range(5):
            (tmp_path / place / f"{number}.png").write_bytes(written(made(8 + number, 8 + side)))
        (tmp_path / place / "list.csv").write_text("file\n" + "".join(f"{number}.png\n" for number in range(5)))
    tables = tmp_path / "a" / "list.csv", tmp_path / "b" / "list.csv"
    with pytest.raises(InputError) as caught:
        corpus(*tables, cache="off")
    assert str(caught.value) == (
        f"{tables[1]}: names `0.png`, as a table in {tmp_path / 'a'} does for another file. "
        "Give one table, in a folder above both, with paths from there."
    )


def test_pictures_in_the_cells_of_a_table_are_kept_or_refused(folder, monkeypatch):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    held = [path.read_bytes() for path in sorted(folder.rglob("*.png"))]
    parquet.write_table(arrow.table({"image": held}), folder / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: holds samples in its cells, which are not read one by one."):
        corpus(folder / "a.parquet", cache="off")
    small_disk(monkeypatch, 0)
    assert not isinstance(corpus(folder / "a.parquet").shard, Streamed)  # whose number nobody knows before


def test_a_run_learns_the_same(folder, tmp_path):
    weights = {}
    for cache in ("on", "off"):
        settings = ["image.size=8", f"image.cache={cache}", "train.precision=fp32", "train.batch=16"]
        pretrain([folder], "simclr", "tiny", "3steps", tmp_path / cache, settings=settings)
        weights[cache] = load_file(tmp_path / cache / "model" / "model.safetensors")
        told = json.loads((tmp_path / cache / "model" / "preprocessor_config.json").read_text())
        assert "cache" not in told["firth"]
    assert all(torch.equal(tensor, weights["off"][name]) for name, tensor in weights["on"].items())


def test_a_zip_that_is_gone_is_named(folder, tmp_path):
    archive = zipped(folder, tmp_path / "a.zip")
    streamed = corpus(archive, cache="off")
    with zipfile.ZipFile(archive, "w") as other:
        other.writestr("x.png", b"")
    with pytest.raises(InputError):
        streamed.train().get(np.arange(3))
