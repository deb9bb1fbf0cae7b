"""A corpus whose files are samples themselves, pictures or recordings: decoded once into memory-mapped arrays.

The cache is keyed by the content of the files and by how they are decoded. What is held out, and which of equal files
is left out, follows from the hashes of the files when the corpus is opened. Labels (sub-folders, columns) are kept
beside: pre-training never reads them; watching it and `adapt` do.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firth import find
from firth.data import cache as cache_of
from firth.data import media
from firth.data.array_shard import ArrayShard, ArrayWriter
from firth.data.config import Data
from firth.data.corpus import named, physical, size_of, whole, write_findings
from firth.data.media import Raw, Reading
from firth.data.pack import held_out
from firth.data.records import Problems, Record
from firth.errors import FirthError, InputError, count
from firth.functional.random import Draw, combine, hash_bytes
from firth.signal import Finding, Look, Media, Sample, SignalConfig, Unreadable

VERSION = 1  # of the layout on disk; raised when it or the decoding changes
LOOKED = 500  # files whose heads decide what nobody set
SETTLED = 2000  # arrays of the training part by which means are found
AHEAD = 64  # files that are being decoded, for each thread
BROKEN = 0.5  # share of broken files beyond which something else is wrong


class ArrayRows:
    """Some arrays of a shard as a source. An array longer than `window` values is cut evenly into several samples."""

    def __init__(self, shard: ArrayShard, chosen: np.ndarray, window: int | None = None, labelled: bool = True):
        self.shard, self.chosen, self.labelled = shard, chosen, labelled
        lengths = shard.lengths[chosen]
        even = not len(lengths) or bool((lengths == lengths[0]).all())
        self.parts = np.ones(len(chosen), np.int64) if window is None else np.maximum(-(-lengths // window), 1)
        self.before = np.concatenate([[0], np.cumsum(self.parts)])  # (n + 1,) samples before each array
        self.lengths = None if even and window is None else self._lengths(lengths)

    def __len__(self) -> int:
        return int(self.before[-1])

    def get(self, indices: np.ndarray, draw: Draw | None = None) -> list[Sample]:
        """key = (hash of the file, number of the part). label: the class of its folder, which no objective reads."""
        places = np.searchsorted(self.before, np.asarray(indices, np.int64), side="right") - 1
        parts = np.asarray(indices, np.int64) - self.before[places]
        numbers = self.chosen[places]
        keys = combine(self.shard.hashes[numbers], parts).tolist()
        labels = self.shard.labels[numbers].tolist() if self.labelled and self.shard.classes else [None] * len(keys)
        arrays = (self._array(n, p, self.parts[at]) for n, p, at in zip(numbers, parts, places, strict=True))
        return [
            Sample((array,), key, label=label) for array, key, label in zip(arrays, keys, labels, strict=True)
        ]

    def name(self, index: int) -> str:
        """Of the file of a sample."""
        return self.shard.name(int(self.chosen[np.searchsorted(self.before, index, side="right") - 1]))

    def _array(self, number: int, part: int, parts: int) -> np.ndarray:
        if parts == 1:
            return self.shard.array(number)
        length = int(self.shard.lengths[number])
        return self.shard.part(number, int(part * length // parts), int((part + 1) * length // parts))

    def _lengths(self, lengths: np.ndarray) -> np.ndarray:
        """int64 (samples,): values of each."""
        place = np.arange(self.before[-1]) - np.repeat(self.before[:-1], self.parts)
        whole, parts = np.repeat(lengths, self.parts), np.repeat(self.parts, self.parts)
        return (place + 1) * whole // parts - place * whole // parts


class ArrayCorpus:
    """Decoded files in their folder.

    signal: fitted. fingerprint: hex, of content and decoding. findings: what was noted on the way.
    facts: items, held_out_items, exact_duplicates, broken, bytes, files, classes (name → count), told (in words).
    """

    def __init__(self, folder: Path, signal: Media, facts: dict[str, Any], fingerprint: str, config: Data):
        self.folder, self.signal, self.fingerprint = Path(folder), signal, fingerprint
        self.paths = tuple(map(str, config.paths))
        self.shard = ArrayShard(folder)
        first = np.zeros(len(self.shard), bool)
        first[np.unique(self.shard.hashes, return_index=True)[1]] = True
        held = held_out(self.shard.hashes, config.held_out)
        kept = first if config.duplicates == "drop" else np.ones_like(first)
        self.sides = {"train": np.flatnonzero(kept & ~held), "held_out": np.flatnonzero(kept & held)}
        _check_sides(self.sides, config, signal, self.paths)
        self.facts = facts | {
            "exact_duplicates": int((~first).sum()),
            "held_out": config.held_out,
            "held_out_items": len(self.sides["held_out"]),
            "classes": self._histogram(),
        }
        self.facts["told"] = self._told()

    def train(self, **_) -> ArrayRows:
        return self.source("train")

    def held_out(self, **_) -> ArrayRows:
        """Files that training never sees."""
        return self.source("held_out")

    def source(self, side: str) -> ArrayRows:
        """ "train" or "held_out"."""
        return ArrayRows(self.shard, self.sides[side], self.signal.window)

    @property
    def findings(self) -> list[Finding]:
        """What was noted while the files were decoded: broken ones, links, other kinds."""
        path = self.folder / "findings.json"
        return [Finding(*one) for one in json.loads(path.read_text("utf-8"))] if path.is_file() else []

    def records(self) -> Iterator[Record]:
        """Every file as an example with its label; the array is what a model reads."""
        for number in range(len(self.shard)):
            name, label = self.shard.name(number), int(self.shard.labels[number])
            yield Record(name, self.shard.classes[label] if label >= 0 else None, media.Where(name),
                         parts=(self.shard.array(number),), content=int(self.shard.hashes[number]))  # fmt: skip

    def _histogram(self) -> dict[str, int]:
        counts = np.bincount(self.shard.labels[self.shard.labels >= 0], minlength=len(self.shard.classes))
        return dict(zip(self.shard.classes, counts.tolist(), strict=True))

    def _told(self) -> list[str]:
        facts, told = self.facts, [count(self.facts["items"], self.signal.unit.thing), *self.facts["looks"]]
        if facts["classes"]:
            told.append(f"{count(len(facts['classes']), 'label')} left aside")
        if facts["broken"]:
            told.append(f"{facts['broken']:,} broken left out")
        if facts["exact_duplicates"]:
            told.append(f"{count(facts['exact_duplicates'], 'duplicate')} dropped")
        return told


def open_corpus(
    config: Data,
    signal_module,
    signal_config: SignalConfig,
    seed: int = 0,
    signal: Media | None = None,
    cache: str | Path | None = None,
    show=None,
    before: Callable[[int], None] | None = None,
) -> ArrayCorpus:
    """The corpus of these files; decoded first where the cache does not have it. The seed changes nothing here.

    config: the recipe's table `data`. signal: a fitted one (of a model folder); None: one is fitted to the files.
    before: called with the bytes of the files where they have to be decoded.
    Raises InputError for data that cannot be used, RunError for a full disk.
    """
    cls = find.main_class(signal_module, Media) if signal is None else type(signal)
    problems = Problems(True)
    with Reading(config.paths, cls, config.label, problems) as reading:
        wanted = signal_config if signal is None else signal.config
        key = _key(reading, wanted.model_dump(mode="json") if signal is None else signal.decoding, config.label)

        def build(folder: Path) -> None:
            if before is not None:
                before(size_of(reading.files))
            if show is not None:
                show.note(f"Decoding {count(len(reading.files), 'file')}; the next run on them starts at once.")
            _build(folder, reading, cls, signal, wanted, named(config.paths))

        folder = cache_of.get(cache_of.cache_folder(cache) / "corpora", key, build, whole)
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    fitted = signal if signal is not None else cls.open(folder / "signal", signal_config)
    corpus = ArrayCorpus(folder, fitted, facts, key, config)
    if show is not None:
        for one in corpus.findings:
            show.note(f"{one.where}: {one.what}. {one.do}")
    return corpus


def labelled_records(paths: Iterable[str], config: Data, signal: Media, problems: Problems) -> list[Record]:
    """The files of labelled data as examples, decoded by the signal of the model. Duplicates are all there.

    Raises InputError for files that cannot be used.
    """
    own = config.model_copy(update={"paths": tuple(paths), "duplicates": "keep", "held_out": 1e-12})
    corpus = open_corpus(own, None, signal.config, signal=signal)
    for one in corpus.findings:
        problems.note(one.level, one.where, one.what, one.do)
    return list(corpus.records())


def _build(folder: Path, reading: Reading, cls, signal: Media | None, config: Any, where: str) -> None:
    """Everything of one corpus into a folder."""
    fitted = signal if signal is not None else cls.fit(list(looks(reading, cls)), config)
    writer = ArrayWriter(folder, fitted.dtype, fitted.form)
    tally = Tally()
    with closing(decoded(reading, fitted, tally)) as found:
        for one in found:
            writer.append(one.array, one.content, one.raw.name, one.raw.label)
    writer.close()
    _check_found(writer.count, tally, reading, where)
    shard = ArrayShard(folder)
    if signal is None:
        chosen = np.linspace(0, len(shard) - 1, min(SETTLED, len(shard))).astype(np.int64)
        fitted = fitted.settled([shard.array(number) for number in chosen])
        fitted.save(folder / "signal")
    write_findings(folder, reading.problems.all())
    facts = {"items": writer.count, "unit": fitted.unit.thing, "broken": tally.broken, "files": len(reading.files),
             "bytes": size_of(reading.files), "looks": fitted.told(tally.looks), "forms": dict(tally.forms)}  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts, indent=2), "utf-8")
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    (folder / "sizes.json").write_text(json.dumps(sizes, indent=2), "utf-8")


class Decoded(NamedTuple):
    """One file, decoded."""

    raw: Raw
    content: int  # 64 bit hash of its bytes
    look: Look
    array: np.ndarray


class Tally:
    """What was seen on the way."""

    def __init__(self) -> None:
        self.broken, self.forms = 0, Counter[str]()
        self.looks: list[Look] = []  # of the first ones
        self.first: Finding | None = None

    def see(self, look: Look) -> None:
        self.forms[look.form] += 1
        if len(self.looks) < LOOKED:
            self.looks.append(look)


def decoded(reading: Reading, signal: Media, tally: Tally) -> Iterator[Decoded]:
    """The files in order, decoded in threads; broken ones are named and left out. At most AHEAD a thread are held."""
    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        raws = iter(reading)
        waiting = [(raw, pool.submit(decode, raw, signal)) for raw in islice(raws, AHEAD * threads)]
        while waiting:
            raw, future = waiting.pop(0)
            if (following := next(raws, None)) is not None:
                waiting.append((following, pool.submit(decode, following, signal)))
            if (one := result(future, raw, reading.problems, tally)) is not None:
                tally.see(one.look)
                yield one


def decode(raw: Raw, signal: Media) -> Decoded:
    data = raw.read()
    return Decoded(raw, hash_bytes(data), signal.look(data), signal.decode(data))


def result(future: Future, raw: Raw, problems: Problems, tally: Tally) -> Decoded | None:
    """What a thread has made of a file; None after the trouble was noted."""
    try:
        return future.result()
    except Unreadable as error:
        told = error.what, error.do
    except Exception as error:
        found = media.trouble(error, raw)
        if found is None:
            raise
        told = found
    tally.broken += 1
    problems.note("error", raw.where, *told)
    return None


def looks(reading: Reading, cls: type[Media]) -> Iterator[Look]:
    """The heads of some files; what cannot be read is told later."""
    for raw in reading.some(LOOKED):
        try:
            yield cls.look(raw.read())
        except (Unreadable, FirthError):
            continue
        except Exception as error:
            if media.trouble(error, raw) is None:
                raise


def inputs(given: str, signal: Media) -> Iterator["Input"]:
    """What `predict` and `embed` are given by a path: each of its files. Raises InputError for one that is broken."""
    with Reading([given], type(signal), None, Problems()) as reading:
        for raw in reading:
            try:
                data = raw.read()
                yield Input(raw.name, signal.decode(data))
            except Unreadable as error:
                raise InputError(raw.where, error.what, error.do) from None
            except Exception as error:
                told = media.trouble(error, raw)
                if told is None:
                    raise
                raise InputError(raw.where, *told) from None


class Input(NamedTuple):
    """A file to say something about; shown by its name."""

    name: str
    array: np.ndarray

    def __str__(self) -> str:
        return self.name


def cores() -> int:
    """Threads that decode together."""
    import os

    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def _key(reading: Reading, settings: dict[str, Any], label: str | None) -> str:
    """Content of the files, those that tables name included, their labels, and how they are decoded."""
    paths = [*physical(reading.files), *reading.paths]
    content = dict(zip(paths, cache_of.fingerprint(paths), strict=True))
    parts = [[*content[file.path], file.member, file.label, file.name] for file in reading.files]
    parts += [[*content[path], str(path)] for path in reading.paths]
    described = json.dumps([VERSION, parts, settings, label], sort_keys=True)
    return blake2b(described.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _check_found(items: int, tally: Tally, reading: Reading, where: str) -> None:
    """Raises InputError where nothing, or too little, could be decoded: its first finding."""
    findings = [one for one in reading.problems.findings if one.level == "error"]
    if items and tally.broken <= BROKEN * (items + tally.broken):
        return
    if not items and findings:
        raise InputError(findings[0].where, findings[0].what, findings[0].do)
    if not items:
        raise InputError(where, "holds nothing that can be decoded", f"firth reads {reading.readable}.")
    what = f"{tally.broken:,} of {items + tally.broken:,} files are broken; the first: {findings[0].what}"
    raise InputError(findings[0].where, what, findings[0].do)


def _check_sides(sides: dict[str, np.ndarray], config: Data, signal: Media, paths: tuple[str, ...]) -> None:
    """Both parts must hold something, unless nothing is to be held out."""
    total = sum(map(len, sides.values()))
    empty = next((side for side, found in sides.items() if not len(found)), None)
    if empty is None or config.held_out < 1e-6:
        return
    what = f"there {'is' if total == 1 else 'are'} only {count(total, signal.unit.thing)}"
    better = min(0.5, max(0.05, round(5 / max(total, 1), 2)))
    part = "held-out" if empty == "held_out" else "training"
    raise InputError(named(paths), f"{what}, and none fell into the {part} part ({config.held_out:.0%})",
                     f"Give more {signal.unit.thing}s, or set data.held_out = {better:g}.")  # fmt: skip
