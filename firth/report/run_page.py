"""What stands on the page of a run: the result first, then curves, mistakes, samples, facts, the recipe."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firth.evaluate import mistakes
from firth.objective import ObjectiveConfig, unit_of_loss
from firth.report import facts as told
from firth.report import pictures
from firth.report.charts import Line, line_chart
from firth.train.adapted import NAMES, figure
from firth.train.build import configs_of
from firth.train.describe import name as words
from firth.train.folder import RunFolder
from firth.train.log import read_metrics
from firth.train.watch import said

POINTS = 300  # of a curve that is drawn; longer ones are averaged
MISTAKES = 12  # that are shown
NO_CURVES = {"step", "tokens", "elapsed", "seconds", "loss", "held_out", "answers", "lr", "gradient_norm"}
LIKE = {"new": "open", "unfinished": "open", "finished": "good"}


def content(folder: Path) -> dict[str, Any]:
    """Everything templates/run.html asks for."""
    run = RunFolder(folder)
    facts, rows = run.facts, read_metrics(run.metrics)
    return {
        "title": f"{folder.name}: a run of firth",
        "eyebrow": f"{folder.name} · {run.status}",
        "tone": tone(run, facts),
        "verdict": verdict(facts),
        "charts": [*charts(rows, configs(run)), *pictures.curves(rows), *layers_read(facts)],
        "map": pictures.map_of(run.samples, list((facts.get("data") or {}).get("classes") or ())),
        "pictures": pictures.of(run.samples),
        "confusions": confusions(facts.get("result") or {}),
        "mistakes": mistaken(run.samples / "wrong.jsonl"),
        "samples": samples(run.samples),
        "fact_lists": fact_lists(facts),
        "command": command(run),
        "config": run.config.read_text(encoding="utf-8") if run.config.exists() else "",
    }


def configs(run: RunFolder) -> list[ObjectiveConfig]:
    """Of the objectives; none where the recipe is missing."""
    return list(configs_of(run.recipe).values()) if run.config.exists() else []


def tone(run: RunFolder, facts: dict[str, Any]) -> str:
    """The colour of the verdict."""
    return "bad" if (facts.get("result") or {}).get("collapse") else LIKE[run.status]


def verdict(facts: dict[str, Any]) -> str:
    """Held-out masked tokens loss 4.12 · accuracy 24.1 % · 17,100 steps."""
    result = facts.get("result") or {}
    metrics = result.get("metrics") or {}
    if result.get("score"):
        return scored(result)
    if not metrics:
        return str(facts.get("error") or "This run has no result yet.")
    parts = [
        f"{words(key)} {shown(key, value)}" for key, value in metrics.items() if key != "loss" or len(metrics) == 1
    ]
    parts += [said(result["vectors"])] if result.get("vectors") else []
    steps = [f"{result['steps']:,} steps"] if result.get("steps") else []
    collapsed = f"This run collapsed, {result['collapse']} " if result.get("collapse") else ""
    return f"{collapsed}Held-out " + " · ".join([*parts, *steps])


def scored(result: dict[str, Any]) -> str:
    """Test accuracy 83.8 % · macro F1 0.837 · 872 items · step 1,895 of 1,895 kept."""
    score = result["score"]
    parts = [f"{NAMES.get(key, words(key))} {figure(key, value)}" for key, value in score.items()
             if isinstance(value, float)]  # fmt: skip
    kept = f"step {result.get('best_step', 0):,} of {result.get('steps', 0):,} kept"
    return f"{str(result.get('scored', 'test')).capitalize()} " + " · ".join(
        [*parts, f"{score.get('items', 0):,} items", kept]
    )


def shown(key: str, value: float) -> str:
    """A share as percent, a perplexity without digits, a loss with two."""
    if not isinstance(value, int | float):
        return str(value)
    if _share(key):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if key.endswith("perplexity") else f"{value:,.3f}"


def charts(rows: list[dict[str, Any]], configs: Sequence[ObjectiveConfig] = ()) -> list[dict[str, Any]]:
    """A chart for the loss and for each term or metric, training and held-out in one; then the learning rate.

    configs: of the objectives, which know units. The loss of a single term is that term, and is shown once.
    """
    names = _names(rows)
    terms = [term for config in configs for term in config.terms]
    names = names if len(terms) == 1 and terms[0] in names else ["loss", *names]
    found = [chart(rows, name, words(name).capitalize(), unit(name, configs)) for name in names]
    return [one for one in [*found, answered(rows), chart(rows, "lr", "Learning rate", "per step")] if one]


def answered(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How many questions were answered right along the way: a line for each kind of question."""
    asked = [row for row in rows if row.get("answers")]
    lines = [
        Line(name, style, *zip(*((row["step"], row["answers"][name]) for row in asked), strict=True))
        for style, name in enumerate(asked[0]["answers"] if asked else ())
    ]
    return line_chart(lines, "Questions answered right", "step", "share right", percent=True) if asked else None


