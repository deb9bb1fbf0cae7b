"""BERT model folders: config.json and tensor names of `BertForPreTraining` and its kin in transformers."""

from collections.abc import Mapping
from typing import Any

from firth.interop.places import SHARED, Place, blocks_of, head_of, whole
from firth.model.shape import Shape
from firth.model.sizes import BERT

NAMES = SHARED
PREFIX = "bert."
TANH = ("gelu_new", "gelu_pytorch_tanh")
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "silu"} | dict.fromkeys(TANH, "gelu_tanh")
OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # in checkpoints from TensorFlow
CONSTANT = ("embeddings.position_ids", "qa_outputs.bias")  # what old checkpoints hold, or what changes nothing
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")  # equal to other tensors

EMBED = {
    "embeddings.word_embeddings": "backbone.embed.word",
    "embeddings.position_embeddings": "backbone.embed.position",
    "embeddings.token_type_embeddings": "backbone.embed.segment",
    "embeddings.LayerNorm": "backbone.embed.norm",
}
BLOCK = {  # theirs in encoder.layer.N, ours in backbone.encoder.blocks.N; several of theirs are one of ours, row on row
    "attention.self.query": Place("attention.qkv", 0, (1, 1, 1)),
    "attention.self.key": Place("attention.qkv", 1, (1, 1, 1)),
    "attention.self.value": Place("attention.qkv", 2, (1, 1, 1)),
    "attention.output.dense": Place("attention.out"),
    "attention.output.LayerNorm": Place("attention_norm"),
    "intermediate.dense": Place("mlp.inner"),
    "output.dense": Place("mlp.outer"),
    "output.LayerNorm": Place("mlp_norm"),
}
HEADS = {
    "cls.predictions.transform.dense": "parts.masked-tokens.head.dense",
    "cls.predictions.transform.LayerNorm": "parts.masked-tokens.head.norm",
    "cls.predictions": "parts.masked-tokens.head",
    "cls.seq_relationship": "parts.next-sentence.classifier",
}
POOLED = {"bert.pooler.dense": "pool.dense", "classifier": "classifier"}
TASKS = {  # part → its modules, in the class of transformers that holds it
    "classify": POOLED,
    "pairs": POOLED,
    "tag": {"classifier": "classifier"},
    "span": {"qa_outputs": "ends"},
}
CLASSES = {
    "classify": "ForSequenceClassification",
    "pairs": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "span": "ForQuestionAnswering",
}
POOLER = {"bert.pooler.dense": "parts.next-sentence.pool.dense"}


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module → its place among ours."""
    places = whole({PREFIX + theirs: ours for theirs, ours in EMBED.items()})
    places |= blocks_of(BLOCK, shape.layers, f"{PREFIX}encoder.layer.")
    return places | whole(HEADS | (head_of(TASKS, task) or POOLER))


def constant(name: str) -> bool:
    """True for a tensor that follows from config.json, or that changes nothing."""
    return name.removeprefix(PREFIX) in CONSTANT


def theirs_of(name: str) -> str:
    """A tensor name of any age, with or without the prefix of the headless model, in today's full form."""
    for old, new in OLD.items():
        name = name.replace(old, new)
    bare = name.startswith(("embeddings.", "encoder.", "pooler."))
    return PREFIX + name if bare else name


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    if task:
        return f"Bert{CLASSES[task]}"
    held = ("masked-tokens" in parts, "next-sentence" in parts)
    return {
        (True, True): "BertForPreTraining",
        (True, False): "BertForMaskedLM",
        (False, True): "BertForNextSentencePrediction",
    }.get(held, "BertModel")


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    return {
        "model_type": "bert",
        "hidden_act": {"gelu": "gelu", "gelu_tanh": "gelu_new"}.get(shape.activation, shape.activation),
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.dropout,
        "type_vocab_size": shape.segments,
        "layer_norm_eps": shape.norm_epsilon,
        "position_embedding_type": "absolute",
    }


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape in a config.json without anything unsupported, and without what all shapes share."""
    return BERT | {
        "activation": ACTIVATIONS[config.get("hidden_act", "gelu")],
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "segments": config.get("type_vocab_size", 2),
        "norm_epsilon": config.get("layer_norm_eps", 1e-12),
        "intermediate": config.get("intermediate_size", 3072),
        "pad_id": config.get("pad_token_id") or 0,
    }


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold."""
    places, activation = config.get("position_embedding_type", "absolute"), config.get("hidden_act", "gelu")
    found = {
        f"position_embedding_type `{places}`": places != "absolute",
        f"activation `{activation}`": activation not in ACTIVATIONS,
        "is_decoder": config.get("is_decoder") or config.get("add_cross_attention"),
    }
    return [what for what, is_there in found.items() if is_there]
