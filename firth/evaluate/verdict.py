"""One sentence that says what was shown, and "not shown" when the interval contains zero."""

from collections.abc import Mapping
from math import isnan

from firth.evaluate.statistics import FEWEST_ITEMS, FEWEST_SEEDS, Interval


def verdict(difference: Interval, labels: int | str, rival: str = "random initialisation") -> str:
    """The headline. labels: how many, or that in words. difference: accuracy of the pre-trained arm less the rival's,
    as shares (0.071 = 7.1 points).

    'Pre-training pays here: +7.1 points over random initialisation at 200 labels (95 % interval +4.0 to +10.2, 3
    seeds).'
    """
    measured = f"{points(difference.mean)} over {rival} at {amount(labels)}"
    if lacking := few(difference):
        return f"No verdict: {lacking} are needed; measured {measured}."
    if difference.above_zero:
        return f"Pre-training pays here: {measured} ({interval(difference)})."
    if difference.below_zero:
        return f"Pre-training does not pay here: {measured} ({interval(difference)})."
    return f"Not shown that pre-training pays here: {measured} ({interval(difference)})."


def amount(labels: int | str) -> str:
    """200 labels; words as they are."""
    return labels if isinstance(labels, str) else f"{labels:,} labels"


def but(differences: Mapping[str, Interval]) -> list[str]:
    """The rival that does best among those that are shown to do better: a gain over random initialisation alone is no
    reason to pre-train.

    ['But word overlap does better here: +15.1 points (95 % interval +9.9 to +20.4, 3 seeds).']
    """
    better = {name: one for name, one in differences.items() if one.seeds >= FEWEST_SEEDS and one.below_zero}
    if not better:
        return []
    name = min(better, key=lambda name: better[name].mean)
    found = better[name]
    turned = Interval(-found.mean, -found.high, -found.low, found.seeds)
    return [f"But {name[0].lower() + name[1:] if name[1:2].islower() else name} does better here: "
            f"{points(turned.mean)} ({interval(turned)})."]  # fmt: skip


def against(difference: Interval, labels: int | str, arm: str, rival: str) -> str:
    """Any arm against any other, in the same words: '… : +6.0 points, better (95 % interval …)'."""
    start = f"{arm} against {rival} at {amount(labels)}: {points(difference.mean)}"
    if lacking := few(difference):
        return f"{start}, no verdict ({lacking.split(',')[0]})."
    return f"{start}, {finding(difference)} ({interval(difference)})."


def finding(difference: Interval) -> str:
    """better, worse, or not shown; no verdict with too few seeds."""
    if few(difference):
        return "no verdict"
    if difference.above_zero:
        return "better"
    return "worse" if difference.below_zero else "a difference is not shown"


def few(difference: Interval) -> str:
    """Of what there is too little for a verdict, and how much there must be; "" for nothing."""
    if difference.seeds < FEWEST_SEEDS:
        return f"{_seeds(difference)} too few, {FEWEST_SEEDS}"
    return f"the test items are too few, {FEWEST_ITEMS}" if isnan(difference.low) else ""


def interval(difference: Interval) -> str:
    """95 % interval +4.0 to +10.2, 3 seeds"""
    return f"95 % interval {signed(difference.low)} to {signed(difference.high)}, {difference.seeds} seeds"


def points(share: float) -> str:
    """+7.1 points"""
    return f"{signed(share)} points"


def signed(share: float) -> str:
    """A share in points with its sign, a real minus: +7.1, −0.4, 0.0"""
    rounded = round(100 * share, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def _seeds(difference: Interval) -> str:
    return f"{difference.seeds} seed is" if difference.seeds == 1 else f"{difference.seeds} seeds are"
