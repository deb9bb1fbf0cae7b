"""What must hold of colours whatever the picture: laws, where the formulas are in test_functional_augment.py."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional import colour

shares = st.floats(0, 1, width=32)
colours = st.tuples(shares, shares, shares)
shifts = st.floats(-0.5, 0.5, width=32)
PLAIN = [1.0, 1.0, 1.0, 0.0]


def picture(*pixels) -> torch.Tensor:
    """Colours in a row -> (1, 3, 1, n) in double precision."""
    return torch.tensor(pixels, dtype=torch.float64).T[None, :, None]


def noise(count: int = 3, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def changed(pixels: torch.Tensor, first: int = 0, **factors: float) -> torch.Tensor:
    """One operation alone, or several with `first` in front."""
    names = ("brightness", "contrast", "saturation", "hue")
    row = [factors.get(name, plain) for name, plain in zip(names, PLAIN, strict=True)]
    given = torch.tensor([row], dtype=torch.float64).expand(len(pixels), 4)
    order = torch.tensor([first, *(n for n in range(4) if n != first)]).expand(len(pixels), 4)
    return colour.jittered(pixels, given, order)


@given(st.lists(colours, min_size=1, max_size=6), shifts)
@settings(max_examples=100, deadline=None)
def test_hue_moves_as_in_colorsys(pixels, shift):
    """Any colour, greys and the corners of the cube among them."""
    ours = colour.hue_moved(picture(*pixels), torch.tensor([shift], dtype=torch.float64))[0, :, 0].T
    for one, (red, green, blue) in zip(ours.tolist(), pixels, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        assert one == pytest.approx(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value), abs=1e-6)


@pytest.mark.parametrize("corner", range(8))
def test_hue_turns_the_corners_of_the_cube_into_each_other(corner):
    """A third of the circle is a step from channel to channel; black and white stay."""
    bits = [float(corner >> place & 1) for place in range(3)]
    moved = colour.hue_moved(picture(bits), torch.tensor([1 / 3], dtype=torch.float64))[0, :, 0, 0].tolist()
    assert moved == pytest.approx([bits[2], bits[0], bits[1]], abs=1e-9)


@pytest.mark.parametrize("shift", [0.1, -0.3, 0.5])
def test_hue_and_back_is_the_picture(shift):
    pixels = noise()
    shifts = torch.full((3,), shift, dtype=torch.float64)
    torch.testing.assert_close(colour.hue_moved(colour.hue_moved(pixels, shifts), -shifts), pixels)


def test_hue_keeps_value_and_saturation():
    pixels = noise(seed=1)
    moved = colour.hue_moved(pixels, torch.tensor([0.2, 0.4, -0.1], dtype=torch.float64))
    torch.testing.assert_close(moved.amax(1), pixels.amax(1))
    torch.testing.assert_close(moved.amin(1), pixels.amin(1))


def test_no_factor_changes_nothing():
    pixels = noise()
    torch.testing.assert_close(changed(pixels), pixels)


def test_brightness_multiplies_and_is_cut():
    pixels = noise()
    torch.testing.assert_close(changed(pixels, brightness=1.7), (1.7 * pixels).clamp(0, 1))
    assert (changed(pixels, brightness=0.0) == 0).all()


def test_contrast_keeps_the_mean_grey():
    pixels = 0.3 + 0.2 * noise()
    grey = torch.tensor(colour.GREY, dtype=torch.float64)
    before, after = (torch.einsum("bchw,c->b", x, grey) for x in (pixels, changed(pixels, contrast=1.5)))
    torch.testing.assert_close(after, before)
    flat = changed(pixels, contrast=0.0)
    torch.testing.assert_close(flat, flat[:, :1, :1, :1].expand_as(flat))


def test_without_saturation_a_picture_is_grey():
    pixels = noise()
    torch.testing.assert_close(changed(pixels, saturation=0.0), colour.greyed(pixels))


def test_saturation_keeps_what_is_seen_as_bright():
    pixels = 0.4 + 0.2 * noise()
    torch.testing.assert_close(colour.greyed(changed(pixels, saturation=1.6)), colour.greyed(pixels))


def test_greys_stay_grey():
    pixels = noise(channels=1).expand(-1, 3, -1, -1)
    moved = changed(pixels.clone(), saturation=1.8, hue=0.3)
    torch.testing.assert_close(moved, pixels, atol=1e-9, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_know_brightness_and_contrast_alone(channels):
    pixels = noise(channels=channels)
    torch.testing.assert_close(changed(pixels, saturation=0.2, hue=0.4), pixels)
    torch.testing.assert_close(changed(pixels, brightness=0.5), 0.5 * pixels)
    mean = pixels.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed(pixels, contrast=0.5), 0.5 * pixels + 0.5 * mean)


def test_the_order_counts():
    """Bright first is cut first: contrast then works on less."""
    pixels = noise(seed=2)
    assert (changed(pixels, 0, brightness=1.8, contrast=0.5) != changed(pixels, 1, brightness=1.8, contrast=0.5)).any()


@given(st.lists(colours, min_size=2, max_size=5), st.permutations(range(4)), st.lists(shares, min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_colours_stay_colours(pixels, order, amounts):
    factors = torch.tensor([[2 * amounts[0], 2 * amounts[1], 2 * amounts[2], amounts[3] - 0.5]], dtype=torch.float64)
    made = colour.jittered(picture(*pixels), factors, torch.tensor([order]))
    assert made.isfinite().all() and made.min() >= 0 and made.max() <= 1 + 1e-9


def test_solarising_twice_is_the_picture_at_a_threshold_of_zero():
    pixels = noise()
    zero, never = torch.zeros(3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
    torch.testing.assert_close(colour.solarised(colour.solarised(pixels, zero), zero), pixels)
    assert torch.equal(colour.solarised(pixels, never), pixels)


def test_each_picture_has_its_own_threshold():
    pixels = noise(2)
    made = colour.solarised(pixels, torch.tensor([0.5, 2.0], dtype=torch.float64)).numpy()
    first = pixels[0].numpy()
    np.testing.assert_allclose(made[0], np.where(first >= 0.5, 1 - first, first))
    np.testing.assert_allclose(made[1], pixels[1].numpy())


@pytest.mark.parametrize("channels", [1, 3])
def test_sorted_by_kind_or_not_is_the_same(channels):
    """Which pictures lie beside one changes how it is reached, and not what it becomes."""
    pixels, source = noise(24, channels), torch.Generator().manual_seed(3)
    factors = torch.rand(24, 4, generator=source, dtype=torch.float64) * 0.8 + torch.tensor([0.6, 0.6, 0.6, -0.4])
    factors[::5] = torch.tensor(colour.PLAIN, dtype=torch.float64)
    order = torch.stack([torch.randperm(4, generator=source) for _ in range(24)])
    by = colour.kinds(factors, order).argsort(stable=True)
    torch.testing.assert_close(
        colour.jittered(pixels[by], factors[by], order[by]), colour.jittered(pixels, factors, order)[by]
    )


def test_a_kind_is_the_turn_of_hue():
    order = torch.tensor([[3, 0, 1, 2], [2, 3, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]])
    factors = torch.tensor([[1.0, 1.2, 1.0, 0.1], [0.9, 1.0, 1.0, 0.0], [1.1, 1.1, 1.1, 0.0], [1.0, 1.0, 1.0, 0.0]])
    assert colour.kinds(factors, order).tolist() == [0, 1, 3, -1]


def test_pictures_are_changed_in_place_or_left_alone():
    pixels, factors = noise(), torch.tensor([[1.2, 0.8, 1.1, 0.1]], dtype=torch.float64).expand(3, 4)
    order, before = torch.tensor([[0, 3, 1, 2]]).expand(3, 4), pixels.clone()
    made = colour.jittered(pixels, factors, order)
    assert torch.equal(pixels, before)
    assert colour.jitter_(pixels, factors, order) is pixels and torch.equal(pixels, made)


@pytest.mark.parametrize("shift", [1 / 6, -1 / 6, 0.25, -0.4])
def test_each_picture_has_its_own_hue(shift):
    """Beside one that moves by a little one that moves by more than a sixth of the circle."""
    pixels = noise(2, seed=4)
    both = colour.hue_moved(pixels, torch.tensor([0.05, shift], dtype=torch.float64))
    for number, own in enumerate((0.05, shift)):
        red, green, blue = pixels[number].flatten(1).numpy()
        hues = [colorsys.rgb_to_hsv(*one) for one in zip(red, green, blue, strict=True)]
        wanted = np.array([colorsys.hsv_to_rgb((h + own) % 1, s, v) for h, s, v in hues]).T
        np.testing.assert_allclose(both[number].flatten(1).numpy(), wanted, atol=1e-9)
