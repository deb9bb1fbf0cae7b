"""Learning-rate schedules: pure functions of the step, so that resuming needs no state."""

import math

NAMES = ("wsd", "cosine", "linear", "constant")


def factor(name: str, step: int, steps: int, warmup: float = 0.05, decay: float = 0.3, floor: float = 0.0) -> float:
    """What the learning rate of update `step` (0 … steps - 1) is multiplied by, in (0, 1].

    warmup: share of the steps that rise linearly from 0. decay: share at the end that falls linearly to 0 (wsd only:
    warm-up, stable, decay; Hu et al. 2024, "MiniCPM", section 4; cosine: Loshchilov & Hutter 2017, "SGDR").
    floor: what it falls to in place of 0.
    The value never is 0: the first update is step 1 of the rise, the last is the one before the end of the fall.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return floor + (1 - floor) * _fall(name, step - rising, max(steps - rising, 1), decay * steps)


def _fall(name: str, step: int, steps: int, tail: float) -> float:
    """The part after the warm-up: step of steps, `tail` of them falling under wsd."""
    if name == "constant":
        return 1.0
    if name == "linear":
        return 1 - step / steps
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / steps))
    if name == "wsd":
        return min(1.0, (steps - step) / max(round(min(tail, steps)), 1))
    raise ValueError(f"schedule: `{name}` is none of {', '.join(NAMES)}. Use one of them for train.schedule.")
