"""What a verb prints: plan, live progress, curves, tables, results. Colours only on a terminal, not with NO_COLOR."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from math import isfinite
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from firth.errors import FirthError, count
from firth.evaluate.answer_files import Lines, kept
from firth.evaluate.answers import Answered, as_json, plain
from firth.report import plot
from firth.train.folder import is_stream, whole_file

LIVE_SECONDS = 0.2  # between redrawings of the live line
PLAIN_SECONDS = 5.0  # between progress lines when piped
PLAIN_WIDTH = 100  # columns when piped
NUMBERS = frozenset(
    {"matthews", "pearson", "spearman", "mean_absolute_error", "threshold"}
)  # figures that are no shares


class Terminal:
    """Implements train.log.Show. With json, everything goes to stderr, so that stdout holds the result alone."""

    def __init__(self, json: bool = False, file: IO[str] | None = None, live: bool | None = None):
        self.out: IO[str] = file or (sys.stderr if json else sys.stdout)
        self.as_json = json
        on_terminal = bool(getattr(self.out, "isatty", lambda: False)())
        self.live = on_terminal if live is None else live
        self.console = Console(
            file=self.out, highlight=False, emoji=False, soft_wrap=True, width=None if self.live else PLAIN_WIDTH
        )
        self.errors = Console(file=file or sys.stderr, highlight=False, emoji=False, soft_wrap=True)
        self._drawn, self._began, self._line = 0.0, 0.0, 0

    # ---------------------------------------------------------------- Show

    def line(self, key: str, text: str) -> None:
        """`Data     50,000 reviews · …`"""
        self._clear()
        self.console.print(f"[bold cyan]{escape(key):<8}[/] {escape(text)}")

    def note(self, text: str) -> None:
        self._clear()
        self.console.print(f"[dim]{escape(text)}[/]")

    def progress(self, step, run) -> None:
        """The live line, redrawn a few times a second; a plain line every few seconds when piped."""
        now = time.monotonic()
        if step.index <= 1 or not self._began:
            self._begin(now, now - step.seconds)
        last = step.index >= step.steps
        if last or self._due(now):
            resumed, unit = getattr(run, "resumed", 0), getattr(run, "unit", "items")
            self._draw(progress_line(step, now - self._began, resumed, unit), now)
        if last:
            self._end_line()
            self._began = 0.0

    def count(self, key: str, done: int, whole: int, begun: int = 0) -> None:
        """As progress; the line is gone once all is done, and of what is done soon there is none."""
        now = time.monotonic()
        if not self._began:
            self._begin(now, now)
        if done >= whole:
            self._clear()
            self._began = 0.0
        elif self._due(now):
            self._draw(count_line(key, done, whole, now - self._began, begun), now)

    def result(self, result) -> None:
        """At the end of a verb: a comparison as curves, table and verdict; what trained has said its lines already."""
        self._end_line()
        if hasattr(result, "verdict"):
            self.comparison(result)

    # ---------------------------------------------------------------- results

    def comparison(self, comparison) -> None:
        """Loss and accuracy against steps, a row per arm, the verdict."""
        for labels in comparison.budgets:
            for curve in ("loss", "accuracy"):
                self._curves(comparison, labels, curve)
            self.console.print(comparison_table(comparison, labels, self._width))
        self.line("Verdict", comparison.verdict)
        for sentence in comparison.sentences:
            self.line("", sentence)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Columns whose cells are numbers stand right. What is wider than the terminal is told in several tables."""
        self._clear()
        cells = [[str(cell) for cell in row] for row in rows]
        for places in beside(columns, cells, self._width):
            shown = [[row[place] for place in places] for row in cells]
            whole = len(places) == len(columns)
            self.console.print(table(title, [columns[place] for place in places], shown, self._width, whole))
            title = ""

    def figures(self, found: Mapping[str, Any]) -> None:
        """Named figures, one a line; those of a part, such as a type of span, behind its name."""
        for text in figure_lines(found):
            self.line("", text)

    def keep(self, found: Mapping[str, Any], out: Path) -> None:
        """A result as JSON in a file."""
        with whole_file(out) as file:
            file.write(as_json(found))
        self._saved(out)

    def predictions(self, found: Iterable[Any], out: Path | None = None, errors: bool = False) -> None:
        """A line each on a terminal, JSON lines when piped or with --json, with --out a file; streams, keeps nothing.

        errors: what cannot be read or answered stands among the rest; at the end it is said how many these are.
        """
        stdout = self.out if not self.as_json else sys.stdout
        screen = Lines(stdout) if self.as_json or not self.live else Shown(self)
        failed = 0
        with kept(out, errors) if out else nullcontext(screen) as sink:
            for one in found:
                failed += isinstance(one, Answered) and one.failed
                sink.write(one)
        if out:
            self._saved(out)
        self._tell_left_out(list(getattr(sink, "left_out", ())), failed)

    def _saved(self, out: Path) -> None:
        """Of a stream nothing is said, as it may be this very one."""
        if not is_stream(out):
            self.line("Saved", str(out))

    def _tell_left_out(self, columns: list[str], failed: int) -> None:
        """On stderr, as answers may stand on stdout."""
        if columns:
            self.errors.print(f"Columns that the first row does not have were left out: {escape(', '.join(columns))}.")
        if failed:
            self.errors.print(f"{count(failed, 'input')} could not be read or answered; the errors stand in place.")

    def piece(self, one: Any) -> None:
        """A text that is written on, and then what is written, as it comes."""
        self.console.print(
            escape(one if isinstance(one, str) else one.text), end="", style="bold" * isinstance(one, str)
        )
        last = getattr(one, "last", None)
        if last is not None:
            self.console.print()
            if last.unread:
                self.note(f"(the first {last.unread:,} tokens were beyond the context, and not read)")
        self.out.flush()

    def error(self, error: FirthError) -> None:
        """Where, what, what to do; no traceback."""
        self._end_line()
        self.errors.print(f"[bold red]{escape(error.where)}[/]: {escape(error.what.rstrip('.'))}.", style=None)
        self.errors.print(escape(error.do))

    # ---------------------------------------------------------------- inside

    @property
    def _width(self) -> int:
        return min(self.console.width, PLAIN_WIDTH)

    def _curves(self, comparison, labels: int, name: str) -> None:
        found = [(title, comparison.mean_curve(arm, labels)) for arm, title in comparison.titles.items()]
        drawn = [(t, ps) for t, ps in found if ps and isfinite(getattr(ps[0], name))]
        curves = [plot.Curve(escape(t), [p.step for p in ps], [getattr(p, name) for p in ps]) for t, ps in drawn]
        if not curves:
            return
        unit = " (nats)" if name == "loss" else ""
        title = f"validation {name}{unit} against steps, {comparison.amount(labels)}, mean of seeds"
        width = max(20, min(64, self._width - 14))
        for text in plot.lines(curves, title, "steps", width, coloured=True):
            self.console.print(text, soft_wrap=True)
        self.console.print()

    def _begin(self, now: float, began: float) -> None:
        """Something that takes long: on a terminal it is drawn at once, when piped after a while."""
        self._began, self._drawn = began, 0.0 if self.live else now

    def _due(self, now: float) -> bool:
        return now - self._drawn >= (LIVE_SECONDS if self.live else PLAIN_SECONDS)

    def _draw(self, text: str, now: float) -> None:
        self._drawn = now
        self._redraw(text) if self.live else self.console.print(escape(text))

    def _redraw(self, text: str) -> None:
        width = self.console.width - 1
        self.out.write("\r" + text[:width].ljust(min(self._line, width)))
        self.out.flush()
        self._line = min(len(text), width)

    def _clear(self) -> None:
        """Wipe the live line, which the next step draws again."""
        if self._line:
            self.out.write("\r" + " " * self._line + "\r")
            self._line = 0

    def _end_line(self) -> None:
        """Keep the live line, and go on below it."""
        if self._line:
            self.out.write("\n")
            self._line = 0


