"""Fast tokenising: text is cut into chunks (white space and the word after it), each distinct chunk is tokenised once.

The pre-tokenizers of BERT and of byte-level BPE always cut where white space follows a word, so tokenising chunk by
chunk gives exactly the ids of the whole text. Chunks are looked up in a table, and NumPy gathers their ids; only chunks
not seen before reach the tokenizer. Other pre-tokenizers see whole texts. Sentence starts come from the same chunks.
"""

import json
import re
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from firth.signals._sentences import ends_sentence, ends_surely, follows_newline, opens_sentence

SPACE = r" \t\n\r"  # what BertNormalizer takes for white space, besides signs that it removes
WIDE_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # \s of the byte-level pattern
WORDS = re.compile(f"[{SPACE}]*[^{SPACE}。！？]+[。！？]*|[。！？]+|[{SPACE}]+")
PLAIN = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")  # BERT's pre-tokenizer on printable ASCII
BYTES = re.compile(f"[{WIDE_SPACE}]*[^{WIDE_SPACE}]+|[{WIDE_SPACE}]+")
LONGEST = 100_000  # characters given to the tokenizer at once; a longer chunk is cut
BATCH = 1_000_000  # characters given to the tokenizer's threads together: bounds their memory
MEMO_STRINGS, MEMO_CHARACTERS = 400_000, 10_000_000  # a table grown beyond this is begun anew
ENDS, OPENS, NEWLINE, SURELY = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)


class Flat(NamedTuple):
    """Many texts' tokens in one array: text i is ids[offsets[i]:offsets[i + 1]]."""

    ids: np.ndarray  # int32 (N,)
    offsets: np.ndarray  # int64 (texts + 1,)
    breaks: np.ndarray  # int32 (S,): sentence starts, counted from the start of their text, 0 left out
    break_offsets: np.ndarray  # int64 (texts + 1,): text i has breaks[break_offsets[i]:break_offsets[i + 1]]


def pattern_of(tokenizer: Tokenizer) -> re.Pattern | None:
    """The chunk pattern that is exact for this tokenizer, or None."""
    before, normalizer = _rules(tokenizer)
    if before.get("type") == "BertPreTokenizer" and normalizer.get("type") in (None, "BertNormalizer"):
        return WORDS
    if not before and _joins_nothing(tokenizer) and normalizer.get("type") in (None, "Lowercase"):
        return BYTES
    byte_level = before.get("type") == "ByteLevel" and not before["add_prefix_space"] and before.get("use_regex", True)
    return BYTES if byte_level and normalizer.get("type") in (None, "NFC", "Lowercase") else None


def _joins_nothing(tokenizer: Tokenizer) -> bool:
    """Whether the model is byte pair encoding without pairs: each character is a token."""
    model = json.loads(tokenizer.to_str())["model"]
    return model["type"] == "BPE" and not model["merges"] and not model["fuse_unk"]


def _rules(tokenizer: Tokenizer) -> tuple[dict, dict]:
    """The pre-tokenizer and the normalizer, as they are written in tokenizer.json."""
    parts = json.loads(tokenizer.to_str())
    return parts["pre_tokenizer"] or {}, parts["normalizer"] or {}


