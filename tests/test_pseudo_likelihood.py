"""Pseudo-log-likelihoods against `transformers`, one hidden token at a time, and as a scorer of minimal pairs."""

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.evaluate import pseudo_likelihood
from firth.evaluate.minimal_pairs import minimal_pairs
from firth.evaluate.predict import load
from firth.evaluate.pseudo_likelihood import scorer
from tests import contract, runs
from tests.labelled_files import write_minimal_pairs

SENTENCES = ["The ship meets the tide.", "The deep sail", "a", "The wide harbour follows the old captain."]


@pytest.fixture(scope="module")
def loaded():
    return load(runs.folder() / "pretrained", device="cpu")


@pytest.fixture(scope="module")
def score(loaded):
    return scorer(loaded.objective, loaded.signal)


def by_transformers(sentence: str, first: int = 1) -> tuple[float, bool]:
    """Σ log p of the tokens from step `first` on, and whether each is the likeliest."""
    transformers = pytest.importorskip("transformers")
    folder = runs.folder() / "pretrained" / "model"
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
    nats, right = 0.0, True
    for step in range(first, ids.shape[1] - 1):
        hidden = ids.clone()
        hidden[0, step] = tokenizer.mask_token_id
        with torch.inference_mode():
            logs = model(hidden).logits[0, step].log_softmax(-1)
        nats, right = nats + logs[ids[0, step]].item(), right and int(logs.argmax()) == int(ids[0, step])
    return nats, right


def test_sums_are_those_of_transformers(score):
    found = score([""] * len(SENTENCES), [[one] for one in SENTENCES])
    for sentence, (one,) in zip(SENTENCES, found, strict=True):
        nats, right = by_transformers(sentence)
        assert one.nats == pytest.approx(nats, abs=1e-3) and one.greedy == right and one.tokens >= 1


def test_only_the_option_counts_behind_a_prompt(loaded, score):
    (one, other), = score(["The ship meets"], [[" the tide.", " the field."]])  # fmt: skip
    first = 1 + len(loaded.signal.encode(["The ship meets"])[0].ids)
    assert one.nats == pytest.approx(by_transformers("The ship meets the tide.", first)[0], abs=1e-3)
    assert other.nats == pytest.approx(by_transformers("The ship meets the field.", first)[0], abs=1e-3)


def test_batches_change_nothing(score, monkeypatch):
    together = score([""], [SENTENCES])[0]
    monkeypatch.setattr(pseudo_likelihood, "TOGETHER", 1)
    alone = score([""], [SENTENCES])[0]
    np.testing.assert_allclose([one.nats for one in together], [one.nats for one in alone], atol=1e-4)
    assert [one.tokens for one in together] == [one.tokens for one in alone]


def test_batches_are_bounded(loaded, monkeypatch):
    monkeypatch.setattr(pseudo_likelihood, "TOGETHER", 60)
    sizes = []

    def guesses(part, signal, rows):
        sizes.append((len(rows), max(len(one.ids) for one in rows) + 2))
        return torch.zeros(len(rows)), torch.ones(len(rows), dtype=torch.bool)

    monkeypatch.setattr(pseudo_likelihood, "guesses", guesses)
    ids = [np.zeros(n, np.int32) for n in range(1, 12)]
    found = pseudo_likelihood.of_rows(loaded.objective.parts["masked-tokens"], loaded.signal, ids, [0] * len(ids))
    assert [one.tokens for one in found] == list(range(1, 12)) and sizes[0][1] == 13
    assert sum(rows for rows, _ in sizes) == 66 and all(rows * steps <= 60 for rows, steps in sizes)


def test_the_modes_of_the_model_stay(loaded, score):
    loaded.objective.train()
    before = score([""], [["The ship meets the tide."]])
    assert loaded.objective.training and before == score([""], [["The ship meets the tide."]])
    loaded.objective.eval()


def test_minimal_pairs_of_a_run(score, tmp_path):
    found = minimal_pairs(score, write_minimal_pairs(tmp_path, 10))
    assert found.pairs == 20 and found.ties == 0 and 0 <= found.average <= 1


def test_a_text_beyond_the_context_is_refused(score, loaded):
    text = "ship " * loaded.signal.config.context
    size = len(loaded.signal.encode([text])[0].ids) + 2
    with pytest.raises(InputError) as caught:
        score([""], [[text]])
    assert str(caught.value) == (
        f"`{text[:39]}…`: has {size} tokens, the context {loaded.signal.config.context}. "
        f"Shorten it, or raise the context: text.context={size}."
    )


def test_an_objective_that_hides_nothing_is_refused():
    objective = contract.build(["classify"])
    with pytest.raises(InputError) as caught:
        scorer(objective, contract.SIGNAL)
    assert str(caught.value) == (
        "objective `classify`: does not fill in hidden tokens. Give a run with the objective masked-tokens."
    )
