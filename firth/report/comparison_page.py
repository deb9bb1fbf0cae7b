"""What stands on the page of a comparison: the verdict first, then curves, intervals, examples, facts."""

from math import isnan
from typing import Any

from firth.evaluate.comparison import OPENING, Comparison, within
from firth.evaluate.statistics import FEWEST_SEEDS, Interval
from firth.evaluate.verdict import finding, signed
from firth.report import facts as told
from firth.report.charts import Line, Row, interval_chart, line_chart

SEVERAL = (
    "Models of other shapes come with their own tokenizer and the context they were trained with; what stands under "
    "Settings as the model is that of the first arm."
)


def content(comparison: Comparison) -> dict[str, Any]:
    """Everything templates/comparison.html asks for."""
    facts = comparison.facts
    return {
        "title": f"{comparison.verdict.split(':')[0]} (firth)",
        "eyebrow": facts.get("subject") or "firth: does pre-training pay on this data?",
        "tone": tone(comparison),
        "verdict": comparison.verdict,
        "sentences": comparison.sentences,
        "budgets": [budget(comparison, labels) for labels in comparison.budgets],
        "efficiency": efficiency(comparison),
        "pretraining": pretraining(facts.get("pretraining") or []),
        "fills": [fill(one) for one in facts.get("fills") or []],
        "confusions": confusions(comparison),
        "mistakes": comparison.mistakes(comparison.main, comparison.budgets[-1]),
        "method": method(comparison),
        "fact_lists": fact_lists(facts),
        "command": facts.get("command"),
    }


def tone(comparison: Comparison) -> str:
    """good, bad or open, as the headline is."""
    difference = comparison.difference(comparison.main, comparison.compared[0], comparison.budgets[0])
    return {"better": "good", "worse": "bad"}.get(finding(difference), "open")


def budget(comparison: Comparison, labels: int) -> dict[str, Any]:
    """Table and charts for one number of labels."""
    about = f"{comparison.amount(labels)}, mean over {seeds_of(comparison)}."
    curves = [
        curve(
            comparison,
            labels,
            "loss",
            f"Validation loss while adapting, {comparison.amount(labels)}",
            "nats per item",
            about,
        ),
        curve(
            comparison,
            labels,
            "accuracy",
            f"Validation accuracy while adapting, {comparison.amount(labels)}",
            "share right",
            about,
        ),
    ]
    charts = [chart for chart in curves if chart] + [accuracies(comparison, labels), differences(comparison, labels)]
    title = f"With {comparison.amount(labels, in_all=True)}"
    told = {"table": table(comparison, labels), "learning": learning(comparison, labels)}
    return {"title": title, "labels": labels, "charts": charts, **told}


def learning(comparison: Comparison, labels: int) -> str:
    """Where the main arm and its first rival begin, and how soon the one is as good as the other ever is."""
    main, rival = comparison.main, comparison.compared[0]
    openings, best = [comparison.opening(arm, labels) for arm in (main, rival)], comparison.best(rival, labels)
    if None in openings or best is None:
        return ""
    own, other = (f"{one.mean:.3f}" for one in openings if one)
    title, step = within(comparison.titles[rival]), comparison.reaches(main, rival, labels)
    soon = f"after {step:,} steps" if step is not None else "at no step"
    lowest = f"the lowest validation loss of {title} ({best.loss:.3f}, at step {best.step:,})"
    return (
        f"{comparison.titles[main]} begins with a training loss of {own}, {title} with {other} (mean of the first "
        f"{OPENING} steps); {lowest} is reached {soon}."
    )


def seeds_of(comparison: Comparison) -> str:
    """1 seed, 3 seeds"""
    number = len(comparison.seeds)
    return f"{number} seed" + "s" * (number != 1)


