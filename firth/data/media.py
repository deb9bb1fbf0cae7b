"""Files, archives and tables → the bytes of pictures or recordings, one after the other, with name and label.

What holds them: folders (sub-folders are labels), globs, archives, parquet whose cells hold bytes, tables of paths.
"""

import os
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, Any, NamedTuple, NoReturn, Self

from firth.data import archives
from firth.data.columns import SAMPLE, find_columns
from firth.data.files import RIGHTS, File, Kinds, expand, same
from firth.data.readers import table
from firth.data.records import Problems, Record, Where
from firth.errors import InputError
from firth.functional.cells import label_of
from firth.signal import Media, Unreadable
from firth.task import EMPTY

TABLES = {".csv": "csv", ".tsv": "csv", ".tab": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
          ".pq": "parquet"}  # fmt: skip
LARGEST = 1 << 30  # bytes of one picture or recording that is held
IN_MEMORY, BLOCK = 64 << 20, 1 << 20  # bytes of a member that are kept in memory, that are unpacked together
NAMING = ("csv", "jsonl")  # formats of tables that name files
MEDIUM = "medium"  # the format of a file that is a sample itself
FIELDS = {"bytes", "path"}  # of a cell of the `datasets` library
NO_COLUMN = "Give a table with a column of paths, or of bytes as in parquet files of images."
EMPTY_CELL = "the cell is empty", "Fill in a path or the bytes, or leave out the row."
NAME_A_FILE = "Name a file; a pipe or a device may have no end."
CELLS = "Unpack what is in them into files, or set FIRTH_CACHE to a folder on a disk with more room."


class Raw(NamedTuple):
    """One picture or recording, not yet read."""

    name: str
    where: Where
    label: str | None
    read: Callable[[], bytes]  # raises OSError, archives.BROKEN, InputError
    path: Path | None = None  # of the file that a table names
    size: int = 0  # bytes; 0: not known
    source: Callable[[], AbstractContextManager[Any]] = nullcontext  # a path, or a stream that can be searched
    fields: Mapping[str, Any] = EMPTY  # the row, where there is a table


def kinds_of(signal: type[Media]) -> Kinds:
    """The files that hold samples of a signal."""
    return Kinds(dict.fromkeys(signal.suffixes, MEDIUM) | TABLES, signal.readable)


