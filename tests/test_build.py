"""A recipe becomes what it names: shapes, rows, batches, weights; and what the person is told about it."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.data.source import ListSource
from firth.errors import InputError
from firth.functional.random import Draw
from firth.interop.folder import save_folder
from firth.model.sizes import shape_of
from firth.objective import Composed
from firth.recipe import Model, Recipe, Train, filled, with_table
from firth.train import build
from firth.train.build import Weights
from tests import contract


@pytest.fixture
def signal():
    """The toy signal, in place of text."""
    return contract.SIGNAL


def recipe(*objective: str, **model) -> Recipe:
    settings = {"layers": 1, "width": 32, "start": "random"} | model
    return Recipe(objective=objective or ("masked-tokens",), model=Model(**settings), train=Train(batch=4))


def completed(signal, *objective: str, **model) -> Recipe:
    """Filled as build.fill does, without a table for the toy signal."""
    made = recipe(*objective, **model)
    for name, config in build.configs_of(made).items():
        made = with_table(made, name, config.fill(signal.facts))
    return made


def composed(signal, *objective: str, **model) -> Composed:
    return build.compose(completed(signal, *objective, **model), signal)


# ------------------------------------------------------------------ shapes


def test_configs_stand_in_the_order_they_arrange():
    found = build.configs_of(recipe("next-sentence", "masked-tokens"))
    assert list(found) == ["next-sentence", "masked-tokens"]
    assert [config.terms for config in found.values()] == [("next_sentence",), ("masked_tokens",)]


@pytest.mark.parametrize(
    ("model", "layers", "width", "dropout"),
    [
        ({}, 1, 32, 0.0),
        ({"size": "tiny", "layers": None, "width": None}, 2, 128, 0.0),
        ({"size": "tiny"}, 1, 32, 0.0),
        ({"dropout": 0.2}, 1, 32, 0.2),
    ],
)
def test_layers_and_width_win_over_a_size(signal, model, layers, width, dropout):
    shape = build.shape_for(recipe(**model), signal)
    assert (shape.layers, shape.width, shape.dropout) == (layers, width, dropout)
    assert (shape.vocabulary, shape.positions, shape.pad_id) == (40, 32, 0)


def test_a_task_keeps_the_dropout_of_the_shape(signal):
    asked = Recipe(verb="adapt", objective=("classify",), model=Model(layers=1, width=32, shape="bert"))
    assert build.shape_for(asked, signal).dropout == 0.1


def test_heads_and_inner_width_can_be_set(signal):
    shape = build.shape_for(recipe(heads=4, intermediate=48), signal)
    assert (shape.heads, shape.intermediate) == (4, 48)


def test_the_shape_of_a_source_wins(signal, tmp_path):
    objective = composed(signal, heads=2)
    save_folder(tmp_path, objective.backbone.shape, objective.state_dict())
    shape = build.shape_for(recipe(source=str(tmp_path), layers=7, width=512), signal)
    assert (shape.layers, shape.width, shape.heads) == (1, 32, 2)
    assert build.shape_for(recipe(source=str(tmp_path), dropout=0.3), signal).dropout == 0.3


@pytest.mark.parametrize(
    ("objective", "rows", "partner"),
    [
        (("masked-tokens",), "packed", False),
        (("next-sentence",), "documents", True),
        (("next-sentence", "masked-tokens"), "documents", True),
    ],
)
def test_objectives_say_how_the_corpus_is_cut(objective, rows, partner):
    assert build.rows_of(recipe(*objective)) == {"rows": rows, "partner": partner}


def test_an_objective_without_its_needs_is_refused(signal):
    needy = SimpleNamespace(needs=frozenset({"tokens", "waveforms", "frames"}))
    with pytest.raises(InputError) as caught:
        build.refuse_missing("masked-frames", needy, signal)
    assert str(caught.value) == (
        "objective `masked-frames`: needs frames, waveforms, which the signal `toy` does not offer. "
        "Choose another --objective; toy offers class token, labels, partner, pooled, sentences, "
        "stream, tokens, words."
    )


# ------------------------------------------------------------------ objectives and batches


def test_the_same_recipe_builds_the_same_weights(signal):
    one, same, other = (
        build.compose(completed(signal).model_copy(update={"seed": seed}), signal).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.embed.word.weight"], other["backbone.embed.word.weight"])


def test_a_second_objective_changes_no_weight_of_the_first(signal):
    alone = composed(signal, "masked-tokens", shape="bert").state_dict()
    both = composed(signal, "next-sentence", "masked-tokens", shape="bert").state_dict()
    assert set(alone) < set(both)
    assert all(torch.equal(alone[name], both[name]) for name in alone)


def test_parameters_are_counted_once(signal):
    objective = composed(signal)
    assert build.parameters(objective) == sum(p.numel() for p in set(objective.parameters()))
    assert build.parameters(objective) == sum(t.numel() for t in objective.state_dict().values())


def test_batches_take_batch_and_seed_from_the_recipe(signal):
    source = ListSource(contract.samples(12))
    made = completed(signal)
    batches = build.batches_of(made, signal, source)
    assert (batches.batch, batches.seed, batches.rank, batches.world) == (4, 0, 0, 1)
    assert batches.group_lengths and build.batches_of(made, signal, source, seed=5).seed == 5
    assert build.batches_of(filled(made, train={"batch": None}), signal, source).batch == 16


@pytest.mark.parametrize("kind", ["plain", "sdpa"])
def test_the_chosen_attention_is_set(signal, kind):
    objective = composed(signal)
    build.apply_choices(filled(recipe(), train={"attention": kind}), objective)
    assert {block.attention.kind for block in objective.backbone.encoder.blocks} == {kind}


def test_no_choice_leaves_the_model_alone(signal):
    objective = composed(signal)
    before = [block.attention.kind for block in objective.backbone.encoder.blocks]
    build.apply_choices(recipe(), objective)
    assert [block.attention.kind for block in objective.backbone.encoder.blocks] == before


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_device_that_is_there(device):
    found = build.device_of(Recipe(device=device))
    assert found.type == ("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["toaster", "meta", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(InputError) as caught:
        build.device_of(Recipe(device=device))
    assert str(caught.value) == f"--device {device}: is not available here. Use --device auto or cpu."


# ------------------------------------------------------------------ weights


@pytest.fixture
def source(signal, tmp_path):
    objective = composed(signal, heads=2)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.5)
    save_folder(tmp_path / "model", objective.backbone.shape, objective.state_dict())
    return tmp_path / "model", objective


def test_all_weights_of_the_same_model_are_loaded(signal, source):
    folder, theirs = source
    ours = composed(signal, heads=2)
    found = build.load_weights(ours, folder)
    assert (sorted(found.loaded), found.new, found.unused) == (sorted(ours.state_dict()), [], [])
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name
    assert found.describe("a") == f"{len(found.loaded):,} tensors loaded from a · none new · none unused"


def test_what_is_new_and_what_nobody_took_is_named(signal, source):
    folder, _ = source
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"something.else": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    ours = composed(signal, "next-sentence", heads=2, shape="modernbert")
    found = build.load_weights(ours, folder)
    assert all(name.startswith("parts.next-sentence.") for name in found.new) and found.new
    assert "something.else" in found.unused
    assert any(name.startswith("parts.masked-tokens.") for name in found.unused)
    assert not set(found.loaded) & set(found.new)


def test_another_width_fits_nowhere(signal, source):
    ours = build.compose(completed(signal, width=64), signal)
    with pytest.raises(InputError) as caught:
        build.load_weights(ours, source[0])
    assert caught.value.what == "holds no weights that fit this encoder"


def test_many_new_tensors_are_told_in_groups():
    names = [f"backbone.encoder.blocks.{n}.mlp.{leaf}" for n in range(3) for leaf in ("inner", "outer")]
    names += ["parts.a.b.c", "parts.d.e.f", "parts.g.h.i"]
    told = Weights(["x"], new=names).describe("runs/a")
    assert told == (
        "1 tensors loaded from runs/a · new: backbone.encoder.blocks, parts.a.b, parts.d.e and 1 more · none unused"
    )


def test_random_starts_change_nothing(signal):
    objective = composed(signal)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    assert build.start_weights(recipe(), objective, ListSource([])) is None
    assert build.start_weights(recipe(start="co-occurrence", source="x"), objective, ListSource([])) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.state_dict().items())


def test_a_start_is_found_by_its_file(signal, monkeypatch):
    calls = []
    started = SimpleNamespace(start=lambda *given: calls.append(given) or {"tokens": 3, "seconds": 0.5})
    objective, samples = composed(signal), ListSource([])
    monkeypatch.setattr(build.find, "find", lambda kind, name: started)
    assert build.start_weights(recipe(start="co-occurrence"), objective, samples)["tokens"] == 3
    [(model, given, draw)] = calls
    assert model is objective and given is samples and isinstance(draw, Draw)


# ------------------------------------------------------------------ what the person is told


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"documents": 50_000}, "50,000 documents"),
        ({"documents": 3, "unit": "line", "words": 20}, "3 documents (lines) · 20 words"),
        (
            {"documents": 9, "unit": "file", "words": 11.6e6, "tokens": 2e7, "exact_duplicates": 214},
            "9 documents (files) · 11.6 M words · 20.0 M tokens · 214 duplicates dropped",
        ),
        (
            {"documents": 4, "languages": {"de": 1, "en": 2, "fr": 1}, "near_duplicates": 1_000},
            "4 documents · en 50 % · de 25 % · 1,000 near duplicates",
        ),
    ],
)
def test_data_in_one_line(facts, text):
    assert build.describe_data(SimpleNamespace(facts=facts)) == text


@pytest.mark.parametrize(("name", "title"), [("bert", "BERT"), ("modernbert", "ModernBERT")])
def test_a_model_in_one_line(signal, name, title):
    objective = composed(signal, shape=name)
    shape = shape_of(name, "1x32", 40, 32)
    number = f"{build.parameters(objective):,}"
    assert (
        build.describe_model(shape, objective) == f"{title}-shaped, 1 layers × 32, {number} parameters, vocabulary 40"
    )


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"tokens": 6_100_000, "seconds": 4.21}, "6.1 M tokens in 4.2 s"),
        ({"tokens": 12}, "12 tokens"),
        ({"seconds": 1.0, "rank": 3, "name": "svd"}, "3 rank in 1.0 s"),
    ],
)
def test_a_start_in_one_line(facts, text):
    assert build.describe_start(facts) == text
