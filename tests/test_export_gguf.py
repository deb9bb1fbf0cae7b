"""`firth export --to gguf`: read back whole, equal logits by llama.cpp's formulas and by transformers, equal tokens."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.errors import InputError, RunError
from firth.evaluate.export import export
from firth.evaluate.exports import Gguf, Options
from firth.interop import gguf
from firth.interop.gguf_read import Read, merged
from firth.interop.gguf_vocabulary import letters, vocabulary_of
from tests import llamas
from tests.exported import write_writer
from tests.llamas import END, FOREIGN, KINDS, UNKNOWN, write_llama

package = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

SHAPES = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "a key for each query": {"num_key_value_heads": 4},
    "one key for all": {"num_key_value_heads": 1},
    "wide heads": {"head_dim": 16},
    "other constants": {"rms_norm_eps": 1e-3, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rows without a token": {"vocab_size": 416},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama") / "small", llamas.byte_level())


@pytest.fixture(scope="module")
def file(model) -> Path:
    out = model.parent / "small.gguf"
    export(model, "gguf", out)
    return out


@pytest.fixture
def copied(model, tmp_path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def edit(folder: Path, name: str, **changes) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ------------------------------------------------------------------ equal


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_folder(shape, tmp_path):
    done = export(write_llama(tmp_path / "model", llamas.byte_level(), **SHAPES[shape]), "gguf", tmp_path / "m.gguf")
    assert len(done.differences) == 2 and all(found < 1e-5 for found in done.differences.values())


@pytest.mark.parametrize("shape", ["untied", "tied"])
def test_transformers_opens_the_file_with_equal_logits(shape, tmp_path):
    """Once more from the beginning, by nothing of ours."""
    write_llama(tmp_path / "model", llamas.byte_level(), **SHAPES[shape])
    export(tmp_path / "model", "gguf", tmp_path / "m.gguf")
    one = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    two = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf").eval()
    tokens = torch.arange(60).view(2, 30)
    with torch.no_grad():
        torch.testing.assert_close(two(tokens).logits, one(tokens).logits, rtol=0, atol=1e-6)
    assert {name: tensor.shape for name, tensor in one.state_dict().items()} == {
        name: tensor.shape for name, tensor in two.state_dict().items()
    }


def test_the_tokenizer_of_the_file_is_that_of_the_folder(model, file):
    one = transformers.AutoTokenizer.from_pretrained(model)
    two = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for text in (*llamas.texts()[:5], FOREIGN, "It's 10:45;\n\n  they'll sail."):
        plain = one(text, add_special_tokens=False).input_ids
        assert two(text, add_special_tokens=False).input_ids == plain == Read(file).encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tokenizer_that_can_be_held_cuts_alike(kind, tmp_path):
    tokenizer = KINDS[kind]()
    write_llama(tmp_path / "model", tokenizer)
    export(tmp_path / "model", "gguf", tmp_path / "m.gguf")
    read = Read(tmp_path / "m.gguf")
    for text in llamas.texts():
        assert read.encode(text) == tokenizer.encode(text, add_special_tokens=False).ids
    assert read.facts["tokenizer.ggml.add_bos_token"] is True


@pytest.mark.parametrize("own", [{}, {"tied": False}, {"key_heads": 1}], ids=["tied", "untied", "one key"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_firth_trains_is_held(kind, own, tmp_path):
    """The logits to be met are firth's own then."""
    write_writer(tmp_path / "model", kind, **own)
    assert Gguf(tmp_path / "model", Options()).subject.name == "next-token"
    done = export(tmp_path / "model", "gguf", tmp_path / "m.gguf")
    assert len(done.differences) == 2 and all(found < 1e-5 for found in done.differences.values())
    facts = Read(tmp_path / "m.gguf").facts
    assert facts["tokenizer.ggml.tokens"][facts["tokenizer.ggml.eos_token_id"]] == END


def test_unknown_characters_are_left_out(tmp_path):
    tokenizer = llamas.of_characters()
    export(write_llama(tmp_path / "model", tokenizer), "gguf", tmp_path / "m.gguf")
    ids = tokenizer.encode("a¤b×", add_special_tokens=False).ids
    unknown = tokenizer.token_to_id(UNKNOWN)
    assert ids.count(unknown) == 2
    assert Read(tmp_path / "m.gguf").encode("a¤b×") == [number for number in ids if number != unknown]


