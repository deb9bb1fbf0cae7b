"""Next token: guess each token of a text from those before it.

Loss: the sum over steps i of -log p(x_i | x_1 … x_(i-1)), in nats, over their number. GPT: Radford et al. 2018, section
3.1; GPT-2: Radford et al. 2019, section 2. A row may hold several texts; unless `across_documents`, none sees another,
and each begins with the end token of the one before it. Fill in the middle: Bavarian et al. 2022, arXiv 2207.14255.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field

from firth.errors import InputError
from firth.functional.choices import Scorer
from firth.functional.losses import IGNORE, linear_cross_entropy_sum
from firth.functional.random import Draw
from firth.model.heads import OutputMap
from firth.objective import Loss, Objective, ObjectiveConfig, Term, quiet
from firth.objectives._likelihood import scorer as scorer_of
from firth.objectives._texts import SHORT, short_texts
from firth.objectives._writing import Piece, Written, asked, write_on, written
from firth.signal import Batch, Facts, Features, Finding, Sample

STEPWISE = ("tokens", "pad", "special", "word", "segments")  # of a batch, one for each step that is read
WORDS = 12  # that a model in training is shown, and that it is to say


class Config(ObjectiveConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "stream"})
    reads: ClassVar[frozenset[str]] = frozenset({*STEPWISE, "bytes"})
    adds: ClassVar[frozenset[str]] = frozenset({*STEPWISE, "bytes", "target", "documents", "position"})
    terms: ClassVar[tuple[str, ...]] = ("next_token",)
    shape: ClassVar[str | None] = "llama"
    fresh_defaults: ClassVar[Mapping[str, Any]] = {  # docs/decisions/0033, 0034
        "optimizer.name": "muon",
        "optimizer.muon_lr": 0.01,
        "optimizer.lr": 3e-3,
        "optimizer.embedding_lr": 1.0,
    }
    uses: ClassVar[tuple[str, ...]] = ('firth predict {} "The film was"',)
    opens: ClassVar[str] = "AutoModelForCausalLM"

    across_documents: bool = Field(False, description="texts in one row see those before them")
    infill_rate: float = Field(0.0, ge=0, le=1, description="share of the texts whose middle is moved behind their end")
    vocabulary: int = Field(0, description="filled: number of token ids")
    end_id: int = Field(-1, description="filled: id of the token between texts")
    infill_ids: tuple[int, ...] = Field((), description="filled: ids before beginning, middle and end of a text")
    special_ids: tuple[int, ...] = Field((), description="filled: ids that stand for no text")

    def fill(self, facts: Facts) -> Self:
        if self.infill_rate and not facts.infill_ids:
            raise InputError(
                f"next_token.infill_rate = {self.infill_rate:g}",
                "the tokenizer has no tokens for beginning, middle and end",
                "Leave it out, or train a tokenizer (without `--from`).",
            )
        known = {name: getattr(facts, name) for name in ("vocabulary", "end_id", "infill_ids", "special_ids")}
        return self.model_copy(update=known)

    def arrange(self, samples: list[Sample], draw: Draw) -> list[Sample]:
        """With a rate, some texts of each row as beginning, end, middle."""
        return [self.infilled(sample, draw) for sample in samples] if self.infill_rate else samples

    def infilled(self, sample: Sample, draw: Draw) -> Sample:
        """The texts in a row, each rearranged or not; the row keeps its length."""
        row = sample.parts[0]
        texts = np.split(row, np.flatnonzero(row == self.end_id)) if self.end_id >= 0 else [row]
        drawn = draw.uniform([sample.key], "infill", 4 * len(texts))[0].reshape(-1, 4)
        whole = [self.rearranged(text, *numbers) for text, numbers in zip(texts, drawn.tolist(), strict=True)]
        return sample.but(parts=(np.concatenate(whole)[: len(row)].astype(row.dtype),), breaks=None)

    def rearranged(self, text: np.ndarray, fate: float, one: float, other: float, order: float) -> np.ndarray:
        """The text cut in three at two places drawn evenly; half of the time the end stands first.

        arXiv 2207.14255, section 3: <prefix> beginning <suffix> end <middle> middle; or, its form of the other order
        that shares tokens with the first, <prefix> <suffix> end <middle> beginning middle.
        """
        head = 1 if len(text) and text[0] == self.end_id else 0
        body = text[head:]
        if fate >= self.infill_rate or len(body) < 2:
            return text
        first, last = sorted(int(share * (len(body) + 1)) for share in (one, other))
        beginning, middle, end = body[:first], body[first:last], body[last:]
        before, between, after = ([number] for number in self.infill_ids)
        if order < 0.5:
            return np.concatenate([text[:head], before, beginning, after, end, between, middle])
        return np.concatenate([text[:head], before, after, end, between, beginning, middle])

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        tokens = batch["tokens"]  # (B, T + 1)
        target = tokens[:, 1:].clone()  # (B, T)
        for name in ("pad", "special"):
            if name in batch:
                target[batch[name][:, 1:]] = IGNORE
        read = {name: batch[name][:, :-1] for name in STEPWISE if name in batch}
        guessed = {"bytes": batch["bytes"][:, 1:]} if "bytes" in batch else {}
        counts = {**batch.counts, "next_token": int((target != IGNORE).sum())}
        return Batch({**batch, **read, **guessed, **self.texts(read["tokens"]), "target": target}, counts=counts)

    def texts(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """The number of each step's text, and its place in it, where texts in one row may not see each other."""
        begins = (tokens == self.end_id).numpy()  # (B, T)
        if self.across_documents or not begins[:, 1:].any():
            return {}
        steps = np.broadcast_to(np.arange(begins.shape[1]), begins.shape)
        first = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
        arrays = {"documents": begins.cumsum(1), "position": steps - first}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def check(self, samples: list[Sample]) -> list[Finding]:
        return short_texts("next-token", samples)


