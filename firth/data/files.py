"""What a person gives — files, folders, globs, archives, names of made data — becomes files that a reader can open."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from firth.data import archives, synthetic
from firth.data.config import listed
from firth.data.records import Problems
from firth.errors import InputError, did_you_mean

FORMATS = {
    ".txt": "text", ".text": "text", ".md": "text", ".rst": "text", "": "text", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "squad", ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".conllu": "conllu", ".conll": "conllu", ".iob": "conllu", ".bio": "conllu",
}  # fmt: skip
READABLE = ".txt, .md, .jsonl, .csv, .tsv, .parquet, .conllu, .conll, SQuAD .json, and .zip or .gz of them"


class Kinds(NamedTuple):
    """Which files are read, and as what."""

    formats: Mapping[str, str]  # suffix → format
    readable: str  # the same in words


TEXT = Kinds(FORMATS, READABLE)
SHEET, PLAIN = "In Excel: Save as, CSV UTF-8.", "Save it as .txt: Save as, Plain text."
FFMPEG = "Convert it: ffmpeg -i FILE -ar 16000 NEW.wav."
MAIL = "Write one JSON object a message into a .jsonl file, with a short script of Python's `email`."
TAR = "Unpack it first: gunzip FILE; a .tar is read as it is."
HINTS = {
    ".xlsx": SHEET, ".xls": SHEET, ".ods": SHEET, ".docx": PLAIN, ".doc": PLAIN, ".odt": PLAIN, ".rtf": PLAIN,
    ".pdf": "Take its text out first: pdftotext FILE.", ".m4a": FFMPEG, ".mp4": FFMPEG, ".aac": FFMPEG,
    ".eml": MAIL, ".mbox": MAIL, ".tar.gz": TAR, ".tgz": TAR,
}  # what to do with files of common kinds that have no reader  # fmt: skip
LINK = "Remove the link, or put the file in its place."
ADDRESSES = ("hf://", "http://", "https://", "s3://", "gs://")
DOWNLOAD = "Download it, and give the folder."
RIGHTS = "Give yourself the right to read it: chmod u+r FILE"


@dataclass(frozen=True)
class File:
    """One thing to read: a file, a file in a zip, or documents that are made."""

    path: Path
    name: str  # as the person gave it; a/b.zip/c.txt for a member
    format: str  # a module of data/: text, jsonl, csv, parquet, conllu, squad, synthetic
    member: str | None = None
    label: str | None = None  # the sub-folder it lies in
    size: int = 0  # bytes, packed where it is packed
    made: synthetic.Made | None = None

    @property
    def packed(self) -> bool:
        return (self.member or self.path.name).lower().endswith(".gz")

    def open(self):
        """A binary stream of the unpacked bytes, or what makes the documents; a context manager.

        Raises OSError, archives.BROKEN, archives.Bomb (reading, too).
        """
        if self.made is not None:
            return nullcontext(self.made)
        stream = archives.open_member(self.path, self.member) if self.member else self.path.open("rb")
        return archives.Gunzip(stream) if self.packed else stream


def expand(paths: Iterable[str | Path], problems: Problems | None = None, kinds: Kinds = TEXT) -> list[File]:
    """Files, folders (all below), globs, zip archives and .gz → files, sorted by name, each once.

    What lies in a sub-folder of a given folder or archive takes that sub-folder's name as its label; `a.zip/b` is what
    lies below b in an archive.
    Raises InputError for a path that does not exist, cannot be read or has no reader.
    """
    told = problems is not None  # there is somebody to whom findings go
    problems = problems if problems is not None else Problems()
    given = listed(paths)
    if not given:
        raise InputError("DATA", "no file or folder was given", "Name at least one: firth check reviews/")
    for path in given:
        _refuse_name(path)
    real = cache(os.path.realpath)  # of an archive asked for with each of its members
    found = {(real(file.path), file.member): file for path in given for file in _one(path, problems, kinds)}
    if not found and not (told and problems.findings):
        links = [finding.where for finding in problems.findings if finding.do == LINK]
        dead = f", only links to files that do not exist ({links[0]})" if links else ""
        do = next((finding.do for finding in problems.findings), f"firth reads {kinds.readable}.")
        raise InputError(given[0], f"holds no file that can be read{dead}", LINK if links else do)
    return list(found.values())


def first(paths: Iterable[str], kinds: Kinds) -> Iterator[File]:
    """The files one after the other, while they are found; a file may come twice. Raises InputError as expand does."""
    problems = Problems(skip=True)
    for path in paths:
        yield from _one(str(path), problems, kinds)


def _refuse_name(path: str) -> None:
    """Raises InputError for a name that cannot be written down, and for an address."""
    if path.startswith(ADDRESSES):
        raise InputError(path, "is an address, and firth reads files of this machine", DOWNLOAD)
    if not path.strip():
        raise InputError("DATA", "an empty name was given", "Name a file or a folder; a variable may not be set.")
    if not path.isprintable() and path != path.encode("utf-8", "ignore").decode():
        raise InputError(utf8(path), "has a name that is not UTF-8", "Rename it: mv OLD NEW.")


def utf8(name: str) -> str:
    """The name of a file as it can be written down, also where its bytes are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _one(path: str, problems: Problems, kinds: Kinds) -> Iterator[File]:
    """The files that one argument stands for."""
    given = Path(path).expanduser()
    if path.startswith(synthetic.MARK):
        made = synthetic.parse(path)
        yield File(Path(str(made)), str(made), "synthetic", size=made.config.size, made=made)
    elif given.is_dir():
        yield from _folder(given, problems, kinds)
    elif os.path.lexists(given):
        yield from _file(given, str(given), problems, kinds)
    elif (archive := _archive_above(given)) is not None:
        yield from _members(archive, str(archive), problems, None, kinds, f"{given.relative_to(archive).as_posix()}/")
    else:
        matches = sorted(glob.glob(str(given), recursive=True))
        if not matches:
            _missing(given)
        for match in matches:
            yield from _one(match, problems, kinds) if match != path else ()