def chart(rows: list[dict[str, Any]], name: str, title: str, unit: str) -> dict[str, Any] | None:
    lines = []
    trained = [(row["step"], row[name]) for row in rows if name in row]
    held_out = [(row["step"], row["held_out"][name]) for row in rows if name in (row.get("held_out") or {})]
    if len(trained) > 1:
        lines.append(Line("training", 0, *zip(*thinned(trained), strict=True)))
    if len(held_out) > 1:
        lines.append(Line("held-out", 2, *zip(*held_out, strict=True)))
    return line_chart(lines, title, "step", unit, percent=_share(name)) if lines else None


def layers_read(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What a task has learnt to read of each layer, where it reads them all."""
    shares = (facts.get("result") or {}).get("layers") or []
    if len(shares) < 2:
        return []
    line = Line("share", 0, list(range(len(shares))), shares)
    return [line_chart([line], "What it reads of each layer", "layer, 0 the embedding", "share", percent=True)]


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most POINTS points: means of as many neighbours as it takes, at the last one's step."""
    size = max(1, -(-len(points) // POINTS))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def confusions(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Wherever the result holds a confusion matrix with its classes."""
    places = [result, *(value for value in result.values() if isinstance(value, dict))]
    found = [one for one in places if one.get("confusion") and 0 < len(one.get("classes") or ()) <= told.FEW_CLASSES]
    return [told.confusion(place["confusion"], place["classes"], "Confusion matrix") for place in found[:1]]


def mistaken(path: Path) -> list[tuple[str, str, str, str]]:
    """(input, gold, predicted, how sure it was) of samples/wrong.jsonl, the surest first."""
    rows = [row for row in read_metrics(path) if {"text", "gold", "predicted"} <= row.keys()]
    return [(*mistakes.told(row), sureness(row)) for row in rows[:MISTAKES]]


def sureness(row: dict[str, Any]) -> str:
    """98 %, a score, or how much is wrong."""
    if "errors" in row:
        return str(row["errors"])
    return f"score {row['score']:.2f}" if "score" in row else f"{100 * row.get('probability', 1.0):.0f} %"


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
        ("Plan", told.pairs(counted(facts.get("plan") or {}))),
        ("Cost", told.cost(seconds, cores) if seconds else []),
        ("Versions and machine", told.pairs(machine)),
    ]
    return [(title, found) for title, found in lists if found]


def counted(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan, what is counted in it called as the signal calls it: images and not tokens."""
    unit = plan.get("unit", "tokens")
    return {key.replace("tokens", unit): value for key, value in plan.items() if key != "unit"}


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Terms and metrics in the order they were first written."""
    seen = [
        key
        for row in rows
        for key in {**row, **(row.get("held_out") or {})}
        if isinstance(row.get(key, 0.0), int | float)
    ]
    return [key for key in dict.fromkeys(seen) if key not in NO_CURVES and not key.endswith("perplexity")]


def unit(name: str, configs: Sequence[ObjectiveConfig] = ()) -> str:
    """Of a term or metric, as its objective has it; of the loss, if all terms have the same. "" for none."""
    if _share(name):
        return "share right"
    if name.startswith("bits_"):
        return "bits"
    if name == "loss":
        return unit_of_loss(configs)
    owners = [config for config in configs if name.startswith(config.terms)]
    return owners[0].unit_of(name) if owners else ""


def _share(name: str) -> bool:
    return name.endswith(("accuracy", "exact"))


def _step(path: Path) -> int:
    found = re.search(r"\d+", path.stem)
    return int(found.group()) if found else 0


def command(run: RunFolder) -> str:
    """What repeats the run; adapt wants model and data besides."""
    if not run.config.exists():
        return f"firth pretrain --config {run.config}"
    recipe = run.recipe
    given = [str(recipe.model.source), *recipe.data.paths] if recipe.verb == "adapt" else []
    return shlex.join(["firth", recipe.verb, *given, "--config", str(run.config), "--out", f"{run}-again"])
