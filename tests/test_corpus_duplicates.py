"""Exact and near duplicates: found, counted, and not imagined."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.data import duplicates
from firth.data.duplicates import Collisions, count, hash_words

WORDS = [f"w{i}" for i in range(5000)]


def text(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def changed(one: str, share: float, seed: int = 0) -> str:
    """The text with the first words of it replaced."""
    words = one.split()
    return " ".join([f"z{seed}x{i}" for i in range(int(len(words) * share))] + words[int(len(words) * share) :])


def test_different_texts_are_no_duplicates():
    assert count(text(i) for i in range(400)) == (0, 0)


def test_exact_ones_are_counted_once_each():
    assert count([text(1), text(2), text(1), text(1), " " + text(2) + "\n"]) == (3, 0)


def test_near_ones_are_those_much_alike():
    originals = [text(i) for i in range(100)]
    exact, near = count(originals + [changed(one, 0.03, i) for i, one in enumerate(originals)])
    assert exact == 0 and near >= 97
    exact, near = count(originals + [changed(one, 0.5, i) for i, one in enumerate(originals)])
    assert exact == 0 and near <= 4


def test_case_and_signs_make_no_difference():
    one = text(7)
    assert count([one, one.upper().replace(" ", ",  ") + "!"]) == (0, 1)


def test_a_copy_of_a_copy_counts_once_and_exact_ones_not_as_near():
    one, near = text(3), changed(text(3), 0.02)
    assert count([one, near, one, near]) == (2, 1)


def test_short_texts_are_not_compared():
    assert count(["the ship sails on the sea", "the ship sails on the sea!"]) == (0, 0)


def test_chinese_is_compared_by_signs():
    one = "".join(random.Random(0).choices([chr(0x4E00 + i) for i in range(3000)], k=200))
    assert count([one, "新" + one[1:]]) == (0, 1)


def test_only_the_beginning_of_a_very_long_text_is_compared(monkeypatch):
    monkeypatch.setattr(duplicates, "LONGEST", 400)
    assert count([text(1, 300), text(1, 300)[:1000] + text(2, 100)]) == (0, 1)


def test_the_order_of_reading_in_batches_does_not_matter(monkeypatch):
    texts = [text(i % 30, 30) for i in range(90)] + [changed(text(i, 30), 0.04) for i in range(5)]
    want = count(texts)
    monkeypatch.setattr(duplicates, "BYTES", 300)
    monkeypatch.setattr(duplicates, "MOST", 3)
    assert count(texts) == want and want.exact == 60


def test_nothing_is_left_behind(tmp_path):
    count([text(1), text(1)], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=100, deadline=None)
@given(one=st.text(st.sampled_from("aB9 .,\n"), max_size=40))
def test_words_hash_by_their_letters(one):
    plain = "".join(c if c.isalnum() else " " for c in one).lower().split()
    hashes, places = hash_words(one.encode())
    assert len(hashes) == len(plain)
    assert [one[p] for p in places] == [c for c in (one[p] for p in places) if c.isalnum()]
    for word, found in zip(plain, hashes, strict=True):
        assert found == hash_words(word.encode())[0][0]


def test_different_words_hash_differently():
    words = [f"{a}{b}" for a in WORDS[:300] for b in ("", "s", "ed")]
    assert len(np.unique(hash_words(" ".join(words).encode())[0])) == 900


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 5), max_size=40))
def test_collisions_mark_all_but_the_first(tmp_path_factory, values):
    collisions = Collisions(tmp_path_factory.mktemp("buckets"))
    spread = np.array(values, np.uint64) << np.uint64(60)
    for first in range(0, len(values), 7):
        collisions.add(spread[first : first + 7], np.arange(first, min(first + 7, len(values))))
    flags = np.zeros(len(values), bool)
    collisions.mark(flags)
    assert flags.tolist() == [value in values[:i] for i, value in enumerate(values)]


@pytest.mark.parametrize("alike", [0.5, 0.8, 0.95])
def test_the_signature_estimates_the_similarity_of_shingles(alike):
    own = np.arange(2000, dtype=np.uint64)
    other = np.where(own < alike * 2000, own, own + np.uint64(10**6))
    shingles = duplicates.mix(np.concatenate([own, other]) + np.uint64(1))
    one, two = duplicates._signatures(shingles, np.repeat([0, 1], 2000), 2)
    truth = alike / (2 - alike)
    assert abs(float((one == two).mean()) - truth) < 0.2
