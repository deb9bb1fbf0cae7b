"""`firth company`: the company a word keeps. Its occurrences, grouped by their contextual vectors, layer by layer.

The distributional hypothesis (Firth 1957) with contextual vectors: one word form has a vector for each sentence. Which
are near, and what stands around them? Vectors are standardised by those of other words before they are compared, as
raw cosines are high between any two words (Ethayarajh 2019, arXiv 1909.00512).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firth.data.config import listed
from firth.errors import InputError, did_you_mean
from firth.evaluate import grouping
from firth.evaluate.answers import as_json
from firth.evaluate.encoder import Encoder, Span, open_encoder
from firth.evaluate.occurrences import FEWEST, Found, Seen, find_word, trained_on
from firth.evaluate.typical import typical_words
from firth.recipe import Data
from firth.train.folder import write_atomically, writing
from firth.train.log import Show, Silent

# n occurrences, L layers, D width

METHODS = ("k-means", "agglomerative")
EXAMPLES = 5  # sentences shown of a group
NEAREST = 5  # occurrences named for each, at every layer


@dataclass(frozen=True)
class Occurrence:
    """sentence[start:end] is the word. x, y: coordinates at each layer, the embedding first."""

    sentence: str
    start: int
    end: int
    where: str
    group: int
    points: list[tuple[float, float]]
    nearest: list[list[int]]  # at each layer, numbers of occurrences, nearest first


@dataclass(frozen=True)
class Group:
    """size: occurrences. words: of which each has word, here, elsewhere, log_odds, p. examples: the most central."""

    size: int
    words: list[dict[str, Any]]
    examples: list[int]


@dataclass(frozen=True)
class Layer:
    """Mean cosines at one layer; agreement: share of the nearest occurrences that are of the same group.

    corrected = self_similarity - anisotropy; to_previous is None at the embedding.
    """

    to_first: float
    to_previous: float | None
    self_similarity: float  # of two occurrences
    anisotropy: float  # of two words drawn anywhere
    corrected: float
    agreement: float


@dataclass(frozen=True)
class Company:
    """What the occurrences of a word look like to a model. layer: at which they were grouped, 0 = the embedding."""

    model: str
    word: str
    data: list[str]
    seen: int
    layer: int
    method: str
    silhouette: float
    by_chance: float  # silhouette that a cloud of the same spread without groups reaches in 1 of 20
    groups: list[Group]
    layers: list[Layer]
    occurrences: list[Occurrence]

    @property
    def clear(self) -> bool:
        return self.silhouette > self.by_chance

    @property
    def headline(self) -> str:
        """`bank` keeps 2 kinds of company: river, water, … | money, loan, … ."""
        if not self.clear:
            return (
                f"`{self.word}` keeps one kind of company here: its groups are no clearer than chance would make them."
            )
        told = [", ".join(one["word"] for one in group.words[:3]) or "no typical word" for group in self.groups]
        return f"`{self.word}` keeps {len(self.groups)} kinds of company: {' | '.join(told)}."

    def lines(self) -> list[str]:
        """The headline, and a line for each group."""
        rows = [f"group {number}: {group.size:,} occurrences · {', '.join(one['word'] for one in group.words[:8])}"
                for number, group in enumerate(self.groups, 1)]  # fmt: skip
        used = f"{len(self.occurrences):,} of {self.seen:,} occurrences, layer {self.layer} of {len(self.layers) - 1}"
        return [self.headline, used, *rows]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"clear": self.clear, "headline": self.headline}

    def save(self, path: str | Path) -> Path:
        """company.json."""
        path = Path(path)
        with writing(path):
            write_atomically(path, as_json(self.as_dict()))
        return path


def company(
    model: str | Path,
    word: str,
    data: str | Path | Sequence[str | Path] | None = None,
    count: int = 400,
    layer: int = -1,
    groups: int | None = None,
    method: str = "k-means",
    seed: int = 0,
    text: str | None = None,
    device: str = "auto",
    settings: Iterable[str] | Mapping[str, Any] = (),
    show: Show | None = None,
) -> Company:
    """The occurrences of a word in `data` (None: what the run was pre-trained on), at most `count` of them, grouped.

    layer: where they are grouped; -1 is the last. groups: their number; None: by the silhouette. method: k-means or
    agglomerative. text: name of the text column in tables. Raises InputError for a model without an encoder, for a word
    that is not there or too rare, and for files that cannot be read.
    """
    check_asked(word, count, groups, method)
    show = show or Silent()
    read = trained_on(model) if data is None else Data(paths=listed(data), text=text)
    encoder = open_encoder(model, settings, device)
    number = encoder.cut(layer).layers  # refuses one that is not there
    found = find_word(word.strip(), read, count, seed, encoder.signal.config.lowercase)
    show.line("Data", f"{found.seen:,} occurrences of `{word.strip()}`; {len(found.used):,} are looked at")
    vectors, others = vectors_of(encoder, found)
    return described(str(model), word.strip(), read, found, vectors, others, number, groups, method, seed)


def described(model, word, data: Data, found: Found, vectors, others, layer, groups, method, seed) -> Company:
    """vectors (L + 1, n, D) of the occurrences, others (L + 1, m, D) of any words → everything told of them."""
    corrected = np.stack([grouping.standardised(v, o) for v, o in zip(vectors, others, strict=True)])
    grouped = grouping.group(corrected[layer], seed, method, groups)
    near = [grouping.nearest(one, NEAREST)[0] for one in corrected]
    spans = [one.span for one in found.used]
    return Company(
        model,
        word,
        list(data.paths),
        found.seen,
        layer,
        method,
        round(grouped.silhouette, 4),
        round(grouped.by_chance, 4),
        groups_of(spans, grouped.labels, corrected[layer]),
        layers_of(vectors, others, near, grouped.labels),
        occurrences_of(found.used, grouped.labels, corrected, near),
    )


def vectors_of(encoder: Encoder, found: Found) -> tuple[np.ndarray, np.ndarray]:
    """Of the occurrences, and of other words; these are the occurrences themselves where there are no others."""
    vectors = encoder.word_vectors([one.span for one in found.used])
    others = [span for span in found.others if any(sign.isalpha() for sign in span.word)]
    return vectors, encoder.word_vectors(others) if len(others) >= FEWEST else vectors


def groups_of(spans: Sequence[Span], labels: np.ndarray, vectors: np.ndarray) -> list[Group]:
    words = typical_words(spans, labels)
    found = []
    for number in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == number)
        centre = grouping.unit(vectors[members].mean(0))
        order = members[np.argsort(-(vectors[members] @ centre), kind="stable")]
        named = [one._asdict() | {"log_odds": round(one.log_odds, 3)} for one in words[number]]
        found.append(Group(len(members), named, order[:EXAMPLES].tolist()))
    return found


def layers_of(vectors: np.ndarray, others: np.ndarray, near: Sequence[np.ndarray], labels: np.ndarray) -> list[Layer]:
    """Raw cosines: the correction is told beside them."""
    unit, found = grouping.unit(vectors), []
    for number, (here, any_two) in enumerate(zip(vectors, others, strict=True)):
        alike, apart = grouping.mean_cosine(here), grouping.mean_cosine(any_two)
        moved = float((unit[number] * unit[number - 1]).sum(-1).mean()) if number else None
        kept = float((unit[number] * unit[0]).sum(-1).mean())
        agreement = float((labels[near[number]] == labels[:, None]).mean())
        found.append(Layer(*(None if v is None else round(v, 4) for v in (kept, moved, alike, apart, alike - apart,
                                                                          agreement))))  # type: ignore[arg-type]  # fmt: skip
    return found


def occurrences_of(
    seen: Sequence[Seen], labels: np.ndarray, vectors: np.ndarray, near: Sequence[np.ndarray]
) -> list[Occurrence]:
    points = [grouping.axes(layer, 2).round(4).tolist() for layer in vectors]
    return [
        Occurrence(*one.span, one.where, int(labels[i]), [(p[i][0], p[i][1]) for p in points],
                   [layer[i].tolist() for layer in near])
        for i, one in enumerate(seen)
    ]  # fmt: skip


def check_asked(word: str, count: int, groups: int | None, method: str) -> None:
    """Raises InputError."""
    if len(word.split()) != 1:
        what = "is empty" if not word.strip() else f"`{word}` is more than one word"
        raise InputError("WORD", what, "Give one word: firth company MODEL bank")
    if count < FEWEST:
        raise InputError(f"--most {count}", f"too few to group: {FEWEST} are needed", "Leave it out for 400.")
    if groups is not None and not 1 <= groups <= grouping.MOST:
        do = f"Ask for 1 to {grouping.MOST}, or leave it out."
        raise InputError(f"groups = {groups}", "no such number of groups", do)
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise InputError(f"method = {method}", "no such grouping", f"{hint}There is: {', '.join(METHODS)}.")
