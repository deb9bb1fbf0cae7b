"""Model folders: round trips, what is kept beside the transformers form, and everything that is refused."""

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.errors import InputError, RunError
from firth.interop.folder import TYPES, open_folder, save_folder, shape_from
from firth.interop.tensors import write_file, write_json
from tests.models import SHAPES, Whole

PARTS = [(), ("masked-tokens",), ("next-sentence",), ("next-sentence", "masked-tokens"), ("classify",)]
PARTS.append(("masked-tokens", "next-sentence", "classify"))


@pytest.mark.parametrize("parts", PARTS, ids="+".join)
@pytest.mark.parametrize("name", SHAPES)
def test_round_trip(name, parts, tmp_path):
    state = Whole(SHAPES[name], *parts).state_dict()
    save_folder(tmp_path / "new", SHAPES[name], state)
    opened = open_folder(tmp_path / "new")
    assert opened.shape == SHAPES[name] and opened.unused == []
    torch.testing.assert_close(opened.state, dict(state), rtol=0, atol=0)


def test_classes_and_facts_come_back(saved):
    whole = Whole(SHAPES["bert"], "classify")
    save_folder(saved, SHAPES["bert"], whole.state_dict(), classes=("a", "b", "c"), facts={"pooling": "mean", "n": 3})
    opened = open_folder(saved)
    assert opened.classes == ("a", "b", "c") and opened.facts == {"pooling": "mean", "n": 3}


def test_ten_classes_stay_in_order(saved):
    classes = tuple(f"class {number}" for number in range(12))
    save_folder(saved, SHAPES["bert"], Whole(SHAPES["bert"], "classify", classes=12).state_dict(), classes=classes)
    assert open_folder(saved).classes == classes


def test_parts_without_a_place_lie_beside(tmp_path):
    shape = SHAPES["modernbert"]
    save_folder(tmp_path, shape, Whole(shape, "next-sentence", "masked-tokens").state_dict())
    assert {name.split(".")[1] for name in load_file(tmp_path / "firth.safetensors")} == {"next-sentence"}
    save_folder(tmp_path, shape, Whole(shape, "masked-tokens").state_dict())
    assert not (tmp_path / "firth.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_run_folder_stands_for_its_model(tmp_path):
    save_folder(tmp_path / "model", SHAPES["bert"], Whole(SHAPES["bert"]).state_dict())
    assert open_folder(tmp_path).shape == SHAPES["bert"]


def test_saving_does_not_change_the_state(tmp_path):
    state = Whole(SHAPES["bert"], "masked-tokens").state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    save_folder(tmp_path, SHAPES["bert"], state)
    torch.testing.assert_close(dict(state), before, rtol=0, atol=0)


# ------------------------------------------------------------------ what is refused


@pytest.fixture
def saved(tmp_path):
    save_folder(tmp_path / "m", SHAPES["bert"], Whole(SHAPES["bert"], "masked-tokens").state_dict())
    return tmp_path / "m"


def edit(folder, **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def refused(folder) -> str:
    """The message, with the folder's place left out."""
    with pytest.raises(InputError) as caught:
        open_folder(folder)
    assert caught.value.do.endswith((".", "`"))
    return str(caught.value).replace(str(folder), "M")


GIVE = "Give a run folder, or a folder with config.json and model.safetensors."
AGAIN = "Copy it again from where the model came from."
SAME = "Take config.json and the weights from the same model."


def test_no_folder(tmp_path):
    assert refused(tmp_path / "none") == f"M: no such folder. {GIVE}"


def test_a_file_in_place_of_a_folder(saved):
    assert refused(saved / "config.json") == f"M: is no folder. {GIVE}"


def test_no_config(tmp_path):
    assert refused(tmp_path) == f"M: holds no config.json. {GIVE}"


@pytest.mark.parametrize("kind", ["t5", None, ["bert"]])
def test_unsupported_type(saved, kind):
    edit(saved, model_type=kind)
    assert refused(saved) == (
        f"M/config.json: model_type `{kind}` is not supported. "
        f"firth opens {', '.join([*TYPES][:-1])} and {[*TYPES][-1]} models."
    )


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type `relative_key`"),
        ({"hidden_act": "tanh"}, "activation `tanh`"),
        ({"is_decoder": True}, "is_decoder"),
    ],
)
def test_unsupported_settings_of_bert(saved, changes, what):
    edit(saved, **changes)
    assert refused(saved) == f"M/config.json: {what} is not supported. Use a model without it."


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"attention_bias": True}, "attention_bias different from mlp_bias"),
        ({"layer_types": ["full_attention"] * 2 + ["sliding_attention"]}, "layer_types that do not repeat"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type `yarn`"),
    ],
)
def test_unsupported_settings_of_modernbert(tmp_path, changes, what):
    save_folder(tmp_path, SHAPES["modernbert"], Whole(SHAPES["modernbert"]).state_dict())
    edit(tmp_path, **changes)
    assert refused(tmp_path) == f"M/config.json: {what} is not supported. Use a model without it."


