"""The cache of packed corpora: keyed by content, built in a temporary folder, renamed when whole.

Builders of the same key wait for each other by a file lock, which the system releases when a process dies, however it
dies; what a dead builder left behind is removed by the next one.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp

from firth.errors import InputError, RunError

try:
    import fcntl
except ImportError:  # no file locks on this system: two builders may both do the work, and one result is kept
    fcntl = None  # type: ignore[assignment]

BLOCK = 1 << 22  # bytes read at once
BUILDING = ".building-"
KEY = re.compile(r"[0-9a-f]{32}(\.index)?")  # names of what corpora are built as; other folders are other people's
PROBING = ".probing-"  # folders of runs that measure the disk
CHOOSE = "Set FIRTH_CACHE to a folder that can be written."
OTHER_DISK = "Make space, or set FIRTH_CACHE to a folder on another disk."


def cache_folder(given: str | Path | None = None) -> Path:
    """`given`, else $FIRTH_CACHE, else ~/.cache/firth."""
    chosen = given or os.environ.get("FIRTH_CACHE") or Path.home() / ".cache" / "firth"
    return Path(chosen).expanduser()


def fingerprint(paths: Iterable[Path]) -> list[tuple[str, int, str]]:
    """(suffix, size in bytes, BLAKE2b of the content) of each file; read in blocks. Raises InputError."""
    return [_mark(Path(path)) for path in paths]


def _mark(path: Path) -> tuple[str, int, str]:
    try:
        return path.suffix.lower(), os.path.getsize(path), _content_hash(path)
    except OSError as error:
        do = "It was there a moment ago: see that nothing moves or deletes it, and run again."
        raise InputError(path, f"cannot be read ({error.strerror})", do) from None


def _content_hash(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def get(root: Path, key: str, build: Callable[[Path], None], whole: Callable[[Path], bool]) -> Path:
    """The folder of `key`; built where it is missing or not `whole`. Raises InputError, RunError (disk full)."""
    final = root / key
    if whole(final):
        return final
    with _written(root):
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root, key):
            if not whole(final):
                _build(root, key, build)
            _sweep(root)
    return final


def _build(root: Path, key: str, build: Callable[[Path], None]) -> None:
    """Build in a folder of its own, then rename."""
    _remove_leftovers(root, key)
    folder = Path(mkdtemp(prefix=f"{BUILDING}{key}-", dir=root))
    try:
        build(folder)
        if (root / key).exists():
            shutil.rmtree(root / key)
        os.rename(folder, root / key)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def built(root: Path) -> list[Path]:
    """The folders that were built in `root`, and those that are being built, or were when their builder died."""
    found = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and KEY.fullmatch(_key_of(path)))


def clear(root: Path) -> None:
    """Remove all that was built in `root`; nothing where something is being built, which raises InputError."""
    found = sorted({_key_of(path) for path in built(root)})
    with _written(root), ExitStack() as held:
        for key in found:
            try:
                held.enter_context(_locked(root, key, wait=False))
            except BlockingIOError:
                do = "Wait until it has read its files, or end it, and run this again."
                raise InputError(root / key, "is being built by a run", do) from None
        for key in found:
            if (root / key).exists():
                shutil.rmtree(root / key)
            _remove_leftovers(root, key)


def _key_of(folder: Path) -> str:
    return folder.name.removeprefix(BUILDING).rsplit("-", 1)[0]


def _sweep(root: Path) -> None:
    """Remove what builders of other keys left when they died."""
    for folder in root.glob(BUILDING + "*"):
        key = _key_of(folder)
        with suppress(BlockingIOError), _locked(root, key, wait=False):
            _remove_leftovers(root, key)


def _remove_leftovers(root: Path, key: str) -> None:
    for folder in root.glob(f"{BUILDING}{key}-*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(root: Path, key: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a key. Raises BlockingIOError if somebody has it and wait is False."""
    with open(root / f".{key}.lock", "w") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


@contextmanager
def _written(root: Path) -> Iterator[None]:
    """Trouble with the cache's own disk, told so that a person can act. Other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(root, "the disk is full", OTHER_DISK) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST) and _below(error, root):
            raise InputError(root, f"the cache folder cannot be written ({error.strerror})", CHOOSE) from None
        raise


def _below(error: OSError, root: Path) -> bool:
    """True if the error is about the cache, not about the data read while it was built."""
    name = str(error.filename or "")
    return name.startswith(str(root)) or str(root).startswith(name)
