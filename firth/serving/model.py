"""The model that is served: what it can do, its names, and its work: writing on, and vectors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from firth.evaluate.encoder import Encoder, open_encoder, ready, shortened
from firth.evaluate.predict import Loaded, load
from firth.evaluate.vectors import POOLINGS, vectors_of
from firth.interop.folder import model_folder, open_shape
from firth.model.cache import room_for
from firth.model.encoder import Backbone
from firth.serving.asked import Completion, Embedding, Text
from firth.serving.likelihoods import Told, likelihoods
from firth.serving.limits import Limits
from firth.serving.refusal import Refusal

TOGETHER = 64  # texts of which vectors are computed before it is asked whether somebody still waits


class Start(NamedTuple):
    """Before anything is written: the prompts, as text, and how many tokens they have in all."""

    texts: list[str]
    tokens: int


class Choice(NamedTuple):
    """A part of what is written; the last of each number says how it ended."""

    number: int  # of the prompt × n
    text: str
    ended: str = ""  # "stop" or "length"
    tokens: int = 0  # that were written in all
    told: Told | None = None


@dataclass(frozen=True)
class Model:
    """A model folder that is open. writer: None where it does not write on."""

    name: str
    folder: Path
    created: int  # seconds since 1970
    encoder: Encoder
    writer: Loaded | None = None

    @property
    def context(self) -> int:
        """Tokens that it reads at once."""
        return self.encoder.signal.config.context

    def is_called(self, name: str) -> bool:
        return name in (self.name, str(self.folder))

    # ---------------------------------------------------------------- writing on

    def write(self, asked: Completion, limits: Limits) -> Iterator[Start | Choice]:
        """First Start, then the texts piece by piece. Raises Refusal for a prompt that does not fit."""
        assert self.writer is not None
        prompts = [self.prompt(one) for one in asked.prompt]
        texts = [one if isinstance(one, str) else self.encoder.signal.decode(one) for one in asked.prompt]
        room = asked.max_tokens if asked.told_likelihoods else 0
        for ids in prompts:
            refuse_long("prompt", len(ids) + room, self.context)
        yield Start(texts, sum(map(len, prompts)))
        rows = [ids for ids in prompts for _ in range(asked.n)]
        size = rows_together(self.encoder.shape, self.context, limits.cache)
        for begin in range(0, len(rows), size):
            for choice, ids in self.written(rows[begin : begin + size], begin, asked):
                told = None
                if choice.ended and asked.told_likelihoods:
                    told = self.told(asked, choice, ids)
                yield choice._replace(told=told)

    def written(self, rows: list[list[int]], begin: int, asked: Completion) -> Iterator[tuple[Choice, list[int]]]:
        """The rows written on, and with the last piece of each the tokens that were written to it."""
        if not asked.max_tokens:
            yield from ((Choice(begin + row, "", "length"), []) for row in range(len(rows)))
            return
        writer = self.writer
        assert writer is not None and writer.pieces is not None
        numbers = range(begin + 1, begin + len(rows) + 1)
        for piece in writer.pieces(writer.objective, writer.signal, rows, numbers=numbers, **manner(asked)):
            number, last = begin + piece.prompt, piece.last
            if last is None:
                yield Choice(number, piece.text), []
            else:
                ended = "length" if last.ended == "length" else "stop"
                yield Choice(number, piece.text, ended, last.tokens), self.shown(list(piece.ids), last.written)

    def shown(self, ids: list[int], text: str) -> list[int]:
        """The tokens that stand for the text: without those of a stop string that was cut off at its end."""
        while ids and len(self.encoder.signal.decode(ids[:-1])) >= len(text) > 0:
            ids = ids[:-1]
        return ids if text else []

    def told(self, asked: Completion, choice: Choice, ids: list[int]) -> Told:
        """The likelihoods of what was written; with echo those of the prompt, too."""
        given = asked.prompt[choice.number // asked.n]
        prompt = self.prompt(given)
        before = self.lead(given, prompt) if asked.echo else len(prompt)
        assert self.writer is not None
        return likelihoods(self.writer, prompt + ids, before, asked.logprobs or 0)

    def prompt(self, given: Text) -> list[int]:
        """The token ids of a prompt; never empty. Raises Refusal for an id that the model does not have."""
        if isinstance(given, str):
            return np.asarray(self.encoder.signal.prompt(given)).tolist()
        refuse_unknown("prompt", given, self.encoder.shape.vocabulary)
        return given or np.asarray(self.encoder.signal.prompt("")).tolist()

    def lead(self, given: Text, prompt: list[int]) -> int:
        """How many tokens stand before the text in its prompt."""
        if not isinstance(given, str):
            return 0
        own = self.encoder.signal.tokenizer.encode(given, add_special_tokens=False).ids
        return max(0, len(prompt) - len(own))

    # ---------------------------------------------------------------- vectors

    def embed(self, asked: Embedding) -> Iterator[tuple[np.ndarray, int]]:
        """float32 (n, D) of length 1 for each part of the texts, and their number of tokens. Raises Refusal."""
        width = self.encoder.shape.width
        if asked.dimensions not in (None, width):
            raise Refusal("dimensions", f"the vectors have {width} numbers", "Leave it out.", code="unsupported")
        ids = [self.tokens(one) for one in asked.input]
        for begin in range(0, len(ids), TOGETHER):
            part = ids[begin : begin + TOGETHER]
            yield vectors_of(self.encoder, part, POOLINGS["mean"], normalise=True), sum(map(len, part))

    def tokens(self, given: Text) -> np.ndarray:
        """int32 (n,): the tokens of a text whose vector is wanted, special ones left out. Raises Refusal."""
        if isinstance(given, str):
            ids = self.encoder.signal.encode([given])[0].ids
        else:
            refuse_unknown("input", given, self.encoder.shape.vocabulary)
            ids = np.array(given, np.int32)
        refuse_long("input", len(ids), self.encoder.room)
        return ids


def open_model(folder: str | Path, settings: Iterable[str] | Mapping[str, Any] = (), device: str = "auto") -> Model:
    """A run folder or a model folder, ready to serve. Raises InputError as `load` and `open_encoder` do."""
    place = model_folder(folder)
    name = place.resolve().parent.name if place.resolve().name == "model" else place.resolve().name
    created = int((place / "config.json").stat().st_mtime)
    if not open_shape(folder).causal:
        encoder = open_encoder(folder, settings, device)
        return Model(name, Path(folder), created, encoder)
    loaded = load(folder, settings, device)
    backbone = cast(Backbone, loaded.objective.backbone)
    signal = shortened(loaded.signal, backbone.shape, folder)
    encoder = ready(Path(folder), backbone, signal, next(backbone.parameters()).device)
    writer = loaded if loaded.pieces is not None else None
    return Model(name, Path(folder), created, encoder, writer)


def manner(asked: Completion) -> dict[str, Any]:
    """The request as options of a method that writes."""
    return {
        "tokens": asked.max_tokens, "temperature": asked.temperature, "top_k": max(0, asked.top_k),
        "top_p": asked.top_p, "min_p": asked.min_p, "repetition": asked.repetition_penalty,
        "seed": (asked.seed or 0) & (2**63 - 1), "stop": tuple(asked.stop),
    }  # fmt: skip


def rows_together(shape: Any, context: int, most: int) -> int:
    """How many rows are written at a time, so that their keys and values take at most so many bytes, but one."""
    row = 2 * 4 * shape.layers * shape.groups * shape.head_width * room_for(context)
    return max(1, most // row)


def refuse_long(name: str, tokens: int, most: int) -> None:
    """Raises Refusal."""
    if tokens > most:
        what = f"has {tokens:,} tokens with what is to be written, the model reads {most:,}"
        what = what if name == "prompt" else f"has {tokens:,} tokens, the model reads {most:,}"
        raise Refusal(name, what, "Shorten it.", code="context_length_exceeded")


def refuse_unknown(name: str, ids: Sequence[int], vocabulary: int) -> None:
    """Raises Refusal for a token id that there is not."""
    odd = next((one for one in ids if not 0 <= one < vocabulary), None)
    if odd is not None:
        raise Refusal(name, f"holds token {odd}", f"Send ids from 0 to {vocabulary - 1:,}.")
