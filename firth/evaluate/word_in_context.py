"""The word-in-context score: do two uses of one word form stand closer when they are of the same part of speech?

After Pilehvar & Camacho-Collados 2019 (WiC), arXiv 1808.09121: pairs of sentences with one word form in both, half of
them "same". Here "same" means the same UPOS tag, so any tagged corpus gives pairs, and chance is 50 %. A threshold on
the cosine of the two vectors, and the layer, are chosen on one half of the word forms and tested on the other, both
ways round. A vector that does not look at the sentence is the same in both: it can be right in half of the pairs only.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firth.errors import InputError, count
from firth.evaluate.encoder import Encoder, Span, open_encoder, untrained
from firth.evaluate.grouping import standardised
from firth.functional.random import combine, hash_bytes

# P pairs, L layers, n places, D width

PAIRS = 1000  # at least
EACH = 24  # uses of a form and tag that are paired, at most: the least hashes
DRAWS = 1000  # of the bootstrap
PLACES = 6  # digits of a cosine that count: what differs beyond is rounding


class Place(NamedTuple):
    """A word in a tagged sentence."""

    words: tuple[str, ...]
    at: int  # number of the word
    tag: str

    @property
    def span(self) -> Span:
        """The sentence, its words joined by blanks."""
        start = sum(len(word) + 1 for word in self.words[: self.at])
        return Span(" ".join(self.words), start, start + len(self.words[self.at]))


class Pair(NamedTuple):
    """Two uses of one word form in two sentences."""

    form: str
    first: Place
    second: Place

    @property
    def same(self) -> bool:
        return self.first.tag == self.second.tag


class Half(NamedTuple):
    """What was chosen on one half of the word forms; a pair is "same" where its cosine is above the threshold."""

    layer: int
    threshold: float


@dataclass(frozen=True)
class Score:
    """Shares of pairs that are right. layers: of each layer alone, the embedding first, its threshold chosen as above.

    accuracy: layer and threshold both chosen on the other half; low, high: its 95 % interval over word forms.
    """

    name: str
    accuracy: float
    low: float
    high: float
    layers: list[float]
    chosen: list[Half]


@dataclass(frozen=True)
class WordInContext:
    """Scores on the same pairs: "model"; "standardised": its vectors, every dimension by mean and spread over the uses
    (Timkey & van Schijndel 2021, arXiv 2109.04404); "untrained"; "static"."""

    model: str
    pairs: int
    forms: int
    scores: dict[str, Score]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """A line for each: `model  71.2 % (68.9 to 73.4), layers 4 and 4`."""
        return [
            f"{name:<12} {100 * one.accuracy:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f}), "
            f"layers {' and '.join(str(half.layer) for half in one.chosen)}"
            for name, one in self.scores.items()
        ]


def word_in_context(
    model: str | Path | Encoder,
    rows: Iterable[tuple[Sequence[str], Sequence[str]]],
    count: int = PAIRS,
    seed: int = 0,
    device: str = "auto",
    settings: Iterable[str] | Mapping[str, Any] = (),
) -> WordInContext:
    """The score of a model, of its shape untrained, and of its word embedding alone, which sees no sentence.

    rows: (words, tags) of each sentence. count: pairs at least; more come where word forms are balanced.
    Raises InputError where the rows do not give that many.
    """
    encoder = model if isinstance(model, Encoder) else open_encoder(model, settings, device)
    pairs = pairs_of(rows, count, seed)
    places = list(dict.fromkeys(place for pair in pairs for place in (pair.first, pair.second)))
    spans, number = [place.span for place in places], {place: i for i, place in enumerate(places)}
    ends = np.array([(number[pair.first], number[pair.second]) for pair in pairs])  # (P, 2)
    vectors = encoder.word_vectors(spans)
    arms = {
        "model": vectors,
        "standardised": np.stack([standardised(layer, layer) for layer in vectors]),
        "untrained": untrained(encoder, seed).word_vectors(spans),
        "static": encoder.word_embeddings(spans)[None],
    }
    scores = {name: score(name, cosines(vectors, ends), pairs, seed) for name, vectors in arms.items()}
    return WordInContext(str(encoder.folder), len(pairs), len({pair.form for pair in pairs}), scores)


def pairs_of(rows: Iterable[tuple[Sequence[str], Sequence[str]]], count: int = PAIRS, seed: int = 0) -> list[Pair]:
    """At least `count` pairs, half of them "same", also within each word form; the same for the same rows and seed.

    The number taken of each form is as even as can be: no form gives more than it must for there to be enough.
    Raises InputError for sentences whose words and tags differ in number, and for too few pairs.
    """
    same, different = candidates(places_by_form(rows), seed)
    most = {form: min(len(same[form]), len(different[form])) for form in same}
    have = 2 * sum(most.values())
    if have < count:
        do = f"Give more tagged sentences, or ask for {have:,} pairs or fewer."
        raise InputError("word in context", f"the tagged sentences give only {have:,} balanced pairs", do)
    limit = next(
        n for n in range(max(most.values(), default=0) + 1) if 2 * sum(min(m, n) for m in most.values()) >= count
    )
    taken = {form: min(number, limit) for form, number in most.items()}
    return [pair for form in sorted(taken) for group in (same, different) for pair in group[form][: taken[form]]]


def places_by_form(rows: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, dict[str, list[Place]]]:
    """form → tag → its places, one for a sentence and form; a sentence that comes twice counts once."""
    found: dict[str, dict[str, list[Place]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[str, ...]] = set()
    for number, (words, tags) in enumerate(rows, 1):
        if len(words) != len(tags):
            what = f"{count(len(words), 'word')} and {count(len(tags), 'tag')}"
            raise InputError(f"sentence {number:,}", what, "Give one tag for each word.")
        sentence = tuple(words)
        if sentence not in seen:
            seen.add(sentence)
            for form, index in {word: i for i, word in reversed(list(enumerate(sentence)))}.items():
                if any(sign.isalpha() for sign in form):
                    found[form][tags[index]].append(Place(sentence, index, tags[index]))
    return found


def candidates(forms: Mapping[str, Mapping[str, list[Place]]], seed: int) -> tuple[dict[str, list], dict[str, list]]:
    """(same, different): form → pairs, by the hash of both places; EACH uses of a form and tag take part."""
    same: dict[str, list[Pair]] = {}
    different: dict[str, list[Pair]] = {}
    for form, tags in forms.items():
        if len(tags) > 1:
            uses = [place for places in tags.values() for place in sorted(places, key=lambda p: mark(seed, p))[:EACH]]
            every = [Pair(form, one, other) for one, other in combinations(uses, 2)]
            every.sort(key=lambda pair: mark(seed, pair.first, pair.second))
            same[form] = [pair for pair in every if pair.same]
            different[form] = [pair for pair in every if not pair.same]
    return same, different


def mark(seed: int, *places: Place) -> int:
    """64 bit that hang on the content alone, not on the order of the places."""
    return hash_bytes(repr((seed, *sorted((place.words, place.at) for place in places))).encode("utf-8", "replace"))


def cosines(vectors: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """vectors (L, n, D), ends (P, 2) → (L, P), to PLACES digits."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-12)
    found = np.stack([np.einsum("pd,pd->p", layer[ends[:, 0]], layer[ends[:, 1]]) for layer in unit])
    return np.round(found, PLACES)


