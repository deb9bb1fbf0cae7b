"""A suite: several tasks with their data, one way of adapting, and a table of runs beside random weights and baselines.

A suite is a small TOML file, one of suites/ or a person's own; `standings.py` runs it.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from firth.data.files import expand
from firth.data.readers import table
from firth.data.records import Problems
from firth.errors import InputError, did_you_mean
from firth.train.folder import write_atomically

HERE = Path(__file__).parent / "suites"
ALL: Literal["all"] = "all"


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(Table):
    """Some rows of a table that lies in the folder of the suite."""

    table: str
    where: dict[str, str | int | float] = {}  # column → value
    last: tuple[str, int] | None = None  # the last n rows of each value of a column
    but_last: tuple[str, int] | None = None  # all others

    def chosen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """In their order."""
        kept = [row for row in rows if all(str(row.get(name)) == str(value) for name, value in self.where.items())]
        for rule, wanted in ((self.last, True), (self.but_last, False)):
            if rule is not None:
                ends = last_of(kept, *rule)
                kept = [row for number, row in enumerate(kept) if (number in ends) is wanted]
        return kept


class Task(Table):
    """One column of the table, or one for each number of labels."""

    task: str
    label: str  # column of the labels, or of the transcripts
    train: Part
    test: Part | None = None  # none: what `leave_out` leaves out of `train`
    leave_out: str = ""  # column of groups, each the test part in turn, of `test` where that is given
    labels: tuple[int | Literal["all"], ...] = (ALL,)
    baselines: tuple[str, ...] = ()  # arms without a network, as `compare --arms` names them
    settings: dict[str, Any] = {}  # of this task, beside those of the suite

    @model_validator(mode="after")
    def tests_something(self) -> Self:
        if self.test is None and not self.leave_out:
            raise ValueError("give `test`, or a column to `leave_out`")
        return self

    @property
    def parts(self) -> dict[str, Part]:
        """By name."""
        return {"train": self.train} | ({"test": self.test} if self.test else {})


class Suite(Table):
    title: str
    data: str = ""  # folder of the tables, within FIRTH_DATA or beside the file
    settings: dict[str, Any] = {}  # dotted keys of adapt's recipe, for all tasks
    tasks: dict[str, Task] = Field(min_length=1)


def last_of(rows: Sequence[Mapping[str, Any]], column: str, count: int) -> set[int]:
    """Places of the last `count` rows of each value of the column."""
    places: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        places.setdefault(str(row.get(column)), []).append(number)
    return {number for found in places.values() for number in found[-count:]}


# ------------------------------------------------------------------ the file


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.toml"))


def open_suite(name: str) -> tuple[Suite, Path]:
    """The suite of a name, or in a TOML file, and the folder of its tables. `speech:digits,phones`: only these tasks.

    Raises InputError for what is not there or is no suite.
    """
    given, _, chosen = name.partition(":")
    path = HERE / f"{given}.toml" if given in names() else Path(given)
    if not path.is_file():
        hint = did_you_mean(given, names())
        do = f"{hint}There is: {', '.join(names())}; or give a TOML file of your own."
        raise InputError(f"--suite {given}", "no such suite", do)
    suite = parsed(path)
    return only(suite, [part.strip() for part in chosen.split(",") if part.strip()], name), folder_of(suite, path)


def parsed(path: Path) -> Suite:
    """The file as a suite. Raises InputError."""
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, f"is no valid TOML: {error}", "Repair that line.") from None
    try:
        return Suite(**tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(path, f"`{place}`: {first['msg']}", f"See {HERE / 'speech.toml'} for the form.") from None


def only(suite: Suite, chosen: Sequence[str], name: str) -> Suite:
    """The suite with these tasks; none named: with all. Raises InputError for one that it has not."""
    for one in chosen:
        if one not in suite.tasks:
            hint = did_you_mean(one, suite.tasks)
            raise InputError(f"--suite {name}", f"has no task `{one}`", f"{hint}It has: {', '.join(suite.tasks)}.")
    return suite.model_copy(update={"tasks": {one: suite.tasks[one] for one in chosen or suite.tasks}})


def folder_of(suite: Suite, path: Path) -> Path:
    """Where the tables lie: in FIRTH_DATA for a suite of firth, else beside the file. Raises InputError."""
    root = Path(os.environ.get("FIRTH_DATA", "data")) if path.parent == HERE else path.parent
    folder = root / suite.data
    missing = sorted({part.table for task in suite.tasks.values() for part in task.parts.values()
                      if not (folder / part.table).exists()})  # fmt: skip
    if missing:
        do = f"Set FIRTH_DATA to the folder that holds `{suite.data}`, or write a suite of your own: docs/suite.md."
        raise InputError(folder / missing[0], "is not there, and the suite reads it", do)
    return folder


def written(part: Part, folder: Path, place: Path) -> Path:
    """The rows of a part as a table of its own, beside links to what the rows name. Raises InputError for no row."""
    rows = [dict(row) for file in expand([folder / part.table]) for _, row in table(file, Problems())]
    chosen = part.chosen(rows)
    if not chosen:
        raise InputError(
            folder / part.table, f"has no row with {part.where or part.last}", "Check the suite's `where`."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    for beside in folder.iterdir():
        with suppress(FileExistsError):
            os.symlink(beside.resolve(), place.parent / beside.name)
    write_atomically(place, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen))
    return place
