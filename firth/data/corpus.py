"""An unlabelled corpus, ready to learn from: read, split, tokenised and packed once, then opened from the cache."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from firth import find
from firth.data import cache as cache_of
from firth.data import pack
from firth.data.config import Data
from firth.data.records import Problems, Record
from firth.data.shards import Shard, token_type
from firth.data.source import Source
from firth.data.windows import DocumentRows, PackedRows, StreamRows
from firth.errors import InputError
from firth.signal import Finding, Signal, SignalConfig

VERSION = 3  # of the layout on disk; raised when it, the reading or the arithmetic changes
FOLDERS = "Put the texts of each class into a folder with its name, or give a table with a column of labels."
DEFAULT_SHARE = Data().held_out


class Corpus:
    """A packed corpus in its folder.

    signal: fitted. fingerprint: hex, of content and settings. findings: what the readers noted.
    facts: documents, words, characters, tokens, exact_duplicates, near_duplicates, bytes, files, unit, vocabulary,
    held_out (share), held_out_documents, train_tokens, held_out_tokens.
    """

    def __init__(self, folder: Path, signal: Any, facts: dict[str, Any], fingerprint: str, paths: tuple[str, ...]):
        self.folder, self.signal, self.facts = Path(folder), signal, facts
        self.fingerprint, self.paths = fingerprint, paths

    def train(self, rows: str = "packed", context: int | None = None, partner: bool = False) -> Source:
        """rows "packed": no padding, across documents; "documents": windows of one document, with sentence starts;
        "stream": as packed, without special tokens of its own, and with the token after each row."""
        return self._source("train", rows, context, partner)

    def held_out(self, rows: str = "packed", context: int | None = None, partner: bool = False) -> Source:
        """Documents that training never sees, cut as train() cuts."""
        return self._source("held_out", rows, context, partner)

    def shard(self, split: str) -> Shard:
        """ "train" or "held_out": the packed documents themselves."""
        return Shard(self.folder / split, token_type(self.signal.facts.vocabulary), self.signal.sep_id)

    @property
    def findings(self) -> list[Finding]:
        """What the readers noted while the corpus was packed: rows left out, encodings, lines cut."""
        path = self.folder / "findings.json"
        return [Finding(*one) for one in json.loads(path.read_text("utf-8"))] if path.is_file() else []

    def _source(self, split: str, rows: str, context: int | None, partner: bool) -> Source:
        context = context or self.signal.config.context
        if rows == "packed":
            return PackedRows(self.shard(split), context)
        if rows == "stream":
            return StreamRows(self.shard(split), context)
        if rows == "documents":
            return DocumentRows(self.shard(split), context, partner)
        raise InputError(f"rows = {rows!r}", "there are no such rows", "Say packed, stream or documents.")


def open_corpus(
    config: Data,
    signal_module,
    signal_config: SignalConfig,
    seed: int = 0,
    signal: Any = None,
    cache: str | Path | None = None,
    show=None,
    before: Callable[[int], None] | None = None,
) -> Corpus:
    """The corpus of these files; packed first where the cache does not have it. The seed changes nothing here.

    config: the recipe's table `data`. signal: a fitted one (--from); None: one is fitted.
    before: called with the bytes of the files where they have to be packed.
    Raises InputError for data that cannot be used, RunError for a full disk.
    """
    from firth.data import readers

    found = Problems(config.skip_bad)
    files = readers.expand(config.paths, found) or readers.expand(config.paths)  # raises where there is nothing
    if show is not None:
        for finding in found.all():
            show.note(finding.text)
    key = _key(config, signal_config, signal, files)
    cls: Any = find.main_class(signal_module, Signal)

    def build(folder: Path) -> None:
        if before is not None:
            before(size_of(files))
        if show is not None:
            show.note(f"Tokenising {size_of(files):,} bytes; the next run on these files starts at once.")
        _build(folder, config, files, readers, lambda texts: cls.fit(texts, signal_config), signal, found.all())

    folder = cache_of.get(cache_of.cache_folder(cache) / "corpora", key, build, whole)
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    fitted = signal if signal is not None else cls.open(folder / "tokenizer", signal_config)
    return Corpus(folder, fitted, facts, key, tuple(map(str, config.paths)))


def labelled_records(paths, config: Data, signal: Any, problems: Problems, task: Any) -> list[Record]:
    """The rows of labelled data, held in memory, as is what is learnt from them. Raises InputError."""
    from firth.data import readers

    files = readers.expand(paths, problems)
    reading = readers.read(files, config.text, config.label, config.document, labelled=task.labelled,
                           problems=problems, rows=task.rows)  # fmt: skip
    return [record for record in reading if not task.labelled or _has_label(record, problems)]


def _has_label(record: Record, problems: Problems) -> bool:
    """Plain text has the name of its folder for a label, or none."""
    if record.label:
        return True
    problems.bad(record.where, "this text has no label", FOLDERS)
    return False


def whole(folder: Path) -> bool:
    """True if every file is there in the size it was written in."""
    try:
        sizes = json.loads((folder / "sizes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def _build(folder: Path, config, files: list, readers, fit, signal, found: list[Finding]) -> None:
    """Everything of one corpus into a folder. found: what was noted before a file was opened."""
    readings: list[Any] = []

    def read() -> Any:
        readings.append(readers.read(files, text=config.text, document=config.document, skip_bad=config.skip_bad))
        return readings[-1]

    first = read()
    running = bool(first.running)
    share = pack.RUNNING if running and config.held_out == DEFAULT_SHARE else config.held_out
    plan = pack.Plan(share, running, config.duplicates == "drop")
    facts = pack.build(folder, read, plan, fit, signal, named(config.paths))
    write_findings(folder, [*found, *getattr(readings[-1], "findings", ())])
    facts |= {"unit": str(first.unit), "bytes": size_of(files), "held_out": share, "files": len(files)}
    (folder / "facts.json").write_text(json.dumps(facts, indent=2), "utf-8")
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    (folder / "sizes.json").write_text(json.dumps(sizes, indent=2), "utf-8")


def write_findings(folder: Path, findings: list[Finding]) -> None:
    found = [list(finding) for finding in findings]
    (folder / "findings.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")


def _key(config, signal_config: SignalConfig, signal: Any, files: list) -> str:
    """Content of the files (of made data: what makes it), how they are read, and the tokenizer; not the context."""
    content = dict(zip(paths := physical(files), cache_of.fingerprint(paths), strict=True))
    tokenizer = signal.tokenizer.to_str() if signal is not None else signal_config.model_dump_json(exclude={"context"})
    reading = config.model_dump(mode="json", include={"text", "document", "held_out", "duplicates", "skip_bad"})
    parts = [file.made.fingerprint if file.made else [*content[file.path], file.member] for file in files]
    described = json.dumps([VERSION, parts, reading, tokenizer], sort_keys=True)
    return blake2b(described.encode("utf-8", "replace"), digest_size=16).hexdigest()


def physical(files: list) -> list[Path]:
    """The files on disk, each once; many may lie in one archive."""
    return list(dict.fromkeys(file.path for file in files if not file.made))


def size_of(files: list) -> int:
    return sum(path.stat().st_size for path in physical(files)) + sum(file.size for file in files if file.made)


def named(paths) -> str:
    return ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
