"""`firth export --to hf`: what belongs to the model and nothing else; the same model for firth and for transformers.

The heads of every task, as other tools are given them, are held against the classes of transformers here.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.errors import InputError, RunError
from firth.evaluate.export import export
from firth.evaluate.exports import subject_of
from firth.evaluate.predict import load
from firth.interop import hf
from firth.interop.check import check_batches, compared
from tests.exported import CLASSES, FORMS, HEADS, write_model, write_writer

transformers = pytest.importorskip("transformers")

HELD = {  # by transformers; the other heads lie in firth.safetensors, and its class gives the vectors below them
    "masked-tokens": ("logits",),
    "classify": ("logits",),
    "pairs": ("logits",),
    "number": ("logits",),
    "tag": ("logits",),
    "span": ("start_logits", "end_logits"),
    None: ("last_hidden_state",),
}
OUTPUTS = {("modernbert", "span"): ("last_hidden_state",), ("local", "span"): ("last_hidden_state",)}


@pytest.mark.parametrize("head", [*HEADS, None])
@pytest.mark.parametrize("form", FORMS)
def test_transformers_gives_what_other_tools_are_given(form, head, tmp_path):
    write_model(tmp_path, form, head)
    ours, theirs = subject_of(tmp_path, False), hf.Theirs(tmp_path, hf.class_of(tmp_path))
    found = compared(ours, theirs, check_batches(ours.signal))
    assert found.outputs == OUTPUTS.get((form, head), HELD[head])
    assert found.difference < 1e-5
    answer = ours(check_batches(ours.signal)[2])
    assert all(answer[name].std() > 0.05 for name in found.outputs)


@pytest.mark.parametrize("own", [{}, {"tied": False}], ids=["tied", "untied"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_models_that_write_on_are_handed_on(name, own, tmp_path):
    done = export(write_writer(tmp_path / "model", "bpe", name, **own), "hf", tmp_path / "out")
    assert list(done.differences) == ["firth", f"transformers {transformers.__version__}"]
    assert done.differences[f"transformers {transformers.__version__}"] < 1e-5
    assert (tmp_path / "out" / "generation_config.json").exists()


def test_numbers_are_in_the_unit_of_the_labels(tmp_path):
    subject = subject_of(write_model(tmp_path, "bert", "number"), False)
    answer = subject(check_batches(subject.signal)[3])
    torch.testing.assert_close(answer["number"], answer["logits"][:, 0] * 1.5 + 2.5)
    said = [one.number for one in load(tmp_path).predict([("The ship meets the tide.", "The cow leaves the barn.")])]
    assert len(said) == 1 and abs(said[0] - 2.5) < 20


@pytest.mark.parametrize("form", ["bert", "modernbert"])
def test_only_what_belongs_to_the_model_is_copied(form, tmp_path):
    model = write_model(tmp_path / "run" / "model", form, "span")
    for name in ("README.md", "optimizer.pt", "notes.txt", ".hidden"):
        (model / name).write_text("not for others")
    (model / "checkpoint-10").mkdir()
    export(tmp_path / "run", "hf", tmp_path / "out")
    kept = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    kept |= {"firth.safetensors"} if form == "modernbert" else set()
    assert {one.name for one in (tmp_path / "out").iterdir()} == kept
    assert all((tmp_path / "out" / name).read_bytes() == (model / name).read_bytes() for name in kept)


def test_a_copy_predicts_what_the_model_predicts(tmp_path):
    model = write_model(tmp_path / "model", "bert", "classify")
    done = export(model, "hf", tmp_path / "out")
    assert list(done.differences) == ["firth", f"transformers {transformers.__version__}"]
    texts = ["The wide ship meets the tide.", "The cow."]
    assert list(load(tmp_path / "out").predict(texts)) == list(load(model).predict(texts))
    theirs = transformers.pipeline("text-classification", str(tmp_path / "out"), top_k=None)
    found = {one["label"]: one["score"] for one in theirs(texts[:1])[0]}
    ours = next(load(model).predict(texts)).probabilities
    assert set(ours) == set(CLASSES) and found == pytest.approx(ours, abs=1e-4)


def test_weights_in_several_files_are_copied_as_they_are(tmp_path):
    model = write_model(tmp_path / "model", "bert", "masked-tokens")
    tensors = load_file(model / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, model / file, metadata={"format": "pt"})
    places = {name: file for file, held in parts.items() for name in held}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (model / "model.safetensors").unlink()
    export(model, "hf", tmp_path / "out")
    assert {"model.safetensors.index.json", *parts} <= {one.name for one in (tmp_path / "out").iterdir()}


def test_weights_in_half_precision_stay_as_they_are(tmp_path):
    model = write_model(tmp_path / "model", "modernbert", "classify")
    tensors = {name: value.bfloat16() for name, value in load_file(model / "model.safetensors").items()}
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text()) | {"dtype": "bfloat16"}
    (model / "config.json").write_text(json.dumps(config))
    export(model, "hf", tmp_path / "out")
    assert {value.dtype for value in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.bfloat16}


def test_a_pickle_is_not_handed_on(tmp_path):
    model = write_model(tmp_path / "model", "bert", None)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(InputError, match="holds its weights as a pickle only"):
        export(model, "hf", tmp_path / "out")
    with pytest.raises(InputError, match="holds its weights as a pickle only"):
        hf.files_of(model)


def test_without_transformers_firth_alone_compares(tmp_path, monkeypatch):
    monkeypatch.setattr("firth.evaluate.exports.find_spec", lambda name: None)
    done = export(write_model(tmp_path / "model", "bert", "tag"), "hf", tmp_path / "out")
    assert done.differences == {"firth": 0}


def test_a_copy_that_is_another_model_is_not_kept(tmp_path, monkeypatch):
    model, other = (
        write_model(tmp_path / name, form, "tag") for name, form in (("one", "bert"), ("two", "modernbert"))
    )
    monkeypatch.setattr(hf, "copy", lambda folder, out: shutil.copytree(other, out))
    with pytest.raises(RunError, match="the copy is another model than the original"):
        export(model, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_transformers_would_begin_at_random_are_told(tmp_path):
    write_model(tmp_path, "bert", "classify")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"finds no weights for `classifier\.weight` and begins them at random"):
        hf.Theirs(tmp_path, hf.class_of(tmp_path))
