"""Documents → token shards of a train and a held-out split, in two readings and bounded memory."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from firth.data.shards import ShardWriter, token_type
from firth.data.survey import BATCH, Survey, batches_of, survey
from firth.errors import InputError, RunError
from firth.functional.random import combine, hash_bytes

SPLITS = ("train", "held_out")
AT_ONCE = 1 << 16  # documents whose side is found out together
RUNNING = 0.10  # share at the end of a single running text that is held out, where no share was asked for
HELD_OUT = np.uint64(0x68656C64)  # makes the choice independent of other uses of the hash


@dataclass(frozen=True)
class Plan:
    """What to do with the documents."""

    held_out: float  # share of the documents, by content hash; of the characters, from the end, if running
    running: bool  # one text that goes on from document to document
    drop: bool  # exact duplicates


@dataclass(frozen=True)
class Border:
    """Where the held-out part of a running text begins: `characters` into document `document`."""

    document: int
    characters: int


def build(
    folder: Path, read: Callable[[], Iterable], plan: Plan, fit: Callable[[Iterable[str]], Any], signal, where: str
) -> dict[str, Any]:
    """Write the splits, the tokenizer and facts into folder. read() begins a new reading of the records.

    signal: a fitted one, or None: fit(texts) makes it from a sample of the training documents.
    """
    scratch = folder / "scratch"
    found = survey(read(), scratch, want_sample=signal is None)
    _check_found(found, plan, where)
    border = _border(found, plan) if plan.running else None
    if signal is None and found.sample is not None:
        stop = (border.document, border.characters) if border else (found.documents, 0)
        held = _held_numbers(found, plan) if border is None else None
        signal = fit(_training_sample(found, held, stop))
    writers = _write(folder, read, found, plan, border, signal)
    _check_splits(writers, found, plan, where)
    signal.save(folder / "tokenizer")
    facts = _facts(found, writers, signal)
    shutil.rmtree(scratch)
    (folder / "facts.json").write_text(json.dumps(facts, indent=2), "utf-8")
    return facts


def held_out(hashes: np.ndarray, share: float) -> np.ndarray:
    """uint64 (n,) content hashes → bool (n,): which are held out; equal content falls on one side."""
    return combine(np.asarray(hashes, np.uint64), HELD_OUT) < np.uint64(min(share, 0.999) * 2.0**64)


def _held_numbers(found: Survey, plan: Plan) -> Callable[[int], bool]:
    """Which documents are held out, found out for many at a time: they are asked for in order."""

    @lru_cache(maxsize=1)
    def side_of(first: int) -> np.ndarray:
        return held_out(found.hashes[first : first + AT_ONCE], plan.held_out)

    return lambda number: bool(side_of(number - number % AT_ONCE)[number % AT_ONCE])


def _training_sample(found: Survey, held: Callable[[int], bool] | None, stop: tuple[int, int]) -> Iterator[str]:
    assert found.sample is not None
    for number, text in found.sample.texts(*stop):
        if held is None or not held(number):
            yield text


def _border(found: Survey, plan: Plan) -> Border:
    """The last characters of a running text, counted over documents in order."""
    goal = int(found.characters * (1 - plan.held_out))
    before = 0
    for first in range(0, found.documents, 1 << 20):
        ends = before + np.cumsum(found.lengths[first : first + (1 << 20)])
        place = int(np.searchsorted(ends, goal, side="right"))
        if place < len(ends):
            return Border(first + place, goal - int(ends[place] - found.lengths[first + place]))
        before = int(ends[-1])
    return Border(found.documents, 0)


def _write(folder: Path, read, found: Survey, plan: Plan, border: Border | None, signal) -> list[ShardWriter]:
    """The second reading: tokenise and write what is kept."""
    facts = signal.facts
    kind = token_type(facts.vocabulary)
    writers = [ShardWriter(folder / split, kind, signal.sep_id) for split in SPLITS]
    seen = 0
    for batch in batches_of(read()):
        numbers = np.arange(batch.first, batch.first + len(batch.texts))
        seen += len(numbers)
        if seen > found.documents:
            break
        texts, hashes, held = _kept(batch.texts, numbers, found, plan, border)
        for side, writer in enumerate(writers):
            _write_documents(writer, signal, texts[held == side].tolist(), hashes[held == side])
    for writer in writers:
        writer.close()
    if seen != found.documents:
        raise RunError("data", "the files changed while they were read", "Run the command again.")
    return writers


def _kept(texts: list[str], numbers: np.ndarray, found: Survey, plan: Plan, border: Border | None):
    """texts object (n,), hashes uint64 (n,), held int (n,): duplicates dropped, a document on the border cut in two."""
    hashes = np.array(found.hashes[numbers])
    if border is None:
        held = held_out(hashes, plan.held_out).astype(np.int64)
    else:
        held = (numbers > border.document).astype(np.int64)
    keep = ~found.repeated[numbers] if plan.drop else np.ones(len(numbers), bool)
    array = np.empty(len(texts), object)
    array[:] = texts
    array, hashes, held, numbers = array[keep], hashes[keep], held[keep], numbers[keep]
    if border is not None and border.document in numbers:
        return _cut_at(border, array, hashes, held, int(np.searchsorted(numbers, border.document)))
    return array, hashes, held


def _cut_at(border: Border, texts: np.ndarray, hashes: np.ndarray, held: np.ndarray, place: int):
    """The document at `place` becomes two, cut at the white space next to the border."""
    text = texts[place]
    space = next((i for i in range(border.characters, len(text)) if text[i].isspace()), len(text))
    parts = [part for part in (text[:space], text[space:].strip()) if part]
    new = [hash_bytes(part.encode("utf-8", "replace")) for part in parts]
    sides = [0, 1] if len(parts) == 2 else [0 if space else 1]
    both = np.empty(len(parts), object)
    both[:] = parts
    return (
        np.concatenate([texts[:place], both, texts[place + 1 :]]),
        np.concatenate([hashes[:place], np.array(new, np.uint64), hashes[place + 1 :]]),
        np.concatenate([held[:place], sides, held[place + 1 :]]).astype(np.int64),
    )


def _write_documents(writer: ShardWriter, signal, texts: list[str], hashes: np.ndarray) -> None:
    """Whole documents together, long ones in pieces."""
    long = np.array([len(text) > BATCH for text in texts], bool)
    for number in np.flatnonzero(long).tolist():
        _write_long(writer, signal, texts[number], int(hashes[number]))
    short = [text for text in texts if len(text) <= BATCH]
    if not short:
        return
    flat = signal.encode_flat([text.encode("utf-8", "replace").decode() for text in short])
    counts, breaks = np.diff(flat.offsets), np.diff(flat.break_offsets)
    some = counts > 0
    writer.extend(flat.ids, counts[some], flat.breaks, breaks[some], hashes[~long][some])


def _write_long(writer: ShardWriter, signal, text: str, content_hash: int) -> None:
    for piece in pieces(text, BATCH):
        flat = signal.encode_flat([piece.encode("utf-8", "replace").decode()])
        writer.append(flat.ids, flat.breaks)
    if writer.open_length:
        writer.end_document(content_hash)


def pieces(text: str, size: int) -> Iterator[str]:
    """The text in pieces of about `size` characters, the later ones beginning with white space if possible."""
    bounds = [0]
    while bounds[-1] + size < len(text):
        goal = bounds[-1] + size
        space = max(text.rfind(sign, bounds[-1] + size // 2, goal) for sign in " \n\t")
        bounds.append(space if space > 0 else goal)
    yield from (text[first:last] for first, last in pairwise([*bounds, len(text)]))


def _facts(found: Survey, writers: list[ShardWriter], signal) -> dict[str, Any]:
    train, held = writers
    return {
        "documents": train.documents + held.documents,
        "held_out_documents": held.documents,
        "characters": found.characters,
        "words": found.words,
        "tokens": sum(writer.tokens - writer.documents for writer in writers),
        "train_tokens": train.tokens - train.documents,
        "held_out_tokens": held.tokens - held.documents,
        "exact_duplicates": found.duplicates.exact,
        "near_duplicates": found.duplicates.near,
        "vocabulary": signal.facts.vocabulary,
    }


def _check_found(found: Survey, plan: Plan, where: str) -> None:
    if not found.documents:
        raise InputError(where, "there is no text in it", "Give files that hold text, or name the column with --text.")
    distinct = found.documents - found.duplicates.exact
    if plan.drop and distinct < 2 and not plan.running:
        what = "all documents are the same" if found.documents > 1 else "there is only one document"
        raise InputError(where, what, "Give more text, or say --document line.")


def _check_splits(writers: list[ShardWriter], found: Survey, plan: Plan, where: str) -> None:
    """Both parts must hold something."""
    train, held = writers
    if train.documents and held.documents:
        return
    total = train.documents + held.documents
    part, share = ("held-out", f"{plan.held_out:.0%}") if train.documents else ("training", f"{1 - plan.held_out:.0%}")
    documents = "is only 1 document" if total == 1 else f"are only {total:,} documents"
    better = min(0.5, max(0.05, round(5 / max(total, 1), 2)))
    raise InputError(
        where,
        f"there {documents}, and none fell into the {part} part ({share})",
        f"Give more text, say --document line, or set data.held_out = {better:g}.",
    )
