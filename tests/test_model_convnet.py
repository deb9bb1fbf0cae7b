"""Convolution nets: the numbers of transformers' ResNet, and what an encoder promises."""

import pytest
import torch

from firth.errors import InputError
from firth.interop.folder import open_folder, open_shape, open_signal_name, opens_elsewhere, save_folder
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.pixels import Normalise
from firth.model.shape import ConvShape
from firth.model.sizes import RESNETS, resnet_of, shape_of

exact = {"rtol": 1e-9, "atol": 1e-11}


def net(size: str = "tiny", image: int = 32, seed: int = 0, channels: int = 3):
    shape = resnet_of(size, image, channels)
    model = backbone_of(shape)
    initialise(model, shape, seed)
    return shaken(model).eval()


def shaken(model):
    """Statistics and norms as they are after training: nothing is 0 or 1."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() == 1:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=noise))
            assert tensor.isfinite().all(), name
    return model


def pixels(count: int = 2, side: int = 32, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, side, side), generator=torch.Generator().manual_seed(seed)).byte()


def state_of(model) -> dict[str, torch.Tensor]:
    return {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize(("image", "stem"), [(8, "plain"), (48, "plain"), (64, "strided"), (128, "pooled")])
def test_the_stem_is_chosen_by_the_size_of_the_pictures(image, stem):
    assert resnet_of("tiny", image, 3).stem == stem


@pytest.mark.parametrize("size", RESNETS)
@pytest.mark.parametrize("image", [8, 64, 224])
def test_every_size_builds_for_every_picture(size, image):
    shape = resnet_of(size, image, 3)
    with torch.device("meta"):
        model = backbone_of(shape)
        found = model.eval()({"pixels": torch.empty(2, 3, image, image)})
    assert found.pooled.shape == (2, shape.width) and len(model.encoder.blocks) == shape.layers


@pytest.mark.parametrize(("size", "million"), [("resnet-18", 11.2), ("resnet-50", 23.5)])
def test_the_usual_names_are_the_usual_nets(size, million):
    with torch.device("meta"):
        model = backbone_of(resnet_of(size, 224, 3))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(million, abs=0.1)


@pytest.mark.parametrize(
    ("size", "depths", "widths"),
    [
        ("3x64", (1, 1, 1), (16, 32, 64)),
        ("4x128", (2, 1, 1), (32, 64, 128)),
        ("1x8", (1,), (8,)),
        ("6x32", (2, 2, 2), (8, 16, 32)),
    ],
)
def test_blocks_times_width(size, depths, widths):
    shape = resnet_of(size, 32, 3)
    assert (shape.depths, shape.widths) == (depths, widths)
    assert shape_of("resnet", shape.kept["size"], image=32, channels=3) == shape


def test_unknown_sizes_and_shapes_are_refused():
    with pytest.raises(InputError, match="is neither a name nor layers x width"):
        resnet_of("huge", 32, 3)
    with pytest.raises(InputError, match="Did you mean `resnet`"):
        shape_of("resnt", "tiny", image=32, channels=3)


# ------------------------------------------------------------------ features


def test_steps_are_the_places_of_the_last_map_and_the_vector_is_their_mean():
    model = net()
    found = model({"pixels": pixels()})
    assert found.values.shape == (2, 8 * 8, 64)
    torch.testing.assert_close(found.pooled, found.values.mean(1))
    torch.testing.assert_close(found.mean, found.pooled)


def test_kept_steps_are_picked_and_the_vector_stays():
    model, keep = net(), torch.tensor([[0, 5], [3, 63]])
    whole, few = model({"pixels": pixels()}), model({"pixels": pixels()}, keep=keep)
    torch.testing.assert_close(few.values, whole.at(keep))
    torch.testing.assert_close(few.pooled, whole.pooled)


def test_layers_are_the_stem_and_every_block():
    model = net()
    found = model({"pixels": pixels()}, layers=True)
    assert [tuple(one.shape) for one in found.layers] == [(2, 1024, 16), (2, 1024, 16), (2, 256, 32), (2, 64, 64)]
    torch.testing.assert_close(found.layers[-1], found.values)


def test_bytes_and_shares_are_the_same_pixels():
    model = net().double()
    given = pixels()
    torch.testing.assert_close(model({"pixels": given}).pooled, model({"pixels": given.double() / 255}).pooled, **exact)


def test_pictures_of_another_size_have_vectors_of_the_same_length():
    assert net()({"pixels": pixels(side=20)}).pooled.shape == (2, 64)


def test_in_training_samples_see_each_other_and_afterwards_not():
    model, given = net(), pixels(4)
    alone = torch.cat([model({"pixels": one[None]}).pooled for one in given])
    torch.testing.assert_close(model({"pixels": given}).pooled, alone)
    model.train()
    assert not torch.allclose(model({"pixels": given}).pooled, alone)
    assert model.compares_samples


def test_frozen_it_stays_as_in_evaluation():
    model = net()
    before = model({"pixels": pixels(4)}).pooled
    model.freeze()
    model.train()
    torch.testing.assert_close(model({"pixels": pixels(4)}).pooled, before)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model, given = net(), pixels()
    exactly = model({"pixels": given}).pooled
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    found = model({"pixels": given}).pooled
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exactly, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("size", ["tiny", "3x16"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_small_differences(size, training):
    """Though activations are written over what norms have made."""
    model = net(size, 8).double().train(training)
    inside = torch.rand(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model({"pixels": x}).pooled, inside, fast_mode=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_normalised_pixels_have_their_channels_last(dtype, tolerance):
    mean, std, given = (0.1, 0.4, 0.6), (0.2, 0.3, 0.5), pixels(4, 8)
    normalise, column = Normalise(3, mean, std), torch.tensor([mean, std], dtype=torch.float64)[..., None, None]
    wanted = (given.double() / 255 - column[0]) / column[1]
    for one in (given, given.float() / 255):
        found = normalise(one, dtype)
        assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=0)


def test_signals_keep_their_size_through_the_blocks():
    """Kaiming's start: without it deep nets die or explode."""
    shape = resnet_of("base", 32, 3)
    model = backbone_of(shape)
    initialise(model, shape, 0)
    sizes = [one.std().item() for one in model.train()({"pixels": pixels(8)}, layers=True).layers]
    assert all(0.2 < size < 5 for size in sizes)


