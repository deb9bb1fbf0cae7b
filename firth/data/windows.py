"""Sources over a packed split: windows are cut on reading, so one cache serves every context length.

A stream is cut at other places in every epoch after the first, so that where a text is read many times no token keeps
its place in a row; rows that are held out are always those of the first.

Legend: L tokens in a window, without [CLS] and the [SEP]s that the signal adds.
"""

import os
from pathlib import Path
from tempfile import mkstemp

import numpy as np

from firth.data.shards import Shard, map_array
from firth.data.source import windows_elsewhere
from firth.errors import InputError
from firth.functional.random import Draw, combine
from firth.signal import Sample

AT_ONCE = 1 << 18  # documents handled at once when windows are counted
LEAST = 4  # tokens in a window


class PackedRows:
    """The documents' stream, joined by [SEP], cut every L = context - 2 tokens: no padding but in the last row.

    In later epochs the stream is a ring, in which the last document stands before the first; a token is left out of it.
    """

    lengths = None  # all rows are equally long

    def __init__(self, shard: Shard, context: int):
        self.shard, self.size = shard, _room(context, 2)
        self.total = max(0, len(shard.tokens) - 1)  # the last separator ends nothing

    def __len__(self) -> int:
        return -(-self.total // self.size)

    def get(self, indices: np.ndarray, draw: Draw | None = None) -> list[Sample]:
        """key = (hash of the document of the first token, number of the row)."""
        return rows_of(self.shard, np.asarray(indices, np.int64), self.size, self.total, draw)


class StreamRows:
    """The documents' stream cut every C = context tokens, each row with the token after it, for guessing.

    The stream is a ring: the last separator stands before the first document, too; so each token is guessed once in an
    epoch, and read once.
    """

    lengths = None  # all rows are equally long

    def __init__(self, shard: Shard, context: int):
        self.shard, self.size = shard, _room(context, 0)

    def __len__(self) -> int:
        return -(-len(self.shard.tokens) // self.size)

    def get(self, indices: np.ndarray, draw: Draw | None = None) -> list[Sample]:
        """key = (hash of the document of the first token that is guessed, number of the row). Rows of C + 1 tokens."""
        return rows_of(self.shard, np.asarray(indices, np.int64), self.size, len(self.shard.tokens), draw, before=1)


def rows_of(
    shard: Shard, indices: np.ndarray, size: int, total: int, draw: Draw | None, before: int = 0
) -> list[Sample]:
    """The rows of these numbers of a stream of `total` tokens cut every `size`, with so many tokens before each.

    key = (hash of the document of the first token, number of the row)."""
    begins = indices * size
    lengths = np.minimum(begins + size, total) - begins + before
    begins = (begins + cut_at(draw, size)) % len(shard.tokens)
    documents = np.searchsorted(shard.offsets, begins, side="right") - 1
    keys = combine(shard.hashes[documents], indices).tolist()
    places = zip((begins - before).tolist(), lengths.tolist(), keys, strict=True)
    return [Sample((around(shard.tokens, place, length),), key) for place, length, key in places]


def cut_at(draw: Draw | None, size: int) -> int:
    """Where the first row begins in the epoch of the draw: in the first at the beginning."""
    return int(draw.integers([0], "cut", 1, size)[0, 0]) if draw is not None and draw.epoch else 0


def around(tokens: np.ndarray, place: int, length: int) -> np.ndarray:
    """int32 (length,): the tokens from a place on, in a ring."""
    place %= len(tokens)
    row = tokens[place : place + length].astype(np.int32)
    return row if len(row) == length else np.concatenate([row, tokens[: length - len(row)].astype(np.int32)])


class DocumentRows:
    """Each document of n tokens cut evenly into ceil(n / L) windows, with the sentence starts in each.

    partner: attach a random window of another document of the split, drawn by key; room is left for a second [SEP].
    """

    def __init__(self, shard: Shard, context: int, partner: bool = False):
        self.shard, self.partner = shard, partner
        self.size = _room(context, 3 if partner else 2)
        self.windows = _count_windows(shard, self.size)  # int64 (documents + 1,): windows before each document
        self.lengths = _window_lengths(shard, self.size, self.windows)
        if partner and shard.documents < 2:
            raise InputError(
                "data",
                f"next sentences need another document to draw from, there is {shard.documents}",
                "Say --document block or --document line, give more text, or set next_sentence.mode = order.",
            )

    def __len__(self) -> int:
        return int(self.windows[-1])

    def get(self, indices: np.ndarray, draw: Draw | None = None) -> list[Sample]:
        """key = (hash of the document, number of the window in it)."""
        indices = np.asarray(indices, np.int64)
        documents = self._documents(indices)
        samples = self._samples(indices, documents)
        if not self.partner or draw is None:
            return samples
        chosen = self._partners(documents, np.array([sample.key for sample in samples], np.uint64), draw)
        partners = self._samples(chosen, self._documents(chosen))
        return [one.but(partner=other) for one, other in zip(samples, partners, strict=True)]

    def _documents(self, indices: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.windows, indices, side="right") - 1

    def _partners(self, documents: np.ndarray, keys: np.ndarray, draw: Draw) -> np.ndarray:
        """int64 (n,): a window of another document for each."""
        first, after = self.windows[documents], self.windows[documents + 1]
        return windows_elsewhere(first, after - first, len(self), keys, draw)

    def _samples(self, indices: np.ndarray, documents: np.ndarray) -> list[Sample]:
        shard, window = self.shard, indices - self.windows[documents]
        begin = shard.offsets[documents]
        tokens = shard.offsets[documents + 1] - 1 - begin
        count = self.windows[documents + 1] - self.windows[documents]
        starts, ends = window * tokens // count, (window + 1) * tokens // count
        keys = combine(shard.hashes[documents], window).tolist()
        first_break, last_break = shard.break_offsets[documents].tolist(), shard.break_offsets[documents + 1].tolist()
        samples = []
        for i, (base, start, end) in enumerate(zip(begin.tolist(), starts.tolist(), ends.tolist(), strict=True)):
            breaks = shard.breaks[first_break[i] : last_break[i]]
            low, high = breaks.searchsorted((start + 1, end))
            part = shard.tokens[base + start : base + end].astype(np.int32)
            samples.append(Sample((part,), keys[i], breaks=breaks[low:high] - np.int32(start)))
        return samples


def _room(context: int, special: int) -> int:
    """L for a context of that many tokens with `special` ones."""
    if context - special < LEAST:
        raise InputError(
            f"text.context = {context}",
            f"with {special} special tokens it leaves {max(context - special, 0)} for text",
            f"Set text.context = {special + LEAST} or more; 128 is usual.",
        )
    return context - special


def _count_windows(shard: Shard, size: int) -> np.ndarray:
    """int64 (documents + 1,), in a file beside the shard."""

    def write(stream) -> None:
        total = np.zeros(1, np.int64)
        stream.write(total)
        for first in range(0, shard.documents, AT_ONCE):
            tokens = np.diff(shard.offsets[first : first + AT_ONCE + 1]) - 1
            total = total[-1] + np.cumsum(-(-tokens // size))
            stream.write(total)

    return map_array(_beside(shard.folder / f"windows-{size}.bin", write), np.int64)


def _window_lengths(shard: Shard, size: int, windows: np.ndarray) -> np.ndarray:
    """int32 (windows,): tokens in each, in a file beside the shard."""

    def write(stream) -> None:
        for first in range(0, shard.documents, AT_ONCE // 16):
            tokens = np.diff(shard.offsets[first : first + AT_ONCE // 16 + 1]) - 1
            count = np.diff(windows[first : first + AT_ONCE // 16 + 1])
            window = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            tokens, count = np.repeat(tokens, count), np.repeat(count, count)
            stream.write(((window + 1) * tokens // count - window * tokens // count).astype(np.int32))

    return map_array(_beside(shard.folder / f"lengths-{size}.bin", write), np.int32)


def _beside(path: Path, write) -> Path:
    """The file, written under another name and renamed where it does not exist yet."""
    if not path.exists():
        number, name = mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(number, "wb") as stream:
            write(stream)
        os.replace(name, path)
    return path
