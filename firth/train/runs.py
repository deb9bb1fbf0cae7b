"""`firth runs`: list, show, compare and delete run folders."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from firth.errors import InputError, did_you_mean
from firth.train.cached import cached
from firth.train.card import describe_metrics
from firth.train.describe import duration
from firth.train.folder import RunFolder, locked, writing
from firth.train.log import Show, Silent


def runs(
    names: Iterable[str | Path] = (),
    delete: bool = False,
    yes: bool = False,
    root: str | Path | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    ask: Callable[[str], bool] | None = None,
    cache: bool = False,
) -> list[dict[str, Any]] | dict[str, Any]:
    """No name: all runs below `root` (default: runs). One: its facts. Several: what differs. Raises InputError.

    cache: in place of runs what was read and decoded for them.
    """
    root, given, show = Path(root or "runs"), list(names), show or Silent()
    if cache:
        refuse_named(given)
        return cached(delete, yes, dry_run, show, ask)
    folders = [find(name, root) for name in given]
    if delete:
        return remove(folders, yes, dry_run, show, ask)
    if not folders:
        return listed(root, show)
    return shown(folders[0], show) if len(folders) == 1 else compared(folders, show)


def refuse_named(given: Sequence[str | Path]) -> None:
    """Raises InputError where runs are named and the cache is meant, which is that of all."""
    if given:
        what = f"was asked for beside {', '.join(map(str, given))}, and belongs to all runs together"
        raise InputError("--cache", what, "Leave out the one or the other.")


def find(name: str | Path, root: Path = Path("runs")) -> RunFolder:
    """A run by path, or by name below `root`. Raises InputError for what is no run of firth."""
    for path in (Path(name), root / name):
        if path.is_dir() and RunFolder(path).facts:
            return RunFolder(path)
    known = [folder.path.name for folder in below(root)]
    there = f"There is: {', '.join(known)}." if known else f"There is no run in {root}."
    raise InputError(name, "is no run folder of firth", did_you_mean(str(name), known) + there)


def below(root: Path) -> list[RunFolder]:
    """The run folders directly below `root`, by name."""
    if not Path(root).is_dir():
        return []
    return [RunFolder(p.parent) for p in sorted(Path(root).glob("*/run.json"))]


def summary(folder: RunFolder) -> dict[str, Any]:
    """Path, verb, objective, status, and the result where there is one."""
    facts = folder.facts
    result, asked = facts.get("result") or {}, facts.get("asked") or {}
    return {
        "folder": str(folder.path),
        "verb": asked.get("verb"),
        "objective": asked.get("objective"),
        "status": facts.get("status"),
        "loss": result.get("loss"),
        "accuracy": result.get("accuracy"),
        "seconds": result.get("seconds"),
        "steps": result.get("steps") or (facts.get("plan") or {}).get("steps"),
    }


def listed(root: Path, show: Show) -> list[dict[str, Any]]:
    """One line per run; of one whose facts are damaged what is wrong with them."""
    folders, found = below(root), []
    for folder in folders:
        try:
            found.append(summary(folder))
            show.line(folder.path.name, describe(found[-1]))
        except InputError as error:
            show.line(folder.path.name, error.what)
    if not folders:
        show.note(f"There is no run in {root}.")
    return found


def describe(row: dict[str, Any]) -> str:
    """pretrain · masked-tokens · finished · loss 4.12 · 24.1 % right · 19 min"""
    parts = [row["verb"], "+".join(row["objective"] or []), row["status"]]
    parts += [f"loss {row['loss']:.2f}"] if row["loss"] is not None else []
    parts += [f"{100 * row['accuracy']:.1f} % right"] if row["accuracy"] is not None else []
    parts += [duration(row["seconds"])] if row["seconds"] else []
    return " · ".join(part for part in parts if part)


def shown(folder: RunFolder, show: Show) -> dict[str, Any]:
    """All facts of one run."""
    facts = folder.facts
    show.line("Run", describe(summary(folder)))
    if facts.get("result"):
        show.line("Result", describe_metrics(facts["result"].get("metrics") or {}))
    for key in ("plan", "data", "versions", "machine"):
        if facts.get(key):
            show.line(key.capitalize(), " · ".join(f"{k} {_short(v)}" for k, v in facts[key].items() if v is not None))
    return facts


def compared(folders: list[RunFolder], show: Show) -> dict[str, Any]:
    """By run: the keys of the recipe that are not the same in all, and the results."""
    from firth.train.pretrain import flat

    recipes = {str(folder.path): flat(folder.recipe) for folder in folders}
    keys = sorted({key for recipe in recipes.values() for key in recipe})
    differing = [key for key in keys if len({repr(recipe.get(key)) for recipe in recipes.values()}) > 1]
    table = {
        name: {"config": {key: recipe.get(key) for key in differing}, "result": summary(RunFolder(name))}
        for name, recipe in recipes.items()
    }
    for name, row in table.items():
        config = " · ".join(f"{key} {value}" for key, value in row["config"].items())
        show.line(Path(name).name, f"{describe(row['result'])} · {config or 'same config'}")
    return table


def remove(
    folders: list[RunFolder], yes: bool, dry_run: bool, show: Show, ask: Callable[[str], bool] | None
) -> list[dict[str, Any]]:
    """Delete run folders, after asking. Raises InputError where nobody can be asked."""
    if not folders:
        raise InputError("firth runs --delete", "names no run", "Name the folders to delete; `firth runs` lists them.")
    names = ", ".join(str(folder) for folder in folders)
    if dry_run:
        show.note(f"Would delete {names}.")
    elif not yes and ask is None:
        raise InputError(f"firth runs --delete {names}", "would delete without asking", "Add --yes to delete.")
    elif yes or (ask and ask(f"Delete {names}?")):
        for folder in folders:
            delete(folder)
            show.note(f"Deleted {folder}.")
    return [{"folder": str(folder), "deleted": not folder.path.exists()} for folder in folders]


def delete(folder: RunFolder) -> None:
    """Raises InputError for a run that is being trained, and for a folder that may not be deleted."""
    if folder.path.is_symlink():
        raise InputError(folder, "is a link", f"Delete the run itself: firth runs --delete {folder.path.resolve()}.")
    with locked(folder, f"Stop that one first, then delete {folder}."), writing(folder.path, "Ask its owner."):
        shutil.rmtree(folder.path)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
