"""ABX: whether a clip is nearer to one of its own category than to one of another, without any training.

A and X are of one category, B of another. The error is the share of triples in which X is farther from A than from B,
ties counted as half (Schatz et al. 2013; ZeroSpeech 2017 and 2021, arXiv 2011.11588, section 3). Within speakers all
three are of one speaker; across speakers X is of another one than A and B. Here a triple is made of whole clips, and
the categories are those of clips: words, digits.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import permutations

import numpy as np

# N clips

Cells = dict[tuple[Hashable, Hashable], list[int]]  # (speaker, category) → clips


def cells_of(categories: Sequence[Hashable], speakers: Sequence[Hashable]) -> Cells:
    """The clips of each speaker and category, in their order."""
    found: Cells = defaultdict(list)
    for place, cell in enumerate(zip(speakers, categories, strict=True)):
        found[cell].append(place)
    return dict(found)


def needed(speakers: Sequence[Hashable], across: bool) -> np.ndarray:
    """(N, N) bool: the pairs (A or B, X) whose distance is asked for."""
    owners = _numbers(speakers)
    same = owners[:, None] == owners[None]
    return (~same if across else same) & ~np.eye(len(owners), dtype=bool)


def abx_error(
    distances: np.ndarray, categories: Sequence[Hashable], speakers: Sequence[Hashable], across: bool = False
) -> float:
    """(N, N) distances, categories and speakers of N clips -> the error in [0, 1]; 0.5 is chance.

    The mean over pairs of categories of the mean over speakers of A and B (across: then over those of X) of the mean
    over triples. NaN where there is no triple.
    """
    cells = cells_of(categories, speakers)
    triples = _across(cells) if across else _within(cells)
    by_pair: dict[tuple, dict[Hashable, list[float]]] = defaultdict(lambda: defaultdict(list))
    for pair, speaker, a, b, x in triples:
        error = _error(distances, a, b, x)
        if not np.isnan(error):
            by_pair[pair][speaker].append(error)
    means = [np.mean([np.mean(one) for one in found.values()]) for found in by_pair.values()]
    return float(np.mean(means)) if means else float("nan")


def _within(cells: Cells) -> Iterator[tuple]:
    """(pair of categories, speaker, clips A, clips B, clips X), X among the clips A."""
    for speaker, chosen in _by_speaker(cells).items():
        for one, other in permutations(chosen, 2):
            yield (one, other), speaker, chosen[one], chosen[other], chosen[one]


def _across(cells: Cells) -> Iterator[tuple]:
    """The same with X of another speaker."""
    speakers = _by_speaker(cells)
    for (speaker, chosen), (_, theirs) in permutations(speakers.items(), 2):
        for one, other in permutations(chosen, 2):
            if one in theirs:
                yield (one, other), speaker, chosen[one], chosen[other], theirs[one]


def _by_speaker(cells: Cells) -> dict[Hashable, dict[Hashable, list[int]]]:
    found: dict[Hashable, dict[Hashable, list[int]]] = defaultdict(dict)
    for (speaker, category), clips in cells.items():
        found[speaker][category] = clips
    return dict(found)


def _error(distances: np.ndarray, a: list[int], b: list[int], x: list[int]) -> float:
    """Over all triples of these clips in which A is not X itself."""
    near, far = distances[np.ix_(a, x)][:, None], distances[np.ix_(b, x)][None]  # (A, 1, X), (1, B, X)
    wrong = (near > far) + 0.5 * (near == far)  # (A, B, X)
    counts = np.broadcast_to((np.array(a)[:, None] != np.array(x)[None])[:, None], wrong.shape)
    return float(wrong[counts].mean()) if counts.any() else float("nan")


def _numbers(values: Sequence[Hashable]) -> np.ndarray:
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], np.int64)


def distance_table(frames: Sequence[np.ndarray], pairs: np.ndarray, measure: Callable) -> np.ndarray:
    """(T, D) of N clips, (N, N) bool which pairs are wanted -> (N, N) symmetric distances, NaN elsewhere.

    measure: (one, others) -> distances, as `warping.distances_to`.
    """
    table = np.full(pairs.shape, np.nan)
    wanted = np.triu(pairs | pairs.T, 1)
    for place, row in enumerate(wanted):
        others = np.flatnonzero(row).tolist()
        if others:
            table[place, others] = table[others, place] = measure(frames[place], [frames[i] for i in others])
    return table
