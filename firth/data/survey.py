"""The first reading of a corpus: content hashes, counts, duplicates, and a sample to learn the tokenizer from.

Nothing here grows with the corpus in memory; hashes, flags and the sample lie in files of the build folder.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firth.data.duplicates import Duplicates, Finder
from firth.data.shards import map_array
from firth.functional.random import combine, hash_bytes

SAMPLE = 32_000_000  # bytes of text that a tokenizer is learnt from
BATCH = 1_000_000  # characters of documents handled together
MOST = 20_000  # documents handled together
HEADER = np.dtype([("number", np.int64), ("rank", np.uint64), ("size", np.int64)])


class Documents(NamedTuple):
    """Some consecutive documents that are not empty."""

    first: int  # number of the first
    texts: list[str]


def batches_of(records: Iterable) -> Iterator[Documents]:
    """Records → documents without white space around them, empty ones left out, some at a time."""
    first, size, texts = 0, 0, []
    for record in records:
        text = record.text.strip()
        if not text:
            continue
        texts.append(text)
        size += len(text)
        if size >= BATCH or len(texts) >= MOST:
            yield Documents(first, texts)
            first, size, texts = first + len(texts), 0, []
    if texts:
        yield Documents(first, texts)


class Sample:
    """Whole documents, those of least hash, of SAMPLE bytes at most; on disk, as all must be seen first."""

    def __init__(self, path: Path, limit: int = SAMPLE):
        self.path, self.limit, self.share, self.size = path, limit, 1.0, 0
        self.sizes: Counter[int] = Counter()  # bytes by top ten bits of the rank
        self.stream = open(path, "wb", buffering=1 << 18)  # noqa: SIM115

    def add(self, number: int, rank: int, text: bytes) -> None:
        """rank: uniform 64 bits, the same for the same content."""
        step = rank >> 54
        if step >= self.share * 1024:
            return
        text = text[: self.limit]
        header = np.array([(number, rank, len(text))], HEADER)
        self.stream.write(header.tobytes() + text)
        self.sizes[step] += len(text)
        self.size += len(text)
        while self.size > self.limit and len(self.sizes) > 1:
            largest = max(self.sizes)
            self.share = largest / 1024
            self.size -= self.sizes.pop(largest)

    def texts(self, stop: int, cut: int) -> Iterator[tuple[int, str]]:
        """(number, text) of the chosen documents before `stop`, and of document `stop` the first `cut` characters."""
        self.stream.close()
        with open(self.path, "rb") as stream:
            while header := stream.read(HEADER.itemsize):
                number, rank, size = np.frombuffer(header, HEADER)[0].item()
                text = stream.read(size)
                if rank >> 54 < self.share * 1024 and (number < stop or (number == stop and cut)):
                    yield number, text.decode("utf-8", "ignore")[: cut if number == stop else None]


@dataclass
class Survey:
    """What the first reading found."""

    documents: int = 0
    characters: int = 0
    words: int = 0
    duplicates: Duplicates = field(default_factory=lambda: Duplicates(0, 0))
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))  # (documents,) mapped
    repeated: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # (documents,) mapped: exact duplicates
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # (documents,) characters, mapped
    sample: Sample | None = None


def survey(records: Iterable, folder: Path, want_sample: bool) -> Survey:
    """Read everything once; files are written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Survey(sample=Sample(folder / "sample.bin") if want_sample else None)
    finder = Finder(folder / "duplicates")
    with open(folder / "hashes.bin", "wb") as hashes_file, open(folder / "lengths.bin", "wb") as lengths_file:
        for batch in batches_of(records):
            hashes = _survey_batch(found, finder, batch)
            hashes_file.write(hashes.tobytes())
            lengths_file.write(np.fromiter(map(len, batch.texts), np.int64).tobytes())
    found.repeated, found.duplicates = finder.finish()
    found.documents, found.words = finder.count, finder.words
    found.hashes = map_array(folder / "hashes.bin", np.uint64)
    found.lengths = map_array(folder / "lengths.bin", np.int64)
    return found


def _survey_batch(found: Survey, finder: Finder, batch: Documents) -> np.ndarray:
    """uint64 (n,): the content hashes; everything else is counted on the way."""
    texts = [text.encode("utf-8", "replace") for text in batch.texts]
    hashes = np.array([hash_bytes(text) for text in texts], np.uint64)
    finder.add(texts, hashes)
    found.characters += sum(map(len, batch.texts))
    if found.sample is not None:
        for i, (rank, text) in enumerate(zip(combine(hashes, np.uint64(1)).tolist(), texts, strict=True)):
            found.sample.add(batch.first + i, rank, text)
    return hashes
