"""Verify: whether two clips are of one speaker (or of one anything that labels name), by the cosine of their vectors.

A vector for each clip: mean and deviation over its steps (statistics pooling: Snyder et al. 2018, x-vectors), then one
linear map, which is learnt by telling the speakers of the training part apart. Loss: the sum over clips of
-log p(speaker | clip), in nats, where the logits are cosines and that of the true speaker is lowered by a margin (Wang
et al. 2018, arXiv 1801.05599); SUPERB takes the same loss. The speakers of the test part may be others: pairs of its
clips are scored, and the figure is the equal error rate.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from firth.errors import InputError
from firth.functional.random import Draw, hash_bytes, permute
from firth.functional.verification import balanced, cosines, equal_error
from firth.model.level import Level
from firth.objective import Loss, Objective, Term, quiet
from firth.signal import Batch, Features, Sample, Signal, answered
from firth.task import Example, Outcome, parts_of
from firth.tasks._one_label import samples_of
from firth.tasks._spans import SpansConfig, heard

# B clips, T steps, D width, E width of a vector, L speakers, N pairs

SPEAKERS = ("speaker", "speaker_id", "client_id", "label")  # columns of speakers, by usual names
FIRST, SECOND = ("first", "enrol", "enroll", "a", "audio_1"), ("second", "test", "b", "audio_2")  # of trials
UNKNOWN = -1  # a speaker that is not learnt


class Config(SpansConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"pooled"})
    reads: ClassVar[frozenset[str]] = SpansConfig.reads | {"label"}
    terms: ClassVar[tuple[str, ...]] = ("verify",)
    metric: ClassVar[str] = "balanced_accuracy"
    fielded: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = SPEAKERS

    vector: int = Field(128, ge=2, description="numbers in the vector of a clip")
    scale: float = Field(30.0, gt=0, description="factor of the cosines in the loss")
    margin: float = Field(0.2, ge=0, lt=2, description="by which the cosine of the true speaker is lowered in the loss")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the statistics dropped while training")
    pairs: int = Field(20_000, ge=2, description="pairs of clips that are scored at most, half of them same ones")
    threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="cosine from which a pair is the same; filled: where both errors of validation meet",
    )

    @property
    def classed(self) -> bool:
        """Speakers of the other parts need not be those of the training part."""
        return False

    def names(self, examples: Sequence[Example]) -> tuple[str, ...]:
        return tuple(sorted({str(one.label) for one in examples}))

    def inputs(self, example: Example) -> tuple[str, str]:
        """The two clips of a trial."""
        there = {name.lower(): name for name in example.fields}
        columns = [next((there[name] for name in names if name in there), None) for names in (FIRST, SECOND)]
        cells = [example.fields.get(column) for column in columns if column is not None]
        clips = [cell for cell in cells if isinstance(cell, str) and cell]
        if len(clips) != 2:
            raise InputError(
                str(example.where), "names no two clips", "Give a table with columns `first` and `second`."
            )
        return clips[0], clips[1]

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch.counts["verify"] = int((batch["label"] != UNKNOWN).sum()) if "label" in batch else 0
        return super().prepare(batch, draw)

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        made = super().samples(examples, signal)
        return [one.but(label=UNKNOWN if one.label is None else one.label) for one in made]

    def learnt_from(self, examples: Sequence[Example]) -> Self:
        if len(self.names(examples)) < 2:
            what = "all clips of the training part are of one speaker"
            raise InputError("task `verify`", what, "Give clips of at least two; --label names the column of speakers.")
        return self


Settings = Config  # the type, where the class below has its own name `Config`


class Verify(Objective):
    """Statistics over steps, dropout, Linear(2 D, E): the vector. Speakers are directions among the vectors."""

    Config = Config
    config: Settings
    level: Level
    all_steps = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.dropout = nn.Dropout(config.dropout)
        self.map = nn.Linear(2 * backbone.shape.width, config.vector)
        self.level = Level(self.map)
        self.speakers = nn.Linear(config.vector, max(len(config.classes), 1), bias=False)
        self.threshold = config.threshold

    @property
    def facts(self) -> dict[str, Any]:
        told = {} if self.threshold is None else {"threshold": self.threshold}
        return {"vector": self.config.vector, **told}

    def encode(self, batch: Batch, layers: bool = False) -> Features:
        return super().encode(heard(self, batch), layers)

    def levelled(self, features: Features) -> Tensor:
        return self.level(features.statistics)

    def vector(self, features: Features) -> Tensor:
        """(B, T, D) -> (B, E), at least fp32."""
        found = self.map(self.dropout(self.levelled(features)))
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def loss(self, features: Features, batch: Batch) -> Loss:
        vectors, label, config = self.vector(features), batch["label"], self.config  # (B, E), (B,)
        cosine = linear(normalize(vectors, dim=-1), normalize(self.speakers.weight.to(vectors.dtype), dim=-1))  # (B, L)
        lowered = config.margin * one_hot(label.clamp(min=0), cosine.shape[1]).to(cosine.dtype)
        nats = cross_entropy(config.scale * (cosine - lowered), label, ignore_index=UNKNOWN, reduction="sum")
        right, items = (cosine.argmax(-1) == label).sum(), batch.counts["verify"]
        return Loss({"verify": Term(nats, items)}, {"verify_accuracy": Term(right, items)})


class Prediction(NamedTuple):
    """What the model says about a pair of clips."""

    text: str
    score: float  # cosine, in [-1, 1]
    same: bool | None  # whether the score reaches the threshold of validation; None where there is none


def part_of(objective) -> Verify:
    return objective if isinstance(objective, Verify) else objective.parts["verify"]


def predict(
    objective, signal, texts: Sequence[Any], numbers: Sequence[int] = (), top: int | None = None
) -> list[Prediction]:
    """One Prediction per pair of clips. Raises InputError for an input that is no pair."""
    part, pairs = part_of(objective), [pair_of(text, number) for number, text in enumerate(texts, 1)]
    marks = [tuple(map(mark_of, pair)) for pair in pairs]
    clips = dict(zip(chain(*marks), chain(*pairs), strict=True))  # each is heard once
    places = {mark: place for place, mark in enumerate(clips)}
    vectors = vectors_of(part, signal, list(clips.values()))
    first, second = (np.array([places[mark[side]] for mark in marks], np.int64) for side in (0, 1))
    scores, threshold = cosines(vectors, first, second), part.threshold
    return [
        Prediction(" | ".join(map(str, pair)), score, None if threshold is None else score >= threshold)
        for pair, score in zip(pairs, scores.tolist(), strict=True)
    ]


def pair_of(given: Any, number: int) -> tuple[Any, Any]:
    """Two clips; of one string, the names around a `|`."""
    clips = [name.strip() for name in given.split("|")] if isinstance(given, str) else given
    if not isinstance(clips, tuple | list) or hasattr(clips, "array") or len(clips) != 2:
        do = 'Write "first.wav | second.wav", or give a table with columns `first` and `second`.'
        shown = " | ".join(map(str, clips)) if isinstance(clips, tuple | list) else str(given)
        raise InputError(f"input {number}, `{shown}`", "is no pair of clips", do)
    return clips[0], clips[1]


def mark_of(clip: Any) -> int | str:
    """By which a clip is known again: what is in it, or its path; tables in two folders may call two clips alike."""
    found = getattr(clip, "array", clip)
    return hash_bytes(found.tobytes()) if isinstance(found, np.ndarray) else str(clip)


def vectors_of(part: Verify, signal, clips: Sequence[Any]) -> np.ndarray:
    """(B, E) vectors of clips, in their order."""
    samples = samples_of(signal, [(clip,) for clip in clips])
    return np.stack(answered(lambda batch: list(vectors_in(part, batch)), signal, samples))


@torch.inference_mode()
def vectors_in(part: Verify, batch: Batch) -> np.ndarray:
    """(B, E) of one batch, without dropout; the modules keep their mode."""
    with quiet(part.backbone, part):
        return part.vector(part.encode(batch.to(part.map.weight.device))).float().cpu().numpy()


class Trials(NamedTuple):
    """Pairs of places, each unordered pair at most once."""

    first: np.ndarray  # (N,)
    second: np.ndarray  # (N,)
    same: np.ndarray  # (N,) bool


def trials(labels: Sequence[str], most: int) -> Trials:
    """All pairs of clips; of the same and of the different ones at most half of `most`, drawn by a fixed key.

    Pairs have numbers, clip by clip, each with those after it; only the pairs of numbers that were drawn are made.
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    kinds = np.array([numbers[label] for label in labels], np.int64)
    clips = np.arange(len(labels))
    order = np.argsort(kinds, kind="stable")  # clips, speaker by speaker
    sizes = np.bincount(kinds, minlength=1)
    begins = np.cumsum(sizes) - sizes  # (L,) where the clips of a speaker begin in `order`
    own = np.argsort(order) - begins[kinds]  # clips of the same speaker before each
    after = sizes[kinds] - own - 1  # and after it
    one, number = drawn(after, most // 2)
    other = order[begins[kinds[one]] + own[one] + 1 + number]
    first, number = drawn(len(clips) - 1 - clips - after, most // 2)
    number += first - own[first]  # among all clips that are not of this speaker
    strangers = order - own[order] + kinds[order] * (len(clips) + 1)  # before each clip in `order`; rising
    sought = number + kinds[first] * (len(clips) + 1)
    second = number + np.searchsorted(strangers, sought, side="right") - begins[kinds[first]]
    pairs = np.concatenate([np.stack([one, other]), np.stack([first, second])], 1)
    chosen = np.lexsort(pairs[::-1])
    return Trials(pairs[0, chosen], pairs[1, chosen], chosen < len(one))


def drawn(counts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) pairs that begin with each clip -> (N,) twice: the clips that pairs begin with, and which of its pairs each
    is; all of them, or `most` drawn by a fixed key."""
    before = np.concatenate([[0], np.cumsum(counts)])
    whole = int(before[-1])
    chosen = np.arange(whole) if whole <= most else permute(np.arange(most), whole, 0, 0)
    clips = np.searchsorted(before, chosen, side="right") - 1
    return clips, chosen - before[clips]


def settle(objective, signal, examples: Sequence[Example]) -> dict[str, Any]:
    """The threshold at which both errors are equally frequent among pairs of the validation part."""
    part = part_of(objective)
    pairs = trials([str(one.label) for one in examples], part.config.pairs)
    if not pairs.same.any() or pairs.same.all():
        return {}
    vectors = vectors_of(part, signal, [parts_of(one)[0] for one in examples])
    part.threshold = equal_error(cosines(vectors, pairs.first, pairs.second), pairs.same).threshold
    return {"threshold": part.threshold}


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    """The score over pairs of examples; `right`: each clip's part in 1 - the mean of both errors."""
    part = part_of(objective)
    vectors = vectors_of(part, signal, [parts_of(one)[0] for one in examples])
    return judged(part.config, examples, list(vectors))


def judged(config: Config, examples: Sequence[Example], predicted: Sequence[Any]) -> Outcome:
    """What vectors, one for each example, make of the pairs. Raises InputError where all are of one speaker.

    `right` is what a clip adds to the mean and as much again: a clip stands in pairs with all others, so that another
    clip in its place would move the mean by twice its own half of them (Hoeffding 1948, the variance of a mean over
    pairs). That clips of a speaker are alike is not reckoned with.
    """
    labels = [str(one.label) for one in examples]
    pairs = trials(labels, config.pairs)
    if not pairs.same.any() or pairs.same.all():
        what = "pairs of clips are all of one kind: same speaker, or different ones"
        raise InputError("task `verify`", what, "Test on at least two speakers, one of them with two clips.")
    scores = cosines(np.asarray(predicted), pairs.first, pairs.second)
    found = equal_error(scores, pairs.same)
    shares = balanced(scores, pairs.same, found.threshold) / 2  # half of a pair to each of its clips
    sides = [np.bincount(side, shares, len(labels)) for side in (pairs.first, pairs.second)]
    right = np.sum(sides, 0) * len(labels)
    right = 2 * right - right.mean()
    figures = {"items": len(scores), "clips": len(labels), "speakers": len(set(labels)),
               "balanced_accuracy": float(right.mean()), "eer": found.rate}  # fmt: skip
    plain = [[float(number) for number in vector] for vector in predicted]
    return Outcome(
        figures, plain, labels, right, np.ones(len(labels)), mistaken(examples, pairs, scores, found.threshold)
    )


def mistaken(examples: Sequence[Example], pairs: Trials, scores: np.ndarray, threshold: float) -> list[dict[str, Any]]:
    """The pairs taken for what they are not, the surest first."""
    wrong = np.flatnonzero((scores >= threshold) != pairs.same)
    order = wrong[np.argsort(-np.abs(scores[wrong] - threshold), kind="stable")]
    words = {True: "same", False: "different"}
    names = [f"{examples[pairs.first[i]].text} | {examples[pairs.second[i]].text}" for i in order.tolist()]
    kinds, sure = pairs.same[order].tolist(), scores[order].tolist()
    return [
        {"text": name, "gold": words[same], "predicted": words[not same], "score": score}
        for name, same, score in zip(names, kinds, sure, strict=True)
    ]
