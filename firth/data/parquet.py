"""Parquet, read in batches with pyarrow, which comes with the extra `data`."""

import io
from collections.abc import Iterator
from typing import Any

from firth.data.records import Problems, Where
from firth.errors import InputError, install

BATCH = 1024  # rows
MEDIA = 64  # rows whose cells hold pictures or recordings
IN_MEMORY = 256 << 20  # bytes of a parquet file inside an archive, which has to be held whole
EXTRA = f"Install it with: {install('data')}"


def rows(stream, name: str, problems: Problems, media: bool = False) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Each row as column → value; columns of bytes are left out unless media are wanted, as are nested ones but lists
    of names or whole numbers (labels, words, tags). Where.line is the row, from 1."""
    arrow, parquet = _pyarrow(name)
    try:
        table = parquet.ParquetFile(_seekable(stream, name))
        fits = _is_medium if media else _is_plain
        columns = [field.name for field in table.schema_arrow if fits(arrow, field.type)]
        number = 0
        for batch in table.iter_batches(MEDIA if media else BATCH, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield Where(name, number), row
    except arrow.ArrowException as error:
        what = str(error).splitlines()[0].rstrip(".")
        problems.bad(name, f"is no readable parquet file ({what})", "Copy or write the file again.")


def _pyarrow(name: str):
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(name, "is a parquet file, and pyarrow is not installed", EXTRA) from None
    return pyarrow, pyarrow.parquet


def _is_plain(arrow, kind) -> bool:
    def one_of(kind, *names: str) -> bool:
        return any(getattr(arrow.types, f"is_{name}")(kind) for name in names)

    names = ("string", "large_string", "string_view", "integer")
    if one_of(kind, "list", "large_list", "fixed_size_list"):
        return one_of(kind.value_type, *names)
    return one_of(kind.value_type if one_of(kind, "dictionary") else kind, *names, "floating", "boolean")


def _is_medium(arrow, kind) -> bool:
    """What is plain, bytes, and bytes with their path as the `datasets` library keeps them."""
    if arrow.types.is_struct(kind):
        return {kind.field(number).name for number in range(kind.num_fields)} <= {"bytes", "path"}
    return arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind) or _is_plain(arrow, kind)


def _seekable(stream, name: str):
    """A file as it is; what comes out of an archive is read into memory, up to a limit."""
    if isinstance(stream, io.BufferedReader):
        return stream
    held = stream.read(IN_MEMORY + 1)
    if len(held) > IN_MEMORY:
        raise InputError(name, f"is a packed parquet file of more than {IN_MEMORY >> 20} MiB",
                         "Unpack it first; parquet is compressed inside already.")  # fmt: skip
    return io.BytesIO(held)
