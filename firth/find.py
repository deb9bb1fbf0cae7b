"""Name → module by file name. There is no registry to edit: a new file is a new method."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from firth.errors import InputError, did_you_mean

HERE = Path(__file__).parent
Base = TypeVar("Base")


def names(kind: str) -> list[str]:
    """The methods of a kind ("objectives", "tasks", "signals", "starts", "data/synthetic"), dashed: `masked-tokens`."""
    return sorted(p.stem.replace("_", "-") for p in (HERE / kind).glob("[a-z]*.py"))


def learnable() -> list[str]:
    """The tasks that weights change for. Their files are read, not imported, as torch would come along."""
    told = re.compile(r"^    learns: .*= False$", re.M)
    files = {name: HERE / "tasks" / f"{name.replace('-', '_')}.py" for name in names("tasks")}
    return [name for name, file in files.items() if not told.search(file.read_text(encoding="utf-8"))]


def find(kind: str, name: str) -> ModuleType:
    """find("objectives", "masked-tokens") is the module firth/objectives/masked_tokens.py.

    Raises InputError for an unknown name; a broken file shows its own error.
    """
    dashed = name.replace("_", "-")
    if dashed not in names(kind):
        hint = did_you_mean(dashed, names(kind))
        raise InputError(f"{kind} `{name}`", "no such name", f"{hint}There is: {', '.join(names(kind))}.")
    return import_module(f"firth.{kind.replace('/', '.')}.{dashed.replace('-', '_')}")


def main_class(module: ModuleType, base: type[Base]) -> type[Base]:
    """The one class in `module` that subclasses `base` and is defined there."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(
            f"{module.__name__}: {len(found)} subclasses of {base.__name__} are defined, one is expected. "
            f"Keep one method per file."
        )
    return found[0]
