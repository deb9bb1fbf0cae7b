"""Causal shapes: no step sees a later one or another document; keys and values that are kept give the same numbers."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from firth.errors import InputError
from firth.model.block import RmsNorm, _RmsNorm
from firth.model.cache import Cache
from firth.model.causal import blocks, causal
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.sizes import shape_of
from tests.models import CAUSAL, SHAPES, VOCABULARY, Whole, backbone, tokens

LENGTHS = (3, 9, 6)
exact = {"rtol": 1e-9, "atol": 1e-10}


def numbers(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def texts(steps: int, rows: int = 3) -> torch.Tensor:
    """(B, T): numbers of documents that begin at random steps."""
    begins = torch.rand(rows, steps, generator=torch.Generator().manual_seed(4)) < 0.2
    return begins.long().cumsum(1)


def against_other_texts(documents: torch.Tensor) -> torch.Tensor:
    """(B, 1, T, T)"""
    steps = documents.shape[1]
    hidden = (documents[:, :, None] != documents[:, None])[:, None] | torch.ones(steps, steps).triu(1).bool()
    return torch.zeros(hidden.shape, dtype=torch.float64).masked_fill_(hidden, torch.finfo(torch.float64).min)


@pytest.mark.parametrize("masked", [False, True], ids=["alone", "documents"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("steps", [1, 5, 64, 130])
def test_attention_by_blocks_is_the_formula(steps, groups, masked):
    query, grad = (numbers(3, 4, steps, 6, seed=s).requires_grad_() for s in (0, 3))
    key, value = (numbers(3, groups, steps, 6, seed=s).requires_grad_() for s in (1, 2))
    mask = against_other_texts(texts(steps)) if masked else None
    spread = [one.repeat_interleave(4 // groups, 1) for one in (key, value)]
    theirs = F.scaled_dot_product_attention(query, *spread, mask, is_causal=mask is None)
    ours = causal(query, key, value, mask)
    assert_close(ours, theirs)
    inputs = (query, key, value)
    assert_close(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad))


def test_blocks_cover_all_steps():
    for steps in (1, 64, 65, 300, 600, 1025):
        found = list(blocks(steps))
        assert found[0][0] == 0 and found[-1][1] == steps
        assert all(one[1] == other[0] for one, other in pairwise(found))


def test_dropout_of_causal_attention_keeps_the_mean_and_has_the_gradient_of_what_was_dropped():
    query, key = numbers(1, 2, 3, 4), numbers(1, 1, 3, 4, seed=1)
    ones = torch.ones(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    drawn = torch.stack([causal(query, key, ones, None, 0.3) for _ in range(2000)])
    assert drawn.std() > 0.1
    assert_close(drawn.mean(0), torch.ones_like(drawn[0]), rtol=0, atol=0.05)

    def seeded(*inputs):
        torch.manual_seed(1)
        return causal(*inputs, None, 0.4)

    assert torch.autograd.gradcheck(seeded, (query.requires_grad_(), key.requires_grad_(), ones))


@pytest.mark.parametrize("kind", ["plain", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
def test_no_step_sees_a_later_one(name, kind):
    model = backbone(CAUSAL[name])
    model.set_attention(kind)
    rows = tokens()
    other = rows.clone()
    other[:, 12:] = (other[:, 12:] + 1) % VOCABULARY
    one, two = (model({"tokens": batch}).values for batch in (rows, other))
    assert_close(one[:, :12], two[:, :12], **exact)
    assert (one[:, 12:] - two[:, 12:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("name", SHAPES)
def test_any_shape_can_be_made_causal(name):
    model, rows = backbone(SHAPES[name]), tokens(1)
    whole = model({"tokens": rows}, causal=True).values
    for end in (1, 7):
        assert_close(model({"tokens": rows[:, :end]}, causal=True).values, whole[:, :end], **exact)


@pytest.mark.parametrize("kind", ["plain", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_packed_document_is_the_document_alone(name, kind):
    model, rows = backbone(CAUSAL[name]), tokens(1, 20)
    model.set_attention(kind)
    documents = torch.tensor([[0] * 7 + [1] * 8 + [2] * 5])
    position = torch.tensor([[*range(7), *range(8), *range(5)]])
    packed = model({"tokens": rows, "documents": documents, "position": position}).values
    for begin, end in ((0, 7), (7, 15), (15, 20)):
        assert_close(packed[:, begin:end], model({"tokens": rows[:, begin:end]}).values, **exact)
    assert (packed - model({"tokens": rows}).values).abs()[:, 7:].amax() > 1e-3


@pytest.mark.parametrize("kind", ["plain", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
def test_kept_steps_are_those_of_the_whole(name, kind):
    model, rows = backbone(CAUSAL[name]), tokens()
    model.set_attention(kind)
    keep = torch.tensor([[0, 5, 19], [0, 3, 4], [0, 18, 19]])
    whole = model({"tokens": rows}).values
    assert_close(
        model({"tokens": rows}, keep=keep).values, whole.gather(1, keep[..., None].expand(-1, -1, 32)), **exact
    )


@pytest.mark.parametrize("kind", ["plain", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("cuts", [(1,) * 20, (7, 1, 1, 11), (20,)], ids=["single", "pieces", "whole"])
def test_kept_keys_and_values_give_the_numbers_of_the_whole(name, cuts, kind):
    model, rows, cache = backbone(CAUSAL[name]), tokens(), Cache(3)
    model.set_attention(kind)
    found = [model({"tokens": piece}, cache=cache).values for piece in rows.split(cuts, 1)]
    assert cache.steps == 20
    assert_close(torch.cat(found, 1), model({"tokens": rows}).values, **exact)


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 9) rows of LENGTHS tokens, and where they are padding."""
    step = torch.arange(9)[None]
    lengths = torch.tensor(LENGTHS)[:, None]
    pad = step >= lengths if side == "right" else step < 9 - lengths
    return tokens(3, 9).masked_fill(pad, 5), pad


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", CAUSAL)
def test_rows_of_unequal_length_go_on_as_if_alone(name, side):
    model, cache = backbone(CAUSAL[name]), Cache(3)
    rows, pad = padded(side)
    more = tokens(3, 70, seed=9)[:, :30]  # beyond the first room for keys
    first = model({"tokens": rows, "pad": pad}, cache=cache).values
    later = [model({"tokens": step}, cache=cache).values for step in (more[:, :2], *more[:, 2:].split(1, 1))]
    for row in range(3):
        real = ~pad[row]
        alone = model({"tokens": torch.cat([rows[row, real], more[row]])[None]}).values[0]
        together = torch.cat([first[row, real], *(values[row] for values in later)])
        assert_close(together, alone, **exact)


