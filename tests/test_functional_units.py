"""Purity and mutual information against plain NumPy over frames, and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from firth.functional import units

FRAMES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60)


@given(frames=FRAMES)
def test_agreement_is_that_of_the_formulas(frames):
    own, labels = (np.array(side) for side in zip(*frames, strict=True))
    found = units.agreement(units.joint(own, labels, (5, 4)))
    read = {unit: np.bincount(labels[own == unit]).argmax() for unit in set(own.tolist())}
    assert found.purity == pytest.approx(np.mean([read[unit] == label for unit, label in frames]))
    written = {label: np.bincount(own[labels == label]).argmax() for label in set(labels.tolist())}
    assert found.cluster_purity == pytest.approx(np.mean([written[label] == unit for unit, label in frames]))
    shares = np.bincount(labels) / len(labels)
    entropy = -sum(share * np.log(share) for share in shares if share > 0)
    expected = mutual_info_score(labels, own) / entropy if entropy > 0 else 0.0
    assert found.pnmi == pytest.approx(expected, abs=1e-9)


def test_units_that_are_the_labels_agree_and_one_unit_says_nothing():
    labels = np.array([0, 0, 1, 2, 2, 2])
    assert units.agreement(units.joint(labels, labels, (3, 3))) == pytest.approx((1, 1, 1))
    assert units.agreement(units.joint(np.zeros(6), labels, (1, 3))) == pytest.approx((0.5, 1, 0))
    assert units.agreement(np.zeros((3, 2))) == (0, 0, 0)


def test_frames_without_a_label_are_left_out():
    assert units.joint([0, 1, 1, 0], [0, -1, 1, 1], (2, 2)).tolist() == [[1, 1], [0, 1]]


def test_perplexity_counts_the_units_in_use():
    assert units.perplexity([0, 1, 2, 3], 8) == pytest.approx(4)
    assert units.perplexity([5, 5, 5], 8) == pytest.approx(1)
    assert units.perplexity([], 8) == 0


@given(st.lists(st.integers(0, 3), max_size=30))
def test_runs_give_the_units_back(row):
    own, frames = units.runs(row)
    assert np.repeat(own, frames).tolist() == row
    assert (own[1:] != own[:-1]).all()
