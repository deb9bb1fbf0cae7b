"""The occurrences of a word in files: found while reading, drawn by content, with the sentence around each."""

import heapq
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firth.data.files import expand
from firth.data.readers import read
from firth.data.records import Problems
from firth.errors import InputError, did_you_mean
from firth.evaluate.encoder import Span
from firth.functional.random import hash_bytes
from firth.recipe import Data
from firth.signals._chunks import sentence_starts
from firth.train.folder import RunFolder

FEWEST = 10  # occurrences that say anything
LONGEST = 600  # characters of a sentence that are kept around a word
NEAR_WORDS = 200_000  # distinct words among which a near one is looked for
WORD = re.compile(r"\w+(?:['’-]\w+)*")


class Seen(NamedTuple):
    """A word in its sentence, and where that stands."""

    span: Span
    where: str


class Found(NamedTuple):
    """seen: occurrences in all. used: those drawn, each sentence once, in the order of their hashes.

    others: a word drawn from each of as many documents: what any two words have in common.
    """

    seen: int
    used: list[Seen]
    others: list[Span]


class Least:
    """The n items with the least hashes of those that came; equal content comes once."""

    def __init__(self, count: int):
        self.count = count
        self.heap: list[tuple[int, int]] = []  # (-hash, number)
        self.items: dict[int, object] = {}  # by hash

    def add(self, mark: int, make) -> None:
        """make() is called only where the item is kept."""
        if mark in self.items or (len(self.heap) == self.count and mark >= -self.heap[0][0]):
            return
        self.items[mark] = make()
        heapq.heappush(self.heap, (-mark, 0))
        if len(self.heap) > self.count:
            del self.items[-heapq.heappop(self.heap)[0]]

    def sorted(self) -> list:
        return [self.items[mark] for mark in sorted(self.items)]


def find_word(word: str, data: Data, count: int, seed: int, lowercase: bool) -> Found:
    """`count` occurrences of a whole word; upper case counts only if the tokenizer keeps it and the word has some.

    Raises InputError where it is not there, or seen fewer than FEWEST times; and for files that cannot be read.
    """
    exact = not lowercase and word != word.lower()
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", 0 if exact else re.IGNORECASE)
    used, others, words = Least(count), Least(count), Counter[str]()
    seen, low = 0, word.lower()
    problems = Problems(skip=True)
    for record in read(expand(data.paths, problems), data.text, document=data.document, problems=problems):
        text = record.text
        others.add(mark_of(seed, text[:LONGEST]), lambda text=text: any_word(text, seed))
        if low in text.lower():
            for span in occurrences(text, pattern):
                seen += 1
                used.add(mark_of(seed, span.text, span.start), lambda s=span, w=record.where: Seen(s, str(w)))
        elif not seen and len(words) < NEAR_WORDS:
            words.update(one.lower() for one in WORD.findall(text[:5000]))
    found = Found(seen, used.sorted(), [span for span in others.sorted() if span])
    refuse_rare(word, found, words, data.paths)
    return found


def refuse_rare(word: str, found: Found, words: Counter[str], paths: Iterable[str]) -> None:
    """Raises InputError."""
    where = f"`{word}` in {', '.join(paths)}"
    if not found.seen:
        often = [one for one, times in words.items() if times >= FEWEST] or list(words)
        near = did_you_mean(word.lower(), often)
        raise InputError(where, "the word is not there", near + "Choose a word that is, or give other DATA.")
    if len(found.used) < FEWEST:
        what = f"seen {found.seen:,} times, in {len(found.used):,} different sentences; {FEWEST} are needed"
        raise InputError(where, what, "Choose a more frequent word, or give more DATA.")


def occurrences(text: str, pattern: re.Pattern) -> Iterable[Span]:
    """The word in the sentence around it, for each of its places."""
    starts: np.ndarray | None = None
    for match in pattern.finditer(text):
        if starts is None:
            starts = np.concatenate([[0], sentence_starts(text), [len(text)]])
        number = int(np.searchsorted(starts, match.start(), side="right")) - 1
        yield clipped(text, match.start(), match.end(), int(starts[number]), int(starts[number + 1]))


def clipped(text: str, start: int, end: int, first: int, last: int) -> Span:
    """text[first:last] with single blanks, cut between words to LONGEST characters around text[start:end]."""
    room = max(0, (LONGEST - (end - start)) // 2)
    left, right = text[max(first, start - room) : start], text[end : min(last, end + room)]
    if start - room > first and " " in left:
        left = left[left.index(" ") + 1 :]
    if end + room < last and " " in right:
        right = right[: right.rindex(" ")]
    before, after = re.sub(r"\s+", " ", left).lstrip(), re.sub(r"\s+", " ", right).rstrip()
    return Span(before + text[start:end] + after, len(before), len(before) + end - start)


def any_word(text: str, seed: int) -> Span | None:
    """A word of the text, drawn by its content, in its sentence."""
    words = list(WORD.finditer(text[: 50 * LONGEST]))
    if not words:
        return None
    match = words[mark_of(seed, text[:LONGEST], 1) % len(words)]
    starts = np.concatenate([[0], sentence_starts(text[: 50 * LONGEST]), [len(text)]])
    number = int(np.searchsorted(starts, match.start(), side="right")) - 1
    return clipped(text, match.start(), match.end(), int(starts[number]), int(starts[number + 1]))


def mark_of(seed: int, text: str, place: int = 0) -> int:
    """64 bit that hang on seed and content."""
    return hash_bytes(f"{seed} {place} ".encode() + text.encode("utf-8", "replace"))


def trained_on(model: str | Path) -> Data:
    """What the run was pre-trained on, where its files are found from here; of an adapted run, what its source was.

    Raises InputError for a model that is no run of firth.
    """
    run, passed = RunFolder(model), set()
    while run.config.exists() and run.recipe.verb != "pretrain" and run.recipe.model.source and str(run) not in passed:
        passed.add(str(run))
        source = RunFolder(run.reached.model.source)
        run = source if source.config.exists() else RunFolder(Path(source).parent)
    if not run.config.exists() or not run.recipe.data.paths:
        do = f"Give the text to look in: firth company {model} WORD DATA"
        raise InputError(model, "is no run of firth, which would know the text it was trained on", do)
    return run.reached.data