def test_a_key_is_missing(saved):
    edit(saved, hidden_size="gone")
    assert refused(saved) == f"M/config.json: has no `hidden_size`. {AGAIN}"


def test_an_impossible_shape(saved):
    edit(saved, num_attention_heads=5)
    assert refused(saved).startswith("M/config.json: describes no model: ")
    assert refused(saved).endswith(f"width 32 does not divide into 5 heads of even length. {AGAIN}")


def test_more_layers_than_a_model_has(saved):
    """Else they were made, one after the other, until the memory is full."""
    edit(saved, num_hidden_layers=10**9)
    what = "layers: Input should be less than or equal to 9999"
    assert refused(saved) == f"M/config.json: describes no model: {what}. {AGAIN}"


STRANGE = [
    {"hidden_size": 10**30}, {"hidden_size": 0}, {"num_attention_heads": 0}, {"vocab_size": -1}, {"vocab_size": [60]},
    {"num_hidden_layers": None}, {"hidden_act": ["gelu"]}, {"layer_norm_eps": float("nan")}, {"architectures": 3},
    {"architectures": ["BertForTokenClassification"], "id2label": {"a": "b"}},
    {"architectures": ["BertForTokenClassification"], "id2label": 3}, {"firth": [1]}, {"firth": {"classes": 3}},
]  # fmt: skip


@pytest.mark.parametrize("changes", STRANGE, ids=str)
def test_settings_that_no_model_has(saved, changes):
    edit(saved, **changes)
    told = refused(saved)
    assert told.startswith("M/config.json: describes no model: ") and told.endswith(AGAIN)


SIZES = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "vocab_size": 9}
SIZES |= {"max_position_embeddings": 8, "image_size": 8, "patch_size": 2, "num_channels": 3}
SIZES |= {"hidden_sizes": [8, 8], "depths": [1, 1], "shape": {"intermediate": 8, "sound": {"bands": 4}}}
STRANGE_OF_KIND = [
    ("vit", {"patch_size": 0}), ("vit", {"patch_size": 16}), ("vit", {"image_size": "8"}),
    ("llama", {"num_attention_heads": 0}), ("llama", {"rope_theta": float("inf")}),
    ("llama", {"rope_scaling": "linear"}), ("llama", {"num_key_value_heads": 3}), ("llama", {"head_dim": 10**12}),
    ("modernbert", {"layer_types": 3}), ("modernbert", {"global_attn_every_n_layers": 0}),
    ("modernbert", {"local_attention": -2}), ("modernbert", {"rope_parameters": [1]}),
    ("resnet", {"depths": 3}), ("resnet", {"depths": [1]}), ("resnet", {"depths": [1, 0]}),
    ("resnet", {"hidden_sizes": [8, 6]}), ("resnet", {"hidden_sizes": [8, 10**9]}), ("resnet", {"num_channels": 0}),
    ("wav2vec2", {"conv_stride": [0] * 7}), ("wav2vec2", {"conv_dim": 512}), ("wav2vec2", {"conv_dim": [512] * 6}),
    ("wav2vec2", {"num_conv_pos_embedding_groups": 5}), ("wav2vec2", {"num_conv_pos_embeddings": 10**9}),
    ("frames", {"shape": [1]}), ("frames", {"shape": {"intermediate": 8, "sound": {"bands": -1}}}),
]  # fmt: skip


@pytest.mark.parametrize("kind, changes", STRANGE_OF_KIND, ids=str)
def test_settings_that_no_model_of_a_kind_has(kind, changes):
    assert shape_from(SIZES | {"model_type": kind}, Path("M")).layers in (1, 2)
    with pytest.raises(InputError, match=r"is not supported|M: describes no model: .* Copy it again"):
        shape_from(SIZES | {"model_type": kind} | changes, Path("M"))


DEEP = pytest.param("[" * 10**5, id="deep")


@pytest.mark.parametrize("text", ["{", "[1]", "\x00", DEEP])
def test_damaged_config(saved, text):
    (saved / "config.json").write_text(text)
    assert refused(saved) == f"M/config.json: is no JSON object. {AGAIN}"


