"""How often the verdict of `firth compare` is wrong, and how often it finds a gain that is there: by simulation.

    python benchmarks/verdict_rates.py [--draws 4000] [--seed 0]

Nothing is trained. Each draw makes up who is right where: two arms, S seeds, N test items. Arm a with seed s is right
at item i where

    level_a + shift_as + lean_as class_i + easy_i + own_ai + noise_asi > 0,

a probit model in which `easy` is the item's difficulty for all, `own` what an arm finds easy beyond that, whatever its
seed (together with noise: variance 1), `shift` what a seed does to all items of an arm, and `lean` how far it prefers
one of two classes (class_i = 1 or -1). Levels and shifts are set by the accuracies and the spread that are wanted.
`firth.evaluate.statistics.paired_difference` then makes
the interval that `compare` makes, and "pays" is an interval above zero.

Printed beside the shares: their upper 95 % bound (Clopper & Pearson 1934), and how seeds and items of the draws hang
together, to be held against real runs: the correlation of being right between two seeds of an arm, and between arms.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri

sys.path.insert(0, str(Path(__file__).parent.parent))
from firth.evaluate.statistics import LEVEL, paired_difference

# S seeds, N test items

WATCHED = 40  # draws over which correlations are averaged


class Setting(NamedTuple):
    """What real comparisons differ in. easy, own: shares of the variance; the rest is noise."""

    name: str
    accuracy: float  # of the second arm
    spread: float  # points; standard deviation over seeds of the arms' difference on infinitely many items
    easy: float
    own: float
    lean: float = 0.0  # standard deviation over arms and seeds, beside items of variance 1; adds some spread of its own
    gain: float = 0.0  # points that the first arm is better by


class Rates(NamedTuple):
    draws: int
    pays: int  # draws whose interval lies above zero
    harms: int  # below zero
    seeds: float  # correlation of being right between two seeds of an arm
    arms: float  # and between two arms


NULL = (  # no gain
    Setting("0.5 points", 0.80, 0.5, 0.40, 0.10),
    Setting("1 point", 0.80, 1.0, 0.40, 0.10),
    Setting("3 points, other items", 0.65, 3.0, 0.20, 0.20),
    Setting("none: items alone", 0.80, 0.0, 0.50, 0.25),
    Setting("1 point, seeds have nothing in common", 0.70, 1.0, 0.0, 0.0),
    Setting("5 points, leaning to a class", 0.62, 5.0, 0.35, 0.0, lean=0.8),  # SST-2, 500 labels
)
GAIN = (
    Setting("1 point", 0.80, 1.0, 0.40, 0.10, gain=3.0),
    Setting("1 point an arm", 0.80, 2**0.5, 0.40, 0.10, gain=3.0),
)
SEEDS, ITEMS = (3, 5), (500, 5000)


def draw(source: np.random.Generator, setting: Setting, seeds: int, items: int) -> Iterator[np.ndarray]:
    """(S, N) bool of the first arm, then of the second: where they are right."""
    normal = source.standard_normal
    sign = np.where(np.arange(items) % 2, 1, -1).astype(np.float32)  # (N,) the class
    easy = setting.easy**0.5 * normal(items, np.float32)
    for gain in (setting.gain / 100, 0.0):
        level = ndtri(setting.accuracy + gain)
        slope = np.exp(-(level**2) / 2) / (2 * np.pi) ** 0.5  # of accuracy in level
        shift = setting.spread / 100 / 2**0.5 / slope * normal((seeds, 1), np.float32)
        lean = setting.lean * normal((seeds, 1), np.float32)
        arm = easy + setting.own**0.5 * normal(items, np.float32)  # (N,)
        noise = (1 - setting.easy - setting.own) ** 0.5 * normal((seeds, items), np.float32)
        yield noise + arm + lean * sign + (level + shift).astype(np.float32) > 0


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of being right, over items; (N,) bool each. For two yes-or-no values it is the phi coefficient."""
    return float(np.corrcoef(first, second)[0, 1])


def rates(setting: Setting, seeds: int, items: int, draws: int, seed: int = 0) -> Rates:
    """What the verdict says of so many comparisons."""
    source = np.random.default_rng([seed, seeds, items])
    pays = harms = 0
    same: list[float] = []
    other: list[float] = []
    for number in range(draws):
        first, second = draw(source, setting, seeds, items)
        found = paired_difference(first, second)
        pays, harms = pays + found.above_zero, harms + found.below_zero
        if number < WATCHED:
            same.append(correlation(first[0], first[1]))
            other.append(correlation(first[0], second[0]))
    return Rates(draws, pays, harms, float(np.mean(same)), float(np.mean(other)))


def upper(count: int, draws: int) -> float:
    """The one-sided upper 95 % bound of a share (Clopper & Pearson 1934): beyond it, so few would be rare."""
    return 1.0 if count == draws else float(betaincinv(count + 1, draws - count, LEVEL))


def lower(count: int, draws: int) -> float:
    """The one-sided lower 95 % bound of a share."""
    return 1 - upper(draws - count, draws)


HEAD = "| gain | over seeds | seeds | items | pays | bound | does not pay | seeds agree | arms agree |"


def line(setting: Setting, seeds: int, items: int, found: Rates) -> str:
    bound = f"≥ {100 * lower(found.pays, found.draws):.1f}" if setting.gain else (
        f"≤ {100 * upper(found.pays, found.draws):.1f}")  # fmt: skip
    shares = (f"{100 * count / found.draws:.2f} %" for count in (found.pays, found.harms))
    pays, harms = shares
    cells = [f"{setting.gain:g}", setting.name, str(seeds), f"{items:,}", pays, f"{bound} %", harms,
             f"{found.seeds:.2f}", f"{found.arms:.2f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{given.draws:,} draws a line; gain and spread in points\n\n{HEAD}\n|{'---|' * 9}")
    cases = [(one, seeds, items) for one in NULL for seeds in SEEDS for items in ITEMS]
    cases += [(one, seeds, 5000) for one in GAIN for seeds in SEEDS]
    for setting, seeds, items in cases:
        print(line(setting, seeds, items, rates(setting, seeds, items, given.draws, given.seed)), flush=True)


if __name__ == "__main__":
    main()