def _archive_above(given: Path) -> Path | None:
    """The archive that a path leads into."""
    return next((above for above in given.parents if archives.is_archive(above.name) and above.is_file()), None)


def _missing(given: Path) -> NoReturn:
    """Raises InputError for a path that is not there, with the nearest name beside it."""
    if glob.has_magic(str(given)):
        raise InputError(str(given), "no file matches", "Check the pattern, and put it in quotes.")
    beside = given.parent.iterdir() if given.parent.is_dir() and os.access(given.parent, os.R_OK) else ()
    hint = did_you_mean(given.name, [path.name for path in beside])
    raise InputError(str(given), "no such file or folder", f"{hint}Check the name.")


def _folder(folder: Path, problems: Problems, kinds: Kinds) -> Iterator[File]:
    """All readable files below a folder; hidden ones and links to folders are passed over, other kinds are counted.

    A link to nothing is no reason to stop: somebody else's folder is read as it is.
    """
    other: Counter = Counter()
    for base, folders, names in os.walk(folder, onerror=lambda error: _unreadable(error, problems)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(base, name)
            label = utf8(path.parent.name) if path.parent != folder else None
            if not os.path.exists(path) and path.is_symlink():
                problems.note("warning", path, "is a link to a file that does not exist, and is left out", LINK)
            elif archives.is_archive(name) or suffix(name) in kinds.formats:
                yield from _file(path, str(path), problems, kinds, label)
            else:
                other[suffix(name)] += 1
    if other:
        _tell_others(folder, other, problems, kinds)


def _tell_others(where: object, other: Counter, problems: Problems, kinds: Kinds) -> None:
    counted = ", ".join(f"{count:,} {kind}" for kind, count in other.most_common(5))
    hint = next((f"{HINTS[kind]} " for kind, _ in other.most_common(5) if kind in HINTS), "")
    do = f"{hint}firth reads {kinds.readable}."
    problems.note("warning", where, f"files of other kinds were left out: {counted}", do)


def _unreadable(error: OSError, problems: Problems) -> None:
    problems.bad(error.filename, f"cannot be read ({error.strerror})", RIGHTS)


def _file(path: Path, name: str, problems: Problems, kinds: Kinds, label: str | None = None) -> Iterator[File]:
    """One file, or the members of one archive."""
    if not path.exists():
        problems.bad(name, "is a link to a file that does not exist", LINK)
    elif not path.is_file():
        problems.bad(name, "is no regular file", "Write the data to a file first.")
    elif not os.access(path, os.R_OK):
        problems.bad(name, "cannot be read (Permission denied)", RIGHTS.replace("FILE", name))
    elif archives.is_archive(name):
        yield from _members(path, name, problems, label, kinds)
    elif suffix(name) not in kinds.formats:
        kind = suffix(name) + ".gz" * name.lower().endswith(".gz")
        hint = HINTS.get(kind, f"firth reads {kinds.readable}.").replace("FILE", name)
        problems.bad(name, f"`{kind}` files have no reader", hint)
    else:
        yield File(path, utf8(name), kinds.formats[suffix(name)], None, label, path.stat().st_size)


def _members(
    path: Path, name: str, problems: Problems, label: str | None, kinds: Kinds, below: str = ""
) -> Iterator[File]:
    """The readable files in a zip, or below a folder in it; other kinds, archives in it included, are counted."""
    other: Counter = Counter()
    for info in archives.members(path, problems):
        if not info.filename.startswith(below):
            continue
        kind, folder = suffix(info.filename), info.filename.rpartition("/")[0]
        if kind in kinds.formats:
            own = "" if folder == below.rstrip("/") else folder.rpartition("/")[2].lstrip(".")
            yield File(path, f"{name}/{info.filename}", kinds.formats[kind], info.filename, own or label,
                       info.file_size)  # fmt: skip
        else:
            other[kind] += 1
    if other:
        _tell_others(name, other, problems, kinds)


def suffix(name: str) -> str:
    """ ".txt" of Notes.TXT.gz; a number such as in 2004.1 is none."""
    stem, _, kind = name.lower().removesuffix(".gz").rpartition("/")[2].rpartition(".")
    return f".{kind}" if stem and kind and not kind.isdigit() else ""


def same(one: Path, other: Path) -> bool:
    """Whether both lead to one file; of what is not there by the path."""
    with suppress(OSError):
        return os.path.samefile(one, other)
    return one == other
