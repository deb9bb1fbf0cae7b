"""`firth export`, whatever the form: equal or not there at all; what is refused, word for word; what is compared."""

import json
from pathlib import Path

import pytest
import torch

import firth
from firth.errors import InputError, RunError
from firth.evaluate import exports
from firth.evaluate.export import export
from firth.interop import check
from firth.interop.check import Checked, apart, compared, refuse_apart
from firth.signal import Batch
from tests.exported import text, write_model
from tests.llamas import byte_level, write_llama
from tests.runs import Told
from tests.test_bad_input import firth as command
from tests.test_bad_input import listing


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    write_model(folder / "film", "bert", "classify")
    write_model(folder / "bare", "modernbert", None)
    write_llama(folder / "llama", byte_level())
    (folder / "taken").mkdir()
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "run.json").write_text(json.dumps({"status": "running"}))
    return folder


# ------------------------------------------------------------------ equal, or not there


def test_an_export_says_what_it_was_compared_with(desk, tmp_path):
    told = Told()
    done = export(desk / "film", "hf", tmp_path / "out", show=told)
    assert list(told.lines) == ["Model", "Plan", "Checked", "Saved"]
    assert told.lines["Model"].startswith("BERT-shaped, 2 layers × 32, ")
    assert told.lines["Model"].endswith(" · classify (3 classes)")
    assert "Hugging Face folder · config.json, tokenizer.json, " in told.lines["Plan"]
    assert done.status == "finished" and done.bytes == sum(one.stat().st_size for one in (tmp_path / "out").iterdir())
    assert done.differences["firth"] == 0
    assert json.dumps(done.as_dict())


