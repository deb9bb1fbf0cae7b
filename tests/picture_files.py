"""Pictures for tests: scikit-learn's digits as files, and made ones of any size and mode."""

import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) uint8, and the digit that each shows."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target


def write_digits(folder: Path, count: int = 200, first: int = 0, classes: bool = True) -> Path:
    """PNG files of some digits, each in a folder of its class."""
    images, labels = digits()
    for number in range(first, first + count):
        place = folder / str(labels[number]) if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number], "L").save(place / f"{number:04}.png")
    return folder


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, C), smooth enough for JPEG; (H, W) for one channel."""
    source = np.random.default_rng(seed)
    coarse = source.integers(0, 256, (-(-height // 4), -(-width // 4), channels), np.uint8)
    found = coarse.repeat(4, 0).repeat(4, 1)[:height, :width]
    return found[..., 0] if channels == 1 else found


def made(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture in a mode of Pillow."""
    if mode.startswith("I;16"):
        return Image.fromarray(np.random.default_rng(seed).integers(0, 2**16, (height, width), np.uint16))
    if mode in ("I", "F"):
        values = np.random.default_rng(seed).random((height, width))
        return Image.fromarray(values.astype(np.float32) if mode == "F" else (values * 65535).astype(np.int32), mode)
    return Image.fromarray(noise(height, width, seed=seed), "RGB").convert(mode)


def written(image: Image.Image, form: str = "PNG", **options) -> bytes:
    """The bytes of a file."""
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def zipped(folder: Path, out: Path, above: str = "") -> Path:
    """An archive of the PNG files below a folder."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, above + str(path.relative_to(folder)))
    return out
