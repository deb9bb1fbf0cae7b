"""llama.cpp itself on an exported file: the same tokens of a text, and the same tokens written on, one by one.

`make test-slow` installs it (npm, node-llama-cpp) beside the virtual environment; elsewhere FIRTH_NODE names a folder
with node_modules.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from firth.evaluate.export import export
from firth.evaluate.exports import subject_of
from firth.signal import Batch
from tests import exported, llamas
from tests.exported import write_writer
from tests.llamas import FOREIGN, KINDS, write_llama

pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

SOURCE = Path(os.environ.get("FIRTH_NODE", Path(sys.prefix) / "node")) / "node_modules/node-llama-cpp/dist/index.js"
SCRIPT = Path(__file__).parent / "llama_cpp.mjs"
PROMPTS = ["The wide ship", "It's 10:45;\n\n  they'll sail.", FOREIGN, "a"]
COUNT = 12  # tokens written on
CONTEXT = 128  # room for each prompt in bytes, and what is written

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("node") and SOURCE.is_file()), reason="no node, or no node-llama-cpp for it"),
]


def by_llama_cpp(file: Path, prompts: list[str], context: int = CONTEXT) -> dict:
    asked = json.dumps({"prompts": prompts, "count": COUNT, "context": context})
    words = ["node", str(SCRIPT), str(SOURCE), str(file), asked]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def by_transformers(folder: Path, ids: list[int]) -> list[int]:
    """Each step from the beginning, without a cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = list(ids)
    with torch.no_grad():
        for _ in range(COUNT):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(ids) :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", [{}, {"tie_word_embeddings": True}, {"head_dim": 16}], ids=["untied", "tied", "wide"])
def test_llama_cpp_writes_the_same_tokens(kind, own, tmp_path):
    tokenizer = KINDS[kind]()
    model = write_llama(tmp_path / "model", tokenizer, max_position_embeddings=CONTEXT, **own)
    export(model, "gguf", tmp_path / "m.gguf", precision="f32")
    found = by_llama_cpp(tmp_path / "m.gguf", PROMPTS)
    assert (found["bos"], found["eos"]) == (0, 0)
    for text, one in zip(PROMPTS, found["found"], strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert one["tokens"] == [number for number in ids if number != tokenizer.token_to_id(llamas.UNKNOWN)]
        assert one["written"] == by_transformers(model, [0, *one["tokens"]])


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_writes_what_firth_writes(kind, tmp_path):
    """Of a model in the shape that firth trains, with its tokenizer; whatever token is the likeliest."""
    model = write_writer(tmp_path / "model", kind)
    export(model, "gguf", tmp_path / "m.gguf")
    subject = subject_of(model, False)
    for one in by_llama_cpp(tmp_path / "m.gguf", ["The ship", "a"], exported.CONTEXT)["found"]:
        tokens = [0, *one["tokens"]]
        for written in one["written"]:
            assert int(subject(Batch(tokens=torch.tensor([tokens])))["logits"][0, -1].argmax()) == written
            tokens.append(written)


def test_a_text_comes_back_from_its_tokens(tmp_path):
    export(write_llama(tmp_path / "model", llamas.of_characters()), "gguf", tmp_path / "m.gguf")
    assert [one["text"] for one in by_llama_cpp(tmp_path / "m.gguf", [FOREIGN])["found"]] == [FOREIGN]


def test_what_the_vocabulary_lacks_is_left_out(tmp_path):
    tokenizer = llamas.of_characters()
    export(write_llama(tmp_path / "model", tokenizer), "gguf", tmp_path / "m.gguf")
    known = tokenizer.encode("ab", add_special_tokens=False).ids
    assert by_llama_cpp(tmp_path / "m.gguf", ["a¤b×"])["found"][0]["tokens"] == known


def test_half_precision_is_read_as_well(tmp_path):
    model = write_llama(tmp_path / "model", llamas.byte_level())
    export(model, "gguf", tmp_path / "m.gguf", precision="f16")
    rounded = transformers.AutoModelForCausalLM.from_pretrained(model).half().float()
    rounded.save_pretrained(tmp_path / "rounded")
    found = by_llama_cpp(tmp_path / "m.gguf", PROMPTS[:1])["found"][0]
    assert found["written"] == by_transformers(tmp_path / "rounded", [0, *found["tokens"]])