def test_an_export_that_is_not_equal_is_not_kept(desk, tmp_path, monkeypatch):
    far = Checked(0.01, ("logits",), 4, (1, 4), (3, 24))
    monkeypatch.setattr(exports.Hf, "check", lambda self, out: iter([("other tool 1.0", far)]))
    with pytest.raises(RunError) as caught:
        export(desk / "film", "hf", tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: other tool 1.0 gives other numbers than the model: logits: at most 0.01 apart in 4 "
        "batches of 1 to 4 texts, 3 to 24 tokens. Nothing was kept; try other versions of the packages, and please "
        "report it."
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(desk, tmp_path, monkeypatch):
    def halted(self, out):
        raise KeyboardInterrupt

    monkeypatch.setattr(exports.Hf, "check", halted)
    with pytest.raises(KeyboardInterrupt):
        export(desk / "film", "hf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(desk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("export", desk / "film", "--to", "onnx", "--dry-run", "--json")
    assert done.exit_code == 0
    planned = {"out": "film-onnx", "to": "onnx", "status": "planned", "bytes": 0, "differences": {}}
    assert json.loads(done.stdout) == planned
    assert "input_ids, attention_mask, token_type_ids (batch × steps) → logits (batch × 3)" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("to", "name"), [("onnx", "film-onnx"), ("hf", "film-hf"), ("gguf", "llama.gguf")])
def test_without_out_it_is_named_after_the_model(desk, tmp_path, monkeypatch, to, name):
    monkeypatch.chdir(tmp_path)
    assert export(desk / name.partition("-")[0].removesuffix(".gguf"), to, dry_run=True).out == name


def test_it_is_a_verb_of_the_package_too(desk):
    assert firth.export.__wrapped__ is export


def test_a_model_without_a_head_gives_vectors(desk):
    told = Told()
    export(desk / "bare", "onnx", "never", dry_run=True, show=told)
    assert "last_hidden_state (batch × steps × 32), sentence_embedding (batch × 32)" in told.lines["Plan"]


# ------------------------------------------------------------------ what is refused

FORMS = "There is: gguf, hf, onnx."
REFUSED = {
    "film --to onx": f"--to onx: no such form.\nDid you mean `onnx`? {FORMS}",
    "film --to pickle": f"--to pickle: no such form.\n{FORMS}",
    "film --to hf --vectors": "--vectors: means nothing with --to hf.\nLeave it out, or say --to onnx.",
    "film --to onnx --precision f16": "--precision: means nothing with --to onnx.\nLeave it out, or say --to gguf.",
    "llama --to gguf --precision f61": "--precision f61: no such precision.\nDid you mean `f16`? There is: f32, f16.",
    "film --to onnx --out taken": "--out taken: is there already.\nChoose another name, or remove it first.",
    "film --to onnx --out no/where": "--out no/where: lies in a folder that does not exist.\nMake it: mkdir -p no",
    "nowhere --to hf --out new": "nowhere: no such folder.\n"
    "Give a run folder, or a folder with config.json and model.safetensors.",
    "unfinished --to hf --out new": "unfinished: is a run without a model: it is not finished.\n"
    "Run its command again; it goes on.",
    "llama --to onnx": "llama: is of the shape `llama`, and ONNX is written of bert, modernbert, vit, resnet.\n"
    "Say --to gguf, or --to hf.",
    "film --to gguf": "film/config.json: is a model of the shape `bert`, and GGUF is written of `llama` only.\n"
    "Say --to onnx; it opens in other tools.",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_refused(desk, monkeypatch, words):
    monkeypatch.chdir(desk)
    before = listing(desk)
    done = command("export", *words.split())
    assert (done.exit_code, done.stderr.strip()) == (2, REFUSED[words])
    assert listing(desk) == before


@pytest.mark.parametrize(
    ("to", "model", "package", "names"),
    [("onnx", "film", "onnxscript", "onnxscript"), ("gguf", "llama", "gguf", "gguf")],
)
def test_a_missing_package_is_named_with_its_extra(desk, monkeypatch, to, model, package, names):
    monkeypatch.setattr(check, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(InputError) as caught:
        export(desk / model, to, "never", dry_run=True)
    assert str(caught.value) == (
        f"--to {to}: wants the package {names}. "
        "Install what it wants: pip install '.[export]' (in the folder of firth)."
    )


def test_several_missing_packages_are_named_together(monkeypatch):
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="wants the packages onnx and onnxruntime"):
        check.need("--to onnx", ("onnx", "onnxruntime"), "export")


# ------------------------------------------------------------------ how far apart


def test_batches_have_short_long_uneven_and_paired_samples():
    found = check.check_batches(text())
    assert [tuple(batch["tokens"].shape) for batch in found] == [(1, 3), (1, 24), (4, 24), (3, 21)]
    assert ["pad" in batch for batch in found] == [False, False, True, True]
    assert found[3]["segments"].max() == 1 and "segments" not in found[2]
    again = check.check_batches(text())
    assert all(torch.equal(one["tokens"], two["tokens"]) for one, two in zip(found, again, strict=True))


@pytest.mark.parametrize("context", [1, 7, 64, 100_000])
def test_batches_without_padding_fit_the_context(context):
    found = check.plain_batches(50, context)
    assert [len(batch["tokens"]) for batch in found] == [1, 1, 3]
    assert found[1]["tokens"].shape[1] == min(context, check.LONGEST)
    assert all(batch["tokens"].min() >= 0 and batch["tokens"].max() < 50 for batch in found)


def test_difference_is_absolute_up_to_one_and_relative_beyond():
    one = torch.tensor([[0.5, -0.5]])
    assert apart(one, one + 0.25) == 0.25
    assert apart(40 * one, 40 * one + 0.25) == pytest.approx(0.25 / 20)


def test_padding_does_not_count_and_other_sizes_are_infinitely_far():
    one, pad = torch.zeros(2, 3, 4), torch.tensor([[False, False, True], [False] * 3])
    other = one.clone()
    other[0, 2] = 9
    assert apart(one, other) == 9 and apart(one, other, pad) == 0
    assert apart(one, torch.zeros(2, 3, 5)) == float("inf")


def batches(*sizes) -> list[Batch]:
    made = [Batch(tokens=torch.ones(size, dtype=torch.int64)) for size in sizes]
    for batch in made[1:]:
        batch["pad"] = torch.zeros(batch["tokens"].shape, dtype=torch.bool)
        batch["pad"][0, -1] = True
    return made


def test_outputs_as_long_as_the_batch_are_known_by_their_lengths():
    """(B, T) per step beside (B, 3) per sample, at T = 3: only the first has padding."""

    def ours(batch):
        tokens = batch["tokens"].double()
        return {"steps": tokens, "sample": tokens.new_zeros(len(tokens), 3), "mine": tokens}

    def theirs(batch):
        found = {name: value.clone() for name, value in ours(batch).items() if name != "mine"}
        if "pad" in batch:
            found["steps"][batch["pad"]] = 5
            found["sample"][0, -1] = 0.5
        return found

    found = compared(ours, theirs, batches((1, 2), (2, 3)))
    assert found == Checked(0.5, ("steps", "sample"), 2, (1, 2), (2, 3))


def test_an_output_of_one_number_for_each_text_is_compared_too():
    found = compared(*(lambda batch: {"number": batch["tokens"][:, 0].double()},) * 2, batches((1, 2), (2, 3)))
    assert found.outputs == ("number",) and found.difference == 0


def test_what_is_no_number_is_never_near():
    def ours(batch):
        return {"logits": batch["tokens"].double()}

    def theirs(batch):
        return {"logits": batch["tokens"].double() * float("nan")}

    found = compared(ours, theirs, batches((1, 2)))
    with pytest.raises(RunError, match="gives other numbers than the model: logits: at most nan apart"):
        refuse_apart("out", found, "tool")
    with pytest.raises(RunError, match="tool gives no output of the model's"):
        refuse_apart("out", compared(ours, lambda batch: {}, batches((1, 2)))._replace(outputs=()), "tool")
