"""A model as something that says how likely texts are, whether it guesses the next token or hidden ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from firth.errors import InputError
from firth.evaluate import pseudo_likelihood
from firth.evaluate.predict import Loaded, load
from firth.functional.choices import Likelihood, Scorer, Writer
from firth.model.encoder import Backbone
from firth.objectives import _likelihood, next_token
from firth.tasks.prompt import Room
from firth.train.build import TITLES
from firth.train.memory import keep_freed_blocks

# R rows

Sums = Callable[[Sequence[np.ndarray], Sequence[int]], list[Likelihood]]


@dataclass(frozen=True)
class Judge:
    """score: options after prompts. sums: rows of token ids, (n,) each, and their first places that count.

    lead: ids that a row of `sums` begins with; room: tokens of such a row. kind: what the nats are. writer: of one
    line, for a number of tokens; None where it does not write.
    """

    title: str
    kind: str  # "likelihood", or "pseudo-log-likelihood": of each token given all others
    signal: Any  # of text
    score: Scorer
    sums: Sums
    lead: tuple[int, ...]
    room: int
    writer: Callable[[int], Writer] | None = None

    @property
    def fits(self) -> Room:
        """For prompts, which are refused and not cut."""
        return Room(self.length, self.signal.config.context)

    def length(self, text: str) -> int:
        """Tokens of a text, and what stands before and after it."""
        return len(self.signal.encode([text])[0].ids) + (len(self.lead) if self.lead else 2)


def open_judge(model: str | Path, settings: Iterable[str] | Mapping[str, Any] = (), device: str = "auto") -> Judge:
    """A run folder or a model folder, of next tokens or of masked tokens.

    settings: dotted keys of the signal. Raises InputError for a folder without a model, and for one that does neither.
    """
    loaded = within_positions(load(model, settings, device))
    keep_freed_blocks()
    if loaded.name == "next-token":
        return writing(loaded)
    if loaded.name == "masked-tokens":
        return hiding(loaded)
    what = f"answers with {loaded.name.replace('-', ' ')}, and says nothing of how likely texts are"
    raise InputError(model, what, "Give the run that it was adapted from.")


def within_positions(loaded: Loaded) -> Loaded:
    """With a context that its learned positions reach."""
    shape = backbone_of(loaded).shape
    if shape.position_kind == "learned" and loaded.signal.config.context > shape.positions:  # type: ignore[attr-defined]
        loaded.signal = loaded.signal.but(context=shape.positions)  # type: ignore[attr-defined]
    return loaded


def backbone_of(loaded: Loaded) -> Backbone:
    return loaded.objective.backbone  # type: ignore[return-value]


def titled(loaded: Loaded) -> str:
    """Llama-shaped, 4 layers × 256, context 128"""
    shape, context = backbone_of(loaded).shape, loaded.signal.config.context  # type: ignore[attr-defined]
    return f"{TITLES[shape.name]}-shaped, {shape.layers} layers × {shape.width}, context {context:,}"


def writing(loaded: Loaded) -> Judge:
    """Of next tokens."""
    part, signal = next_token.part_of(loaded.objective), loaded.signal
    lead = signal.ends.before or (signal.facts.end_id,)  # type: ignore[attr-defined]
    writer = partial(partial, first_lines, loaded)
    return Judge(titled(loaded), "likelihood", signal, next_token.scorer(loaded.objective, signal),
                 partial(_likelihood.likelihoods, part), lead, signal.config.context + 1, writer)  # type: ignore[attr-defined]  # fmt: skip


def hiding(loaded: Loaded) -> Judge:
    """Of masked tokens."""
    part: Any = loaded.objective.parts["masked-tokens"]
    signal = loaded.signal
    score, sums = pseudo_likelihood.scorer(loaded.objective, signal), partial(pseudo_likelihood.of_rows, part, signal)
    room = signal.config.context - 2  # type: ignore[attr-defined]
    return Judge(titled(loaded), "pseudo-log-likelihood", signal, score, sums, (), room)


def first_lines(loaded: Loaded, tokens: int, prompts: Sequence[str]) -> list[str]:
    """What the model always writes on, up to the end of the line."""
    found = loaded.predict(prompts, temperature=0.0, stop=("\n",), tokens=tokens)
    return [one.written for one in found]
