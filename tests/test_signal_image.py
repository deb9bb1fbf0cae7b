"""Images as a signal: any file of a picture becomes the pixels that Pillow or NumPy say it has, or is named."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from firth.errors import InputError
from firth.model.sizes import shape_of
from firth.signal import Look, Sample, Unreadable
from firth.signals import _pictures
from firth.signals.image import BATCHES, RUNGS, STEPS, Config, Image, size_for
from tests.picture_files import made, noise, written


def signal(size: int = 16, **settings) -> Image:
    return Image(Config(size=size, **settings))


def pixels(image: Pillow.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


# ------------------------------------------------------------------ any mode


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pixels_of_the_right_size_are_those_of_the_file(mode):
    image = made(16, 16, mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"
    image = image if mode != "HSV" else image.convert("RGB")
    data = written(image, form)
    assert (signal().decode(data) == pixels(Pillow.open(BytesIO(data)))).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"])
def test_forms_without_loss(form):
    image = Pillow.fromarray(np.full((16, 16, 3), (10, 200, 30), np.uint8))
    options = {"lossless": True} if form == "WEBP" else {}
    assert (signal().decode(written(image, form, **options)) == pixels(image)).all()


def test_a_jpeg_in_cmyk_has_the_colours_that_pillow_says():
    data = written(made(16, 16, "CMYK"), "JPEG", quality=95)
    assert (signal().decode(data) == pixels(Pillow.open(BytesIO(data)))).all()


def test_one_channel_is_the_grey_of_pillow():
    image = made(16, 16)
    found = signal(channels=1).decode(written(image))
    assert found.shape == (1, 16, 16)
    assert (found[0] == np.asarray(image.convert("L"))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_shines_through_is_white(mode):
    colour = noise(16, 16)
    alpha = noise(16, 16, 1, seed=1)
    image = Pillow.fromarray(np.dstack([colour, alpha]), "RGBA").convert(mode)
    whole = np.asarray(image.convert("RGBA")).astype(float)
    share = whole[..., 3:] / 255
    expected = whole[..., :3] * share + 255 * (1 - share)
    found = signal().decode(written(image)).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1


def test_a_palette_with_a_transparent_colour():
    image = Pillow.new("P", (16, 16), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 8, 16))
    found = signal().decode(written(image, "PNG", transparency=0))
    assert (found[:, 0, 0] == (0, 0, 255)).all() and (found[:, 0, 15] == 255).all()


def test_sixteen_bits_keep_their_range():
    image = made(16, 16, "I;16")
    expected = np.rint(np.asarray(image) / 257)
    for form in ("PNG", "TIFF"):
        found = signal(channels=1).decode(written(image, form))[0]
        assert (found == expected).all()


def test_sixteen_bits_stretched_go_from_black_to_white():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) + 1000
    data = written(Pillow.fromarray(values))
    assert signal(channels=1).decode(data).max() == 5
    assert (signal(channels=1, stretched=True).decode(data)[0] == np.arange(256).reshape(16, 16)).all()


def test_fractions_are_shares_of_one():
    image = made(16, 16, "F")
    found = signal(channels=1).decode(written(image, "TIFF"))[0]
    assert (found == np.rint(np.asarray(image) * 255)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(orientation):
    image = made(16, 16)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = written(image, "PNG", exif=exif)
    turns = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1), 7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x),
    }  # fmt: skip
    expected = turns[orientation](np.asarray(image))
    assert (signal().decode(data).transpose(1, 2, 0) == expected).all()


def test_the_head_gives_the_size_as_it_is_shown():
    exif = Pillow.Exif()
    exif[0x0112] = 6
    assert Image.look(written(made(10, 20), "JPEG")).size == (20, 10)
    assert Image.look(written(made(10, 20), "JPEG", exif=exif)) == Look("JPEG", (10, 20), {"mode": "RGB"})


# ------------------------------------------------------------------ any size


def test_the_middle_square_is_taken():
    values = np.zeros((16, 48, 3), np.uint8)
    values[:, 16:32] = noise(16, 16)
    assert (signal().decode(written(Pillow.fromarray(values))) == values[:, 16:32].transpose(2, 0, 1)).all()


def test_crop_stretch_and_pad_of_an_even_picture():
    image = Pillow.new("RGB", (60, 20), (200, 100, 50))
    found = {fit: signal(fit=fit).decode(written(image)) for fit in ("crop", "stretch", "pad")}
    assert all(one.shape == (3, 16, 16) for one in found.values())
    assert all((found[fit] == np.array([200, 100, 50])[:, None, None]).all() for fit in ("crop", "stretch"))
    assert (found["pad"][:, 0] == 0).all() and (found["pad"][:, 8] == np.array([200, 100, 50])[:, None]).all()


def test_a_large_jpeg_is_reduced_nearly_as_from_all_its_pixels():
    image = Pillow.fromarray(noise(40, 40, seed=2)).resize((640, 640), Pillow.Resampling.BICUBIC)
    data = written(image, "JPEG", quality=95)
    whole = np.asarray(Pillow.open(BytesIO(data)).resize((16, 16), Pillow.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(signal().decode(data).astype(int) - whole).mean() < 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (8, 8), (20, 3000)])
def test_odd_sizes_are_handled(height, width):
    assert signal().decode(written(made(height, width))).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(8, 8)], 8),
        ([(28, 28)] * 3, 28),
        ([(20, 20), (40, 30)], 24),
        ([(640, 480)] * 4, 64),
        ([(5, 900)], 8),
        ([], 64),
    ],
)
def test_the_size_is_chosen_from_the_files(sizes, side):
    assert size_for([Look("PNG", size) for size in sizes]) == side
    assert Image.fit([Look("PNG", size) for size in sizes], Config()).side == side
    assert Image.fit([Look("PNG", size) for size in sizes], Config(size=99)).side == 99


# ------------------------------------------------------------------ broken files


def refusal(data: bytes) -> str:
    with pytest.raises(Unreadable) as raised:
        signal().decode(data)
    return f"{raised.value.what}. {raised.value.do}"


def test_what_is_no_picture_is_told():
    other = "Save it as JPEG, PNG, WebP or TIFF."
    assert refusal(b"") == "is empty. Copy it again from where it came from, or remove it."
    assert refusal(b"hello").startswith("holds text, and is no picture. Open it to see what it says;")
    assert refusal(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).startswith("is ")
    assert refusal(bytes(range(128, 256))) == f"is no picture that can be read. {other}"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_files_are_told(form):
    data = written(made(64, 64), form)
    assert refusal(data[: len(data) // 2]).startswith("is ")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_files_with_bytes_changed_give_pixels_or_are_told(form):
    data, source = written(made(32, 32), form), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for place in source.integers(0, len(data), 3):
            damaged[place] = source.integers(256)
        try:
            assert signal().decode(bytes(damaged)).shape == (3, 16, 16)
        except Unreadable as error:
            assert error.what and error.do


def test_bombs_are_refused(monkeypatch):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    assert refusal(written(made(16, 16))) == (
        "has more pixels than any picture should: a decompression bomb. Make it smaller."
    )
    monkeypatch.undo()
    monkeypatch.setattr(_pictures, "PIXELS", 100)
    assert refusal(written(made(16, 16))) == (
        "has 16 × 16 pixels, more than can be held. Make it smaller, or cut it into tiles."
    )


def test_a_huge_jpeg_is_decoded_small(monkeypatch):
    monkeypatch.setattr(_pictures, "PIXELS", 100 * 100)
    assert signal().decode(written(made(512, 512), "JPEG")).shape == (3, 16, 16)


# ------------------------------------------------------------------ batches and folders


def test_samples_are_stacked_as_bytes():
    samples = [Sample((noise(16, 16, seed=n).transpose(2, 0, 1),), key=n, label=n % 2) for n in range(3)]
    batch = signal().stack(samples)
    assert batch["pixels"].dtype == torch.uint8 and batch["pixels"].shape == (3, 3, 16, 16)
    assert (batch["pixels"][1].numpy() == samples[1].parts[0]).all() and batch["label"].tolist() == [0, 1, 0]


def test_inputs_are_arrays_bytes_and_paths(tmp_path):
    image = made(16, 16)
    (tmp_path / "a.png").write_bytes(written(image))
    found = signal().encode([pixels(image), written(image), tmp_path / "a.png", str(tmp_path / "a.png")])
    assert all((one.ids == pixels(image)).all() for one in found)


def test_an_input_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    for given, what in ((tmp_path / "a.png", "holds text, and is no picture"), (tmp_path / "b.png", "cannot be read")):
        with pytest.raises(InputError, match=what):
            signal().encode([given])


def test_means_are_those_of_numpy():
    arrays = [noise(8, 8, seed=n).transpose(2, 0, 1) for n in range(5)]
    config = signal(8).settled(arrays).config
    values = np.stack(arrays) / 255
    assert config.mean == pytest.approx(values.mean((0, 2, 3)), abs=1e-4)
    assert config.std == pytest.approx(values.std((0, 2, 3)), abs=1e-4)


def test_even_pictures_have_a_deviation_to_divide_by():
    assert min(signal(8).settled([np.zeros((3, 8, 8), np.uint8)]).config.std) > 0


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_the_embedding_takes_off_the_mean(name):
    one = signal(16, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))
    embed = one.embed(shape_of(name, "tiny", **one.sizes))
    values = noise(16, 16).transpose(2, 0, 1)
    bytes_, shares = torch.from_numpy(values)[None], torch.from_numpy(values / 255)[None].float()
    expected = (values / 255 - np.array([0.2, 0.4, 0.6])[:, None, None]) / np.array([0.1, 0.2, 0.3])[:, None, None]
    for given in (bytes_, shares):
        torch.testing.assert_close(embed.normalise(given, torch.float32)[0], torch.from_numpy(expected).float())


def test_saved_and_opened_it_is_the_same(tmp_path):
    one = signal(24, channels=1, fit="pad", mean=(0.25,), std=(0.5,))
    one.save(tmp_path)
    assert Image.open(tmp_path).config == one.config
    kept = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert kept["size"] == {"height": 24, "width": 24} and kept["image_mean"] == [0.25]


@pytest.mark.parametrize(
    ("stored", "config"),
    [
        ({"size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
         {"size": 224, "fit": "stretch", "mean": (0.5,) * 3}),
        ({"size": 224, "image_mean": [0.1] * 3, "image_std": [0.2] * 3}, {"size": 224, "std": (0.2,) * 3}),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224},
          "image_mean": [0.1] * 3, "image_std": [0.2] * 3}, {"size": 224, "fit": "crop"}),
        ({"size": 32, "do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
    ],
)  # fmt: skip
def test_what_others_have_written_is_read(tmp_path, stored, config):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    found = Image.open(tmp_path).config
    assert {key: getattr(found, key) for key in config} == config


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"size": {}}'])
def test_a_folder_that_does_not_say_how_is_refused(tmp_path, text):
    if text:
        (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(InputError):
        Image.open(tmp_path)


def test_a_person_is_shown_colours():
    values = noise(16, 16, 1)[None]
    shown = signal(channels=1).picture(Sample((values,), key=0))
    assert shown.shape == (16, 16, 3) and (shown[..., 1] == values[0]).all()


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([Look("PNG", (16, 16))], "16 × 16 PNG"),
        ([Look("JPEG", (1200, 900))], "16 × 16 of JPEG, 1,200 × 900"),
        ([Look("JPEG", (40, 30)), Look("PNG", (8, 9)), Look("JPEG", (9, 9))], "16 × 16 of JPEG/PNG, 8 × 9 to 40 × 30"),
    ],
)
def test_what_files_are_like_is_told(looks, told):
    assert signal().told(looks, 0) == [told]


# ------------------------------------------------------------------ sizes and batches for a budget


@pytest.mark.parametrize("shape", ["resnet", "vit"])
def test_a_ladder_rises_in_what_it_wants_and_falls_in_its_rate(shape):
    ladder = RUNGS[shape]
    wanted, rates = ([getattr(one, name) for one in ladder] for name in ("samples", "rate"))
    assert wanted == sorted(wanted) and wanted[0] == 0 and rates == sorted(rates, reverse=True)
    sizes = [shape_of(shape, one.size, image=32, channels=3).weights for one in ladder]
    assert sizes == sorted(sizes)


MEASURED = {"small": 768, "base": 88}  # pictures a second, two views of 32 × 32 pixels


@pytest.mark.parametrize(("shape", "side"), [("resnet", 16), ("vit", 32)])
def test_rates_lie_on_the_line_through_those_that_were_measured(shape, side):
    """Seconds by the multiplications of a view."""
    few, many = (multiplied("resnet", size, 32) for size in MEASURED)
    slope = (1 / MEASURED["base"] - 1 / MEASURED["small"]) / (many - few)
    for one in RUNGS[shape]:
        seconds = 1 / MEASURED["small"] + slope * (multiplied(shape, one.size, side) - few)
        assert one.rate == pytest.approx(1 / seconds, rel=0.02), one.size


def multiplied(shape: str, size: str, view: int) -> float:
    """Multiplications for a view of so many pixels a side, of convolutions, maps and attention."""
    form = shape_of(shape, size, image=32, channels=3)
    if shape == "vit":
        steps = form.positions
        return form.layers * (12 * form.width**2 + 2 * steps * form.width) * steps + (steps - 1) * 48 * form.width
    side, before, found = view, form.first, 9 * 3 * form.first * view**2
    for width, stride in zip(form.channels_of_blocks, form.strides, strict=True):
        side //= stride
        shortcut = before * width if before != width or stride > 1 else 0
        found += (9 * before * width + 9 * width**2 + shortcut) * side**2
        before = width
    return found


@pytest.mark.parametrize(
    ("seen", "batch"), [(None, 256), (10**6, 256), (256 * STEPS, 256), (256 * STEPS - 1, 128), (20_000, 64), (1, 64)]
)
def test_few_pictures_are_seen_in_smaller_batches(seen, batch):
    assert Image(Config(size=32)).batch_for(None, seen) == batch
    assert batch == BATCHES[0] or seen is None or seen >= STEPS * batch
