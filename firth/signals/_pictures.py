"""Files of pictures → uint8 arrays, by Pillow: whatever mode, depth, rotation or transparency they have.

Imported where a picture is opened, so that nobody else waits for Pillow.
"""

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from firth.signal import Look, Unreadable

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
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # modes of more than 8 bits
OWN = 2**16 - 1  # the largest number of 16 bits
GAP = 2.0  # a picture is first reduced to so many times the wanted size, the quick way
AGAIN = "Copy it again from where it came from, or remove it."
OTHER = "Save it as JPEG, PNG, WebP or TIFF."


def look(data: bytes) -> Look:
    """Form, width and height as it is shown, and the mode. Raises Unreadable."""
    image = opened(data)
    turned = image.getexif().get(0x0112, 1) >= 5  # orientations that lie on their side
    size = image.size[::-1] if turned else image.size
    return Look("JPEG" if image.format == "MPO" else str(image.format), size, {"mode": image.mode})


def opened(data: bytes) -> Image.Image:
    """The picture, only its head read. Raises Unreadable."""
    if not data:
        raise Unreadable("is empty", AGAIN)
    try:
        return Image.open(BytesIO(data), formats=FORMS)
    except UnidentifiedImageError:
        raise Unreadable("is no picture that can be read", OTHER) from None
    except Image.DecompressionBombError:
        raise Unreadable("has more pixels than any picture should: a decompression bomb", "Make it smaller.") from None
    except Exception as error:  # what a broken file makes Pillow raise has no common class
        raise Unreadable(f"is damaged ({error})", AGAIN) from None


def decode(data: bytes, size: int, channels: int, fit: str, stretched: bool) -> np.ndarray:
    """uint8 (channels, size, size). Raises Unreadable."""
    image = opened(data)
    try:
        image.draft(None, (round(GAP * size), round(GAP * size)))  # of JPEG: decodes a smaller one, never below
        if image.width * image.height > PIXELS:
            what = f"has {image.width:,} × {image.height:,} pixels, more than can be held"
            raise Unreadable(what, "Make it smaller, or cut it into tiles.")
        image.load()
        return array_of(fitted(plain(ImageOps.exif_transpose(image), channels, stretched), size, fit))
    except Unreadable:
        raise
    except Exception as error:  # as above
        raise Unreadable(f"is damaged ({str(error) or type(error).__name__})", AGAIN) from None


def plain(image: Image.Image, channels: int, stretched: bool = False) -> Image.Image:
    """The same in grey (one channel) or RGB, 8 bits; what shines through is white."""
    if image.mode in DEEP:
        image = shallow(image, stretched)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    wanted = "L" if channels == 1 else "RGB"
    image = image if image.mode == wanted else image.convert(wanted)
    return ImageOps.autocontrast(image) if stretched else image


def shallow(image: Image.Image, stretched: bool) -> Image.Image:
    """More than 8 bits → 8: the whole range of 16 bits, or of what is in the picture; fractions are shares of 1."""
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if not stretched and low >= 0 and high <= (1 if image.mode == "F" else OWN):
        low, high = 0.0, 1.0 if image.mode == "F" else float(OWN)
    return Image.fromarray(np.uint8(np.rint((values - low) * (255 / max(high - low, 1e-12)))), "L")


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