def progress_line(step, elapsed: float, begun: int = 0, unit: str = "items") -> str:
    """`Train     43 % · step 860 of 2,000 · loss 5.31 · 23,400 tokens/s · 26 s left`; begun: where it went on from."""
    done = max(step.index - begun, 1)
    parts = [
        f"{100 * step.index / step.steps:3.0f} %",
        f"step {step.index:,} of {step.steps:,}",
        f"loss {step.loss:.3f}",
    ]
    if step.items and step.seconds:
        rate = step.items / step.seconds
        parts.append(f"{rate:,.{0 if rate >= 10 else 1}f} {unit}/s")
    if step.index < step.steps:
        parts.append(f"{_time(elapsed / done * (step.steps - step.index))} left")
    else:
        parts.append(f"{_time(elapsed)}")
    return "Train    " + " · ".join(parts)


def count_line(key: str, done: int, whole: int, elapsed: float, begun: int = 0) -> str:
    """`Scored    43 % · 860 of 2,000 · 26 s left`; begun: how many were done before."""
    left = f" · {_time(elapsed / (done - begun) * (whole - done))} left" if done > begun else ""
    return f"{key:<8} {100 * done / whole:3.0f} % · {done:,} of {whole:,}{left}"


def comparison_table(comparison, labels: int, width: int = PLAIN_WIDTH) -> Table:
    """A row per arm: accuracy with interval, the difference of the main arm to it, mean loss on the way, seconds."""
    columns = [
        "start",
        comparison.metric.replace("_", " "),
        "95 % interval",
        f"{comparison.titles[comparison.main]}: more",
        "mean loss",
        "seconds",
    ]
    rows = [comparison_row(comparison, arm, labels) for arm in comparison.titles if comparison.of(arm, labels)]
    seeds = len(comparison.seeds)
    amount = comparison.amount(labels, in_all=True)
    title = f"{amount}, {seeds} seed{'s' * (seeds != 1)}, {len(comparison.gold):,} test items"
    return table(title, columns, rows, width)