def curve(comparison: Comparison, labels: int, name: str, title: str, unit: str, about: str) -> dict[str, Any] | None:
    """Mean over seeds as a line, each seed faint behind it."""
    lines = []
    for style, (arm, arm_title) in enumerate(comparison.titles.items()):
        points = comparison.mean_curve(arm, labels)
        if points and not isnan(getattr(points[0], name)):
            faint = [_xy(trial.curve, name) for trial in comparison.of(arm, labels)]
            lines.append(Line(arm_title, style, *_xy(points, name), faint))
    return line_chart(lines, title, "step", unit, name == "accuracy", about) if lines else None


def metric_of(comparison: Comparison) -> str:
    """accuracy, F1, exact match, … as people write it."""
    name = comparison.metric.replace("_", " ")
    return {"f1": "F1", "micro f1": "micro F1", "pearson": "Pearson's correlation"}.get(name, name)


def capital(text: str) -> str:
    """The text with a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def accuracies(comparison: Comparison, labels: int) -> dict[str, Any]:
    """Test accuracy of every arm with its interval, a dot for each seed."""
    rows = []
    for style, (arm, title) in enumerate(comparison.titles.items()):
        if trials := comparison.of(arm, labels):
            found = comparison.accuracy(arm, labels)
            dots = [comparison.score(trial) for trial in trials]
            rows.append(Row(title, style, found.mean, found.low, found.high, dots))
    size, metric = f"{len(comparison.gold):,} test items", metric_of(comparison)
    title = f"{capital(metric)} on {size}, {comparison.amount(labels)}"
    return interval_chart(rows, title, f"{metric}, 95 % interval, a dot a seed")


def differences(comparison: Comparison, labels: int) -> dict[str, Any]:
    """The main arm less each rival, paired; the interval is what the verdict reads."""
    styles, main = list(comparison.titles), comparison.titles[comparison.main]
    rows = []
    for rival in comparison.compared:
        found = comparison.difference(comparison.main, rival, labels)
        right = comparison.scores(comparison.main, labels), comparison.scores(rival, labels)
        dots = (right[0] - right[1]).tolist() if len(right[0]) == len(right[1]) else []
        rows.append(
            Row(f"over {comparison.titles[rival]}", styles.index(rival), found.mean, found.low, found.high, dots)
        )
    return interval_chart(
        rows,
        f"{main}: points gained, {comparison.amount(labels)}",
        f"points of {metric_of(comparison)}, paired",
        zero=True,
    )


def efficiency(comparison: Comparison) -> dict[str, Any] | None:
    """Accuracy against the number of labels, where there are several."""
    if len(comparison.budgets) < 2:
        return None
    lines, metric = [], metric_of(comparison)
    for style, (arm, title) in enumerate(comparison.titles.items()):
        budgets = [labels for labels in comparison.budgets if comparison.of(arm, labels)]
        found = [comparison.accuracy(arm, labels) for labels in budgets]
        means, lows, highs = ([getattr(one, key) for one in found] for key in ("mean", "low", "high"))
        lines.append(Line(title, style, [*map(comparison.placed, budgets)], means, low=lows, high=highs))
    unit = f"{metric}, 95 % interval"
    return line_chart(
        lines,
        f"{capital(metric)} against labels",
        "labels of each class" if comparison.by_class else "labels in all",
        unit,
        percent=True,
    )


def table(comparison: Comparison, labels: int) -> dict[str, Any]:
    """A row per arm."""
    head = [
        "start",
        f"test {metric_of(comparison)}",
        "95 % interval",
        "pre-trained is",
        "mean validation loss",
        "seconds a seed",
    ]
    head[3] = f"{within(comparison.titles[comparison.main])} gains"
    arms = [arm for arm in comparison.titles if comparison.of(arm, labels)]
    return {"head": head, "rows": [_row(comparison, arm, labels) for arm in arms]}


def _row(comparison: Comparison, arm: str, labels: int) -> list[str]:
    found, area = comparison.accuracy(arm, labels), comparison.area(arm, labels)
    seconds = sum(trial.seconds for trial in comparison.of(arm, labels)) / found.seeds
    gain = "" if arm == comparison.main else gained(comparison.difference(comparison.main, arm, labels))
    ends = f"{100 * found.low:.1f} % to {100 * found.high:.1f} %" if found.seeds > 1 else "–"
    mean_loss = f"{area.mean:.3f}" if area else "–"
    return [comparison.titles[arm], f"{100 * found.mean:.1f} %", ends, gain, mean_loss, f"{seconds:.1f}"]


def gained(difference: Interval) -> str:
    """+7.1 points (+4.0 to +10.2)"""
    if difference.seeds < FEWEST_SEEDS:
        return f"{signed(difference.mean)} points (too few seeds)"
    return f"{signed(difference.mean)} points ({signed(difference.low)} to {signed(difference.high)})"


def pretraining(rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Held-out loss and accuracy of the pre-training. rows: step, loss, accuracy."""
    units = {"loss": "nats per masked token", "accuracy": "share right at first guess"}
    charts = []
    for name, unit in units.items():
        known = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if len(known) > 1:
            line = Line(f"Held-out {name}", 2, *zip(*known, strict=True))
            charts.append(line_chart([line], f"Held-out {name} while pre-training", "step", unit, name == "accuracy"))
    return charts


