"""The co-occurrence start: token embeddings from the company each token keeps, in closed form, before any gradient.

Counts within five tokens (Firth 1957), positive pointwise mutual information (Church & Hanks 1990) with the context
counts to the power 0.75 (Levy, Goldberg & Dagan 2015, section 3.1), truncated singular value decomposition
(Levy & Goldberg 2014; Bullinaria & Levy 2012) to the width of the model. docs/co-occurrence-start.md has the formulas.
"""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.functional.places import evenly
from firth.functional.random import Draw
from firth.model.init import spread_at

# V tokens of the vocabulary, R tokens that occur, C contexts (the C most frequent of them), D width, N tokens of text

NEEDS = frozenset({"tokens"})  # what a signal must offer
WINDOW = 5  # tokens to either side
SMOOTHING = 0.75  # power of the context counts; Levy, Goldberg & Dagan 2015, section 3.1
EIGENVALUE_POWER = 0.5  # U S^0.5; Levy, Goldberg & Dagan 2015, section 3.3
OUTPUT = 1.0  # factor on the rows of an output map that is not the embedding
CELLS = 2**27  # of the count matrix, 4 bytes each; a larger vocabulary gets fewer contexts
CHUNK = 2**20  # tokens counted at once
OVERSAMPLE = 32  # columns drawn beyond the width; Halko, Martinsson & Tropp 2011, section 4.2
POWER_ROUNDS = 2  # multiplications by M Mᵀ; Halko, Martinsson & Tropp 2011, algorithm 4.4
GAP = np.array([-1], np.int32)  # a place in the text that ends a window


class Ranks(NamedTuple):
    """The tokens that occur, the most frequent first."""

    ids: np.ndarray  # (R,) int64: token id of each rank
    of: np.ndarray  # (V,) int32: rank of each token id, -1 where it never occurs or is special
    counts: np.ndarray  # (V,) int64: occurrences of each token id, special ones 0


def start(objective, source, draw: Draw, limit: int = 20_000_000, special: tuple[int, ...] | None = None) -> dict:
    """Write the embeddings and the output of `objective` (a Composed over tokens) from the text in `source`.

    limit:   count at most about this many tokens; windows evenly spread over the source are taken.
    special: token ids that are no words and end a window; by default those that the objectives' Configs name.
    Returns facts for the plan and the run: tokens counted, word types seen, contexts, columns, seconds.
    """
    began = time.perf_counter()
    weight = objective.backbone.embed.word.weight  # (V, D)
    stream = read(source, draw, limit)
    ranks = rank(stream, weight.shape[0], special_ids(objective) if special is None else special)
    if len(ranks.ids) < 2:
        return {"tokens": int(ranks.counts.sum()), "types": len(ranks.ids), "columns": 0, "seconds": 0.0}
    matrix = ppmi(count(stream, ranks))
    vectors = factorise(matrix, weight.shape[1], seed=draw.seed)
    write_embeddings(weight, ranks, vectors, spread_at(objective.backbone.shape), seed=draw.seed)
    write_output(objective, weight)
    write_bias(objective, ranks.counts)
    return {
        "tokens": int(ranks.counts.sum()),
        "types": len(ranks.ids),
        "contexts": matrix.shape[1],
        "columns": vectors.shape[1],
        "seconds": round(time.perf_counter() - began, 2),
    }


def special_ids(objective) -> tuple[int, ...]:
    """The union of what the Configs of the parts name `special_ids`."""
    named = (getattr(config, "special_ids", ()) for config in objective.configs)
    return tuple(sorted({int(token) for ids in named for token in ids}))


def read(source, draw: Draw, limit: int) -> np.ndarray:
    """int32 (N,): the samples' tokens in a row, -1 between samples and between their parts; N about `limit` at most."""
    taken = evenly(len(source), 64)
    samples = limit * len(taken) // len(_tokens(source, taken, draw))
    taken = evenly(len(source), max(samples, 1))
    blocks = [_tokens(source, taken[i : i + 4096], draw) for i in range(0, len(taken), 4096)]
    return np.concatenate([GAP, *blocks])


def _tokens(source, indices: np.ndarray, draw: Draw) -> np.ndarray:
    pieces = [piece for sample in source.get(indices, draw) for part in sample.parts for piece in (part, GAP)]
    return np.concatenate([GAP, *pieces]).astype(np.int32, copy=False)


def rank(stream: np.ndarray, vocabulary: int, special: tuple[int, ...]) -> Ranks:
    """Order the tokens that occur by falling count, equal counts by id."""
    counts = np.bincount(stream[stream >= 0], minlength=vocabulary)
    counts[list(special)] = 0
    ids = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    of = np.full(vocabulary, -1, np.int32)
    of[ids] = np.arange(len(ids))
    return Ranks(ids, of, counts)


