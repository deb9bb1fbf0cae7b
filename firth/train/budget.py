"""What `--budget` may say, and how much of it is already spent."""

import os
import re
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from firth.errors import InputError

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
FACTORS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
MOST = 1e15  # seconds, steps, epochs or tokens; beyond it is a slip of the keyboard
SUGGESTED = "20m"
LEAST = 5.0  # seconds of a time budget
FASTEST = 2e6  # bytes read and tokenised in a second by one core, at best; measured: 0.6e6 of each of two
FORM = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)\s*([kKMGB]?)\s*(steps?|epochs?|tokens?|s|min|m|h|d)")


class Budget(NamedTuple):
    """An amount of wall time (of the whole command), of steps, of epochs or of tokens."""

    kind: Literal["seconds", "steps", "epochs", "tokens"]
    amount: float


def parse(text: str) -> Budget:
    """`90s`, `20m`, `2h`, `500steps`, `3epochs`, `100Mtokens` -> Budget. Raises InputError."""
    match = FORM.fullmatch(text.strip())
    amount = float(match[1].replace("_", "")) * FACTORS[match[2]] * SECONDS.get(match[3], 1) if match else 0.0
    if not match or not 0 < amount < MOST or _prefixed_time(match):
        raise InputError(
            f"--budget {text}",
            "is neither a time nor an amount of training",
            "Write 90s, 20m or 2h for the wall time of the whole command, or 500steps, 3epochs, 100Mtokens.",
        )
    if match[3] in SECONDS:
        return Budget("seconds", amount)
    return Budget(match[3].rstrip("s") + "s", amount)  # type: ignore[arg-type]


def _prefixed_time(match: re.Match) -> bool:
    return bool(match[2]) and match[3] in SECONDS


def refuse_short(budget: Budget) -> Budget:
    """The budget; raises InputError for a time in which a command cannot even begin to train."""
    if budget.kind == "seconds" and budget.amount < LEAST:
        what = "is over before training could begin: starting and measuring alone take some seconds"
        raise InputError(f"--budget {budget.amount:g}s", what, "Give --budget 60s or more, or --budget 100steps.")
    return budget


def refuse_reading(budget: Budget, spent: float, amount: int, cores: int) -> None:
    """Raises InputError where a time budget is over before `amount` bytes are read and tokenised for the first time.

    The rate is three times what was measured, so that what it refuses would have been refused later, too.
    """
    needed = spent + amount / (FASTEST * cores)
    if budget.kind == "seconds" and needed > budget.amount:
        enough = 60 * -(-2 * needed // 60)
        raise InputError(
            f"--budget {budget.amount:g}s",
            f"is over before {amount / 1e6:,.0f} MB are read and tokenised: at least {needed:,.0f} s on {cores} cores",
            f"Give --budget {enough:.0f}s or more, or less text. It is kept for the next run.",
        )


def missing(where: str = "--budget") -> InputError:
    """Asked for when nobody is there to answer."""
    return InputError(
        where,
        "is not given",
        f"Add --budget {SUGGESTED} (wall time of the whole command), or --budget 500steps for a quick try.",
    )


def asked_for(ask: Callable[[str, str], str]) -> str:
    """What a person who is there answers; the suggestion where they only press return."""
    return ask("How long may it take, start to finish (20m, 2h), or 500steps, 3epochs", SUGGESTED)


def process_start() -> float:
    """When this process began, on the clock of time.monotonic(), in seconds. Without /proc: now."""
    try:
        with open("/proc/self/stat", encoding="utf-8") as stat, open("/proc/uptime", encoding="utf-8") as uptime:
            ticks = float(stat.read().rpartition(")")[2].split()[19])  # field 22: start after boot, in clock ticks
            age = float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        age = 0.0
    return time.monotonic() - max(age, 0.0)


class Clock:
    """Wall seconds since the command began, and by the name of the part that used them."""

    def __init__(self, started: float | None = None):
        self.started = time.monotonic() if started is None else started
        self.parts: dict[str, float] = {}
        self._last = self.started

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def lap(self, name: str) -> float:
        """Close a part: the seconds since the last lap are booked on `name`."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self.parts[name] = self.parts.get(name, 0.0) + seconds
        return seconds
