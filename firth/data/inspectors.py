"""What the doctor looks for in a stream of records: each inspector sees every record once and keeps little of it."""

import re
from collections import Counter
from typing import Any

import numpy as np

from firth.data.records import Record, Where
from firth.data.splits import content
from firth.functional.cells import ONE, labels_in, separator_of
from firth.signal import Finding

BARS = " ▁▂▃▄▅▆▇█"


class Inspector:
    """Sees every record once; says what it counted and what a person should look at."""

    def add(self, record: Record) -> None:
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        return {}

    def findings(self) -> list[Finding]:
        return []


class Lengths(Inspector):
    """Words per document: how many documents have each number of words, from which every quantile is exact."""

    def __init__(self) -> None:
        self.documents = self.words = self.characters = self.longest = 0
        self.counts: Counter[int] = Counter()  # documents by their number of words

    def add(self, record: Record) -> None:
        words = len(record.text.split())
        self.documents += 1
        self.words += words
        self.characters += len(record.text)
        self.longest = max(self.longest, words)
        self.counts[words] += 1

    def quantile(self, share: float) -> int:
        """The fewest words that at least this share of the documents does not exceed."""
        seen = 0
        for words in sorted(self.counts):
            seen += self.counts[words]
            if seen >= share * self.documents:
                return words
        return 0

    def facts(self) -> dict[str, Any]:
        bits: Counter[int] = Counter()
        for words, count in self.counts.items():
            bits[words.bit_length()] += count
        bins = {f"{2**n // 2}–{2**n - 1}": bits[n] for n in sorted(bits)}
        return {"documents": self.documents, "words": self.words, "characters": self.characters,
                "longest": self.longest, "median": self.quantile(0.5), "most": self.quantile(0.95),
                "lengths": bins}  # fmt: skip


class Classes(Inspector):
    """How many records each label has, over all parts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # of cells, which may hold several labels

    def add(self, record: Record) -> None:
        if record.label is not None:
            self.counts[record.label] += 1

    @property
    def separator(self) -> str:
        return separator_of(self.counts)

    def labels(self) -> list[tuple[str, int]]:
        """Each label and how often it stands, the commonest first."""
        found: Counter[str] = Counter()
        separator = self.separator
        for cell, count in self.counts.items():
            found.update(dict.fromkeys(labels_in(cell, separator), count))
        return found.most_common()

    def facts(self) -> dict[str, Any]:
        separator = self.separator
        several = {} if separator == ONE else {"separator": separator}
        return {"classes": dict(self.labels()), **several} if self.counts else {}

    def findings(self) -> list[Finding]:
        common = self.labels()
        if len(common) < 2 or common[0][1] < 10 * common[-1][1]:
            return []
        (large, many), (small, few) = common[0], common[-1]
        what = f"`{large}` is {many / few:,.0f} times as frequent as `{small}` ({many:,} to {few:,})"
        return [Finding("warning", "labels", what, "Look at macro-F1 rather than accuracy.")]


class Boilerplate(Inspector):
    """Lines that come again in many documents: navigation, signatures, disclaimers; rare lines are forgotten early."""

    def __init__(self, keep: int = 100_000) -> None:
        self.keep, self.documents = keep, 0
        self.counts: Counter[str] = Counter()
        self.places: dict[str, Where] = {}

    def add(self, record: Record) -> None:
        self.documents += 1
        lines = {line.strip(): i for i, line in enumerate(record.text.split("\n")) if 20 <= len(line) <= 500}
        for line, number in lines.items():
            if line not in self.counts:
                self.places[line] = record.where._replace(line=record.where.line + number if record.where.line else 0)
            self.counts[line] += 1
        if len(self.counts) > self.keep:
            self._forget()

    def _forget(self) -> None:
        """Keep what came again; as in lossy counting (Manku & Motwani 2002), a frequent line cannot get lost."""
        self.counts = Counter({line: count - 1 for line, count in self.counts.items() if count > 1})
        self.places = {line: self.places[line] for line in self.counts}

    def repeated(self) -> list[tuple[str, int]]:
        least = max(5, 0.01 * self.documents)
        return [(line, count) for line, count in self.counts.most_common(5) if count >= least]

    def facts(self) -> dict[str, Any]:
        return {"boilerplate": dict(self.repeated())} if self.repeated() else {}

    def findings(self) -> list[Finding]:
        return [Finding("warning", str(self.places[line]),
                        f"the line `{_short(line)}` is in {count:,} of {self.documents:,} documents",
                        "Remove it, or the model spends its time on it.")
                for line, count in self.repeated()]  # fmt: skip


class Languages(Inspector):
    """The language of a sample of the records, by py3langid; texts below 50 characters are too short to tell."""

    def __init__(self, size: int = 256) -> None:
        self.size, self.seen, self.every = size, 0, 1
        self.sample: list[tuple[str, Where]] = []
        self.found: list[tuple[str, Where]] = []  # language and place, once asked for

    def add(self, record: Record) -> None:
        """Every n-th record; n doubles when the sample is full, so that it is spread over everything."""
        if len(record.text) < 50:
            return
        if self.seen % self.every == 0:
            self.sample.append((record.text[:600], record.where))
        if len(self.sample) >= 2 * self.size:
            self.sample, self.every = self.sample[::2], 2 * self.every
        self.seen += 1

    def shares(self) -> tuple[dict[str, float], dict[str, Where]]:
        """Share of each language in the sample, largest first, and its first place."""
        if not self.found:
            from py3langid import classify

            self.found = [(str(classify(text)[0]), where) for text, where in self.sample]
        counts = Counter(language for language, _ in self.found)
        places: dict[str, Where] = {}
        for language, where in self.found:
            places.setdefault(language, where)
        return {language: count / len(self.found) for language, count in counts.most_common()}, places

    def facts(self) -> dict[str, Any]:
        shares = {language: round(share, 3) for language, share in self.shares()[0].items() if share >= 0.01}
        return {"languages": shares} if shares else {}

    def findings(self) -> list[Finding]:
        shares, places = self.shares()
        main = next(iter(shares), "")
        return [Finding("warning", str(places[one]), f"about {share:.0%} of the texts are {one}, most are {main}",
                        "Part the languages, unless the model is to learn them all.")
                for one, share in shares.items()
                if one != main and share >= 0.05 and len(self.found) >= 20]  # fmt: skip


class Leaks:
    """Texts that lie in two parts, case and blanks left out of account; keeps 64 bits of every text."""

    def __init__(self) -> None:
        self.parts: dict[str, set[int]] = {}

    def add(self, record: Record, part: str) -> str | None:
        """The part in which this text was before, if that is another one."""
        key = content(record)
        earlier = next((name for name, keys in self.parts.items() if name != part and key in keys), None)
        self.parts.setdefault(part, set()).add(key)
        return earlier


def histogram(bins: dict[str, int]) -> str:
    """Counts as one line of bars."""
    top = max(bins.values(), default=1)
    return "".join(BARS[int(np.ceil(8 * count / top))] for count in bins.values())


def _short(line: str) -> str:
    line = re.sub(r"\s+", " ", line)
    return line if len(line) <= 60 else line[:57] + "…"
