"""Which signal data is of, and folders of strange pictures."""

from pathlib import Path

import pytest

from firth.data.arrays import open_corpus
from firth.data.config import Data
from firth.data.kind import signal_of
from firth.signals import image
from tests.picture_files import made, write_digits, written, zipped


def corpus(path, settings=None, **data):
    return open_corpus(Data(paths=(str(path),), **data), image, image.Config(**settings or {}))


# ------------------------------------------------------------------ which signal


@pytest.mark.parametrize(
    ("names", "signal"),
    [
        (["a.png", "b.jpg", "notes.txt"], "image"),
        (["a.txt", "b.txt", "c.png"], "text"),
        (["a.txt"], "text"),
        (["a/1.PNG", "b/2.tiff", "labels.csv"], "image"),
        ([], "text"),
    ],
)
def test_most_files_say_which_signal_it_is(tmp_path, names, signal):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("path\nx\n")
    assert signal_of([str(tmp_path)]) == signal


def test_a_table_of_paths_says_it_too(tmp_path):
    (tmp_path / "a.csv").write_text("file,label\na.png,x\nb.png,y\n")
    assert signal_of([str(tmp_path / "a.csv")]) == "image"
    (tmp_path / "b.csv").write_text("text,label\nhello,x\nworld,y\n")
    assert signal_of([str(tmp_path / "b.csv")]) == "text"
    assert signal_of([str(tmp_path / "missing")]) == "text"


def test_pictures_in_a_zip_say_it(tmp_path):
    assert signal_of([str(zipped(write_digits(tmp_path / "a", 3), tmp_path / "a.zip"))]) == "image"


# ------------------------------------------------------------------ odd data


def test_a_folder_of_strange_files_hangs_nothing(tmp_path):
    write_digits(tmp_path, 20, classes=False)
    odd = {
        "wide.png": written(made(3, 900)),
        "tiny.gif": written(made(1, 1), "GIF"),
        "deep.tiff": written(made(9, 9, "I;16"), "TIFF"),
        "float.tif": written(made(9, 9, "F"), "TIFF"),
        "cmyk.jpg": written(made(9, 9, "CMYK"), "JPEG"),
        "name with ä [x].png": written(made(9, 9)),
        "upper.PNG": written(made(9, 9, seed=3)),
        "wrong.jpg": written(made(9, 9, seed=4)),
        "zeros.png": bytes(1000),
        "page.webp": b"<html>",
        "half.jpg": written(made(64, 64), "JPEG")[:300],
    }
    for name, data in odd.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / ".hidden.png").write_bytes(b"no")
    found = corpus(tmp_path, held_out=0.2, settings={"size": 8})
    assert (found.facts["items"], found.facts["broken"]) == (28, 3)
    assert {Path(one.where).name for one in found.findings} == {"zeros.png", "page.webp", "half.jpg", "link.png"}


def test_a_picture_may_be_in_two_classes_only_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(written(made(8, 8)))
        for number in range(9):
            (tmp_path / name / f"{number}.png").write_bytes(written(made(8, 8, seed=number + 9 * (name == "a") + 1)))
    assert corpus(tmp_path, held_out=0.3).facts["exact_duplicates"] == 1