class Reading:
    """The raw samples of some files, in order, as often as iterated; archives stay open while it is a context."""

    def __init__(self, files: list[File], signal: type[Media], label: str | None, problems: Problems):
        self.files, self.problems, self.label = files, problems, label
        self.suffixes, self.readable = signal.suffixes, signal.readable
        self.archives = Archives()
        self.found: dict[File, tuple[str, str | None] | None] = {}  # the columns of each table

    @classmethod
    def of(cls, paths: Iterable[str], signal: type[Media], label: str | None, problems: Problems) -> Self:
        """Of what a person gives. Raises InputError for what is not there."""
        return cls(expand(paths, problems, kinds_of(signal)), signal, label, problems)

    def __enter__(self) -> "Reading":
        self.quiet = warnings.catch_warnings()
        self.quiet.__enter__()
        warnings.simplefilter("ignore")  # of what decoders find odd but read
        return self

    def __exit__(self, *told) -> None:
        self.quiet.__exit__(*told)
        self.archives.close()

    def __iter__(self) -> Iterator[Raw]:
        for file in self.files:
            if file.format == MEDIUM:
                yield self.archives.raw(file)
            else:
                yield from self._rows(file)

    def some(self, count: int) -> Iterator[Raw]:
        """About so many of them, spread over the files."""
        media = [file for file in self.files if file.format == MEDIUM]
        tables = [file for file in self.files if file.format != MEDIUM]
        step = max(1, -(-len(media) // count))
        for file in media[::step]:
            yield self.archives.raw(file)
        for file in tables[:3]:
            for number, raw in enumerate(self._rows(file, Problems(skip=True))):
                if number >= count // 3:
                    break
                yield raw

    @property
    def items(self) -> int:
        """How many samples there are, those in cells left out."""
        return sum(file.format == MEDIUM for file in self.files) + len(self.paths)

    @property
    def of_files(self) -> bool:
        """Whether each sample is a file, or a member of an archive; not where cells of a table hold their bytes."""
        return all(file.format in (MEDIUM, *NAMING) for file in self.files)

    def sources(self) -> dict[str, File]:
        """The file of each sample by its name. Raises InputError where they are not `of_files`, and where tables in two
        folders call two files alike."""
        found: dict[str, File] = {}
        folders: dict[str, Path] = {}
        for file in self.files:
            if file.format not in (MEDIUM, *NAMING):
                raise InputError(file.name, "holds samples in its cells, which are not read one by one", CELLS)
            if file.format == MEDIUM:
                found[file.name] = file
                continue
            for one in self._files_in(file):
                refuse_twice(one.name, file, folders.setdefault(one.name, folder_of(file)))
                found[one.name] = one
        return found

    def _files_in(self, listing: File) -> Iterator[File]:
        """The files that a table names."""
        for _, row in table(listing, Problems(skip=True), media=True):
            if (columns := self._columns(listing)) is None:
                return
            if name := cell_name(row.get(columns[0])):
                yield self._named(listing, name)

    @cached_property
    def paths(self) -> list[Path]:
        """The files that tables name, where they are there."""
        tables = [file for file in self.files if file.format in NAMING and not file.member]
        found = (raw.path for file in tables for raw in self._rows(file, Problems(skip=True)))
        return [path for path in dict.fromkeys(found) if path is not None and os.path.isfile(path)]

    def column(self, names: Iterable[str]) -> str | None:
        """The first of these names that is a column of the first table; None where there is none."""
        tables = (file for file in self.files if file.format != MEDIUM)
        first = next((row for file in tables for _, row in table(file, Problems(skip=True), media=True)), {})
        return next((name for name in names if name in first), None)

    def named(self, reads: Callable[[Record], Sequence[str]]) -> Iterator[tuple[Where, Mapping[str, Any], list[Raw]]]:
        """(place, row, the files that it names) of each row of the tables, by what `reads` makes of the row; of a file
        that is no table that file alone. Raises InputError for a row that names none, unless such are skipped."""
        for file in self.files:
            if file.format == MEDIUM:
                raw = self.archives.raw(file)
                yield raw.where, EMPTY, [raw]
                continue
            for where, row in table(file, self.problems):
                try:
                    names = reads(Record("", None, where, row))
                except InputError as error:
                    self.problems.bad(error.where, error.what, error.do)
                    continue
                yield where, row, [self.archives.raw(self._named(file, name)) for name in names]

    def _rows(self, file: File, problems: Problems | None = None) -> Iterator[Raw]:
        """The rows of a table: cells of bytes, or paths as seen from where the table lies."""
        problems = self.problems if problems is None else problems
        for where, row in table(file, problems, media=True):
            if (columns := self._columns(file)) is None:
                return
            cell, label = row.get(columns[0]), row.get(columns[1]) if columns[1] else file.label
            name = cell_name(cell) or f"{where}"
            yield self._cell(file, cell)._replace(
                name=name, where=where, label=None if label is None else label_of(label), fields=row
            )

    def _columns(self, file: File) -> tuple[str, str | None] | None:
        """The column of the samples and that of the labels; None of a table that has none, which is bad, once."""
        if file not in self.found:
            try:
                self.found[file] = self._looked_for(file)
            except InputError as error:
                self.problems.bad(error.where, error.what, error.do)
                self.found[file] = None
        return self.found[file]

    def _looked_for(self, file: File) -> tuple[str, str | None]:
        """The same by the first rows. Raises InputError where there are none."""
        cells = (pair for row in self._first(file) for pair in row.items())
        held = next((name for name, cell in cells if bytes_of(cell) or self._is_path(cell)), None)
        if held is None:
            raise InputError(file.name, "has no column with bytes or with paths of files", NO_COLUMN)
        rows = [{name: cell for name, cell in row.items() if name != held} | {held: "a"} for row in self._first(file)]
        return held, find_columns(rows, file.name, held, self.label).label

    def _first(self, file: File) -> Iterator[dict[str, Any]]:
        """The first rows of a table."""
        return (row for _, row in islice(table(file, Problems(skip=True), media=True), SAMPLE))

    def names_one(self, raw: Raw) -> bool:
        """Whether the name of a sample is that of such a file."""
        return self._is_path(raw.name)

    def _is_path(self, cell: Any) -> bool:
        return isinstance(cell, str) and Path(cell).suffix.lower() in self.suffixes

    def _cell(self, file: File, cell: Any) -> Raw:
        """What a cell holds, or the file that it names."""
        if (data := bytes_of(cell)) is not None:
            return Raw("", Where(""), None, lambda: data, None, len(data), lambda: nullcontext(data))
        if not (name := cell_name(cell)):
            return Raw("", Where(""), None, nothing)
        return self.archives.raw(self._named(file, name))

    def _named(self, file: File, name: str) -> File:
        """The file of that name, as seen from where the table lies: beside it, in its archive, or in one beside it."""
        path = Path(name)
        beside = path if path.is_absolute() else file.path.parent / path
        if file.member:
            return File(file.path, name, MEDIUM, str(PurePosixPath(file.member).parent / name))
        if not os.path.exists(beside) and (archive := self.archives.beside(file.path, name)) is not None:
            return File(archive, name, MEDIUM, name)
        return File(beside, name, MEDIUM)


def bytes_of(cell: Any) -> bytes | None:
    """The bytes in a cell, also in one of the `datasets` library; None for another cell."""
    if isinstance(cell, Mapping) and cell.keys() <= FIELDS:
        cell = cell.get("bytes")
    return cell if isinstance(cell, bytes) else None


def nothing() -> bytes:
    """What an empty cell holds. Raises Unreadable."""
    raise Unreadable(*EMPTY_CELL)


def cell_name(cell: Any) -> str:
    """The path in a cell, "" where there is none."""
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    return path if isinstance(path, str) else ""


class Archives:
    """Zip archives, each opened once: their lists of contents are long. Reading is safe from several threads."""

    def __init__(self) -> None:
        self.stack, self.opened = ExitStack(), dict[Path, zipfile.ZipFile]()
        self.names: dict[Path, frozenset[str]] = {}

    def reader(self, file: File) -> Callable[[], bytes]:
        return lambda: self.read(file)

    def read(self, file: File) -> bytes:
        """The bytes of a file or of a member. Raises OSError, archives.BROKEN, InputError (no file, too large)."""
        refuse_unread(file)
        if file.member is None or file.packed or archives.is_tar(file.path):
            with file.open() as stream:
                return self._limited(stream, file)
        with self.archive(file.path).open(file.member) as stream:
            return self._limited(stream, file)

    def raw(self, file: File) -> Raw:
        """A file with what reads it."""
        size, where = self.size(file), Where(file.name)
        return Raw(file.name, where, file.label, self.reader(file), file.path, size, lambda: self.source(file))

    def size(self, file: File) -> int:
        """Bytes, unpacked where it is a member; 0 where it is not there."""
        with suppress(OSError, KeyError, *archives.BROKEN):
            if file.member is not None and archives.is_tar(file.path):
                return archives.places(file.path)[file.member].file_size
            if file.member is not None:
                return self.archive(file.path).getinfo(file.member).file_size
            return file.path.stat().st_size
        return 0

    @contextmanager
    def source(self, file: File) -> Iterator[str | IO[bytes]]:
        """The path of a plain file; of one that is packed a stream that can be searched, on disk where it is large."""
        if file.member is None and not file.packed:
            yield str(file.path)
            return
        with file.open() as packed, SpooledTemporaryFile(IN_MEMORY) as stream:
            shutil.copyfileobj(packed, stream, BLOCK)
            yield rewound(stream)

    def beside(self, table: Path, name: str) -> Path | None:
        """The archive beside a table that has a file of that name; first one that is called like the table."""
        found = sorted(table.parent.glob("*.zip"), key=lambda path: (not table.stem.startswith(path.stem), path.name))
        return next((path for path in found if name in self.members(path)), None)

    def members(self, path: Path) -> frozenset[str]:
        """The names in an archive; none of one that is damaged."""
        if path not in self.names:
            with suppress(OSError, *archives.BROKEN):
                self.names[path] = frozenset(self.archive(path).namelist())
        return self.names.setdefault(path, frozenset())

    def archive(self, path: Path) -> zipfile.ZipFile:
        if path not in self.opened:
            self.opened[path] = self.stack.enter_context(zipfile.ZipFile(path))
        return self.opened[path]

    @staticmethod
    def _limited(stream, file: File) -> bytes:
        data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            refuse_large(file)
        return data

    def close(self) -> None:
        self.stack.close()
        self.opened.clear()


def refuse_unread(file: File) -> None:
    """Raises InputError for what is no file, or larger than is held; nothing of it was read. Raises OSError."""
    found = file.path.stat()
    if not stat.S_ISREG(found.st_mode):
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "is no regular file"
        raise InputError(file.name, what, NAME_A_FILE)
    size = found.st_size if file.member is None else file.size
    if size > LARGEST and not file.packed:
        refuse_large(file)


def refuse_large(file: File) -> NoReturn:
    """Raises InputError."""
    raise InputError(file.name, f"is larger than {LARGEST >> 20:,} MiB", archives.UNPACK)


def rewound(stream: IO[bytes]) -> IO[bytes]:
    """The stream from its beginning."""
    stream.seek(0)
    return stream


def refuse(error: Exception, raw: Raw) -> NoReturn:
    """Raises InputError where the trouble is with the file, else the error itself."""
    told = trouble(error, raw)
    if told is None:
        raise error
    raise InputError(raw.where, *told) from None


def trouble(error: Exception, raw: Raw) -> tuple[str, str] | None:
    """What is wrong with a file that cannot be read, and what to do; None for an error of another kind."""
    if isinstance(error, InputError | Unreadable):
        return error.what, error.do
    if isinstance(error, KeyError):
        return "is not in the archive", "Check the path in the table."
    if isinstance(error, archives.BROKEN):
        return f"is damaged ({error})", archives.AGAIN
    if isinstance(error, archives.Bomb):
        return str(error), archives.UNPACK
    if isinstance(error, FileNotFoundError):
        return "no such file", "Check the path in the table."
    if isinstance(error, OSError):
        with suppress(TypeError):
            return f"cannot be read ({error.strerror})", RIGHTS.replace("FILE", raw.name)
    return None


def rows_of(paths: Iterable[str], signal: type[Media]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(the path in it that leads to a file, row) of every row of every table.

    Raises InputError where tables in two folders lead to two files by one name: rows would be taken for each other's.
    """
    folders: dict[str, Path] = {}
    with Reading.of(paths, signal, None, Problems(skip=True)) as reading:
        tables = [file for file in reading.files if file.format != MEDIUM]
    for file in tables:
        for _, row in table(file, Problems(skip=True)):
            names = (cell_name(cell) for cell in row.values())
            name = next((one for one in names if Path(one).suffix.lower() in signal.suffixes), None)
            if name:
                refuse_twice(name, file, folders.setdefault(name, folder_of(file)))
                yield name, row


def folder_of(file: File) -> Path:
    """Where the names in a table begin."""
    return file.path / PurePosixPath(file.member).parent if file.member else file.path.parent


def refuse_twice(name: str, file: File, first: Path) -> None:
    """Raises InputError where the name leads from the two folders to two files, be they copies: each has its row."""
    folder = folder_of(file)
    if folder != first and not same(folder / name, first / name):
        what = f"names `{name}`, as a table in {first} does for another file"
        raise InputError(file.name, what, "Give one table, in a folder above both, with paths from there.")
