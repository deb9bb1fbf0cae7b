"""Every operation on pictures equals an independent implementation: Pillow, scipy, colorsys, NumPy."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from firth.functional import augment, colour, geometry
from firth.functional.random import Draw

SIZE = 12
KEYS = np.arange(64, dtype=np.uint64) * np.uint64(7919)
ORDER = torch.tensor([[0, 1, 2, 3]])


def pictures(count: int = 4, size: int = SIZE, channels: int = 3, seed: int = 0) -> np.ndarray:
    """(B, C, H, W) uint8 with soft shapes and some noise, so that neither flat nor sharp places are missing."""
    source = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(source.normal(size=(count, channels, size, size)), (0, 0, 2, 2))
    levels = 128 + 300 * soft + 10 * source.normal(size=soft.shape)
    return levels.clip(0, 255).astype(np.uint8)


def still(count: int, **changes) -> torch.Tensor:
    """(B, P): parameters that leave a picture as it is, but for the columns named."""
    parameters = augment.draw_views(Draw(0), KEYS[:count], "test", [augment.STILL])[:, 0]
    for name, value in changes.items():
        parameters[:, augment.PLACE[name]] = torch.as_tensor(value, dtype=torch.float32)
    return parameters


def applied(pixels: np.ndarray, size: int | None = None, **changes) -> np.ndarray:
    """(B, C, S, S) in levels, 0 to 255."""
    return 255 * augment.apply(torch.from_numpy(pixels), still(len(pixels), **changes), size).numpy()


def with_pillow(pixels: np.ndarray, change) -> np.ndarray:
    """(B, 3, H, W) uint8 -> what Pillow makes of each picture, the same shape."""
    made = [np.asarray(change(Image.fromarray(one.transpose(1, 2, 0))).convert("RGB")) for one in pixels]
    return np.stack(made).transpose(0, 3, 1, 2).astype(np.float32)


def test_the_picture_as_it_is():
    pixels = pictures()
    np.testing.assert_allclose(applied(pixels), pixels, atol=1e-3)


@pytest.mark.parametrize("size", [5, 12, 40])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.1, 0.25, 0.4, 0.6), (0.55, 0.0, 0.45, 0.3)], ids=str)
def test_crops_are_those_of_pillow(box, size):
    """Larger and smaller, antialiased; box: top, left, height, width as shares."""
    pixels = pictures(3, 32)[:, :, :, :24]
    height, width = pixels.shape[2:]
    top, left, tall, wide = box
    corners = (left * width, top * height, (left + wide) * width, (top + tall) * height)
    ours = applied(pixels, size, top=top, left=left, height=tall, width=wide)
    planes = [Image.fromarray(plane.astype(np.float32), "F") for plane in pixels.reshape(-1, height, width)]
    theirs = [np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR, box=corners)) for plane in planes]
    np.testing.assert_allclose(ours.reshape(-1, size, size), np.stack(theirs), atol=2e-3)


@pytest.mark.parametrize("flip_x", [0, 1])
@pytest.mark.parametrize("flip_y", [0, 1])
@pytest.mark.parametrize("transpose", [0, 1])
def test_the_eight_symmetries(flip_x, flip_y, transpose):
    pixels = pictures()
    wanted = pixels[:, :, :, ::-1] if flip_x else pixels
    wanted = wanted[:, :, ::-1] if flip_y else wanted
    wanted = wanted.swapaxes(2, 3) if transpose else wanted
    np.testing.assert_allclose(applied(pixels, flip_x=flip_x, flip_y=flip_y, transpose=transpose), wanted, atol=1e-3)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_are_among_them(turns):
    """Transposing with one flip is a quarter turn, both flips are a half."""
    pixels = pictures()
    flips = {0: {}, 1: {"flip_x": 1, "transpose": 1}, 2: {"flip_x": 1, "flip_y": 1}, 3: {"flip_y": 1, "transpose": 1}}
    np.testing.assert_allclose(applied(pixels, **flips[turns]), np.rot90(pixels, turns, (2, 3)), atol=1e-3)


@pytest.mark.parametrize("degrees", [5.0, -20.0, 90.0])
def test_rotations_are_those_of_scipy(degrees):
    pixels = pictures(size=15)
    turned = ndimage.rotate(pixels.astype(float), degrees, (3, 2), reshape=False, order=1, mode="reflect")
    quarter = ndimage.rotate(pixels[0, 0].astype(float), 90, (1, 0), reshape=False, order=1)
    np.testing.assert_allclose(quarter, np.rot90(pixels[0, 0]), atol=1e-6)  # anticlockwise, as np.rot90 is
    np.testing.assert_allclose(applied(pixels, degrees=degrees), turned, atol=0.01)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.3])
def test_blur_is_scipys(sigma):
    pixels = pictures()
    wanted = ndimage.gaussian_filter(pixels.astype(float), (0, 0, sigma, sigma), mode="mirror", truncate=4.0)
    np.testing.assert_allclose(applied(pixels, sigma=sigma / SIZE), wanted, atol=0.01)


def test_a_blur_that_cannot_be_seen_is_left_out():
    """It would move no value by more than one level."""
    pixels, sigma = pictures(), 0.99 * geometry.FAINT
    blurred = geometry.blurred(torch.from_numpy(pixels).float(), torch.full((len(pixels),), sigma)).numpy()
    assert np.abs(blurred - pixels).max() < 2.5  # the noise of ten levels between neighbours is its worst case
    np.testing.assert_allclose(applied(pixels, sigma=sigma / SIZE), pixels, atol=1e-3)


@pytest.mark.parametrize("factor", [0.3, 0.8, 1.7])
@pytest.mark.parametrize(
    "name, enhance",
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_are_those_of_pillow(name, enhance, factor):
    """Which rounds to whole levels on its way: the mean of a picture, the grey, the result."""
    pixels = pictures()
    theirs = with_pillow(pixels, lambda picture: enhance(picture).enhance(factor))
    np.testing.assert_allclose(applied(pixels, **{name: factor}), theirs, atol=1.5)


def test_grey_is_pillows():
    pixels = pictures()
    np.testing.assert_allclose(applied(pixels, grey=1), with_pillow(pixels, ImageOps.grayscale), atol=1.0)


def test_solarising_is_pillows():
    pixels = pictures()
    theirs = with_pillow(pixels, lambda picture: ImageOps.solarize(picture, 128))
    np.testing.assert_allclose(applied(pixels, threshold=128 / 255 - 1e-6), theirs, atol=1e-3)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.02, 0.3, 0.5])
def test_hue_is_moved_as_colorsys_does(shift):
    pixels = pictures(2)
    pixels[0, :, 0, :4] = [[0, 255, 7, 9]] * 3  # greys have no hue
    pixels[0, :, 1, :3] = np.eye(3) * 255

    def moved(red, green, blue):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        return colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)

    colours = pixels.transpose(0, 2, 3, 1).reshape(-1, 3) / 255
    wanted = np.array([moved(*one) for one in colours]).reshape(2, SIZE, SIZE, 3).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(applied(pixels, hue=shift), 255 * wanted, atol=0.01)


def test_colours_change_in_the_order_drawn_and_are_cut_on_the_way():
    """Each picture has an order of its own: the same as one operation after the other on it alone."""
    pixels = torch.from_numpy(pictures(24)).float() / 255
    factors = torch.tensor([[1.6, 0.5, 1.8, 0.2]]).repeat(24, 1)
    orders = torch.stack([torch.randperm(4, generator=torch.Generator().manual_seed(n)) for n in range(24)])
    together = colour.jittered(pixels, factors, orders)
    plain = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    for number in range(24):
        alone = pixels[number : number + 1]
        for operation in orders[number]:
            only = torch.where(torch.arange(4) == operation, factors[:1], plain)
            alone = colour.jittered(alone, only, ORDER)
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=0)
    assert (together != colour.jittered(pixels, factors, ORDER.repeat(24, 1))).any()


def test_a_square_is_cut_out():
    """The hole is as bright as what is left, channel by channel."""
    pixels = pictures(2)
    ours = applied(pixels, cut_top=0.25, cut_left=0.5, cut_side=1 / 3)
    hole = np.zeros((SIZE, SIZE), bool)
    hole[3:7, 6:10] = True
    np.testing.assert_allclose(ours[:, :, ~hole], pixels[:, :, ~hole], atol=1e-3)
    mean = pixels[:, :, ~hole].mean(-1)
    np.testing.assert_allclose(ours[:, :, hole], mean[..., None].repeat(16, -1), atol=1e-2)


def drawn(policy: augment.Policy, count: int = 4000, ratio: float = 1.0) -> dict[str, np.ndarray]:
    """Columns by name."""
    keys = np.arange(count, dtype=np.uint64)
    parameters = augment.draw_views(Draw(3), keys, "test", [policy], ratio)[:, 0]
    return dict(zip(augment.NAMES, parameters.numpy().T, strict=True))


@pytest.mark.parametrize("name", augment.PRESETS)
def test_presets_keep_to_their_ranges(name):
    policy, found = augment.PRESETS[name], drawn(augment.PRESETS[name])
    area, ratio = found["height"] * found["width"], found["width"] / found["height"]
    assert policy.crop[0] - 1e-6 <= area.min() and area.max() <= policy.crop[1] + 1e-6
    assert policy.ratio[0] - 1e-5 <= ratio.min() and ratio.max() <= policy.ratio[1] + 1e-5
    for start, length in (("top", "height"), ("left", "width")):
        assert found[start].min() >= 0 and (found[start] + found[length]).max() <= 1 + 1e-6
    for chance in ("flip_x", "flip_y", "transpose", "grey"):
        assert found[chance].mean() == pytest.approx(getattr(policy, chance), abs=0.03)
    for factor in ("brightness", "contrast", "saturation"):
        spread = getattr(policy, factor)
        assert found[factor].min() >= 1 - spread - 1e-6 and found[factor].max() <= 1 + spread + 1e-6
    assert np.abs(found["hue"]).max() <= policy.hue and np.abs(found["degrees"]).max() <= policy.degrees
    still = (found["brightness"] == 1) & (found["contrast"] == 1)
    assert still.mean() == pytest.approx(1 - policy.jitter, abs=0.03)


def test_only_pictures_without_an_upside_are_turned():
    assert all(drawn(augment.PRESETS[name])["flip_y"].any() for name in ("microscopy", "satellite"))
    assert not any(drawn(augment.PRESETS[name])["flip_y"].any() for name in ("natural", "documents"))
    assert not drawn(augment.PRESETS["documents"])["flip_x"].any()
    assert not any(drawn(augment.PRESETS[name])["hue"].any() for name in ("microscopy", "satellite"))


def test_all_orders_and_symmetries_are_equally_likely():
    found = drawn(augment.PRESETS["microscopy"], 24_000)
    order = np.stack([found[name] for name in ("first", "second", "third", "fourth")], 1)
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 24 and counts.min() > 850 and counts.max() < 1150
    _, counts = np.unique(
        np.stack([found[n] for n in ("flip_x", "flip_y", "transpose")], 1), axis=0, return_counts=True
    )
    assert len(counts) == 8 and counts.min() > 2800 and counts.max() < 3200


@pytest.mark.parametrize("ratio", [0.02, 0.5, 1.0, 3.0, 100.0])
def test_crops_of_long_pictures_lie_inside(ratio):
    """Where no try fits, the middle, as much of it as the ratio allows."""
    found = drawn(augment.Policy(), 500, ratio)
    assert (found["top"] >= 0).all() and (found["top"] + found["height"] <= 1 + 1e-6).all()
    assert (found["left"] >= 0).all() and (found["left"] + found["width"] <= 1 + 1e-6).all()
    shape = ratio * found["width"] / found["height"]
    assert (shape >= 0.75 - 1e-4).all() and (shape <= 4 / 3 + 1e-4).all()


def test_views_hang_on_the_key_alone():
    policies = [augment.PRESETS["natural"]] * 2
    both = augment.draw_views(Draw(1), KEYS, "test", policies)
    assert torch.equal(both[5:9], augment.draw_views(Draw(1), KEYS[5:9], "test", policies))
    assert both.shape == (64, 2, len(augment.NAMES)) and (both[:, 0] != both[:, 1]).any(1).all()
    draws = [(Draw(2), "test"), (Draw(1, 1), "test"), (Draw(1), "other")]
    others = [augment.draw_views(draw, KEYS, purpose, policies) for draw, purpose in draws]
    assert all((both != other).flatten(1).any(1).all() for other in others)


@pytest.mark.parametrize("name", augment.PRESETS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_views_of_any_channels_are_pictures(name, channels):
    pixels = torch.from_numpy(pictures(40, 20, channels))
    policy = augment.PRESETS[name]._replace(solarise=0.3, cut=0.3, sigma=(0.02, 0.1))
    parameters = augment.draw_views(Draw(0), KEYS[:40], "test", [policy, policy])
    made = augment.views(pixels, parameters, 16)
    assert made.shape == (80, channels, 16, 16) and made.dtype == torch.float32
    assert made.min() >= 0 and made.max() <= 1 and made.isfinite().all()
    torch.testing.assert_close(made, augment.views(pixels.float() / 255, parameters, 16), atol=1e-4, rtol=0)
    torch.testing.assert_close(made[45:46], augment.apply(pixels[5:6], parameters[5:6, 1], 16), atol=1e-5, rtol=0)


def test_a_batch_in_pieces_is_the_batch(monkeypatch):
    pixels = torch.from_numpy(pictures(20))
    parameters = augment.draw_views(Draw(0), KEYS[:20], "test", [augment.PRESETS["natural"]])
    whole = augment.views(pixels, parameters)
    monkeypatch.setattr(augment, "PIECE", 3 * 3 * SIZE**2)
    torch.testing.assert_close(augment.views(pixels, parameters), whole, atol=1e-6, rtol=0)


def test_the_batch_itself_is_left_alone():
    pixels = torch.from_numpy(pictures(6)).float() / 255
    before = pixels.clone()
    augment.views(pixels, augment.draw_views(Draw(0), KEYS[:6], "test", [augment.PRESETS["documents"]]))
    assert torch.equal(pixels, before)


def test_a_view_is_the_same_in_any_company():
    """In memory pictures are sorted on the way; they come out in their own order."""
    pixels = torch.from_numpy(pictures(30))
    parameters = augment.draw_views(Draw(0), KEYS[:30], "test", [augment.PRESETS["natural"]] * 3)
    whole = augment.views(pixels, parameters).unflatten(0, (3, 30))
    other = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    again = augment.views(pixels[other], parameters[other]).unflatten(0, (3, 30))
    torch.testing.assert_close(again, whole[:, other], atol=1e-6, rtol=0)
    torch.testing.assert_close(whole[2], augment.apply(pixels, parameters[:, 2]), atol=1e-6, rtol=0)
