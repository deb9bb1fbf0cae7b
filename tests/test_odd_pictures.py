"""Strange and damaged files of pictures: each is read as what it shows, or named with what it is and what to do."""

import subprocess
import sys
import time
from importlib.util import find_spec
from io import BytesIO
from threading import Thread

import numpy as np
import pytest
from PIL import Image as Pillow

from firth.signal import Unreadable
from firth.signals import _pictures, _tiffs
from firth.signals.image import Config, Image
from tests.odd_pictures import (
    SIDE,
    boxes,
    chunk,
    frames,
    gif_of_size,
    half,
    jpeg_of_bits,
    jpeg_of_size,
    png,
    png_of_size,
    tiff,
    turned,
    unpacking,
    with_exif,
    without_adobe,
)  # fmt: skip
from tests.picture_files import made, noise, written

AGAIN = "Copy it again from where it came from, or remove it."
OTHER = "Save it as JPEG, PNG, WebP or TIFF."
SEE = "Open it to see what it says; a download that failed leaves such files."
BEGINS = "is damaged (it begins as {} and cannot be read further)"
BOMB = "has more pixels than any picture should: a decompression bomb"

NAMED = {  # the file, what is said of it, what to do
    "empty": (b"", "is empty", AGAIN),
    "zeros": (bytes(5000), "holds nothing but zeros", AGAIN),
    "text": (b"not found", "holds text, and is no picture", SEE),
    "long text": ("Grüße. ".encode() * 200, "holds text, and is no picture", SEE),
    "web page": (b"\n<!DOCTYPE html><html>404", "is a web page, and no picture", SEE),
    "drawing": (b"<?xml version='1.0'?><svg/>", "is a drawing of lines (SVG), and holds no pixels", "Save it as PNG."),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
        "is a pointer of Git LFS, and not the picture itself",
        "Fetch the pictures: git lfs pull",
    ),
    "heic": (boxes(b"heic"), "is HEIC, which is not read as a picture", OTHER),
    "avif": (boxes(b"avif"), "is AVIF, which is not read as a picture", OTHER),
    "film": (boxes(b"isom"), "is a film (MP4), which is not read as a picture", OTHER),
    "pdf": (b"%PDF-1.7\n", "is a PDF, which is not read as a picture", OTHER),
    "icon": (written(made(SIDE, SIDE), "ICO"), "is an icon (ICO), which is not read as a picture", OTHER),
    "dicom": (bytes(128) + b"DICM" + b"x" * 50, "is DICOM, which is not read as a picture", OTHER),
    "sound": (b"RIFF\0\0\0\0WAVEfmt ", "is sound (WAV), which is no picture", OTHER),
    "archive": (b"PK\3\4\x14\0", "is a zip archive, which is not read as a picture", OTHER),
    "noise": (np.random.default_rng(0).bytes(999), "is no picture that can be read", OTHER),
    "half a JPEG": (half("JPEG"), "is damaged (image file is truncated", AGAIN),
    "half a PNG": (half("PNG"), "is damaged (image file is truncated", AGAIN),
    "half a GIF": (half("GIF"), "is damaged (image file is truncated", AGAIN),
    "half a BMP": (half("BMP"), "is damaged (image file is truncated", AGAIN),
    "half a TIFF": (half("TIFF"), "is damaged (", AGAIN),
    "half a WebP": (half("WEBP"), "is damaged (", AGAIN),
    "head of a JPEG": (written(made(SIDE, SIDE), "JPEG")[:30], "is damaged (Truncated File Read)", AGAIN),
    "head of a PNG": (written(made(SIDE, SIDE))[:20], "is damaged (Truncated File Read)", AGAIN),
    "check sum of the head": (png(noise(SIDE, SIDE), {b"IHDR"}), BEGINS.format("PNG"), AGAIN),
    "no pixels": (png_of_size(0, 16), BEGINS.format("PNG"), AGAIN),
    "no frame": (gif_of_size(SIDE, SIDE), "is damaged (", AGAIN),
    "12 bits": (jpeg_of_bits(12), BEGINS.format("JPEG"), AGAIN),
    "bomb": (png_of_size(60_000, 60_000), BOMB, "Make it smaller."),
    "large": (
        png_of_size(10_000, 9_000),
        "has 10,000 × 9,000 pixels, more than can be held",
        "Make it smaller, or cut it into tiles.",
    ),
    "progressive bomb": (
        jpeg_of_size(20_000, 20_000, progressive=True),
        "is a progressive JPEG of 20,000 × 20,000 pixels, more than can be held",
        "Save it as a JPEG that is not progressive, or make it smaller.",
    ),
    "bomb of a few bytes": (
        jpeg_of_size(60_000, 60_000),
        "has 60,000 × 60,000 pixels, more than can be held",
        "Make it smaller, or cut it into tiles.",
    ),
    "text that unpacks": (unpacking(3 << 20), "is damaged (Decompressed data too large", AGAIN),
}


