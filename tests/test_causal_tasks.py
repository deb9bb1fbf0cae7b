"""GPT adapted: the last step of a text, as Llama- and GPT2ForSequenceClassification of transformers have it."""

import json

import pytest
import torch

from firth.errors import InputError
from firth.evaluate.export import export
from firth.evaluate.predict import load
from firth.interop.folder import open_folder, save_folder
from firth.model.encoder import Features
from firth.tasks import _one_label
from firth.train.adapt import adapt
from firth.train.pretrain import pretrain
from tests import labelled_files, llamas, runs
from tests.models import CAUSAL, padding, tokens

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

TEXTS = ["A wonderful film about the ship.", "dreadful", "", "The old captain " * 3, "so-so"]
CLASSES = {0: "no", 1: "perhaps", 2: "yes"}
SETTINGS = ["train.steps=30", "train.batch=8", "train.precision=fp32", "optimizer.lr=3e-3", "text.context=64"]
FORMS = {
    "llama": ("LlamaConfig", "LlamaForSequenceClassification", {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 44,
        "num_key_value_heads": 2, "max_position_embeddings": 128}),
    "gpt2": ("GPT2Config", "GPT2ForSequenceClassification", {
        "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
}  # fmt: skip


def foreign(name: str, folder):
    """A classifier that transformers made, with weights that all matter, beside a byte-level tokenizer."""
    tokenizer = llamas.byte_level()
    end = tokenizer.token_to_id(llamas.END)
    config, made, sizes = FORMS[name]
    told = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": end, "eos_token_id": end, "bos_token_id": end}
    torch.manual_seed(0)
    kind = getattr(transformers, config)(**sizes, **told, id2label=CLASSES, initializer_range=0.3)
    model = getattr(transformers, made)(kind).eval()
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=llamas.END, eos_token=llamas.END, pad_token=llamas.END,
        padding_side="right", model_max_length=128,
    ).save_pretrained(folder)  # fmt: skip
    return model


def by_transformers(model, folder, texts, pairs=None) -> torch.Tensor:
    """(B, L) shares, in one padded batch."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, pairs, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        return model(**batch).logits.softmax(-1)


def shares_of(folder, texts) -> torch.Tensor:
    found = load(folder, device="cpu").predict(texts)
    return torch.tensor([[one.probabilities[name] for name in load(folder).classes] for one in found])


# ------------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("name", FORMS)
def test_a_classifier_of_transformers_says_here_what_it_says_there(name, tmp_path):
    model = foreign(name, tmp_path)
    assert not open_folder(tmp_path).unused
    expected = by_transformers(model, tmp_path, TEXTS)
    assert expected.std() > 0.05
    torch.testing.assert_close(shares_of(tmp_path, TEXTS), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_the_vector_is_the_hidden_state_of_the_last_real_step(name, tmp_path):
    model = foreign(name, tmp_path)
    loaded = load(tmp_path, device="cpu")
    batch = loaded.signal.stack(_one_label.samples_of(loaded.signal, [(text,) for text in TEXTS]))
    ours = loaded.objective.parts["classify"].encode(batch).last
    hidden = model(batch["tokens"], output_hidden_states=True, attention_mask=(~batch["pad"]).long()).hidden_states[-1]
    last = (~batch["pad"]).sum(1) - 1
    torch.testing.assert_close(ours, hidden[range(len(TEXTS)), last], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_what_firth_saves_opens_as_the_class_of_transformers(name, tmp_path):
    shape, end = CAUSAL[name], {"eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    from tests.models import Whole

    whole = Whole(shape)
    state = whole.state_dict() | {"parts.classify.classifier.weight": torch.randn(3, shape.width)}
    save_folder(tmp_path, shape, state, tuple(CLASSES.values()), {"task": "classify", "pooling": "last", **end})
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = tokens().clamp(min=1)
    pad = padding(20, 14, 9)
    ids[pad] = 0
    values = whole.backbone({"tokens": ids, "pad": pad}).values
    expected = Features(values, pad).last @ state["parts.classify.classifier.weight"].T
    torch.testing.assert_close(theirs.eval()(ids, attention_mask=(~pad).long()).logits, expected, rtol=0, atol=1e-4)
    assert open_folder(tmp_path).parts == {"classify"} and not (tmp_path / "generation_config.json").exists()


def test_the_last_step_is_found_whichever_side_is_padded():
    values = torch.arange(24.0).view(2, 4, 3)
    right, left = padding(4, 2, steps=4), ~padding(0, 2, steps=4)
    assert Features(values, right).last.tolist() == [values[0, 3].tolist(), values[1, 1].tolist()]
    assert Features(values, torch.stack([left[0], left[1]])).last[1].tolist() == values[1, 3].tolist()
    assert torch.equal(Features(values).last, values[:, -1])


# ------------------------------------------------------------------ adapted by firth


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal")
    labelled_files.write_pairs(folder)
    reviews = runs.folder() / "reviews.tsv"
    adapt(runs.writer(), [reviews], out=folder / "classify", settings=[*SETTINGS, "train.steps=80"])
    adapt(runs.writer(), [folder / "pairs.tsv"], task="pairs", out=folder / "pairs", settings=SETTINGS)
    numbers = [*SETTINGS, "data.label=closeness"]
    adapt(runs.writer(), [folder / "pairs.tsv"], task="pairs", out=folder / "numbers", settings=numbers)
    return folder


@pytest.mark.parametrize("name", ["classify", "pairs"])
def test_an_adapted_run_opens_in_transformers_with_its_own_numbers(place, name):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place / name / "model").eval()
    assert type(model).__name__ == "LlamaForSequenceClassification" and model.config.pad_token_id is not None
    firsts = [text.strip() or "x" for text in TEXTS] if name == "pairs" else TEXTS
    seconds = ["The ship moves there."] * len(TEXTS) if name == "pairs" else None
    inputs = list(zip(firsts, seconds, strict=True)) if seconds else firsts
    expected = by_transformers(model, place / name / "model", firsts, seconds)
    found = shares_of(place / name, inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_it_learns_and_says_so(place):
    result = json.loads((place / "classify" / "run.json").read_text())["result"]
    assert result["score"]["accuracy"] > 0.8
    config = json.loads((place / "classify" / "model" / "config.json").read_text())
    assert config["firth"]["pooling"] == "last" and config["architectures"] == ["LlamaForSequenceClassification"]


def test_numbers_are_answered_too(place):
    one, two = load(place / "numbers").predict([("A ship moves.", "It moves."), ("A ship moves.", "It sleeps.")])
    assert one.number != two.number
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place / "numbers" / "model")
    assert model.config.num_labels == 1


def test_a_batch_is_as_good_as_each_text_alone(place):
    loaded = load(place / "classify")
    together = list(loaded.predict(TEXTS))
    alone = [next(loaded.predict([text])) for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


# ------------------------------------------------------------------ what it cannot learn


@pytest.mark.parametrize("task", ["span", "tag"])
def test_tasks_that_must_see_both_sides_are_refused(task, tmp_path):
    with pytest.raises(InputError) as caught:
        adapt(runs.writer(), [runs.folder() / "reviews.tsv"], task=task, out=tmp_path / "new")
    assert str(caught.value) == (
        f"--task {task}: must see what comes after a step, and {runs.writer()} reads from left to right. Take a model "
        "that sees both sides (masked tokens), or --task classify or --task pairs or --task verify."
    )
    assert not (tmp_path / "new").exists()


def test_a_mean_over_steps_that_have_not_seen_the_text_is_refused(tmp_path):
    settings = [*SETTINGS, "classify.pooling=mean"]
    with pytest.raises(InputError) as caught:
        adapt(runs.writer(), [runs.folder() / "reviews.tsv"], out=tmp_path / "new", settings=settings)
    assert str(caught.value) == (
        "classify.pooling: the shape `llama` cannot hold `mean`. Leave classify.pooling out, or set it to last."
    )


def test_adapters_are_refused(tmp_path):
    settings = [*SETTINGS, "model.lora=4"]
    with pytest.raises(InputError) as caught:
        adapt(runs.writer(), [runs.folder() / "reviews.tsv"], out=tmp_path / "new", settings=settings)
    assert str(caught.value) == (
        f"model.lora = 4: adapters are made for bert and modernbert, and {runs.writer()} is a llama. Leave it out."
    )


# ------------------------------------------------------------------ for other tools


def test_a_clean_folder_is_written_and_a_file_that_should_write_on_is_not(place, tmp_path):
    done = export(place / "classify", "hf", out=tmp_path / "film")
    assert done.status == "finished" and done.differences["firth"] == 0
    assert all(difference < 1e-4 for difference in done.differences.values()) and len(done.differences) == 2
    with pytest.raises(InputError) as caught:
        export(place / "classify", "gguf", out=tmp_path / "film.gguf")
    assert str(caught.value) == (
        f"{place / 'classify' / 'model'}: holds `score.weight`, for which llama.cpp's `llama` has no place. "
        "Say --to hf."
    )


def test_next_tokens_are_learnt_on_from_an_adapted_run(place, tmp_path):
    settings = ["train.precision=fp32", "train.batch=2", "text.context=64"]
    done = pretrain([runs.folder() / "corpus.txt"], "next-token", None, "2steps", tmp_path / "on",
                    source=place / "classify", settings=settings)  # fmt: skip
    assert done.steps == 2 and next(load(tmp_path / "on").predict(["The ship"], tokens=2)).tokens <= 2
