"""Loss against steps, pre-trained against random initialisation: the figure and the table of docs/results.md.

    python benchmarks/curves.py "SST-2=runs/sst2/comparison.json" "Tags=runs/upos/comparison.json" … --out curves.svg

Reads what `firth compare` keeps. The figure shows the validation loss, the mean over seeds, each seed faint behind it.
The table: the mean training loss of the first 20 steps of both, and the step at which the validation loss of the
pre-trained arm is first as low as that of random initialisation ever is. Both are looked at where they were validated.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from firth.report.charts import Line, line_chart

# S seeds

ARMS = {"random": "random initialisation", "pretrained": "pre-trained"}
COLOURS = {"random": "#c2730a", "pretrained": "#1f62c9"}
ACROSS, GAP, HEAD, LEGEND = 2, 24, 26, 34  # charts in a row; units between charts; of a title; of the legend
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#3c434e}.title{font-weight:600;font-size:15px}"
    ".grid{stroke:#e2e4e8}.line{fill:none;stroke-width:2.2}.faint{fill:none;stroke-width:1;opacity:.35}"
)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="+", metavar="NAME=FILE", help="comparison.json of each task")
    parser.add_argument("--out", type=Path, help="the figure, .svg")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def read(text: str) -> tuple[str, dict[str, Any]]:
    """NAME=FILE → the name and the comparison, at its most labels."""
    name, equals, path = text.partition("=")
    if not equals:
        raise SystemExit(f"curves.py: `{text}` names no file. Write NAME=FILE, as in SST-2=runs/sst2/comparison.json.")
    return name, json.loads(Path(path).read_text(encoding="utf-8"))


def curves(found: dict[str, Any], arm: str) -> tuple[list[int], np.ndarray]:
    """(steps, (S, steps) validation loss by seed) of an arm."""
    own = [one for one in found["curves"] if one["arm"] == arm and one["labels"] == found["budgets"][-1]]
    common = sorted(set.intersection(*(set(one["steps"]) for one in own))) if own else []
    return common, np.array([[dict(zip(one["steps"], one["loss"], strict=True))[s] for s in common] for one in own])


def row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """The numbers of one task."""
    labels = found["budgets"][-1]
    arms = {one["arm"]: one for one in found["arms"] if one["labels"] == labels}
    difference = next(one for one in found["differences"] if one["labels"] == labels and one["against"] == "random")
    step, loss = arms["random"]["lowest_loss"]
    return {"task": name, "labels": labels, "seeds": len(found["seeds"]),
            "opening": {arm: arms[arm]["opening_loss"] for arm in ARMS}, "random_best": loss, "random_best_step": step,
            "pretrained_reaches": difference["steps_to_its_lowest_loss"],
            "pretrained_best": arms["pretrained"]["lowest_loss"][1]}  # fmt: skip


TABLE = (
    "| task | labels | first 20 steps: random | pre-trained | random's lowest validation loss | at step | "
    "pre-trained is there at step | its own lowest |\n" + "|---" * 8 + "|"
)


def line(one: dict[str, Any]) -> str:
    first, second = (f"{one['opening'][arm]:.3f}" for arm in ARMS)
    reached = "never" if one["pretrained_reaches"] is None else f"{one['pretrained_reaches']:,}"
    cells = [one["task"], f"{one['labels']:,}", first, second, f"{one['random_best']:.3f}",
             f"{one['random_best_step']:,}", reached, f"{one['pretrained_best']:.3f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


# ------------------------------------------------------------------ the figure


def chart(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Where everything stands, as the reports place it."""
    lines = []
    for style, arm in enumerate(ARMS):
        steps, losses = curves(found, arm)
        if len(steps):
            lines.append(Line(arm, style, steps, losses.mean(0).tolist(), [(steps, one.tolist()) for one in losses]))
    return line_chart(lines, name, "step", "validation loss (nats)")


def drawn(one: dict[str, Any], left: float, top: float) -> list[str]:
    """One chart as SVG."""
    frame, parts = one["frame"], [f'<g transform="translate({left:g} {top:g})">']
    parts.append(f'<text class="title" x="{frame["left"]}" y="0">{escaped(one["title"])}</text>')
    for at, text in one["x"]["ticks"]:
        parts.append(f'<path class="grid" d="M{at} {frame["top"]}V{frame["bottom"]}"/>')
        parts.append(f'<text x="{at}" y="{frame["bottom"] + 17}" text-anchor="middle">{escaped(text)}</text>')
    for at, text in one["y"]["ticks"]:
        parts.append(f'<path class="grid" d="M{frame["left"]} {at}H{frame["right"]}"/>')
        parts.append(f'<text x="{frame["left"] - 7}" y="{at + 4}" text-anchor="end">{escaped(text)}</text>')
    middle = (frame["left"] + frame["right"]) / 2
    parts.append(
        f'<text x="{middle:g}" y="{one["height"] - 6}" text-anchor="middle">{escaped(one["x"]["label"])}</text>'
    )
    for each in one["lines"]:
        colour = COLOURS[each["name"]]
        parts += [f'<path class="faint" stroke="{colour}" d="{other}"/>' for other in each["faint"]]
    for each in one["lines"]:
        parts.append(f'<path class="line" stroke="{COLOURS[each["name"]]}" d="{each["path"]}"/>')
    return [*parts, "</g>"]


def legend() -> list[str]:
    parts = []
    for number, (arm, title) in enumerate(ARMS.items()):
        at = 56 + 200 * number
        parts.append(f'<path class="line" stroke="{COLOURS[arm]}" d="M{at} 16h30"/>')
        parts.append(f'<text x="{at + 38}" y="20">{title}</text>')
    return [*parts, f'<text x="{56 + 200 * len(ARMS)}" y="20">validation loss in nats, a thin line a seed</text>']


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def figure(charts: Sequence[dict[str, Any]]) -> str:
    """All charts in rows of two, as one SVG file; what cannot be seen is told in words."""
    width, height = charts[0]["width"] + GAP, charts[0]["height"] + HEAD + GAP
    down = -(-len(charts) // ACROSS)
    size = f"{width * min(ACROSS, len(charts))} {height * down + LEGEND}"
    about = " ".join(f"{one['title']}: {one['about']}" for one in charts)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">',
             "<title>Loss against steps</title>", f"<desc>{escaped(about)}</desc>", f"<style>{STYLE}</style>",
             '<rect width="100%" height="100%" fill="#fff"/>', *legend()]  # fmt: skip
    for number, one in enumerate(charts):
        place = divmod(number, ACROSS)
        parts += drawn(one, width * place[1], height * place[0] + LEGEND + HEAD)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    given = options()
    found = dict(map(read, given.comparisons))
    if given.out:
        given.out.write_text(figure([chart(name, one) for name, one in found.items()]), encoding="utf-8")
    rows = [row(name, one) for name, one in found.items()]
    print(json.dumps(rows) if given.json else "\n".join([TABLE, *map(line, rows)]))


if __name__ == "__main__":
    main()
