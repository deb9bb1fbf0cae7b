"""Text as a signal: a tokenizer trained on the user's own text or taken from a model folder; tokens into batches.

WordPiece: Devlin et al. 2019, arXiv 1810.04805, section 3 (vocabulary as in Schuster & Nakajima 2012).
Byte-level BPE: Radford et al. 2019, section 2.2. Input form, as the objective needs it: [CLS] first part [SEP], [CLS]
first [SEP] second [SEP], a stream of texts with <|endoftext|> after each, or for tasks one text of such a stream.
"""

import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import nn

from firth.errors import InputError
from firth.signal import Batch, Encoded, Facts, Rung, Sample, Signal, SignalConfig, stack_targets
from firth.signals import _tokenizers
from firth.signals._chunks import BATCH, ChunkEncoder, Flat, batches_by_length
from firth.signals._frames import (
    FRAMES,
    INFILL,
    Ends,
    check_roles,
    ends_of,
    frame_of,
    joined,
    roles_of,
    shortened,
    sizes_of,
    stack_stream,
)

LARGE = 8192  # a vocabulary asked for beyond this must be reached, at least by half
ROWS = 16  # of a stream in a step where nobody says, and no more than
TOGETHER = 2048  # tokens, or what goes with the tokens of the whole run: GROWTH times their root
GROWTH = 1.5
FEWEST, MOST = 512, 16_384  # tokens of a step; of pieces of words at least TOGETHER
UNITS = (  # of characters and bytes, whose vocabulary costs nothing; found at 17 to 600 s (docs/decisions/0033, 0034)
    Rung("2x64", 0, 40_000),
    Rung("3x64", 1_500_000, 28_000),
    Rung("3x128", 1_600_000, 13_000),
    Rung("4x128", 4_000_000, 10_500),
    Rung("4x192", 15_000_000, 5_500),
    Rung("4x256", 30_000_000, 3_600),
    Rung("6x384", 100_000_000, 1_200),
    Rung("8x512", 400_000_000, 550),
)


class Config(SignalConfig):
    """The table `text`."""

    tokenizer: Literal["wordpiece", "bpe", "characters", "bytes", "source"] = "wordpiece"  # source: of --from MODEL
    frame: Literal["pair", "stream", "texts"] = "pair"  # by the objective: [CLS] a [SEP] b [SEP]; texts one after the
    # other; or, for tasks, one text of these a row
    vocabulary: int = Field(8192, ge=16, le=1_000_000, description="entries, special tokens included; at most")
    lowercase: bool = True  # upper case and (WordPiece) accents are dropped, as in BERT uncased
    min_frequency: int = Field(2, ge=1, description="times a pair of pieces must occur to be joined (training)")
    context: int = Field(128, ge=8, description="tokens per sample, special ones included")

    @classmethod
    def suited(cls, needs: frozenset[str]) -> dict[str, Any]:
        return {"tokenizer": "bpe", "frame": "stream", "lowercase": False} if "stream" in needs else {}

    @property
    def in_words(self) -> bool:
        return self.tokenizer not in ("characters", "bytes")


TextConfig = Config  # inside the class, Config is the class attribute


class Pieces(NamedTuple):
    """A text, or a list of words, in pieces that remember where they come from."""

    ids: np.ndarray  # int32 (n,), without special tokens
    begin: np.ndarray  # int64 (n,) character at which a piece begins; of words: (w,) the first piece of each word
    end: np.ndarray  # int64 (n,) the character after it; of words: empty


