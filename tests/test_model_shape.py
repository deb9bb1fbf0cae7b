"""Shapes and sizes: what a name stands for, and what is refused."""

import pytest
from pydantic import ValidationError

from firth.errors import InputError
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.shape import Shape
from firth.model.sizes import READS, SIZES, heads_for, intermediate_for, parse_size, shape_of


def refusal(*arguments, **own) -> str:
    with pytest.raises(InputError) as caught:
        shape_of(*arguments, **own)
    return str(caught.value)


@pytest.mark.parametrize("name", SIZES)
def test_every_size_has_a_name_and_a_number(name):
    layers, width = SIZES[name]
    assert parse_size(name) == parse_size(f"{layers}x{width}") == parse_size(f" {layers} X {width} ") == (layers, width)


def test_base_is_the_published_bert():
    shape = shape_of("bert", "base", 30_522, 512)
    assert (shape.heads, shape.intermediate, shape.segments, shape.norm_epsilon) == (12, 3072, 2, 1e-12)
    assert shape.norm_placement == "post" and shape.bias and not shape.gated and shape.dropout == 0.1


def test_modernbert_is_global_gated_and_without_biases():
    shape = shape_of("modernbert", "mini", 8192)
    assert not any(shape.is_local(layer) for layer in range(shape.layers))
    assert shape.gated and not shape.bias and not shape.norm_bias and shape.position_kind == "rotary"


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_four_by_256_has_about_five_million_parameters(name):
    shape = shape_of(name, "4x256", 8192)
    count = sum(parameter.numel() for parameter in Backbone(shape, TokenEmbedding(shape)).parameters())
    assert count == pytest.approx(5.3e6, rel=0.01)


def test_heads_are_of_even_length_at_any_width():
    assert [heads_for(width) for width in (32, 64, 96, 128, 200, 256, 384, 768)] == [1, 1, 1, 2, 2, 4, 6, 12]


def test_the_gated_mlp_has_as_many_weights_as_the_plain_one():
    assert [intermediate_for("modernbert", width) for width in (128, 256, 512, 768)] == [320, 704, 1344, 2048]
    assert intermediate_for("bert", 256) == 1024


def test_no_size_is_the_default_size():
    assert shape_of("bert", None, 100) == shape_of("bert", "mini", 100)


def test_own_fields_win_and_none_leaves_the_default():
    shape = shape_of("modernbert", "2x64", 100, heads=2, intermediate=96, dropout=None, pad_id=3)
    assert (shape.heads, shape.intermediate, shape.dropout, shape.pad_id) == (2, 96, 0.0, 3)


def test_layers_between_the_global_ones_are_local():
    shape = shape_of("modernbert", "7x64", 100, global_every=3)
    assert [layer for layer in range(7) if not shape.is_local(layer)] == [0, 3, 6]


def test_a_shape_is_frozen_and_strict():
    shape = shape_of("bert", "tiny", 100)
    with pytest.raises(ValidationError):
        shape.width = 3
    with pytest.raises(ValidationError):
        Shape(**{**shape.model_dump(), "colour": "blue"})
    assert Shape(**shape.model_dump()) == shape


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="width 128 does not divide into 3 heads of even length"):
        Shape(**{**shape_of("modernbert", "tiny", 100).model_dump(), "heads": 3})


def test_messages():
    assert refusal("brt", "mini", 100) == (
        f"model.shape `brt`: no such shape. Did you mean `bert`? There is: {', '.join(READS)}."
    )
    assert refusal("bert", "4y256", 100) == (
        "size `4y256`: is neither a name nor layers x width. "
        "Write for instance 4x256, or one of tiny, mini, small, medium, base, large."
    )
    assert refusal("bert", "smal", 100) == (
        "size `smal`: is neither a name nor layers x width. Did you mean `small`? "
        "Write for instance 4x256, or one of tiny, mini, small, medium, base, large."
    )
    assert refusal("bert", "4x250", 100, heads=4) == (
        "width 250: does not divide into 4 heads of even length. "
        "Set model.heads to a number that divides 125, or take a width that is a multiple of 64."
    )


@pytest.mark.parametrize("size", ["", "x", "0x256", "4x0", "4x", "-4x256", "4x256x2", "4.5x256", "99999x1"])
def test_sizes_that_are_none(size):
    with pytest.raises(InputError):
        parse_size(size)
