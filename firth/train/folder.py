"""The run folder: the unit that people keep and share. Names of its files, its status, and who may write into it."""

import errno
import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from firth.errors import InputError, RunError
from firth.recipe import Recipe, filled, load_toml, to_toml

OWN = {
    "README.md",
    "config.toml",
    "run.json",
    "metrics.jsonl",
    "train.log",
    "samples",
    "checkpoints",
    "model",
    "adapter",
    "report.html",
    ".lock",
    ".model-partial",
}
STREAMS = (Path("/dev"), Path("/dev/fd"))  # folders whose files are streams
Status = Literal["new", "unfinished", "finished"]


class RunFolder:
    """runs/<name>: README.md config.toml run.json metrics.jsonl train.log samples/ checkpoints/ model/ report.html."""

    def __init__(self, path):
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    card = property(lambda self: self.path / "README.md")
    config = property(lambda self: self.path / "config.toml")
    facts_path = property(lambda self: self.path / "run.json")
    metrics = property(lambda self: self.path / "metrics.jsonl")
    log = property(lambda self: self.path / "train.log")
    samples = property(lambda self: self.path / "samples")
    checkpoints = property(lambda self: self.path / "checkpoints")
    model = property(lambda self: self.path / "model")
    report = property(lambda self: self.path / "report.html")

    @property
    def facts(self) -> dict[str, Any]:
        """run.json: status, made_in, asked, versions, seed, data, machine, plan, result. {} where there is none."""
        try:
            facts = json.loads(self.facts_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError):
            facts = None
        if not isinstance(facts, dict):
            raise InputError(
                self.facts_path, "cannot be read as the facts of a run", "Choose another folder with --out."
            )
        return facts

    @property
    def status(self) -> Status:
        """new: nothing of a run is in it."""
        facts = self.facts
        if not facts:
            return "new"
        return "finished" if facts.get("status") == "finished" else "unfinished"

    @property
    def recipe(self) -> Recipe:
        """The complete recipe in config.toml."""
        return load_toml(self.config)

    @property
    def reached(self) -> Recipe:
        """The recipe with its files as they are found from here.

        A path that was typed as relative, and leads nowhere from the working folder, is looked for from the folder that
        the run was made in; run.json knows that as seen from the run folder, so that both can be moved together.
        """
        recipe, made_in = self.recipe, self.facts.get("made_in")
        if made_in is None:
            return recipe
        place = _unlinked(self.path) / made_in
        data = {name: tuple(_reached(path, place) for path in getattr(recipe.data, name))
                for name in ("paths", "valid", "test")}  # fmt: skip
        source = recipe.model.source and _reached(recipe.model.source, place)
        return filled(recipe, data=data, model={"source": source})

    def update(self, **facts: Any) -> None:
        """Merge into run.json, atomically."""
        with writing(self.path):
            write_atomically(self.facts_path, json.dumps(self.facts | facts, indent=2, ensure_ascii=False) + "\n")

    def create(self, recipe: Recipe, **facts: Any) -> None:
        """Make the folder and write config.toml and run.json (status: running)."""
        with writing(self.path):
            for folder in (self.path, self.samples, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config, to_toml(recipe))
        self.update(status="running", made_in=os.path.relpath(os.getcwd(), self.path.resolve()), **facts)


def _reached(path: str, made_in: Path) -> str:
    """The path, or the same below `made_in` where something is there and nothing here."""
    there = os.path.normpath(made_in / path)
    return there if _something_at(there) and not _something_at(path) else path


def _unlinked(path: Path) -> Path:
    """The path; where a link is on the way, what it leads to: that is where `..` leads up from."""
    real = path.resolve()
    return path if real == Path(os.path.abspath(path)) else real


def _something_at(path: str) -> bool:
    return os.path.lexists(path) or bool(glob.glob(path))


def claim(path, asked: dict[str, Any], recipe: Recipe | None = None) -> RunFolder:
    """The folder for a run that was asked for like this: new, unfinished with the same request, or finished.

    asked: the request as plain values, kept in run.json. recipe: with --config, the complete recipe it holds, which
    counts as the same request when it equals the folder's config.toml.
    Raises InputError for a folder that holds another run or something else, naming a free one.
    """
    folder = RunFolder(path)
    with writing(folder.path):
        taken = folder.path.exists() and (
            not folder.path.is_dir() or folder.facts_path.exists() or foreign(folder.path)
        )
    if not taken:
        return folder
    free = free_name(folder.path)
    if folder.status == "new":
        raise InputError(folder, "is there already and is no run of firth", f"Choose another place: --out {free}.")
    if folder.facts.get("asked") != asked and not (recipe and folder.config.exists() and folder.recipe == recipe):
        differing = _differences(folder.facts.get("asked") or {}, asked)
        raise InputError(
            folder,
            f"holds a run of another config ({differing})",
            f"Keep both: --out {free}. Or delete it: firth runs --delete {folder}.",
        )
    return folder


