"""What the doctor finds in recordings: how long, at which rates, how much of it silent."""

from collections import Counter
from typing import Any

import numpy as np

from firth.errors import count
from firth.functional.segments import silent_share
from firth.functional.sound import to_float
from firth.signal import Examiner, Finding, Look

SPEED = 200.0  # seconds of sound that a small model on two cores sees in a second
SHORT = 0.1  # seconds below which a clip holds no sound of speech
SILENT = 0.5  # share of silence from which a person should look


class Recordings(Examiner):
    """Hours, rates, channels, lengths, silence."""

    def __init__(self, rate: int):
        self.rate = rate  # of the arrays, samples a second
        self.rates, self.channels = Counter[int](), Counter[int]()
        self.lengths: list[float] = []  # seconds of each file
        self.silence = 0.0  # seconds

    def head(self, look: Look) -> None:
        self.rates[look.told["rate"]] += 1
        self.channels[look.told["channels"]] += 1
        self.lengths.append(0.0)

    def array(self, array: np.ndarray) -> None:
        seconds = len(array) / self.rate
        self.lengths[-1] += seconds
        self.silence += seconds * silent_share(to_float(array), self.rate)

    @property
    def total(self) -> float:
        """Seconds."""
        return sum(self.lengths)

    def facts(self) -> dict[str, Any]:
        quantiles = np.quantile(self.lengths or [0.0], (0, 0.5, 0.95, 1)).round(3).tolist()
        return {
            "seconds": round(self.total, 3),
            "rates": dict(self.rates.most_common()),
            "channels": dict(self.channels.most_common()),
            "silence": round(self.silence / max(self.total, 1e-9), 4),
            "lengths": dict(zip(("shortest", "median", "most", "longest"), quantiles, strict=True)),
        }

    def findings(self) -> list[Finding]:
        facts, found = self.facts(), []
        if facts["silence"] > SILENT:
            do = "Say --set speech.trim=true to leave out silence at the edges."
            found.append(Finding("warning", "", f"{facts['silence']:.0%} of the time is silence", do))
        if short := sum(length < SHORT for length in self.lengths):
            what = f"{short:,} of {len(self.lengths):,} recordings are shorter than {SHORT:g} s"
            found.append(Finding("warning", "", what, "Leave them out, or join them."))
        slow = {rate: number for rate, number in self.rates.items() if rate < self.rate}
        if slow and len(self.rates) > len(slow):
            number = sum(slow.values())
            has = "has" if number == 1 else "have"
            what = f"{count(number, 'recording')} {has} {max(slow):,} samples a second or fewer, others more"
            found.append(Finding("note", "", what, f"All are brought to {self.rate:,}; the former lack high tones."))
        return found

    def lines(self) -> list[str]:
        facts = self.facts()
        sound = [amount(self.total), " and ".join(f"{rate:,} Hz" for rate in list(facts["rates"])[:3])]
        sound += [channel_words(self.channels), f"{facts['silence']:.0%} silence"]
        middle, most, longest = (amount(facts["lengths"][key]) for key in ("median", "most", "longest"))
        return [f"Sound    {' · '.join(sound)}", f"Lengths  median {middle}, 95 % up to {most}, longest {longest}"]

    def seconds(self) -> float:
        return self.total / SPEED


def amount(seconds: float) -> str:
    """0.43 s, 12 s, 4.0 min, 2.6 h"""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    if seconds >= 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def channel_words(channels: Counter[int]) -> str:
    """mono, stereo, 6 channels: those that there are."""
    names = {1: "mono", 2: "stereo"}
    return " and ".join(names.get(number, f"{number} channels") for number in sorted(channels))
