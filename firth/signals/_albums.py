"""What the doctor finds in pictures: how large, how deep, in colour or grey, and which show nothing."""

from collections import Counter
from typing import Any

import numpy as np

from firth.signal import Examiner, Finding, Look

SPEED = 500.0  # pictures that a small model on two cores learns from in a second
DEEP = ("I;16", "I;16B", "I;16L", "I", "F")  # modes of more than 8 bits
EVEN = 3  # levels of 255 between the darkest and the brightest place of a picture that shows nothing
LONG = 4.0  # times that a picture is longer than wide, from which most of it is cut off
MANY = 0.05  # share of the pictures from which a person should look


class Albums(Examiner):
    """Sizes, modes, blank pictures, long ones."""

    def __init__(self) -> None:
        self.sizes, self.modes = list[tuple[int, int]](), Counter[str]()
        self.blank = 0

    def head(self, look: Look) -> None:
        self.sizes.append((look.size[0], look.size[1]))
        self.modes[str(look.told["mode"])] += 1

    def array(self, array: np.ndarray) -> None:
        self.blank += int(np.ptp(array, axis=(1, 2)).max()) <= EVEN

    @property
    def ordered(self) -> list[tuple[int, int]]:
        """Sizes by their pixels."""
        return sorted(self.sizes, key=lambda size: size[0] * size[1])

    def facts(self) -> dict[str, Any]:
        ordered = self.ordered or [(0, 0)]
        return {
            "smallest": ordered[0],
            "median": ordered[len(ordered) // 2],
            "largest": ordered[-1],
            "distinct_sizes": len(set(ordered)),
            "modes": dict(self.modes.most_common()),
            "blank": self.blank,
        }

    def findings(self) -> list[Finding]:
        found, whole = [], len(self.sizes)
        if self.blank:
            what = f"{self.blank:,} of {whole:,} pictures show one even colour"
            found.append(Finding("warning" if self.blank > MANY * whole else "note", "", what, "Leave them out."))
        if (long := sum(max(size) > LONG * min(size) for size in self.sizes)) > MANY * whole:
            what = f"{long:,} of {whole:,} pictures are more than {LONG:g} times as long as wide"
            found.append(Finding("warning", "", what, "Their middle is taken: say --set image.fit=pad, or cut tiles."))
        if deep := sum(number for mode, number in self.modes.items() if mode in DEEP):
            what = f"{deep:,} of {whole:,} pictures have more than 8 bits, and keep the whole range"
            do = "Where they look black, say --set image.stretched=true."
            found.append(Finding("note", "", what, do))
        return found

    def lines(self) -> list[str]:
        facts = self.facts()
        smallest, median, largest = (shown(facts[key]) for key in ("smallest", "median", "largest"))
        one = facts["distinct_sizes"] == 1
        sizes = f"all {largest}" if one else f"{smallest} to {largest}, median {median}"
        modes = " · ".join(f"{mode} {number:,}" for mode, number in list(facts["modes"].items())[:5])
        return [f"Sizes    {sizes}", f"Modes    {modes}"]

    def seconds(self) -> float:
        return len(self.sizes) / SPEED


def shown(size: tuple[int, ...]) -> str:
    """1,200 × 900"""
    return f"{size[0]:,} × {size[1]:,}"
