"""Which steps to hide and what to put there: vectorised NumPy, no loop over rows or tokens."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# B rows, T steps, K kept steps. A group is what is hidden as one: a token, a word, a span; numbered from 0 in each row.


class Hidden(NamedTuple):
    """What the model must guess: K = 1 + the largest number of hidden steps in a row."""

    keep: np.ndarray  # (B, K) int64: step 0, then the hidden steps ascending, then 0 as filler
    target: np.ndarray  # (B, K) int64: the token that was there; `ignore` at step 0 and at fillers


def how_many(ordinary: np.ndarray, rate: float) -> np.ndarray:
    """(B, T) bool -> (B,) int64: round(rate x ordinary steps) (halves to even), at least 1 where there is any."""
    count = ordinary.sum(1)
    wanted = np.rint(rate * count).astype(np.int64)
    return np.minimum(np.maximum(wanted, 1), count)


def choose(scores: np.ndarray, ordinary: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(B, T) float, (B, T) bool, (B,) -> (B, T) bool: the `wanted` ordinary steps with the lowest scores."""
    order = np.argsort(np.where(ordinary, scores, np.inf), axis=1, kind="stable")
    return _first(order, wanted)


def choose_groups(
    scores: np.ndarray, group: np.ndarray, word: np.ndarray, ordinary: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The groups with the lowest scores, until the number of hidden steps is as near to `wanted` as whole words allow.

    scores: (B, G) float, one per group number; group, word: (B, T) int64; ordinary: (B, T) bool; wanted: (B,).
    Returns (B, T) bool. No word is ever half hidden, a group of several words may be cut short between words, and at
    least one word is hidden where there is one.
    """
    of_step = np.take_along_axis(scores, np.where(ordinary, group, 0), axis=1)  # (B, T)
    order = np.argsort(np.where(ordinary, of_step, np.inf), axis=1, kind="stable")
    sorted_word = np.take_along_axis(np.where(ordinary, word, -1), order, axis=1)
    last = np.ones(order.shape, bool)  # True where the next step in this order belongs to another word
    last[:, :-1] = sorted_word[:, :-1] != sorted_word[:, 1:]
    taken = np.arange(1, order.shape[1] + 1)[None, :]
    miss = np.where(last & (sorted_word >= 0), np.abs(taken - wanted[:, None]), np.iinfo(np.int64).max)
    return _first(order, np.where(ordinary.any(1), miss.argmin(1) + 1, 0))


def spans(word: np.ndarray, ordinary: np.ndarray, start: np.ndarray, longest: int) -> np.ndarray:
    """(B, T) int64 words, bool, bool, longest span in words -> (B, T) int64: the number of each step's span in its row.

    start: True where a span may begin; it does so only where a word begins. With independent draws of probability p
    the lengths are geometric with mean 1/p, cut at `longest`, as in SpanBERT (arXiv 1907.10529, section 3.1).
    """
    begins = ordinary.copy()  # True at the first step of a word
    begins[:, 1:] &= word[:, 1:] != word[:, :-1]
    numbered = np.cumsum(begins, axis=1)  # (B, T): words begun so far
    broken = ordinary.copy()  # True where a run of ordinary steps begins
    broken[:, 1:] &= ~ordinary[:, :-1]
    opens = (begins & start) | broken
    since = numbered - np.maximum.accumulate(np.where(opens, numbered, 0), axis=1)  # words since the span opened
    opens |= begins & (since % longest == 0)
    return np.maximum(np.cumsum(opens, axis=1) - 1, 0)


def runs(
    scores: np.ndarray, luck: np.ndarray, lengths: np.ndarray, share: float, span: int, fewest: int = 1
) -> np.ndarray:
    """(B, T) float, (B,) float, (B,) steps of each row -> (B, T) bool: runs of `span` steps, which may overlap.

    Each row begins floor(share x its steps + luck) runs, `fewest` at least, at different steps: those of the lowest
    scores (wav2vec 2.0, arXiv 2006.11477, section 4.2). A row shorter than two runs has one run of half its length, a
    row of a single step none.
    """
    steps, size = np.arange(scores.shape[1]), np.minimum(span, lengths // 2)[:, None]  # (T,), (B, 1)
    may_begin = (steps <= lengths[:, None] - size) & (size > 0)  # (B, T)
    wanted = np.maximum(np.floor(share * lengths + luck).astype(np.int64), fewest)
    begun = choose(scores, may_begin, np.minimum(wanted, may_begin.sum(1))).cumsum(1)  # (B, T): runs begun so far
    ended = np.take_along_axis(np.pad(begun, ((0, 0), (1, 0))), np.maximum(steps + 1 - size, 0), axis=1)
    return begun > ended


def replace(
    tokens: np.ndarray, chosen: np.ndarray, fate: np.ndarray, other: np.ndarray, mask_id: int, shares: tuple
) -> np.ndarray:
    """(B, T) -> (B, T): at chosen steps the mask, another token or the token itself, by where `fate` in [0, 1) falls.

    shares: of mask and of random replacement; the rest is left as it is.
    """
    masked = chosen & (fate < shares[0])
    swapped = chosen & ~masked & (fate < shares[0] + shares[1])
    return np.where(masked, mask_id, np.where(swapped, other, tokens))


def hidden_steps(tokens: np.ndarray, chosen: np.ndarray, ignore: int) -> Hidden:
    """(B, T) original tokens, (B, T) bool -> the steps to compute and what to guess there."""
    rows, steps = chosen.nonzero()
    per_row = chosen.sum(1)
    shape = (len(chosen), 1 + int(per_row.max(initial=0)))
    slot = 1 + np.arange(len(rows)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    keep, target = np.zeros(shape, np.int64), np.full(shape, ignore, np.int64)
    keep[rows, slot], target[rows, slot] = steps, tokens[rows, steps]
    return Hidden(keep, target)


@lru_cache(maxsize=8)
def ordinary_ids(vocabulary: int, special_ids: tuple[int, ...]) -> np.ndarray:
    """(V - specials,) int64: the ids that may stand in for a token."""
    ids = np.setdiff1d(np.arange(vocabulary), np.asarray(special_ids, np.int64))
    ids.setflags(write=False)
    return ids


def _first(order: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(B, T) a permutation of the steps per row, (B,) -> (B, T) bool: True at the first `count` of them."""
    chosen = np.zeros(order.shape, bool)
    np.put_along_axis(chosen, order, np.arange(order.shape[1])[None, :] < count[:, None], axis=1)
    return chosen
