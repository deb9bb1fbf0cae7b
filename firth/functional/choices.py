"""Choosing among written options by their likelihood, and the forms in which a language model is asked for it.

A scorer hides the model: evaluations ask for likelihoods and know neither tokens nor tensors.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from firth.errors import InputError

# K options

Normalise = Literal["raw", "per-token", "per-byte", "calibrated"]


class Likelihood(NamedTuple):
    """What a model says of one option after its prompt."""

    nats: float  # log p(option | prompt), summed over its tokens: at most 0
    tokens: int = 1  # of the option
    greedy: bool = False  # each of its tokens is the likeliest one there: the model would write it of itself


Scorer = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[Sequence[Likelihood]]]  # prompts, their options
Writer = Callable[[Sequence[str]], Sequence[str]]  # prompts → what is written on, up to a line end or further


def asked(score: Scorer, prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[list[Likelihood]]:
    """What the scorer says, held to its form. Raises InputError where it is not one likelihood for each option."""
    found = [list(one) for one in score(prompts, options)]
    if [len(one) for one in found] != [len(one) for one in options]:
        wanted, got = sum(map(len, options)), sum(map(len, found))
        what = f"gave {got:,} likelihoods of {len(found):,} prompts; {wanted:,} of {len(prompts):,} were asked for"
        raise InputError("scorer", what, "Return one likelihood per option, a list for each prompt.")
    return found


def begins_of(read: Sequence[np.ndarray], whole: Sequence[np.ndarray], options: Sequence[Sequence[str]]) -> list[int]:
    """Token ids of each prompt, of each prompt with each of its options -> the places from which these are options.

    So many tokens as prompt and texts begin with alike. Where one token holds the end of a prompt and the beginning of
    an option, it counts, and in the other options what is there.
    """
    rows, found = iter(whole), list[int]()
    for prompt, some in zip(read, options, strict=True):
        found += [_alike([prompt, *(next(rows) for _ in some)])] * len(some)
    return found


def _alike(rows: Sequence[np.ndarray]) -> int:
    """How many tokens all rows begin with."""
    shortest = min(map(len, rows))
    same = (np.stack([row[:shortest] for row in rows]) == rows[0][:shortest]).all(0)
    return shortest if same.all() else int(same.argmin())


def scores(found: Sequence[Likelihood], options: Sequence[str], normalise: Normalise = "raw",
           empty: Sequence[Likelihood] | None = None) -> np.ndarray:  # fmt: skip
    """(K,) float, the higher the better.

    raw: nats. per-token, per-byte: divided by the length, so that long options are not at a disadvantage.
    calibrated: less the nats of the same options after a prompt with nothing in it, `empty`: what the model would say
    anyhow (Zhao et al. 2021, arXiv 2102.09690, section 5; Holtzman et al. 2021, arXiv 2104.08315).
    """
    nats = np.array([one.nats for one in found], float)
    if normalise == "per-token":
        return nats / np.array([max(one.tokens, 1) for one in found])
    if normalise == "per-byte":
        return nats / np.array([max(len(option.encode("utf-8", "replace")), 1) for option in options])
    if normalise == "calibrated":
        return nats - np.array([one.nats for one in empty or ()], float)
    return nats


def best(options: Sequence[str], values: np.ndarray) -> int | None:
    """The place of the one option with the highest score.

    None for a tie, which is always wrong: equal scores, one text given twice (its scores may differ by rounding), and
    scores that are no numbers.
    """
    if np.isnan(values).any():
        return None
    place = int(np.argmax(values))
    rivals = [i for i, option in enumerate(options) if i != place]
    tied = any(values[i] == values[place] or options[i] == options[place] for i in rivals)
    return None if tied else place


def softmax(values: np.ndarray) -> np.ndarray:
    """(K,) scores → (K,) shares of 1."""
    raised = np.exp(values - values.max())
    return raised / raised.sum()
