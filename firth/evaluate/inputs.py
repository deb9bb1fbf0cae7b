"""What `predict` and `embed` are given as a person types it: texts, files, folders, a pipe; one after the other."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from firth.data.config import Data
from firth.data.files import FORMATS, File, expand
from firth.data.given import Failures, Given, place_of
from firth.data.readers import Reading, read, table, unit_of
from firth.data.records import Problems, Record
from firth.errors import InputError, did_you_mean
from firth.signal import Signal
from firth.train import build
from firth.train.folder import RunFolder

CONVERT = "Convert it: iconv -f CP1252 -t UTF-8 OLD > NEW"
LONGEST = 2**20  # characters of a line of a stream; the rest of it is dropped
DOCUMENTS = ("auto", "file", "block", "line")


@dataclass(frozen=True)
class Query:
    """What `predict` is asked, in its own words: of which model, about what, and how that is read and answered."""

    model: str | Path
    inputs: str | Iterable[str] = ()
    top: int | None = None
    text: str | None = None
    settings: Iterable[str] | Mapping[str, Any] = ()
    seed: int | None = None
    device: str | None = None
    document: str | None = None
    skip_bad: bool = False
    dry_run: bool = False
    guesses: int | None = None  # how many are named where `top` does not say; None: the method's own choice

    @property
    def named(self) -> int | None:
        """How many guesses are named, by a model that guesses."""
        return self.guesses if self.top is None else self.top


class How(NamedTuple):
    """How inputs are read."""

    column: str | None = None  # name of the text column in tables
    reads: Callable[[Record], Any] | None = None  # makes the input of a row of a table; None: the text column is it
    empty: bool = False  # an empty text is one, too
    document: str = "auto"  # what one input from plain text is
    skip_bad: bool = False  # what cannot be read stands among the inputs as an InputError, instead of ending them
    learnt: str | None = None  # the column of the run, for tables that have it where `column` names none


def document_of(model: str | Path, wanted: str | None, signal: Signal) -> str:
    """What one document is: as wanted, else as the run learnt, else auto. Raises InputError for an unknown word, and
    where there are no documents."""
    if wanted is None:
        return learnt_from(model).document
    if wanted not in DOCUMENTS:
        hint = did_you_mean(wanted, DOCUMENTS)
        raise InputError(f"--document {wanted}", "is nothing a document can be", f"{hint}Say file, block or line.")
    if hasattr(build.store_of(type(signal)), "inputs"):
        raise InputError(f"--document {wanted}", f"is for texts, and {model} is of {signal.name}", "Leave it out.")
    return wanted


def column_of(model: str | Path) -> str | None:
    """The text column that a run was told to learn from; None where it was found by content, and of a bare model."""
    return learnt_from(model).text


def learnt_from(model: str | Path) -> Data:
    """The table `data` of a run; the defaults of a bare model."""
    run = RunFolder(model)
    return run.recipe.data if run.config.is_file() else Data()


def inputs_of(signal: Signal, given: Sequence[Any], how: How) -> Iterator[Given]:
    """What a person gave, one input after the other; files that are read together may be a tuple. Raises InputError at
    once for what is none."""
    store = build.store_of(type(signal))
    if hasattr(store, "inputs"):
        return chain.from_iterable([store.inputs(one, signal, how.reads, Failures(how.skip_bad)) for one in given])
    return texts_of(given, how)


def texts_of(given: Sequence[str], how: How) -> Iterator[Given]:
    """Lines of standard input, texts of files and folders, or a text itself; what a document is, all files decide."""
    for one in given:
        refuse_input(one, how.empty)
    found = [Source(one, how) for one in given]
    unit = unit_for([file for source in found for file in source.files], how.document)
    return chain.from_iterable([source.texts(unit) for source in found])


def unit_for(files: Sequence[File], document: str) -> str:
    """What one input from plain text is: as in training, but a single file is read line by line unless one says."""
    full = [file for file in files if file.size]
    if document == "auto" and sum(file.format == "text" for file in full) < 2:
        return "line"
    return "file" if document == "file" else unit_of(full, document)


class Source:
    """One thing that was given, where it stands for texts; files: the files that it is."""

    def __init__(self, given: str, how: How):
        self.given, self.how = given, how
        self.failures = Failures(how.skip_bad)
        self.typed = given == "-" or not looks_like_a_file(given)
        self.files = [] if self.typed else expand([given], self.failures)
        if not self.typed and not self.files and not self.failures.met:
            expand([given])  # says what else is there

    def texts(self, unit: str) -> Iterable[Given]:
        """Its inputs; files are opened at once. Raises InputError."""
        if self.typed:
            return map(Given, lines(sys.stdin)) if self.given == "-" else [Given(self.given)]
        return self.failures.among(chain.from_iterable([self.read(*part, unit) for part in self.parts() if part[0]]))

    def parts(self) -> list[tuple[list[File], bool]]:
        """Files that are read together, and whether their rows are."""
        if self.how.reads is None or self.how.column is not None:
            return [(self.files, False)]
        tables = [file for file in self.files if file.format != "text"]
        return [([file for file in self.files if file.format == "text"], False), (tables, True)]

    def read(self, files: list[File], rows: bool, unit: str) -> Iterator[Given]:
        """The inputs in some files; rows: by `how.reads`."""
        column = None if rows else self.how.column or self.learnt(files)
        try:
            reading = read(files, text=column, rows=rows, unit=unit, problems=self.failures)
        except InputError as error:
            self.failures.bad(error.where, error.what, error.do)  # raises it again, unless such are skipped
            return iter(())
        return self.taken(reading, rows)

    def learnt(self, files: list[File]) -> str | None:
        """The column of the run, where the first table has it."""
        tables = (file for file in files if self.how.learnt and file.format != "text")
        first = next((row for file in tables for _, row in table(file, Problems(skip=True))), {})
        return self.how.learnt if self.how.learnt in first else None

    def taken(self, reading: Reading, rows: bool) -> Iterator[Given]:
        for record in reading.records() if self.how.skip_bad else reading:
            where = place_of(record.where, whole=not record.fields and reading.unit == "file")
            yield from self.failures.until(self.one(record, where, rows), record.fields)

    def one(self, record: Record, where: str, rows: bool) -> Iterator[Given]:
        """The input that a record is. Raises InputError where it is none."""
        yield Given(self.how.reads(record) if rows and self.how.reads else record.text, where, record.fields)


def refuse_input(given: str, empty: bool = False) -> None:
    """Raises InputError for what is empty, no UTF-8, or has the form of a file name and is not there."""
    if given == "-" or (empty and not given.strip()):
        return
    if not given.strip():
        raise InputError("INPUT", "is empty", "Give a text in quotes, a file, or - for a pipe.")
    refuse_broken(given, "INPUT")
    looks_like_a_file(given)


def looks_like_a_file(given: str) -> bool:
    """True for what is there. Raises InputError for what has the form of a file name and is not there."""
    if given and len(given) < 1024 and "\n" not in given and is_there(given):
        return True
    path = Path(given) if len(given) < 1024 and not any(sign.isspace() for sign in given) else None
    if path is None or path.suffix.lower() not in {*FORMATS, ".gz", ".zip"} - {""}:
        return False
    near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
    raise InputError(given, "no such file", f"{near}Put a text in quotes if it is one, with a space in it.")


def is_there(given: str) -> bool:
    """False, too, for a text that is no possible file name."""
    try:
        return Path(given).exists()
    except OSError:
        return False


def lines(stream: IO[str]) -> Iterator[str]:
    """The lines of a stream, each cut at LONGEST characters, never held whole. Raises InputError for no text."""
    if stream is None:
        raise InputError("standard input", "is closed", "Pipe lines into it: firth predict RUN - < lines.txt")
    number = 1
    while line := read_line(stream, number):
        rest = line
        while len(rest) == LONGEST and not rest.endswith("\n"):
            rest = read_line(stream, number)
        refuse_broken(line, f"standard input:{number}")
        yield line.rstrip("\r\n")
        number += 1


def read_line(stream: IO[str], number: int) -> str:
    try:
        return stream.readline(LONGEST)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(f"standard input, near line {number}", f"byte 0x{byte:02X} is not UTF-8", CONVERT) from None


def refuse_broken(text: str, where: str) -> None:
    """Raises InputError for bytes that the system could not read as UTF-8 and handed on as half characters."""
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InputError(where, "is not UTF-8", CONVERT)
