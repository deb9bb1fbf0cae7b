"""Whether decoded arrays stay on disk, or are decoded again in each pass because they would not fit."""

from pathlib import Path
from shutil import disk_usage

from firth.data.array_shard import ArrayShard
from firth.data.corpus import whole
from firth.data.decoding import array_size
from firth.data.media import Reading
from firth.data.streamed import Streamed
from firth.errors import InputError, count
from firth.signal import Media


def stays(wanted: str, folder: Path, reading: Reading, signal: Media) -> bool:
    """Whether they are kept: "on", "off", or "auto": where they are there already, fit, or cannot be had one by one.

    Raises InputError where they cannot and should.
    """
    if wanted == "off":
        reading.sources()
    if wanted != "auto":
        return wanted == "on"
    return not reading.of_files or whole(folder) or amount(reading.items, signal) <= free(folder)


def amount(items: int, signal: Media) -> int:
    """Bytes of so many arrays of one size."""
    return items * array_size(signal)


def free(folder: Path) -> int:
    """Bytes on the disk of a folder, which need not be there yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return disk_usage(there).free


def refuse_full(folder: Path, items: int, signal: Media) -> None:
    """Raises InputError where arrays of one size would not fit on the disk."""
    needed, there = amount(items, signal), free(folder)
    if needed > there:
        raise InputError(
            folder.parent,
            f"has {there / 1e9:,.1f} GB of free disk, and {count(items, signal.unit.thing)} decoded take "
            f"{needed / 1e9:,.1f} GB",
            f"Set FIRTH_CACHE to a folder on another disk, or a smaller {signal.name}.size.",
        )


def in_each_pass(wanted: str, folder: Path, items: int, signal: Media) -> str:
    """What a person is told where they are not kept."""
    again = f"Each pass decodes the {count(items, signal.unit.thing)} again"
    if wanted == "off":
        return f"{again}, as {signal.name}.cache = off says."
    needed, there = amount(items, signal) / 1e9, free(folder) / 1e9
    return f"{again}: decoded they take {needed:,.1f} GB, and {there:,.1f} GB of disk are free."


def shard_in(folder: Path, reading: Reading, signal: Media, kept: bool) -> ArrayShard:
    """The arrays of a folder, or what decodes them."""
    return ArrayShard(folder) if kept else Streamed(folder, reading, signal)