def score(name: str, near: np.ndarray, pairs: Sequence[Pair], seed: int) -> Score:
    """near: cosines (L, P). Both halves in turn choose, and the other is tested."""
    same = np.array([pair.same for pair in pairs])
    form_of = np.unique([pair.form for pair in pairs], return_inverse=True)[1]  # (P,)
    half = halves([pair.form for pair in pairs], seed)
    right = np.zeros(near.shape, bool)  # of each layer by its own threshold
    best = np.zeros(len(pairs), bool)
    chosen: list[Half] = []
    for tuned in (half, ~half):
        found = [threshold(layer[tuned], same[tuned]) for layer in near]
        right[:, ~tuned] = [(layer[~tuned] > cut) == same[~tuned] for layer, (cut, _) in zip(near, found, strict=True)]
        layer = int(np.argmax([reached for _, reached in found]))
        best[~tuned] = right[layer, ~tuned]
        chosen.append(Half(layer, float(found[layer][0])))
    low, high = interval(best, form_of, seed)
    return Score(name, float(best.mean()), low, high, right.mean(1).tolist(), chosen)


def halves(forms: Sequence[str], seed: int) -> np.ndarray:
    """bool (P,): word forms in two parts of about as many pairs each, the form with the most pairs dealt first."""
    names, counts = np.unique(forms, return_counts=True)
    order = sorted(
        range(len(names)), key=lambda i: (-counts[i], int(combine(seed, hash_bytes(str(names[i]).encode()))))
    )
    sums, side = [0, 0], {}
    for i in order:
        side[names[i]] = sums[0] > sums[1]
        sums[side[names[i]]] += int(counts[i])
    return np.array([not side[form] for form in forms])


def threshold(near: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """(threshold, share right): below all cosines, between two, or at the greatest; of equally good ones the lowest."""
    if not len(near):
        return 0.0, 0.0
    order = np.argsort(near, kind="stable")
    values, sames = near[order], same[order]
    below = np.concatenate([[0], np.cumsum(~sames)])  # different ones under the cut, by its place
    above = sames.sum() - np.concatenate([[0], np.cumsum(sames)])  # same ones over it
    cuttable = np.concatenate([[True], values[1:] > values[:-1], [True]])
    place = int(np.argmax(np.where(cuttable, below + above, -1)))
    cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1]]])
    return float(cuts[place]), float((below + above)[place] / len(near))


def interval(right: np.ndarray, form_of: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % by the bootstrap over word forms (Efron 1979), as pairs of one form hang together."""
    hits, sizes = np.bincount(form_of, right), np.bincount(form_of)
    drawn = np.random.default_rng(seed).integers(0, len(sizes), (DRAWS, len(sizes)))
    shares = hits[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)
