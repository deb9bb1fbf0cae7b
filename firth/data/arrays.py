"""A corpus whose files are samples themselves, pictures or recordings: decoded once into memory-mapped arrays.

The cache is keyed by the content of the files and by how they are decoded. What is held out, and which of equal files
is left out, follows from the hashes of the files when the corpus is opened. Labels (sub-folders, columns) are kept
beside: pre-training never reads them; watching it and `adapt` do.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from firth import find
from firth.data import cache as cache_of
from firth.data import groups, media
from firth.data.array_shard import ArrayShard, ArrayWriter
from firth.data.config import Data
from firth.data.corpus import DEFAULT_SHARE, named, physical, size_of, whole, write_findings
from firth.data.decoding import Tally, arrays_of, decoded, head_of
from firth.data.keeping import in_each_pass, refuse_full, shard_in, stays
from firth.data.media import Reading
from firth.data.media_inputs import inputs as inputs
from firth.data.media_inputs import pieces_of
from firth.data.pack import held_out
from firth.data.records import Problems, Record
from firth.data.source import windows_elsewhere
from firth.errors import FirthError, InputError, count
from firth.functional.places import evenly
from firth.functional.random import Draw, combine
from firth.signal import Finding, Look, Media, Sample, SignalConfig, Unreadable

VERSION = 2  # of the layout on disk; raised when it, the reading or the decoding changes
LOOKED = 500  # files whose heads decide what nobody set
SETTLED = 2000  # arrays by which means are found
SPARE = 20  # files or pieces that are held out at least, up to a fifth, where no share was asked for
MOST_SPARED = 0.2
NONE = 1e-12  # a share that holds nothing out
FEW_FILES = 20  # below so many, pieces of one recording may fall on both sides
WINDOWS = 20  # bits of a key that number the windows of a piece
LABELS = "Put the {}s of each class into a folder with its name, or give a table with a column of labels."
BROKEN = 0.5  # share of broken files beyond which something else is wrong


class ArrayRows:
    """Some arrays of a shard as a source. An array longer than `window` values is cut evenly into several samples.

    partner: attach a random window of another array, drawn by key, where there is one.
    """

    def __init__(
        self, shard: ArrayShard, chosen: np.ndarray, window: int | None = None, labelled: bool = True,
        partner: bool = False,
    ):  # fmt: skip
        self.shard, self.chosen, self.labelled = shard, chosen, labelled
        self.partner = partner and len(chosen) > 1
        lengths = shard.lengths[chosen]
        even = not len(lengths) or bool((lengths == lengths[0]).all())
        self.parts = np.ones(len(chosen), np.int64) if window is None else np.maximum(-(-lengths // window), 1)
        self.before = np.concatenate([[0], np.cumsum(self.parts)])  # (n + 1,) samples before each array
        self.lengths = None if even and window is None else self._lengths(lengths)

    def __len__(self) -> int:
        return int(self.before[-1])

    def get(self, indices: np.ndarray, draw: Draw | None = None) -> list[Sample]:
        """key = (hash of the file, numbers of piece and window). label: of its folder, which no objective reads."""
        samples = self._samples(np.asarray(indices, np.int64))
        if not self.partner or draw is None:
            return samples
        partners = self._samples(self._partners(np.asarray(indices, np.int64), samples, draw))
        return [one.but(partner=other) for one, other in zip(samples, partners, strict=True)]

    def _partners(self, indices: np.ndarray, samples: list[Sample], draw: Draw) -> np.ndarray:
        """int64 (n,): a window of another array for each."""
        places = np.searchsorted(self.before, indices, side="right") - 1
        keys = np.array([sample.key for sample in samples], np.uint64)
        return windows_elsewhere(self.before[places], self.parts[places], len(self), keys, draw)

    def _samples(self, indices: np.ndarray) -> list[Sample]:
        places = np.searchsorted(self.before, indices, side="right") - 1
        parts = indices - self.before[places]
        numbers = self.chosen[places]
        windows = (self.shard.pieces[numbers].astype(np.int64) << WINDOWS) + parts
        keys = combine(self.shard.hashes[numbers], windows).tolist()
        labels = self.shard.labels[numbers].tolist() if self.labelled and self.shard.classes else [None] * len(keys)
        arrays = self._arrays(numbers, parts, self.parts[places])
        return [Sample((array,), key, label=label) for array, key, label in zip(arrays, keys, labels, strict=True)]

    def name(self, index: int) -> str:
        """Of the file of a sample."""
        return self.shard.name(int(self.chosen[np.searchsorted(self.before, index, side="right") - 1]))

    def _arrays(self, numbers: np.ndarray, part: np.ndarray, parts: np.ndarray) -> list[np.ndarray]:
        if (parts == 1).all():
            return self.shard.arrays(numbers)
        return [self._array(*one) for one in zip(numbers, part, parts, strict=True)]

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

    def __init__(
        self,
        shard: ArrayShard,
        folder: Path,
        signal: Media,
        facts: dict[str, Any],
        fingerprint: str,
        config: Data,
    ):
        self.folder, self.signal, self.fingerprint = Path(folder), signal, fingerprint
        self.paths = tuple(map(str, config.paths))
        self.shard = shard
        marks = combine(self.shard.hashes, self.shard.pieces)  # equal files have equal ones, piece by piece
        first = np.zeros(len(self.shard), bool)
        first[np.unique(marks, return_index=True)[1]] = True
        by_piece = bool(self.shard.pieces.any()) and (self.shard.pieces == 0).sum() < FEW_FILES
        held, share = held_back(marks if by_piece else self.shard.hashes, config.held_out)
        kept = first if config.duplicates == "drop" else np.ones_like(first)
        self.sides = {"train": np.flatnonzero(kept & ~held), "held_out": np.flatnonzero(kept & held)}
        _check_sides(self.sides, config, signal, self.paths)
        self.facts = facts | {
            "exact_duplicates": int((~first & (self.shard.pieces == 0)).sum()),
            "held_out": share,
            "held_out_items": len(self.sides["held_out"]),
            "classes": self._histogram(),
        }
        self.facts["told"] = self._told()

    def train(self, partner: bool = False, **_) -> ArrayRows:
        return self.source("train", partner)

    def held_out(self, partner: bool = False, **_) -> ArrayRows:
        """Files that training never sees."""
        return self.source("held_out", partner)

    def source(self, side: str, partner: bool = False) -> ArrayRows:
        """ "train" or "held_out"."""
        return ArrayRows(self.shard, self.sides[side], self.signal.window, partner=partner)

    @property
    def findings(self) -> list[Finding]:
        """What was noted while the files were decoded: broken ones, links, other kinds."""
        path = self.folder / "findings.json"
        return [Finding(*one) for one in json.loads(path.read_text("utf-8"))] if path.is_file() else []

    def records(self, most: int | None = None) -> Iterator[Record]:
        """Every file as an example with its label; the array, of a recording all its pieces, is what a model reads.

        most: values beyond which each piece is an example of its own, all on one side of a split.
        """
        shard, begins = self.shard, np.flatnonzero(self.shard.pieces == 0)
        for first, end in zip(begins.tolist(), [*begins[1:].tolist(), len(shard)], strict=True):
            name, number = shard.name(first), int(shard.labels[first])
            label = shard.classes[number] if number >= 0 else None
            whole = Record(name, label, media.Where(name), parts=(shard.joined(first, end),),
                           content=int(shard.hashes[first]))  # fmt: skip
            if most is None or len(whole.parts[0]) <= most:
                yield whole
                continue
            parts = pieces_of(name, (shard.array(number) for number in range(first, end)), self.signal)
            for piece, part in enumerate(parts):
                content = int(combine(shard.hashes[first], piece))
                yield whole._replace(text=part.name, parts=(part.array,), content=content, group=name)

    def _histogram(self) -> dict[str, int]:
        counts = np.bincount(self.shard.labels[self.shard.labels >= 0], minlength=len(self.shard.classes))
        return dict(zip(self.shard.classes, counts.tolist(), strict=True))

    def _told(self) -> list[str]:
        facts, told = self.facts, [count(self.facts["decoded"], self.signal.unit.thing), *self.facts["looks"]]
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
    signal_config: SignalConfig | None,
    seed: int = 0,
    signal: Media | None = None,
    cache: str | Path | None = None,
    show=None,
    before: Callable[[int], None] | None = None,
) -> ArrayCorpus:
    """The corpus of these files; decoded first where the cache does not have it. The seed changes nothing here.

    config: the recipe's table `data`. signal: a fitted one (of a model folder); None: one is fitted to the files.
    signal_config: the recipe's; says whether decoded arrays are kept. None: they are.
    before: called with the bytes of the files where they have to be decoded.
    Raises InputError for data that cannot be used, RunError for a full disk.
    """
    cls = find.main_class(signal_module, Media) if signal is None else type(signal)
    problems = Problems(True)
    with Reading.of(config.paths, cls, config.label, problems) as reading:
        fitted = cls.fit(looks(reading, cls), signal_config) if signal is None else signal
        key = _key(reading, fitted.decoding, config.label)
        root = cache_of.cache_folder(cache) / "corpora"
        wanted = signal_config.kept if signal_config is not None else "on"
        kept = stays(wanted, root / key, reading, fitted)

        def build(folder: Path) -> None:
            if kept:
                refuse_full(folder, reading.items, fitted)
            if before is not None:
                before(size_of(reading.files))
            if show is not None:
                doing = "Decoding" if kept else "Looking through"
                show.note(f"{doing} {count(len(reading.files), 'file')}; the next run on them starts at once.")
            _build(folder, reading, fitted, kept, named(config.paths))

        folder = cache_of.get(root, key if kept else f"{key}.index", build, whole)
        shard = shard_in(folder, reading, fitted, kept)
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    corpus = ArrayCorpus(shard, folder, fitted.recalled(folder / "signal"), facts, key, config)
    if show is not None:
        if not kept:
            show.note(in_each_pass(wanted, folder, len(shard), fitted))
        for one in corpus.findings:
            show.note(one.text)
    return corpus


def labelled_records(paths: Iterable[str], config: Data, signal: Media, problems: Problems, task: Any) -> list[Record]:
    """The files of labelled data as examples, decoded by the signal of the model. Duplicates are all there.

    Raises InputError for files that cannot be used.
    """
    label = config.label or Reading.of(paths, type(signal), None, Problems(skip=True)).column(task.columns)
    own = config.model_copy(update={"paths": tuple(paths), "duplicates": "keep", "held_out": NONE, "label": label})
    corpus = open_corpus(own, None, None, signal=signal)
    for one in corpus.findings:
        problems.note(one.level, one.where, one.what, one.do)
    found = list(corpus.records(signal.whole if task.classed else None))
    if config.leave_out and groups.Rule.of(config.leave_out).column:
        found = groups.with_rows(found, dict(media.rows_of(paths, type(signal))))
    for record in found:
        if record.label is None:
            problems.bad(record.where, f"this {signal.unit.thing} has no label", LABELS.format(signal.unit.thing))
    return [record for record in found if record.label is not None]


def _build(folder: Path, reading: Reading, fitted: Media, kept: bool, where: str) -> None:
    """Everything of one corpus into a folder."""
    writer = ArrayWriter(folder, fitted.dtype, fitted.form, kept)
    tally = Tally()
    with closing(decoded(reading, fitted, tally)) as found:
        for one in found:
            for piece, array in enumerate(arrays_of(one, reading.problems)):
                writer.append(array, one.content, one.raw.name, one.raw.label, piece)
    writer.close()
    _check_found(writer.count, tally, reading, where)
    shard = shard_in(folder, reading, fitted, kept)
    chosen = evenly(len(shard), SETTLED)
    fitted.settled(shard.arrays(chosen)).save(folder / "signal")
    write_findings(folder, reading.problems.all())
    facts = {
        "items": writer.count,
        "decoded": tally.files,
        "unit": fitted.unit.thing,
        "files": len(reading.files),
        "bytes": size_of(reading.files),
        "broken": tally.broken,
        "forms": dict(tally.forms),
        "looks": fitted.told(tally.looks, writer.size),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=2), "utf-8")
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    (folder / "sizes.json").write_text(json.dumps(sizes, indent=2), "utf-8")


def looks(reading: Reading, cls: type[Media]) -> Iterator[Look]:
    """The heads of some files; what cannot be read is told later."""
    for raw in reading.some(LOOKED):
        try:
            yield head_of(raw, cls)
        except (Unreadable, FirthError):
            continue
        except Exception as error:
            if media.trouble(error, raw) is None:
                raise


def _key(reading: Reading, settings: dict[str, Any], label: str | None) -> str:
    """Content of the files, those that tables name included, their labels, and how they are decoded."""
    paths = [*physical(reading.files), *reading.paths]
    content = dict(zip(paths, cache_of.fingerprint(paths), strict=True))
    parts = [[*content[file.path], file.member, file.label, file.name] for file in reading.files]
    parts += [[*content[path], str(path)] for path in reading.paths]
    described = json.dumps([VERSION, parts, settings, label], sort_keys=True)
    return blake2b(described.encode("utf-8", "replace"), digest_size=16).hexdigest()


def held_back(marks: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """uint64 (n,) → bool (n,), which are held out, and the share: a larger one of few, where none was asked for, and at
    least one where there are two."""
    if share == DEFAULT_SHARE:
        share = max(share, min(MOST_SPARED, SPARE / max(len(marks), 1)))
    held = held_out(marks, share)
    if share > NONE and held.all() | ~held.any() and len(np.unique(marks)) > 1:
        held = marks == marks[combine(marks, 0).argmin()]
    return held, share


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
    if config.held_out <= NONE or all(map(len, sides.values())):
        return
    what = f"there {'is' if total == 1 else 'are'} only {count(total, signal.unit.thing)}"
    both = "too few to learn from some and to measure on others"
    raise InputError(named(paths), f"{what}, {both}", f"Give more {signal.unit.thing}s.")