def foreign(path: Path) -> bool:
    """Whether something lies there that no run would have left."""
    partial = tuple(f".{name}." for name in OWN)  # as write_atomically names what a kill may leave
    return any(entry.name not in OWN and not entry.name.startswith(partial) for entry in path.iterdir())


def free_name(path: Path) -> Path:
    """path-2, path-3, …: the first that does not exist; below runs/ for a path without a name, such as `.`."""
    if path.name in ("", ".."):
        path = Path("runs") / (path.resolve().name or "run")
    number = 2
    while (free := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return free


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    shown = [f"{key}: {old.get(key)} there, {new.get(key)} here" for key in keys[:3]]
    return "; ".join(shown + ["…"] * (len(keys) > 3))


@contextmanager
def locked(folder: RunFolder, do: str = ""):
    """Hold the folder (made if missing), so that no second process trains in it.

    The lock ends with the process, however it ends. do: what the second one is told.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with writing(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = open(folder.path / ".lock", "w", encoding="utf-8")  # noqa: SIM115
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            do = do or f"Wait for it, or choose --out {free_name(folder.path)}."
            raise InputError(folder, "is being trained by another process", do) from None
        yield


def free_place(path: str | Path, streams: bool = False) -> Path:
    """The place itself, for one file or folder. streams: a pipe or a device will do, too.

    Raises InputError where something is there already, or where its folder is not: nothing is overwritten.
    """
    path, where = Path(path), f"--out {path}"
    with writing(where):
        if streams and is_stream(path):
            return path
        if path.exists() or path.is_symlink():
            raise InputError(where, "is there already", "Choose another name, or remove it first.")
        if path.parent.exists() and not path.parent.is_dir():
            raise InputError(where, "lies inside a file, not a folder", "Choose another place.")
        if not path.parent.is_dir():
            raise InputError(where, "lies in a folder that does not exist", f"Make it: mkdir -p {path.parent}")
    return path


def is_stream(path: Path) -> bool:
    """A pipe, or a device such as /dev/stdout, whatever that leads to: it is written to, not replaced."""
    if path.parent in STREAMS:
        return path.exists()
    return path.exists() and not path.is_file() and not path.is_dir()


def refuse_taken(folder: RunFolder) -> None:
    """Raises InputError where another process has begun a run in the folder since it was found free."""
    if folder.status != "new":
        what = "was taken by another run while this one was prepared"
        raise InputError(folder, what, f"Choose another place: --out {free_name(folder.path)}.")


@contextmanager
def writing(path, do: str = "Choose another place with --out."):
    """Turn the system's refusals to write into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                path,
                "the disk is full",
                "Make room, then run the same command again: it goes on from the last checkpoint.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(path, "may not be written to", do) from error
        if error.errno in (errno.ENOENT, errno.EISDIR) and _beside(error, path):
            what = "is a folder" if error.errno == errno.EISDIR else "lies in a folder that does not exist"
            raise InputError(path, what, do) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise InputError(path, "lies inside a file, not a folder", do) from error
        raise


def _beside(error: OSError, path) -> bool:
    """True where the error is about `path` itself, or the temporary file that is to become it."""
    names = map(Path, filter(None, (error.filename, error.filename2)))
    return any(name == Path(path) or name.parent == Path(path).parent for name in names)


def write_atomically(path: Path, text: str) -> None:
    """Write under a temporary name, sync, rename: readers see the old text or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_file(out: str | Path) -> Iterator[IO[str]]:
    """A text file to write, under another name until it is whole; a stream is added to as it comes.

    Raises InputError where there can be none, RunError for a full disk; nothing is left of a file that broke off.
    """
    out = Path(out)
    stream = is_stream(out)
    partial = out if stream else out.with_name(f".{out.name}.partial")
    try:
        with writing(out):
            with open(partial, "a" if stream else "w", encoding="utf-8", newline="") as file:
                yield file
            if not stream:
                partial.replace(out)
    finally:
        if not stream:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
