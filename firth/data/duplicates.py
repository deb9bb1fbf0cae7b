"""Exact and near duplicates among any number of texts, in bounded memory: hashes wait in bucket files on disk.

Near duplicates: the Jaccard similarity of the sets of five-word shingles, estimated by one-permutation MinHash
(Li, Owen & Zhang 2012, "One permutation hashing") with empty bins filled from the next one (Shrivastava & Li 2014,
"Densifying one permutation hashing via rotation"), compared in 8 bands of 8 bins (Broder 1997; Leskovec, Rajaraman &
Ullman, "Mining of massive datasets", section 3.4): two texts of similarity 0.8 meet with probability 0.77, of 0.9 with
0.99, of 0.5 with 0.03. Words are compared in lower case (ASCII), without signs.
"""

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import numpy as np

from firth.functional.random import combine, hash_bytes, mix

SHINGLE = 5  # words
BINS, BANDS = 64, 8
SHORTEST = 12  # words; shorter texts are too often alike by chance
LONGEST = 1 << 20  # bytes of a text that are looked at for near duplicates
BYTES, MOST = 1 << 19, 2048  # bytes and texts handled at once
BUCKETS = 64
BASE = 0x9E3779B97F4A7C15 | 1  # of the polynomial hash of a word, modulo 2^64; odd, so that it can be divided by
RECORD = np.dtype([("hash", np.uint64), ("number", np.int64)])


class Duplicates(NamedTuple):
    exact: int  # texts that occurred before, byte by byte
    near: int  # other texts that are much like an earlier one


class Collisions:
    """Records (hash, number) in bucket files; finds the numbers whose hash a smaller number has, too."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.files = [open(folder / f"{i}.bucket", "w+b", buffering=1 << 14) for i in range(BUCKETS)]  # noqa: SIM115

    def add(self, hashes: np.ndarray, numbers: np.ndarray) -> None:
        """uint64 (n,), int64 (n,)."""
        records = np.empty(len(hashes), RECORD)
        records["hash"], records["number"] = hashes, numbers
        bucket = (hashes >> np.uint64(58)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(BUCKETS + 1))
        records = records[order]
        for i in range(BUCKETS):
            if bounds[i] < bounds[i + 1]:
                self.files[i].write(records[bounds[i] : bounds[i + 1]].tobytes())

    def mark(self, flags: np.ndarray) -> None:
        """flags bool (numbers,): set True for every number but the smallest of those with an equal hash."""
        for stream in self.files:
            stream.flush()
            stream.seek(0)
            records = np.fromfile(stream, RECORD)
            stream.close()
            order = np.lexsort((records["number"], records["hash"]))
            hashes, numbers = records["hash"][order], records["number"][order]
            same = (hashes[1:] == hashes[:-1]) & (numbers[1:] != numbers[:-1])
            flags[numbers[1:][same]] = True


class Finder:
    """Takes texts as they are read; says in the end which are duplicates. The folder holds only its own files."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.exact, self.near = Collisions(self.folder / "exact"), Collisions(self.folder / "near")
        self.count = self.words = 0

    def add(self, texts: list[bytes], hashes: np.ndarray) -> None:
        """Texts in UTF-8 and their content hashes uint64 (n,)."""
        numbers = np.arange(self.count, self.count + len(texts))
        self.exact.add(hashes, numbers)
        self.count += len(texts)
        for first, batch in _bounded(texts):
            bands, chosen, words = _bands(batch)
            self.words += words
            self.near.add(bands.ravel(), np.repeat(numbers[first + chosen], BANDS))
        for text in texts:
            self.words += sum(len(hash_words(piece)[0]) for piece in _rest(text))

    def finish(self) -> tuple[np.ndarray, Duplicates]:
        """flags bool (texts,) of exact repetitions, mapped from a file; and the counts."""
        exact, near = (self._marked(name) for name in ("exact", "near"))
        return exact, Duplicates(*_count(exact, near))

    def _marked(self, name: str) -> np.ndarray:
        flags = np.memmap(self.folder / f"{name}.flags", bool, "w+", shape=(max(self.count, 1),))
        getattr(self, name).mark(flags)
        shutil.rmtree(self.folder / name)
        return flags[: self.count]


def count(texts: Iterable[str], folder: Path | None = None) -> Duplicates:
    """How many texts are exact and near duplicates of earlier ones; needs a temporary folder for large corpora."""
    own = Path(mkdtemp(prefix="firth-duplicates-", dir=folder))
    try:
        finder, source = Finder(own), iter(texts)
        while batch := [text.strip().encode("utf-8", "replace") for text in islice(source, 256)]:
            finder.add(batch, np.array([hash_bytes(text) for text in batch], np.uint64))
        return finder.finish()[1]
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _count(exact: np.ndarray, near: np.ndarray) -> tuple[int, int]:
    repeated = alike = 0
    for first in range(0, len(exact), 1 << 20):
        one, other = exact[first : first + (1 << 20)], near[first : first + (1 << 20)]
        repeated += int(one.sum())
        alike += int((other & ~one).sum())
    return repeated, alike