class Text(Signal):
    """A fitted tokenizer. `tokenizer` also knows special tokens written in a text; `encode` takes them as plain."""

    Config: ClassVar[type[SignalConfig]] = Config
    name: ClassVar[str] = "text"
    ladders: ClassVar[Mapping[str, tuple[Rung, ...]]] = {"gpt2": UNITS, "llama": UNITS}
    objective: ClassVar[tuple[str, ...]] = ("masked-tokens",)
    shape: ClassVar[str] = "modernbert"
    config: TextConfig

    def __init__(self, tokenizer: Tokenizer, config: TextConfig, roles: dict[str, str] | None = None):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer, self.config = tokenizer, config
        self.frame = FRAMES[config.frame]
        self.roles = roles or roles_of(tokenizer, {}, self.frame)
        self.pad_id, self.unk_id, self.cls_id, self.mask_id = map(self._id, ("pad_token", "unk_token", "cls_token",
                                                                              "mask_token"))  # fmt: skip
        self.flows = config.frame != "pair"  # its texts come from a stream
        self.sep_id = self._id("eos_token" if self.flows else "sep_token")  # what ends a text
        self.pad_id = self.sep_id if self.flows and self.pad_id < 0 else self.pad_id
        self.encoder = ChunkEncoder(tokenizer)
        self.vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
        self._never_hidden = self._table({self.pad_id, self.cls_id, self.sep_id})
        self._begins, self._closes = _word_tables(tokenizer, self.vocabulary)
        self._sizes = sizes_of(tokenizer, self.vocabulary)

    @classmethod
    def fit(cls, texts: Iterable[str], config: TextConfig) -> Self:
        """Train the tokenizer on texts. Raises InputError where they are too few for the vocabulary."""
        if config.tokenizer == "source":
            raise InputError(
                "text.tokenizer = source",
                "no model folder was given",
                "Give one with --from, or set text.tokenizer = wordpiece.",
            )
        tokenizer = _tokenizers.train(
            texts, config.tokenizer, config.vocabulary, config.lowercase, config.min_frequency, FRAMES[config.frame]
        )
        _check_size(tokenizer.get_vocab_size(), config)
        return cls(tokenizer, config)  # as it was asked for: the key of the packed corpus hangs on it

    def but(self, **changes) -> "Text":
        """The same tokenizer under another config, e.g. but(context=64)."""
        return type(self)(self.tokenizer, self.config.model_copy(update=changes), self.roles)  # type: ignore[arg-type]

    def of_texts(self) -> "Text":
        return self.but(frame="texts") if self.config.frame == "stream" else self

    @cached_property
    def ends(self) -> Ends:
        """What stands before a text, and between two, where they come from a stream."""
        return ends_of(self.tokenizer, self.sep_id)

    @property
    def facts(self) -> Facts:
        infill = tuple(number for name in INFILL if (number := self.tokenizer.token_to_id(name)) is not None)
        special = {self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id, *infill} - {-1}
        return Facts(
            offers=self.frame.offers,
            vocabulary=self.vocabulary,
            mask_id=self.mask_id,
            pad_id=self.pad_id,
            special_ids=tuple(sorted(special)),
            end_id=self.sep_id if self.flows else -1,
            infill_ids=infill if len(infill) == len(INFILL) else (),
        )

    @property
    def sizes(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary, "positions": self.config.context, "pad_id": max(self.pad_id, 0)}

    def encode_flat(self, texts: list[str]) -> Flat:
        """Texts → all their tokens in one array, with offsets; texts of at most some MB together."""
        return self.encoder(texts)

    def encode(self, texts: list[str], specials: bool = False) -> list[Encoded]:
        """Token ids and sentence starts of each text. specials: "[MASK]" and kin in a text stand for their tokens."""
        if specials:
            found = [self.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
            return [Encoded(np.array(ids, np.int32), np.empty(0, np.int32)) for ids in found]
        encoded: list[Encoded] = []
        for batch in batches_by_length(texts, BATCH):
            flat = self.encoder(batch)
            breaks = pairwise(flat.break_offsets)
            for (first, last), (begin, end) in zip(pairwise(flat.offsets), breaks, strict=True):
                encoded.append(Encoded(flat.ids[first:last], flat.breaks[begin:end]))
        return encoded

    def prompt(self, text: str) -> np.ndarray:
        """int32 (n,): the ids of a text to be written on, special tokens as the tokenizer puts them; never empty."""
        ids = self.tokenizer.encode(text).ids or [self.sep_id]
        return np.array(ids, np.int32)

    def encode_offsets(self, texts: list[str]) -> list[Pieces]:
        """Token ids of each text with the characters they stand for."""
        found = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        places = [np.array(one.offsets, np.int64).reshape(-1, 2) for one in found]
        return [Pieces(np.array(one.ids, np.int32), at[:, 0], at[:, 1]) for one, at in zip(found, places, strict=True)]

    def encode_words(self, lists: list[list[str]]) -> list[Pieces]:
        """Token ids of each list of words, and the first piece of each word; a word without pieces is unknown."""
        blank = " " if self._closes.any() else ""  # byte-level pieces hold the blank before a word
        words = [[blank * bool(i) + word for i, word in enumerate(one)] for one in lists]
        found = self.tokenizer.encode_batch(words, is_pretokenized=True, add_special_tokens=False)  # type: ignore[arg-type]
        return [self._pieces(one.ids, one.word_ids, len(given)) for one, given in zip(found, words, strict=True)]

    def _pieces(self, ids: list[int], word_ids: list[int | None], count: int) -> Pieces:
        by_word: list[list[int]] = [[] for _ in range(count)]
        for number, word in zip(ids, word_ids, strict=True):
            by_word[word or 0].append(number)
        by_word = [pieces or [self.unk_id] for pieces in by_word]
        first = np.cumsum([0, *map(len, by_word)])[:-1]
        return Pieces(np.array([n for one in by_word for n in one], np.int32), first, np.empty(0, np.int64))

    def decode(self, ids, skip_special: bool = True) -> str:
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    @classmethod
    def ladder(cls, shape: str, config: SignalConfig) -> tuple[Rung, ...]:
        """In tokens, of decoders over characters and bytes alone."""
        return () if config.in_words else super().ladder(shape, config)

    def extent(self, lengths: np.ndarray | None) -> float:
        return float(self.config.context) if self.flows else 1.0

    def batch_for(self, lengths: np.ndarray | None, seen: float | None = None) -> int | None:
        """Rows of a stream, by their length and by how many tokens the whole run reads: few steps of many tokens learn
        less than many steps of few, until those are no better than one (McCandlish et al. 2018, arXiv 1812.06162)."""
        if not self.flows:
            return None
        rows = TOGETHER / self.config.context
        if seen is None:
            return max(1, min(ROWS, round(rows)))
        least = TOGETHER if self.config.in_words else FEWEST
        tokens = GROWTH * math.sqrt(seen * self.config.context)
        return max(1, round(min(MOST, max(least, tokens)) / self.config.context))

    def longest(self, lengths: np.ndarray | None) -> int:
        return self.config.context

    def length(self, sample: Sample) -> int:
        added = 0 if self.config.frame == "stream" else len(sample.parts) + 1
        if self.config.frame == "texts":
            added = len(self.ends.before) + (len(sample.parts) - 1) * len(self.ends.between)
        return min(self.config.context, sum(map(len, sample.parts)) + added)

    @property
    def lead(self) -> int:
        """Tokens before the first part of a row."""
        return len(self.ends.before) if self.config.frame == "texts" else int(not self.flows)

    def stack(self, samples: list[Sample]) -> Batch:
        """[CLS] p0 [SEP] (p1 [SEP]), the longest part cut first; `pad` and `segments` only where there are any.

        Of a stream: the tokens as they are, one more than the context, as the last is guessed and not read. Of its
        texts: with what their tokenizer puts before and between them, padded on the right.
        """
        if self.config.frame == "texts":
            context = self.config.context
            rows = [sample.but(parts=(joined(sample.parts, self.ends, context),)) for sample in samples]
            return stack_stream(rows, context, self.pad_id, self._sizes)
        if self.config.frame == "stream":
            return stack_stream(samples, self.config.context + 1, self.pad_id, self._sizes)
        return self._pairs(samples)

    def _pairs(self, samples: list[Sample]) -> Batch:
        rows = [shortened(sample.parts, self.config.context - 1 - len(sample.parts)) for sample in samples]
        tokens = np.full((len(rows), max(sum(map(len, row)) + len(row) + 1 for row in rows)), self.pad_id, np.int64)
        segments = np.zeros_like(tokens)
        lengths = [self._fill(tokens[i], segments[i], row) for i, row in enumerate(rows)]
        special = self._never_hidden[tokens]
        batch = Batch(stack_targets(samples), tokens=torch.from_numpy(tokens), special=torch.from_numpy(special))
        batch["word"] = torch.from_numpy(self._words(tokens, special))
        if min(lengths) < tokens.shape[1]:
            batch["pad"] = torch.from_numpy(np.arange(tokens.shape[1]) >= np.array(lengths)[:, None])
        if max(map(len, rows)) > 1:
            batch["segments"] = torch.from_numpy(segments)
        return batch

    def embed(self, shape) -> nn.Module:
        """(B, T) tokens → (B, T, D)."""
        from firth.model.embedding import TokenEmbedding

        return TokenEmbedding(shape)

    def save(self, folder, segments: bool = False) -> None:
        """tokenizer.json and tokenizer_config.json; segments: the model takes token_type_ids."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        kept = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.config.context,
            "padding_side": "left" if self.config.frame == "stream" else "right",
            "model_input_names": ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
            "clean_up_tokenization_spaces": False,
            **{role: token for role, token in self.roles.items() if token},
            "firth": self.config.model_dump(mode="json") | ({"frame": "stream"} if self.flows else {}),
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def open(cls, folder, config: TextConfig | None = None) -> Self:
        """The tokenizer of a model folder; of `config` only the context is taken. Raises InputError without one."""
        folder = Path(folder)
        stored = _read_config(folder)
        tokenizer = _read_tokenizer(folder, bool(stored.get("do_lower_case", True)))
        own = Config(**stored["firth"]) if "firth" in stored else _source_config(tokenizer, stored)
        if config is not None:
            own = own.model_copy(update={"context": config.context})
        frame = FRAMES[own.frame]
        return cls(tokenizer, own, check_roles(roles_of(tokenizer, stored, frame), frame, folder))

    def _id(self, role: str) -> int:
        number = self.tokenizer.token_to_id(self.roles.get(role, ""))
        return -1 if number is None else number

    def _table(self, ids: set[int]) -> np.ndarray:
        """bool (V,): True at these ids."""
        table = np.zeros(self.vocabulary, bool)
        table[sorted(ids - {-1})] = True
        return table

    def _fill(self, tokens: np.ndarray, segments: np.ndarray, parts: tuple[np.ndarray, ...]) -> int:
        """Write one row (T,) in place; its length."""
        tokens[0], place = self.cls_id, 1
        for number, part in enumerate(parts):
            end = place + len(part)
            tokens[place:end] = part
            tokens[end] = self.sep_id
            if number:
                segments[place : end + 1] = number
            place = end + 1
        return place

    def _words(self, tokens: np.ndarray, special: np.ndarray) -> np.ndarray:
        """int64 (B, T): number of the word in the row, 0, 1, …; -1 at special tokens."""
        begins = self._begins[tokens]
        begins[:, 1:] |= special[:, :-1] | self._closes[tokens[:, :-1]]
        begins &= ~special
        return np.where(special, -1, begins.cumsum(1) - 1)


def _word_tables(tokenizer: Tokenizer, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """bool (V,) twice: the piece begins a word; the piece after it does (signs stand alone)."""
    pieces = [tokenizer.id_to_token(number) or "" for number in range(vocabulary)]
    if any(piece.startswith("##") for piece in pieces):
        return np.array([not piece.startswith("##") for piece in pieces]), np.zeros(vocabulary, bool)
    signs = np.array([bool(piece) and piece[-1].isascii() and not piece[-1].isalnum() for piece in pieces])
    return np.array([piece[:1] in ("Ġ", "Ċ", "ĉ", "▁") for piece in pieces]) | signs, signs


def _check_size(found: int, config: Config) -> None:
    if found <= len(FRAMES[config.frame].specials):
        raise InputError("the text", "there are no words to learn a tokenizer from", "Give files that hold text.")
    if config.vocabulary > LARGE and found < config.vocabulary / 2:
        raise InputError(
            f"text.vocabulary = {config.vocabulary:,}",
            f"the text is too small for it: it gives {found:,} entries",
            f"Set text.vocabulary = {found // 100 * 100 or found} or less, or give more text.",
        )


def _read_config(folder: Path) -> dict:
    path = folder / "tokenizer_config.json"
    try:
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error})", "Save the model again, or fetch the file anew.") from None


def _read_tokenizer(folder: Path, lowercase: bool) -> Tokenizer:
    """From tokenizer.json, else from vocab.txt."""
    path = folder / "tokenizer.json"
    if not path.is_file() and (folder / "vocab.txt").is_file():
        return _tokenizers.from_vocabulary((folder / "vocab.txt").read_text("utf-8").splitlines(), lowercase)
    if not path.is_file():
        raise InputError(
            folder, "holds no tokenizer.json and no vocab.txt", "Give the folder of a model with its tokenizer."
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise InputError(path, f"is no tokenizer ({error})", "Save the model again, or fetch the file anew.") from None


def _source_config(tokenizer: Tokenizer, stored: dict) -> Config:
    longest = stored.get("model_max_length", 512)
    return Config(
        tokenizer="source",
        frame=frame_of(tokenizer, stored),
        min_frequency=1,
        vocabulary=max(16, tokenizer.get_vocab_size()),
        lowercase=bool(stored.get("do_lower_case", False)),
        context=int(longest) if 8 <= longest <= 8192 else 512,
    )
