"""Zip, tar and gzip: members streamed, never unpacked to disk, with limits against archives made to do harm."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from firth.data.records import Problems

RATIO = 200  # unpacked bytes per packed byte; text reaches about 10, DEFLATE at most 1,032
SMALL = 64 << 20  # unpacked bytes below which the ratio does not matter
MEMBERS = 1_000_000
UNPACK = "If you trust it, unpack it yourself and give the folder."
OUTSIDE = ("the name leads out of the archive", "Such an archive was made by mistake or to do harm. " + UNPACK)
AGAIN = "The file is damaged: copy or download it again."
BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)


class Packed(NamedTuple):
    """A file in a tar archive, which holds it as it is: bytes begin … begin + file_size of the archive."""

    filename: str
    file_size: int
    begin: int


def is_archive(name: str) -> bool:
    return name.lower().endswith((".zip", ".tar"))


def is_tar(path: Path) -> bool:
    return path.name.lower().endswith(".tar")


def members(path: Path, problems: Problems) -> Iterator[zipfile.ZipInfo | Packed]:
    """The files in an archive that are safe to read, in order of name. Raises InputError for the others."""
    if is_tar(path):
        yield from _tar_members(path, problems)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
    except BROKEN as error:
        return problems.bad(path, f"is no readable zip archive ({error})", AGAIN)
    if bomb := _bomb(path, infos):
        return problems.bad(path, bomb, UNPACK)
    for info in sorted(infos, key=lambda info: info.filename):
        if trouble := _unsafe(info):
            problems.bad(f"{path}/{info.filename}", *trouble)
        else:
            yield info


def _hidden(name: str) -> bool:
    """System files such as .DS_Store and the __MACOSX folder; a name that climbs (..) is not hidden."""
    parts = name.replace("\\", "/").split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part.strip(".") for part in parts)


def _bomb(path: Path, infos: list[zipfile.ZipInfo]) -> str:
    """What is suspicious about the sizes in a zip, or ""."""
    packed, unpacked = path.stat().st_size, sum(info.file_size for info in infos)
    if len(infos) > MEMBERS:
        return f"holds {len(infos):,} files, more than {MEMBERS:,}"
    if unpacked > SMALL and unpacked > RATIO * packed:
        return f"unpacks to {unpacked / packed:,.0f} times its size: a zip bomb"
    return ""


def _unsafe(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    """What forbids reading a member, and what to do about it."""
    if leads_out(info.filename):
        return OUTSIDE
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link to another file", "Put the file itself into the archive."
    if info.flag_bits & 1:
        return "is encrypted", "Unpack it with its password and give the folder."
    return None


def leads_out(name: str) -> bool:
    """Whether a member would be written outside the folder an archive is unpacked to."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0]


def _tar_members(path: Path, problems: Problems) -> Iterator[Packed]:
    """Of a tar archive: links and devices are passed over, names that lead out are problems."""
    try:
        found = places(path)
    except (*BROKEN, OSError) as error:
        return problems.bad(path, f"is no readable tar archive ({error})", AGAIN)
    for name in sorted(found):
        if leads_out(name):
            problems.bad(f"{path}/{name}", *OUTSIDE)
        elif not _hidden(name):
            yield found[name]


def places(path: Path) -> dict[str, Packed]:
    """Where the files of a tar archive lie in it, by name. Raises BROKEN, OSError."""
    told = os.stat(path)
    return _places(path, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=4)
def _places(path: Path, size: int, changed: int) -> dict[str, Packed]:
    with tarfile.open(path, "r:") as archive:
        found = ((one.name.removeprefix("./"), one) for one in archive if one.isreg())  # `tar -cf x.tar .` writes ./
        return {name: Packed(name, one.size, one.offset_data) for name, one in found}


class Part(io.RawIOBase):
    """Some bytes of a file as a stream."""

    def __init__(self, path: Path, begin: int, size: int):
        self.stream, self.left = path.open("rb"), size
        self.stream.seek(begin)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data

    def close(self) -> None:
        self.stream.close()
        super().close()


def open_member(path: Path, name: str):
    """A binary stream of one member; closes the archive with itself."""
    if is_tar(path):
        place = places(path)[name]
        return Part(path, place.begin, place.file_size)
    archive = zipfile.ZipFile(path)
    stream = archive.open(name)
    archive.close()  # zipfile keeps the file open until the member is closed, too
    return stream


class Gunzip(io.RawIOBase):
    """A gzip stream that counts: raises Bomb when it unpacks to far more than was read."""

    def __init__(self, packed):
        self.packed, self.count = _Counted(packed), 0
        self.inner = gzip.GzipFile(fileobj=self.packed, mode="rb")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.inner.read(size)
        self.count += len(data)
        if self.count > SMALL and self.count > RATIO * self.packed.count:
            raise Bomb
        return data

    def close(self) -> None:
        self.inner.close()
        self.packed.close()
        super().close()


class _Counted:
    """Counts the bytes read from a stream."""

    def __init__(self, stream):
        self.stream, self.count = stream, 0

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.count += len(data)
        return data

    def close(self) -> None:
        self.stream.close()


class Bomb(Exception):
    """The stream unpacks to far more than it should; becomes an InputError where the file is named."""

    def __str__(self) -> str:
        return f"unpacks to more than {RATIO} times its size: a gzip bomb"
