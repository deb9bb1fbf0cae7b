"""`firth export --to onnx`: onnxruntime gives what firth gives, for texts of any number and length, with padding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from firth.evaluate.export import export
from firth.evaluate.exports import subject_of
from firth.evaluate.predict import load
from firth.evaluate.vectors import embed
from firth.interop import onnx
from firth.interop.check import check_batches, compared
from firth.signal import Sample
from tests.exported import CLASSES, CONTEXT, FORMS, HEADS, shape_named, write_model

pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

TEXTS = ["The wide ship meets the tide.", "The cow.", "A dreadful film about the old clock and the market."]


# ------------------------------------------------------------------ what is traced


@pytest.mark.parametrize("head", [*HEADS, None])
@pytest.mark.parametrize("form", FORMS)
def test_the_graph_computes_what_the_model_computes(form, head, tmp_path):
    subject = subject_of(write_model(tmp_path, form, head), False)
    graph = onnx.Graph(subject.objective, subject.exported).eval()
    names = list(subject.outputs())

    @torch.no_grad()
    def traced(batch):
        given = onnx.fed(batch)
        found = graph(*(torch.from_numpy(given[name]) for name in onnx.inputs_of(subject.backbone.shape).names))
        return dict(zip(names, found, strict=True))

    with onnx.traceable(subject.backbone):
        found = compared(subject, traced, check_batches(subject.signal))
    assert found.outputs == tuple(names) and found.difference < 1e-6


@pytest.mark.parametrize(
    ("form", "steps", "inputs"),
    [("bert", {"max": CONTEXT}, 3), ("modernbert", {}, 2), ("local", {"min": 8 // 2 + 2}, 2)],
)
def test_the_lengths_that_are_traced_for(form, steps, inputs):
    assert onnx.limits(shape_named(form)) == steps
    assert onnx.inputs_of(shape_named(form)).names == ["input_ids", "attention_mask", "token_type_ids"][:inputs]


def test_the_model_is_as_before_when_it_was_traced(tmp_path):
    backbone = subject_of(write_model(tmp_path, "local", None), False).backbone
    before = backbone.encoder.rotary
    with pytest.raises(ZeroDivisionError), onnx.traceable(backbone):
        assert isinstance(backbone.encoder.rotary[True], onnx.Angles)
        raise ZeroDivisionError
    assert backbone.encoder.rotary is before


# ------------------------------------------------------------------ what is written


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> tuple[Path, Path]:
    """A model of pairs of texts, and its export."""
    folder = tmp_path_factory.mktemp("pairs")
    model = write_model(folder / "model", "bert", "pairs", layers=1)
    assert export(model, "onnx", folder / "out").differences[f"onnxruntime {runtime.__version__}"] < 1e-5
    return model, folder / "out"


def test_the_folder_is_whole(pairs):
    model, out = pairs
    names = sorted(one.name for one in out.iterdir())
    assert names == ["config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"]
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {str(number): name for number, name in enumerate(CLASSES)}
    assert (out / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


def test_sizes_are_named_and_free(pairs):
    opened = onnx.Opened(pairs[1] / "model.onnx")
    assert opened.inputs == ["input_ids", "attention_mask", "token_type_ids"] and opened.outputs == ["logits"]
    assert [one.shape for one in opened.session.get_inputs()] == [["batch", "steps"]] * 3
    assert [one.shape for one in opened.session.get_outputs()] == [["batch", 3]]


@pytest.mark.parametrize("lengths", [(1,), (2,), (CONTEXT - 2,), (1, 5), (9, 2, 22, 1, 1, 14)])
def test_any_number_and_length_of_texts(pairs, lengths):
    """Batch 1 and steps 3 among them: sizes that tracing may take for constants."""
    subject, opened = subject_of(pairs[0], False), onnx.Opened(pairs[1] / "model.onnx")
    source = np.random.default_rng(len(lengths))
    samples = [Sample((source.integers(5, 60, length).astype(np.int32),), 0) for length in lengths]
    batch = subject.signal.stack(samples)
    together = opened(batch)["logits"]
    torch.testing.assert_close(together, subject(batch)["logits"], rtol=0, atol=1e-5)
    alone = torch.cat([opened(subject.signal.stack([sample]))["logits"] for sample in samples])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_with_the_tokenizer_beside_it_it_predicts_as_firth_does(pairs):
    """What another program does: tokenizer.json, onnxruntime, a softmax."""
    model, out = pairs
    given = [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[0])]
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
    tokenizer.enable_truncation(CONTEXT)
    found = tokenizer.encode_batch(given)
    inputs = {"input_ids": [one.ids for one in found], "attention_mask": [one.attention_mask for one in found],
              "token_type_ids": [one.type_ids for one in found]}  # fmt: skip
    session = runtime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {name: np.array(value, np.int64) for name, value in inputs.items()})
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = [one.probabilities for one in load(model).predict(given)]
    np.testing.assert_allclose(shares, [[one[name] for name in CLASSES] for one in said], atol=1e-5)


# ------------------------------------------------------------------ every shape and head


@pytest.mark.slow
@pytest.mark.parametrize("head", [*HEADS, None])
@pytest.mark.parametrize("form", FORMS)
def test_every_shape_and_head(form, head, tmp_path):
    done = export(write_model(tmp_path / "model", form, head, layers=3), "onnx", tmp_path / "out")
    assert done.differences[f"onnxruntime {runtime.__version__}"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("form", ["modernbert", "local"])
def test_rotary_positions_set_no_limit(form, tmp_path):
    """Longer than the context that the model was trained with, and than any table of angles it was traced with."""
    model = write_model(tmp_path / "model", form, None)
    export(model, "onnx", tmp_path / "out")
    subject, opened = subject_of(model, False), onnx.Opened(tmp_path / "out" / "model.onnx")
    long = subject.signal.but(context=700)
    batch = long.stack([Sample((np.arange(n, dtype=np.int32) % 150 + 5,), 0) for n in (698, 3, 130)])
    ours, theirs = subject(batch), opened(batch)
    torch.testing.assert_close(theirs["sentence_embedding"], ours["sentence_embedding"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_vectors_are_those_of_embed(tmp_path):
    model = write_model(tmp_path / "model", "bert", "classify")
    export(model, "onnx", tmp_path / "out", vectors=True)
    subject, opened = subject_of(model, True), onnx.Opened(tmp_path / "out" / "model.onnx")
    assert opened.outputs == ["last_hidden_state", "sentence_embedding"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertModel"]
    batch = subject.signal.stack([Sample((one.ids,), 0) for one in subject.signal.encode(TEXTS)])
    np.testing.assert_allclose(opened(batch)["sentence_embedding"], embed(model, TEXTS), atol=1e-5)


@pytest.mark.slow
def test_large_weights_lie_beside_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "ONE_FILE", 1000)
    export(write_model(tmp_path / "model", "bert", "classify", layers=1), "onnx", tmp_path / "out")
    weights = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 0.8 * weights
