"""ModernBERT model folders: config.json and tensor names of `ModernBertForMaskedLM` and its kin in transformers."""

from collections.abc import Mapping
from typing import Any

from firth.interop.bert import ACTIVATIONS, CLASSES
from firth.interop.places import SHARED, Place, head_of, whole
from firth.model.shape import Shape

NAMES = SHARED
PREFIX = "model."
TIED = ("decoder.weight",)
SPECIAL = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")

EMBED = {"embeddings.tok_embeddings": "backbone.embed.word", "embeddings.norm": "backbone.embed.norm"}
BLOCK = {
    "attn_norm": "attention_norm",
    "attn.Wqkv": "attention.qkv",
    "attn.Wo": "attention.out",
    "mlp_norm": "mlp_norm",
    "mlp.Wi": "mlp.inner",
    "mlp.Wo": "mlp.outer",
}
HEADS = {
    "head.dense": "parts.masked-tokens.head.dense",
    "head.norm": "parts.masked-tokens.head.norm",
    "decoder": "parts.masked-tokens.head",  # its bias; its weight is the embedding
}
CLASSIFIER = {  # the same names as the head of masked tokens: a folder holds one of them, firth.safetensors the other
    "head.dense": "pool.dense",
    "head.norm": "pool.norm",
    "classifier": "classifier",
}
TASKS = dict.fromkeys(("classify", "pairs", "tag"), CLASSIFIER)  # part → its modules, in the class that holds it


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module → its place among ours."""
    pairs = {PREFIX + theirs: ours for theirs, ours in EMBED.items()}
    for layer in range(shape.layers):
        for theirs, ours in BLOCK.items():
            pairs[f"{PREFIX}layers.{layer}.{theirs}"] = f"backbone.encoder.blocks.{layer}.{ours}"
    pairs[f"{PREFIX}final_norm"] = "backbone.encoder.norm"
    pairs |= head_of(TASKS, task) or HEADS
    return whole(pairs)


def constant(name: str) -> bool:
    """True for a tensor that follows from config.json: none here."""
    return False


def theirs_of(name: str) -> str:
    """A tensor name, with or without the prefix of the headless model, in its full form."""
    bare = name.startswith(("embeddings.", "layers.", "final_norm."))
    return PREFIX + name if bare else name


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    if task:
        return f"ModernBert{CLASSES[task]}"
    return "ModernBertForMaskedLM" if "masked-tokens" in parts else "ModernBertModel"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    their = "gelu_pytorch_tanh" if shape.activation == "gelu_tanh" else shape.activation
    return {
        "model_type": "modernbert",
        "hidden_activation": their,
        "classifier_activation": their,
        "attention_dropout": shape.dropout,
        "embedding_dropout": shape.dropout,
        "mlp_dropout": shape.dropout,
        "norm_eps": shape.norm_epsilon,
        "norm_bias": shape.norm_bias,
        "attention_bias": shape.bias,
        "mlp_bias": shape.bias,
        "classifier_bias": shape.head_bias,
        "classifier_pooling": "mean" if facts.get("pooling") == "mean" else "cls",
        "decoder_bias": True,
        "global_attn_every_n_layers": shape.global_every,
        "layer_types": repeated(shape.layers, shape.global_every),
        "local_attention": shape.window,
        "global_rope_theta": shape.rope_global,
        "local_rope_theta": shape.rope_local,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": shape.rope_global},
            "sliding_attention": {"rope_type": "default", "rope_theta": shape.rope_local},
        },
        **{name: facts.get(name) for name in SPECIAL},
    }


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape in a config.json without anything unsupported, and without what all shapes share."""
    return {
        "activation": ACTIVATIONS[config.get("hidden_activation", "gelu")],
        "dropout": config.get("mlp_dropout", 0.0),
        "norm_epsilon": config.get("norm_eps", 1e-5),
        "norm_bias": config.get("norm_bias", False),
        "bias": config.get("attention_bias", False),
        "head_bias": config.get("classifier_bias", False),
        "intermediate": config.get("intermediate_size", 1152),
        "pad_id": config.get("pad_token_id") or 0,
        "window": config.get("local_attention", 128),
        "global_every": global_every(config),
        "rope_global": rope(config, "full_attention").get("rope_theta") or config.get("global_rope_theta") or 160_000.0,
        "rope_local": rope(config, "sliding_attention").get("rope_theta") or config.get("local_rope_theta") or 10_000.0,
    }


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold."""
    kinds, activation = config.get("layer_types"), config.get("hidden_activation", "gelu")
    turned = [rope(config, kind).get("rope_type", "default") for kind in ("full_attention", "sliding_attention")]
    turned += ["scaled"] if config.get("rope_scaling") else []
    scaled = [kind for kind in turned if kind != "default"]
    found = {
        f"activation `{activation}`": activation not in ACTIVATIONS,
        "attention_bias different from mlp_bias": config.get("attention_bias", False) != config.get("mlp_bias", False),
        "layer_types that do not repeat": kinds is not None and kinds != repeated(len(kinds), global_every(config)),
        f"rope_type `{scaled[0] if scaled else ''}`": scaled,
    }
    return [what for what, is_there in found.items() if is_there]


def global_every(config: Mapping[str, Any]) -> int:
    """The distance of the global layers: from the list of layer types where there is one, else the number itself."""
    kinds = config.get("layer_types")
    if kinds is None:
        return config.get("global_attn_every_n_layers", 3)
    return next((layer for layer, kind in enumerate(kinds) if layer and kind == "full_attention"), max(1, len(kinds)))


def repeated(layers: int, every: int) -> list[str]:
    """layer_types with a global layer at every n-th place, the first included."""
    return ["sliding_attention" if layer % every else "full_attention" for layer in range(layers)]


def rope(config: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The rotary settings of a kind of layer, in the new form; empty where there are none."""
    return (config.get("rope_parameters") or {}).get(kind) or {}