class Table:
    """Distinct strings and their ids; a string not seen before is handed to `tokenise`, with the others of its call.

    tokenise: strings → ids int32 (N,), number of ids of each int64 (strings,).
    """

    def __init__(self, tokenise):
        self.tokenise = tokenise
        self.forget()

    def forget(self) -> None:
        self.memo: dict[str, int] = {}
        self.characters = 0
        self.ids = np.empty(0, np.int32)  # ids of all rows, one after another
        self.ends = np.zeros(1, np.int64)  # row r is ids[ends[r]:ends[r + 1]]

    @property
    def full(self) -> bool:
        return len(self.memo) > MEMO_STRINGS or self.characters > MEMO_CHARACTERS

    def rows(self, strings: list[str]) -> tuple[np.ndarray, list[str]]:
        """int64 (strings,): the row of each; and the strings that were new, in the order of their rows."""
        rows = np.fromiter(map(self.memo.get, strings, repeat(-1)), np.int64, len(strings))
        missing = np.flatnonzero(rows < 0).tolist()
        if not missing:
            return rows, []
        new = list(dict.fromkeys(strings[i] for i in missing))
        self._learn(new)
        rows[missing] = [self.memo[strings[i]] for i in missing]
        return rows, new

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """rows (n,) → ids int32 (N,), and the ids before each row and in all, int64 (n + 1,)."""
        counts = self.ends[rows + 1] - self.ends[rows]
        after = np.concatenate([[0], np.cumsum(counts)])
        return self.ids[np.arange(after[-1]) + np.repeat(self.ends[rows] - after[:-1], counts)], after

    def _learn(self, strings: list[str]) -> None:
        ids, counts = self.tokenise(strings)
        self.memo.update(zip(strings, range(len(self.memo), len(self.memo) + len(strings)), strict=True))
        self.characters += sum(map(len, strings))
        self.ids = np.concatenate([self.ids, ids])
        self.ends = np.concatenate([self.ends, self.ends[-1] + np.cumsum(counts)])