def signal(size: int = SIDE, **settings) -> Image:
    return Image(Config(size=size, **settings))


def colours(data: bytes) -> np.ndarray:
    """uint8 (3, H, W) as Pillow says."""
    return np.asarray(Pillow.open(BytesIO(data)).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", NAMED)
def test_what_cannot_be_read_is_named(kind):
    data, what, do = NAMED[kind]
    began = time.perf_counter()
    with pytest.raises(Unreadable) as raised:
        signal().decode(data)
    assert raised.value.what.startswith(what) and raised.value.do == do
    assert len(raised.value.what) < 150 and "\n" not in raised.value.what
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("kind", NAMED)
def test_looking_at_the_head_ends_in_the_same_words_or_in_a_size(kind):
    data, what, _ = NAMED[kind]
    try:
        assert min(Image.look(data).size) > 0
    except Unreadable as error:
        assert error.what.startswith(what)


# ------------------------------------------------------------------ read all the same

SMALL = written(made(SIDE, SIDE))
READ = {
    "garbage after a JPEG": written(made(SIDE, SIDE), "JPEG") + b"\0garbage" * 99,
    "garbage after a PNG": SMALL + bytes(999),
    "check sum of the pixels": png(noise(SIDE, SIDE), {b"IDAT"}),
    "progressive": written(made(SIDE, SIDE), "JPEG", progressive=True),
    "grey JPEG": written(made(SIDE, SIDE, "L"), "JPEG"),
    "CMYK": written(made(SIDE, SIDE, "CMYK"), "JPEG"),
    "CMYK, not said to be inverted": without_adobe(written(made(SIDE, SIDE, "CMYK"), "JPEG")),
    "bitmap": written(made(SIDE, SIDE, "1"), "BMP"),
    "grey of PGM": written(made(SIDE, SIDE, "L"), "PPM"),
    "two colours": written(made(SIDE, SIDE, "1")),
    "exif of noise": with_exif(np.random.default_rng(0).bytes(200)),
    "exif without an end": with_exif(b"II*\0\x08\0\0\0\xff\xff"),
    "exif of another kind": with_exif(b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0" + bytes(4)),
    "exif in a circle": with_exif(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"),
    "profile of noise": written(made(SIDE, SIDE), "PNG", icc_profile=b"no profile"),
    "unknown parts": png(noise(SIDE, SIDE), more=chunk(b"foRz", b"x" * 100)),
    "pages in a circle": tiff(noise(SIDE, SIDE), photometric=2, after=8),
}


@pytest.mark.parametrize("kind", READ)
def test_pixels_are_those_that_pillow_finds(kind):
    assert (signal().decode(READ[kind]) == colours(READ[kind])).all()
    assert Image.look(READ[kind]).size == (SIDE, SIDE)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_cannot_be_is_none(orientation):
    data = turned(orientation)
    assert Image.look(data).size == (2 * SIDE, SIDE)
    assert (signal(fit="stretch").decode(data) == signal(fit="stretch").decode(turned(1))).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_turned_picture_is_that_of_what_is_shown(form, orientation):
    lying = orientation >= 5
    assert Image.look(turned(orientation, form)).size == ((SIDE, 2 * SIDE) if lying else (2 * SIDE, SIDE))


def test_sixteen_bits_of_colour_become_eight():
    values = np.random.default_rng(0).integers(0, 2**16, (SIDE, SIDE, 3), np.uint16)
    assert np.abs(signal().decode(png(values)) - values.transpose(2, 0, 1) / 257).max() <= 1


def test_what_is_no_number_is_black():
    values = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    expected = np.rint(values * 255)
    values[0, :3] = np.nan, np.inf, -np.inf
    expected[0, :3] = 0
    found = signal(channels=1).decode(written(Pillow.fromarray(values), "TIFF"))[0]
    assert (found == expected).all()


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG"])
def test_of_several_pages_the_first_is_read_and_a_person_is_told(form):
    said: list[tuple[str, str]] = []
    (found,) = signal().pieces(frames(form), lambda *one: said.append(one))
    assert (found == np.array([255, 0, 0])[:, None, None]).all()
    assert said == [_pictures.PAGES]
    said.clear()
    list(signal().pieces(frames(form, 1), lambda *one: said.append(one)))
    assert said == []


# ------------------------------------------------------------------ TIFFs of many channels


def channels(kind: str, count: int) -> np.ndarray:
    source = np.random.default_rng(count)
    values = source.random((SIDE, SIDE, count))
    return values.astype(kind) if kind.startswith("f") else (values * np.iinfo(kind).max).astype(kind)


def eight(values: np.ndarray) -> np.ndarray:
    """What becomes of numbers of any kind, by the rule of docs/image.md."""
    if values.dtype.kind == "f":
        return np.rint(values.astype(float) * 255)
    return values if values.dtype == np.uint8 else np.rint(values / 257)


@pytest.mark.parametrize("planes", [False, True], ids=["pixel by pixel", "plane after plane"])
@pytest.mark.parametrize(("kind", "count"), [("uint8", 5), ("uint16", 4), ("uint16", 13), ("float32", 3)])
def test_the_first_three_channels_are_red_green_and_blue(kind, count, planes):
    pytest.importorskip("tifffile")
    values, said = channels(kind, count), []
    data = tiff(values, planes=planes)
    (found,) = signal().pieces(data, lambda *one: said.append(one))
    assert (found == eight(values[..., :3]).transpose(2, 0, 1)).all()
    assert Image.look(data).size == (SIDE, SIDE) and Image.look(data).told["mode"].startswith(f"{count} × ")
    first = f"has {count} channels, of which the first three are read as red, green and blue"
    assert [what for what, _ in said] == ([first] if count > 3 else [])


def test_two_channels_are_red_and_green():
    pytest.importorskip("tifffile")
    values = channels("uint16", 2)
    found = signal().decode(tiff(values))
    assert (found[:2] == eight(values).transpose(2, 0, 1)).all() and not found[2].any()


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_channels_are_chosen(kind):
    """Four channels of 8 bits are a picture with transparency for Pillow; who names channels is given those."""
    pytest.importorskip("tifffile")
    values, said = channels(kind, 4), []
    (found,) = signal(bands=(4, 3, 2)).pieces(tiff(values, photometric=2), lambda *one: said.append(one))
    assert (found == eight(values[..., [3, 2, 1]]).transpose(2, 0, 1)).all() and said == []
    assert (signal(bands=(4,)).decode(tiff(values))[0] == eight(values[..., 3])).all()


def test_a_channel_that_is_not_there_is_named():
    pytest.importorskip("tifffile")
    with pytest.raises(Unreadable, match=r"has 4 channels, and image.bands asks for number 9"):
        signal(bands=(9, 1, 1)).decode(tiff(channels("uint16", 4)))


def test_each_channel_is_stretched_alone():
    pytest.importorskip("tifffile")
    values = np.stack([np.arange(256).reshape(SIDE, SIDE) * scale + 7 for scale in (1, 20, 200, 3)], -1)
    found = signal(stretched=True).decode(tiff(values.astype(np.uint16)))
    assert (found == np.arange(256).reshape(SIDE, SIDE)).all()


def test_without_what_reads_it_the_kind_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(Unreadable) as raised:
        signal().decode(tiff(channels("uint16", 5)))
    assert raised.value.what == "is a TIFF of 5 × 16 bits, which Pillow does not read"
    assert raised.value.do == "Install what reads it: pip install '.[tiff]' (in the folder of firth)"


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="what reads it is there")
def test_a_compression_that_wants_more_is_named():
    pytest.importorskip("tifffile")
    with pytest.raises(Unreadable) as raised:
        signal().decode(tiff(channels("uint16", 5), packed=5))
    assert raised.value.what.startswith("is a TIFF compressed in a way that wants more (")
    assert raised.value.do == "Install what reads it: pip install '.[tiff]' (in the folder of firth)"


def test_a_damaged_one_is_named():
    data = tiff(channels("uint16", 5))
    for cut in (9, 60, 400):
        with pytest.raises(Unreadable, match=r"is damaged|is a TIFF"):
            signal().decode(data[:cut])


def test_a_large_one_is_refused_before_it_is_read(monkeypatch):
    pytest.importorskip("tifffile")
    monkeypatch.setattr(_tiffs, "MOST", 1000)
    with pytest.raises(Unreadable, match="has 16 × 16 pixels of 5 channels, more than can be held"):
        signal().decode(tiff(channels("uint16", 5)))


# ------------------------------------------------------------------ large pictures


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "F", "CMYK"])
def test_a_large_picture_is_reduced_first_and_looks_the_same(mode, monkeypatch):
    image = made(40, 40, "RGB" if mode in ("I;16", "F") else mode)
    image = image.convert("RGB" if mode in ("P", "1") else mode) if mode not in ("I;16", "F") else made(40, 40, mode)
    image = image.resize((640, 480), Pillow.Resampling.NEAREST)
    image = image.convert(mode) if mode in ("P", "1") else image
    data = written(image, "TIFF" if mode in ("CMYK", "F") else "PNG")
    whole = signal().decode(data).astype(int)
    monkeypatch.setattr(_pictures, "MANY", 1000)
    assert np.abs(signal().decode(data) - whole).mean() < 5  # at edges; of 255


