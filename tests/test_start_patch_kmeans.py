"""The patch k-means start: filters that see what patches are like, their place in a model, and where there is none."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from firth.data.source import ListSource
from firth.errors import InputError
from firth.functional import patches
from firth.functional.random import Draw
from firth.model.pixels import Normalise
from firth.signal import Sample
from firth.starts import patch_kmeans


def source(count=200, channels=1, side=8):
    images = (load_digits().images[:count] * 15).astype(np.uint8)[:, None]
    images = np.repeat(images, channels, 1).repeat(side // 8, 2).repeat(side // 8, 3)
    samples = [Sample((image,), key) for key, image in enumerate(images)]
    return ListSource(samples, np.ones(count))


class Toy(nn.Module):
    """As much of a Composed as a start touches."""

    def __init__(self, channels=1, filters=16, side=3, std=(), **other):
        super().__init__()
        first = nn.Conv2d(channels, filters, side, bias=False, **other)
        self.backbone = nn.Sequential(first, nn.Conv2d(filters, 4, 3), Normalise(channels, std=std))

    @property
    def weight(self):
        return self.backbone[0].weight


def begun(**shape):
    torch.manual_seed(0)
    return Toy(**shape)


def test_only_the_first_convolution_changes_and_keeps_its_length():
    toy, same = begun(), begun()
    facts = patch_kmeans.start(toy, source(), Draw(0), special=())
    assert facts | {"seconds": 0} == {"images": 200, "patches": 20_000, "filters": 16, "seconds": 0}
    assert not toy.weight.equal(same.weight) and toy.backbone[1].weight.equal(same.backbone[1].weight)
    lengths = toy.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, same.weight.flatten(1).norm(dim=1).mean().expand(16))


def test_a_filter_answers_to_a_patch_as_its_centroid_does_to_the_whitened_one():
    """c · W (x - mean(x) - m) differs from the filter's answer by a constant alone."""
    images = patch_kmeans.read(source(), Draw(0), 100)
    learnt = patches.learn(images, 6, 3, 5000, seed=0)
    x = patches.drawn_patches(images, 3, 4, seed=1)
    white = (x - x.mean(1, keepdim=True) - learnt.mean) @ learnt.whiten
    gap = white @ learnt.centroids.T - x @ patch_kmeans.filters(learnt).T
    torch.testing.assert_close(gap, gap[:1].expand_as(gap), rtol=1e-3, atol=1e-2)


def test_filters_are_for_pixels_as_the_convolution_sees_them():
    """Divided by each channel's deviation, a pixel answers as the raw one does, but for the filter's length."""
    toy, raw = begun(channels=3, std=(0.1, 0.2, 0.4)), begun(channels=3)
    for one in (toy, raw):
        patch_kmeans.start(one, source(channels=3), Draw(0))
    seen = toy.weight / torch.tensor([0.1, 0.2, 0.4]).view(1, 3, 1, 1)
    rows = [nn.functional.normalize(one.flatten(1), dim=1) for one in (seen, raw.weight)]
    torch.testing.assert_close(*rows)


def test_filters_see_no_brightness():
    toy = begun(channels=3)
    patch_kmeans.start(toy, source(channels=3), Draw(0))
    assert toy.weight.flatten(1).sum(1).abs().max() < 1e-5


def test_filters_differ_from_each_other():
    toy = begun(filters=8)
    patch_kmeans.start(toy, source(), Draw(0))
    rows = nn.functional.normalize(toy.weight.flatten(1), dim=1)
    assert ((rows @ rows.T).abs() - torch.eye(8)).max() < 0.99


def test_the_seed_decides():
    weights = []
    for seed in (0, 0, 1):
        toy = begun()
        patch_kmeans.start(toy, source(), Draw(seed))
        weights.append(toy.weight)
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])


def test_few_images_of_a_large_source_are_read():
    asked = []

    class Counted(ListSource):
        def get(self, indices, draw=None):
            asked.extend(np.asarray(indices).tolist())
            return super().get(indices, draw)

    found = patch_kmeans.read(Counted(source().samples, np.ones(200)), Draw(0), limit=50)
    assert len(found) == len(asked) == 50 and asked[0] == 0 and asked[-1] == 199 and found.dtype == torch.uint8


@pytest.mark.parametrize(
    ("toy", "side", "what"),
    [
        (nn.Module(), 8, "the shape begins with no convolution over square patches of all channels"),
        (Toy(side=(3, 1)), 8, "the shape begins with no convolution over square patches of all channels"),
        (Toy(channels=2, groups=2), 8, "the shape begins with no convolution over square patches of all channels"),
        (Toy(side=9), 8, "images of 8 × 8 hold no patch of 9 × 9"),
    ],
)
def test_what_cannot_be_started_is_named(toy, side, what):
    if not isinstance(toy, Toy):
        toy.backbone = nn.Linear(3, 3)
    with pytest.raises(InputError) as caught:
        patch_kmeans.start(toy, source(side=side), Draw(0))
    assert str(caught.value) == f"model.start = patch-kmeans: {what}. Choose --set model.start=random."
