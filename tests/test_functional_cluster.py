"""k-means: equal to scikit-learn's from the same beginning, seeded, near its best from its own."""

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus
from sklearn.datasets import make_blobs

from firth.functional import cluster
from firth.functional.cluster import assign, kmeans, plus_plus
from firth.functional.random import permute

MANY = make_blobs(3000, 7, centers=12, cluster_std=2.0, random_state=3)[0].astype(np.float32)
FAR = make_blobs(600, 5, centers=8, cluster_std=0.3, center_box=(-20, 20), random_state=1)


def inertia(values, centres) -> float:
    """By the definition, in double precision."""
    distances = ((values[:, None].astype(np.float64) - centres[None]) ** 2).sum(-1)
    return distances.min(1).sum()


@pytest.mark.parametrize("k", [1, 5, 20])
def test_rounds_are_those_of_scikit_learn_from_the_same_centres(k):
    first = MANY[:k]
    theirs = KMeans(k, init=first, n_init=1, algorithm="lloyd", tol=0, max_iter=300).fit(MANY)
    ours = kmeans(MANY, k, rounds=300, first=first)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-3, atol=1e-3)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-5)
    assert (assign(MANY, ours.centres)[0] == theirs.predict(MANY)).mean() > 0.999


def test_inertia_is_that_of_the_centres():
    found = kmeans(MANY, 9, seed=4)
    assert found.inertia == pytest.approx(inertia(MANY, found.centres), rel=1e-4)


def test_clear_clusters_are_found_by_every_seed():
    values, truth = FAR
    for seed in range(5):
        nearest, _ = assign(values, kmeans(values.astype(np.float32), 8, seed).centres)
        assert len(set(zip(nearest.tolist(), truth.tolist(), strict=True))) == 8


def test_the_first_centres_are_as_good_as_scikit_learns():
    theirs = [inertia_of(kmeans_plusplus(MANY, 12, random_state=seed)[0]) for seed in range(20)]
    ours = [inertia_of(plus_plus(MANY, 12, seed)) for seed in range(20)]
    assert np.mean(ours) < 1.1 * np.mean(theirs)


def inertia_of(centres) -> float:
    return assign(MANY, centres)[1].sum()


def test_small_batches_come_near_to_all_rows():
    whole = kmeans(MANY, 12, seed=2).inertia
    small = kmeans(MANY, 12, seed=2, rounds=60, batch=256)
    theirs = MiniBatchKMeans(12, batch_size=256, n_init=1, random_state=0).fit(MANY).inertia_
    assert small.inertia < 1.15 * whole and small.inertia < 1.15 * theirs
    assert small.inertia == pytest.approx(inertia(MANY, small.centres), rel=1e-4)


def test_small_batches_are_of_different_rows_of_the_data(monkeypatch):
    """16 rows fill the domain of the permutation: places beyond them were sought without end."""
    asked = []
    monkeypatch.setattr(cluster, "permute", lambda index, *given: asked.append(index) or permute(index, *given))
    kmeans(MANY[:16], 2, rounds=5, batch=10)
    assert len(asked) == 5 and all(len(set(one.tolist())) == 10 and one.max() < 16 for one in asked)


@pytest.mark.parametrize("batch", [None, 100])
def test_a_seed_decides_everything(batch):
    one, same, other = (kmeans(MANY, 6, seed, rounds=3, batch=batch).centres for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


def test_the_first_centres_are_rows_and_all_different():
    first = plus_plus(MANY, 30, seed=5)
    assert all((row == MANY).all(1).any() for row in first)
    assert len(np.unique(first, axis=0)) == 30


def test_the_first_centres_are_farther_apart_than_random_rows():
    random = np.random.default_rng(0)
    luck = np.mean([inertia(MANY, MANY[random.choice(len(MANY), 12, False)]) for _ in range(5)])
    assert np.mean([inertia(MANY, plus_plus(MANY, 12, seed)) for seed in range(5)]) < 0.9 * luck


def test_fewer_different_rows_than_centres():
    values = np.repeat(np.eye(3, dtype=np.float32), 4, 0)
    found = kmeans(values, 10)
    assert len(found.centres) == 3 and found.inertia == pytest.approx(0, abs=1e-6)


def test_a_centre_that_lost_all_rows_begins_anew():
    values = np.array([[0.0], [0.1], [10.0], [10.1]], np.float32)
    found = kmeans(values, 2, first=np.array([[5.0], [1000.0]]))
    assert sorted(found.centres[:, 0].tolist()) == pytest.approx([0.05, 10.05], abs=1e-5)


def test_nearest_of_equals_is_the_first():
    nearest, distance = assign(np.array([[1.0]], np.float32), np.array([[0.0], [2.0], [0.0]], np.float32))
    assert nearest.tolist() == [0] and distance.tolist() == [1.0]


def test_pieces_change_nothing(monkeypatch):
    from firth.functional import cluster

    whole = assign(MANY, MANY[:7])
    monkeypatch.setattr(cluster, "CHUNK", 50)
    pieces = assign(MANY, MANY[:7])
    assert (whole[0] == pieces[0]).all()
    np.testing.assert_allclose(whole[1], pieces[1], rtol=1e-4, atol=1e-4)
