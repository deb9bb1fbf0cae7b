"""Strange and damaged files of pictures, made by Pillow and byte by byte."""

import struct
import zlib
from collections.abc import Collection
from io import BytesIO

import numpy as np
from PIL import Image as Pillow

from tests.picture_files import made, noise, written

SIDE = 16  # pixels of a small picture
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes, wrong: bool = False) -> bytes:
    """One part of a PNG; wrong: its check sum is."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png_head(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    return struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


def png(values: np.ndarray, wrong: Collection[bytes] = (), more: bytes = b"") -> bytes:
    """uint8 or uint16 (H, W) or (H, W, C); wrong: the parts whose check sum is; more: parts before the pixels."""
    height, width, *rest = values.shape
    colour = {(): 0, (2,): 4, (3,): 2, (4,): 6}[tuple(rest)]
    big = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in big)
    head = chunk(b"IHDR", png_head(width, height, 8 * values.itemsize, colour), b"IHDR" in wrong)
    pixels = chunk(b"IDAT", zlib.compress(rows), b"IDAT" in wrong)
    return SIGNATURE + head + more + pixels + chunk(b"IEND", b"")


def png_of_size(width: int, height: int) -> bytes:
    """One that says so, and has pixels of 16 × 16."""
    head, pixels = chunk(b"IHDR", png_head(width, height)), chunk(b"IDAT", zlib.compress(bytes(49 * 16)))
    return SIGNATURE + head + pixels + chunk(b"IEND", b"")


def tiff(values: np.ndarray, photometric: int = 1, planes: bool = False, after: int = 0, packed: int = 1) -> bytes:
    """(H, W, C) of any kind of number. planes: channel after channel. after: where the next page is said to be.

    packed: how its numbers are said to be compressed, 1: not at all.
    """
    height, width, channels = values.shape
    parts = [values[..., band].tobytes() for band in range(channels)] if planes else [values.tobytes()]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8 * values.itemsize] * channels), 259: ("H", [packed]),
        262: ("H", [photometric]), 273: ("I", [0] * len(parts)), 277: ("H", [channels]), 278: ("I", [height]),
        279: ("I", [len(part) for part in parts]), 284: ("H", [1 + planes]),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * channels),
    }  # fmt: skip
    first = 8 + 2 + 12 * len(entries) + 4
    begin = first + sum(size for kind, of in entries.values() if (size := struct.calcsize(kind) * len(of)) > 4)
    entries[273] = ("I", [begin + sum(map(len, parts[:number])) for number in range(len(parts))])
    table, beside = b"", b""
    for tag, (kind, numbers) in entries.items():
        packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", first + len(beside))
        beside += packed if len(packed) > 4 else b""
        table += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(numbers)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + table + struct.pack("<I", after) + beside + b"".join(parts)


def jpeg_of_size(width: int, height: int, **options) -> bytes:
    """One that says so, and has the pixels of a small one."""
    data = written(made(SIDE, SIDE), "JPEG", **options)
    place = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def jpeg_of_bits(bits: int) -> bytes:
    data = written(made(SIDE, SIDE), "JPEG")
    place = data.index(b"\xff\xc0") + 4
    return data[:place] + bytes([bits]) + data[place + 1 :]


def with_exif(table: bytes) -> bytes:
    """A JPEG with such a table, whatever it holds."""
    data = written(made(SIDE, SIDE), "JPEG")
    told = b"Exif\0\0" + table
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(told) + 2) + told + data[2:]


def without_adobe(data: bytes) -> bytes:
    """A JPEG without the mark that says how its colours are meant."""
    begin = data.index(b"\xff\xee")
    return data[:begin] + data[begin + 2 + struct.unpack(">H", data[begin + 2 : begin + 4])[0] :]


def turned(orientation: object, form: str = "JPEG") -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    return written(made(SIDE, 2 * SIDE), form, exif=exif)


def frames(form: str, count: int = 3) -> bytes:
    """Frames or pages, each of one colour; the first is red."""
    images = [Pillow.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "lime", "blue")[:count]]
    stream = BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    images[0].save(stream, form, save_all=True, append_images=images[1:], **options)
    return stream.getvalue()


def boxes(brand: bytes) -> bytes:
    """How HEIC, AVIF and films begin."""
    return b"\0\0\0\x18ftyp" + brand + bytes(100)


def half(form: str) -> bytes:
    data = written(made(64, 64), form)
    return data[: len(data) // 2]


def gif_of_size(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b"\x3b"


def unpacking(size: int) -> bytes:
    """A PNG whose comment unpacks to so many bytes."""
    return png(noise(SIDE, SIDE), more=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(size))))
