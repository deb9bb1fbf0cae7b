"""wav2vec 2.0 and HuBERT folders: the same hidden states and losses as transformers, both ways, padded and not."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from firth.errors import InputError
from firth.interop.folder import mark_of_network, open_folder, save_folder
from firth.model.backbones import backbone_of
from firth.model.sizes import shape_of
from tests.models import shaken

CONV = {"conv_dim": (24, 24, 24), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2)}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, **CONV}
SMALL |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "layerdrop": 0.0}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
FORMS = {"base": {}, "large": LARGE, "odd positions": {"num_conv_pos_embeddings": 7}, "bare": {"mask_time_prob": 0.0}}
TYPES = {
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
}
LENGTHS = (1000, 640, 333)


def wave(rows: int = 3, samples: int = 1000) -> torch.Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(5))


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N) with zeros behind each clip, and (B, N) bool, True there."""
    pad = torch.arange(max(LENGTHS))[None] >= torch.tensor(LENGTHS)[:, None]
    return wave().masked_fill(pad, 0), pad


def theirs_of(kind: str, **own):
    torch.manual_seed(0)
    config, model = TYPES[kind]
    made = model(config(**(SMALL | own)))
    return shake(made).eval()


def shake(model):
    """No bias, norm or weight is neutral."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))
    return model


def into_backbone(folder):
    opened = open_folder(folder)
    backbone = backbone_of(opened.shape)
    own = {k.removeprefix("backbone."): v for k, v in opened.state.items() if k.startswith("backbone.")}
    backbone.load_state_dict(own)
    return backbone.eval()


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


CASES = [(kind, form) for kind in TYPES for form in FORMS]


@pytest.mark.parametrize(("kind", "form"), [*CASES, ("hubert", "no norm")])
@torch.no_grad()
def test_hidden_states_are_those_of_transformers(kind, form, tmp_path):
    model = theirs_of(kind, **FORMS.get(form, {"feat_proj_layer_norm": False}))
    model.save_pretrained(tmp_path)
    features = into_backbone(tmp_path)({"wave": wave()}, layers=True)
    result = model(wave(), output_hidden_states=True)
    assert result.last_hidden_state.std() > 0.1 and features.rate == 20
    near(features.values, result.last_hidden_state)
    near(features.layers[1], result.hidden_states[1])


@pytest.mark.parametrize("kind", TYPES)
@torch.no_grad()
def test_padded_hidden_states_with_norms_over_channels(kind, tmp_path):
    model = theirs_of(kind, **LARGE)
    model.save_pretrained(tmp_path)
    sound, pad = padded()
    features = into_backbone(tmp_path)({"wave": sound, "pad": pad})
    result = model(sound, attention_mask=(~pad).long()).last_hidden_state
    near(features.values[~features.padding], result[~features.padding])


@pytest.mark.parametrize(("kind", "form"), CASES)
@torch.no_grad()
def test_a_clip_in_a_padded_batch_is_what_transformers_gives_for_it_alone(kind, form, tmp_path):
    """Also with a norm over time, where transformers' own padded batches differ: it counts padding into the mean."""
    model = theirs_of(kind, **FORMS[form])
    model.save_pretrained(tmp_path)
    sound, pad = padded()
    features = into_backbone(tmp_path)({"wave": sound, "pad": pad})
    for row, length in enumerate(LENGTHS):
        alone = model(sound[row : row + 1, :length]).last_hidden_state[0]
        assert (~features.padding[row]).sum() == len(alone)
        near(features.values[row, : len(alone)], alone)


@torch.no_grad()
def test_a_batch_padded_with_zeros_and_no_mask_is_equal_too(tmp_path):
    """As wav2vec2-base was trained, and as its feature extractor hands it on."""
    model = theirs_of("wav2vec2")
    model.save_pretrained(tmp_path)
    sound, _ = padded()
    near(into_backbone(tmp_path)({"wave": sound}).values, model(sound).last_hidden_state)


