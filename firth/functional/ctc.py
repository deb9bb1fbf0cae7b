"""Connectionist temporal classification: a loss and a search for units shorter and fewer than the steps they are in.

Graves et al. 2006. At each step the model says one of the units or nothing (the blank, class 0); a sequence of steps
reads as the units that are left once repetitions are merged and blanks dropped. The probability of a transcript is the
sum over all sequences of steps that read so.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

# B samples, T steps, U units of a transcript, V classes, the blank among them

BLANK = 0
NOTHING = -1  # a target beyond the end of a transcript


def ctc_sum(logits: Tensor, targets: Tensor, pad: Tensor | None = None) -> Tensor:
    """(B, T, V), (B, U) int64 classes 1 to V - 1 filled up with NOTHING, (B, T) bool True where there is no step ->
    the sum over samples of -log p(transcript), in nats, at least fp32.

    Equal to torch's ctc_loss of each sample alone. A transcript that its steps cannot hold (see `fits`) has no
    probability, and counts as 0 without a gradient.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    steps, units = lengths_of(logits, pad), (targets != NOTHING).sum(1)  # (B,), (B,)
    if not len(logits) or not units.sum() + steps.sum():
        return logits.sum() * 0.0
    shares = logits.log_softmax(-1).transpose(0, 1)  # (T, B, V)
    return ctc_loss(shares, targets.clamp(min=BLANK), steps, units, BLANK, reduction="sum", zero_infinity=True)


def lengths_of(logits: Tensor, pad: Tensor | None) -> Tensor:
    """(B,) int64: the steps of each sample."""
    if pad is None:
        return torch.full((len(logits),), logits.shape[1], device=logits.device)
    return (~pad).sum(1)


def fits(targets: Tensor, steps: Tensor) -> Tensor:
    """(B, U), (B,) -> (B,) bool: whether the steps can hold the transcript, one a unit and one between equal ones."""
    same = (targets[:, 1:] == targets[:, :-1]) & (targets[:, 1:] != NOTHING)
    return (targets != NOTHING).sum(1) + same.sum(1) <= steps


def collapse(classes: Sequence[int]) -> list[int]:
    """The units that a sequence of steps reads as: repetitions merged, blanks dropped."""
    found = np.asarray(classes, np.int64)
    new = np.concatenate([[True], found[1:] != found[:-1]]) if len(found) else np.empty(0, bool)
    return found[new & (found != BLANK)].tolist()


def greedy(shares: np.ndarray) -> list[int]:
    """(T, V) log-probabilities -> the units that the likeliest class of each step reads as."""
    return collapse(shares.argmax(-1).tolist())


class Guess(NamedTuple):
    """A transcript, and its log-probability in nats: a sum over the sequences of steps that the search kept."""

    units: tuple[int, ...]
    nats: float


def beam(shares: np.ndarray, width: int, most: int | None = None) -> list[Guess]:
    """(T, V) log-probabilities -> at most `width` transcripts, the likeliest first: prefix beam search.

    Hannun et al. 2014, arXiv 1408.2873, without a language model. Every prefix keeps apart the probability of having
    ended in a blank and in its last unit. most: only so many classes are looked at in a step, the likeliest; None: all.
    Exact where the beam holds every prefix.
    """
    if width < 1:
        raise ValueError(f"beam: width = {width} keeps nothing. Use 1 or more.")
    prefixes: dict[tuple[int, ...], list[float]] = {(): [0.0, -np.inf]}
    for step in shares:
        prefixes = _best(_extended(prefixes, step, _looked_at(step, most)), width)
    return [Guess(prefix, float(np.logaddexp(ends[0], ends[1]))) for prefix, ends in prefixes.items()]


def _looked_at(step: np.ndarray, most: int | None) -> list[int]:
    """The classes that a step may add, the blank left out."""
    chosen = range(len(step)) if most is None or most >= len(step) else np.argpartition(-step, most)[:most].tolist()
    return [unit for unit in chosen if unit != BLANK]


def _extended(prefixes: dict[tuple[int, ...], list[float]], step: np.ndarray, units: Sequence[int]) -> dict:
    """Each prefix as it is after one more step: unchanged by a blank or by its last unit again, or a unit longer."""
    found: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-np.inf, -np.inf])
    for prefix, (blank, unit_end) in prefixes.items():
        both = np.logaddexp(blank, unit_end)
        _add(found[prefix], 0, both + step[BLANK])
        if prefix:
            _add(found[prefix], 1, unit_end + step[prefix[-1]])
        for unit in units:
            before = blank if prefix and unit == prefix[-1] else both
            _add(found[(*prefix, unit)], 1, before + step[unit])
    return found


def _add(ends: list[float], place: int, nats: float) -> None:
    ends[place] = float(np.logaddexp(ends[place], nats))


def _best(found: dict, width: int) -> dict[tuple[int, ...], list[float]]:
    """The likeliest prefixes that are possible at all; of equally likely ones the first in the order of their units."""
    nats = {prefix: np.logaddexp(ends[0], ends[1]) for prefix, ends in found.items() if max(ends) > -np.inf}
    order = sorted(nats, key=lambda prefix: (-nats[prefix], prefix))
    return {prefix: found[prefix] for prefix in order[:width]}


class Place(NamedTuple):
    """Where a unit stands: steps begin to end - 1, and the mean log-probability of the unit there, in nats."""

    begin: int
    end: int
    nats: float


def align(shares: np.ndarray, units: Sequence[int]) -> list[Place]:
    """(T, V) log-probabilities, classes of a transcript -> the steps of each unit on the likeliest way to read it
    (Viterbi): forced alignment. Blanks between units belong to none.

    Raises ValueError where the steps cannot hold the transcript.
    """
    if not units:
        return []
    states = [BLANK, *(state for unit in units for state in (unit, BLANK))]  # (2 U + 1)
    came = _viterbi(shares[:, states], _may_skip(states))
    if came is None:
        raise ValueError(f"align: {len(units)} units do not fit {len(shares)} steps. Give a longer clip.")
    steps = [np.flatnonzero(came == 2 * place + 1) for place in range(len(units))]
    return [
        Place(int(one[0]), int(one[-1]) + 1, float(shares[one, unit].mean()))
        for unit, one in zip(units, steps, strict=True)
    ]


def _may_skip(states: Sequence[int]) -> np.ndarray:
    """(S,) bool: whether a state may be reached without the blank before it: a unit that differs from the last one."""
    found = np.array(states)
    return np.concatenate([[False, False], (found[2:] != BLANK) & (found[2:] != found[:-2])])


def _viterbi(shares: np.ndarray, may_skip: np.ndarray) -> np.ndarray | None:
    """(T, S) log-probabilities of the states -> (T,) the state of each step on the likeliest way; None: there is none.

    A way begins in the first two states and ends in the last two; each step stays, goes on by one, or skips a blank.
    """
    steps, states = shares.shape
    best, back = np.full(states, -np.inf), np.zeros((steps, states), np.int64)
    if not steps:
        return None
    best[:2] = shares[0, :2]
    for t in range(1, steps):
        ways = np.stack([best, _moved(best, 1), np.where(may_skip, _moved(best, 2), -np.inf)])  # (3, S)
        back[t] = ways.argmax(0)
        best = ways.max(0) + shares[t]
    state = states - 1 if best[-1] >= best[-2] else states - 2
    if best[state] == -np.inf:
        return None
    path = np.empty(steps, np.int64)
    for t in range(steps - 1, -1, -1):
        path[t] = state
        state -= int(back[t, state])
    return path


def _moved(best: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.full(by, -np.inf), best[:-by]])