def test_kernels_are_drawn_with_the_spread_of_kaiming():
    shape = resnet_of("small", 32, 3)
    model = backbone_of(shape)
    initialise(model, shape, 0)
    kernel = model.encoder.blocks[4].layer[1].convolution.weight
    assert kernel.std().item() == pytest.approx((2 / (kernel.shape[0] * 9)) ** 0.5, rel=0.05)


# ------------------------------------------------------------------ model folders


@pytest.mark.parametrize("size", ["tiny", "2x24", "resnet-18"])
def test_transformers_opens_it_with_the_same_numbers(tmp_path, size):
    from transformers import ResNetModel

    model = net(size, image=128)
    save_folder(tmp_path, model.shape, state_of(model))
    theirs, told = ResNetModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    values = model.embed.normalise(pixels(side=128), torch.float32)
    found = theirs.eval()(values)
    ours = model({"pixels": pixels(side=128)})
    torch.testing.assert_close(found.pooler_output.flatten(1), ours.pooled, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.last_hidden_state.flatten(2).transpose(1, 2), ours.values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_what_transformers_saves_is_opened_with_the_same_numbers(tmp_path, kind):
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(
        depths=[2, 1], hidden_sizes=[16, 32], embedding_size=8, layer_type=kind, id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )  # fmt: skip
    theirs = shaken(ResNetForImageClassification(config)).eval()
    theirs.save_pretrained(tmp_path)
    opened = open_folder(tmp_path)
    model = backbone_of(opened.shape)
    model.load_state_dict(
        {k.removeprefix("backbone."): v for k, v in opened.state.items() if k.startswith("backbone.")}
    )
    given = pixels(side=64)
    ours = model.eval()({"pixels": given})
    found = theirs.resnet(model.embed.normalise(given, torch.float32))
    torch.testing.assert_close(found.pooler_output.flatten(1), ours.pooled, rtol=1e-4, atol=1e-4)
    assert opened.classes == ("cat", "dog") and opened.parts == {"classify"} and opened.signal == "image"


@pytest.mark.parametrize("image", [8, 64, 128])
def test_folders_keep_everything(tmp_path, image):
    model = net("4x32", image)
    save_folder(tmp_path, model.shape, state_of(model), facts={"steps": 3})
    opened = open_folder(tmp_path)
    assert opened.shape == model.shape == open_shape(tmp_path) and opened.unused == []
    assert open_signal_name(tmp_path) == "image" and opens_elsewhere(tmp_path) == (image == 128)
    torch.testing.assert_close(opened.state, state_of(model))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"hidden_act": "gelu"}, "activation `gelu` is not supported"),
        ({"downsample_in_first_stage": True}, "downsample_in_first_stage is not supported"),
        ({"depths": None}, "describes no model"),
    ],
)
def test_settings_that_no_net_has_are_refused(tmp_path, changes, what):
    import json

    model = net()
    save_folder(tmp_path, model.shape, state_of(model))
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=what):
        open_folder(tmp_path)


def test_shapes_are_frozen_values():
    shape = resnet_of("tiny", 32, 3)
    assert ConvShape(**shape.model_dump()) == shape
    assert str(shape) == "3 blocks, 16-32-64 channels"
