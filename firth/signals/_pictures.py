"""Files of pictures → uint8 arrays, by Pillow: whatever mode, depth, rotation or transparency they have.

Imported where a picture is opened, so that nobody else waits for Pillow.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BytesIO
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from firth.signal import Look, Unreadable
from firth.signals import _tiffs
from firth.signals._strangers import AGAIN, stranger
from firth.signals._tiffs import SMALLER, damaged

FORMS = (
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "GIF",
    "PPM",
)  # what is opened (MPO as a JPEG); of several pages the first
PIXELS = 89_478_485  # of a picture that is decoded whole, 256 MiB in colour: Pillow's own limit
WHOLE = 1 << 30  # of a JPEG that is decoded small; a file of a few bytes may say so, and it takes seconds
MANY = 1 << 24  # pixels beyond which pictures are decoded one at a time, and reduced before anything else is done
ALONE = Lock()
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # modes of more than 8 bits
OWN = 2**16 - 1  # the largest number of 16 bits
ROWS = 256  # of deep pictures that are computed together
GAP = 2.0  # a picture is first reduced to so many times the wanted size, the quick way
ORIENTATION = 0x0112  # EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PAGED = ("TIFF", "GIF", "WEBP", "PNG")  # forms whose further pages and frames are pictures of their own
PAGES = (
    "has several pages or frames, of which the first is read",
    "Save the others as files of their own, if they should be learnt from.",
)

Note = Callable[[str, str], None]  # what is odd, what to do


class Wanted(NamedTuple):
    """What a picture is decoded to."""

    size: int  # pixels of a side
    channels: int = 3
    fit: str = "crop"
    stretched: bool = False
    bands: tuple[int, ...] = ()  # of a TIFF: the channels that are read, from 1


def look(data: bytes) -> Look:
    """Form, width and height as it is shown, and the mode. Raises Unreadable."""
    image = opened(data)
    if image is None:
        return _tiffs.look(data)
    lying = image.format != "TIFF" and orientation(image) >= 5  # of which Pillow says the size as it is shown
    size = image.size[::-1] if lying else image.size
    return Look("JPEG" if image.format == "MPO" else str(image.format), size, {"mode": image.mode})


def opened(data: bytes) -> Image.Image | None:
    """The picture, only its head read; None for a TIFF that Pillow does not know. Raises Unreadable."""
    if not data:
        raise Unreadable("is empty", AGAIN)
    try:
        return Image.open(BytesIO(data), formats=FORMS)
    except UnidentifiedImageError:
        if data.startswith(_tiffs.BEGINS):
            return None
        raise Unreadable(*stranger(data)) from None
    except Image.DecompressionBombError:
        if data.startswith(b"\xff\xd8"):
            return JpegImageFile(BytesIO(data))  # without a limit: it may be decoded small
        raise Unreadable("has more pixels than any picture should: a decompression bomb", "Make it smaller.") from None
    except Exception as error:  # what a broken file makes Pillow raise has no common class
        raise damaged(error) from None


def decode(data: bytes, wanted: Wanted, note: Note | None = None) -> np.ndarray:
    """uint8 (channels, size, size). Raises Unreadable. note: told what is odd about it."""
    image = None if wanted.bands and data.startswith(_tiffs.BEGINS) else opened(data)
    with held(image, round(GAP * wanted.size)):
        try:
            whole = of_channels(data, wanted, note) if image is None else of_file(image, wanted)
            found = array_of(fitted(plain(whole, wanted.channels, wanted.stretched), wanted.size, wanted.fit))
            if note is not None and image is not None and paged(image):
                note(*PAGES)
            return found
        except Unreadable:
            raise
        except Exception as error:  # as above
            raise damaged(error) from None


def held(image: Image.Image | None, side: int) -> AbstractContextManager[Any]:
    """What to hold while a picture is decoded: a large one waits for others. A JPEG becomes as small as `side` allows.

    Raises Unreadable for one that is larger than can be held.
    """
    if image is None:
        return ALONE
    width, height = image.size
    image.draft(None, (side, side))  # of JPEG: decodes a smaller one, never below
    pixels = image.width * image.height
    if pixels > PIXELS or width * height > WHOLE:
        raise Unreadable(f"has {width:,} × {height:,} pixels, more than can be held", SMALLER)
    if "progressive" in image.info:  # all its coefficients are held, however small it is decoded
        pixels = width * height
    if pixels > PIXELS:
        what = f"is a progressive JPEG of {width:,} × {height:,} pixels, more than can be held"
        raise Unreadable(what, "Save it as a JPEG that is not progressive, or make it smaller.")
    return ALONE if pixels > MANY else nullcontext()


def of_file(image: Image.Image, wanted: Wanted) -> Image.Image:
    """The picture in 8 bits, upright; a large one reduced."""
    image.load()
    turn = TURNS.get(orientation(image))  # of a TIFF, `load` has turned it
    if image.mode in DEEP:
        image = Image.fromarray(shallow(np.asarray(image), wanted.stretched), "L")
    image = smaller(image, wanted.size)
    return image if turn is None else image.transpose(turn)


def of_channels(data: bytes, wanted: Wanted, note: Note | None) -> Image.Image:
    """A TIFF that Pillow does not know, or of which other channels are wanted."""
    values = _tiffs.array(data)
    if note is not None and not wanted.bands and values.shape[-1] > _tiffs.COLOURS:
        what = f"has {values.shape[-1]} channels, of which the first three are read as red, green and blue"
        note(what, "Say which, from 1: --set image.bands=[4,3,2]")
    values = _tiffs.coloured(values, wanted.bands)
    if wanted.stretched and values.ndim == 3:
        values = np.stack([shallow(values[..., band], True) for band in range(values.shape[-1])], -1)
    return smaller(Image.fromarray(shallow(values, wanted.stretched)), wanted.size)


def orientation(image: Image.Image) -> int:
    """As EXIF tells it; 1 where it tells nothing, or nothing that can be."""
    with suppress(Exception):  # as above
        found = image.getexif().get(ORIENTATION, 1)
        return int(found) if found in TURNS else 1
    return 1


def paged(image: Image.Image) -> bool:
    """Whether there is more than one page, or frame."""
    with suppress(Exception):  # as above
        return image.format in PAGED and bool(getattr(image, "is_animated", False))
    return False


def smaller(image: Image.Image, size: int) -> Image.Image:
    """A large picture a whole number of times smaller, still GAP times the wanted size: what follows takes copies."""
    factor = int(min(image.size) / (GAP * size))
    if image.width * image.height <= MANY or factor < 2:
        return image
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    return image.reduce(factor)


def plain(image: Image.Image, channels: int, stretched: bool = False) -> Image.Image:
    """The same in grey (one channel) or RGB; what shines through is white."""
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    wanted = "L" if channels == 1 else "RGB"
    image = image if image.mode == wanted else image.convert(wanted)
    return ImageOps.autocontrast(image) if stretched else image


def shallow(values: np.ndarray, stretched: bool) -> np.ndarray:
    """Numbers of any kind → uint8: the whole range of 16 bits, or of what is there; fractions are shares of 1."""
    if values.dtype == np.uint8:
        return values
    top = {"f": 1, "b": 1}.get(values.dtype.kind, OWN)
    low = min(float(block.min()) for block in blocks(values))
    high = max(float(block.max()) for block in blocks(values))
    if not stretched and low >= 0 and high <= top:
        low, high = 0.0, float(top)
    found, scale = np.empty(values.shape, np.uint8), 255 / max(high - low, 1e-12)
    for number, block in enumerate(blocks(values)):
        found[number * ROWS : (number + 1) * ROWS] = np.rint((block - low) * scale)
    return found


def blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """float64, some rows at a time; what is no number is 0."""
    for begin in range(0, len(values), ROWS):
        yield np.nan_to_num(values[begin : begin + ROWS].astype(np.float64), posinf=0.0, neginf=0.0)


def fitted(image: Image.Image, size: int, fit: str) -> Image.Image:
    """size × size: the middle square ("crop"), the whole drawn out ("stretch"), or with a black margin ("pad")."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    how = Image.Resampling.BICUBIC
    if fit == "stretch":
        return image.resize((size, size), how, reducing_gap=GAP)
    if fit == "pad":
        return ImageOps.pad(image, (size, size), how)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), how, box=(left, top, left + side, top + side), reducing_gap=GAP)


def array_of(image: Image.Image) -> np.ndarray:
    """uint8 (C, H, W)"""
    values = np.asarray(image)
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))
