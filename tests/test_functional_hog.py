"""Oriented gradients against the formula pixel by pixel, and against scikit-image where it is installed."""

import numpy as np
import pytest

from firth.functional.hog import hog


def images(count=3, channels=3, height=24, width=16, seed=0):
    source = np.random.default_rng(seed)
    return source.integers(0, 256, (count, channels, height, width)).astype(np.uint8)


def by_formula(image, cell):
    """Dalal & Triggs 2005, section 6, pixel by pixel: (C, H, W) -> (numbers,)"""
    image = image.astype(float)
    rows, columns = image.shape[1] // cell, image.shape[2] // cell
    cells = np.zeros((rows, columns, 9))
    for y in range(rows * cell):
        for x in range(columns * cell):
            inside_y, inside_x = 0 < y < image.shape[1] - 1, 0 < x < image.shape[2] - 1
            down = image[:, y + 1, x] - image[:, y - 1, x] if inside_y else np.zeros(len(image))
            right = image[:, y, x + 1] - image[:, y, x - 1] if inside_x else np.zeros(len(image))
            best = np.argmax(np.hypot(down, right))
            angle = np.degrees(np.arctan2(down[best], right[best])) % 180
            cells[y // cell, x // cell, int(angle // 20)] += np.hypot(down[best], right[best]) / cell**2
    found = []
    for i in range(rows - 1):
        for j in range(columns - 1):
            block = cells[i : i + 2, j : j + 2].ravel()
            block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
            found.append(block / np.sqrt((block**2).sum() + 1e-10))
    return np.concatenate(found)


@pytest.mark.parametrize(("channels", "cell"), [(1, 4), (3, 8), (3, 5)])
def test_equals_the_formula(channels, cell):
    given = images(channels=channels)
    found = hog(given, cell)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [by_formula(one, cell) for one in given], atol=1e-5)


@pytest.mark.parametrize(("channels", "cell"), [(1, 4), (3, 8)])
def test_equals_scikit_image(channels, cell):
    feature = pytest.importorskip("skimage.feature")
    given = images(channels=channels, seed=1)
    expected = [
        feature.hog(one, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(2, 2), channel_axis=0)
        for one in given
    ]
    np.testing.assert_allclose(hog(given, cell), expected, atol=1e-5)


def test_a_flat_picture_has_no_gradient():
    assert hog(np.full((1, 1, 16, 16), 90, np.uint8), 8).tolist() == [[0.0] * 36]


def test_brightness_and_contrast_change_nothing():
    given = images(1).astype(np.float32) / 4 + 20
    np.testing.assert_allclose(hog(2 * given + 10, 8), hog(given, 8), atol=1e-5)


def test_pictures_too_small_for_a_block_are_named():
    with pytest.raises(ValueError, match=r"images of \(24, 16\) hold no 2 × 2 cells of 9 pixels"):
        hog(images(), 9)
