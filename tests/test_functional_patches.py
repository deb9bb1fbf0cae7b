"""Whitened-patch k-means against a plain NumPy writing of Coates, Lee & Ng 2011, patch by patch."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from firth.functional import patches
from firth.functional.patches import Dictionary, drawn_patches, features, learn, normalised, pooled, spherical_kmeans


def images(count=6, channels=3, side=11, seed=0):
    source = np.random.default_rng(seed)
    coarse = source.integers(0, 256, (count, channels, side, side))
    return torch.tensor((coarse + np.roll(coarse, 1, 3)) // 2).byte()


def digits(count=300):
    return torch.tensor(load_digits().images[:count] * 15).byte()[:, None]


# ------------------------------------------------------------------ written out


def normalised_by_formula(x):
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, ddof=1, keepdims=True) + 10)


def whitened_by_formula(x):
    """mean, and V diag(1 / sqrt(λ + 0.1)) Vᵀ"""
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return x.mean(0), vectors @ np.diag(1 / np.sqrt(values + 0.1)) @ vectors.T


def kmeans_by_formula(x, centroids, rounds):
    """Coates & Ng 2012, section 2.1, point by point."""
    for _ in range(rounds):
        new = centroids.copy()
        for point in x:
            dots = centroids @ point
            best = np.abs(dots).argmax()
            new[best] += dots[best] * point
        centroids = new / np.sqrt((new**2).sum(1, keepdims=True))
    return centroids


def features_by_formula(image, dictionary):
    """(C, H, W) -> (4 K,): one patch after the other."""
    size, (_, height, width) = dictionary.size, image.shape
    centroids, mean, whiten = (part.double().numpy() for part in dictionary[:3])
    rows, columns = height - size + 1, width - size + 1
    sums = np.zeros((2, 2, len(centroids)))
    for i in range(rows):
        for j in range(columns):
            patch = image[:, i : i + size, j : j + size].reshape(1, -1)
            white = (normalised_by_formula(patch) - mean) @ whiten
            distances = np.sqrt(((white - centroids) ** 2).sum(1))
            active = np.maximum(0, distances.mean() - distances)
            sums[int(i >= (rows + 1) // 2), int(j >= (columns + 1) // 2)] += active
    return sums.ravel()


# ------------------------------------------------------------------ tests


def test_features_are_those_of_the_formula():
    found = images()
    dictionary = learn(found, centroids=9, size=4, count=300)
    expected = np.stack([features_by_formula(one.double().numpy(), dictionary) for one in found])
    np.testing.assert_allclose(features(found, dictionary), expected, rtol=1e-4, atol=1e-3)


def test_features_of_pictures_that_are_no_squares_and_of_one_channel():
    found = images(channels=1)[:, :, :9]
    dictionary = learn(found, centroids=5, size=3, count=200)
    expected = np.stack([features_by_formula(one.double().numpy(), dictionary) for one in found])
    np.testing.assert_allclose(features(found, dictionary), expected, rtol=1e-4, atol=1e-3)


def test_features_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    found = images()
    dictionary = learn(found, centroids=9, size=4, count=300)
    whole = features(found, dictionary)
    monkeypatch.setattr(patches, "CELLS", 1)
    torch.testing.assert_close(features(found, dictionary), whole, rtol=1e-5, atol=1e-3)


def test_normalising_is_that_of_the_formula_and_a_flat_patch_is_zero():
    x = drawn_patches(images(), 4, 5)
    np.testing.assert_allclose(normalised(x), normalised_by_formula(x.double().numpy()), rtol=1e-4, atol=1e-5)
    assert normalised(torch.full((1, 12), 200.0)).abs().max() == 0


def test_whitening_is_that_of_the_formula_and_makes_directions_alike():
    x = normalised(drawn_patches(images(60), 3, 50))
    mean, whiten = patches.whitening(x)
    expected_mean, expected = whitened_by_formula(x.double().numpy())
    np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
    np.testing.assert_allclose(whiten, expected, atol=1e-3)
    spread = np.linalg.eigvalsh(np.cov(((x - mean) @ whiten).double().numpy().T))
    assert spread[1:].min() > 0.5 and spread.max() < 1.01


def test_kmeans_is_that_of_the_formula():
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    begun = spherical_kmeans(x, 5, rounds=0).double().numpy()
    found = spherical_kmeans(x, 5, rounds=3)
    np.testing.assert_allclose(found, kmeans_by_formula(x.double().numpy(), begun, 3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))


def test_kmeans_finds_directions_that_are_there():
    source = torch.Generator().manual_seed(0)
    true = torch.linalg.qr(torch.randn(12, 12, generator=source)).Q[:4]
    signs = torch.sign(torch.randn(400, 1, generator=source))
    points = true[torch.randint(0, 4, (400,), generator=source)] * signs * 3
    found = spherical_kmeans(points + 0.1 * torch.randn(400, 12, generator=source), 12)
    assert (found @ true.T).abs().amax(0).min() > 0.98


def test_patches_lie_in_their_pictures_and_are_drawn_from_the_seed():
    found = images(count=4, side=7)
    drawn = drawn_patches(found, 3, 10, seed=5)
    assert drawn.shape == (40, 27) and drawn.equal(drawn_patches(found, 3, 10, seed=5))
    assert not drawn.equal(drawn_patches(found, 3, 10, seed=6))
    for number, patch in enumerate(drawn):
        image = found[number // 10].float()
        places = [image[:, i : i + 3, j : j + 3].reshape(-1) for i in range(5) for j in range(5)]
        assert any(patch.equal(place) for place in places)


def test_pools_share_out_every_place_once():
    values = torch.rand(3, 2, 5, 7)
    found = pooled(values, 2).view(2, 4, 3)
    torch.testing.assert_close(found.sum(1), values.sum((2, 3)).T)
    torch.testing.assert_close(found[:, 0], values[..., :3, :4].sum((2, 3)).T)
    torch.testing.assert_close(found[:, 3], values[..., 3:, 4:].sum((2, 3)).T)
    assert pooled(values, 1).shape == (2, 3)


def test_the_same_seed_gives_the_same_dictionary():
    one, two, other = (learn(images(), 6, 4, 200, seed=seed) for seed in (1, 1, 2))
    assert all(a.equal(b) for a, b in zip(one[:3], two[:3], strict=True)) and not one.centroids.equal(other.centroids)


def test_float_pictures_of_the_same_scale_give_the_same():
    found = images()
    dictionary = learn(found, 6, 4, 200)
    torch.testing.assert_close(features(found.float(), dictionary), features(found, dictionary))


def test_digits_are_told_apart_better_than_by_pixels():
    from sklearn.linear_model import RidgeClassifier

    found, labels = digits(600), load_digits().target[:600]
    dictionary = learn(found[:400], centroids=100, size=4, count=20_000)
    vectors = features(found, dictionary).numpy()
    vectors = (vectors - vectors[:40].mean(0)) / (vectors[:40].std(0) + 1e-3)
    plain = found.flatten(1).numpy() / 255
    score = [RidgeClassifier(alpha=a).fit(x[:40], labels[:40]).score(x[400:], labels[400:])
             for x, a in ((vectors, 100.0), (plain, 1.0))]  # fmt: skip
    assert score[0] > score[1]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_dictionary_moves_as_a_whole(device):
    found = learn(images(), 4, 3, 100).to(device)
    assert isinstance(found, Dictionary) and {part.device.type for part in found[:3]} == {device} and found.size == 3
