"""A Llama-shaped model folder as one GGUF file, which llama.cpp and what builds on it (Ollama, LM Studio) read.

The form is described in ggml's docs/gguf.md; keys and tensor names of the architecture `llama` come from the package
`gguf`. Weights are read from model.safetensors under the names of transformers' LlamaForCausalLM.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.errors import InputError, did_you_mean
from firth.interop.folder import describing, shape_from
from firth.interop.gguf_read import Read
from firth.interop.gguf_vocabulary import Vocabulary
from firth.interop.tensors import read_json, read_weights
from firth.model.shape import Shape

# H heads, C values of a head, D width

PACKAGES = ("gguf",)
SHAPE = "llama"
PRECISIONS = {"f32": torch.float32, "f16": torch.float16}
SAME_AS_EMBEDDING = "lm_head.weight"
CONSTANT = ".rotary_emb.inv_freq"  # of old checkpoints; it follows from rope_theta
TURNED = {"q_proj": "heads", "k_proj": "key_heads"}  # maps whose rows stand in another order there


class Sizes(NamedTuple):
    """What config.json says of a Llama."""

    layers: int
    width: int
    intermediate: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    context: int
    rope: float  # base of the rotary wavelengths
    epsilon: float
    tied: bool


def sizes_of(folder: Path) -> Sizes:
    """Raises InputError for another shape, and for a setting that llama.cpp's architecture `llama` does not have."""
    where, config = folder / "config.json", read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != SHAPE:
        do = f"Say --to {'hf' if kind == 'gpt2' else 'onnx'}; it opens in other tools."
        raise InputError(where, f"is a model of the shape `{kind}`, and GGUF is written of `{SHAPE}` only", do)
    with describing(where):
        if found := unsupported(config):
            raise InputError(where, f"{', '.join(found)}: llama.cpp's `{SHAPE}` has no such thing", "Say --to hf.")
    if "intermediate_size" not in config:
        raise InputError(where, "has no `intermediate_size`", "Copy it again from where the model came from.")
    shape = shape_from(config, where)
    assert isinstance(shape, Shape)
    return sizes_in(shape)


def sizes_in(shape: Shape) -> Sizes:
    return Sizes(
        layers=shape.layers,
        width=shape.width,
        intermediate=shape.intermediate,
        heads=shape.heads,
        key_heads=shape.groups,
        head_width=shape.head_width,
        vocabulary=shape.vocabulary,
        context=shape.positions,
        rope=shape.rope_global,
        epsilon=shape.norm_epsilon,
        tied=shape.tied,
    )


def rope_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings that are refused."""
    activation, rope = config.get("hidden_act", "silu"), rope_of(config)
    turned = rope.get("rope_type", rope.get("type", "default"))
    found = {
        f"activation `{activation}`": activation != "silu",
        "attention_bias": config.get("attention_bias"),
        "mlp_bias": config.get("mlp_bias"),
        f"rope_type `{turned}`": turned != "default",
        "partial_rotary_factor": rope.get("partial_rotary_factor", 1.0) != 1.0,
    }
    return [what for what, is_there in found.items() if is_there]


def wanted(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Names and sizes of all tensors."""
    inner, shared = (count * sizes.head_width for count in (sizes.heads, sizes.key_heads))
    width, between = sizes.width, sizes.intermediate
    block = {
        "self_attn.q_proj": (inner, width),
        "self_attn.k_proj": (shared, width),
        "self_attn.v_proj": (shared, width),
        "self_attn.o_proj": (width, inner),
        "mlp.gate_proj": (between, width),
        "mlp.up_proj": (between, width),
        "mlp.down_proj": (width, between),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (sizes.vocabulary, width)}
    for layer in range(sizes.layers):
        found |= {f"model.layers.{layer}.{name}.weight": size for name, size in block.items()}
    found["model.norm.weight"] = (width,)
    return found if sizes.tied else found | {SAME_AS_EMBEDDING: (sizes.vocabulary, width)}


def weights_of(folder: Path, sizes: Sizes) -> dict[str, Tensor]:
    """The tensors, none more and none less. Raises InputError."""
    found, there, do = wanted(sizes), read_weights(folder), "Take config.json and the weights from the same model."
    for name, size in found.items():
        if name not in there:
            raise InputError(folder, f"has no weights for `{name}`", do)
        if there[name].shape != size:
            given, needed = (" x ".join(map(str, one)) for one in (there[name].shape, size))
            raise InputError(folder, f"`{name}` is {given} in the weights and {needed} by config.json", do)
    tied = {SAME_AS_EMBEDDING} if sizes.tied else set()
    if unknown := [name for name in there if name not in {*found, *tied} and not name.endswith(CONSTANT)]:
        raise InputError(folder, f"holds `{unknown[0]}`, for which llama.cpp's `{SHAPE}` has no place", "Say --to hf.")
    return {name: there[name] for name in found}