def comparison_row(comparison, arm: str, labels: int) -> list[str]:
    from firth.evaluate.verdict import signed

    found, area = comparison.accuracy(arm, labels), comparison.area(arm, labels)
    ends = f"{100 * found.low:.1f} to {100 * found.high:.1f}" if found.seeds > 1 else "–"
    more = (
        "" if arm == comparison.main else f"{signed(comparison.difference(comparison.main, arm, labels).mean)} points"
    )
    seconds = sum(trial.seconds for trial in comparison.of(arm, labels)) / found.seeds
    mean_loss = f"{area.mean:.3f}" if area else "–"
    return [comparison.titles[arm], f"{100 * found.mean:.1f} %", ends, more, mean_loss, f"{seconds:.1f}"]


def beside(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """The places of the columns of each table: one, or where no more fit, several that begin with the first column."""
    edge = 3  # a line, and a blank to both sides
    cells = [max((len(row[place]) for row in rows), default=0) for place in range(len(columns))]
    least = [max(cell, *map(len, (name.split() or [""]))) + edge for cell, name in zip(cells, columns, strict=True)]
    if not least or sum(least) < width or least[0] > width // 2:
        return [list(range(len(columns)))]
    parts: list[list[int]] = [[0]]
    for place in range(1, len(columns)):
        if len(parts[-1]) > 1 and sum(least[one] for one in parts[-1]) + least[place] >= width:
            parts.append([0])
        parts[-1].append(place)
    return parts


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int = PLAIN_WIDTH, whole: bool = True
) -> Table:
    """The first column left, the others right. whole: False for a part of the columns, whose cells are not broken."""
    drawn = Table(title=escape(title) or None, title_justify="left", width=None if width >= 70 else width)
    for number, name in enumerate(columns):
        least = None if whole else max((len(row[number]) for row in rows), default=0)
        drawn.add_column(escape(name), justify="left" if number == 0 else "right", min_width=least)
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    return drawn


def figure_lines(found: Mapping[str, Any], part: str = "") -> Iterator[str]:
    """`accuracy             92.10 %`, `LOC f1               80.00 %`; of lists only how many are missing."""
    for key, value in found.items():
        name = f"{part} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from figure_lines(value, "" if key == "types" else name)
        elif key == "missing" and value:
            yield f"{name:<20} {len(value):,}, counted as wrong"
        elif isinstance(value, int | float | str):
            yield f"{name:<20} {figure(key, value)}"


def figure(key: str, value: int | float | str) -> str:
    """Shares as per cent, other numbers as they are."""
    if isinstance(value, float):
        return f"{value:.3f}" if key in NUMBERS else f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else value


class Shown:
    """Takes answers on a terminal."""

    def __init__(self, terminal: Terminal):
        self.terminal = terminal

    def write(self, one: Any) -> None:
        if isinstance(one, str) or hasattr(one, "last"):
            self.terminal.piece(one)
        else:
            self.terminal.console.print(prediction_line(one))

    def close(self) -> None: ...


def prediction_line(one: Any) -> str:
    """label  98.1 %  the text; all labels where there may be several; for blanks: the guesses."""
    value = plain(one)
    if "error" in value:
        return f"[red]{escape(value.get('where', ''))}: {escape(value['error'])}[/]"
    if "\n" in str(value.get("text", "")) and "where" in value:
        value = {**value, "text": value["where"]}
    if "tags" in value:
        return escape(" ".join(f"{word}/{tag}" for word, tag in zip(value["words"], value["tags"], strict=True)))
    if "written" in value:
        return f"[bold]{escape(value['text'])}[/]{escape(value['written'])}"
    if "answer" in value:
        share = f"[bold]{escape(value['answer'] or 'no answer')}[/] {100 * value['probability']:5.1f} %"
        return f"{share}  {escape(value['text'])}"
    if "transcript" in value:
        return f"[bold]{escape(value['transcript'])}[/]  {escape(value['text'])}"
    if "score" in value and "same" in value:
        said = {True: "same", False: "different"}.get(value["same"], "")
        return f"[bold]{value['score']:6.3f}[/] {said:<9}  {escape(value['text'])}"
    if "labels" in value:
        return f"[bold]{escape(', '.join(value['labels']) or 'none'):<12}[/]  {escape(str(value['text']))}"
    if "number" in value:
        return f"[bold]{value['number']:8.2f}[/]  {escape(str(value['text']))}"
    if "label" in value and "probability" in value:
        label, text = escape(str(value["label"])), escape(str(value.get("text", "")))
        return f"[bold]{label:<12}[/] {100 * value['probability']:5.1f} %  {text}"
    return escape(json.dumps(value, ensure_ascii=False))


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def nobody_reads() -> None:
    """What is still buffered goes nowhere, so that Python does not complain of the closed pipe as it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
