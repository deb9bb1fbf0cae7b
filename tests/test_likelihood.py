"""Likelihoods of a model that writes on: against `transformers`, alone and together, with a beginning kept or not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.evaluate.predict import load
from firth.objectives import _likelihood, next_token
from firth.objectives._likelihood import alike, batches, likelihoods
from tests import runs

SENTENCES = ["The ship meets the tide.", "The deep sail", "a", "The wide harbour follows the old captain."]
LONG = "The deep ship meets the tide. The cow leaves the barn. " * 2


@pytest.fixture(scope="module")
def loaded():
    return load(runs.writer(), device="cpu")


@pytest.fixture(scope="module")
def score(loaded):
    return next_token.scorer(loaded.objective, loaded.signal)


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    folder = runs.writer() / "model"
    return (transformers.AutoModelForCausalLM.from_pretrained(folder).eval(),
            transformers.AutoTokenizer.from_pretrained(folder))  # fmt: skip


@torch.inference_mode()
def by_transformers(theirs, prompt: str, option: str) -> tuple[float, int, bool]:
    """Σ log p of the option's tokens, their number, and whether each is the likeliest."""
    model, tokenizer = theirs
    ids = tokenizer(prompt + option, return_tensors="pt")["input_ids"]
    begin = len(tokenizer(prompt.rstrip())["input_ids"])
    logs = model(ids).logits[0, begin - 1 : -1].log_softmax(-1)
    truth = ids[0, begin:]
    return (logs.gather(1, truth[:, None]).sum().item(), len(truth), bool((logs.argmax(-1) == truth).all()))


def compared(found, expected) -> None:
    assert found.nats == pytest.approx(expected[0], abs=1e-3) and found[1:] == expected[1:]


def test_sums_are_those_of_transformers(score, theirs):
    found = score([""] * len(SENTENCES), [[one] for one in SENTENCES])
    for text, (one,) in zip(SENTENCES, found, strict=True):
        compared(one, by_transformers(theirs, "", text))


def test_the_blank_that_a_prompt_ends_with_counts_with_the_option(score):
    """As in lm-eval: the blank is written with the word that follows, and something of each option counts."""
    options = ["the tide.", "the field. The cow", "a"]
    (found,), (expected,) = (
        score(["The ship meets "], [options]),
        score(["The ship meets"], [[f" {o}" for o in options]]),
    )
    assert [one.tokens for one in found] == [one.tokens for one in expected] and min(one.tokens for one in found) > 0
    assert [one.nats for one in found] == pytest.approx([one.nats for one in expected], abs=1e-4)


@pytest.mark.parametrize("prompt", ["The ship meets", LONG, LONG + "The"])
def test_only_the_option_counts_behind_a_prompt(score, theirs, prompt):
    options = [" the tide.", " the field. The cow", " a"]
    (found,) = score([prompt], [options])
    for option, one in zip(options, found, strict=True):
        compared(one, by_transformers(theirs, prompt, option))


def test_what_all_rows_begin_with_is_read_once_and_changes_nothing(score, monkeypatch):
    prompts, options = [LONG + end for end in ("The ship", "The old cow", "A")], [[" meets it.", " the"]] * 3
    reads = []
    monkeypatch.setattr(_likelihood, "read", lambda *given, real=_likelihood.read: reads.append(1) or real(*given))
    together = score(prompts, options)
    assert reads == [1]
    monkeypatch.setattr(_likelihood, "ALIKE", 10**6)
    alone = score(prompts, options)
    assert reads == [1]
    for one, other in zip(np.array(together).reshape(-1, 3), np.array(alone).reshape(-1, 3), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4) and one[1:].tolist() == other[1:].tolist()


def test_batches_and_chunks_change_nothing(score, monkeypatch):
    together = score([""], [SENTENCES])[0]
    monkeypatch.setattr(_likelihood, "STEPS", 1)
    monkeypatch.setattr(_likelihood, "LOGITS", 1)
    alone = score([""], [SENTENCES])[0]
    np.testing.assert_allclose([one.nats for one in together], [one.nats for one in alone], atol=1e-4)
    assert [one[1:] for one in together] == [one[1:] for one in alone]


def test_a_token_across_the_end_of_a_prompt_counts_in_every_option(monkeypatch):
    """What was read of the prompt alone is then no beginning of the whole: "ab" is [1, 2], and "abc" [1, 9]."""
    ids, asked = {"ab": [1, 2], "abc": [1, 9], "abd": [1, 2, 3]}, []
    signal = SimpleNamespace(encode=lambda texts: [SimpleNamespace(ids=ids[text]) for text in texts],
                             ends=SimpleNamespace(before=(7,)), config=SimpleNamespace(context=9))  # fmt: skip
    monkeypatch.setattr(_likelihood, "likelihoods", lambda part, rows, begins: asked.append((rows, begins)) or "CD")
    assert _likelihood.scorer(None, signal)(["ab"], [["c", "d"]]) == [["C", "D"]]
    ((rows, begins),) = asked
    assert [row.tolist() for row in rows] == [[7, 1, 9], [7, 1, 2, 3]] and begins == [2, 2]


def test_a_model_finds_greedy_what_it_writes(loaded, score):
    (one,) = loaded.predict(["The ship"], tokens=6, temperature=0)
    (found,) = score(["The ship"], [[one.written, one.written + " x"]])
    assert [said.greedy for said in found] == [True, False]


def test_an_option_of_nothing_costs_nothing(score):
    assert score(["The ship"], [[""]]) == [[(0.0, 0, True)]]


@pytest.mark.parametrize(
    ("rows", "most", "size"),
    [
        ([[1] * 30, [1] * 40], 29, 29),
        ([[1] * 30, [1] * 26 + [2] * 4], 29, 26),
        ([[1] * 30, [1] * 10 + [2] * 20], 29, 0),
        ([[1] * 30], 29, 0),
        ([[1] * 30, [1] * 30], 10, 0),
    ],
)
def test_how_far_rows_are_alike(rows, most, size):
    assert alike([np.array(row) for row in rows], most) == size


def test_batches_are_bounded_and_whole():
    lengths = [3, 50, 1, 7, 7, 12]
    found = list(batches(lengths, 20))
    assert sorted(place for some in found for place in some) == list(range(6))
    assert found[0] == [1] and all(len(some) * lengths[some[0]] <= 20 for some in found[1:])


def test_modes_stay_and_gradients_are_not_kept(loaded):
    part = next_token.part_of(loaded.objective)
    part.backbone.train()
    rows = [np.array([0, 5, 6, 7], np.int32)]
    assert likelihoods(part, rows, [1]) == likelihoods(part, rows, [1]) and part.backbone.training
    part.backbone.eval()


def test_a_text_beyond_the_context_is_refused(loaded, score):
    text = "ship " * loaded.signal.config.context
    size = len(loaded.signal.encode([text])[0].ids) + 1
    with pytest.raises(InputError) as caught:
        score([""], [[text]])
    assert str(caught.value) == (
        f"`{text[:39]}…`: has {size:,} tokens, the context {loaded.signal.config.context}. "
        f"Shorten it, or raise the context: text.context={size}."
    )
