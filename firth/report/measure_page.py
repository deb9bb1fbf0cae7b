"""What stands on the page of a measure: the result first, pictures where there are any, all figures, facts."""

from collections.abc import Callable
from typing import Any

from firth.evaluate.fewshot import FewShot
from firth.evaluate.in_context import InContext
from firth.evaluate.measuring import Measured
from firth.evaluate.minimal_pairs import MinimalPairs
from firth.report import facts as told
from firth.report.charts import Line, Row, interval_chart, line_chart


def content(measured: Measured, command: str | None) -> dict[str, Any]:
    """Everything templates/measure.html asks for."""
    lines, facts = measured.found.lines(), measured.facts
    machine = {**(facts.get("versions") or {}), **(facts.get("machine") or {})}
    subject = {"model": measured.model, "is": measured.judge, "data": ", ".join(measured.data), "by": measured.kind,
               "seconds": round(measured.seconds, 1)}  # fmt: skip
    return {
        "title": f"{measured.task} of {measured.model} (firth)",
        "eyebrow": f"{measured.task.replace('-', ' ')} · {measured.model}",
        "verdict": f"{lines[0][:1].upper()}{lines[0][1:]}",
        "charts": CHARTS.get(type(measured.found), lambda _: [])(measured.found),
        "figures": "\n".join(lines),
        "fact_lists": [("What was measured", told.pairs(subject)), ("Versions and machine", told.pairs(machine))],
        "command": command,
    }


def few_shots(found: FewShot) -> list[dict[str, Any]]:
    """Accuracy against shots: the way that counts with its interval, the others, and what needs no model."""
    names = [found.way, *(name for name in found.arms if name != found.way)]
    lines = [curve(name, style, found.shots, found.arms[name], style == 0) for style, name in enumerate(names)]
    flat = {"majority": found.majority, "random": found.random}
    lines += [Line(name, len(names) + i, found.shots, [share] * len(found.shots))
              for i, (name, share) in enumerate(flat.items())]  # fmt: skip
    title = f"Accuracy against examples in the prompt, {found.items:,} items"
    about = f"{found.draws} draws of the examples and their order."
    return [line_chart(lines, title, "examples", "accuracy, 95 % interval", percent=True, about=about)]


def in_context(found: InContext) -> list[dict[str, Any]]:
    """One picture for each kind of function."""
    charts = []
    for kind, each in found.curves.items():
        lines = [curve(name, style, each.shots, row) for style, (name, row) in enumerate(each.arms.items())]
        lines.append(Line("chance", len(lines), each.shots, [found.chance] * len(each.shots)))
        title = f"{kind.replace('-', ' ').capitalize()}: right against examples, {found.questions:,} questions"
        charts.append(line_chart(lines, title, "examples", "share right, 95 % interval", percent=True))
    return charts


def curve(name: str, style: int, x, row, ends: bool = True) -> Line:
    """Intervals at each x."""
    means, lows, highs = ([getattr(one, key) for one in row] for key in ("mean", "low", "high"))
    return Line(name, style, x, means, low=lows if ends else None, high=highs if ends else None)


def pairs(found: MinimalPairs) -> list[dict[str, Any]]:
    """A row for each phenomenon, a dot for each of its paradigms."""
    order = sorted(found.phenomena, key=lambda name: -found.phenomena[name])
    rows = [Row(name.replace("_", " "), 0, found.phenomena[name], float("nan"), float("nan"), found.dots(name))
            for name in order]  # fmt: skip
    title = f"Minimal pairs by phenomenon, {found.pairs:,} pairs"
    return [interval_chart(rows, title, "share right, a dot a paradigm; ties are wrong; guessing has 50 %")]


CHARTS: dict[type, Callable[[Any], list[dict[str, Any]]]] = {
    FewShot: few_shots,
    InContext: in_context,
    MinimalPairs: pairs,
}
