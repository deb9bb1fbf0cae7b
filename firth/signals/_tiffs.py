"""TIFFs that Pillow does not open: more channels than colours, 16 bits of each, numbers of other kinds; by tifffile.

Imported where such a file is opened. Of several pages the first is read, as of every other file.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from firth.errors import install
from firth.signal import Look, Unreadable
from firth.signals._strangers import AGAIN

# H, W pixels, C channels

BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGE = b"+"[0]  # byte 2 or 3 of a BigTIFF, whose head is longer
WIDTH, HEIGHT, BITS, SAMPLES = 256, 257, 258, 277  # tags
COLOURS = 3
MOST = 256 << 20  # bytes of such a picture, which is decoded whole
INSTALL = f"Install what reads it: {install('tiff')}"
SMALLER = "Make it smaller, or cut it into tiles."


def look(data: bytes) -> Look:
    """Form, width and height, and in place of a mode what the channels are. Raises Unreadable."""
    try:
        tags = tags_of(data)
        return Look("TIFF", (int(tags[WIDTH]), int(tags[HEIGHT])), {"mode": told(tags)})
    except Exception as error:  # what a broken file makes Pillow raise has no common class
        raise damaged(error) from None


def tags_of(data: bytes) -> ImageFileDirectory_v2:
    """The tags of the first page."""
    tags = ImageFileDirectory_v2(data[: 16 if LARGE in data[2:4] else 8])
    stream = BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def told(tags: ImageFileDirectory_v2) -> str:
    """5 × 16 bits"""
    return f"{tags.get(SAMPLES, 1)} × {tags.get(BITS, (1,))[0]} bits"


def array(data: bytes) -> np.ndarray:
    """(H, W, C) of the numbers that it holds. Raises Unreadable."""
    with page_of(data) as page:
        if prod(page.shape) * page.dtype.itemsize > MOST:
            size = f"{page.imagewidth:,} × {page.imagelength:,} pixels of {page.samplesperpixel:,} channels"
            raise Unreadable(f"has {size}, more than can be held", SMALLER)
        values = page.asarray()
        if page.axes.startswith("S"):  # plane after plane
            values = np.moveaxis(values, 0, -1)
        return values if values.ndim == 3 else values[..., None]


@contextmanager
def page_of(data: bytes) -> Iterator[Any]:
    """The first page, as tifffile opens it. Raises Unreadable, also where that is not installed."""
    try:
        from tifffile import TiffFile

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is told here
    except ImportError:
        raise Unreadable(f"is a TIFF of {look(data).told['mode']}, which Pillow does not read", INSTALL) from None
    try:
        with TiffFile(BytesIO(data)) as file:
            yield file.pages[0]
    except Unreadable:
        raise
    except Exception as error:  # as above
        if "imagecodecs" in str(error):
            raise Unreadable(f"is a TIFF compressed in a way that wants more ({error})", INSTALL) from None
        raise damaged(error) from None


def damaged(error: Exception) -> Unreadable:
    """What is told of a file that makes a decoder fail: its own words, where it has some."""
    said = str(error).partition("\n")[0] or type(error).__name__
    return Unreadable(f"is damaged ({said})", AGAIN)


def coloured(values: np.ndarray, bands: tuple[int, ...]) -> np.ndarray:
    """(H, W, C) -> (H, W, 3) or (H, W): the chosen channels (from 1), or the first ones; a third that is missing is 0.

    Raises Unreadable for channels that are not there.
    """
    channels = values.shape[-1]
    if bands and max(bands) > channels:
        raise Unreadable(f"has {channels} channels, and image.bands asks for number {max(bands)}", "Name others.")
    values = values[..., [band - 1 for band in bands]] if bands else values[..., :COLOURS]
    if values.shape[-1] == 1:
        return values[..., 0]
    return np.pad(values, ((0, 0), (0, 0), (0, COLOURS - values.shape[-1])))
