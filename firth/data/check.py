"""The doctor: reads the data as training would, and says what is in it, what is wrong, where, and what to do next."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from firth.data.config import Data, listed
from firth.data.duplicates import count
from firth.data.files import expand
from firth.data.inspectors import Boilerplate, Classes, Inspector, Languages, Leaks, Lengths, histogram
from firth.data.labels import check_labels
from firth.data.readers import Reading, read
from firth.data.records import Problems, Record
from firth.data.row import label_place
from firth.errors import InputError
from firth.functional.cells import described, labels_in, separator_of
from firth.signal import Finding, Signal, SignalConfig

TOKENS_PER_WORD = 1.4  # WordPiece with 8,192 entries on English prose
SPEED = 15_000  # tokens a second: a small model (4 x 256) on two cores
ORDER = {"error": 0, "warning": 1, "note": 2}
BOTH = "Leave it out of one of them; adapt drops such texts from the part that is learnt from."


@dataclass
class Report:
    """What was found, most serious first, the numbers, and the next command."""

    findings: list[Finding]
    facts: dict[str, Any]
    suggestion: str  # a command
    estimate: str  # what it will take, in words
    shown: list[str] = field(default_factory=list)  # the numbers as lines, where they are not those of text

    @property
    def errors(self) -> list[Finding]:
        """What training would refuse."""
        return [finding for finding in self.findings if finding.level == "error"]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"findings": [finding._asdict() for finding in self.findings]}

    def lines(self) -> Iterator[str]:
        """The report as text: numbers, findings, next command."""
        yield from self.shown or _fact_lines(self.facts)
        for finding in self.findings:
            yield f"{finding.level:<9}{finding.text}"
        yield f"Next     {self.suggestion}"
        yield f"         {self.estimate}"


def look(data: Data, cls: type[Signal], config: SignalConfig) -> Report:
    """The report on what a recipe reads."""
    return check(data.paths, data.text, data.label, data.valid, data.test, data.document)


def check(paths: Iterable[str], text: str | None = None, label: str | None = None, valid: Iterable[str] = (),
          test: Iterable[str] = (), document: str = "auto") -> Report:  # fmt: skip
    """Look through unlabelled or labelled data, everything that is bad reported, nothing raised but missing paths.

    valid, test: files of the other parts; texts that are in two parts are reported.
    Raises InputError where there is nothing to look at.
    """
    given = {name: list(listed(part)) for name, part in
             (("train", paths), ("valid", valid), ("test", test)) if part}  # fmt: skip
    problems = Problems(skip=True)
    sure = bool(label or valid or test)  # that the data is labelled
    readings = {part: read(expand(files, problems), text, label, document, labelled=sure, problems=problems)
                for part, files in given.items()}  # fmt: skip
    made = all(file.made for reading in readings.values() for file in reading.files)
    visit = Visit(problems, sure or readings["train"].label_column is not None, made)
    duplicates = count(visit.texts(readings))
    if not visit.lengths.documents:
        _nothing(problems, given)
    _look_at_labels(visit.labelled, sure, problems)
    facts = visit.facts(readings) | {"exact_duplicates": duplicates.exact, "near_duplicates": duplicates.near}
    findings = problems.all() + visit.findings() + _repeated(facts)
    findings.sort(key=lambda finding: ORDER[finding.level])
    return Report(findings, facts, *_suggestion(given, facts))


def _look_at_labels(records: list[Record], sure: bool, problems: Problems) -> None:
    """What is wrong with labels: errors where the data is labelled for sure, warnings where it only looks so."""
    own = Problems(skip=True)
    separator = separator_of(str(record.label) for record in records)
    check_labels(records, None, own, lambda record: labels_in(str(record.label), separator))
    for _, where, what, do in own.findings:
        problems.note("error" if sure else "warning", where, what, do)


class Visit:
    """One pass over all records, every inspector at work."""

    def __init__(self, problems: Problems, keep_labels: bool, made: bool = False):
        """made: the texts are made up, in no language and of no words that a tokenizer would find."""
        self.problems, self.keep_labels, self.made = problems, keep_labels, made
        self.lengths, self.leaks = Lengths(), Leaks()
        self.inspectors: list[Inspector] = [self.lengths, Classes(), Boilerplate()] + [Languages()] * (not made)
        self.labelled: list[Record] = []  # without their texts: for the check of labels

    def texts(self, readings: dict[str, Reading]) -> Iterator[str]:
        """The texts, each shown to the inspectors on its way."""
        for part, reading in readings.items():
            for record in reading.records():
                self._see(record, part, several=len(readings) > 1)
                yield record.text

    def _see(self, record: Record, part: str, several: bool) -> None:
        for inspector in self.inspectors:
            inspector.add(record)
        if self.keep_labels and record.label is not None:
            self.labelled.append(Record("", record.label, label_place(record)))
        earlier = self.leaks.add(record, part) if several else None
        if earlier:
            what = f"a text of the {part} part is in the {earlier} part, too"
            self.problems.note("warning", record.where, what, BOTH)

    def facts(self, readings: dict[str, Reading]) -> dict[str, Any]:
        first = readings["train"]
        found: dict[str, Any] = {"files": sum(len(reading.files) for reading in readings.values()), "unit": first.unit}
        found |= {
            "running": first.running,
            "made": self.made,
            "text_column": first.text_column,
            "label_column": first.label_column,
        }
        for inspector in self.inspectors:
            found |= inspector.facts()
        leaks = self.problems.counts[BOTH]
        return found | ({"leaks": leaks} if len(readings) > 1 else {})

    def findings(self) -> list[Finding]:
        return [finding for inspector in self.inspectors for finding in inspector.findings()]


def _nothing(problems: Problems, given: dict[str, list[str]]) -> NoReturn:
    """Raises InputError: the first thing that was wrong, where nothing at all could be read."""
    for first in problems.findings[:1]:
        raise InputError(first.where, first.what, first.do)
    raise InputError(given["train"][0], "nothing to read was found", "Give files that hold text.")


def _repeated(facts: dict[str, Any]) -> list[Finding]:
    """Findings about duplicates, where they are many enough to matter."""
    documents, exact, near = facts["documents"], facts["exact_duplicates"], facts["near_duplicates"]
    what = f"{exact:,} exact and {near:,} near duplicates among {documents:,} documents"
    if exact + near > 0.05 * documents:
        return [Finding("warning", "", what, "Exact ones are dropped before training; look at why there are so many.")]
    return [Finding("note", "", what, "Exact ones are dropped before training.")] if exact + near else []


def _suggestion(given: dict[str, list[str]], facts: dict[str, Any]) -> tuple[str, str]:
    """The next command, and what it will take: rough, for `--dry-run` measures it."""
    paths = shlex.join(given["train"])
    if len(facts.get("classes", ())) > 1 and facts["label_column"]:
        extra = "".join(f" --{part} {shlex.join(given[part])}" for part in ("valid", "test") if part in given)
        size = facts["documents"]
        return f"firth adapt MODEL {paths}{extra}", f"MODEL is a pre-trained run; {size:,} labelled examples"
    tokens = facts["characters"] if facts["made"] else TOKENS_PER_WORD * facts["words"]
    minutes = min(max(4 * tokens / SPEED / 60, 1), 60)
    budget = next(limit for limit in (1, 2, 5, 10, 20, 40, 60) if minutes <= limit)
    passes = budget * 60 * SPEED / max(tokens, 1)
    about = f"about {tokens / 1e6:,.1f} M tokens; {budget} min on two cores read them about {_rounded(passes)} times"
    return f"firth pretrain {paths} --budget {budget}m", about + " (rough; --dry-run measures)"


def _rounded(number: float) -> str:
    return f"{number:.1f}" if number < 10 else f"{float(f'{number:.1g}'):,.0f}"


def _fact_lines(facts: dict[str, Any]) -> Iterator[str]:
    """The numbers, a line for each group."""
    unit = {"file": "each file", "block": "blank-line blocks", "line": "lines", "part": "one running text"}
    what = unit.get(facts["unit"], f"rows, text in `{facts['text_column']}`")
    files = f"{facts['files']:,} file{'s' * (facts['files'] != 1)}"
    yield f"Data     {files} · {facts['documents']:,} documents ({what}) · {facts['words']:,} words"
    bars = histogram(facts["lengths"])
    lengths = f"median {facts['median']:,} words, 95 % up to {facts['most']:,}, longest {facts['longest']:,}"
    yield f"Lengths  {lengths} · {bars}"
    if "languages" in facts:
        yield "Language " + " · ".join(f"{name} {share:.0%}" for name, share in facts["languages"].items())
    if "classes" in facts:
        named = f" (`{facts['label_column']}`)" if facts["label_column"] else ""
        named += f" · {described(facts['separator'])}" if "separator" in facts else ""
        yield "Classes  " + " · ".join(f"{name} {size:,}" for name, size in facts["classes"].items()) + named
