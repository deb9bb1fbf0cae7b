"""Files of pictures become arrays once: what is read, split, dropped, named, and found again."""

import csv
import io
import json
import tarfile
import threading
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from firth.data import arrays, decoding, media
from firth.data.array_shard import ArrayShard, ArrayWriter
from firth.data.arrays import ArrayRows, open_corpus
from firth.data.config import Data
from firth.data.pack import held_out
from firth.errors import InputError
from firth.functional.random import combine, hash_bytes
from firth.signals import image
from firth.signals.image import Config, Image
from tests.picture_files import digits, made, write_digits, written, zipped


def corpus(*paths, signal=None, settings=None, **data):
    config = Config(**settings or {})
    return open_corpus(Data(paths=tuple(map(str, paths)), **data), image, config, signal=signal)


def refusal(*paths, **data) -> str:
    with pytest.raises(InputError) as raised:
        corpus(*paths, **data)
    return str(raised.value)


def arrays_of(source) -> list[np.ndarray]:
    return [sample.parts[0] for sample in source.get(np.arange(len(source)))]


def bytes_of(found: list[np.ndarray]) -> set[bytes]:
    return {one.tobytes() for one in found}


# ------------------------------------------------------------------ what is read


def test_every_picture_is_there_once_and_on_one_side(tmp_path):
    write_digits(tmp_path, 120)
    found = corpus(tmp_path, held_out=0.2)
    train, held = arrays_of(found.train()), arrays_of(found.held_out())
    assert len(train) + len(held) == 120 and len(held) > 5
    assert bytes_of(train + held) == {np.stack([one] * 3).tobytes() for one in digits()[0][:120]}
    assert found.signal.config.size == 8 and found.facts["items"] == 120


def test_the_side_hangs_on_the_bytes_of_the_file_alone(tmp_path):
    write_digits(tmp_path, 60)
    found = corpus(tmp_path, held_out=0.3)
    hashes = np.array([hash_bytes(path.read_bytes()) for path in sorted(tmp_path.rglob("*.png"))], np.uint64)
    assert len(found.held_out()) == held_out(hashes, 0.3).sum()
    keys = {sample.key for sample in found.held_out().get(np.arange(len(found.held_out())))}
    assert keys == set(combine(hashes[held_out(hashes, 0.3)], 0).tolist())


def test_labels_are_the_folders_and_lie_beside(tmp_path):
    write_digits(tmp_path, 50)
    found = corpus(tmp_path, held_out=0.2)
    shown = {one.tobytes(): label for one, label in zip(digits()[0][:50], digits()[1][:50], strict=True)}
    for sample in found.train().get(np.arange(len(found.train()))):
        assert sample.label == shown[sample.parts[0][0].tobytes()]
    assert found.facts["classes"] == {str(n): int((digits()[1][:50] == n).sum()) for n in range(10)}


def test_without_folders_there_is_no_label(tmp_path):
    write_digits(tmp_path, 30, classes=False)
    found = corpus(tmp_path, held_out=0.2)
    assert found.train().get(np.array([0]))[0].label is None and found.facts["classes"] == {}
    assert found.facts["told"] == ["30 images", "8 × 8 PNG"]


def test_equal_files_come_once(tmp_path):
    write_digits(tmp_path / "a", 30)
    write_digits(tmp_path / "b", 10)
    found = corpus(tmp_path, held_out=0.2)
    assert found.facts["exact_duplicates"] == 10
    assert len(found.train()) + len(found.held_out()) == 30
    both = corpus(tmp_path, held_out=0.2, duplicates="keep")
    assert len(both.train()) + len(both.held_out()) == 40


def test_broken_files_are_named_and_left_out(tmp_path):
    write_digits(tmp_path, 30, classes=False)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "half.png").write_bytes(written(made(32, 32))[:200])
    (tmp_path / "notes.doc").write_text("left out")
    found = corpus(tmp_path, held_out=0.2)
    assert (found.facts["items"], found.facts["broken"]) == (30, 3)
    said = {Path(one.where).name: one.what for one in found.findings}
    assert said["empty.png"] == "is empty" and said["text.jpg"] == "holds text, and is no picture"
    assert said["half.png"].startswith("is damaged")
    assert said[tmp_path.name] == "files of other kinds were left out: 1 .doc"
    assert "3 broken left out" in found.facts["told"]


