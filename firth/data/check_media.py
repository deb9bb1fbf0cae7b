"""The doctor for pictures and recordings: reads them as training would, and says what is in them and what is wrong."""

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from firth.data.arrays import BROKEN
from firth.data.check import BOTH, ORDER, Report
from firth.data.config import Data
from firth.data.decoding import Decoded, Tally, arrays_of, decoded
from firth.data.inspectors import Classes
from firth.data.labels import check_labels
from firth.data.media import Raw, Reading
from firth.data.records import Problems, Record
from firth.errors import InputError, count
from firth.signal import Finding, Media, SignalConfig

GROUPS = ("speaker", "patient", "subject", "author")  # columns that say of whom something is
TRANSCRIPTS = ("text", "transcript", "transcription", "sentence", "phones")  # columns of what is said
SAID = 0.5  # share of different labels beyond which they are no classes but what is said
FEW = 10  # labels of which nothing can be told
LISTED = 12  # classes that are shown
PASSES = 20  # times that training should see the data
BUDGETS = (1, 2, 5, 10, 20, 40, 60)  # minutes


def look(data: Data, cls: type[Media], config: SignalConfig) -> Report:
    """Look through labelled or unlabelled files, everything that is bad reported, nothing raised but missing paths.

    What is in two parts is reported. Raises InputError where there is nothing.
    """
    parts = {"train": data.paths, "valid": data.valid, "test": data.test}
    given = {name: list(map(str, part)) for name, part in parts.items() if part}
    visit = Visit(cls, config, sure=bool(data.label or data.valid or data.test))
    for part, files in given.items():
        with Reading.of(files, cls, data.label, visit.problems) as reading:
            visit.see(reading, part)
    if not visit.tally.files:
        raise visit.nothing(given["train"][0])
    facts, findings = visit.facts(), visit.findings()
    findings.sort(key=lambda finding: ORDER[finding.level])
    shown = [*head_lines(facts), *visit.examiner.lines(), *group_lines(facts)]
    return Report(findings, facts, *suggestion(given["train"], facts, visit.examiner.seconds()), shown)


