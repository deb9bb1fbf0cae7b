"""The co-occurrence start: against a plain NumPy reference on toy text, its boundaries, its place in a model, speed."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from firth.functional.random import Draw
from firth.model.sizes import shape_of
from firth.signal import Sample
from firth.starts import co_occurrence as start_module

SPECIAL = (0, 1, 2, 3, 4)


class Rows:
    """A source of given token rows."""

    def __init__(self, rows):
        self.rows = [np.asarray(row, np.int32) for row in rows]

    def __len__(self):
        return len(self.rows)

    def get(self, indices, draw):
        return [Sample((self.rows[i],), int(i)) for i in indices]


class Toy(nn.Module):
    """As much of a Composed as a start touches: an embedding, a head with an output bias, configs."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.shape = shape_of("bert", f"1x{width}", vocabulary, heads=1)
        self.backbone.embed = nn.Module()
        self.backbone.embed.word = nn.Embedding(vocabulary, width)
        self.head = nn.Module()
        self.head.bias = nn.Parameter(torch.zeros(vocabulary))
        self.configs = [SimpleNamespace(special_ids=SPECIAL)]


def reference_counts(rows, vocabulary, window=5):
    """Both directions, pair by pair; a special token ends the window."""
    counts = np.zeros((vocabulary, vocabulary))
    for row in rows:
        for i, word in enumerate(row):
            for j in range(i + 1, min(i + window + 1, len(row))):
                if word in SPECIAL or row[j] in SPECIAL:
                    break
                counts[word, row[j]] += 1
                counts[row[j], word] += 1
    return counts


def reference_ppmi(counts):
    """Levy, Goldberg & Dagan 2015, equations 1 to 3, as written there; 0 where a count is 0."""
    words, contexts = counts.sum(1), counts.sum(0) ** 0.75
    joint = counts / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(joint / ((words / words.sum())[:, None] * (contexts / contexts.sum())[None, :]))
    return np.where(counts > 0, np.maximum(pmi, 0), 0)


def text(samples=40, length=50, vocabulary=60, seed=0):
    """Rows of skewed random tokens with a [SEP] here and there."""
    source = np.random.default_rng(seed)
    rows = (source.random((samples, length)) ** 3 * (vocabulary - 5)).astype(np.int64) + 5
    rows[source.random(rows.shape) < 0.04] = 3
    return rows


def counted(rows, vocabulary=60, window=5):
    stream = start_module.read(Rows(rows), Draw(0), 10**9)
    ranks = start_module.rank(stream, vocabulary, SPECIAL)
    return ranks, start_module.count(stream, ranks)


def test_counts_equal_the_reference():
    rows = text()
    ranks, counts = counted(rows)
    expected = reference_counts(rows, 60)[np.ix_(ranks.ids, ranks.ids)]
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_chunks_lose_and_double_nothing(monkeypatch):
    rows = text()
    whole = counted(rows)[1]
    monkeypatch.setattr(start_module, "CHUNK", 37)
    assert torch.equal(counted(rows)[1], whole)


def test_fewer_contexts_keep_the_columns_of_the_most_frequent(monkeypatch):
    rows = text()
    ranks, whole = counted(rows)
    monkeypatch.setattr(start_module, "CELLS", 12 * len(ranks.ids))
    fewer = counted(rows)[1]
    assert fewer.shape == (len(ranks.ids), 12)
    assert torch.equal(fewer, whole[:, :12])


def test_nothing_is_counted_across_samples_parts_and_special_tokens():
    ranks, counts = counted([[10, 11], [12, 13], [14, 3, 15]], 20)
    pairs = {(int(ranks.ids[i]), int(ranks.ids[j])) for i, j in counts.nonzero().tolist()}
    assert pairs == {(10, 11), (11, 10), (12, 13), (13, 12)}
    two_parts = SimpleNamespace(__len__=lambda: 1, get=lambda i, d: [Sample((np.array([10]), np.array([11])), 0)])
    assert start_module._tokens(two_parts, np.arange(1), Draw(0)).tolist() == [-1, 10, -1, 11, -1]


def test_the_window_is_five_tokens_to_either_side():
    ranks, counts = counted([range(10, 20)], 20)
    place = {int(token): rank for rank, token in enumerate(ranks.ids)}
    near = [other for other in range(10, 20) if counts[place[10], place[other]] > 0]
    assert near == [11, 12, 13, 14, 15]
    assert torch.equal(counts, counts.T)


def test_ranks_leave_out_special_and_unseen_tokens():
    ranks = start_module.rank(np.array([7, 7, 6, 3, -1, 9, 6, 7]), 12, SPECIAL)
    assert ranks.ids.tolist() == [7, 6, 9]
    assert ranks.of[[7, 6, 9, 3, 8]].tolist() == [0, 1, 2, -1, -1]
    assert ranks.counts.sum() == 6


def test_ppmi_equals_the_reference():
    counts = reference_counts(text(), 60)[5:, 5:]
    ours = start_module.ppmi(torch.tensor(counts, dtype=torch.float32))
    np.testing.assert_allclose(ours.numpy(), reference_ppmi(counts), atol=2e-5)


