"""What stands on the page of a run: the result first, then curves, samples, facts, the recipe."""

import re
from pathlib import Path
from typing import Any

from firth.report import facts as told
from firth.report.charts import Line, line_chart
from firth.train.describe import name as words
from firth.train.folder import RunFolder
from firth.train.log import read_metrics

POINTS = 300  # of a curve that is drawn; longer ones are averaged
NO_CURVES = {"step", "tokens", "elapsed", "seconds", "loss", "held_out", "lr", "gradient_norm"}
LIKE = {"new": "open", "unfinished": "open", "finished": "good"}


def content(folder: Path) -> dict[str, Any]:
    """Everything templates/run.html asks for."""
    run = RunFolder(folder)
    facts, rows = run.facts, read_metrics(run.metrics)
    return {
        "title": f"{folder.name}: a run of firth",
        "eyebrow": f"{folder.name} · {run.status}",
        "tone": LIKE[run.status],
        "verdict": verdict(facts),
        "charts": charts(rows),
        "confusions": confusions(facts.get("result") or {}),
        "samples": samples(run.samples),
        "fact_lists": fact_lists(facts),
        "command": facts.get("command") or f"firth {_verb(run)} --config {run.config}",
        "config": run.config.read_text(encoding="utf-8") if run.config.exists() else "",
    }


def verdict(facts: dict[str, Any]) -> str:
    """Held-out masked tokens loss 4.12 · accuracy 24.1 % · 17,100 steps."""
    result = facts.get("result") or {}
    metrics = result.get("metrics") or {}
    if not metrics:
        return str(facts.get("error") or "This run has no result yet.")
    parts = [
        f"{words(key)} {shown(key, value)}" for key, value in metrics.items() if key != "loss" or len(metrics) == 1
    ]
    steps = [f"{result['steps']:,} steps"] if result.get("steps") else []
    return "Held-out " + " · ".join([*parts, *steps])


def shown(key: str, value: float) -> str:
    """A share as percent, a perplexity without digits, a loss with two."""
    if not isinstance(value, int | float):
        return str(value)
    if _share(key):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if key.endswith("perplexity") else f"{value:,.3f}"


def charts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A chart for the loss and for each term or metric, training and held-out in one; then the learning rate."""
    names = ["loss", *_names(rows)]
    names = [name for name in names if name != "loss" or len([n for n in names if not _share(n)]) != 2]
    found = [chart(rows, name, words(name).capitalize(), "share right" if _share(name) else "nats") for name in names]
    return [one for one in [*found, chart(rows, "lr", "Learning rate", "per step")] if one]


def chart(rows: list[dict[str, Any]], name: str, title: str, unit: str) -> dict[str, Any] | None:
    lines = []
    trained = [(row["step"], row[name]) for row in rows if name in row]
    held_out = [(row["step"], row["held_out"][name]) for row in rows if name in (row.get("held_out") or {})]
    if len(trained) > 1:
        lines.append(Line("training", 0, *zip(*thinned(trained), strict=True)))
    if len(held_out) > 1:
        lines.append(Line("held-out", 2, *zip(*held_out, strict=True)))
    return line_chart(lines, title, "step", unit, percent=_share(name)) if lines else None


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most POINTS points: means of as many neighbours as it takes, at the last one's step."""
    size = max(1, -(-len(points) // POINTS))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def confusions(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Wherever the result holds a confusion matrix with its classes."""
    places = [result, *(value for value in result.values() if isinstance(value, dict))]
    found = [place for place in places if place.get("confusion") and place.get("classes")]
    return [told.confusion(place["confusion"], place["classes"], "Confusion matrix") for place in found[:1]]


def samples(folder: Path) -> list[dict[str, str]]:
    """The texts of samples/, by their step."""
    paths = sorted(folder.glob("*.txt"), key=_step) if folder.is_dir() else []
    return [{"title": f"step {_step(path):,}", "text": path.read_text(encoding="utf-8").strip()} for path in paths]


def fact_lists(facts: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Data, plan, cost, machine."""
    data = {key: value for key, value in (facts.get("data") or {}).items() if key != "fingerprint"}
    cores = (facts.get("machine") or {}).get("cores", 1)
    seconds = {key: value for key, value in (facts.get("seconds") or {}).items() if isinstance(value, int | float)}
    machine = {**(facts.get("versions") or {}), **(facts.get("machine") or {}), "seed": facts.get("seed", 0)}
    lists = [
        ("Data", told.pairs(data)),
        ("Plan", told.pairs(facts.get("plan"))),
        ("Cost", told.cost(seconds, cores) if seconds else []),
        ("Versions and machine", told.pairs(machine)),
    ]
    return [(title, found) for title, found in lists if found]


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Terms and metrics in the order they were first written."""
    seen = [
        key
        for row in rows
        for key in {**row, **(row.get("held_out") or {})}
        if isinstance(row.get(key, 0.0), int | float)
    ]
    return [key for key in dict.fromkeys(seen) if key not in NO_CURVES and not key.endswith("perplexity")]


def _share(name: str) -> bool:
    return name.endswith(("accuracy", "exact"))


def _step(path: Path) -> int:
    found = re.search(r"\d+", path.stem)
    return int(found.group()) if found else 0


def _verb(run: RunFolder) -> str:
    return run.recipe.verb if run.config.exists() else "pretrain"
