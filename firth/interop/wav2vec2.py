"""wav2vec 2.0 model folders: config.json and tensor names of `Wav2Vec2ForPreTraining` and its kin in transformers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from firth.interop.places import Place, blocks_of, whole
from firth.model.shape import Shape
from firth.model.sizes import WAVE

SIGNAL = "speech"
NAMES = {"num_hidden_layers": "layers", "hidden_size": "width", "num_attention_heads": "heads"}
PREFIX = "wav2vec2."
TIED: tuple[str, ...] = ()
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}
THEIRS = {"gelu_tanh": "gelu_new"}
OLD = {  # the weight of the convolution over positions, in checkpoints from before torch 2.1
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}
EMBED = {
    "masked_spec_embed": "backbone.embed.mask",  # a tensor; the others are modules
    "feature_projection.layer_norm": "backbone.embed.local_norm",
    "feature_projection.projection": "backbone.embed.map",
    "encoder.pos_conv_embed.conv": "backbone.embed.positions.conv",
    "encoder.pos_conv_embed.conv.parametrizations.weight": "backbone.embed.positions.conv.parametrizations.weight",
}
BLOCK = {  # theirs in encoder.layers.N, ours in backbone.encoder.blocks.N
    "attention.q_proj": Place("attention.qkv", 0, (1, 1, 1)),
    "attention.k_proj": Place("attention.qkv", 1, (1, 1, 1)),
    "attention.v_proj": Place("attention.qkv", 2, (1, 1, 1)),
    "attention.out_proj": Place("attention.out"),
    "layer_norm": Place("attention_norm"),
    "feed_forward.intermediate_dense": Place("mlp.inner"),
    "feed_forward.output_dense": Place("mlp.outer"),
    "final_layer_norm": Place("mlp_norm"),
}
PART = "parts.wav2vec2"
HEADS = {
    "quantizer.codevectors": f"{PART}.quantiser.codes",  # a tensor
    "quantizer.weight_proj": f"{PART}.quantiser.scores",
    "project_hid": f"{PART}.guess",
    "project_q": f"{PART}.truth",
}
TASKS: dict[str, dict[str, str]] = {}


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module (or tensor) → its place among ours."""
    return encoder(shape, PREFIX) | whole(HEADS)


def encoder(shape: Shape, prefix: str) -> dict[str, Place]:
    """The same, of all that wav2vec 2.0 and HuBERT have in common."""
    assert shape.sound is not None
    normed_after = "backbone.embed.norm" if shape.embed_norm else "backbone.encoder.norm"
    names = EMBED | {"encoder.layer_norm": normed_after}
    for number in range(len(shape.sound.widths)):
        layer = f"feature_extractor.conv_layers.{number}"
        names[f"{layer}.conv"] = f"backbone.embed.convolutions.layers.{number}"
        if number == 0 or shape.sound.norm == "layer":
            names[f"{layer}.layer_norm"] = f"backbone.embed.convolutions.norms.{number}"
    places = whole({prefix + theirs: ours for theirs, ours in names.items()})
    return places | blocks_of(BLOCK, shape.layers, f"{prefix}encoder.layers.")


def constant(name: str) -> bool:
    """True for a tensor that follows from config.json, or that changes nothing; there is none."""
    return False


def theirs_of(name: str, prefix: str = PREFIX) -> str:
    """A tensor name of any age, with or without the prefix of the headless model, in today's full form."""
    for old, new in OLD.items():
        name = name.replace(old, new)
    bare = name.startswith(("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed"))
    return prefix + name if bare else name


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    return "Wav2Vec2ForPreTraining" if "wav2vec2" in parts else "Wav2Vec2Model"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share. facts: `heads`, as below."""
    return {"model_type": "wav2vec2", **common(shape), **facts.get("heads", {})}


def decided(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The part of config.json that the tensors of the objective decide."""
    codes, truth = (state.get(f"{PART}.{name}") for name in ("quantiser.codes", "truth.weight"))
    if codes is None or truth is None:
        return {}
    groups = truth.shape[1] // codes.shape[2]
    return {
        "num_codevector_groups": groups,
        "num_codevectors_per_group": codes.shape[1] // groups,
        "codevector_dim": truth.shape[1],
        "proj_codevector_dim": truth.shape[0],
    }


def missing(shape: Shape) -> dict[str, Tensor]:
    """What a model that was trained without hiding anything lacks."""
    return {"backbone.embed.mask": torch.zeros(shape.width)}


def common(shape: Shape) -> dict[str, Any]:
    """What wav2vec 2.0 and HuBERT have in common."""
    sound = shape.sound
    assert sound is not None
    return {
        "hidden_act": THEIRS.get(shape.activation, shape.activation),
        "hidden_dropout": shape.dropout,
        "attention_dropout": shape.dropout,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
        "layer_norm_eps": shape.norm_epsilon,
        "feat_extract_norm": sound.norm,
        "feat_extract_activation": THEIRS.get(sound.activation, sound.activation),
        "conv_dim": list(sound.widths),
        "conv_kernel": list(sound.kernels),
        "conv_stride": list(sound.strides),
        "conv_bias": sound.bias,
        "num_conv_pos_embeddings": sound.position_kernel,
        "num_conv_pos_embedding_groups": sound.position_groups,
        "do_stable_layer_norm": shape.norm_placement == "pre",
        "vocab_size": 32,  # of a head that is not there
    }


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape in a config.json without anything unsupported, and without what all shapes share."""
    before = config.get("do_stable_layer_norm", False)
    placement = {"norm_placement": "pre", "embed_norm": False, "first_norm": True} if before else {}
    return {**WAVE, **placement} | {
        "activation": ACTIVATIONS[config.get("hidden_act", "gelu")],
        "dropout": config.get("hidden_dropout", 0.1),
        "norm_epsilon": config.get("layer_norm_eps", 1e-5),
        "intermediate": config.get("intermediate_size", 3072),
        "vocabulary": 0,
        "positions": 0,
        "sound": sound_of(config),
    }


def sound_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of SoundShape."""
    return {
        "widths": config.get("conv_dim", (512,) * 7),
        "kernels": config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2)),
        "strides": config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2)),
        "norm": config.get("feat_extract_norm", "group"),
        "bias": config.get("conv_bias", False),
        "activation": ACTIVATIONS[config.get("feat_extract_activation", "gelu")],
        "map_norm": config.get("feat_proj_layer_norm", True),
        "position_kernel": config.get("num_conv_pos_embeddings", 128),
        "position_groups": config.get("num_conv_pos_embedding_groups", 16),
    }


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold."""
    names = {key: config.get(key, "gelu") for key in ("hidden_act", "feat_extract_activation")}
    found = {f"{key} `{name}`": name not in ACTIVATIONS for key, name in names.items()}
    found |= {key: bool(config.get(key)) for key in ("add_adapter", "adapter_attn_dim", "conv_pos_batch_norm")}
    return [what for what, is_there in found.items() if is_there]