def _bounded(texts: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first, texts of BYTES together, each cut to LONGEST)."""
    first, size, batch = 0, 0, []
    for number, text in enumerate(texts):
        batch.append(text[:LONGEST])
        size += len(batch[-1]) + 1
        if size >= BYTES or len(batch) == MOST or number == len(texts) - 1:
            yield first, batch
            first, size, batch = number + 1, 0, []


def _rest(text: bytes) -> Iterator[bytes]:
    """What is left of a text after the bytes that are compared."""
    for first in range(LONGEST, len(text), BYTES):
        yield text[first : first + BYTES]


def _bands(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray, int]:
    """uint64 (m, BANDS) hashes of the bands, int64 (m,) which texts they are of, number of words of all texts."""
    starts = np.cumsum([0] + [len(text) + 1 for text in texts])
    hashes, places = hash_words(b"\n".join(texts))
    text = np.searchsorted(starts, places, side="right") - 1
    shingles, owner = _shingles(hashes, text)
    words = np.bincount(text, minlength=len(texts))
    chosen = np.flatnonzero(words >= SHORTEST)
    signature = _signatures(shingles, owner, len(texts))[chosen]
    bands = combine(*np.moveaxis(signature.reshape(-1, BANDS, BINS // BANDS), 2, 0), np.arange(BANDS))
    return bands, chosen, len(hashes)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """uint64 (n,) twice: BASE^i and BASE^-i modulo 2^64."""
    size = LONGEST + BYTES + 2
    inverse = pow(BASE, -1, 1 << 64)
    with np.errstate(over="ignore"):
        return tuple(
            np.concatenate([[np.uint64(1)], np.cumprod(np.full(size - 1, base, np.uint64))]) for base in (BASE, inverse)
        )  # type: ignore[return-value]


def _byte_classes() -> np.ndarray:
    """uint8 (256,): lower-case letters, digits and all bytes beyond ASCII for themselves, 0 for what parts words."""
    table = np.array([byte if byte >= 128 or chr(byte).isalnum() else 0 for byte in range(256)], np.uint8)
    table[ord("A") : ord("Z") + 1] = np.arange(ord("a"), ord("z") + 1)
    return table


CLASSES = _byte_classes()
POWERS: list[np.ndarray] = []  # filled when first used: 24 MB


def hash_words(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """uint64 (words,) hashes, int64 (words,) places: runs of letters and digits; an East Asian sign is a word."""
    if not POWERS:
        POWERS.extend(_tables())
    codes = CLASSES[np.frombuffer(text, np.uint8)]
    inside = codes > 0
    alone = (codes >= 0xE3) & (codes <= 0xED)  # first bytes of most signs of Chinese, Japanese and Korean
    before = np.concatenate([[False], inside[:-1]])
    starts = np.flatnonzero(inside & (~before | alone))
    after = np.concatenate([inside[1:], [False]]) & ~np.concatenate([alone[1:], [False]])
    ends = np.flatnonzero(inside & ~after)
    with np.errstate(over="ignore"):
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes * POWERS[0][: len(codes)])])
        return mix((sums[ends + 1] - sums[starts]) * POWERS[1][starts]), starts


def _shingles(hashes: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Words (n,) and whose they are (n,) → hashes of SHINGLE words in a row of one text, and whose they are."""
    if len(hashes) < SHINGLE:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    last = len(hashes) - SHINGLE + 1
    with np.errstate(over="ignore"):
        shingle = sum(hashes[k : k + last] * POWERS[0][k + 1] for k in range(SHINGLE))
    within = text[:last] == text[SHINGLE - 1 :]
    return mix(shingle[within]), text[:last][within]


def _signatures(shingles: np.ndarray, owner: np.ndarray, texts: int) -> np.ndarray:
    """uint64 (texts, BINS): the least hash in each bin; an empty bin takes the next full one's, and the distance."""
    order = np.sort((owner.astype(np.uint64) << np.uint64(44)) | (shingles >> np.uint64(20)))
    bins = (order >> np.uint64(38)).astype(np.int64)  # text and the top six bits of the hash
    first = np.flatnonzero(np.diff(bins, prepend=-1))
    signature = np.zeros(texts * BINS, np.uint64)
    full = np.zeros(texts * BINS, bool)
    signature[bins[first]], full[bins[first]] = order[first] & np.uint64((1 << 44) - 1), True
    return _densified(signature.reshape(texts, BINS), full.reshape(texts, BINS))


def _densified(signature: np.ndarray, full: np.ndarray) -> np.ndarray:
    columns = np.arange(2 * BINS)
    where = np.where(np.concatenate([full, full], 1), columns, 4 * BINS)
    nearest = np.minimum.accumulate(where[:, ::-1], 1)[:, ::-1][:, :BINS]
    distance = (nearest - columns[:BINS]).astype(np.uint64)
    return np.take_along_axis(signature, nearest % BINS, 1) + (distance << np.uint64(44))