def test_only_a_pickle(saved):
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    assert refused(saved) == (
        "M: holds its weights as a pickle only (`pytorch_model.bin`), which can run any program when opened. "
        "Convert it with its own tool to model.safetensors; firth reads no other form."
    )


def test_no_weights(saved):
    (saved / "model.safetensors").unlink()
    assert refused(saved) == "M: holds no model.safetensors. Give a folder with config.json and model.safetensors."


def test_damaged_weights(saved):
    whole = (saved / "model.safetensors").read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"no tensors here"):
        (saved / "model.safetensors").write_bytes(data)
        assert refused(saved) == f"M/model.safetensors: is no whole safetensors file. {AGAIN}"


def test_sizes_that_differ(saved):
    edit(saved, vocab_size=99)
    assert refused(saved) == (
        f"M: `backbone.embed.word.weight` is 60 x 32 in the weights and 99 x 32 by config.json. {SAME}"
    )


def test_quantised_weights(saved):
    """Whole numbers mean nothing without their scales, which would be left over."""
    state = load_file(saved / "model.safetensors")
    name = "bert.embeddings.word_embeddings.weight"
    save_file(state | {name: state[name].mul(100).to(torch.int8)}, saved / "model.safetensors")
    told = "M: `backbone.embed.word.weight` is quantised (int8). Take the model in half or full precision."
    assert refused(saved) == told


def test_missing_tensors(saved):
    edit(saved, num_hidden_layers=4)
    assert refused(saved) == f"M: has no weights for `backbone.encoder.blocks.3.attention.qkv.weight`. {SAME}"


def test_a_missing_part_of_a_fused_tensor(saved):
    state = load_file(saved / "model.safetensors")
    del state["bert.encoder.layer.1.attention.self.key.bias"]
    save_file(state, saved / "model.safetensors")
    assert refused(saved) == (
        "M: lacks a part of `backbone.encoder.blocks.1.attention.qkv.bias`. "
        "Copy the weights again from where the model came from."
    )


def test_parts_of_a_fused_tensor_that_do_not_fit_together(saved):
    state = load_file(saved / "model.safetensors")
    name = "bert.encoder.layer.1.attention.self.key.weight"
    save_file(state | {name: state[name][:, :8].clone()}, saved / "model.safetensors")
    assert refused(saved) == (
        "M: has parts of `backbone.encoder.blocks.1.attention.qkv.weight` that do not fit together. "
        "Copy the weights again from where the model came from."
    )


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/x.safetensors", "weights.bin"])
def test_an_index_that_leads_elsewhere(saved, name):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert refused(saved) == (
        f"M/model.safetensors.index.json: names `{name}`, which is no .safetensors file beside it. Use another model."
    )


def test_an_index_without_a_map_or_a_shard(saved):
    (saved / "model.safetensors").unlink()
    index = saved / "model.safetensors.index.json"
    index.write_text("{}")
    assert refused(saved) == (
        "M/model.safetensors.index.json: has no `weight_map`. Copy the file again from where the model came from."
    )
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert refused(saved) == (
        "M/one.safetensors: cannot be read (No such file or directory). Check the file and its permissions."
    )


def test_an_untied_output_map_is_named_and_not_used(saved):
    state = load_file(saved / "model.safetensors")
    save_file(state | {"cls.predictions.decoder.weight": torch.zeros(60, 32)}, saved / "model.safetensors")
    assert open_folder(saved).unused == []
    edit(saved, tie_word_embeddings=False)
    assert open_folder(saved).unused == ["cls.predictions.decoder.weight"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "x").write_text("")
    for write in (lambda path: write_json(path, {}), lambda path: write_file(path, {"a": torch.zeros(2)})):
        with pytest.raises(RunError) as caught:
            write(tmp_path / "x" / "y.json")
        assert str(caught.value).replace(str(tmp_path), "M") == (
            "M/x/y.json: cannot be written (Not a directory). Make room or choose another --out, then run again."
        )


def test_a_write_that_fails_leaves_the_earlier_file(saved, monkeypatch):
    before = (saved / "model.safetensors").read_bytes()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("firth.interop.tensors.os.replace", Mock(side_effect=full))
    with pytest.raises(RunError, match="No space left on device"):
        save_folder(saved, SHAPES["bert"], Whole(SHAPES["bert"]).state_dict())
    assert (saved / "model.safetensors").read_bytes() == before
    assert not list(saved.glob("*.partial"))
