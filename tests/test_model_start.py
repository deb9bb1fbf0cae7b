"""Where weights begin, where steps stand, what embeddings add up to, and which sizes there are."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from firth.errors import InputError
from firth.model import embedding, features, heads, init, positions, sizes
from firth.model.features import Features
from tests import models

SHAPES = {name: models.SHAPES[name] for name in ("bert", "modernbert")}


def started(shape, seed: int = 0, *parts: str) -> models.Whole:
    module = models.Whole(shape, *parts)
    init.initialise(module, shape, seed)
    return module


# ------------------------------------------------------------------ initialisation


@pytest.mark.parametrize("name", SHAPES)
def test_norms_are_neutral_and_biases_zero(name):
    for key, parameter in started(SHAPES[name], 0, "masked-tokens", "classify").named_parameters():
        if parameter.dim() < 2:
            assert torch.equal(parameter, torch.full_like(parameter, 0.0 if key.endswith("bias") else 1.0)), key


@pytest.mark.parametrize("name", SHAPES)
def test_matrices_have_their_spread_and_no_far_value(name):
    shape = SHAPES[name]
    for key, parameter in started(shape).named_parameters():
        if parameter.dim() < 2:
            continue
        spread = init.spread_of(key, shape)
        assert parameter.abs().max() <= init.CUT * spread + 1e-6
        if parameter.numel() > 2000:
            assert parameter.std().item() == pytest.approx(0.88 * spread, rel=0.1), key  # of a normal cut at 2
            assert abs(parameter.mean().item()) < 0.1 * spread


@pytest.mark.parametrize(("name", "divided"), [("bert", False), ("modernbert", True)])
def test_what_writes_into_the_residual_is_smaller_where_norms_come_first(name, divided):
    shape = SHAPES[name]
    expected = init.SPREAD / math.sqrt(2 * shape.layers) if divided else init.SPREAD
    for leaf in ("attention.out.weight", "mlp.outer.weight"):
        assert init.spread_of(f"backbone.encoder.blocks.0.{leaf}", shape) == expected
    assert init.spread_of("backbone.encoder.blocks.0.attention.qkv.weight", shape) == init.SPREAD


def test_weights_of_gpt2_keep_their_spread_behind_the_cut():
    weight = init.draw("a", torch.Size((300, 300)), init.spread_of("a", sizes.shape_of("gpt2", "2x128", 100)), 0)
    assert weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert init.spread_at(sizes.shape_of("gpt2", "2x128", 100)) == 0.02


def test_the_spread_of_llama_goes_by_width():
    """What a map makes of a normalised vector (norm √D) then has the same size at every width."""
    made = {width: sizes.shape_of("llama", f"2x{width}", 100) for width in (128, 768, 3072)}
    assert [init.spread_at(shape) for shape in made.values()] == pytest.approx([0.02 * math.sqrt(6), 0.02, 0.01])
    assert init.spread_of("backbone.encoder.blocks.0.mlp.inner.weight", made[128]) == init.spread_at(made[128])
    assert init.spread_of("backbone.encoder.blocks.0.mlp.outer.weight", made[128]) == init.spread_at(made[128]) / 2


def test_a_head_more_changes_no_other_weight():
    shape = SHAPES["modernbert"]
    alone, more = (started(shape, 3, *parts).state_dict() for parts in ((), ("masked-tokens", "classify")))
    assert all(torch.equal(alone[name], more[name]) for name in alone)


@given(st.integers(0, 2**63 - 1), st.text(min_size=1, max_size=20))
def test_a_draw_depends_on_seed_and_name_alone(seed, name):
    size = torch.Size([3, 5])
    one = init.draw(name, size, 0.02, seed)
    torch.manual_seed(1)
    assert torch.equal(one, init.draw(name, size, 0.02, seed))
    assert not torch.equal(one, init.draw(name + "x", size, 0.02, seed))
    assert not torch.equal(one, init.draw(name, size, 0.02, seed ^ 1))


# ------------------------------------------------------------------ features

VALUES = torch.arange(24.0).reshape(2, 4, 3)


def test_kept_steps_come_in_the_order_given():
    keep = torch.tensor([[0, 3, 1], [2, 2, 0]])
    found = features.pick(VALUES, keep)
    assert torch.equal(found[0], VALUES[0, [0, 3, 1]]) and torch.equal(found[1], VALUES[1, [2, 2, 0]])


def test_features_answer_alike_whether_all_or_kept_steps_were_computed():
    keep = torch.tensor([[0, 3], [0, 1]])
    whole, kept = Features(VALUES), Features(features.pick(VALUES, keep), kept=True)
    assert torch.equal(whole.at(keep), kept.at(keep))
    assert torch.equal(whole.at(keep[:, :1]), kept.at(keep[:, :1]))
    assert torch.equal(whole.pooled, kept.pooled)


def test_the_mean_leaves_padding_out():
    padding = torch.tensor([[False, False, True, True], [False, True, True, True]])
    assert torch.equal(Features(VALUES).mean, VALUES.mean(1))
    expected = torch.stack([VALUES[0, :2].mean(0), VALUES[1, 0]])
    assert torch.equal(Features(VALUES, padding).mean, expected)
    nothing = Features(VALUES, torch.ones(2, 4, dtype=torch.bool)).mean
    assert torch.equal(nothing, torch.zeros(2, 3))


# ------------------------------------------------------------------ positions


@given(st.integers(1, 200), st.sampled_from([10_000.0, 160_000.0]))
def test_angles_are_step_times_speed(steps, base):
    turn = positions.Rotary(8, base)(steps, torch.zeros(1, dtype=torch.float64))
    for pair in range(4):
        angle = torch.arange(steps, dtype=torch.float64) / torch.tensor(base, dtype=torch.float32) ** (2 * pair / 8)
        torch.testing.assert_close(turn.cosine[:, pair], angle.cos(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(turn.sine[:, pair], angle.sin(), rtol=1e-4, atol=1e-4)


def test_turned_products_depend_on_the_distance_alone():
    query, key = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    turn = positions.Rotary(8, 10_000.0)(40, query)
    turned = [positions.turned(one.expand(40, 8), turn) for one in (query, key)]
    products = turned[0] @ turned[1].T  # (40, 40)
    for distance in (0, 3, 17):
        along = products.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))


def test_tables_are_kept_per_precision():
    rotary = positions.Rotary(8, 10_000.0)
    kinds = [torch.float32, torch.float64, torch.bfloat16]
    assert [rotary(5, torch.zeros(1, dtype=kind)).cosine.dtype for kind in kinds] == kinds
    assert len(rotary.tables) == 3


def test_kept_angles_are_those_of_their_steps():
    turn = positions.Rotary(4, 10_000.0)(9, torch.zeros(1))
    kept = turn.at(torch.tensor([[0, 8], [3, 0]]))
    assert kept.cosine.shape == (2, 1, 2, 2)
    assert torch.equal(kept.sine[1, 0, 0], turn.sine[3])


# ------------------------------------------------------------------ embeddings


def embedded(name: str) -> embedding.TokenEmbedding:
    return models.shaken(embedding.TokenEmbedding(SHAPES[name]), SHAPES[name])


def test_an_embedding_is_the_sum_of_its_parts():
    module, tokens = embedded("bert"), models.tokens()
    segments = (torch.arange(20) > 9).long().expand(3, 20)
    found = module({"tokens": tokens, "segments": segments})
    plain = module.word(tokens) + module.position.weight[:20] + module.segment(segments)
    torch.testing.assert_close(found, module.norm(plain))


def test_everything_is_of_the_first_segment_unless_said():
    module, tokens = embedded("bert"), models.tokens()
    zeros = torch.zeros_like(tokens)
    torch.testing.assert_close(module({"tokens": tokens}), module({"tokens": tokens, "segments": zeros}))


def test_rotary_shapes_have_no_position_and_no_segment():
    module = embedded("modernbert")
    assert module.position is None and module.segment is None
    assert module.places(10**6) is None and module.parts(None) is None


def test_a_sample_longer_than_the_positions_is_refused():
    with pytest.raises(InputError) as caught:
        embedded("bert")({"tokens": torch.zeros(1, 49, dtype=torch.int64)})
    assert str(caught.value) == (
        "text.context: samples of 49 tokens, but the model has 48 positions. "
        "Set text.context=48, or take a model with more positions."
    )


def test_dropout_is_for_training_only():
    shape = SHAPES["bert"].model_copy(update={"dropout": 0.5})
    module, tokens = embedding.TokenEmbedding(shape), models.tokens()
    assert torch.equal(module.eval()({"tokens": tokens}), module({"tokens": tokens}))
    assert (module.train()({"tokens": tokens}) == 0).float().mean() == pytest.approx(0.5, abs=0.1)


# ------------------------------------------------------------------ heads


def test_pooling_reads_the_shape():
    assert heads.PoolHead(SHAPES["bert"]).norm is None
    assert isinstance(heads.PoolHead(SHAPES["modernbert"]).norm, nn.LayerNorm)


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("text", "found"),
    [("tiny", (2, 128)), ("Large", (24, 1024)), ("4x256", (4, 256)), (" 4 × 256 ", (4, 256)), ("12X768", (12, 768))],
)
def test_sizes_are_read(text, found):
    assert sizes.parse_size(text) == found


@pytest.mark.parametrize("text", ["", "0x256", "4x0", "4", "x256", "4x256x2", "-4x256", "tini", "99999x1"])
def test_what_is_no_size(text):
    with pytest.raises(InputError) as caught:
        sizes.parse_size(text)
    assert caught.value.what == "is neither a name nor layers x width"
    assert ("Did you mean `tiny`?" in caught.value.do) is (text == "tini")


@given(st.integers(1, 2048).map(lambda half: 2 * half))
def test_heads_divide_every_even_width_into_even_lengths(width):
    count = sizes.heads_for(width)
    assert width % (2 * count) == 0 and 1 <= count <= max(1, width // sizes.HEAD_WIDTH)


@pytest.mark.parametrize(("layers", "width"), sizes.SIZES.values())
@pytest.mark.parametrize("name", sizes.SHAPES)
def test_named_sizes_have_heads_of_64(name, layers, width):
    shape = sizes.shape_of(name, f"{layers}x{width}", 100)
    assert width // shape.heads == 64
    assert shape.intermediate == (4 * width if name == "bert" else shape.intermediate)


@given(st.integers(1, 1024).map(lambda part: 64 * part))
def test_gated_blocks_have_about_the_weights_of_plain_ones(width):
    plain, gated = 2 * width * 4 * width, 3 * width * sizes.intermediate_for("modernbert", width)
    assert gated == pytest.approx(plain, rel=0.5 if width < 256 else 0.13)


def test_the_default_size_is_named():
    shape = sizes.shape_of("modernbert", None, 100)
    assert (shape.layers, shape.width) == sizes.SIZES[sizes.DEFAULT]
