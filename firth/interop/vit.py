"""Vision transformer folders: config.json and tensor names of `ViTModel` and its kin in transformers."""

import re
from collections.abc import Mapping
from typing import Any

from firth.interop.bert import ACTIVATIONS
from firth.interop.places import Place, blocks_of, head_of, whole
from firth.model.shape import Shape
from firth.model.sizes import VIT

SIGNAL = "image"
NAMES = {
    "num_hidden_layers": "layers",
    "hidden_size": "width",
    "num_attention_heads": "heads",
    "image_size": "image",
    "patch_size": "patch",
    "num_channels": "channels",
}
PREFIX = "vit."
TIED = ()
TASKS = {"classify": {"classifier": "classifier"}}
NEWER = (  # how transformers 5 names what its files call otherwise
    (re.compile(r"^(vit\.)?layers\.(\d+)\."), r"\1encoder.layer.\2."),
    (re.compile(r"attention\.q_proj\."), "attention.attention.query."),
    (re.compile(r"attention\.k_proj\."), "attention.attention.key."),
    (re.compile(r"attention\.v_proj\."), "attention.attention.value."),
    (re.compile(r"attention\.o_proj\."), "attention.output.dense."),
    (re.compile(r"mlp\.fc1\."), "intermediate.dense."),
    (re.compile(r"mlp\.fc2\."), "output.dense."),
)
EMBED = {
    "embeddings": "backbone.embed",
    "embeddings.patch_embeddings.projection": "backbone.embed.projection",
    "layernorm": "backbone.encoder.norm",
}
BLOCK = {  # theirs in encoder.layer.N, ours in backbone.encoder.blocks.N
    "attention.attention.query": Place("attention.qkv", 0, (1, 1, 1)),
    "attention.attention.key": Place("attention.qkv", 1, (1, 1, 1)),
    "attention.attention.value": Place("attention.qkv", 2, (1, 1, 1)),
    "attention.output.dense": Place("attention.out"),
    "layernorm_before": Place("attention_norm"),
    "intermediate.dense": Place("mlp.inner"),
    "output.dense": Place("mlp.outer"),
    "layernorm_after": Place("mlp_norm"),
}


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module → its place among ours."""
    places = whole({PREFIX + theirs: ours for theirs, ours in EMBED.items()})
    return places | blocks_of(BLOCK, shape.layers, f"{PREFIX}encoder.layer.") | whole(head_of(TASKS, task))


def constant(name: str) -> bool:
    """True for what stands for hidden patches in a task of transformers that firth has not."""
    return name.endswith("embeddings.mask_token")


def theirs_of(name: str) -> str:
    """A tensor name of any age, with or without the prefix of the headless model, in full."""
    for pattern, older in NEWER:
        name = pattern.sub(older, name)
    bare = name.startswith(("embeddings.", "encoder.", "layernorm.", "pooler."))
    return PREFIX + name if bare else name


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    return "ViTForImageClassification" if task == "classify" else "ViTModel"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    return {
        "model_type": "vit",
        "hidden_act": {"gelu": "gelu", "gelu_tanh": "gelu_new"}.get(shape.activation, shape.activation),
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.dropout,
        "layer_norm_eps": shape.norm_epsilon,
        "qkv_bias": True,
    }


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape in a config.json without anything unsupported, and without what all shapes share."""
    side = config["image_size"] // config["patch_size"]
    return VIT | {
        "activation": ACTIVATIONS[config.get("hidden_act", "gelu")],
        "dropout": config.get("hidden_dropout_prob", 0.0),
        "norm_epsilon": config.get("layer_norm_eps", 1e-12),
        "intermediate": config.get("intermediate_size", 4 * config["hidden_size"]),
        "positions": 1 + side**2,
    }


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold."""
    activation = config.get("hidden_act", "gelu")
    found = {
        f"activation `{activation}`": activation not in ACTIVATIONS,
        "pictures that are no squares": not isinstance(config["image_size"], int),
        "patches that are no squares": not isinstance(config["patch_size"], int),
        "queries without bias": not config.get("qkv_bias", True),
    }
    return [what for what, is_there in found.items() if is_there]