def test_ppmi_of_a_word_without_company_is_zero():
    counts = torch.tensor([[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    ours = start_module.ppmi(counts)
    assert torch.isfinite(ours).all() and (ours[2] == 0).all() and ours[0, 1] > 0


def test_factorise_equals_the_full_decomposition():
    matrix = reference_ppmi(reference_counts(text(samples=200), 60)[5:, 5:])
    left, values, _ = np.linalg.svd(matrix)
    ours = start_module.factorise(torch.tensor(matrix, dtype=torch.float32), 16).numpy()
    expected = left[:, :16] * values[:16] ** 0.5
    np.testing.assert_allclose(ours @ ours.T, expected @ expected.T, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=0), values[:16] ** 0.5, rtol=1e-3)
    assert (ours[np.abs(ours).argmax(0), range(16)] > 0).all()


def test_factorise_finds_the_subspace_of_a_large_matrix_within_a_percent():
    source = torch.Generator().manual_seed(1)
    left = torch.linalg.qr(torch.randn(600, 300, generator=source)).Q
    matrix = (left * torch.arange(1, 301) ** -0.5) @ torch.linalg.qr(torch.randn(500, 300, generator=source)).Q.T
    ours = start_module.factorise(matrix, 64)
    values, exact = ours.norm(dim=0) ** 2, torch.linalg.svdvals(matrix)[:64]
    torch.testing.assert_close(values[:32], exact[:32], rtol=0.01, atol=0)
    torch.testing.assert_close(values, exact, rtol=0.05, atol=0)


def test_embeddings_are_centred_scaled_and_put_at_their_tokens():
    weight = nn.Parameter(torch.zeros(60, 8))
    ranks = start_module.rank(text().ravel(), 60, SPECIAL)
    vectors = torch.randn(len(ranks.ids), 8, generator=torch.Generator().manual_seed(0)) * 7 + 3
    start_module.write_embeddings(weight, ranks, vectors, 0.02)
    rows = weight.detach()[ranks.ids]
    assert rows.mean(0).abs().max() < 1e-6
    assert float(rows.std()) == pytest.approx(0.02, rel=1e-3)
    torch.testing.assert_close(torch.corrcoef(torch.stack([rows.ravel(), (vectors - vectors.mean(0)).ravel()]))[0, 1],
                               torch.tensor(1.0))  # fmt: skip


def test_special_and_unseen_tokens_and_missing_columns_get_noise():
    weight = nn.Parameter(torch.zeros(400, 30))
    ranks = start_module.rank(np.repeat(np.arange(10, 20), 3), 400, SPECIAL)
    start_module.write_embeddings(weight, ranks, torch.randn(10, 8), 0.02)
    noise = weight.detach()[20:]
    assert float(noise.std()) == pytest.approx(0.02, rel=0.05) and abs(float(noise.mean())) < 1e-3
    assert float(weight.detach()[10:20, 8:].std()) == pytest.approx(0.02, rel=0.3)
    assert len(torch.unique(weight.detach()[:5], dim=0)) == 5


def test_start_writes_embeddings_and_output_bias_and_says_what_it_counted():
    rows, toy = text(), Toy(60, 16)
    facts = start_module.start(toy, Rows(rows), Draw(0))
    words = int((rows != 3).sum())
    assert facts["tokens"] == words and facts["columns"] == 16 and facts["seconds"] >= 0
    counts = np.bincount(rows[rows != 3], minlength=60)
    expected = np.log((counts + 1) / (words + 60))
    np.testing.assert_allclose(toy.head.bias.detach().numpy(), expected, atol=1e-5)
    assert float(toy.head.bias.detach().exp().sum()) == pytest.approx(1.0, rel=1e-5)


def test_start_repeats_bit_for_bit_and_follows_the_seed():
    def embeddings(seed):
        toy = Toy(60, 16)
        start_module.start(toy, Rows(text()), Draw(seed))
        return toy.backbone.embed.word.weight.detach().clone()

    assert torch.equal(embeddings(0), embeddings(0))
    assert not torch.equal(embeddings(0)[:5], embeddings(1)[:5])


def test_words_of_like_company_become_alike():
    """Tokens 10 and 11 stand in the same places, as do 20 and 21; each pair ends up closer than across."""
    source = np.random.default_rng(0)
    rows = [[pair + source.integers(2), pair + 2 + source.integers(2), pair + 4 + source.integers(3), pair + 7]
            for pair in (10, 20) * 400]  # fmt: skip
    toy = Toy(40, 8)
    start_module.start(toy, Rows(rows), Draw(0))
    rows = nn.functional.normalize(toy.backbone.embed.word.weight.detach(), dim=-1)
    assert rows[10] @ rows[11] > 0.8 and rows[20] @ rows[21] > 0.8
    assert rows[10] @ rows[20] < 0.3


def test_the_limit_takes_rows_from_all_over_the_source():
    rows = Rows([[10 + i // 100] * 20 for i in range(1000)])
    stream = start_module.read(rows, Draw(0), 2_000)
    assert 1_900 <= len(stream) <= 2_200
    assert set(stream[stream >= 0].tolist()) == set(range(10, 20))


@pytest.mark.parametrize("rows", [[], [[3, 3]], [[9]], [[9, 9, 9]]], ids=["nothing", "special", "one", "same"])
def test_text_without_company_leaves_the_model_as_it_was(rows):
    toy = Toy(60, 16)
    before = toy.backbone.embed.word.weight.detach().clone()
    assert start_module.start(toy, Rows(rows), Draw(0))["columns"] == 0
    assert torch.equal(toy.backbone.embed.word.weight, before)


def test_special_ids_are_those_that_the_parts_name():
    named = [SimpleNamespace(special_ids=(3, 1)), SimpleNamespace(), SimpleNamespace(special_ids=(1, 7))]
    objective = SimpleNamespace(configs=named)
    assert start_module.special_ids(objective) == (1, 3, 7)


def test_a_million_tokens_take_seconds():
    source = np.random.default_rng(0)
    rows = (source.random((8_000, 126)) ** 6 * 8_187).astype(np.int32) + 5
    began = time.process_time()
    facts = start_module.start(Toy(8_192, 128), Rows(rows), Draw(0))
    assert facts["tokens"] == rows.size
    assert time.process_time() - began < 20  # processor time of one thread; about 3 s on a plain laptop core
