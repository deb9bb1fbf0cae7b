"""A suite run: every task over every run, and the table that puts the comparisons side by side.

Each task of each run is a comparison of its own (compare.py), with its folder, seeds, intervals and verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firth.errors import count
from firth.evaluate import arms as ways
from firth.evaluate.answers import as_json
from firth.evaluate.compare import compare
from firth.evaluate.comparison import Comparison
from firth.evaluate.statistics import FEWEST_SEEDS, Interval
from firth.evaluate.suite import ALL, Suite, Task, open_suite, written
from firth.interop.folder import mark_of_network
from firth.recipe import after
from firth.train import adaptation
from firth.train.adapted import describe_layers
from firth.train.folder import write_atomically
from firth.train.log import Show, Silent

ERRORS = {"phone_accuracy": "PER", "word_accuracy": "WER", "balanced_accuracy": "EER"}  # metrics shown as 1 - metric


@dataclass(frozen=True)
class Row:
    """A row of the table: by column the metric with its interval; what was not measured is not there."""

    title: str
    cells: dict[str, Interval]


@dataclass(frozen=True)
class Standings:
    """What a suite found. columns: name → the metric that is shown; repeats: task → what its intervals are over."""

    title: str
    columns: dict[str, str]
    rows: list[Row]
    seeds: int
    verdicts: dict[str, str] = field(default_factory=dict)  # run and task → its comparison's sentence
    layers: dict[str, list[float]] = field(default_factory=dict)  # run and task → share of each layer, last trial
    repeats: dict[str, str] = field(default_factory=dict)  # "3 seeds", "6 folds"

    def as_dict(self) -> dict[str, Any]:
        rows = [
            {"title": row.title, "cells": {name: plain(one) for name, one in row.cells.items()}} for row in self.rows
        ]
        return {"kind": "suite", "title": self.title, "columns": self.columns, "seeds": self.seeds,
                "repeats": self.repeats, "rows": rows, "verdicts": self.verdicts, "layers": self.layers}  # fmt: skip

    @property
    def over(self) -> str:
        """95 % intervals over 3 seeds (digits, phones), 6 folds (digits-unheard)"""
        alike: dict[str, list[str]] = {}
        for task, repeats in self.repeats.items():
            alike.setdefault(repeats, []).append(task)
        named = [f"{repeats} ({', '.join(tasks)})" for repeats, tasks in alike.items()]
        return f"95 % intervals over {', '.join(named if len(named) > 1 else alike)}"

    def printed(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of text."""
        heads = ["", *(f"{name} {metric}" for name, metric in self.columns.items())]
        return heads, [[row.title, *(shown(row.cells.get(name)) for name in self.columns)] for row in self.rows]

    def markdown(self) -> str:
        """The same as a table in Markdown, under its title."""
        heads, rows = self.printed()
        lines = [heads, ["---"] * len(heads), *rows]
        return f"## {self.title}\n\nIn %, with {self.over}.\n\n" + "".join(
            f"| {' | '.join(line)} |\n" for line in lines
        )


def plain(one: Interval) -> dict[str, Any]:
    """For JSON, which has no word for what is not known."""
    return {name: None if value != value else value for name, value in one._asdict().items()}


def shown(one: Interval | None) -> str:
    """94.1 ± 1.2; with one seed no interval."""
    if one is None:
        return "–"
    half = (one.high - one.low) / 2
    return f"{100 * one.mean:.1f}" + (f" ± {100 * half:.1f}" if half == half else "")


def run_suite(
    runs: Sequence[str | Path],
    suite: str,
    seeds: int = FEWEST_SEEDS,
    seed: int = 0,
    out: str | Path | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
    device: str | None = None,
    jobs: int = 1,
    dry_run: bool = False,
    show: Show | None = None,
) -> Standings:
    """Every task of the suite over every run, beside random weights of its shape and, once, the baselines.

    settings: dotted keys that win over the suite's. The same call goes on where it was ended. Raises InputError.
    """
    show, (plan, folder) = show or Silent(), open_suite(suite)
    if dry_run:
        return planned(plan, runs, seeds, show)
    place = Path(out) if out else Path("runs") / f"{suite.partition(':')[0].replace('/', '-')}-suite"
    found: dict[tuple[str, str], Comparison] = {}
    marks = [mark_of_network(run) for run in runs]
    first: dict[tuple[str, str], Path] = {}  # task and network → the first comparison of it: random weights are one
    for name, task in plan.tasks.items():
        data = {
            side: written(part, folder, place / "data" / f"{name}-{side}.jsonl") for side, part in task.parts.items()
        }
        for number, run in enumerate(runs):
            title = ways.name_of(Path(run), {run for run, _ in found if (run, name) in found})
            show.line("Task", f"{name} · {title}")
            asked, own = own_settings(plan, task, data.get("test"), settings), place / name / title
            found[title, name] = compare(
                run, data["train"], task.task, numbers(task), seeds, seed, arms_of(task, first=number == 0), asked,
                device, show, out=own, title=title, jobs=jobs, leave_out=task.leave_out or None,
                like=first.setdefault((name, marks[number]), own),
            )  # fmt: skip
    made = tabulated(plan, found, seeds)
    tell(made, place, show)
    write_atomically(place / "suite.json", as_json(made.as_dict()))
    write_atomically(place / "suite.md", made.markdown())
    return made


