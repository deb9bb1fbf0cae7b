"""Next sentence: does the second part of a text follow the first, or is it from elsewhere?

Loss: the sum over pairs of -log p(label | pair), in nats, over their number. Mode "next": BERT, arXiv 1810.04805,
section 3.1 (task 2); the second part is a random one of another document half the time. Mode "order": the two parts of
the same document swapped half the time (ALBERT, arXiv 1909.11942, section 3.1).

A window is cut at the sentence start nearest its middle. So that lengths and ragged ends cannot give the answer away:
in mode "next" the true and the other second part are cut to the shorter of both whichever is shown; in mode "order"
what lies before the first and after the last sentence start is left out.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from firth.errors import RunError
from firth.functional.losses import IGNORE, cross_entropy_sum
from firth.functional.random import Draw
from firth.model.heads import PoolHead
from firth.objective import Loss, Objective, ObjectiveConfig, Term
from firth.signal import Batch, Features, Finding, Sample

TRUE, OTHER = 0, 1  # the class indices of BERT's head


class Config(ObjectiveConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "sentences", "partner"})
    reads: ClassVar[frozenset[str]] = frozenset({"next_sentence", "keep"})
    adds: ClassVar[frozenset[str]] = frozenset({"next_sentence", "keep"})
    terms: ClassVar[tuple[str, ...]] = ("next_sentence",)
    shape: ClassVar[str | None] = "bert"  # it has segments

    mode: Literal["next", "order"] = Field("next", description="other text in second place, or the two parts swapped")
    share: float = Field(0.5, ge=0, le=1, description="share of the pairs that are not in their true order")

    def arrange(self, samples: list[Sample], draw: Draw) -> list[Sample]:
        coins = draw.uniform([sample.key for sample in samples], "next_sentence", 1)[:, 0] < self.share
        pair = next_pair if self.mode == "next" else order_pair
        return [_labelled(sample, pair(sample, bool(coin)), coin) for sample, coin in zip(samples, coins, strict=True)]

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        label = batch["next_sentence"]  # (B,)
        keep = batch.get("keep", torch.zeros(len(label), 1, dtype=torch.int64))  # step 0 is enough
        counts = {**batch.counts, "next_sentence": int((label != IGNORE).sum())}
        return Batch({**batch, "keep": keep}, counts=counts)

    def check(self, samples: list[Sample]) -> list[Finding]:
        need = 1 if self.mode == "next" else 3
        bare = sum(len(inner_breaks(sample)) < need for sample in samples)
        if 2 * bare <= len(samples):
            return []
        what = f"{bare:,} of {len(samples):,} samples have too few sentence starts to be cut in two"
        return [Finding("warning", "next-sentence", what, "Leave out `next-sentence`, or raise `text.context`.")]


class NextSentence(Objective):
    """A pooled first step and two logits."""

    Config = Config
    all_steps = False

    def __init__(self, config: ObjectiveConfig, backbone):
        super().__init__(config, backbone)
        self.pool = PoolHead(backbone.shape)
        self.classifier = nn.Linear(backbone.shape.width, 2)

    def loss(self, features: Features, batch: Batch) -> Loss:
        logits = self.classifier(self.pool(features.pooled))  # (B, D) -> (B, 2)
        nats, right = cross_entropy_sum(logits, batch["next_sentence"], IGNORE)
        count = batch.counts["next_sentence"]
        return Loss({"next_sentence": Term(nats, count)}, {"next_sentence_accuracy": Term(right, count)})


Pair = tuple[np.ndarray, np.ndarray]


def next_pair(sample: Sample, swap: bool) -> Pair | None:
    """The two parts of a window, the second from its partner where `swap`; None where either cannot be cut."""
    if sample.partner is None:
        raise RunError(
            "objective `next-sentence`",
            "a sample came without a partner",
            "Build the source with partner=True, as `needs` of its Config says.",
        )
    tokens, other = sample.parts[0], sample.partner.parts[0]
    cut = _nearest(inner_breaks(sample), len(tokens) / 2)
    if cut is None:
        return None
    elsewhere = _nearest(inner_breaks(sample.partner), len(other) - (len(tokens) - cut))
    if elsewhere is None:
        return None
    true, false = tokens[cut:], other[elsewhere:]
    length = min(len(true), len(false))
    return tokens[:cut], (false if swap else true)[:length]


def order_pair(sample: Sample, swap: bool) -> Pair | None:
    """The whole sentences inside a window in two parts, swapped where `swap`; None with fewer than two of them."""
    breaks = inner_breaks(sample)
    if len(breaks) < 3:
        return None
    nudge = 0.1 if int(sample.key) & 1 else -0.1  # of two equally near, else always the earlier: a hint of the order
    cut = _nearest(breaks[1:-1], (breaks[0] + breaks[-1]) / 2 + nudge)
    first, second = sample.parts[0][breaks[0] : cut], sample.parts[0][cut : breaks[-1]]
    return (second, first) if swap else (first, second)


def inner_breaks(sample: Sample) -> np.ndarray:
    """The sentence starts that leave something on both sides."""
    breaks = np.empty(0, np.int64) if sample.breaks is None else np.asarray(sample.breaks)
    return breaks[(breaks > 0) & (breaks < len(sample.parts[0]))]


def _nearest(breaks: np.ndarray, place: float) -> int | None:
    return int(breaks[np.abs(breaks - place).argmin()]) if len(breaks) else None


def _labelled(sample: Sample, pair: Pair | None, swapped: bool) -> Sample:
    """The sample with its two parts and their label; a sample that cannot be cut stays whole and counts for nothing."""
    label = IGNORE if pair is None else OTHER if swapped else TRUE
    targets = {**sample.targets, "next_sentence": np.int64(label)}
    parts = {} if pair is None else {"parts": pair, "breaks": None}
    return sample.but(partner=None, targets=targets, **parts)
