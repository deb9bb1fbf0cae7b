"""Llama model folders: config.json and tensor names of `LlamaForCausalLM` in transformers."""

import re
from collections.abc import Mapping
from typing import Any

from firth.interop.bert import ACTIVATIONS, CLASSES
from firth.interop.places import SHARED, Place, head_of, whole
from firth.model.shape import Shape
from firth.model.sizes import LLAMA

NAMES = SHARED
PREFIX = "model."
OUTPUT = "lm_head"
TIED = ("lm_head.weight",)
SCORE = {"score": "classifier"}
TASKS = {"classify": SCORE, "pairs": SCORE}  # part → its modules, in the class of transformers that holds it
BUFFER = re.compile(r".*\.rotary_emb\.inv_freq")  # in old checkpoints

BLOCK = {
    "input_layernorm": "attention_norm",
    "self_attn.o_proj": "attention.out",
    "post_attention_layernorm": "mlp_norm",
    "mlp.down_proj": "mlp.outer",
}


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module → its place among ours."""
    rows = (shape.heads, shape.groups, shape.groups)
    places = whole({f"{PREFIX}embed_tokens": "backbone.embed.word", f"{PREFIX}norm": "backbone.encoder.norm"})
    for layer in range(shape.layers):
        theirs, ours = f"{PREFIX}layers.{layer}", f"backbone.encoder.blocks.{layer}"
        places |= whole({f"{theirs}.{one}": f"{ours}.{other}" for one, other in BLOCK.items()})
        for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
            places[f"{theirs}.self_attn.{name}"] = Place(f"{ours}.attention.qkv", part, rows)
        for part, name in enumerate(("gate_proj", "up_proj")):
            places[f"{theirs}.mlp.{name}"] = Place(f"{ours}.mlp.inner", part, (1, 1))
    return places | heads(shape, task)


def heads(shape: Shape, task: str | None) -> dict[str, Place]:
    """That of a task, and an output map that is not the embedding."""
    output = {} if shape.tied else {OUTPUT: Place("parts.next-token.head")}
    return output | whole(head_of(TASKS, task))


def theirs_of(name: str) -> str:
    """A tensor name, with or without the prefix of the headless model, in its full form."""
    return PREFIX + name if name.startswith(("embed_tokens.", "layers.", "norm.")) else name


def constant(name: str) -> bool:
    """True for a tensor that follows from config.json."""
    return BUFFER.fullmatch(name) is not None


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    if task:
        return f"Llama{CLASSES[task]}"
    return "LlamaForCausalLM" if "next-token" in parts else "LlamaModel"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    return {
        "model_type": "llama",
        "hidden_act": {"gelu_tanh": "gelu_pytorch_tanh"}.get(shape.activation, shape.activation),
        "num_key_value_heads": shape.groups,
        "head_dim": shape.head_width,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_global,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_global},
        "attention_bias": False,
        "attention_dropout": shape.dropout,
        "mlp_bias": False,
        "tie_word_embeddings": shape.tied,
        "use_cache": True,
        **ends(facts),
    }


def ends(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens that begin and end a text. None is padding, as a model must learn the vector of the one that ends; but
    a classifier has one, by which transformers finds the last step of each text."""
    return {name: facts.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape in a config.json without anything unsupported, and without what all shapes share."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    keys, size = config.get("num_key_value_heads") or heads, config.get("head_dim") or width // heads
    return LLAMA | {
        "activation": ACTIVATIONS[config.get("hidden_act", "silu")],
        "intermediate": config.get("intermediate_size", 11008),
        "key_heads": 0 if keys == heads else keys,
        "head_size": 0 if size * heads == width else size,
        "norm_epsilon": config.get("rms_norm_eps", 1e-6),
        "dropout": config.get("attention_dropout", 0.0),
        "rope_global": rope(config).get("rope_theta") or config.get("rope_theta") or 10_000.0,
        "tied": config.get("tie_word_embeddings", False),
    }


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold."""
    activation, scaling = config.get("hidden_act", "silu"), config.get("rope_scaling") or {}
    kind = rope(config).get("rope_type") or scaling.get("rope_type") or scaling.get("type") or "default"
    found = {
        f"activation `{activation}`": activation not in ACTIVATIONS,
        f"rotary scaling `{kind}`": kind != "default",
        "partial_rotary_factor": (rope(config).get("partial_rotary_factor") or 1) != 1,
        "attention_bias": config.get("attention_bias"),
        "mlp_bias": config.get("mlp_bias"),
        "sliding_window": config.get("sliding_window"),
    }
    return [what for what, is_there in found.items() if is_there]


def rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary settings in the new form; empty where there are none."""
    return config.get("rope_parameters") or {}
