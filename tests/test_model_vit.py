"""Vision transformers: the numbers of transformers' ViTModel, positions of other sizes, patches left out."""

import pytest
import torch

from firth.errors import InputError
from firth.interop.folder import open_folder, open_signal_name, save_folder
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.sizes import patch_for, shape_of
from tests.test_model_convnet import pixels, state_of


def vit(size: str = "2x32", image: int = 16, **own):
    shape = shape_of("vit", size, image=image, channels=3, **own)
    model = backbone_of(shape)
    initialise(model, shape, 0)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return model.eval()


@pytest.mark.parametrize("size", ["2x32", "tiny"])
def test_transformers_opens_it_with_the_same_numbers(tmp_path, size):
    from transformers import ViTModel

    model = vit(size)
    save_folder(tmp_path, model.shape, state_of(model))
    theirs, told = ViTModel.from_pretrained(tmp_path, add_pooling_layer=False, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    given = pixels(side=16)
    found = theirs.eval()(model.embed.normalise(given, torch.float32)).last_hidden_state
    torch.testing.assert_close(found, model({"pixels": given}).values, rtol=1e-4, atol=1e-4)


def test_what_transformers_saves_is_opened_with_the_same_numbers(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=16,
                       patch_size=4, num_labels=3)  # fmt: skip
    theirs = ViTForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    opened = open_folder(tmp_path)
    model = backbone_of(opened.shape)
    model.load_state_dict(
        {k.removeprefix("backbone."): v for k, v in opened.state.items() if k.startswith("backbone.")}
    )
    given = pixels(side=16)
    values = model.embed.normalise(given, torch.float32)
    ours = model.eval()({"pixels": given})
    torch.testing.assert_close(theirs.vit(values).last_hidden_state, ours.values, rtol=1e-4, atol=1e-4)
    weight, bias = (opened.state[f"parts.classify.classifier.{name}"] for name in ("weight", "bias"))
    torch.testing.assert_close(theirs(values).logits, ours.pooled @ weight.T + bias, rtol=1e-4, atol=1e-4)
    assert open_signal_name(tmp_path) == "image"


def test_positions_of_pictures_of_another_size_are_those_of_transformers(tmp_path):
    from transformers import ViTModel

    model = vit(image=16)
    save_folder(tmp_path, model.shape, state_of(model))
    theirs = ViTModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    for side in (8, 24):
        given = pixels(side=side)
        values = model.embed.normalise(given, torch.float32)
        found = theirs(values, interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(found, model({"pixels": given}).values, rtol=1e-4, atol=1e-4)


def test_positions_begin_as_waves_of_the_size_of_mapped_patches():
    """Sines and cosines of row and column; the deviation of patches of noise of variance 1 under the drawn map."""
    shape = shape_of("vit", "2x64", image=32, channels=3)
    model = backbone_of(shape)
    initialise(model, shape, 0)
    positions = model.embed.position_embeddings[0].detach()
    noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mapped = torch.nn.functional.conv2d(noise, model.embed.projection.weight, stride=4)
    assert positions[1:].square().mean().sqrt().item() == pytest.approx(mapped.std().item(), rel=0.02)
    assert (positions[0] == 0).all()
    scale, rates = positions[1:].abs().max(), 10_000.0 ** (-torch.arange(16) / 16)
    for patch in (0, 1, 8, 29, 63):
        row, column = divmod(patch, 8)
        parts = [(row * rates).sin(), (row * rates).cos(), (column * rates).sin(), (column * rates).cos()]
        torch.testing.assert_close(positions[1 + patch] / scale, torch.cat(parts), rtol=1e-4, atol=1e-4)


def test_the_vector_of_a_picture_is_that_of_the_class_token():
    model = vit()
    found = model({"pixels": pixels(side=16)})
    assert found.values.shape == (2, 1 + 8 * 8, 32)
    torch.testing.assert_close(found.pooled, found.values[:, 0])
    torch.testing.assert_close(found.patches, torch.stack(found.values.unbind(1)[1:]).mean(0))
    assert model.shape.patch == 2


def test_patches_may_be_left_out():
    """All in another order: the same vectors in that order; some: as many steps and one."""
    model, given = vit().double(), pixels(side=16)
    whole = model({"pixels": given}).values
    order = torch.stack([torch.randperm(64, generator=torch.Generator().manual_seed(n)) for n in range(2)])
    found = model({"pixels": given, "visible": order}).values
    torch.testing.assert_close(found[:, 0], whole[:, 0])
    torch.testing.assert_close(found[:, 1:], whole[:, 1:].gather(1, order[..., None].expand(-1, -1, 32)))
    assert model({"pixels": given, "visible": order[:, :16]}).values.shape == (2, 17, 32)


def test_a_patch_left_out_is_seen_by_none():
    model, given = vit(), pixels(side=16)
    visible = torch.arange(1, 64).expand(2, -1)
    before = model({"pixels": given, "visible": visible}).values
    given[:, :, :2, :2] = 255 - given[:, :, :2, :2]
    torch.testing.assert_close(model({"pixels": given, "visible": visible}).values, before)


@pytest.mark.parametrize(("image", "patch"), [(8, 2), (16, 2), (32, 4), (64, 4), (96, 8), (224, 16), (30, 3), (17, 1)])
def test_patches_divide_the_picture(image, patch):
    assert patch_for(image) == patch
    shape = shape_of("vit", "tiny", image=image, channels=3)
    assert shape.positions == 1 + (image // patch) ** 2


def test_a_patch_that_does_not_divide_is_refused():
    with pytest.raises(InputError) as raised:
        shape_of("vit", "tiny", image=32, channels=3, patch=5)
    assert str(raised.value) == (
        "model.patch = 5: does not divide the 32 pixels of a picture's side. "
        "Set model.patch to one of 1, 2, 4, 8, 16, 32."
    )


def test_a_recipe_keeps_what_makes_the_shape_again():
    shape = shape_of("vit", "2x64", image=32, channels=3, patch=8)
    kept = dict(shape.kept)
    size = f"{kept.pop('layers')}x{kept.pop('width')}"
    assert (
        shape_of(kept.pop("shape"), size, image=32, channels=3, **{k: v for k, v in kept.items() if k != "dropout"})
        == shape
    )
