"""Pictures that are decoded whenever a batch asks for them: for data that would not fit on the disk once decoded.

On disk lies everything but the arrays: hashes, labels, names of those that could be decoded. So samples, their order
and their split are those of arrays that are kept, bit for bit.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from firth.data.array_shard import ArrayShard
from firth.data.decoding import cores
from firth.data.media import Archives, Raw, Reading, refuse
from firth.functional.random import hash_bytes
from firth.signal import Media, Unreadable

CHANGED = "is another file than when the data was looked through", "Run the command again: all files are read anew."


class Streamed(ArrayShard):
    """Arrays of one size, decoded in threads. Raises InputError for a file that has changed or is gone."""

    def __init__(self, folder: Path, reading: Reading, signal: Media):
        super().__init__(folder)
        self.signal, self.sources, self.archives = signal, reading.sources(), Archives()
        self.pool = ThreadPoolExecutor(cores(), thread_name_prefix="firth-decoding")

    def array(self, number: int) -> np.ndarray:
        return self.arrays(np.array([number]))[0]

    def arrays(self, numbers: np.ndarray) -> list[np.ndarray]:
        raws = [self.archives.raw(self.sources[self.name(number)]) for number in numbers.tolist()]
        return list(self.pool.map(self._decoded, raws, self.hashes[numbers].tolist()))

    def joined(self, first: int, end: int) -> np.ndarray:
        """Of files that are one array each."""
        return self.array(first)

    def _decoded(self, raw: Raw, content: int) -> np.ndarray:
        try:
            data = raw.read()
            if hash_bytes(data) != content:
                raise Unreadable(*CHANGED)
            return next(iter(self.signal.pieces(data)))
        except Exception as error:
            refuse(error, raw)
