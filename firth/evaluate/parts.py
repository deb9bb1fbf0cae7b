"""What a model says, part by part: shown as it goes on, and kept, so that a measure that was ended goes on.

A part is kept under the content of its questions, and the parts are cut by these alone: whoever goes on asks the same
parts, and gets the same figures, bit for bit. They lie in a file beside the result until that is written.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from firth.errors import InputError
from firth.evaluate.judge import Judge
from firth.functional.choices import Likelihood, Writer
from firth.functional.random import hash_bytes
from firth.interop.folder import mark_of_weights, model_folder
from firth.train.folder import is_stream, write_atomically, writing
from firth.train.log import Show, Silent

CHARACTERS = 1 << 16  # of the questions of a part, about
QUESTIONS = 1024  # of a part, at most
ASKED = "asked"  # the key of the first line


@dataclass
class Parts:
    """path: the file of what is kept; None: nothing is. asked: what answers hang on besides the questions.

    Raises InputError for a file of another model or other settings.
    """

    path: Path | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    show: Show = field(default_factory=Silent)
    known: dict[str, list[Any]] = field(default_factory=dict)  # by content of the questions: plain answers

    def __post_init__(self):
        if self.path is not None and self.path.exists():
            first, *rest = read(self.path)
            refuse_other(self.path, first.get(ASKED) or {}, self.asked)
            self.known |= {key: found for row in rest for key, found in row.items()}

    def of(self, kind: str, questions: Sequence[str], ask: Callable[[slice], Sequence[Any]]) -> list[Any]:
        """The answer to each question, as plain values. ask: of a stretch of them; kind: of question."""
        parts = [(name_of(kind, questions[part]), part) for part in cut(list(map(len, questions)))]
        found: list[Any] = []
        begun = sum(len(self.known.get(name, ())) for name, _ in parts)
        for name, part in parts:
            self.show.count("Scored", len(found), len(questions), begun)
            if name not in self.known:
                self.keep(name, json.loads(json.dumps(ask(part))))
            found += self.known[name]
        self.show.count("Scored", len(questions), len(questions), begun)
        return found

    def keep(self, name: str, found: list[Any]) -> None:
        """Raises InputError, RunError where nothing can be written."""
        self.known[name] = found
        if self.path is None:
            return
        line = json.dumps({name: found})
        with writing(self.path):
            if not self.path.exists():
                return write_atomically(self.path, f"{json.dumps({ASKED: self.asked})}\n{line}\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # a line that was torn before stays alone


def opened(path: str | Path | None, model: str | Path, settings: Mapping[str, Any], show: Show) -> Parts:
    """What is kept in the file of a measure of the model. None: nothing is."""
    if path is None:
        return Parts(show=show)
    asked = {"model": str(model), "weights": mark_of_weights(model_folder(model)), "settings": dict(settings)}
    return Parts(Path(path), json.loads(json.dumps(asked, default=str)), show)


@contextmanager
def beside(out: Path | None) -> Iterator[Path | None]:
    """The file of the parts of a result, while that is made and written to `out`; gone when that is done. None where
    `out` is no file: a pipe, /dev/stdout."""
    path = None if out is None or is_stream(out) or out.is_dir() else out.with_name(f".{out.name}.parts")
    yield path
    if path:
        path.unlink(missing_ok=True)


def watched(judge: Judge, parts: Parts) -> Judge:
    """The judge, asked in parts."""

    def score(prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[list[Likelihood]]:
        questions = [json.dumps([prompt, *some]) for prompt, some in zip(prompts, options, strict=True)]
        found = parts.of("score", questions, lambda part: judge.score(prompts[part], options[part]))
        return [[Likelihood(*one) for one in some] for some in found]

    def sums(rows: Sequence[np.ndarray], begins: Sequence[int]) -> list[Likelihood]:
        questions = [json.dumps([begin, *row.tolist()]) for begin, row in zip(begins, rows, strict=True)]
        found = parts.of("sums", questions, lambda part: judge.sums(rows[part], begins[part]))
        return [Likelihood(*one) for one in found]

    return replace(judge, score=score, sums=sums, writer=judge.writer and writing_in(parts, judge.writer))


def writing_in(parts: Parts, writer: Callable[[int], Writer]) -> Callable[[int], Writer]:
    """The writer, asked in parts."""

    def of(tokens: int) -> Writer:
        write = writer(tokens)
        return lambda prompts: parts.of(f"write {tokens}", prompts, lambda part: write(prompts[part]))

    return of


def name_of(kind: str, questions: Sequence[str]) -> str:
    """By their content."""
    return f"{hash_bytes(json.dumps([kind, *questions]).encode()):016x}"


def cut(sizes: Sequence[int]) -> Iterator[slice]:
    """Stretches of questions of so many characters, one after the other."""
    begin = size = 0
    for place, more in enumerate(sizes):
        if place > begin and (size + more > CHARACTERS or place - begin == QUESTIONS):
            yield slice(begin, place)
            begin, size = place, 0
        size += more
    if begin < len(sizes):
        yield slice(begin, len(sizes))


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of the file; one that is torn or empty is left out. Raises InputError for a file of another kind."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    if not rows or ASKED not in rows[0]:
        raise InputError(path, "holds no parts of a measure", f"Delete it: rm {path}")
    return rows


def refuse_other(path: Path, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises InputError where the parts are of something else."""
    other = sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key))
    if other:
        what = f"holds parts of a measure with another {', '.join(other)}"
        raise InputError(path, what, f"Choose another --out, or delete it: rm {path}")
