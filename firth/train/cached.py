"""`firth runs --cache`: what was read and decoded and is kept for the next run, and emptying it."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from firth.data.cache import PROBING, built, cache_folder, clear
from firth.errors import InputError, count
from firth.train.describe import duration, size
from firth.train.folder import writing
from firth.train.log import Show

CORPORA = "corpora"  # texts as tokens, pictures and sounds decoded
READY = "ready"  # what objectives found in the whole of the data, such as units of sound
PROBES = "probes"  # how fast this machine is
PROBE = re.compile(r"[0-9a-f]{16}\.json")  # names of these; other files are other people's
LEFT = "left"
DAY = 86_400  # seconds


def cached(
    delete: bool, yes: bool, dry_run: bool, show: Show, ask: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """Size and age of the cache's folders, the newest first; with `delete` they are removed, after asking.

    Of other things that lie there nothing is told or removed. Raises InputError where nobody can be asked, and while
    files are being read into it.
    """
    root = cache_folder()
    found = entries(root)
    amount = sum(entry["bytes"] for entry in found)
    show.line("Cache", f"{root} · " + (f"{size(amount)} in {count(len(found), 'folder')}" if found else "empty"))
    for entry in found:
        show.line(entry["kind"], described(entry))
    gone = delete and not dry_run and agreed(root, yes, ask)
    if gone:
        empty(root)
        show.note(f"Emptied {root}.")
    elif delete and dry_run:
        show.note(f"Would empty {root}.")
    return {"folder": str(root), "bytes": amount, "entries": found, "deleted": gone}


def agreed(root: Path, yes: bool, ask: Callable[[str], bool] | None) -> bool:
    """Raises InputError where nobody can be asked."""
    if yes:
        return True
    if ask is not None:
        return ask(f"Empty {root}? Runs that read from it should have ended.")
    what = f"would empty {root} without asking"
    do = "End the runs that read from it, whose data would be gone, then add --yes."
    raise InputError("firth runs --cache --delete", what, do)


def entries(root: Path) -> list[dict[str, Any]]:
    """Kind, name, bytes, age in seconds, and number of files that it was made of, for each folder."""
    groups = [(kind, path.name, [path]) for kind in (CORPORA, READY) for path in built(root / kind)]
    groups += [(LEFT, path.name, [path]) for path in left(root)]
    groups += [(PROBES, PROBES, files)] if (files := probes(root)) else []
    found = [
        {"kind": kind, "name": name, **measured(paths), "files": files_of(paths[0])} for kind, name, paths in groups
    ]
    return sorted(found, key=lambda entry: entry["seconds"])


def left(root: Path) -> list[Path]:
    """What runs left that were killed while they measured the disk."""
    return sorted(root.glob(PROBING + "*"))


def probes(root: Path) -> list[Path]:
    return sorted(path for path in (root / PROBES).glob("*.json") if PROBE.fullmatch(path.name))


def measured(paths: Iterable[Path]) -> dict[str, float]:
    """Bytes, and seconds since the last of them was written; a run may write and remove files meanwhile."""
    told, now = [], time.time()
    for path in chain.from_iterable([one, *one.rglob("*")] for one in paths):
        with suppress(OSError):
            told += [path.stat()] if path.is_file() else []
    newest = max((one.st_mtime for one in told), default=now)
    return {"bytes": sum(one.st_size for one in told), "seconds": max(0.0, round(now - newest, 1))}


def files_of(folder: Path) -> int | None:
    """How many files a corpus was read from, where it says so."""
    try:
        return int(json.loads((folder / "facts.json").read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def described(entry: dict[str, Any]) -> str:
    """3f0c… · 312 MB · of 200 files · 3 days old"""
    read = [f"of {count(entry['files'], 'file')}"] if entry["files"] is not None else []
    name = entry["name"] if len(entry["name"]) <= 12 else entry["name"][:8] + "…"
    return " · ".join([name, size(entry["bytes"]), *read, f"{age(entry['seconds'])} old"])


def age(seconds: float) -> str:
    """19 min · 5 h 20 min · 3 days"""
    return duration(seconds) if seconds < 2 * DAY else f"{seconds / DAY:,.0f} days"


def empty(root: Path) -> None:
    """Raises InputError for folders that may not be removed, or not now."""
    clear(root / CORPORA)
    with writing(root, "Ask its owner."):
        for folder in (*built(root / READY), *left(root)):
            shutil.rmtree(folder)
        for file in probes(root):
            file.unlink(missing_ok=True)
