"""One split of a packed corpus on disk: a token stream, its documents, their sentences and hashes; all memory-mapped.

tokens.bin         uint16 or uint32 (N,): every document followed by one separator ([SEP])
offsets.bin        int64 (documents + 1,): document d is tokens[offsets[d]:offsets[d + 1] - 1]
breaks.bin         int32 (S,): sentence starts, counted from the start of their document, 0 left out
break_offsets.bin  int64 (documents + 1,): document d has breaks[break_offsets[d]:break_offsets[d + 1]]
hashes.bin         uint64 (documents,): content hashes
"""

from pathlib import Path

import numpy as np

ARRAYS = {"offsets": np.int64, "breaks": np.int32, "break_offsets": np.int64, "hashes": np.uint64}


def token_type(vocabulary: int) -> type:
    return np.uint16 if vocabulary <= 65535 else np.uint32


def map_array(path: Path, kind) -> np.ndarray:
    """(n,): a file of numbers, read where it is looked at; no anonymous memory."""
    if path.stat().st_size == 0:
        return np.empty(0, kind)
    return np.asarray(np.memmap(path, dtype=kind, mode="r"))


class ShardWriter:
    """Appends documents to a split; holds no more than what it is handed."""

    def __init__(self, folder: Path, kind, separator: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.kind, self.separator = folder, kind, separator
        names = ("tokens", *ARRAYS)
        self.files = {name: open(folder / f"{name}.bin", "wb", buffering=1 << 18) for name in names}  # noqa: SIM115
        self.tokens = self.breaks = self.documents = 0
        self.open_length = 0  # tokens of the document that append() has begun
        self._write("offsets", np.zeros(1, np.int64))
        self._write("break_offsets", np.zeros(1, np.int64))

    def extend(self, ids: np.ndarray, counts: np.ndarray, breaks: np.ndarray, break_counts: np.ndarray, hashes) -> None:
        """Whole documents: ids (N,), tokens in each (d,), sentence starts (S,), number in each (d,), hashes (d,)."""
        ends = np.cumsum(counts + 1)
        stream = np.full(len(ids) + len(counts), self.separator, self.kind)
        stream[np.arange(len(ids)) + np.repeat(np.arange(len(counts)), counts)] = ids
        self._write("tokens", stream)
        self._write("breaks", breaks.astype(np.int32))
        self._write("offsets", self.tokens + ends)
        self._write("break_offsets", self.breaks + np.cumsum(break_counts))
        self._write("hashes", np.asarray(hashes, np.uint64))
        self.tokens += len(stream)
        self.breaks += len(breaks)
        self.documents += len(counts)

    def append(self, ids: np.ndarray, breaks: np.ndarray) -> None:
        """A piece of a document too long to be handed over at once."""
        self._write("tokens", ids.astype(self.kind))
        self._write("breaks", (breaks + self.open_length).astype(np.int32))
        self.open_length += len(ids)
        self.tokens += len(ids)
        self.breaks += len(breaks)

    def end_document(self, content_hash: int) -> None:
        """Close the document that append() has begun."""
        self._write("tokens", np.array([self.separator], self.kind))
        self.tokens, self.open_length, self.documents = self.tokens + 1, 0, self.documents + 1
        self._write("offsets", np.array([self.tokens], np.int64))
        self._write("break_offsets", np.array([self.breaks], np.int64))
        self._write("hashes", np.array([content_hash], np.uint64))

    def close(self) -> None:
        for stream in self.files.values():
            stream.close()

    def _write(self, name: str, array: np.ndarray) -> None:
        self.files[name].write(np.ascontiguousarray(array).data)


class Shard:
    """A written split; every attribute is memory-mapped."""

    def __init__(self, folder: Path, kind, separator: int):
        self.folder, self.separator = Path(folder), separator
        self.tokens = map_array(self.folder / "tokens.bin", kind)
        self.offsets, self.breaks, self.break_offsets, self.hashes = (
            map_array(self.folder / f"{name}.bin", kind) for name, kind in ARRAYS.items()
        )

    @property
    def documents(self) -> int:
        return len(self.hashes)

    @property
    def size(self) -> int:
        """Tokens of all documents, separators left out."""
        return len(self.tokens) - self.documents

    def document(self, number: int) -> np.ndarray:
        """int32 (n,): the tokens of one document."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1] - 1].astype(np.int32)
