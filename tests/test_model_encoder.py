"""The encoder's contract: kept steps, padding, kernels and layers change the work, never the numbers."""

import copy

import pytest
import torch

from firth.errors import InputError
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.features import Features, pick
from firth.model.init import initialise
from tests.models import LOCAL, SHAPES, backbone, padding, small, tokens

KEEP = torch.tensor([[0, 3, 7, 19], [0, 1, 11, 0], [0, 5, 0, 0]])
ALL = pytest.mark.parametrize("name", SHAPES)
close = torch.testing.assert_close


@ALL
@pytest.mark.parametrize("kind", ["plain", "sdpa"])
@pytest.mark.parametrize("pad", [None, padding(20, 14, 9)], ids=["full", "padded"])
def test_keep_equals_picking_afterwards(name, kind, pad):
    model = backbone(SHAPES[name])
    model.set_attention(kind)
    batch = {"tokens": tokens()} | ({} if pad is None else {"pad": pad})
    every, kept = model(batch), model(batch, keep=KEEP)
    close(kept.values, pick(every.values, KEEP))
    if pad is not None:
        assert torch.equal(kept.padding, pad.gather(1, KEEP))


@ALL
def test_keep_has_the_gradient_of_picking_afterwards(name):
    model, batch = backbone(SHAPES[name]), {"tokens": tokens(), "pad": padding(20, 14, 9)}
    gradients = []
    for values in (pick(model(batch).values, KEEP), model(batch, keep=KEEP).values):
        model.zero_grad()
        values.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    close(gradients[0], gradients[1])


@ALL
@pytest.mark.parametrize("kind", ["plain", "sdpa"])
def test_padding_changes_nothing(name, kind):
    model, rows = backbone(SHAPES[name]), tokens()
    model.set_attention(kind)
    pad = padding(20, 14, 9)
    padded = model({"tokens": rows.masked_fill(pad, 5), "pad": pad}).values
    for row, length in enumerate((20, 14, 9)):
        close(padded[row, :length], model({"tokens": rows[row : row + 1, :length]}).values[0])
    assert padded.isfinite().all()


@ALL
def test_a_pad_mask_without_padding_is_no_pad_mask(name):
    model = backbone(SHAPES[name])
    close(model({"tokens": tokens(), "pad": padding(20, 20, 20)}).values, model({"tokens": tokens()}).values)


@ALL
@pytest.mark.parametrize("pad", [None, padding(20, 14, 9)], ids=["full", "padded"])
def test_both_kernels_give_the_same(name, pad):
    model, batch = backbone(SHAPES[name]), {"tokens": tokens()} | ({} if pad is None else {"pad": pad})
    plain = model(batch).values
    model.set_attention("sdpa")
    real = torch.ones(3, 20, dtype=torch.bool) if pad is None else ~pad
    close(model(batch).values[real], plain[real])


@ALL
def test_layers_are_the_embedding_and_every_block(name):
    model, batch = backbone(SHAPES[name]), {"tokens": tokens()}
    features = model(batch, layers=True)
    assert len(features.layers) == 1 + SHAPES[name].layers
    close(features.layers[0], model.embed(batch))
    close(model.encoder.norm(features.layers[-1]), features.values)
    close(features.values, model(batch).values)
    assert model(batch).layers is None


def test_layers_and_keep_exclude_each_other():
    with pytest.raises(ValueError, match="keep and layers exclude each other"):
        backbone(SHAPES["bert"])({"tokens": tokens()}, keep=KEEP, layers=True)


def test_a_local_layer_sees_its_window_only():
    """One global layer and one local one: a far step reaches a step through the first layer alone."""
    model = backbone(small("modernbert", **LOCAL))
    model.encoder.local = [True] * 3
    rows = tokens(1)
    other = rows.clone()
    other[0, 19] = (other[0, 19] + 1) % 60
    apart = (model({"tokens": rows}).values - model({"tokens": other}).values).abs().sum(-1)[0]
    assert (apart[:7] == 0).all() and (apart[7:] > 0).all()  # three layers of four steps to each side


def test_order_matters_to_every_shape():
    for shape in SHAPES.values():
        model = backbone(shape)
        forward = model({"tokens": tokens()}).values
        assert not torch.allclose(forward.flip(1), model({"tokens": tokens().flip(1)}).values)


def test_rotary_positions_are_relative():
    """The same tokens behind a padded beginning see each other as before."""
    model, rows = backbone(SHAPES["modernbert"]), tokens(1, 10)
    late = torch.cat([torch.zeros(1, 6, dtype=torch.long), rows], 1)
    pad = (torch.arange(16) < 6)[None]
    close(model({"tokens": late, "pad": pad}).values[:, 6:], model({"tokens": rows}).values)


