"""GPT-2 model folders: config.json and tensor names of `GPT2LMHeadModel` in transformers."""

import re
from collections.abc import Mapping
from typing import Any

from firth.interop import llama
from firth.interop.bert import ACTIVATIONS, CLASSES
from firth.interop.llama import ends
from firth.interop.places import Place, whole
from firth.model.shape import Shape
from firth.model.sizes import GPT2

NAMES = {
    "n_layer": "layers",
    "n_embd": "width",
    "n_head": "heads",
    "vocab_size": "vocabulary",
    "n_positions": "positions",
}
PREFIX = "transformer."
TIED = llama.TIED
TASKS = llama.TASKS
BUFFER = re.compile(r".*\.attn\.(bias|masked_bias)")  # the triangle, in old checkpoints

EMBED = {"wte": "backbone.embed.word", "wpe": "backbone.embed.position", "ln_f": "backbone.encoder.norm"}
NORMS = {"ln_1": "attention_norm", "ln_2": "mlp_norm"}
MAPS = {  # theirs hold (inputs, outputs)
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "mlp.c_fc": "mlp.inner",
    "mlp.c_proj": "mlp.outer",
}


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module → its place among ours."""
    places = whole({PREFIX + theirs: ours for theirs, ours in EMBED.items()})
    for layer in range(shape.layers):
        theirs, ours = f"{PREFIX}h.{layer}", f"backbone.encoder.blocks.{layer}"
        places |= whole({f"{theirs}.{one}": f"{ours}.{other}" for one, other in NORMS.items()})
        places |= {f"{theirs}.{one}": Place(f"{ours}.{other}", transposed=True) for one, other in MAPS.items()}
    return places | llama.heads(shape, task)


def theirs_of(name: str) -> str:
    """A tensor name, with or without the prefix of the headless model, in its full form."""
    return PREFIX + name if name.startswith(("wte.", "wpe.", "h.", "ln_f.")) else name


def constant(name: str) -> bool:
    """True for a tensor that follows from config.json."""
    return BUFFER.fullmatch(name) is not None


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    if task:
        return f"GPT2{CLASSES[task]}"
    return "GPT2LMHeadModel" if "next-token" in parts else "GPT2Model"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    return {
        "model_type": "gpt2",
        "activation_function": {"gelu_tanh": "gelu_new"}.get(shape.activation, shape.activation),
        "n_inner": shape.intermediate,
        "layer_norm_epsilon": shape.norm_epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), shape.dropout),
        "scale_attn_weights": True,
        "tie_word_embeddings": shape.tied,
        "use_cache": True,
        **ends(facts),
    }


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape in a config.json without anything unsupported, and without what all shapes share."""
    return GPT2 | {
        "activation": ACTIVATIONS[config.get("activation_function", "gelu_new")],
        "intermediate": config.get("n_inner") or 4 * config["n_embd"],
        "norm_epsilon": config.get("layer_norm_epsilon", 1e-5),
        "dropout": config.get("resid_pdrop", 0.1),
        "tied": config.get("tie_word_embeddings", True),
    }


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold."""
    activation = config.get("activation_function", "gelu_new")
    found = {
        f"activation `{activation}`": activation not in ACTIVATIONS,
        "add_cross_attention": config.get("add_cross_attention"),
        "scale_attn_by_inverse_layer_idx": config.get("scale_attn_by_inverse_layer_idx"),
        "attention without scaling": not config.get("scale_attn_weights", True),
    }
    return [what for what, is_there in found.items() if is_there]