Settings = Config  # the type, where the class below has its own name `Config`


class NextToken(Objective):
    """An output map over the vocabulary, at every step."""

    Config = Config
    config: Settings
    causal = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.head = OutputMap(backbone.shape, backbone.embed.word.weight)

    def loss(self, features: Features, batch: Batch) -> Loss:
        target, values = batch["target"].flatten(), features.values.flatten(0, 1)  # (N,), (N, D)
        count = batch.counts["next_token"]
        if count < len(target):
            real = (target != IGNORE).nonzero()[:, 0]
            target, values = target[real], values.index_select(0, real)
        nats, right = linear_cross_entropy_sum(values, self.head.rows, target)
        metrics = {"next_token_accuracy": Term(right, count)}
        if "bytes" in batch:
            metrics["bits_per_byte"] = Term(
                nats.detach() / math.log(2), batch["bytes"][batch["target"] != IGNORE].sum()
            )
        return Loss({"next_token": Term(nats, count)}, metrics)


def part_of(objective) -> "NextToken":
    return objective if isinstance(objective, NextToken) else objective.parts["next-token"]


def exported(part: NextToken, features: Features) -> dict[str, torch.Tensor]:
    """What other tools are given: logits (B, T, V)."""
    return {"logits": part.head(features.values)}


def scorer(objective, signal) -> Scorer:
    """Options after prompts, by their likelihood: see `functional.choices`."""
    return scorer_of(part_of(objective), signal)


def stream(
    objective, signal, texts: Sequence[str | Sequence[int]], numbers: Sequence[int] = (), **options
) -> Iterator[Piece]:
    """The texts, or tokens, written on, in pieces as they come; options as of `predict`."""
    part = part_of(objective)
    with quiet(part.backbone, part):
        yield from write_on(part, signal, texts, *asked(options), numbers=numbers)


def predict(objective, signal, texts: Sequence[str], numbers: Sequence[int] = (), **options) -> list[Written]:
    """The texts written on. numbers: the texts' places in a longer stream, on which their luck depends.

    options: the fields of `Writing`; stop, choice: lists of texts. Raises InputError for one that cannot be.
    """
    return written(stream(objective, signal, texts, numbers, **options))


class Opening(NamedTuple):
    text: str  # the first words of a held-out text
    truth: str  # and how it goes on


def tries(signal, texts: Iterator[str], draw: Draw, count: int) -> list[Opening]:
    """What a model in training is shown: the first words, half of them at most, of the first `count` texts."""
    found = (text.split() for text in texts)
    long = islice((words for words in found if len(words) >= SHORT), count)
    cut = [(words, min(WORDS, len(words) // 2)) for words in long]
    return [Opening(" ".join(words[:size]), " ".join(words[size : 2 * size])) for words, size in cut]


def shown(objective, signal, tries: list[Opening]) -> list[str]:
    """the ship meets · the tide and the sail. · truth: the storm in the harbour."""
    made = predict(objective, signal, [one.text for one in tries], tokens=2 * WORDS, temperature=0.0)
    texts = (" ".join(one.written.split()) for one in made)
    return [f"{one.text} · {text} · truth: {one.truth}" for one, text in zip(tries, texts, strict=True)]