def test_mostly_broken_files_are_an_error(tmp_path):
    write_digits(tmp_path, 5, classes=False)
    for number in range(9):
        (tmp_path / f"x{number}.png").write_bytes(b"no")
    assert refusal(tmp_path) == (
        f"{tmp_path}/x0.png: 9 of 14 files are broken; the first: holds text, and is no picture. "
        "Open it to see what it says; a download that failed leaves such files."
    )


def test_nothing_but_broken_files_is_the_first_of_them(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    assert refusal(tmp_path).startswith(f"{tmp_path}/a.png: holds text, and is no picture.")


def test_one_picture_cannot_be_held_out_and_learnt_from(tmp_path):
    write_digits(tmp_path, 1, classes=False)
    assert refusal(tmp_path) == (
        f"{tmp_path}: there is only 1 image, too few to learn from some and to measure on others. Give more images."
    )


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "a.doc").touch()
    assert refusal(tmp_path) == (
        f"{tmp_path}: holds nothing that can be decoded. firth reads JPEG, PNG, WebP, TIFF, BMP, GIF, .zip, .tar, "
        "parquet of bytes, and .csv or .jsonl of paths."
    )
    assert refusal(tmp_path / "b").startswith(f"{tmp_path}/b: no such file or folder.")


# ------------------------------------------------------------------ archives and tables


def test_a_zip_is_what_its_folder_is(tmp_path):
    folder = write_digits(tmp_path / "a", 40)
    inside, outside = corpus(zipped(folder, tmp_path / "a.zip"), held_out=0.2), corpus(folder, held_out=0.2)
    assert bytes_of(arrays_of(inside.train())) == bytes_of(arrays_of(outside.train()))
    assert inside.facts["classes"] == outside.facts["classes"]


def test_a_folder_in_a_zip(tmp_path):
    folder = write_digits(tmp_path / "a", 40)
    archive = zipped(folder, tmp_path / "a.zip", "set/train/")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("set/test/0/x.png", written(made(8, 8)))
    found = corpus(f"{archive}/set/train", held_out=0.2)
    assert found.facts["items"] == 40 and len(found.facts["classes"]) == 10
    assert refusal(f"{archive}/set/valid").startswith(f"{archive}/set/valid: holds no file that can be read.")


def tarred(folder: Path, out: Path) -> Path:
    with tarfile.open(out, "w") as archive:
        archive.add(folder, "set")
    return out


def test_a_tar_is_what_its_folder_is(tmp_path):
    folder = write_digits(tmp_path / "a", 40)
    archive = tarred(folder, tmp_path / "a.tar")
    inside, outside = corpus(archive, held_out=0.2), corpus(folder, held_out=0.2)
    assert bytes_of(arrays_of(inside.train())) == bytes_of(arrays_of(outside.train()))
    assert inside.facts["classes"] == outside.facts["classes"]
    assert corpus(f"{archive}/set/3", held_out=0.4).facts["items"] == int((digits()[1][:40] == 3).sum())


def test_a_tar_of_the_folder_it_lies_in_is_what_that_is(tmp_path):
    """`tar -cf x.tar .` names its members ./a/1.png."""
    folder = write_digits(tmp_path / "a", 40)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, ".")
    assert corpus(tmp_path / "a.tar", held_out=0.2).facts["classes"] == corpus(folder, held_out=0.2).facts["classes"]
    assert corpus(f"{tmp_path}/a.tar/3", held_out=0.4).facts["items"] == int((digits()[1][:40] == 3).sum())


