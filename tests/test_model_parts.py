"""Attention, gate, rotary positions and heads against formulas written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from firth.model.attention import build_mask, join_heads, mask_at, plain, sdpa, split_heads
from firth.model.block import activate, gate
from firth.model.heads import PoolHead, TokenHead
from firth.model.positions import Rotary, turned
from tests.models import SHAPES, Whole, padding, shaken, small

close = torch.testing.assert_close


def numbers(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def rotated(values: torch.Tensor, base: float) -> torch.Tensor:
    """(…, T, C): the formula of RoFormer (34) with halves as pairs, in complex numbers."""
    steps, half = values.shape[-2], values.shape[-1] // 2
    speed = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(steps, dtype=torch.float64)[:, None] * speed
    pairs = torch.complex(values[..., :half], values[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], -1)


def test_turning_is_a_complex_product():
    values = numbers(2, 3, 7, 8).detach()
    close(turned(values, Rotary(8, 100.0)(7, values)), rotated(values, 100.0), rtol=1e-6, atol=1e-6)


def test_turning_back_is_the_inverse():
    values, turn = numbers(2, 3, 7, 8).detach(), Rotary(8, 100.0)(7, numbers(1))
    close(turned(turned(values, turn), turn, back=True), values)


def test_tables_grow_and_stay():
    rotary, like = Rotary(8, 100.0), numbers(1)
    short = rotary(5, like)
    assert len(rotary.tables) == 1 and short[0].shape == (5, 4)
    assert rotary(9, like)[0].data_ptr() == short[0].data_ptr()  # one table for both
    assert rotary(300, like)[0].shape == (300, 4)
    assert rotary(300, like.float())[0].dtype == torch.float32


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("rotary", [True, False])
def test_splitting_heads(parts, rotary):
    values = numbers(2, 5, parts * 3 * 4)
    turn = Rotary(4, 100.0)(5, values) if rotary else None
    split = split_heads(values, (3,) * parts, turn)
    expected = list(values.view(2, 5, parts, 3, 4).permute(2, 0, 3, 1, 4))
    for part in range(max(1, parts - 1) if rotary else 0):
        expected[part] = rotated(expected[part], 100.0)
    for one, other in zip(split, expected, strict=True):
        assert one.is_contiguous()
        close(one, other, rtol=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(lambda x: split_heads(x, (3,) * parts, turn), (values,))


def test_joining_heads_undoes_splitting():
    values = numbers(2, 5, 12)
    close(join_heads(split_heads(values, (3,), None)[0]), values)


@pytest.mark.parametrize("attend", [plain, sdpa])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_the_formula(attend, masked):
    query, key, value = numbers(2, 3, 4, 6), numbers(2, 3, 5, 6, seed=1), numbers(2, 3, 5, 6, seed=2)
    mask = build_mask(padding(5, 3, steps=5), 5, None, query) if masked else None
    scores = query @ key.mT / math.sqrt(6)
    if masked:
        scores = scores.masked_fill(padding(5, 3, steps=5)[:, None, None], -torch.inf)
    close(attend(query, key, value, mask), scores.softmax(-1) @ value)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("masked", [True, False])
def test_the_gradient_of_attention(masked, dropout):
    query, key, value = numbers(2, 2, 3, 4), numbers(2, 2, 5, 4, seed=1), numbers(2, 2, 5, 4, seed=2)
    mask = build_mask(padding(5, 3, steps=5), 5, None, query) if masked else None

    def attend(*parts):
        torch.manual_seed(0)
        return plain(*parts, mask, dropout)

    assert torch.autograd.gradcheck(attend, (query, key, value))


def test_dropout_of_attention_keeps_the_mean():
    query, key = numbers(1, 1, 4, 8), numbers(1, 1, 6, 8, seed=1)
    ones = torch.ones(1, 1, 6, 8, dtype=torch.float64)
    torch.manual_seed(0)
    drawn = torch.stack([plain(query, key, ones, None, 0.3) for _ in range(2000)])
    assert drawn.std() > 0.1
    close(drawn.mean(0), torch.ones_like(drawn[0]), rtol=0, atol=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_a_single_step_and_a_single_kept_step(name):
    model = Whole(SHAPES[name]).backbone
    rows, first = torch.tensor([[7], [8]]), torch.zeros(2, 1, dtype=torch.long)
    close(model({"tokens": rows}, keep=first).values, model({"tokens": rows}).values)
    model({"tokens": rows}, keep=first).values.sum().backward()


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "relu", "silu"])
def test_gating(name):
    values = numbers(4, 10)
    first, second = values.chunk(2, -1)
    close(gate(values, name), activate(first, name) * second)
    assert torch.autograd.gradcheck(lambda x: gate(x, name), (values,))


def test_activations_are_torchs():
    values = numbers(50)
    close(activate(values, "gelu"), F.gelu(values))
    close(activate(values, "gelu_tanh"), F.gelu(values, approximate="tanh"))
    assert not torch.equal(activate(values, "gelu"), activate(values, "gelu_tanh"))


def test_no_padding_and_no_window_is_no_mask():
    assert build_mask(None, 8, None, numbers(1)) is None
    assert build_mask(None, 8, 7, numbers(1)) is None  # the window holds everything
    assert mask_at(None, torch.zeros(2, 1, dtype=torch.long)) is None


def test_a_window_is_as_wide_as_it_says():
    seen = build_mask(None, 9, 2, numbers(1))[0, 0] == 0
    assert seen.sum(-1).tolist() == [3, 4, 5, 5, 5, 5, 5, 4, 3]
    both = build_mask(padding(9, 4, steps=9), 9, 2, numbers(1)) == 0
    assert both.shape == (2, 1, 9, 9) and torch.equal(both[0, 0], seen)
    assert both[1, 0].sum(-1).tolist() == [3, 4, 4, 3, 2, 1, 0, 0, 0]


def test_a_mask_at_kept_steps():
    keep = torch.tensor([[0, 8], [4, 4]])
    mask = build_mask(padding(9, 4, steps=9), 9, 2, numbers(1))
    for row in range(2):
        close(mask_at(mask, keep)[row, 0], mask[row, 0, keep[row]])
    wide = build_mask(padding(9, 4, steps=9), 9, None, numbers(1))
    assert mask_at(wide, keep) is wide


def test_a_step_that_sees_nothing_is_no_nan():
    mask = build_mask(padding(6, 1, steps=6), 6, 1, numbers(1))
    values = numbers(2, 1, 6, 4)
    for attend in (plain, sdpa):
        assert attend(values, values, values, mask).isfinite().all()


@pytest.mark.parametrize("name", SHAPES)
def test_the_state_holds_the_tied_embedding_once(name):
    whole = Whole(SHAPES[name], "masked-tokens")
    state = whole.state_dict()
    shared = {tensor.data_ptr() for tensor in state.values()}
    assert len(shared) == len(state)
    assert sum(tensor.shape == (60, 32) for tensor in state.values()) == 1
    assert {key.rpartition(".")[0].removeprefix("parts.masked-tokens.") for key in state if "head" in key} == {
        "head", "head.dense", "head.norm",
    }  # fmt: skip


def test_the_tied_embedding_gets_the_gradient_of_both_uses():
    whole = Whole(SHAPES["modernbert"], "masked-tokens").double()
    rows = torch.tensor([[1, 2, 3]])
    head = whole.parts["masked-tokens"].head
    head(whole.backbone({"tokens": rows}).values[0]).square().sum().backward()
    assert (whole.backbone.embed.word.weight.grad.abs().sum(-1) > 0).all()  # not only the rows looked up


def test_the_tie_survives_a_change_of_precision():
    whole = Whole(SHAPES["bert"], "masked-tokens").bfloat16()
    head = whole.parts["masked-tokens"].head
    assert head._embedding[0] is whole.backbone.embed.word.weight
    assert head(torch.zeros(2, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_token_head_formula(name):
    shape, weight = SHAPES[name], torch.nn.Parameter(numbers(60, 32).detach())
    head = shaken(TokenHead(shape, weight), shape).double()
    values = numbers(4, 32)
    hidden = F.layer_norm(F.gelu(head.dense(values)), (32,), head.norm.weight, head.norm.bias, shape.norm_epsilon)
    close(head(values), hidden @ weight.T + head.bias)


def test_pool_heads():
    values = numbers(4, 32)
    bert = shaken(PoolHead(SHAPES["bert"]), SHAPES["bert"]).double()
    close(bert(values), torch.tanh(values @ bert.dense.weight.T + bert.dense.bias))
    modern = shaken(PoolHead(SHAPES["modernbert"]), SHAPES["modernbert"]).double()
    assert set(modern.state_dict()) == {"dense.weight", "norm.weight"}
    close(modern(values), F.layer_norm(F.gelu(values @ modern.dense.weight.T), (32,), modern.norm.weight))


def test_first_norm_can_be_had():
    model = Whole(small("modernbert", first_norm=True))
    assert "backbone.encoder.blocks.0.attention_norm.weight" in model.state_dict()
    assert "backbone.encoder.blocks.0.attention_norm.weight" not in Whole(SHAPES["modernbert"]).state_dict()
