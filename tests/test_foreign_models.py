"""A model folder that transformers wrote: pre-training goes on from it, and adapt, compare, embed, company take it."""

import numpy as np
import pytest
import torch

from firth.evaluate.company import company
from firth.evaluate.encoder import open_encoder
from firth.evaluate.vectors import embed, embed_texts
from firth.evaluate.versus import versus
from firth.interop.folder import open_folder
from firth.train import adaptation
from firth.train.adapt import adapt, request
from firth.train.pretrain import pretrain
from tests import runs
from tests.material import documents

transformers = pytest.importorskip("transformers")
NOTHING = dict.fromkeys(("task", "start", "labels", "seed", "device"))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["The wide ship meets the tide.", "A dreadful film.", "the old clock"]
FEW = {"train.steps": 4, "train.batch": 4, "train.evaluate_every": 2, "train.precision": "fp32"}
SHORT = ["train.precision=fp32", "train.threads=1", "text.context=48"]


def vocabulary() -> list[str]:
    words = sorted({word for text in documents(60) for word in text.lower().replace(".", " .").split()})
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
    return [*SPECIAL, *dict.fromkeys([*words, *letters])]


def configured(kind: str, words: int):
    """(config, class) of a tiny model with a head for masked tokens."""
    own = {"vocab_size": words, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 48, "max_position_embeddings": 512}  # fmt: skip
    if kind == "bert":
        return transformers.BertConfig(**own), transformers.BertForMaskedLM
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    return transformers.ModernBertConfig(**own, **ids, local_attention=8), transformers.ModernBertForMaskedLM


@pytest.fixture(scope="module", params=["bert", "modernbert"])
def model(request, tmp_path_factory):
    """Weights, config.json and tokenizer as `save_pretrained` writes them; nothing of firth."""
    folder = tmp_path_factory.mktemp("theirs") / request.param
    words = vocabulary()
    torch.manual_seed(0)
    config, kind = configured(request.param, len(words))
    kind(config).save_pretrained(folder)
    (folder.parent / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder.parent / "vocab.txt")).save_pretrained(folder)
    return folder