def test_a_transparent_colour_stays_one_in_a_large_picture(monkeypatch):
    image = Pillow.new("P", (640, 480), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 320, 480))
    data = written(image, "PNG", transparency=0)
    monkeypatch.setattr(_pictures, "MANY", 1000)
    found = signal().decode(data)
    assert (found[:, 0, 0] == (0, 0, 255)).all() and (found[:, 0, 15] == 255).all()


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(_pictures, "MANY", 100)
    now, most = [], []

    def watched(image, wanted, real=_pictures.of_file):
        now.append(1)
        most.append(len(now))
        time.sleep(0.005)
        found = real(image, wanted)
        now.pop()
        return found

    monkeypatch.setattr(_pictures, "of_file", watched)
    threads = [Thread(target=signal().decode, args=(SMALL,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_a_jpeg_beyond_the_limit_of_pillow_is_decoded_small(monkeypatch):
    data = written(made(512, 512), "JPEG")
    expected = signal().decode(data)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 1000)
    assert (signal().decode(data) == expected).all() and Image.look(data).size == (512, 512)


def test_a_jpeg_that_says_more_than_it_holds_does_not_hang():
    """What is missing is grey, as in every reader of JPEG; 196 megapixels of it."""
    began = time.perf_counter()
    assert signal().decode(jpeg_of_size(14_000, 14_000)).shape == (3, SIDE, SIDE)
    assert time.perf_counter() - began < 20


LARGE = """
import resource, sys, time
from pathlib import Path
from firth.signals.image import Config, Image
data, signal = Path(sys.argv[1]).read_bytes(), Image(Config(size=64))
signal.decode(Path(sys.argv[2]).read_bytes())
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
mean = signal.decode(data).mean()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, time.perf_counter() - began, mean)
"""


@pytest.mark.slow
def test_two_hundred_megapixels(tmp_path):
    """A JPEG is decoded at an eighth: MiB of memory, and seconds; a PNG is named."""
    image = Pillow.new("L", (20_000, 10_000), 100)
    image.paste(200, (0, 0, 10_000, 10_000))
    image.save(tmp_path / "large.jpg", quality=80)
    image.save(tmp_path / "large.png", compress_level=1)
    (tmp_path / "small.png").write_bytes(SMALL)
    command = [sys.executable, "-c", LARGE, tmp_path / "large.jpg", tmp_path / "small.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    memory, seconds, mean = map(float, done.stdout.split())
    print(f"{memory:.0f} MiB, {seconds:.1f} s")
    assert memory < 100 and seconds < 60 and mean == pytest.approx(150, abs=2)
    with pytest.raises(Unreadable, match="a decompression bomb"):
        signal().decode((tmp_path / "large.png").read_bytes())