def fill(one: dict[str, Any]) -> dict[str, Any]:
    """A sentence around its blank, and the guesses: {text, guesses: [(word, probability)], truth}."""
    before, _, after = str(one["text"]).partition("[MASK]")
    guesses = [
        {"word": word, "share": f"{share:.3f}", "percent": f"{100 * share:.0f} %"} for word, share in one["guesses"]
    ]
    return {"before": before, "after": after, "guesses": guesses, "truth": one.get("truth", "")}


def confusions(comparison: Comparison) -> list[dict[str, Any]]:
    """Of the main arm and its first rival, at the most labels, counts over all seeds."""
    if not 0 < len(comparison.confused) <= told.FEW_CLASSES:
        return []
    labels = comparison.budgets[-1]
    arms = [comparison.main, comparison.compared[0]]
    return [
        told.confusion(
            comparison.confusion(arm, labels).tolist(),
            comparison.confused,
            f"{comparison.titles[arm]}, {comparison.amount(labels)}, all seeds",
        )
        for arm in arms
    ]


def method(comparison: Comparison) -> list[str]:
    """How the numbers came about, in sentences."""
    return [
        f"Every arm was adapted with {seeds_of(comparison)}. A seed draws labels, initialisation and order, the same "
        "for all arms; model, steps and settings are equal, only where the weights begin differs. "
        f"{counted(comparison)} All arms are scored on the same {len(comparison.gold):,} test items.",
        "The intervals are at 95 %: the paired t interval over seeds, widened by the variance over bootstrap resamples "
        "of the test items (the two variances add). A verdict needs at least "
        f"{FEWEST_SEEDS} seeds; an interval that contains zero shows nothing.",
        *([SEVERAL] if comparison.facts.get("models") else []),
        *(comparison.facts.get("notes") or []),
    ]


def counted(comparison: Comparison) -> str:
    """What a number of labels is."""
    if comparison.by_class:
        return "A number of labels is that of each class, validation included."
    return "A number of labels holds all labels that were used, validation included."


def fact_lists(facts) -> list[tuple[str, list[tuple[str, str]]]]:
    """Data, settings, models where they are several, cost, versions."""
    lists = [(name.capitalize(), told.pairs(facts.get(name))) for name in ("data", "settings", "models")]
    if facts.get("cost"):
        lists.append(("Cost", told.cost(facts["cost"], facts.get("cores", 1))))
    lists.append(
        ("Versions and machine", told.pairs({**(facts.get("versions") or {}), **(facts.get("machine") or {})}))
    )
    return [(title, found) for title, found in lists if found]


def _xy(points, name: str) -> tuple[list[int], list[float]]:
    return [point.step for point in points], [getattr(point, name) for point in points]
