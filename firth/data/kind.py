"""Which signal data is of: what most of its files are, or what the cells of its tables hold."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from firth import find
from firth.data import archives, media
from firth.data.files import FORMATS, File, Kinds, first
from firth.data.records import Problems
from firth.errors import InputError
from firth.signal import Media, Signal, Unreadable

LOOKED = 2000  # files whose names are looked at
TABLES = 3  # tables that are looked into
ROWS = 20  # of a table
TEXT = "text"  # what data is where nothing speaks for another signal


def signal_of(paths: Iterable[str]) -> str:
    """The name of the signal; that of text where the files do not tell, or are not there."""
    kinds = media_signals()
    formats = FORMATS | {suffix: name for name, cls in kinds.items() for suffix in cls.suffixes}
    files: list[File] = []
    with suppress(InputError):
        files = list(islice(first(paths, Kinds(formats, "")), LOOKED))
    counts = Counter(file.format for file in files if file.format in {*kinds, TEXT})
    if counts:
        return max(counts, key=lambda name: (counts[name], name != TEXT))
    tables = [file for file in files if file.format in media.TABLES.values()]
    found = (in_table(file, kinds) for file in tables[:TABLES])
    return next((name for name in found if name), TEXT)


def media_signals() -> dict[str, type[Media]]:
    """Those whose files are samples themselves, by name."""
    found = {name: find.main_class(find.find("signals", name), Signal) for name in find.names("signals")}
    return {name: cls for name, cls in found.items() if issubclass(cls, Media)}


def in_table(file: File, kinds: dict[str, type[Media]]) -> str | None:
    """The signal of which the cells of a table hold files, or paths of files; None: of none."""
    for name, cls in kinds.items():
        reading = media.Reading([file], cls, None, Problems(skip=True))
        with reading, suppress(InputError):
            for raw in islice(reading, ROWS):
                if reading.names_one(raw) or _opens(raw, cls):
                    return name
    return None


def _opens(raw: media.Raw, cls: type[Media]) -> bool:
    """Whether the bytes are of this signal."""
    try:
        cls.look(raw.read())
    except (Unreadable, InputError, OSError, KeyError, archives.Bomb, *archives.BROKEN):
        return False
    return True
