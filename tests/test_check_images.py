"""The doctor on pictures: sizes, modes, what is broken, blank, there twice."""

import pytest
from PIL import Image as Pillow

from firth.data import arrays, keeping
from firth.errors import InputError
from firth.evaluate.doctor import check
from firth.signal import Look
from firth.signals._albums import Albums
from firth.signals.image import Config, Image
from tests.picture_files import made, write_digits, written


def test_a_folder_of_pictures_is_looked_through(tmp_path):
    write_digits(tmp_path, 60)
    (tmp_path / "0" / "copy.png").write_bytes(next((tmp_path / "0").glob("*.png")).read_bytes())
    (tmp_path / "1" / "broken.png").write_bytes(b"no")
    (tmp_path / "2" / "blank.png").write_bytes(written(Pillow.new("RGB", (8, 8), "red")))
    report = check([str(tmp_path)])
    facts = report.facts
    assert (facts["files"], facts["broken"], facts["exact_duplicates"], facts["blank"]) == (62, 1, 1, 1)
    assert facts["largest"] == (8, 8) and facts["modes"] == {"L": 61, "RGB": 1}
    assert sum(facts["classes"].values()) == 62 and len(facts["classes"]) == 10
    said = {finding.what for finding in report.findings}
    assert "holds text, and is no picture" in said and "1 of 62 pictures show one even colour" in said
    lines = list(report.lines())
    assert lines[0].startswith("Data     62 images · ") and "Sizes    all 8 × 8" in lines
    assert report.suggestion.startswith("firth pretrain ")


def test_leaks_between_parts_are_named(tmp_path):
    write_digits(tmp_path / "train", 30)
    write_digits(tmp_path / "test", 20, first=20)
    report = check([str(tmp_path / "train")], test=[str(tmp_path / "test")])
    assert report.facts["leaks"] == 10


def album(*looks: Look, levels: int = 100) -> Albums:
    found = Albums()
    for look in looks:
        found.head(look)
        found.array(Image(Config(size=8)).decode(written(made(8, 8))) // (1 if levels else 255))
    return found


def look(width: int, height: int, mode: str = "RGB") -> Look:
    return Look("PNG", (width, height), {"mode": mode})


def test_sizes_are_told():
    found = album(look(10, 10), look(1200, 900), look(20, 10))
    assert found.lines() == ["Sizes    10 × 10 to 1,200 × 900, median 20 × 10", "Modes    RGB 3"]
    assert album(look(8, 8)).lines()[0] == "Sizes    all 8 × 8"
    assert found.seconds() == pytest.approx(3 / 500)


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (album(look(100, 10)), "1 of 1 pictures are more than 4 times as long as wide"),
        (album(look(10, 10, "I;16")), "1 of 1 pictures have more than 8 bits, and keep the whole range"),
        (album(look(10, 10), levels=0), "1 of 1 pictures show one even colour"),
    ],
)
def test_what_a_person_should_look_at(found, what):
    assert what in [finding.what for finding in found.findings()]
    assert all(finding.do for finding in found.findings())


def test_good_pictures_have_no_findings():
    assert album(look(30, 20), look(20, 30)).findings() == []


def test_a_disk_that_is_too_small_is_named_before_anything_is_decoded(tmp_path, monkeypatch):
    write_digits(tmp_path, 10)
    monkeypatch.setattr(keeping, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    from firth.data.config import Data
    from firth.signals import image

    with pytest.raises(InputError) as raised:
        arrays.open_corpus(Data(paths=(str(tmp_path),)), image, Config(cache="on"), cache=tmp_path / "cache")
    assert str(raised.value) == (
        f"{tmp_path}/cache/corpora: has 0.0 GB of free disk, and 10 images decoded take 0.0 GB. "
        "Set FIRTH_CACHE to a folder on another disk, or a smaller image.size."
    )
