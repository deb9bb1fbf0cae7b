"""The least time that a training step can take here: its matrix products alone, each timed by itself.

    python benchmarks/floor.py [--work runs/benchmark-masked-tokens] [--set train.precision=fp32] [--threads 2]

Every matrix product of one step (forward and backward) is recorded, then timed alone, hot, best of many. Their sum is a
bound that no loop over the same model can pass on this machine, whatever it does between the products. Beside it the
tokens/s that masked_tokens.py measured for the peers in --work, and the ratio to each that the bound allows.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.protocol import imdb_text
from benchmarks.step_time import head, prepared

PRODUCTS = {"aten.mm.default", "aten.addmm.default", "aten.bmm.default", "aten.baddbmm.default"}
ROUNDS = 15  # timings of each product; the shortest counts


class Recorder(TorchDispatchMode):
    """Counts the matrix products by operator and by the shapes and strides of what they multiply."""

    def __init__(self):
        super().__init__()
        self.products: Counter = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if str(operator) in PRODUCTS:
            factors = args[-2:]  # what comes before is added, and may be left out of the bound
            self.products[tuple((tuple(one.shape), one.stride(), one.dtype) for one in factors)] += 1
        return operator(*args, **(kwargs or {}))


def recorded(run) -> tuple[Counter, int]:
    """The products of one step, and its real tokens."""
    from firth.objective import total
    from firth.train.loop import totals

    batches = run.batches.step(0)
    counts = totals(batches)
    run.objective.train()
    with Recorder() as recorder:
        for batch in batches:
            total(run.objective(batch), counts, run.objective.weights).backward()
    return recorder.products, int(counts["items"])


def seconds(factors) -> float:
    """The shortest of some timings of one product."""
    first, second = (torch.empty_strided(shape, stride, dtype=kind).normal_() for shape, stride, kind in factors)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        torch.matmul(first, second)
        times.append(time.perf_counter() - began)
    return min(times)


def operations(factors) -> int:
    """Floating-point operations of one product."""
    (first, _, _), (second, _, _) = factors
    return 2 * torch.Size(first).numel() * second[-1]


def peers(work: Path) -> dict[str, float]:
    """Median tokens/s by arm over the whole budget, as masked_tokens.py kept them."""
    found: dict[str, list[float]] = {}
    for path in sorted(work.glob("*-seed*.json")):
        figures = json.loads(path.read_text())
        found.setdefault(figures["arm"], []).append(figures["tokens_per_second"])
    return {arm: statistics.median(values) for arm, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-masked-tokens"))
    parser.add_argument("--set", dest="settings", action="append", default=["train.precision=fp32"])
    parser.add_argument("--size", default="4x256")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.steps = 1
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(given, head(imdb_text(Path(folder) / "imdb.jsonl"), 3000))
        products, tokens = recorded(run)
    floor = sum(count * seconds(factors) for factors, count in products.items())
    work = sum(count * operations(factors) for factors, count in products.items())
    print(f"{sum(products.values())} products a step · {work / tokens / 1e6:.1f} million operations a token · "
          f"{work / floor / 1e9:.0f} GFLOP/s")  # fmt: skip
    print(f"bound: {1e3 * floor:.0f} ms a step of {tokens:,} tokens, {tokens / floor:,.0f} tokens/s")
    for arm, rate in peers(given.work).items():
        print(f"{arm:10} {rate:8,.0f} tokens/s measured · the bound is {tokens / floor / rate:.2f} times that")


if __name__ == "__main__":
    main()