@pytest.mark.parametrize(("kind", "form"), [("wav2vec2", "base"), ("hubert", "large")])
@torch.no_grad()
def test_hidden_steps_see_the_mask_vector(kind, form, tmp_path):
    model = theirs_of(kind, **FORMS[form])
    model.save_pretrained(tmp_path)
    steps = model(wave()).last_hidden_state.shape[1]
    hidden = torch.rand(3, steps, generator=torch.Generator().manual_seed(2)) < 0.4
    ours = into_backbone(tmp_path)({"wave": wave(), "hidden": hidden}).values
    near(ours, model(wave(), mask_time_indices=hidden).last_hidden_state)


# ------------------------------------------------------------------ firth → transformers


def ours(kind: str, **own):
    shape = shape_of(kind, "2x32", heads=4, dropout=0.0, **own)
    return shaken(backbone_of(shape), shape), shape


@pytest.mark.parametrize("kind", TYPES)
@torch.no_grad()
def test_what_is_saved_opens_there_with_the_same_hidden_states(kind, tmp_path):
    backbone, shape = ours(kind)
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    save_folder(tmp_path, shape, state)
    model, told = TYPES[kind][1].from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    sound = wave(2, 4000)
    near(backbone({"wave": sound}).values, model.eval()(sound).last_hidden_state)
    assert open_folder(tmp_path).shape == shape


@pytest.mark.parametrize("kind", TYPES)
def test_a_folder_opened_and_saved_is_the_same_folder(kind, tmp_path):
    theirs_of(kind, **LARGE).save_pretrained(tmp_path / "one")
    opened = open_folder(tmp_path / "one")
    assert not opened.unused
    save_folder(tmp_path / "two", opened.shape, opened.state)
    again = open_folder(tmp_path / "two")
    assert again.shape == opened.shape and set(again.state) == set(opened.state)
    assert all(torch.equal(tensor, again.state[name]) for name, tensor in opened.state.items())


@torch.no_grad()
def test_weight_norm_under_its_old_names(tmp_path):
    model = theirs_of("wav2vec2")
    model.save_pretrained(tmp_path)
    now = load_file(tmp_path / "model.safetensors")
    then = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    old = {}
    for name, tensor in now.items():
        for today, before in then.items():
            name = name.replace(today, before)
        old[name] = tensor.clone()
    assert set(old) != set(now)
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    near(into_backbone(tmp_path)({"wave": wave()}).values, model(wave()).last_hidden_state)


@pytest.mark.parametrize("setting", ["add_adapter", "conv_pos_batch_norm"])
def test_settings_that_no_shape_holds_are_refused(setting, tmp_path):
    theirs_of("hubert").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {setting: True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as raised:
        open_folder(tmp_path)
    assert str(raised.value) == f"{tmp_path}/config.json: {setting} is not supported. Use a model without it."


# ------------------------------------------------------------------ log-mel encoders, which have no class there


@pytest.mark.parametrize("name", ["frames", "causal-frames"])
@torch.no_grad()
def test_log_mel_encoders_come_back_as_they_were(name, tmp_path):
    shape = shape_of(name, "2x32", bands=6, heads=4)
    backbone = shaken(backbone_of(shape), shape)
    state = {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()}
    state["parts.masked-frames.head.0.bias"] = torch.ones(3)
    save_folder(tmp_path, shape, state, facts={"signal": "speech"})
    opened = open_folder(tmp_path)
    assert opened.shape == shape and opened.parts == {"masked-frames"} and not opened.unused
    frames = torch.randn(2, 12, 6)
    near(into_backbone(tmp_path)({"frames": frames}).values, backbone({"frames": frames}).values)


def test_a_network_is_its_shape_and_how_it_reads(tmp_path):
    def saved(name, size="2x32", steps=3, rate=16_000):
        shape = shape_of("frames", size, bands=6, heads=4)
        backbone = shaken(backbone_of(shape), shape)
        state = {f"backbone.{key}": steps * tensor for key, tensor in backbone.state_dict().items()}
        save_folder(tmp_path / name, shape, state, facts={"signal": "speech", "steps": steps})
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps({"rate": rate}))
        return mark_of_network(tmp_path / name)

    assert saved("a") == saved("b", steps=9)
    assert len({saved("a"), saved("wider", "2x64"), saved("slower", rate=8_000)}) == 3
