"""What must hold of crops, turns and blur whatever the picture; the comparisons are in test_functional_augment.py."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from firth.functional import geometry


def noise(count: int = 3, size: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 2, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(st.floats(0, 0.9), st.floats(0.01, 1), st.booleans(), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_weights_are_shares(start, length, flip, pixels, size):
    """No output pixel sees more or less than one pixel's worth, and none sees a negative one."""
    length = min(length, 1 - start)
    weights = geometry.resampling(numbers(start), numbers(length), torch.tensor([flip]), pixels, size)
    assert weights.shape == (1, size, pixels) and weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, size, dtype=torch.float64))


@pytest.mark.parametrize("size", [3, 9, 20])
def test_a_flat_picture_stays_flat(size):
    flat = torch.full((2, 3, 9, 7), 0.3, dtype=torch.float64)
    rows = geometry.resampling(numbers(0.1, 0.3), numbers(0.6, 0.7), torch.tensor([False, True]), 9, size)
    columns = geometry.resampling(numbers(0.0, 0.2), numbers(1.0, 0.4), torch.tensor([False, False]), 7, size)
    made = geometry.between(flat, rows, columns)
    torch.testing.assert_close(made, torch.full((2, 3, size, size), 0.3, dtype=torch.float64))


def test_a_third_of_the_size_is_no_sample_of_every_third_pixel():
    """Stripes one pixel wide become grey; every third pixel alone would be stripes again."""
    stripes = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(9)[None, None, None].expand(1, 1, 18, 18)
    whole = geometry.resampling(numbers(0.0), numbers(1.0), torch.tensor([False]), 18, 6)
    made = geometry.between(stripes, whole, whole)
    torch.testing.assert_close(made[..., 1:-1], torch.full((1, 1, 6, 4), 0.5, dtype=torch.float64), atol=0.06, rtol=0)


def test_a_flip_twice_is_the_picture():
    pixels = noise()
    flip = geometry.resampling(numbers(0.0).expand(3), numbers(1.0).expand(3), torch.ones(3, dtype=torch.bool), 9, 9)
    torch.testing.assert_close(geometry.between(geometry.between(pixels, flip, flip), flip, flip), pixels)


def test_only_the_chosen_are_transposed():
    pixels = noise()
    made = geometry.transposed(pixels.clone(), torch.tensor([True, False, True]))
    assert torch.equal(made[0], pixels[0].mT) and torch.equal(made[1], pixels[1]) and torch.equal(made[2], pixels[2].mT)


@pytest.mark.parametrize("degrees", [0.0, 360.0, -720.0])
def test_whole_turns_are_the_picture(degrees):
    pixels = noise()
    torch.testing.assert_close(geometry.rotated(pixels, numbers(degrees).expand(3)), pixels, atol=1e-9, rtol=0)


def test_four_quarter_turns_are_the_picture():
    pixels = made = noise()
    for _ in range(4):
        made = geometry.rotated(made, numbers(90.0).expand(3))
    torch.testing.assert_close(made, pixels, atol=1e-9, rtol=0)


def test_each_picture_turns_by_its_own_angle():
    pixels = noise(2)
    made = geometry.rotated(pixels, numbers(90.0, 180.0))
    torch.testing.assert_close(made[0], pixels[0].rot90(1, (1, 2)))
    torch.testing.assert_close(made[1], pixels[1].rot90(2, (1, 2)))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_blur_keeps_flat_pictures_and_evens_others(sigma):
    flat = torch.full((3, 1, 9, 9), 0.7, dtype=torch.float64)
    torch.testing.assert_close(geometry.blurred(flat, numbers(sigma).expand(3)), flat)
    pixels = noise()
    made = geometry.blurred(pixels, numbers(sigma).expand(3))
    assert (made.flatten(1).std(1) < pixels.flatten(1).std(1)).all()
    assert made.min() >= pixels.min() and made.max() <= pixels.max()


def test_each_picture_has_its_own_blur():
    pixels = noise(2, 12)
    made = geometry.blurred(pixels, numbers(0.5, 1.5)).numpy()
    for one, whole, sigma in zip(made, pixels.numpy(), (0.5, 1.5), strict=True):
        wanted = ndimage.gaussian_filter(whole, (0, sigma, sigma), mode="mirror", truncate=4.0)
        np.testing.assert_allclose(one, wanted, atol=1e-4)


def test_a_blur_as_wide_as_the_picture_is_no_error():
    made = geometry.blurred(noise(1, 4), numbers(50.0))
    assert made.isfinite().all()


def test_a_square_that_covers_everything_leaves_a_flat_picture():
    made = geometry.cut_out(noise(1), numbers(0.0), numbers(0.0), numbers(1.0))
    assert made.isfinite().all() and (made == made[:, :, :1, :1]).all()


@pytest.mark.parametrize("side", [1, 2, 5])
def test_a_hole_has_the_side_it_is_given(side):
    pixels = noise(1, 10) + 1
    hole = geometry.cut_out(pixels, numbers(0.2), numbers(0.3), numbers(side / 10)) != pixels
    assert hole[0, 0].sum() == side**2
    assert hole[0, 0, 2 : 2 + side, 3 : 3 + side].all()


@pytest.mark.parametrize(("pixels", "size"), [(9, 9), (9, 20), (31, 7), (1, 4), (8, 3)])
def test_an_output_pixel_is_a_sum_of_few(pixels, size):
    """As many as a tent covers, each of them inside the picture."""
    start, share, flip = numbers(0.0, 0.13, 0.4), numbers(1.0, 0.5, 0.6), torch.tensor([False, True, False])
    index, weight = geometry.taps(start, share, flip, pixels, size, 0.5)
    assert index.shape == weight.shape and index.shape[2] <= 2 * max(1, pixels / size) + 1
    assert index.min() >= 0 and index.max() < pixels and weight.min() >= 0
    torch.testing.assert_close(weight.sum(-1), torch.full((3, size), 0.5, dtype=torch.float64))
    wider = numbers(*(max(one * pixels / size, 1) for one in share.tolist()))[:, None]
    centre = start[:, None] * pixels + (torch.arange(size) + 0.5) * share[:, None] * pixels / size
    centre[1] = centre[1].flip(0)
    there = torch.arange(pixels) + 0.5
    tent = (1 - (there - centre[..., None]).abs() / wider[..., None]).clamp(min=0)
    wanted = 0.5 * tent / tent.sum(-1, keepdim=True)
    torch.testing.assert_close(geometry.resampling(start, share, flip, pixels, size, 0.5), wanted)


def test_rows_by_sums_are_rows_by_a_matrix():
    pixels = noise(3, 11)
    stretch = numbers(0.1, 0.0, 0.5), numbers(0.5, 1.0, 0.4), torch.tensor([True, False, False])
    rows, columns = geometry.taps(*stretch, 11, 6), geometry.resampling(*stretch, 11, 6)
    chosen = torch.tensor([2, 0, 2])
    made = geometry.resampled(pixels, chosen, rows, columns)
    matrix = geometry.resampling(*stretch, 11, 6)
    torch.testing.assert_close(made, geometry.between(pixels[chosen], matrix, columns))