def test_damaged_and_harmful_tars_are_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no archive at all" * 100)
    assert "is no readable tar archive" in refusal(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for number, name in enumerate(("../x.png", "good/1.png", "good/2.png", ".hidden/3.png")):
            info, data = tarfile.TarInfo(name), written(made(8, 8, seed=number))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("good/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = corpus(tmp_path / "b.tar", held_out=0.4)
    assert found.facts["items"] == 2
    assert [one.what for one in found.findings] == ["the name leads out of the archive"]


def test_a_table_of_paths(tmp_path):
    write_digits(tmp_path / "files", 40)
    rows = [(path.relative_to(tmp_path), path.parent.name) for path in sorted((tmp_path / "files").rglob("*.png"))]
    with open(tmp_path / "list.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("file", "digit"), *((path, f"n{label}") for path, label in rows)])
    found = corpus(tmp_path / "list.csv", held_out=0.2)
    assert found.facts["items"] == 40 and set(found.facts["classes"]) == {f"n{n}" for n in range(10)}


def test_a_path_that_is_not_there_is_named(tmp_path):
    write_digits(tmp_path, 20, classes=False)
    names = [f"{n:04}.png" for n in range(20)] + ["gone.png"]
    (tmp_path / "list.csv").write_text(
        "file,label\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names))
    )
    found = corpus(tmp_path / "list.csv", held_out=0.2)
    assert found.facts["broken"] == 1
    assert [(one.where, one.what) for one in found.findings] == [(f"{tmp_path}/list.csv:22:1", "no such file")]


def test_a_table_that_names_other_files_is_read_anew(tmp_path):
    write_digits(tmp_path, 20, classes=False)
    (tmp_path / "list.csv").write_text("file\n" + "".join(f"{n:04}.png\n" for n in range(20)))
    before = corpus(tmp_path / "list.csv", held_out=0.2)
    (tmp_path / "0000.png").write_bytes(written(made(8, 8)))
    assert corpus(tmp_path / "list.csv", held_out=0.2).fingerprint != before.fingerprint


@pytest.mark.parametrize("nested", [False, True], ids=["bytes", "bytes and path"])
def test_parquet_of_bytes(tmp_path, nested):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder = write_digits(tmp_path / "a", 40)
    paths = sorted(folder.rglob("*.png"))
    held = [{"bytes": path.read_bytes(), "path": path.name} if nested else path.read_bytes() for path in paths]
    table = arrow.table({"image": held, "label": [int(path.parent.name) for path in paths]})
    parquet.write_table(table, tmp_path / "a.parquet")
    found, plain = corpus(tmp_path / "a.parquet", held_out=0.2), corpus(folder, held_out=0.2)
    assert bytes_of(arrays_of(found.train())) == bytes_of(arrays_of(plain.train()))
    assert found.facts["classes"] == plain.facts["classes"]


def test_a_table_without_pictures_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nhello,a\nworld,b\n")
    assert refusal(tmp_path / "a.csv") == (
        f"{tmp_path}/a.csv: has no column with bytes or with paths of files. "
        "Give a table with a column of paths, or of bytes as in parquet files of images."
    )


def test_an_archive_is_opened_once(tmp_path, monkeypatch):
    archive, opened = zipped(write_digits(tmp_path / "a", 40), tmp_path / "a.zip"), []
    real = media.zipfile.ZipFile
    monkeypatch.setattr(media.zipfile, "ZipFile", lambda *given, **more: opened.append(given) or real(*given, **more))
    corpus(archive, held_out=0.2)
    assert len(opened) <= 4  # its list of contents, reading, the fingerprint of nothing


# ------------------------------------------------------------------ the cache


def test_the_second_opening_decodes_nothing(tmp_path, monkeypatch):
    write_digits(tmp_path, 30)
    before = corpus(tmp_path, held_out=0.2)
    monkeypatch.setattr(Image, "decode", lambda *_: pytest.fail("decoded again"))
    again = corpus(tmp_path, held_out=0.3)
    assert again.folder == before.folder and again.signal.config == before.signal.config
    assert len(again.held_out()) >= len(before.held_out())


@pytest.mark.parametrize("settings", [{"size": 16}, {"channels": 1}, {"fit": "stretch"}, {"stretched": True}])
def test_other_settings_decode_anew(tmp_path, settings):
    write_digits(tmp_path, 30)
    plain, other = corpus(tmp_path, held_out=0.2), corpus(tmp_path, held_out=0.2, settings=settings)
    assert plain.fingerprint != other.fingerprint
    assert other.train().get(np.array([0]))[0].parts[0].shape == other.signal.form


def test_other_files_and_labels_are_another_corpus(tmp_path):
    write_digits(tmp_path, 30)
    before = corpus(tmp_path, held_out=0.2).fingerprint
    (tmp_path / "0" / "0000.png").rename(tmp_path / "1" / "0000.png")
    assert corpus(tmp_path, held_out=0.2).fingerprint != before


def test_a_damaged_cache_is_made_again(tmp_path):
    write_digits(tmp_path, 30)
    found = corpus(tmp_path, held_out=0.2)
    before = bytes_of(arrays_of(found.train()))
    (found.folder / "values.bin").write_bytes(b"short")
    assert bytes_of(arrays_of(corpus(tmp_path, held_out=0.2).train())) == before


def test_a_fitted_signal_decodes_as_its_model_wants(tmp_path):
    write_digits(tmp_path, 30)
    fitted = Image(Config(size=12, channels=1, mean=(0.5,), std=(0.5,)))
    found = corpus(tmp_path, signal=fitted, held_out=0.2)
    assert found.signal is fitted and found.train().get(np.array([0]))[0].parts[0].shape == (1, 12, 12)


def test_the_means_are_those_of_the_pictures(tmp_path):
    write_digits(tmp_path, 60)
    values = digits()[0][:60] / 255
    config = corpus(tmp_path, held_out=0.2).signal.config
    assert config.mean == pytest.approx([values.mean()] * 3, abs=1e-3)
    assert config.std == pytest.approx([values.std()] * 3, abs=1e-3)


def test_the_order_is_that_of_the_files_however_threads_run(tmp_path, monkeypatch):
    write_digits(tmp_path, 60, classes=False)
    plain, gate, real = corpus(tmp_path, held_out=0.2), threading.Lock(), decoding.decode

    def slow(raw, signal):
        if raw.name.endswith("0.png"):
            with gate:
                threading.Event().wait(0.002)
        return real(raw, signal)

    monkeypatch.setattr(decoding, "decode", slow)
    monkeypatch.setattr(decoding, "cores", lambda: 4)
    monkeypatch.setattr(arrays, "VERSION", 0)
    other = corpus(tmp_path, held_out=0.2)
    assert other.folder != plain.folder
    assert [other.shard.name(n) for n in range(60)] == [plain.shard.name(n) for n in range(60)]
    assert (other.shard.values == plain.shard.values).all()


def test_few_files_are_held_at_a_time(tmp_path, monkeypatch):
    """What is decoded ahead of what is written is bounded."""
    write_digits(tmp_path, 100, classes=False)
    read, written_, most = [], [], []
    real, append = decoding.decode, ArrayWriter.append

    def counted(raw, signal):
        read.append(raw.name)
        most.append(len(read) - len(written_))
        return real(raw, signal)

    monkeypatch.setattr(decoding, "decode", counted)
    monkeypatch.setattr(decoding, "AHEAD", 4)
    monkeypatch.setattr(decoding, "cores", lambda: 2)
    monkeypatch.setattr(ArrayWriter, "append", lambda self, *given: (written_.append(1), append(self, *given))[1])
    corpus(tmp_path, held_out=0.2)
    assert len(read) == 100 and max(most) <= 4 * 2 + 2


# ------------------------------------------------------------------ arrays of any length


def shard_of(folder: Path, lengths: list[int]) -> ArrayShard:
    writer = ArrayWriter(folder, "int16", (-1,))
    for number, length in enumerate(lengths):
        writer.append(np.arange(length, dtype=np.int16) + 100 * number, number, f"clip {number}", "ba"[number % 2])
    writer.close()
    return ArrayShard(folder)


def test_arrays_of_any_length_are_kept(tmp_path):
    shard = shard_of(tmp_path, [5, 0, 17])
    assert [shard.array(n).tolist() for n in range(3)] == [list(range(5)), [], list(range(200, 217))]
    assert [shard.name(n) for n in range(3)] == ["clip 0", "clip 1", "clip 2"]
    assert shard.classes == ("a", "b") and shard.labels.tolist() == [1, 0, 1]
    assert json.loads((tmp_path / "form.json").read_text())["dtype"] == "int16"


def test_long_arrays_are_cut_evenly(tmp_path):
    shard = shard_of(tmp_path, [10, 3, 25])
    rows = ArrayRows(shard, np.array([0, 2]), window=8)
    found = [sample.parts[0].tolist() for sample in rows.get(np.arange(len(rows)))]
    assert [len(one) for one in found] == rows.lengths.tolist() == [5, 5, 6, 6, 6, 7]
    assert [*chain(*found)] == [*range(10), *range(200, 225)]
    assert len({sample.key for sample in rows.get(np.arange(len(rows)))}) == len(rows)
    assert [rows.name(n) for n in (0, 1, 2, 5)] == ["clip 0", "clip 0", "clip 2", "clip 2"]


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    writer = ArrayWriter(tmp_path, "uint8", (1,))
    for label in ("10", "9", None, "2"):
        writer.append(np.zeros(1, np.uint8), 0, "x", label)
    writer.close()
    shard = ArrayShard(tmp_path)
    assert shard.classes == ("2", "9", "10") and shard.labels.tolist() == [2, 1, -1, 0]
