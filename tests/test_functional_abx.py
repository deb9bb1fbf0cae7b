"""Warping and ABX: constructed cases with known answers, and plain loops over all triples."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional.abx import abx_error, distance_table, needed
from firth.functional.warping import angles, distances_to, warped


def plain_warp(distances: np.ndarray) -> float:
    """The table of the definition, and the path walked back from its end."""
    steps, others = distances.shape
    cost = np.full((steps + 1, others + 1), np.inf)
    cost[0, 0] = 0
    for i, j in product(range(1, steps + 1), range(1, others + 1)):
        cost[i, j] = distances[i - 1, j - 1] + min(cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1])
    i, j, size = steps, others, 0
    while i or j:
        size += 1
        ways = [(cost[i - 1, j - 1], 1, 1), (cost[i - 1, j], 1, 0), (cost[i, j - 1], 0, 1)] if i and j else []
        _, di, dj = min(ways, key=lambda way: way[0]) if ways else (0, int(i > 0), int(j > 0))
        i, j = i - di, j - dj
    return cost[steps, others] / size


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60)
def test_warping_is_that_of_the_plain_table(seed, steps, others):
    distances = np.random.default_rng(seed).random((steps, others)).round(1)
    found = warped(distances[None], np.array([steps]), np.array([others]))
    assert found[0] == pytest.approx(plain_warp(distances))


def test_padding_changes_nothing():
    source = np.random.default_rng(0)
    one = source.normal(size=(5, 3))
    others = [source.normal(size=(int(n), 3)) for n in (1, 4, 9, 4, 2)]
    alone = [plain_warp(angles(one, other)) for other in others]
    np.testing.assert_allclose(distances_to(one, others, together=3), alone)


def test_a_slower_clip_is_no_other_clip():
    clip = np.eye(4)
    assert distances_to(clip, [np.repeat(clip, 3, 0), clip[::-1]])[0] == pytest.approx(0, abs=1e-7)
    assert distances_to(clip, [clip[::-1]])[0] > 0.3


def test_angles_are_shares_of_a_half_turn():
    one, other = np.array([[1.0, 0]]), np.array([[1.0, 0], [0, 2], [-3, 0], [0, 0]])
    np.testing.assert_allclose(angles(one, other), [[0, 0.5, 1, 0.5]], atol=1e-7)


# ------------------------------------------------------------------ ABX


def plain_abx(distances, categories, speakers, across: bool) -> float:
    """Every triple by itself, averaged as ZeroSpeech averages: triples, speakers of X, of A and B, pairs."""
    cells: dict = {}
    everyone = range(len(categories))
    for a, b, x in product(everyone, repeat=3):
        fits = categories[a] == categories[x] != categories[b] and a != x and speakers[a] == speakers[b]
        if fits and (speakers[a] != speakers[x]) == across:
            key = (categories[a], categories[b]), speakers[a], speakers[x]
            near, far = distances[a, x], distances[b, x]
            cells.setdefault(key, []).append(1.0 if near > far else 0.5 if near == far else 0.0)
    for _ in range(2):
        outer: dict = {}
        for key, values in cells.items():
            outer.setdefault(key[:-1], []).append(np.mean(values))
        cells = outer
    return float(np.mean([np.mean(values) for values in cells.values()])) if cells else float("nan")


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_that_of_every_triple(seed, across):
    source = np.random.default_rng(seed)
    count = 16
    categories = source.choice(["one", "two", "three"], count).tolist()
    speakers = source.choice(["ann", "bob", "cid"], count).tolist()
    distances = source.random((count, count)).round(1)
    distances = distances + distances.T
    expected = plain_abx(distances, categories, speakers, across)
    assert abx_error(distances, categories, speakers, across) == pytest.approx(expected, nan_ok=True)


def points(places: list[float]) -> np.ndarray:
    return np.abs(np.subtract.outer(places, places))


def test_categories_that_lie_apart_make_no_error_and_speakers_that_do_make_one():
    categories, speakers = ["a", "a", "b", "b"] * 2, ["ann"] * 4 + ["bob"] * 4
    by_word = points([0, 0.1, 5, 5.1, 0.2, 0.3, 5.2, 5.3])
    assert abx_error(by_word, categories, speakers) == 0
    assert abx_error(by_word, categories, speakers, across=True) == 0
    turned = points([0, 0.1, 5, 5.1, 5.2, 5.3, 0.2, 0.3])  # bob says a where ann says b
    assert abx_error(turned, categories, speakers) == 0
    assert abx_error(turned, categories, speakers, across=True) == 1


def test_equal_distances_are_chance():
    assert abx_error(np.ones((6, 6)), list("aabbab"), ["s"] * 6) == 0.5


def test_without_a_triple_there_is_no_error():
    assert np.isnan(abx_error(np.ones((2, 2)), ["a", "b"], ["s", "s"]))
    assert np.isnan(abx_error(np.ones((3, 3)), ["a", "a", "a"], ["s"] * 3))
    assert np.isnan(abx_error(np.ones((4, 4)), list("aabb"), ["s"] * 4, across=True))


def test_only_the_distances_that_are_asked_for_are_measured():
    speakers = ["ann", "ann", "bob"]
    frames = [np.eye(2)[:1] * (i + 1) for i in range(3)]
    asked = []

    def measure(one, others):
        asked.append(len(others))
        return np.array([np.abs(one - other).sum() for other in others])

    within = distance_table(frames, needed(speakers, across=False), measure)
    assert sum(asked) == 1 and within[0, 1] == within[1, 0] == 1 and np.isnan(within[0, 2])
    across = distance_table(frames, needed(speakers, across=True), measure)
    assert across[0, 2] == 2 and np.isnan(across[0, 1]) and sum(asked) == 3
