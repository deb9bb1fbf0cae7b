"""Minimal pairs: is the grammatical sentence likelier than the one that differs from it in little?

After BLiMP (Warstadt et al. 2019, arXiv 1912.00582): 67 paradigms of 1,000 pairs, by linguistic phenomenon; the
likelihood of the whole sentence decides. Two sentences that a model finds equally likely are wrong, equal sentences
are always so: chance is 50 % less the ties, and a constant scorer gets nothing. The average is over paradigms.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from firth.data.config import listed
from firth.data.files import expand
from firth.data.readers import read
from firth.data.records import Problems, Record
from firth.errors import InputError
from firth.evaluate.statistics import Interval, proportion
from firth.functional.choices import Scorer, asked, best, scores

GOOD, BAD = "sentence_good", "sentence_bad"
FIELDS = f"BLiMP has `{GOOD}` and `{BAD}` in each line, beside `UID` and `linguistics_term`."


class Pair(NamedTuple):
    """Two sentences, the first of which is right."""

    good: str
    bad: str
    paradigm: str
    phenomenon: str


@dataclass(frozen=True)
class MinimalPairs:
    """Accuracy by paradigm and by phenomenon, the mean of its paradigms; ties: pairs that were equally likely."""

    average: float  # over paradigms
    interval: Interval  # of the share of all pairs, over pairs
    phenomena: dict[str, float]
    paradigms: dict[str, float]
    pairs: int
    ties: int
    belongs: dict[str, str]  # paradigm → its phenomenon

    def dots(self, phenomenon: str) -> list[float]:
        """The shares of its paradigms."""
        return [share for name, share in self.paradigms.items() if self.belongs[name] == phenomenon]

    def as_dict(self) -> dict[str, Any]:
        return {"average": self.average, "interval": self.interval._asdict(), "phenomena": self.phenomena,
                "paradigms": self.paradigms, "pairs": self.pairs, "ties": self.ties}  # fmt: skip

    def lines(self) -> list[str]:
        """The average, then the phenomena, the best first."""
        head = f"{100 * self.average:.1f} % of {self.pairs:,} pairs in {len(self.paradigms)} paradigms"
        order = sorted(self.phenomena, key=lambda name: -self.phenomena[name])
        rows = [f"{name.replace('_', ' '):<28} {100 * self.phenomena[name]:.1f} %" for name in order]
        return [f"{head} · {self.ties:,} ties, counted as wrong", *rows]


def minimal_pairs(score: Scorer, paths: str | Path | Iterable[str | Path], most: int | None = None) -> MinimalPairs:
    """Score all pairs in files. most: pairs of each paradigm, its first ones.

    Raises InputError for files without pairs. A scorer of bidirectional models gives pseudo-log-likelihoods.
    """
    pairs = list(limited(read_pairs(paths), most))
    found = judged(score, pairs)  # (N, 2)
    return summary(pairs, found[:, 0], found[:, 1])


def read_pairs(paths: str | Path | Iterable[str | Path]) -> list[Pair]:
    """The pairs of .jsonl files, tables, or a zip or folder of them, in order.

    Without a UID the name of the file stands for the paradigm, without a phenomenon the paradigm. Raises InputError.
    """
    given = listed(paths)
    problems = Problems()
    files = [file for file in expand(given, problems) if file.format != "text"]  # a README may lie beside them
    if not files:
        raise InputError(given[0], "holds no minimal pairs", FIELDS)
    return [pair_of(record) for record in read(files, problems=problems, rows=True)]


def pair_of(record: Record) -> Pair:
    """Raises InputError at a row that is none."""
    sentences = [record.fields.get(name) for name in (GOOD, BAD)]
    for name, sentence in zip((GOOD, BAD), sentences, strict=True):
        if not isinstance(sentence, str) or not sentence.strip():
            state = "has no" if name not in record.fields else "has an empty"
            raise InputError(record.where, f"{state} `{name}`", FIELDS)
    stem = Path(record.where.file).name.split(".")[0]
    paradigm = str(record.fields.get("UID") or stem)
    phenomenon = str(record.fields.get("linguistics_term") or paradigm)
    return Pair(str(sentences[0]), str(sentences[1]), paradigm, phenomenon)


def limited(pairs: Iterable[Pair], most: int | None) -> Iterator[Pair]:
    """The first pairs of each paradigm."""
    seen: dict[str, int] = {}
    for pair in pairs:
        seen[pair.paradigm] = seen.get(pair.paradigm, 0) + 1
        if most is None or seen[pair.paradigm] <= most:
            yield pair


def judged(score: Scorer, pairs: Sequence[Pair]) -> np.ndarray:
    """bool (N, 2): right, tied."""
    options = [(pair.good, pair.bad) for pair in pairs]
    found = asked(score, [""] * len(pairs), options)
    places = [best(both, scores(said, both)) for both, said in zip(options, found, strict=True)]
    return np.array([(place == 0, place is None) for place in places], bool)


def summary(pairs: Sequence[Pair], right: np.ndarray, tied: np.ndarray) -> MinimalPairs:
    """pairs, bool (N,), (N,) → the figures."""
    names = np.array([pair.paradigm for pair in pairs])
    phenomenon = {pair.paradigm: pair.phenomenon for pair in pairs}
    paradigms = {name: float(right[names == name].mean()) for name in phenomenon}
    groups = {term: [paradigms[name] for name in phenomenon if phenomenon[name] == term]
              for term in dict.fromkeys(phenomenon.values())}  # fmt: skip
    phenomena = {term: float(np.mean(values)) for term, values in groups.items()}
    average = float(np.mean(list(paradigms.values())))
    return MinimalPairs(average, proportion(right), phenomena, paradigms, len(pairs), int(tied.sum()), phenomenon)