class Visit:
    """One pass over all files."""

    def __init__(self, cls: type[Media], config: SignalConfig, sure: bool):
        """sure: that the data is labelled."""
        self.cls, self.signal, self.sure = cls, cls.fit([], config), sure
        self.problems, self.tally, self.classes = Problems(skip=True), Tally(), Classes()
        self.examiner = cls.examiner(config)
        self.first: dict[int, tuple[str, str]] = {}  # by content: part and name of the first such file
        self.labelled: list[Record] = []
        self.groups: dict[str, Counter[str]] = {}  # by column: how many files each speaker has
        self.said: dict[str, list[str]] = {}  # by column: transcripts
        self.duplicates = self.leaks = self.bytes = 0

    def see(self, reading: Reading, part: str) -> None:
        with closing(decoded(reading, self.signal, self.tally)) as found:
            for one in found:
                self.bytes += one.raw.size
                self.examine(one)
                self.note_labels(one.raw)
                self.note_copies(one, part)

    def examine(self, one: Decoded) -> None:
        self.examiner.head(one.look)
        for array in arrays_of(one, self.problems):
            self.examiner.array(array)

    def note_labels(self, raw: Raw) -> None:
        self.classes.add(Record("", raw.label, raw.where))
        for column in TRANSCRIPTS:
            if isinstance(value := raw.fields.get(column), str):
                self.said.setdefault(column, []).append(value)
        if raw.label is not None:
            self.labelled.append(Record("", raw.label, raw.where))
        for column in GROUPS:
            if (value := raw.fields.get(column)) not in (None, ""):
                self.groups.setdefault(column, Counter())[str(value)] += 1

    def note_copies(self, one: Decoded, part: str) -> None:
        first, name = self.first.setdefault(one.content, (part, one.raw.name))
        if first != part:
            self.leaks += 1
            self.problems.note("warning", one.raw.where, f"is in the {first} part, too ({name})", BOTH)
        elif name != one.raw.name:
            self.duplicates += 1

    def nothing(self, where: str) -> InputError:
        """The first thing that was wrong, where nothing at all could be read."""
        for first in self.problems.findings[:1]:
            return InputError(first.where, first.what, first.do)
        return InputError(where, "nothing to read was found", f"firth reads {self.cls.readable}.")

    def facts(self) -> dict[str, Any]:
        found = {
            "files": self.tally.files,
            "unit": self.cls.unit.thing,
            "bytes": self.bytes,
            "broken": self.tally.broken,
            "forms": dict(self.tally.forms.most_common()),
            "exact_duplicates": self.duplicates,
            "leaks": self.leaks,
        }
        found |= {f"{column}s": dict(counts.most_common()) for column, counts in self.groups.items()}
        found["transcripts"] = {column: counted(texts) for column, texts in self.said.items()}
        return found | self.examiner.facts() | (self.classes.facts() if self.classed else {})

    @property
    def classed(self) -> bool:
        """Whether labels are classes, which come again, not what is said."""
        labels = [one.label for one in self.labelled]
        return len(labels) < FEW or len(set(labels)) <= SAID * len(labels)

    def findings(self) -> list[Finding]:
        """Wrong labels are errors where the data is labelled for sure, warnings where it only looks so."""
        own, level = Problems(skip=True), "error" if self.sure else "warning"
        if self.classed:
            check_labels(self.labelled, None, own)
        found = [*self.unreadable(), *(one._replace(level=level) for one in own.all()), *self.examiner.findings()]
        found += self.classes.findings() if self.classed else []
        for column, texts in self.said.items():
            if empty := sum(not text.strip() for text in texts):
                what = f"{empty:,} of {count(len(texts), 'transcript')} in `{column}` are empty"
                found.append(Finding("warning", column, what, "Fill them in, or leave out the rows."))
        return found + ([self.copies()] if self.duplicates else [])

    def unreadable(self) -> list[Finding]:
        """Errors; warnings where pre-training leaves such files out: where no labels go by them, and most are whole."""
        found, whole, broken = self.problems.all(), self.tally.files, self.tally.broken
        if self.sure or broken > BROKEN * (whole + broken):
            return found
        return [one._replace(level="warning") if one.level == "error" else one for one in found]

    def copies(self) -> Finding:
        level = "warning" if self.duplicates > 0.05 * self.tally.files else "note"
        what = f"{self.duplicates:,} of {count(self.tally.files, 'file')} are copies of others"
        return Finding(level, "", what, "Copies are left out of pre-training.")


def counted(texts: list[str]) -> dict[str, int]:
    """How many there are, of how many words and different signs."""
    return {
        "number": len(texts),
        "words": sum(len(text.split()) for text in texts),
        "signs": len({sign for text in texts for sign in text}),
    }


def suggestion(paths: list[str], facts: dict[str, Any], once: float) -> tuple[str, str]:
    """The next command, and what it will take: rough, for `--dry-run` measures it."""
    files = shlex.join(paths)
    minutes = min(max(PASSES * once / 60, 1), 60)
    budget = next(limit for limit in BUDGETS if minutes <= limit)
    about = (
        f"{budget} min on two cores see it about {60 * budget / max(once, 1e-9):,.0f} times (rough; --dry-run measures)"
    )
    if len(facts.get("classes", ())) > 1:
        about += f"; then firth adapt RUN {files} --task classify"
    return f"firth pretrain {files} --budget {budget}m", about


def head_lines(facts: dict[str, Any]) -> Iterator[str]:
    forms = " · ".join(f"{form} {number:,}" for form, number in list(facts["forms"].items())[:4])
    yield f"Data     {count(facts['files'], facts['unit'])} · {facts['bytes'] / 1e6:,.1f} MB · {forms}"


def group_lines(facts: dict[str, Any]) -> Iterator[str]:
    for column in GROUPS:
        if counts := facts.get(f"{column}s"):
            least, most, unit = min(counts.values()), max(counts.values()), facts["unit"]
            yield f"Whose    {count(len(counts), column)}, {least:,} to {most:,} {unit}s each"
    for column, one in facts["transcripts"].items():
        words, signs = count(one["words"], "word"), f"{one['signs']:,} different signs"
        yield f"Said     {count(one['number'], 'transcript')} (`{column}`) · {words} · {signs}"
    if classes := facts.get("classes"):
        named = " · ".join(f"{name} {size:,}" for name, size in list(classes.items())[:LISTED])
        yield f"Classes  {named}" + (f" · {len(classes) - LISTED:,} more" if len(classes) > LISTED else "")
