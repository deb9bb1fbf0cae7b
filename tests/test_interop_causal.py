"""Llama and GPT-2 folders: firth and transformers give the same logits, whoever wrote them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.errors import InputError
from firth.interop.folder import open_folder, save_folder
from tests.models import CAUSAL, Whole, padding, tokens

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

ENDS = {"bos_token_id": 7, "eos_token_id": 7}
PAD = padding(20, 14, 9)


def logits(whole: Whole, **batch) -> torch.Tensor:
    return whole.parts["next-token"].head(whole.backbone({"tokens": tokens(), **batch}).values)


def reopened(folder) -> Whole:
    opened = open_folder(folder)
    whole = Whole(opened.shape, "next-token")
    whole.load_state_dict(opened.state)
    return whole


def saved(folder, name: str) -> Whole:
    whole = Whole(CAUSAL[name], "next-token")
    save_folder(folder, CAUSAL[name], whole.state_dict(), facts=ENDS)
    return whole


# ------------------------------------------------------------------ firth → transformers → firth


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_what_firth_saves_opens_as_a_causal_language_model(name, tmp_path):
    whole = saved(tmp_path, name)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == {"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}[name.split("-")[0]]
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert logits(whole).std() > 0.1
    torch.testing.assert_close(logits(whole), theirs.eval()(tokens()).logits, rtol=0, atol=1e-4)
    masked = theirs(tokens(), attention_mask=(~PAD).long()).logits
    torch.testing.assert_close(logits(whole, pad=PAD)[~PAD], masked[~PAD], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_what_firth_saves_firth_opens_bit_for_bit(name, tmp_path):
    whole, opened = saved(tmp_path, name), open_folder(tmp_path)
    assert opened.shape == CAUSAL[name] and not opened.unused and opened.parts == {"next-token"}
    assert torch.equal(logits(reopened(tmp_path)), logits(whole))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_where_a_text_ends_stands_where_tools_look_for_it(name, tmp_path):
    saved(tmp_path, name)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (7, 7, 7)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (7, 7, None)


# ------------------------------------------------------------------ transformers → firth

SMALL = {"vocab_size": 60, "initializer_range": 0.3}
LLAMA = SMALL | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 44}
GPT2 = SMALL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXTERNAL = {
    "llama": LLAMA,
    "llama-tied": LLAMA | {"tie_word_embeddings": True},
    "llama-grouped": LLAMA | {"num_key_value_heads": 2, "rms_norm_eps": 1e-4},
    "llama-one-key": LLAMA | {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "llama-long-waves": LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    "llama-narrow-heads": LLAMA | {"head_dim": 4, "num_key_value_heads": 2},
    "llama-gelu": LLAMA | {"hidden_act": "gelu_pytorch_tanh"},
    "gpt2": GPT2,
    "gpt2-wide": GPT2 | {"n_inner": 50, "activation_function": "relu", "layer_norm_epsilon": 1e-3},
}


def theirs_of(name: str, folder) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = "Llama" if name.startswith("llama") else "GPT2"
    config = getattr(transformers, f"{kind}Config")(**EXTERNAL[name])
    made = getattr(transformers, "LlamaForCausalLM" if kind == "Llama" else "GPT2LMHeadModel")(config).eval()
    made.save_pretrained(folder)
    return made


@pytest.mark.parametrize("name", EXTERNAL)
@torch.no_grad()
def test_external_folders_give_the_same_logits(name, tmp_path):
    theirs = theirs_of(name, tmp_path)
    assert not open_folder(tmp_path).unused
    expected = theirs(tokens()).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(reopened(tmp_path)), expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_an_external_folder_saved_by_firth_is_what_it_was(tmp_path):
    theirs = theirs_of("llama-grouped", tmp_path / "one")
    opened = open_folder(tmp_path / "one")
    save_folder(tmp_path / "two", opened.shape, opened.state, facts=opened.facts)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "two")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@torch.no_grad()
def test_gpt2_as_it_was_first_published(tmp_path):
    """Names without a prefix, and the triangle of each layer as a buffer."""
    theirs = theirs_of("gpt2", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor for name, tensor in state.items() if name != "lm_head.weight"}
    old |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64).tril() for layer in range(2)}
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert not open_folder(tmp_path).unused
    torch.testing.assert_close(logits(reopened(tmp_path)), theirs(tokens()).logits, rtol=0, atol=1e-4)


@torch.no_grad()
def test_llama_as_it_was_first_published(tmp_path):
    """rope_theta beside the others, no head_dim, and wavelengths as a buffer."""
    theirs = theirs_of("llama-long-waves", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("rope_parameters", "head_dim", "num_key_value_heads"):
        config.pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_theta": 500_000.0, "rope_scaling": None}))
    state = load_file(tmp_path / "model.safetensors")
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    save_file(state | buffers, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert not open_folder(tmp_path).unused
    torch.testing.assert_close(logits(reopened(tmp_path)), theirs(tokens()).logits, rtol=0, atol=1e-4)


UNSUPPORTED = {
    "rotary scaling `llama3`": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}},
    "rotary scaling `linear`": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "sliding_window": {"sliding_window": 64},
    "activation `xielu`": {"hidden_act": "xielu"},
    "partial_rotary_factor": {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
}
UNSUPPORTED_GPT2 = {
    "add_cross_attention": {"add_cross_attention": True},
    "scale_attn_by_inverse_layer_idx": {"scale_attn_by_inverse_layer_idx": True},
    "attention without scaling": {"scale_attn_weights": False},
}
CASES = [("llama", what) for what in UNSUPPORTED] + [("gpt2", what) for what in UNSUPPORTED_GPT2]


@pytest.mark.parametrize(("name", "what"), CASES)
def test_what_the_shapes_cannot_hold_is_refused(name, what, tmp_path):
    saved(tmp_path, name)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text()) | (UNSUPPORTED | UNSUPPORTED_GPT2)[what]
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "rope_parameters" or
                                "rope_parameters" in UNSUPPORTED.get(what, {})}))  # fmt: skip
    with pytest.raises(InputError) as raised:
        open_folder(tmp_path)
    assert str(raised.value) == f"{path}: {what} is not supported. Use a model without it."


def test_a_part_of_keys_that_is_missing_is_named(tmp_path):
    saved(tmp_path, "llama-grouped")
    state = load_file(tmp_path / "model.safetensors")
    del state["model.layers.1.self_attn.k_proj.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(InputError) as raised:
        open_folder(tmp_path)
    assert raised.value.what == "lacks a part of `backbone.encoder.blocks.1.attention.qkv.weight`"
