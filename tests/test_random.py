"""Keyed randomness: the same for the same key, whatever the order; uniform; a permutation without a table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.functional.random import Draw, combine, hash_bytes, mix, permute

KEYS = np.array([3, 2**63 + 5, 77, 2**64 - 1], dtype=np.uint64)


def test_the_finaliser_of_splitmix64_matches_its_published_first_outputs():
    golden, state = np.uint64(0x9E3779B97F4A7C15), np.uint64(1234567)
    with np.errstate(over="ignore"):
        states = state + golden * np.arange(1, 4, dtype=np.uint64)
    assert [int(x) for x in mix(states)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_mix_has_no_collisions():
    assert len(np.unique(mix(np.arange(100_000, dtype=np.uint64)))) == 100_000


def test_content_hash_is_64_bit_and_stable():
    assert hash_bytes(b"the company it keeps") == hash_bytes(b"the company it keeps")
    assert 0 <= hash_bytes(b"") < 2**64
    assert hash_bytes(b"a") != hash_bytes(b"b")


def test_combine_depends_on_order_and_on_every_part():
    assert combine(1, 2) != combine(2, 1)
    assert combine(1, 2, 3) != combine(1, 2, 4)
    assert combine(np.uint64(5), KEYS).shape == KEYS.shape


def test_a_draw_does_not_depend_on_the_company_in_the_batch():
    together = Draw(7, 2).uniform(KEYS, "mask", 10)
    alone = np.concatenate([Draw(7, 2).uniform(key, "mask", 10) for key in KEYS])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], Draw(7, 2).uniform(KEYS[::-1], "mask", 10))


def test_a_longer_draw_begins_with_the_shorter():
    np.testing.assert_array_equal(Draw(1).bits(KEYS, "x", 9)[:, :4], Draw(1).bits(KEYS, "x", 4))


@pytest.mark.parametrize("other", [Draw(8, 2), Draw(7, 3)])
def test_seed_and_epoch_change_everything(other):
    assert not np.any(Draw(7, 2).bits(KEYS, "mask", 10) == other.bits(KEYS, "mask", 10))


def test_purposes_are_independent():
    a, b = (Draw(0).uniform(np.arange(2000), purpose, 10).ravel() for purpose in ("mask", "replace"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_uniform_is_uniform():
    values = Draw(0).uniform(np.arange(5000), "mask", 20).ravel()
    assert values.min() >= 0 and values.max() < 1
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    expected = len(values) / 20
    assert ((counts - expected) ** 2 / expected).sum() < 45  # chi-square, 19 degrees of freedom: p > 0.001


@given(st.integers(1, 10_000), st.integers(0, 2**31))
def test_integers_stay_below(below, seed):
    values = Draw(seed).integers(KEYS, "token", 50, below)
    assert values.min() >= 0 and values.max() < below


@given(st.integers(1, 3000), st.integers(0, 2**31), st.integers(0, 50))
def test_permute_is_a_bijection(size, seed, epoch):
    assert sorted(permute(np.arange(size), size, seed, epoch)) == list(range(size))


def test_permute_is_the_same_one_by_one():
    whole = permute(np.arange(100), 100, 3, 1)
    assert [int(permute(i, 100, 3, 1)[0]) for i in range(100)] == whole.tolist()


def test_permute_shuffles_and_differs_by_epoch():
    first, second = permute(np.arange(1000), 1000, 0, 0), permute(np.arange(1000), 1000, 0, 1)
    assert (first != second).mean() > 0.9
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.15