def test_segments_are_the_first_unless_given():
    model, rows = backbone(SHAPES["bert"]), tokens()
    first = model({"tokens": rows, "segments": torch.zeros_like(rows)}).values
    close(first, model({"tokens": rows}).values)
    assert not torch.allclose(first, model({"tokens": rows, "segments": torch.ones_like(rows)}).values)


def test_a_shape_without_segments_takes_no_notice_of_them():
    model, rows = backbone(SHAPES["modernbert"]), tokens()
    close(model({"tokens": rows, "segments": torch.ones_like(rows)}).values, model({"tokens": rows}).values)


def test_a_sample_longer_than_the_learned_positions_is_refused():
    with pytest.raises(InputError) as caught:
        backbone(SHAPES["bert"])({"tokens": tokens(1, 49)})
    assert str(caught.value) == (
        "text.context: samples of 49 tokens, but the model has 48 positions. "
        "Set text.context=48, or take a model with more positions."
    )


def test_rotary_positions_have_no_such_end():
    assert backbone(SHAPES["modernbert"])({"tokens": tokens(1, 200)}).values.shape == (1, 200, 32)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(InputError) as caught:
        backbone(SHAPES["bert"]).set_attention("sdpe")
    assert str(caught.value) == "train.attention `sdpe`: no such kernel. Did you mean `sdpa`? There is: plain, sdpa."


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_dropout_is_random_in_training_and_absent_in_evaluation(name):
    model, batch = backbone(small(name, dropout=0.2)), {"tokens": tokens()}
    close(model(batch).values, backbone(SHAPES[name])(batch).values)
    model.train()
    torch.manual_seed(3)
    first, second = model(batch).values, model(batch).values
    torch.manual_seed(3)
    assert torch.equal(model(batch).values, first) and not torch.equal(first, second)


def test_bf16_is_close_to_fp32():
    for shape in SHAPES.values():
        exact, rough = backbone(shape, torch.float32), backbone(shape, torch.bfloat16)
        apart = exact({"tokens": tokens()}).values - rough({"tokens": tokens()}).values.float()
        assert apart.std() < 0.03 * exact({"tokens": tokens()}).values.std()


def test_tables_made_in_inference_mode_serve_training_too():
    model, batch = backbone(SHAPES["modernbert"]), {"tokens": tokens()}
    with torch.inference_mode():
        model(batch)
    model(batch).values.sum().backward()


def test_a_copy_is_independent():
    model = backbone(SHAPES["modernbert"])
    twin = copy.deepcopy(model)
    close(twin({"tokens": tokens()}).values, model({"tokens": tokens()}).values)
    twin.set_attention("sdpa")
    assert model.encoder.blocks[0].attention.kind == "plain"


def test_initialising_depends_on_seed_and_name_alone():
    shape = SHAPES["modernbert"]
    states = []
    for seed in (1, 1, 2):
        model = Backbone(shape, TokenEmbedding(shape))
        torch.manual_seed(torch.initial_seed() + 1)
        initialise(model, shape, seed)
        states.append(model.state_dict())
    first, same, other = states
    close(first, same, rtol=0, atol=0)
    assert not torch.equal(first["embed.word.weight"], other["embed.word.weight"])
    zero, one = (first[f"encoder.blocks.{layer}.attention.out.weight"] for layer in (0, 1))
    assert not torch.equal(zero, one)


def test_initial_spread():
    shape = small("modernbert", intermediate=512)
    model = Backbone(shape, TokenEmbedding(shape))
    initialise(model, shape, 0)
    block = model.encoder.blocks[1]
    residual = 0.02 / (2 * shape.layers) ** 0.5 * 0.88  # cut at two deviations
    assert block.mlp.inner.weight.std().item() == pytest.approx(0.0176, rel=0.03)
    assert block.mlp.outer.weight.std().item() == pytest.approx(residual, rel=0.03)
    assert block.mlp.inner.weight.abs().max() <= 0.04
    assert (block.mlp_norm.weight == 1).all()


def test_mean_leaves_padding_out():
    values = torch.arange(12.0).view(2, 3, 2)
    features = Features(values, padding(3, 1, steps=3))
    assert features.mean.tolist() == [[2.0, 3.0], [6.0, 7.0]]
    assert Features(values).mean.tolist() == [[2.0, 3.0], [8.0, 9.0]]
    assert features.pooled.tolist() == [[0.0, 1.0], [6.0, 7.0]]
