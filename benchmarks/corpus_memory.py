"""Does packing a corpus need more memory when the corpus is larger? It must not.

    python benchmarks/corpus_memory.py 500        # megabytes of text, made in a temporary folder
    python benchmarks/corpus_memory.py 2000

Prints peak anonymous memory (RssAnon of /proc/self/status, MiB) and seconds of packing, near-duplicate search included.
The text is drawn by Zipf's law from 300,000 made-up words; one document in a hundred is a changed copy of another.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

WORDS, CHUNK = 300_000, 400_000  # distinct words; words drawn at once
LETTERS = np.frombuffer(b"etaoinshrdlcumwfgypbvkxjqz", np.uint8)


def anonymous() -> float:
    """MiB of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status: has no RssAnon. Run this on Linux.")


class Peak(threading.Thread):
    """The largest anonymous memory seen while the block runs."""

    def __init__(self, every: float = 0.02):
        super().__init__(daemon=True)
        self.every, self.peak, self.stop = every, 0.0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(self.every):
            self.peak = max(self.peak, anonymous())

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *error) -> None:
        self.stop.set()
        self.join()


def made_up_words(draw: np.random.Generator) -> np.ndarray:
    lengths = draw.integers(2, 11, WORDS)
    letters = LETTERS[np.minimum(draw.geometric(0.12, (WORDS, 10)) - 1, 25)].tobytes().decode()
    return np.array([letters[10 * i : 10 * i + n] for i, n in enumerate(lengths)], object)


def write(path: Path, megabytes: float, seed: int = 0) -> None:
    """Blank-line blocks of about 300 words, sentences of 15."""
    draw = np.random.default_rng(seed)
    words = made_up_words(draw)
    chances = np.cumsum(1 / np.arange(10, WORDS + 10))
    with open(path, "w", encoding="utf-8") as stream:
        while stream.tell() < megabytes * 1e6:
            ids = np.searchsorted(chances, draw.random(CHUNK) * chances[-1])
            text = words[ids]
            text[::15] = [word.capitalize() for word in text[::15]]
            text[14::15] += "."
            blocks = [" ".join(text[i : i + 300]) for i in range(0, CHUNK, 300)]
            blocks += [block.replace(" a", " the a", 3) for block in blocks[::100]]
            stream.write("\n\n".join(blocks) + "\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megabytes", type=float)
    parser.add_argument("--tokenizer", default="wordpiece", choices=["wordpiece", "bpe"])
    options = parser.parse_args()
    from firth.data.corpus import open_corpus
    from firth.recipe import Data
    from firth.signals import text

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made-up.txt"
        write(path, options.megabytes)
        before = anonymous()
        begin, began = time.perf_counter(), time.process_time()
        config = text.Config(tokenizer=options.tokenizer)
        with Peak() as peak:
            corpus = open_corpus(Data(paths=(str(path),)), text, config, cache=folder)
        packed, cpu = time.perf_counter() - begin, time.process_time() - began
        begin = time.perf_counter()
        open_corpus(Data(paths=(str(path),)), text, config, cache=folder)
        again = time.perf_counter() - begin
        print(json.dumps({
            "megabytes": options.megabytes, "before_MiB": round(before), "peak_MiB": round(peak.peak),
            "seconds": round(packed, 1),
            "cpu_seconds": round(cpu, 1), "seconds_second_run": round(again, 1), **corpus.facts,
        }))  # fmt: skip


if __name__ == "__main__":
    main()