def test_a_cache_may_go_on_with_some_of_its_rows():
    model, cache = backbone(CAUSAL["llama-grouped"]), Cache(3)
    rows, pad = padded("left")
    model({"tokens": rows, "pad": pad}, cache=cache)
    chosen, step = torch.tensor([2, 0, 2]), tokens(3, 1, seed=3)
    some = cache.of_rows(chosen)
    found = model({"tokens": step}, cache=some).values
    assert cache.steps == 9 and some.steps == 10
    for place, row in enumerate(chosen.tolist()):
        alone = torch.cat([rows[row, ~pad[row]], step[place]])[None]
        assert_close(found[place], model({"tokens": alone}).values[0, -1:], **exact)


def test_the_last_step_alone_may_be_kept_while_the_cache_fills():
    model, rows, cache = backbone(CAUSAL["llama-grouped"]), tokens(), Cache(3)
    last = torch.full((3, 1), 18)
    one = model({"tokens": rows[:, :19]}, keep=last, cache=cache).values
    two = model({"tokens": rows[:, 19:]}, cache=cache).values
    assert_close(torch.cat([one, two], 1), model({"tokens": rows}).values[:, -2:], **exact)


@pytest.mark.parametrize("name", CAUSAL)
def test_kept_steps_of_padded_rows_while_the_cache_fills(name):
    model, (rows, pad) = backbone(CAUSAL[name]), padded("left")
    keep = torch.tensor([[7, 8]] * 3)
    found = model({"tokens": rows, "pad": pad}, keep=keep, cache=Cache(3)).values
    assert_close(found, model({"tokens": rows, "pad": pad}, cache=Cache(3)).values[:, 7:], **exact)


def test_windows_keep_no_cache():
    with pytest.raises(ValueError, match="keep no cache"):
        backbone(SHAPES["local"])({"tokens": tokens()}, cache=Cache(3))


@pytest.mark.parametrize("name", CAUSAL)
def test_training_and_no_gradient_give_the_same(name):
    model = backbone(CAUSAL[name])
    with torch.no_grad():
        still = model({"tokens": tokens()}).values
    assert_close(model({"tokens": tokens()}).values, still, **exact)


def test_rms_norm_is_torchs():
    values, norm = numbers(3, 5, 8).requires_grad_(), RmsNorm(8, 1e-5).double()
    with torch.no_grad():
        norm.weight.copy_(numbers(8, seed=1))
    assert_close(norm(values), F.rms_norm(values, (8,), norm.weight, 1e-5))
    assert torch.autograd.gradcheck(lambda *inputs: _RmsNorm.apply(*inputs, 1e-5), (values, norm.weight))


def count(name: str, **fields) -> int:
    shape = shape_of(name, fields.pop("size"), fields.pop("vocabulary"), fields.pop("positions"), **fields)
    with torch.device("meta"):
        return sum(p.numel() for p in Backbone(shape, TokenEmbedding(shape)).parameters())


def test_published_sizes():
    """GPT-2 small, and Llama 3.2 1B, as their model cards count them."""
    assert count("gpt2", size="12x768", vocabulary=50257, positions=1024) == 124_439_808
    llama = {"size": "16x2048", "vocabulary": 128256, "positions": 131072, "key_heads": 8, "intermediate": 8192}
    assert count("llama", **llama) == 1_235_814_400


@pytest.mark.parametrize("size", ["tiny", "mini", "small", "medium", "base", "large"])
def test_every_size_builds(size):
    llama, gpt2 = (shape_of(name, size, 100) for name in ("llama", "gpt2"))
    assert llama.causal and gpt2.causal and llama.heads == gpt2.heads == 2 * llama.groups
    assert gpt2.intermediate == 4 * gpt2.width and llama.intermediate % 64 == 0
    with torch.device("meta"):
        assert Whole(llama.model_copy(update={"layers": 1}), "next-token")


def test_equal_architectures_are_equal_values():
    assert shape_of("llama", "2x32", 60, heads=4, key_heads=4, head_size=8) == shape_of(
        "llama", "2x32", 60, heads=4, key_heads=4
    )


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        (
            "llama",
            {"key_heads": 3},
            "model.key_heads = 3: 4 heads do not divide into it. Set model.key_heads to a number that divides 4.",
        ),
        (
            "gpt2",
            {"key_heads": 2},
            "model.key_heads = 2: in the shape gpt2, each of its 4 heads has keys of its own. "
            "Leave it out, or set model.shape = llama.",
        ),
        (
            "modernbert",
            {"tied": False},
            "model.tied = false: the output map of the shape modernbert is its embedding. "
            "Leave it out, or set model.shape = llama or gpt2.",
        ),
    ],
)
def test_messages(name, own, message):
    with pytest.raises(InputError) as raised:
        shape_of(name, "mini", 100, **own)
    assert str(raised.value) == message
