"""Writing on: the same tokens with and without a cache, alone and in a batch, here and in transformers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth.model.generate import Writer
from firth.model.sampling import Writing, choose, penalised, trimmed
from tests.models import CAUSAL, VOCABULARY, Whole


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-6])
def test_the_coldest_temperatures_write_the_likeliest(temperature):
    logits = torch.tensor([[3.0, 90.0, 89.9], [5e4, 1.0, -5e4]])
    found = choose(logits, [[], []], Writing(temperature=temperature), torch.tensor([0.0, 0.999999]))
    assert found.tolist() == [1, 0]


GREEDY = Writing(tokens=12, temperature=0.0)
MODELS = {name: Whole(CAUSAL[name], "next-token") for name in ("llama-grouped", "gpt2")}
BOTH = pytest.mark.parametrize("name", MODELS)


def prompts(count: int, longest: int = 20, seed: int = 0) -> list[list[int]]:
    source = np.random.default_rng(seed)
    return [source.integers(0, VOCABULARY, source.integers(1, longest + 1)).tolist() for _ in range(count)]


def written(name: str, rows, writing: Writing = GREEDY, context: int = 48, **own) -> list[list[int]]:
    model = MODELS[name]
    writer = Writer(model.backbone, model.parts["next-token"].head, rows, writing, context, **own)
    while not writer.over:
        writer.step()
    return writer.written


@BOTH
def test_two_hundred_prompts_give_the_same_tokens_alone_in_a_batch_and_without_a_cache(name):
    """The end token is one that comes up, so that rows end at different times."""
    rows = prompts(100)
    end = written(name, rows[:1])[0][4]
    together = written(name, rows, end_id=end)
    assert together == written(name, rows, end_id=end, cached=False)
    assert together == [written(name, [row], end_id=end)[0] for row in rows]
    assert len({len(one) for one in together}) > 1


@BOTH
def test_a_full_window_goes_on_with_its_newer_half_alone_and_in_a_batch(name):
    rows, writing = prompts(12, 30, seed=1), Writing(tokens=40, temperature=0.0)
    together = written(name, rows, writing, context=16)
    assert together == written(name, rows, writing, context=16, cached=False)
    assert together == [written(name, [row], writing, context=16)[0] for row in rows]
    assert {len(one) for one in together} == {40}
    row = rows[0][-16:] + together[0]
    assert (
        together[0][17 - len(rows[0][-16:]) :][:1]
        == written(name, [row[9:17]], Writing(tokens=1, temperature=0.0))[0][:1]
    )


@BOTH
def test_of_a_long_prompt_the_last_tokens_of_the_context_are_read(name):
    (row,) = prompts(1, 1, seed=2)
    long = [*row, *range(40)]
    one = Writing(tokens=1, temperature=0.0)
    assert written(name, [long], one, context=16) == written(name, [long[-16:]], one, context=16)


@BOTH
def test_greedy_tokens_equal_those_of_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    from firth.interop.folder import save_folder

    save_folder(tmp_path, CAUSAL[name], MODELS[name].state_dict(), facts={"bos_token_id": 3, "eos_token_id": 3})
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    rows = prompts(20, seed=3)
    for row, ours in zip(rows, written(name, rows, end_id=3), strict=True):
        found = theirs.generate(torch.tensor([row]), max_new_tokens=12, do_sample=False)[0, len(row) :].tolist()
        assert [token for token in found if token != 3] == ours


@BOTH
def test_a_row_is_drawn_by_its_key_and_the_seed_alone(name):
    rows, writing = prompts(6, seed=4), Writing(tokens=12, seed=1)
    keys = [7, 1, 9, 4, 2, 3]
    together = written(name, rows, writing, keys=keys)
    assert together == [written(name, [row], writing, keys=[key])[0] for row, key in zip(rows, keys, strict=True)]
    assert together != written(name, rows, Writing(tokens=12, seed=2), keys=keys)
    same = written(name, [rows[0]] * 8, writing)
    assert len({tuple(one) for one in same}) > 4


def test_rows_that_have_ended_get_no_token():
    model = MODELS["llama-grouped"]
    writer = Writer(model.backbone, model.parts["next-token"].head, prompts(4), GREEDY, 48)
    assert set(writer.step()) == {0, 1, 2, 3}
    writer.stop(1), writer.stop(2), writer.stop(2)
    assert set(writer.step()) == {0, 3} and writer.batch == [0, 3]
    assert [len(one) for one in writer.written] == [2, 1, 1, 2]
    writer.stop(0), writer.stop(3)
    assert writer.over


def test_banned_tokens_never_come_and_only_allowed_ones_do():
    banned = list(range(0, VOCABULARY, 2))
    loose = Writing(tokens=30, temperature=5.0)
    assert all(token % 2 for row in written("gpt2", prompts(5), loose, banned=banned) for token in row)
    allowed = written("gpt2", prompts(5), loose, allowed=lambda so_far: [len(so_far) + 1, len(so_far) + 2])
    assert all(token - place in (1, 2) for row in allowed for place, token in enumerate(row))


# ------------------------------------------------------------------ choosing


def logits(rows: int = 40, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(rows, 50, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("given", "theirs"),
    [
        ({"top_k": 5}, [("TopKLogitsWarper", 5)]),
        ({"top_p": 0.7}, [("TopPLogitsWarper", 0.7)]),
        ({"min_p": 0.1}, [("MinPLogitsWarper", 0.1)]),
        ({"top_k": 20, "top_p": 0.8, "min_p": 0.02}, [("TopKLogitsWarper", 20), ("TopPLogitsWarper", 0.8),
                                                      ("MinPLogitsWarper", 0.02)]),
        ({}, []),
    ],
)  # fmt: skip
def test_what_is_left_out_is_what_transformers_leaves_out(given, theirs):
    transformers = pytest.importorskip("transformers")
    expected = logits()
    for kind, value in theirs:
        expected = getattr(transformers, kind)(value)(None, expected)
    assert torch.equal(trimmed(logits(), Writing(**given)), expected)


def test_the_penalty_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    seen = torch.randint(0, 50, (40, 9), generator=torch.Generator().manual_seed(1))
    expected = transformers.RepetitionPenaltyLogitsProcessor(1.3)(seen, logits())
    torch.testing.assert_close(penalised(logits(), seen.tolist(), 1.3), expected)


def test_tokens_are_drawn_as_often_as_their_probability_says():
    one = logits(1)[:, :6]
    luck = (torch.arange(20_000) + 0.5) / 20_000
    found = choose(one.expand(20_000, -1), [[]] * 20_000, Writing(temperature=1.7), luck)
    shares = torch.bincount(found, minlength=6) / 20_000
    torch.testing.assert_close(shares, (one[0] / 1.7).softmax(-1), rtol=0, atol=1e-3)


@given(luck=st.floats(0, 1, exclude_max=True), temperature=st.floats(0.05, 5), top_k=st.integers(0, 60))
def test_what_is_drawn_was_left_in(luck, temperature, top_k):
    writing = Writing(temperature=temperature, top_k=top_k, top_p=0.6)
    found = choose(logits(3), [[]] * 3, writing, torch.full((3,), luck))
    left = trimmed(logits(3) / temperature, writing)
    assert left.gather(1, found[:, None]).isfinite().all()


def test_temperature_0_is_the_likeliest_whatever_else_is_said():
    found = choose(logits(), [[]] * 40, Writing(temperature=0.0, top_k=3, seed=5), torch.rand(40))
    assert torch.equal(found, logits().argmax(-1))
