"""Nearest neighbours against scikit-learn and against the votes written out; the map against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from firth.functional import neighbours
from firth.functional.neighbours import nearest, neighbour_accuracy, principal_map, weighted_votes


def clouds(seed=0, count=120, width=10, classes=4):
    """Vectors around one direction for each class, and their classes."""
    source = np.random.default_rng(seed)
    centres = source.normal(size=(classes, width))
    labels = source.integers(0, classes, count)
    return torch.tensor(centres[labels] + 0.8 * source.normal(size=(count, width))).float(), torch.tensor(labels)


def test_the_nearest_are_those_of_scikit_learn():
    bank, queries = clouds()[0], clouds(1)[0]
    found = nearest(bank, queries, 7)
    distances, places = NearestNeighbors(n_neighbors=7, metric="cosine").fit(bank).kneighbors(queries)
    np.testing.assert_array_equal(found.place, places)
    np.testing.assert_allclose(found.similarity, 1 - distances, atol=1e-6)


def test_many_queries_are_answered_in_parts(monkeypatch):
    bank, queries = clouds()[0], clouds(1)[0]
    whole = nearest(bank, queries, 5)
    monkeypatch.setattr(neighbours, "CELLS", 500)
    parts = nearest(bank, queries, 5)
    assert parts.place.equal(whole.place)
    torch.testing.assert_close(parts.similarity, whole.similarity)


def test_a_small_bank_gives_all_it_has():
    bank, queries = clouds(count=3)[0], clouds(1)[0]
    assert nearest(bank, queries).place.shape == (120, 3)


def test_weighted_votes_are_those_of_scikit_learn_with_the_same_weights():
    (bank, labels), (queries, gold) = clouds(), clouds(1)

    def weights(distances):
        return np.exp((1 - distances) / 0.07)

    model = KNeighborsClassifier(20, metric="cosine", weights=weights).fit(bank.double(), labels)
    votes = weighted_votes(nearest(bank, queries, 20), labels, 4)
    np.testing.assert_allclose(votes / votes.sum(1, keepdim=True), model.predict_proba(queries.double()), atol=1e-4)
    right = float((torch.tensor(model.predict(queries.double())) == gold).double().mean())
    assert neighbour_accuracy(bank, labels, queries, gold) == pytest.approx(right)


def test_weighted_votes_are_finite_at_any_temperature():
    (bank, labels), (queries, _) = clouds(), clouds(1)
    votes = weighted_votes(nearest(bank, queries), labels, 4, temperature=1e-3)
    assert votes.isfinite().all() and (votes.sum(1) >= 1).all()


def test_a_class_that_only_queries_have_is_no_error():
    bank, queries = clouds()[0], clouds(1)[0]
    assert neighbour_accuracy(bank, torch.zeros(120, dtype=torch.long), queries, torch.full((120,), 9)) == 0


def test_the_map_is_that_of_scikit_learn_up_to_signs():
    vectors, _ = clouds()
    places, shares = principal_map(vectors)
    model = PCA(2).fit(vectors.double())
    np.testing.assert_allclose(places.abs(), np.abs(model.transform(vectors.double())), atol=1e-6)
    np.testing.assert_allclose(shares, model.explained_variance_ratio_, atol=1e-9)
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_equal_vectors_have_a_map_of_one_point():
    places, shares = principal_map(torch.ones(5, 3))
    assert places.abs().max() == 0 and shares.isfinite().all()
