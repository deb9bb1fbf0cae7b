"""The recipe table `data`: what is read, and as what."""

import os
from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Data(BaseModel):
    """What is read. Everything left at its default is found in the data and written down filled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[str, ...] = ()  # files, folders, globs, .zip, .gz
    text: str | None = None  # name of the text column
    label: str | None = None  # name of the label column
    valid: tuple[str, ...] = ()  # adapt: labelled validation files; else a part of `paths` is split off
    test: tuple[str, ...] = ()  # adapt: labelled test files, touched once, at the end
    leave_out: str | None = None  # adapt: `column=a,b`, rows that are tested on and not learnt from
    document: Literal["auto", "file", "block", "line"] = "auto"
    held_out: float = Field(default=0.02, gt=0, lt=0.9, description="share of documents held out, by content hash")
    duplicates: Literal["drop", "keep"] = "drop"  # exact ones
    skip_bad: bool = False  # drop rows and files that cannot be read, instead of ending
    labels: int | None = None  # adapt: so many labelled examples (images, sound: of each class), validation included


def listed(given: str | os.PathLike | Iterable[Any], written: Callable[[Any], str] = os.fspath) -> tuple[str, ...]:
    """What a person gave as one or several: paths and texts, as strings. written: a single one."""
    return tuple(map(written, [given] if isinstance(given, str | os.PathLike) else given))