class ChunkEncoder:
    """Texts → ids and sentence starts. Special tokens written in the text count as plain text."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.pattern = pattern_of(self.tokenizer)
        self.lowercase = bool(_rules(self.tokenizer)[1].get("lowercase", False))
        self.words = Table(self._tokenise_words)
        self.model = self.tokenizer.model
        self.chunks = Table(self._by_words if self.pattern is WORDS else self._tokenise)
        self.flags = np.empty(0, np.uint8)  # (rows of chunks,): what each chunk says about sentences

    def __call__(self, texts: list[str]) -> Flat:
        if self.pattern is None:
            return self._whole(texts)
        self._forget()
        found = [self.pattern.findall(text) for text in texts]
        rows, new = self.chunks.rows(list(chain.from_iterable(found)))
        self.flags = np.concatenate([self.flags, np.fromiter(map(_flags, new), np.uint8, len(new))])
        ids, after = self.chunks.gather(rows)
        bounds = np.cumsum([0, *map(len, found)])
        return Flat(ids, after[bounds], *_breaks(self.flags[rows], after, bounds))

    def _forget(self) -> None:
        """Tables that have grown too large begin anew, so that memory is bounded."""
        if self.words.full:
            self.words.forget()
        if self.chunks.full:
            self.chunks.forget()
            self.flags = self.flags[:0]

    def _by_words(self, chunks: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """BERT's rules on printable ASCII are plain: words and signs; fewer of them are distinct than chunks."""
        found = [self._plain_words(chunk) for chunk in chunks]
        ids, after = self.words.gather(self.words.rows(list(chain.from_iterable(found)))[0])
        return ids, np.diff(after[np.cumsum([0, *map(len, found)])])

    def _plain_words(self, chunk: str) -> list[str]:
        word = chunk.strip(" \t\n\r")
        if not _is_plain(word):
            return [chunk]
        return PLAIN.findall(word.lower() if self.lowercase else word)

    def _tokenise_words(self, strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Plain words go to the model itself, as no rule would change them; everything else to the tokenizer."""
        other = [string for string in strings if not _is_plain(string)]
        ids, counts = self._tokenise(other) if other else (np.empty(0, np.int32), np.empty(0, np.int64))
        rest = iter(np.split(ids, np.cumsum(counts)[:-1]))
        lists = [[t.id for t in self.model.tokenize(s)] if _is_plain(s) else next(rest).tolist() for s in strings]
        return np.fromiter(chain.from_iterable(lists), np.int32), np.array([*map(len, lists)], np.int64)

    def _tokenise(self, strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """ids (N,), counts (strings,) by the tokenizer itself, in batches of bounded size."""
        if max(map(len, strings)) > LONGEST:
            return self._tokenise_pieces(strings)
        ids: list[np.ndarray] = []
        counts: list[int] = []
        for batch in batches_by_length(strings, BATCH):
            lists = [e.ids for e in self.tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
            counts += map(len, lists)
            ids.append(np.fromiter(chain.from_iterable(lists), np.int32))
        return np.concatenate(ids), np.array(counts, np.int64)

    def _tokenise_pieces(self, strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
        pieces = [[c[i : i + LONGEST] for i in range(0, max(len(c), 1), LONGEST)] for c in strings]
        ids, counts = self._tokenise(list(chain.from_iterable(pieces)))
        return ids, np.add.reduceat(counts, np.cumsum([0, *map(len, pieces)])[:-1])

    def _whole(self, texts: list[str]) -> Flat:
        """Without chunks: the tokenizer sees whole texts, and offsets say where sentences start."""
        ids, breaks = [], []
        for batch in batches_by_length(texts, BATCH // 4):
            for text, encoded in zip(batch, self.tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
                starts = np.array([offset[0] for offset in encoded.offsets], np.int64)
                cut = np.unique(np.searchsorted(starts, sentence_starts(text)))
                ids.append(np.array(encoded.ids, np.int32))
                breaks.append(cut[(cut > 0) & (cut < len(starts))].astype(np.int32))
        return Flat(_join(ids), _offsets(ids), _join(breaks), _offsets(breaks))


def sentence_starts(text: str) -> np.ndarray:
    """int64 (S,): offsets in characters at which a sentence starts, 0 left out."""
    spans = [(match.start(), match.group()) for match in WORDS.finditer(text)]
    flags = np.array([_flags(chunk) for _, chunk in spans], np.uint8)
    first = [start + len(chunk) - len(chunk.lstrip()) for start, chunk in spans]
    return np.array(first, np.int64)[_starting(flags)]


def batches_by_length(texts: list[str], limit: int):
    """Consecutive lists of texts of at most `limit` characters together (one text alone may be longer)."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) > limit:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text) + 1
    if batch:
        yield batch


def _is_plain(word: str) -> bool:
    return word.isascii() and word.isprintable()


def _flags(chunk: str) -> int:
    last = chunk[-1:]
    if chunk[0] == " " and chunk[1:].isalpha() and chunk.islower():
        return 0
    flags = 0 if last.isalnum() else ENDS * ends_sentence(chunk) | SURELY * ends_surely(chunk)
    return int(flags | OPENS * opens_sentence(chunk) | NEWLINE * follows_newline(chunk))


def _starting(flags: np.ndarray) -> np.ndarray:
    """bool (chunks,): True where a sentence starts; the first chunk is left out."""
    before = np.concatenate([np.zeros(1, np.uint8), flags[:-1]])[: len(flags)]
    start = ((before & ENDS) > 0) & ((flags & OPENS) > 0) | ((before & SURELY) > 0) | ((flags & NEWLINE) > 0)
    start[:1] = False
    return start


def _breaks(flags: np.ndarray, after: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """flags (chunks,), tokens before each chunk, texts' bounds in chunks → breaks, break_offsets as in Flat."""
    chunks = np.flatnonzero(_starting(flags))
    text = np.searchsorted(bounds, chunks, side="right") - 1
    place = after[chunks]
    inside = (place > after[bounds[text]]) & (place < after[bounds[text + 1]])
    inside[1:] &= (place[1:] != place[:-1]) | (text[1:] != text[:-1])
    text, place = text[inside], place[inside]
    breaks = (place - after[bounds[text]]).astype(np.int32)
    return breaks, np.searchsorted(text, np.arange(len(bounds))).astype(np.int64)


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int32), *arrays])


def _offsets(arrays: list[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, arrays)], dtype=np.int64)