def planned(plan: Suite, runs: Sequence[str | Path], seeds: int, show: Show) -> Standings:
    """What would be done, and nothing else."""
    for name, task in plan.tasks.items():
        repeated = f"each {task.leave_out} left out" if task.leave_out else often(task, seeds)
        show.line("Plan", f"{name}: {task.task}, {', '.join(map(str, task.labels))} labels, {repeated}, "
                          f"{len(runs)} runs beside random weights and baselines")  # fmt: skip
    show.note("Nothing was trained or written.")
    return Standings(plan.title, {}, [], seeds)


def tell(made: Standings, place: Path, show: Show) -> None:
    """The table, on whatever shows tables; and where it lies."""
    heads, rows = made.printed()
    draw = getattr(show, "table", None)
    if draw is not None:
        draw(f"{made.title} · % · {made.over}", heads, rows)
    for name, shares in made.layers.items():
        show.line("Layers", f"{name}: {describe_layers(shares)}")
    for name, verdict in made.verdicts.items():
        show.line("Verdict", f"{name}: {verdict}")
    show.line("Saved", f"{place / 'suite.md'} · {place / 'suite.json'}")


def numbers(task: Task) -> list[int | None]:
    return [None if one == ALL else int(one) for one in task.labels]


def own_settings(plan: Suite, task: Task, test: Path | None, settings: Iterable[str] | Mapping[str, Any]) -> list[str]:
    """key=value, the later ones winning."""
    files = {"data.test": [str(test)]} if test else {}
    own = plan.settings | {"data.label": task.label} | files | task.settings
    return after(own, after(settings, ()) if isinstance(settings, Mapping) else settings)


def arms_of(task: Task, first: bool) -> list[str]:
    """Random weights and the run; with the first run the baselines, too, which hang on no run."""
    return [adaptation.RANDOM, adaptation.PRETRAINED, *(task.baselines if first else ())]


def tabulated(plan: Suite, found: Mapping[tuple[str, str], Comparison], seeds: int) -> Standings:
    """The comparisons side by side."""
    columns: dict[str, str] = {}
    rows: dict[str, dict[str, Interval]] = {}
    for (run, name), one in found.items():
        for labels in one.budgets:
            whole = ALL in plan.tasks[name].labels and labels == one.budgets[-1]
            column = name if len(one.budgets) == 1 else f"{name} {ALL if whole else labels}"
            columns[column] = ERRORS.get(one.metric, one.metric.replace("_", " "))
            for arm, title in one.titles.items():
                if one.of(arm, labels):
                    title = f"{run}, random weights" if arm == adaptation.RANDOM else title
                    rows.setdefault(title, {})[column] = turned(one.accuracy(arm, labels), one.metric)
    verdicts = {f"{run} · {name}": one.verdict for (run, name), one in found.items()}
    shares = {f"{run} · {name}": one.facts.get("layers", {}) for (run, name), one in found.items()}
    layers = {name: one[adaptation.PRETRAINED] for name, one in shares.items() if adaptation.PRETRAINED in one}
    repeats = {name: often(plan.tasks[name], len(one.seeds)) for (_, name), one in found.items()}
    return Standings(plan.title, columns, [Row(title, cells) for title, cells in rows.items()], seeds, verdicts, layers,
                     repeats)  # fmt: skip


def often(task: Task, number: int) -> str:
    """3 seeds; 6 folds where groups are left out in turn."""
    return count(number, "fold" if task.leave_out else "seed")


def turned(one: Interval, metric: str) -> Interval:
    """An error rate for a share that is right, where the field speaks of errors."""
    return Interval(1 - one.mean, 1 - one.high, 1 - one.low, one.seeds) if metric in ERRORS else one
