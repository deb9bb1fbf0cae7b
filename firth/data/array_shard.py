"""Decoded samples on disk: pictures of one size, or sounds of any length; all memory-mapped.

values.bin        uint8 or int16 (N,): the arrays one after the other; empty where they are not kept (streamed.py)
offsets.bin       int64 (n + 1,): array i is values[offsets[i]:offsets[i + 1]] in the form that form.json says
hashes.bin        uint64 (n,): content hashes of the files
pieces.bin        int32 (n,): which piece of its file an array is, from 0; recordings of hours have many
labels.bin        int32 (n,): class of the sub-folder or column, -1 where there is none
names.bin         UTF-8; name_offsets.bin int64 (n + 1,): what each file is called
form.json         {"dtype": "uint8", "form": [3, 32, 32], "classes": ["cat", "dog"]}; -1: a length that differs
"""

import json
from pathlib import Path

import numpy as np

from firth.data.shards import map_array
from firth.functional.cells import ordered

ARRAYS = {"offsets": np.int64, "hashes": np.uint64, "pieces": np.int32, "labels": np.int32, "name_offsets": np.int64}


class ArrayWriter:
    """Appends arrays; holds no more than what it is handed. kept False: all but the arrays themselves is written."""

    def __init__(self, folder: Path, dtype: str, form: tuple[int, ...], kept: bool = True):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dtype, self.form, self.kept = folder, dtype, form, kept
        self.files = {name: open(folder / f"{name}.bin", "wb", buffering=1 << 18) for name in ("values", "names", *ARRAYS)}  # noqa: SIM115, E501 # fmt: skip
        self.classes: dict[str, int] = {}
        self.count = self.size = self.named = 0
        self._number("offsets", 0)
        self._number("name_offsets", 0)

    def append(self, array: np.ndarray, content: int, name: str, label: str | None, piece: int = 0) -> None:
        written = name.encode("utf-8", "replace")
        number = -1 if label is None else self.classes.setdefault(label, len(self.classes))
        if self.kept:
            self.files["values"].write(np.ascontiguousarray(array, self.dtype).data)
        self.files["names"].write(written)
        self.count, self.size, self.named = self.count + 1, self.size + array.size, self.named + len(written)
        for key, value in (("offsets", self.size), ("hashes", content), ("pieces", piece), ("labels", number),
                           ("name_offsets", self.named)):  # fmt: skip
            self._number(key, value)

    def close(self) -> None:
        for stream in self.files.values():
            stream.close()
        told = {"dtype": self.dtype, "form": list(self.form), "classes": list(self.classes)}
        (self.folder / "form.json").write_text(json.dumps(told), "utf-8")

    def _number(self, name: str, value: int) -> None:
        self.files[name].write(np.array([value], ARRAYS[name]).data)


class ArrayShard:
    """The written arrays."""

    def __init__(self, folder: Path):
        folder = Path(folder)
        told = json.loads((folder / "form.json").read_text("utf-8"))
        self.form = tuple(told["form"])
        self.values = map_array(folder / "values.bin", np.dtype(told["dtype"]))
        self.names = map_array(folder / "names.bin", np.uint8)
        self.offsets, self.hashes, self.pieces, labels, self.name_offsets = (
            map_array(folder / f"{name}.bin", kind) for name, kind in ARRAYS.items()
        )
        self.classes, self.labels = _sorted(tuple(told["classes"]), labels)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def lengths(self) -> np.ndarray:
        """int64 (n,): values of each array."""
        return np.diff(self.offsets)

    def array(self, number: int) -> np.ndarray:
        """The array as it was written; a view of the file."""
        return self.values[self.offsets[number] : self.offsets[number + 1]].reshape(self.form)

    def arrays(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Several of them."""
        return [self.array(number) for number in numbers.tolist()]

    def joined(self, first: int, end: int) -> np.ndarray:
        """Arrays first … end - 1 as one, where their form is a length."""
        values = self.values[self.offsets[first] : self.offsets[end]]
        return values.reshape(self.form if end - first == 1 else -1)

    def part(self, number: int, begin: int, end: int) -> np.ndarray:
        """Values begin … end of an array whose form is a length."""
        first = self.offsets[number]
        return self.values[first + begin : first + end]

    def name(self, number: int) -> str:
        return bytes(self.names[self.name_offsets[number] : self.name_offsets[number + 1]]).decode("utf-8")


def _sorted(classes: tuple[str, ...], labels: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes by name, by number where all are numbers; and the labels in that numbering."""
    order = ordered(classes)
    places = np.array([*(order.index(name) for name in classes), -1], np.int32)
    return tuple(order), places[labels]
