"""Vectors into a file while they are made: .npy (opens memory-mapped) or .parquet; whole, or not there at all."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkstemp
from typing import Any, Protocol

import numpy as np

from firth.data.given import Given
from firth.errors import InputError, did_you_mean, install
from firth.train.folder import free_place, writing

# n inputs, D width


class Sink(Protocol):
    """Takes vectors in the order of the inputs."""

    def write(self, inputs: Sequence[Given], vectors: np.ndarray) -> None:
        """vectors: float32 (n, D); NaN for an input that cannot be read."""

    def close(self) -> None:
        """Everything is written."""


class Npy:
    """float32 (n, D). NumPy pads the header so that it has the same length for any n: it is written twice."""

    def __init__(self, path: Path, width: int):
        self.width, self.rows = width, 0
        self.file = path.open("wb")
        self._header()

    def write(self, inputs: Sequence[Given], vectors: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(vectors, np.float32).data)
        self.rows += len(vectors)

    def close(self) -> None:
        if not self.file.closed:
            self.file.seek(0)
            self._header()
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()

    def _header(self) -> None:
        described: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, self.width)}
        np.lib.format.write_array_header_1_0(self.file, described)


class Parquet:
    """Columns id (int64, 0, 1, …: the place among the inputs), text, where (null: typed), vector (D × float32)."""

    def __init__(self, path: Path, width: int):
        import pyarrow
        from pyarrow import parquet

        self.arrow, self.width, self.rows = pyarrow, width, 0
        self.kind = pyarrow.list_(pyarrow.float32(), width)
        columns = [("id", pyarrow.int64()), ("text", pyarrow.string()), ("where", pyarrow.string())]
        self.schema = pyarrow.schema([*columns, ("vector", self.kind)])
        self.writer = parquet.ParquetWriter(path, self.schema)

    def write(self, inputs: Sequence[Given], vectors: np.ndarray) -> None:
        """What cannot be read has no row."""
        good = [place for place, one in enumerate(inputs) if not isinstance(one.content, InputError)]
        flat = self.arrow.array(np.ascontiguousarray(vectors[good], np.float32).reshape(-1))
        rows = [
            self.arrow.array(self.rows + np.array(good, np.int64)),
            self.arrow.array([str(inputs[place].content) for place in good], self.arrow.string()),
            self.arrow.array([inputs[place].where or None for place in good], self.arrow.string()),
            self.arrow.FixedSizeListArray.from_arrays(flat, self.width),
        ]
        self.writer.write_table(self.arrow.table(rows, schema=self.schema))
        self.rows += len(inputs)

    def close(self) -> None:
        self.writer.close()


KINDS: dict[str, Any] = {".npy": Npy, ".parquet": Parquet}


class File:
    """A sink that writes under another name beside `path`; leaving without an error gives it its own."""

    def __init__(self, path: str | Path, width: int):
        self.path, self.width = Path(path), width

    def __enter__(self) -> Sink:
        with writing(self.path):
            number, name = mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)
            os.close(number)
        self.partial = Path(name)
        self.sink: Sink = KINDS[self.path.suffix.lower()](self.partial, self.width)
        return self.sink

    def __exit__(self, kind, error, _) -> None:
        try:
            with writing(self.path):
                self.sink.close()
                if kind is None:
                    self.partial.chmod(0o666 & ~_umask())
                    os.replace(self.partial, self.path)
                elif isinstance(error, OSError):
                    raise error
        finally:
            self.partial.unlink(missing_ok=True)


def check_out(out: str | Path) -> Path:
    """Raises InputError for a suffix nobody knows, a missing package, and what is there already."""
    path = Path(out)
    if path.suffix.lower() not in KINDS:
        hint = did_you_mean(path.suffix, KINDS) if path.suffix else ""
        raise InputError(f"--out {out}", "vectors are kept as .npy or .parquet", f"{hint}Say --out vectors.npy.")
    if path.suffix.lower() == ".parquet":
        _need_pyarrow(out)
    return free_place(path)


def _need_pyarrow(out) -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        do = f"Install it with: {install('data')}; or say --out vectors.npy."
        raise InputError(f"--out {out}", "parquet wants the package pyarrow", do)


def _umask() -> int:
    """What the person takes away from the rights of new files (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
