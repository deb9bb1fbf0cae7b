"""The folder of a comparison: a file for each trial, so that a comparison that was ended goes on where it was."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firth.errors import InputError
from firth.evaluate.comparison import Point, Trial
from firth.train.adaptation import RANDOM
from firth.train.folder import write_atomically, writing

ASKED = "asked.json"


class Key(NamedTuple):
    """What a trial is called by."""

    arm: str
    labels: int
    seed: int


class Kept:
    """Trials by key under folder/trials, made with the first of them; no folder: nothing is kept.

    like: another such folder, of a run of the same network, whose trials of random initialisation are taken over.
    """

    def __init__(self, folder: Path | None, asked: Mapping[str, Any], like: Path | None = None):
        self.folder, self.asked, self.like = folder, asked, like
        self.count = 0  # of the trials that were found or kept
        if folder is not None:
            refuse_place(folder)
            refuse_other(folder, asked)

    def get(self, arm: str, labels: int, seed: int) -> Trial | None:
        """The trial, where it was done before."""
        key = Key(arm, labels, seed)
        if own := read(self.folder, key):
            self.count += 1
            return own
        other = read(self.like, key) if arm == RANDOM else None
        return self.put(other) if other else None

    def put(self, trial: Trial) -> Trial:
        """Raises InputError, RunError where nothing can be written."""
        if self.folder is not None:
            path = file_of(self.folder, Key(trial.arm, trial.labels, trial.seed))
            with writing(self.folder):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / ASKED, json.dumps(self.asked, indent=1, default=str) + "\n")
                write_atomically(path, json.dumps(plain(trial)) + "\n")
            self.count += 1
        return trial


def file_of(folder: Path, key: Key) -> Path:
    return folder / "trials" / f"{key.arm.replace('/', '_')}-{key.labels}-{key.seed}.json"


def read(folder: Path | None, key: Key) -> Trial | None:
    """The trial that a folder has; None: it has none, or there is no folder."""
    path = file_of(folder, key) if folder else None
    return trial_of(key, json.loads(path.read_text(encoding="utf-8"))) if path and path.exists() else None


def plain(trial: Trial) -> dict[str, Any]:
    """A trial without its key as plain values; JSON keeps every bit of them."""
    return {
        "predicted": np.asarray(trial.predicted).tolist() if trial.right is None else list(trial.predicted),
        "right": None if trial.right is None else trial.right.tolist(),
        "curve": [list(point) for point in trial.curve],
        "seconds": trial.seconds,
        "opening": trial.opening,
        "layers": list(trial.layers),
    }


def trial_of(key: Key, kept: Mapping[str, Any]) -> Trial:
    """The inverse of plain."""
    right = None if kept["right"] is None else np.array(kept["right"], float)
    said = kept["predicted"] if kept["right"] is not None else np.array(kept["predicted"], int)
    curve = tuple(Point(*one) for one in kept["curve"])
    return Trial(*key, said, curve, kept["seconds"], right, kept.get("opening"), tuple(kept.get("layers", ())))


def refuse_place(folder: Path) -> None:
    """Raises InputError where no folder can be made: before anything is trained."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        what = "is a file, not a folder" if there == folder else "lies inside a file, not a folder"
        raise InputError(folder, what, "Choose another place with --out.")
    if not os.access(there, os.W_OK):
        raise InputError(folder, "may not be written to", "Choose another place with --out.")


def refuse_other(folder: Path, asked: Mapping[str, Any]) -> None:
    """Raises InputError where the folder holds something else, or a comparison that was asked for otherwise."""
    path = folder / ASKED
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not path.exists():
        raise InputError(folder, "exists and holds no comparison", "Choose another --out.")
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(asked, default=str))
    other = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if other:
        what = f"holds a comparison with another {', '.join(other)}"
        raise InputError(folder, what, f"Choose another --out, or delete it: rm -r {folder}")


def layers_of(trials: Iterable[Trial]) -> dict[str, Any]:
    """{"layers": arm → what its last trial has learnt to read of each}, where there are such arms."""
    found = {trial.arm: list(trial.layers) for trial in trials if trial.layers}
    return {"layers": found} if found else {}
