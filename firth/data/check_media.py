"""The doctor for pictures and recordings: reads them as training would, and says what is in them and what is wrong."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from firth.data.check import BOTH, ORDER, Report
from firth.data.decoding import Decoded, Tally, arrays_of, decoded
from firth.data.inspectors import Classes
from firth.data.labels import check_labels
from firth.data.media import Reading
from firth.data.records import Problems, Record
from firth.errors import InputError, count
from firth.signal import Examiner, Finding, Media, SignalConfig

GROUPS = ("speaker", "speaker_id", "patient", "subject", "author")  # columns that say of whom something is
SHOWN = 12  # classes that are listed
PASSES = 20.0  # times that training should see the data
BUDGETS = (1, 2, 5, 10, 20, 40, 60)  # minutes


def check(paths: Iterable[str], cls: type[Media], config: SignalConfig, label: str | None = None,
          valid: Iterable[str] = (), test: Iterable[str] = ()) -> Report:  # fmt: skip
    """Look through labelled or unlabelled files, everything that is bad reported, nothing raised but missing paths.

    valid, test: files of the other parts; what is in two parts is reported. Raises InputError where there is nothing.
    """
    given = {name: [str(path) for path in _listed(part)] for name, part in
             (("train", paths), ("valid", valid), ("test", test)) if part}  # fmt: skip
    visit = Visit(cls, config, Problems(skip=True), sure=bool(label or valid or test))
    for part, files in given.items():
        with Reading(files, cls, label, visit.problems) as reading:
            visit.see(reading, part)
    if not visit.tally.files:
        raise visit.nothing(given)
    facts = visit.facts()
    findings = [*visit.label_findings(), *visit.findings()]
    findings.sort(key=lambda finding: ORDER[finding.level])
    return Report(findings, facts, *suggestion(given, facts, visit.examiner), shown=list(lines(facts, visit.examiner)))


def _listed(paths: Iterable[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


class Visit:
    """One pass over all files."""

    def __init__(self, cls: type[Media], config: SignalConfig, problems: Problems, sure: bool):
        """sure: that the data is labelled."""
        self.cls, self.config, self.problems, self.sure = cls, config, problems, sure
        self.tally, self.classes = Tally(), Classes()
        self.examiner: Examiner = cls.examiner(config)
        self.places: dict[int, tuple[str, str]] = {}  # by content: part and name of the first
        self.labelled: list[Record] = []
        self.groups: dict[str, Counter[str]] = {}  # by column: how many files each speaker has
        self.duplicates = self.leaks = self.bytes = 0

    def see(self, reading: Reading, part: str) -> None:
        signal = self.cls.fit([], self.config)
        with closing(decoded(reading, signal, self.tally)) as found:
            for one in found:
                self._see(one, list_of(one, self.examiner, reading.problems), part)

    def _see(self, one: Decoded, values: int, part: str) -> None:
        raw = one.raw
        self.bytes += raw.size
        self.classes.add(Record(raw.name, raw.label, raw.where))
        if raw.label is not None:
            self.labelled.append(Record("", raw.label, raw.where))
        for column in GROUPS:
            if raw.fields.get(column) not in (None, ""):
                self.groups.setdefault(column, Counter())[str(raw.fields[column])] += 1
        first, name = self.places.setdefault(one.content, (part, raw.name))
        if first != part:
            self.leaks += 1
            self.problems.note("warning", raw.where, f"is in the {first} part, too ({name})", BOTH)
        elif name != raw.name:
            self.duplicates += 1

    def nothing(self, given: dict[str, list[str]]) -> InputError:
        """The first thing that was wrong, where nothing at all could be read."""
        for first in self.problems.findings[:1]:
            return InputError(first.where, first.what, first.do)
        return InputError(given["train"][0], "nothing to read was found", f"firth reads {self.cls.readable}.")

    def facts(self) -> dict[str, Any]:
        found = {"files": self.tally.files, "bytes": self.bytes, "broken": self.tally.broken,
                 "forms": dict(self.tally.forms.most_common()), "exact_duplicates": self.duplicates,
                 "leaks": self.leaks, "unit": self.cls.unit.thing}  # fmt: skip
        found |= {f"{column}s": dict(counts.most_common()) for column, counts in self.groups.items()}
        return found | self.examiner.facts() | self.classes.facts()

    def label_findings(self) -> list[Finding]:
        """Errors where the data is labelled for sure, warnings where it only looks so."""
        own = Problems(skip=True)
        check_labels(self.labelled, None, own)
        level = "error" if self.sure else "warning"
        return [one._replace(level=level) for one in own.all()]

    def findings(self) -> list[Finding]:
        found = [*self.problems.all(), *self.examiner.findings(), *self.classes.findings()]
        if self.duplicates:
            what = f"{count(self.duplicates, 'file')} of {self.tally.files:,} {'is' if self.duplicates == 1 else 'are'} copies"
            level = "warning" if self.duplicates > 0.05 * self.tally.files else "note"
            found.append(Finding(level, "", what, "Copies are dropped before training."))
        return found


def list_of(one: Decoded, examiner: Examiner, problems: Problems) -> int:
    """Show the examiner all that comes of a file; the number of its values."""
    values = 0
    with examiner.file(one.look, one.raw.name) as show:
        for array in arrays_of(one, problems):
            show(array)
            values += int(np.asarray(array).size)
    return values


def suggestion(given: dict[str, list[str]], facts: dict[str, Any], examiner: Examiner) -> tuple[str, str]:
    """The next command, and what it will take: rough, for `--dry-run` measures it."""
    paths = shlex.join(given["train"])
    minutes = min(max(PASSES * examiner.seconds(), 60) / 60, 60)
    budget = next(limit for limit in BUDGETS if minutes <= limit)
    about = f"{budget} min on two cores (rough; --dry-run measures)"
    if len(facts.get("classes", ())) > 1:
        about += f"; the {count(len(facts['classes']), 'label')} then serve `firth adapt MODEL {paths} --task classify`"
    return f"firth pretrain {paths} --budget {budget}m", about


def lines(facts: dict[str, Any], examiner: Examiner) -> Iterator[str]:
    """The numbers, a line for each group."""
    forms = " · ".join(f"{form} {number:,}" for form, number in list(facts["forms"].items())[:4])
    yield f"Data     {count(facts['files'], facts['unit'])} · {facts['bytes'] / 1e6:,.1f} MB · {forms}"
    yield from examiner.lines()
    for column in GROUPS:
        if counts := facts.get(f"{column}s"):
            sizes = sorted(counts.values())
            yield f"Of       {count(len(counts), column)} (`{column}`), {sizes[0]:,} to {sizes[-1]:,} {facts['unit']}s each"
    if classes := facts.get("classes"):
        listed = " · ".join(f"{name} {size:,}" for name, size in list(classes.items())[:SHOWN])
        yield f"Classes  {listed}" + (f" · and {len(classes) - SHOWN:,} more" if len(classes) > SHOWN else "")