def precision_of(asked: str | None, weights: Mapping[str, Tensor]) -> str:
    """f32 or f16: as asked, else f16 where it holds every weight exactly. Raises InputError."""
    if asked is None:
        return "f16" if all(exact(tensor) for tensor in weights.values() if tensor.dim() > 1) else "f32"
    if asked not in PRECISIONS:
        hint = did_you_mean(asked, PRECISIONS)
        raise InputError(f"--precision {asked}", "no such precision", f"{hint}There is: {', '.join(PRECISIONS)}.")
    return asked


def exact(tensor: Tensor) -> bool:
    """Whether half precision holds it as it is."""
    return tensor.dtype == torch.float16 or torch.equal(tensor.half().to(tensor.dtype), tensor)


def rounded(tensor: Tensor, precision: str) -> Tensor:
    """As the file holds it: matrices in its precision, vectors in fp32."""
    return tensor.to(PRECISIONS[precision] if tensor.dim() > 1 else torch.float32)


def neighbours(matrix: Tensor, heads: int) -> Tensor:
    """(H * C, D): rows of each head so that the pairs to be turned, i and i + C/2 here, stand side by side there."""
    return matrix.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def halves(matrix: Tensor, heads: int) -> Tensor:
    """The inverse of neighbours."""
    return matrix.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def turned_heads(name: str, sizes: Sizes) -> int | None:
    """The heads of a map whose rows stand in another order there, by the name of transformers; None: as they are."""
    own = name.split(".")[-2]
    return getattr(sizes, TURNED[own]) if own in TURNED else None


def names(sizes: Sizes) -> dict[str, str]:
    """Names in transformers → names in the file."""
    import gguf

    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, sizes.layers)
    return {name: str(known.get_name(name, (".weight",))) for name in wanted(sizes)}


def tensors(weights: Mapping[str, Tensor], sizes: Sizes, precision: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each tensor of the file."""
    theirs = names(sizes)
    for name, tensor in weights.items():
        heads = turned_heads(name, sizes)
        yield theirs[name], rounded(tensor if heads is None else neighbours(tensor, heads), precision).numpy()


def write(
    path: Path, title: str, weights: Mapping[str, Tensor], sizes: Sizes, vocabulary: Vocabulary, precision: str
) -> None:
    """Write the file. title: of the model, as tools show it."""
    import gguf

    writer = gguf.GGUFWriter(path, SHAPE)
    try:
        describe(writer, title, sizes, precision)
        add_vocabulary(writer, vocabulary)
        for name, values in tensors(weights, sizes, precision):
            writer.add_tensor(name, np.ascontiguousarray(values))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def describe(writer: Any, title: str, sizes: Sizes, precision: str) -> None:
    """What kind of model it is, and its sizes."""
    import gguf

    kinds = gguf.LlamaFileType
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(title)
    writer.add_file_type(kinds.MOSTLY_F16 if precision == "f16" else kinds.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(sizes.layers)
    writer.add_context_length(sizes.context)
    writer.add_embedding_length(sizes.width)
    writer.add_feed_forward_length(sizes.intermediate)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.key_heads)
    writer.add_key_length(sizes.head_width)
    writer.add_value_length(sizes.head_width)
    writer.add_rope_dimension_count(sizes.head_width)
    writer.add_rope_freq_base(sizes.rope)
    writer.add_layer_norm_rms_eps(sizes.epsilon)
    writer.add_vocab_size(sizes.vocabulary)


def add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """The tokenizer, as llama.cpp's `gpt2`."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")  # which pattern cuts a text into words: GPT-2's
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    for role, number in vocabulary.special.items():
        getattr(writer, f"add_{role}_token_id")(number)
    writer.add_add_bos_token(vocabulary.begins)
    writer.add_add_eos_token(vocabulary.ends)
    writer.add_add_space_prefix(False)


def changed(
    read: Read, weights: Mapping[str, Tensor], sizes: Sizes, vocabulary: Vocabulary, precision: str
) -> list[str]:
    """What a file that was read back says otherwise than the folder: names of tensors and keys."""
    facts, theirs = read.facts, names(sizes)
    told = {
        "llama.context_length": sizes.context,
        "llama.block_count": sizes.layers,
        "llama.vocab_size": sizes.vocabulary,
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": vocabulary.kinds,
        "tokenizer.ggml.merges": vocabulary.merges,
        "tokenizer.ggml.eos_token_id": vocabulary.special["eos"],
        "tokenizer.ggml.add_bos_token": vocabulary.begins,
    }
    found = [key for key, value in told.items() if facts.get(key) != value]
    if len(read.tensors) != len(weights):
        found.append("the number of tensors")
    for name, tensor in weights.items():
        heads, kept = turned_heads(name, sizes), read.tensors.get(theirs[name])
        back = kept if kept is None or heads is None else halves(kept, heads)
        if back is None or not torch.equal(back, rounded(tensor, precision)):
            found.append(theirs[name])
    return found
