"""How many held-out examples choose a threshold for several labels well: the table of decision 0010, by simulation.

    python benchmarks/thresholds.py

A label holds with the probability sigmoid(base + spread × normal), the base of each label drawn once around `base`; the
model knows that probability. The threshold with the highest micro-F1 on N examples is judged on 4,000 others, against
0.5 and against the best there is. Means of 60 draws, seed 0.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from firth.functional.calibration import best_threshold, sigmoid
from firth.functional.metrics import multilabel_micro_f1

CASES = ((6, -2.0), (28, -4.0), (6, 0.0))  # labels, base
SPREADS = {0.7: "badly", 1.5: "fairly", 3.0: "well"}  # how well labels are told apart
SIZES = (10, 20, 40, 100, 200)  # held-out examples
DRAWS, TEST = 60, 4000


def main() -> None:
    source = np.random.default_rng(0)
    for labels, base in CASES:
        for spread, how in SPREADS.items():
            print(f"{labels} labels, base {base:+.0f}, {how:<6}", *row(source, labels, base, spread), sep="  ")


def row(source: np.random.Generator, labels: int, base: float, spread: float) -> list[str]:
    """At 0.5, for each size, and the best."""
    bases = base + source.normal(0, 1, labels)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        shares = sigmoid(bases + spread * source.normal(size=(count, labels)))
        return shares, source.random(shares.shape) < shares

    shares, holds = drawn(TEST)

    def judged(threshold: float) -> float:
        return multilabel_micro_f1(holds, shares > threshold)

    found = [np.mean([judged(best_threshold(*drawn(size))) for _ in range(DRAWS)]) for size in SIZES]
    rates = f"{100 * holds.mean():.0f} %"
    return [rates, *(f"{value:.3f}" for value in (judged(0.5), *found, judged(best_threshold(shares, holds))))]


if __name__ == "__main__":
    main()