def test_what_the_file_says(model, file):
    facts = Read(file).facts
    told = {
        "general.architecture": "llama",
        "general.name": "small",
        "general.file_type": 0,
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 10_000.0,
        "llama.vocab_size": 400,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_eos_token": False,
    }
    assert {key: facts[key] for key in told} == told
    assert facts["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    assert facts["tokenizer.ggml.tokens"][0] == END and facts["tokenizer.ggml.token_type"][:2] == [3, 1]


def test_rows_without_a_token_are_unused(tmp_path):
    folder = write_llama(tmp_path / "model", llamas.byte_level(), vocab_size=416)
    made = vocabulary_of(folder, 416)
    assert made.tokens[400:402] == ["[PAD400]", "[PAD401]"] and set(made.kinds[400:]) == {5}


# ------------------------------------------------------------------ precision


def test_f16_is_chosen_where_it_is_exact(copied, tmp_path):
    tensors = {name: value.half() for name, value in load_file(copied / "model.safetensors").items()}
    assert gguf.precision_of(None, {name: value.float() for name, value in tensors.items()}) == "f16"
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    done = export(copied, "gguf", tmp_path / "m.gguf")
    assert all(found < 1e-5 for found in done.differences.values())
    kinds = {one.name: one.tensor_type.name for one in package.GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "F16" and kinds["output_norm.weight"] == "F32"


@pytest.mark.parametrize(
    ("value", "exact"), [(0.5, True), (0.1, False), (1e6, False), (2.0**-24, True), (2.0**-25, False)]
)
def test_what_half_precision_holds(value, exact):
    assert gguf.exact(torch.tensor([[value, 1.0]])) is exact


def test_f16_on_request_is_compared_with_the_rounded_weights(model, tmp_path):
    done = export(model, "gguf", tmp_path / "m.gguf", precision="f16")
    assert all(found < 1e-5 for found in done.differences.values())
    weights = load_file(model / "model.safetensors")
    read = Read(tmp_path / "m.gguf")
    kept, own = read.tensors["blk.1.ffn_up.weight"], weights["model.layers.1.mlp.up_proj.weight"]
    torch.testing.assert_close(kept, own.half(), rtol=0, atol=0)


# ------------------------------------------------------------------ parts


def test_rows_of_a_head_are_reordered_and_back():
    """Heads of 6: pairs (0, 3), (1, 4), (2, 5) become neighbours."""
    matrix = torch.arange(12)[:, None] * torch.ones(1, 2)
    found = gguf.neighbours(matrix, 2)
    assert found[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    torch.testing.assert_close(gguf.halves(found, 2), matrix)


def test_the_earliest_pair_is_joined_first_and_the_leftmost_of_equals():
    ranks = {("a", "b"): 1, ("b", "c"): 0, ("a", "bc"): 2, ("a", "a"): 3}
    assert merged(list("abc"), ranks) == ["abc"]
    assert merged(list("aaa"), ranks) == ["aa", "a"]
    assert merged([], ranks) == [] and merged(["x"], ranks) == ["x"]


def test_letters_of_bytes_are_those_of_gpt_2():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    theirs = bytes_to_unicode()
    for sign in {*FOREIGN, "\n", " ", "\x00", "é", "\U0001f642"}:
        assert letters(sign) == "".join(theirs[byte] for byte in sign.encode())


def test_each_tensor_is_read_back(model, file):
    sizes, read = gguf.sizes_of(model), Read(file)
    weights = gguf.weights_of(model, sizes)
    made = vocabulary_of(model, sizes.vocabulary)
    assert gguf.changed(read, weights, sizes, made, "f32") == []
    read.tensors["blk.1.attn_q.weight"] += 1e-3
    read.facts["llama.context_length"] = 65
    assert gguf.changed(read, weights, sizes, made, "f32") == ["llama.context_length", "blk.1.attn_q.weight"]


@pytest.mark.parametrize("wrong", ["rows as they are", "a token less"])
def test_a_file_that_is_not_equal_is_not_kept(model, tmp_path, monkeypatch, wrong):
    if wrong == "rows as they are":
        monkeypatch.setattr(gguf, "neighbours", lambda matrix, heads: matrix)
    else:
        monkeypatch.setattr(gguf, "add_vocabulary", lambda writer, vocabulary: add_less(writer, vocabulary))
    with pytest.raises(RunError):
        export(model, "gguf", tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


def add_less(writer, vocabulary, add=gguf.add_vocabulary):
    add(writer, vocabulary._replace(tokens=vocabulary.tokens[:-1]))


def test_without_rows_in_order_the_logits_are_others(model, file):
    """The formula is not blind to what it checks."""
    read, tokens = Read(file), torch.arange(40)[None]
    before = read.logits(tokens)
    read.tensors["blk.0.attn_q.weight"] = gguf.halves(read.tensors["blk.0.attn_q.weight"], 4)
    assert (read.logits(tokens) - before).abs().max() > 1e-2


# ------------------------------------------------------------------ what is refused


def refused(folder: Path) -> str:
    """The message, without the place."""
    with pytest.raises(InputError) as caught:
        export(folder, "gguf", folder.parent / "never.gguf")
    assert not (folder.parent / "never.gguf").exists()
    return str(caught.value).replace(str(folder), "M")


CONFIG = {
    "hidden_act": ("gelu", "activation `gelu`"),
    "attention_bias": (True, "attention_bias"),
    "mlp_bias": (True, "mlp_bias"),
    "rope_parameters": ({"rope_type": "llama3", "rope_theta": 5e5}, "rope_type `llama3`"),
    "rope_scaling": ({"type": "linear", "factor": 2.0}, "rope_type `linear`"),
}


@pytest.mark.parametrize("key", CONFIG)
def test_settings_that_the_architecture_lacks(copied, key):
    value, what = CONFIG[key]
    edit(copied, "config.json", **({"rope_parameters": None} if key == "rope_scaling" else {}), **{key: value})
    assert refused(copied) == f"M/config.json: {what}: llama.cpp's `llama` has no such thing. Say --to hf."


def test_another_shape(copied):
    edit(copied, "config.json", model_type="gpt2")
    expected = (
        "M/config.json: is a model of the shape `gpt2`, and GGUF is written of `llama` only. Say --to hf; it opens "
    )
    assert refused(copied) == expected + "in other tools."


def test_an_encoder_alone(tmp_path):
    folder = write_llama(tmp_path / "model", llamas.byte_level(), tie_word_embeddings=True)
    edit(folder, "config.json", architectures=["LlamaModel"])
    assert refused(folder) == "M: is the encoder alone, and nothing in it writes on. Say --to hf."


def test_weights_that_do_not_fit(copied):
    tensors = load_file(copied / "model.safetensors")
    save_file(tensors | {"model.extra.weight": torch.ones(2)}, copied / "model.safetensors")
    assert refused(copied) == "M: holds `model.extra.weight`, for which llama.cpp's `llama` has no place. Say --to hf."
    save_file(tensors | {"model.norm.weight": torch.ones(2)}, copied / "model.safetensors")
    same = "Take config.json and the weights from the same model."
    assert refused(copied) == f"M: `model.norm.weight` is 2 in the weights and 32 by config.json. {same}"
    del tensors["lm_head.weight"]
    save_file(tensors, copied / "model.safetensors")
    assert refused(copied) == f"M: has no weights for `lm_head.weight`. {same}"


OTHER = "Say --to hf, or train with text.tokenizer=bpe."
TOKENIZERS = {
    "lowercase": (lambda: llamas.byte_level(lowercase=True), "lowers the case of letters"),
    "pieces": (llamas.of_pieces, "holds a vocabulary of the kind WordPiece"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers_that_cannot_be_held(name, tmp_path):
    made, what = TOKENIZERS[name]
    told = refused(write_llama(tmp_path / "model", made()))
    assert told == f"M/tokenizer.json: {what}, which llama.cpp's tokenizer `gpt2` does not know. {OTHER}"


def changed_tokenizer(folder: Path, **changes) -> None:
    edit(folder, "tokenizer.json", **changes)


SPLIT = {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False}
PREFIX = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
CHANGED = {
    "NFC": ({"normalizer": {"type": "NFC"}}, "changes texts before it cuts them (NFC)"),
    "split": ({"pre_tokenizer": SPLIT}, "cuts texts into words in its own way (Split)"),
    "blank": ({"pre_tokenizer": PREFIX}, "cuts texts into words in its own way (ByteLevel)"),
    "plain": ({"pre_tokenizer": None}, "joins pairs of characters, not of bytes"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_ways_to_cut_that_cannot_be_held(copied, name):
    changes, what = CHANGED[name]
    changed_tokenizer(copied, **changes)
    assert refused(copied) == f"M/tokenizer.json: {what}, which llama.cpp's tokenizer `gpt2` does not know. {OTHER}"


def test_another_frame(copied):
    tree = json.loads((copied / "tokenizer.json").read_text())
    number = tree["model"]["vocab"]["a"]
    pieces = [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    frame = {"type": "TemplateProcessing", "single": pieces, "pair": pieces,
             "special_tokens": {"a": {"id": "a", "ids": [number], "tokens": ["a"]}}}  # fmt: skip
    changed_tokenizer(copied, post_processor=frame)
    what = "M/tokenizer.json: frames a text by other tokens than bos and eos, which llama.cpp does not"
    assert refused(copied) == f"{what}. {OTHER}"


def test_a_tokenizer_without_an_end(copied):
    edit(copied, "tokenizer_config.json", eos_token=None)
    what = "M/tokenizer_config.json: names no `eos_token`, and llama.cpp ends a text by it"
    assert refused(copied) == f"{what}. Name the token that ends one."


def test_no_tokenizer_and_a_damaged_one(copied):
    (copied / "tokenizer.json").write_text("{}")
    assert re.match(r"M/tokenizer\.json: is no tokenizer \(.*\)\. Give the folder of a model", refused(copied))
    (copied / "tokenizer.json").unlink()
    assert refused(copied) == "M/tokenizer.json: is not there. Give the folder of a model with its tokenizer."


def test_more_tokens_than_rows(copied):
    edit(copied, "config.json", vocab_size=300)
    tensors = load_file(copied / "model.safetensors")
    tensors |= {name: tensors[name][:300].clone() for name in ("model.embed_tokens.weight", "lm_head.weight")}
    save_file(tensors, copied / "model.safetensors")
    what = "M/tokenizer.json: has 400 tokens, and the model 300 rows for them"
    assert refused(copied) == f"{what}. Take tokenizer and weights from the same model."


def test_a_token_beyond_the_rows(copied):
    tree = json.loads((copied / "tokenizer.json").read_text())
    tree["model"]["vocab"]["a"] = 5000
    (copied / "tokenizer.json").write_text(json.dumps(tree))
    what = "M/tokenizer.json: has a token of number 5,000, and the model 400 rows for them"
    assert refused(copied) == f"{what}. Take tokenizer and weights from the same model."


def test_a_key_is_missing_or_means_nothing(copied):
    edit(copied, "config.json", num_hidden_layers=10**9)
    assert refused(copied).startswith("M/config.json: describes no model: layers: Input should be less")
    tree = json.loads((copied / "config.json").read_text())
    del tree["intermediate_size"]
    (copied / "config.json").write_text(json.dumps(tree))
    assert refused(copied).startswith("M/config.json: has no `intermediate_size`. ")


def test_the_formula_is_that_of_the_architecture(file):
    """One step, written out in NumPy and double precision: at step 0 nothing is turned, and nothing else is seen."""
    read = Read(file)

    def weight(name, layer=None) -> np.ndarray:
        return read.weight(name, layer).double().numpy()

    def normed(values, name, layer=None) -> np.ndarray:
        epsilon = read.number("attention.layer_norm_rms_epsilon")
        return values / np.sqrt((values**2).mean() + epsilon) * weight(name, layer)

    x = weight("token_embd")[7]
    for layer in range(2):
        value = (weight("attn_v", layer) @ normed(x, "attn_norm", layer)).reshape(2, 8).repeat(2, axis=0).reshape(-1)
        x = x + weight("attn_output", layer) @ value
        inner = normed(x, "ffn_norm", layer)
        gate = weight("ffn_gate", layer) @ inner
        x = x + weight("ffn_down", layer) @ (gate / (1 + np.exp(-gate)) * (weight("ffn_up", layer) @ inner))
    expected = weight("output") @ normed(x, "output_norm")
    np.testing.assert_allclose(read.logits(torch.tensor([[7]]))[0, 0].numpy(), expected, atol=1e-4)