def theirs(folder, text: str, cls=None) -> torch.Tensor:
    """(T, D) or (T, V): what transformers computes of one text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    opened = (cls or transformers.AutoModel).from_pretrained(folder).eval()
    with torch.no_grad():
        return opened(**tokenizer(text, return_tensors="pt"))[0][0]


# ------------------------------------------------------------------ going on


@pytest.fixture(scope="module")
def gone_on(model, tmp_path_factory):
    """(the model, the run, the lines that were shown)."""
    told = runs.Told()
    out = tmp_path_factory.mktemp("on") / "run"
    pretrain([runs.folder() / "corpus.txt"], source=model, budget="6steps", out=out, settings=SHORT, show=told)
    return model, out, told


def test_all_weights_and_the_tokenizer_are_taken_along(gone_on):
    model, run, told = gone_on
    assert f"loaded from {model} · none new · none unused" in told.lines["Weights"]
    before, after = (transformers.AutoTokenizer.from_pretrained(one) for one in (model, run / "model"))
    assert before.get_vocab() == after.get_vocab()
    assert [before(text)["input_ids"] for text in TEXTS] == [after(text)["input_ids"] for text in TEXTS]


def test_it_begins_where_the_model_was_and_moves(gone_on):
    model, run, _ = gone_on
    first, second = (open_folder(one).state for one in (model, run))
    assert first.keys() == second.keys()
    moved = [name for name in first if not torch.equal(first[name], second[name])]
    assert moved and all((first[name] - second[name]).abs().max() < 0.05 for name in moved)  # 6 steps at 1e-3


def test_transformers_opens_what_came_of_it(gone_on):
    model, run, _ = gone_on
    cls = transformers.AutoModelForMaskedLM
    logits = theirs(run / "model", TEXTS[0], cls)
    assert logits.shape == theirs(model, TEXTS[0], cls).shape
    assert open_folder(run).shape.model_copy(update={"dropout": 0.0}) == open_folder(model).shape.model_copy(
        update={"dropout": 0.0}
    )


# ------------------------------------------------------------------ the pooler


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """A headless BERT, which has a pooler."""
    folder = tmp_path_factory.mktemp("pooled") / "bert"
    torch.manual_seed(1)
    transformers.BertModel(configured("bert", len(vocabulary()))[0]).save_pretrained(folder)
    (folder.parent / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    transformers.BertTokenizerFast(str(folder.parent / "vocab.txt")).save_pretrained(folder)
    return folder


def begun(model, settings=()) -> adaptation.Adaptation:
    return adaptation.assemble(request(model, [runs.folder() / "reviews.tsv"], settings, None, **NOTHING))


def test_a_classifier_takes_the_pooler_along_as_transformers_does(pooled):
    work = begun(pooled)
    own = transformers.BertForSequenceClassification.from_pretrained(pooled).bert.pooler.dense
    dense = work.objective.parts["classify"].pool.dense
    assert torch.equal(dense.weight, own.weight) and torch.equal(dense.bias, own.bias)
    assert work.weights.unused == [] and work.weights.new == [
        "parts.classify.classifier.bias",
        "parts.classify.classifier.weight",
    ]


def test_what_next_sentence_has_learnt_of_the_first_step_is_taken_along(tmp_path):
    settings = [*SHORT, "model.shape=bert", "text.vocabulary=300", "data.document=line", "data.held_out=0.2"]
    out = tmp_path / "run"
    pretrain([runs.folder() / "corpus.txt"], "next-sentence,masked-tokens", "1x32", "3steps", out, settings=settings)
    before = open_folder(out).state["parts.next-sentence.pool.dense.weight"]
    work = begun(out)
    assert torch.equal(work.objective.parts["classify"].pool.dense.weight, before)
    assert "parts.next-sentence.pool.dense.weight" not in work.weights.unused
    assert "parts.next-sentence.classifier.weight" in work.weights.unused  # tells neighbours apart, not labels


def test_without_a_pooler_or_over_the_mean_it_is_new(model):
    work = begun(model)
    assert "parts.classify.pool.dense.weight" in work.weights.new


# ------------------------------------------------------------------ as MODEL


def test_vectors_are_those_of_transformers(model):
    expected = torch.stack([theirs(model, text).mean(0) for text in TEXTS])
    expected = expected / expected.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(embed_texts(open_encoder(model), TEXTS), expected.numpy(), atol=1e-5)
    assert embed(model, TEXTS).shape == (3, 32)


def test_it_is_adapted_with_all_its_encoder(model, tmp_path):
    told = runs.Told()
    done = adapt(model, [runs.folder() / "reviews.tsv"], out=tmp_path / "run", settings=FEW, show=told)
    assert done.status == "finished" and f"loaded from {model}" in told.lines["Weights"]
    new = told.lines["Weights"].split(" · ")[1]
    assert "classifier" in new and "backbone" not in new


def test_it_is_compared_with_its_shape_untrained(model, tmp_path):
    found = versus(model, runs.folder() / "reviews.tsv", labels="20", seeds=1, arms="random,co-occurrence,pretrained",
                   settings=FEW, out=tmp_path / "c")  # fmt: skip
    assert [trial.arm for trial in found.trials] == ["random", "co-occurrence", "pretrained"]


def test_another_one_is_an_arm_beside_a_run(model, tmp_path):
    found = versus(runs.folder() / "pretrained", runs.folder() / "reviews.tsv", labels="20", seeds=1,
                   arms="pretrained", against=[model], settings=FEW, out=tmp_path / "c")  # fmt: skip
    assert list(found.titles) == ["pretrained", model.name]


def test_it_shows_the_company_of_a_word(model):
    found = company(model, "ship", runs.folder() / "corpus.txt", count=40)
    assert len(found.layers) == 3 and len(found.occurrences) == 40
