"""Low-rank adapters: nothing changes at first, only they and the head learn, merged they are the same model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from firth.errors import InputError
from firth.interop import peft
from firth.interop.folder import open_folder
from firth.model import low_rank
from firth.model.low_rank import LowRank
from firth.recipe import filled
from firth.train import adaptation
from firth.train.folder import RunFolder
from firth.train.log import Silent
from firth.train.pretrain import pretrain
from tests import contract, runs
from tests.models import SHAPES, Whole, backbone, padding, tokens
from tests.test_adapt import asked, message

LORA = "model.lora=4"


def encoded(module, keep=None) -> torch.Tensor:
    return module({"tokens": tokens(), "pad": padding(20, 13, 7)}, keep=keep).values


def adapted(shape: str, rank: int = 4, seed: int = 0, moved: bool = True):
    """A backbone with adapters; moved: B is no longer zero."""
    module = backbone(SHAPES[shape])
    low_rank.adapt(module, rank, peft.parts_of(SHAPES[shape]), seed)
    module.double()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if moved and name.endswith(".up"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=noise))
    return module


# ------------------------------------------------------------------ the map


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep", [None, torch.tensor([[0, 3], [1, 2], [0, 6]])])
def test_at_first_nothing_changes(shape, keep):
    assert torch.equal(encoded(adapted(shape, moved=False), keep), encoded(backbone(SHAPES[shape]), keep))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep", [None, torch.tensor([[0, 3], [1, 2], [0, 6]])])
def test_merged_it_computes_the_same(shape, keep):
    module, plain = adapted(shape), backbone(SHAPES[shape])
    before = encoded(plain, keep)
    state = low_rank.merged({name: tensor.double() for name, tensor in module.state_dict().items()})
    plain.load_state_dict(state)
    torch.testing.assert_close(encoded(plain, keep), encoded(module, keep), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, encoded(module, keep), atol=1e-2)


@pytest.mark.parametrize("parts", [1, 3])
def test_the_map_is_w_plus_b_a_for_each_part(parts):
    torch.manual_seed(0)
    held = torch.nn.Linear(8, 12)
    made = LowRank(held, 2, parts)
    torch.nn.init.normal_(made.down)
    torch.nn.init.normal_(made.up)
    values = torch.randn(5, 8)
    expected = held(values) + torch.cat([values @ a.T @ b.T for a, b in zip(made.down, made.up, strict=True)], -1)
    torch.testing.assert_close(made(values), expected)
    assert made.weight is held.weight and made.bias is held.bias


@pytest.mark.parametrize("shape", SHAPES)
def test_only_adapters_of_the_attention_learn(shape):
    module, form = adapted(shape, rank=2), SHAPES[shape]
    learning = {name: p.numel() for name, p in module.named_parameters() if p.requires_grad}
    assert all(name.endswith((".down", ".up")) and ".attention." in name for name in learning)
    parts = 3 if shape == "bert" else 1
    width = form.width
    assert sum(learning.values()) == form.layers * 2 * (parts * width + 3 * width + 2 * width)


def test_the_draw_hangs_on_seed_and_name():
    first, again, other = (adapted("bert", seed=seed, moved=False).state_dict() for seed in (1, 1, 2))
    downs = [name for name in first if name.endswith(".down")]
    assert len(downs) == 6 and all(torch.equal(first[name], again[name]) for name in downs)
    assert not any(torch.equal(first[name], other[name]) for name in downs)
    assert not torch.equal(first[downs[0]], first[downs[2]])


@pytest.mark.parametrize("name", contract.learnt_tasks())
def test_for_every_task_adapters_and_head_get_a_gradient(name):
    objective = contract.build((name,), torch.float32)
    low_rank.adapt(objective.backbone, 2, 3, 0)
    with torch.no_grad():
        for parameter in objective.parts.parameters():
            parameter.add_(0.1)  # the last map begins at 0, and lets nothing through
    batch = contract.batch_of(objective, contract.samples(5, of=(name,)))
    contract.backward(objective, [batch], batch.counts)
    got = {n for n, p in objective.named_parameters() if p.grad is not None}
    expected = {n for n, _ in objective.named_parameters() if n.startswith("parts.") or n.endswith((".down", ".up"))}
    assert got == expected
    ups = [p.grad for n, p in objective.named_parameters() if n.endswith(".up")]
    assert all(grad.abs().sum() > 0 for grad in ups)


# ------------------------------------------------------------------ adapting


def test_the_model_folder_is_merged_and_the_adapter_lies_beside_it(tmp_path):
    told = runs.Told()
    result = runs.quick_adapt(tmp_path / "run", settings=[LORA, "train.patience=none"], show=told)
    assert result.curve[-1][1]["loss"] < result.curve[0][1]["loss"]
    assert told.lines["Weights"].endswith(" · adapters of rank 4: 2,658 parameters learn")
    before, after = open_folder(runs.folder() / "pretrained").state, open_folder(tmp_path / "run").state
    tensors = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    changed = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    assert changed == {f"backbone.encoder.blocks.{n}.attention.{m}.weight" for n in range(2) for m in ("qkv", "out")}
    for name in changed:
        theirs = f"base_model.model.model.layers.{name.split('.')[3]}.attn.{'Wqkv' if 'qkv' in name else 'Wo'}"
        up, down = (tensors[f"{theirs}.lora_{m}.weight"] for m in "BA")
        torch.testing.assert_close(after[name], before[name] + up @ down)
    assert "(pretrained, low-rank adapters of rank 4)" in (tmp_path / "run" / "README.md").read_text()
    assert RunFolder(tmp_path / "run").recipe.model.lora == 4


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_is_held_stays_bit_by_bit(tmp_path, precision):
    runs.quick_adapt(tmp_path / "run", settings=[LORA, "train.steps=6", f"train.precision={precision}"])
    before, after = open_folder(runs.folder() / "pretrained").state, open_folder(tmp_path / "run").state
    held = [n for n in before if n.startswith("backbone.") and not n.endswith(("qkv.weight", "attention.out.weight"))]
    assert len(held) > 8 and all(torch.equal(before[name], after[name]) for name in held)


def test_in_a_comparison_all_arms_have_adapters(tmp_path):
    from firth.evaluate.compare import compare

    place, labels = runs.folder() / "pretrained", runs.folder() / "reviews.tsv"
    settings = [LORA, "train.steps=4", "train.evaluate_every=2", "train.precision=fp32"]
    arms = ["random", "co-occurrence", "pretrained"]
    found = compare(place, [labels], labels=[40], seeds=1, arms=arms, settings=settings)
    assert {trial.arm for trial in found.trials} == set(arms)
    assert found.facts["settings"]["rank of the adapters"] == 4


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(tmp_path):
    settings = [LORA, "train.checkpoint_every=5", "train.patience=100", "optimizer.layer_decay=0.9"]

    class Stop(Silent):
        def progress(self, step, run):
            if step.index == 17:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.quick_adapt(tmp_path / "run", settings=settings, show=Stop())
    for name in ("run", "whole"):
        runs.quick_adapt(tmp_path / name, settings=settings)
    for file in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_without_a_model_below_no_adapter_is_written(tmp_path):
    told = runs.Told()
    runs.quick_adapt(tmp_path / "run", settings=[LORA, "train.steps=4"], start="random", show=told)
    assert (tmp_path / "run" / "model").exists() and not (tmp_path / "run" / "adapter").exists()
    note = "The encoder is held as `random` begins it: a head learns over vectors that nothing was learnt for."
    assert note in told.notes


def test_adapters_have_a_rate_of_their_own():
    assert adaptation.assemble(asked(settings=[LORA])).recipe.optimizer.lr == adaptation.LORA_LR == 5e-4


# ------------------------------------------------------------------ the form of peft


@pytest.mark.parametrize("shape", ["bert", "modernbert"])
def test_names_and_sizes_are_those_that_peft_writes(shape, tmp_path):
    package = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification

    theirs, _ = saved(shape, tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(theirs)
    config = package.LoraConfig.from_pretrained(tmp_path / "adapter")
    made = package.get_peft_model(model, config)
    expected = package.get_peft_model_state_dict(made)
    found = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in expected.items()}


@pytest.mark.parametrize("shape", ["bert", "modernbert"])
def test_peft_computes_with_the_adapter_what_we_compute(shape, tmp_path):
    package = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification

    theirs, whole = saved(shape, tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(theirs)
    model = package.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    features = whole.backbone({"tokens": tokens(), "pad": padding(20, 13, 7)})
    part = whole.parts["classify"]
    with torch.no_grad():
        expected = part.classifier(part.pool(features.pooled))
        logits = model(input_ids=tokens(), attention_mask=(~padding(20, 13, 7)).long()).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_adapter_of_a_run_on_its_model_gives_the_probabilities_of_the_run(tmp_path):
    package = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from firth.evaluate.predict import load

    runs.quick_adapt(tmp_path / "run", settings=[LORA])
    place = runs.folder() / "pretrained" / "model"
    base = AutoModelForSequenceClassification.from_pretrained(place, num_labels=2, classifier_pooling="mean")
    model = package.PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").eval()
    texts = ["A wonderful film about the tide and the tram.", "A dreadful film."]
    with torch.no_grad():
        inputs = AutoTokenizer.from_pretrained(place)(texts, padding=True, return_tensors="pt")
        shares = model(**inputs).logits.softmax(-1)
    for row, one in zip(shares, load(tmp_path / "run").predict(texts), strict=True):
        assert one.probability == pytest.approx(float(row.max()), abs=1e-4)


def saved(shape: str, folder):
    """The folder of a classifier, and beside it an adapter and another head on it; what both together are."""
    from firth.interop.folder import save_folder

    form = SHAPES[shape]
    whole = Whole(form, "classify").float()
    save_folder(folder / "model", form, whole.state_dict(), facts={"pooling": "first"})
    low_rank.adapt(whole.backbone, 4, peft.parts_of(form), 0)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in whole.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))
    peft.save_adapter(folder / "adapter", form, whole.state_dict(), "classify", str(folder / "model"))
    return folder / "model", whole.eval()


def test_the_config_says_what_peft_must_know(tmp_path):
    saved("bert", tmp_path)
    found = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (found["peft_type"], found["task_type"], found["r"], found["lora_alpha"]) == ("LORA", "SEQ_CLS", 4, 4)
    assert found["modules_to_save"] == ["bert.pooler.dense", "classifier"]
    assert found["base_model_name_or_path"] == str(tmp_path / "model")


def test_a_task_without_a_class_of_transformers_has_adapters_for_the_headless_model(tmp_path):
    whole = Whole(SHAPES["modernbert"])
    low_rank.adapt(whole.backbone, 2, 1, 0)
    peft.save_adapter(tmp_path, SHAPES["modernbert"], whole.state_dict(), "span", "x")
    names = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert "base_model.model.layers.0.attn.Wqkv.lora_A.weight" in names and len(names) == 12


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize(("model", "expected"), [
    ({"lora": 4, "frozen": True},
     "model.lora = 4: in a frozen encoder nothing learns, adapters neither. Leave out one of the two."),
    ({"lora": 33}, "model.lora = 33: the maps are 32 wide: no rank is higher. Set a low rank, such as model.lora=8."),
    ({"lora": 4, "reinitialise": 1}, "model.reinitialise = 1: in an encoder that is held for adapters, blocks drawn "
     "anew would stay random. Leave out one of the two."),
])  # fmt: skip
def test_adapters_that_could_not_learn_are_refused(model, expected):
    with pytest.raises(InputError) as caught:
        adaptation.assemble(filled(asked(), model=model))
    assert message(caught) == expected


def test_pre_training_knows_no_adapters():
    with pytest.raises(InputError) as caught:
        pretrain([runs.folder() / "corpus.txt"], budget="5steps", settings=[LORA])
    expected = "model.lora = 4: is a key of adapt: pre-training trains the whole encoder. Leave it out."
    assert str(caught.value) == expected


def test_an_adapted_run_with_its_adapter_is_deleted_and_listed_like_another(tmp_path):
    runs.quick_adapt(tmp_path / "run", settings=[LORA, "train.steps=2"])
    assert RunFolder(tmp_path / "run").status == "finished"
    shutil.rmtree(tmp_path / "run" / "checkpoints", ignore_errors=True)
    assert open_folder(tmp_path / "run").classes == ("negative", "positive")