def count(stream: np.ndarray, ranks: Ranks) -> Tensor:
    """float32 (R, C): how often the token of rank c stands within WINDOW of that of rank r, either side.

    Each pair is added once, at (larger rank, smaller rank), since counts are symmetric; the square of the C most
    frequent tokens is completed from its lower triangle.
    """
    rows = len(ranks.ids)
    contexts = min(rows, max(1, CELLS // rows))
    cells = torch.zeros(rows * contexts, dtype=torch.int32)
    with ThreadPoolExecutor(1) as adder:  # adds up one distance while the pairs of the next are found
        added: Future = adder.submit(int)
        for begin in range(0, len(stream), CHUNK):
            for codes in _pairs(stream[begin : begin + CHUNK + WINDOW], ranks.of, contexts, CHUNK):
                added.result()
                added = adder.submit(cells.scatter_add_, 0, codes, torch.ones_like(codes, dtype=torch.int32))
        added.result()
    table = _as_float(cells).view(rows, contexts)
    _symmetric(table[:contexts])
    return table


def _pairs(stream: np.ndarray, of: np.ndarray, contexts: int, chunk: int):
    """For each distance d: the cells (P,) int64 of the pairs (i, i + d) with i < chunk and no break between."""
    word = torch.from_numpy(np.where(stream >= 0, of[stream], -1))
    whole = word >= 0
    linked = whole
    for distance in range(1, WINDOW + 1):
        linked = linked[:-1] & whole[distance:]  # every token from i to i + d is a word
        first, second = word[:-distance], word[distance:]
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        chosen = linked & (low < contexts)
        chosen[chunk:] = False
        yield high.long().mul_(contexts).add_(low)[chosen]


def _as_float(cells: Tensor) -> Tensor:
    """int32 (n,) -> float32 (n,) in the same memory."""
    values = cells.view(torch.float32)
    for begin in range(0, len(cells), 2**22):
        values[begin : begin + 2**22] = cells[begin : begin + 2**22].to(torch.float32)
    return values


def _symmetric(square: Tensor, block: int = 1024) -> None:
    """(C, C) lower triangle L -> L + Lᵀ in place, block by block; the diagonal is doubled: both directions count."""
    size = len(square)
    for i in range(0, size, block):
        corner = square[i : i + block, i : i + block]
        corner.add_(corner.T.clone())
        for j in range(0, i, block):
            square[j : j + block, i : i + block] = square[i : i + block, j : j + block].T


def ppmi(counts: Tensor) -> Tensor:
    """(R, C) counts n -> max(0, log n(w,c) Σn^0.75 / (n(w) n(c)^0.75)), in place.

    n(w), n(c): sums of a row and of a column; Levy, Goldberg & Dagan 2015, equation 3.
    """
    rows = counts.sum(1).clamp(min=1)  # (R,)
    columns = counts.sum(0).clamp(min=1) ** SMOOTHING  # (C,)
    rows, columns = rows.log_(), (columns / columns.sum()).log_()
    for i in range(0, len(counts), 256):  # blocks that stay in the cache
        counts[i : i + 256].log_().sub_(rows[i : i + 256, None]).sub_(columns).clamp_(min=0)
    return counts


def factorise(matrix: Tensor, width: int, seed: int = 0) -> Tensor:
    """(R, C) -> (R, K) with K = min(width, R, C): U S^0.5 of the truncated singular value decomposition.

    Randomised range finder with power rounds (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1).
    """
    columns = min(width + OVERSAMPLE, *matrix.shape)
    noise = torch.Generator().manual_seed(seed)
    basis = matrix @ torch.randn(matrix.shape[1], columns, generator=noise)  # (R, K + o)
    for _ in range(POWER_ROUNDS):
        basis = torch.linalg.qr(basis).Q
        basis = matrix @ torch.linalg.qr(matrix.T @ basis).Q
    basis = torch.linalg.qr(basis).Q
    small = basis.T @ matrix  # (K + o, C)
    squares, left = torch.linalg.eigh(small @ small.T)  # ascending
    kept = min(width, columns)
    scale = squares.flip(0)[:kept].clamp(min=0).sqrt() ** EIGENVALUE_POWER
    return _signs(basis @ left.flip(1)[:, :kept]) * scale


def _signs(vectors: Tensor) -> Tensor:
    """Each column's largest entry is made positive: a decomposition fixes no sign."""
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


@torch.no_grad()
def write_embeddings(weight: Tensor, ranks: Ranks, vectors: Tensor, spread: float, seed: int = 0) -> None:
    """Centred, scaled to the standard deviation `spread`, into the rows of the tokens that occur.

    The other rows (special tokens, words never seen) get the mean row, which is zero after centring, plus the usual
    noise, so that no two tokens are the same; so do columns beyond the rank of the decomposition.
    """
    noise = torch.Generator().manual_seed(seed + 1)
    rows = torch.randn(weight.shape, generator=noise) * spread  # (V, D)
    centred = vectors - vectors.mean(0)
    rows[torch.from_numpy(ranks.ids), : vectors.shape[1]] = centred * (spread / centred.std().clamp(min=1e-12))
    weight.copy_(rows)


@torch.no_grad()
def write_output(objective, weight: Tensor) -> None:
    """An output map of its own over the vocabulary gets the rows of the embedding, scaled by OUTPUT."""
    for name, parameter in objective.named_parameters():
        if name.endswith("head.weight") and parameter.shape == weight.shape:
            parameter.copy_(OUTPUT * weight)


@torch.no_grad()
def write_bias(objective, counts: np.ndarray) -> None:
    """Each part with an output bias over the vocabulary gets log((n + 1) / (N + V)): the unigram frequencies."""
    logs = torch.log(torch.from_numpy(counts + 1.0)) - math.log(counts.sum() + len(counts))
    for name, parameter in objective.named_parameters():
        if name.endswith("head.bias") and parameter.shape == logs.shape:
            parameter.copy_(logs)
