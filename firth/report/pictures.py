"""What a run leaves to look at: pictures as data in the page, the map of the held-out part, curves of its vectors."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firth.report.charts import HEIGHT, WIDTH, Line, Scale, line_chart

MARGIN = 14  # of a map, in the units of the view box
LARGEST = 4_000_000  # bytes of a picture that goes into the page
STEPS = 4  # pictures of one kind that are shown, of those made along the way
NAMED = 6  # classes that have a mark of their own on the map
KNOWN = {  # what a picture of that name shows
    "neighbours": "Left, a held-out sample; then the training samples nearest to it by the cosine of their vectors.",
    "views": "Left, a sample; then views of it as the run was trained on.",
}
CURVES = {  # title and unit of what is read off the vectors
    "rank": ("Rank of the vectors", "directions"),
    "spread": ("Spread of the vectors", "0: all alike, 1: evenly spread"),
    "uniformity": ("Uniformity of the vectors", "lower is more even"),
    "neighbour_accuracy": ("Nearest neighbours", "share right"),
}


def of(folder: Path) -> list[dict[str, str]]:
    """The PNG files of samples/, by name; of those that were made at many steps a few."""
    paths = [path for path in folder.glob("*.png") if path.stat().st_size <= LARGEST] if folder.is_dir() else []
    named: dict[str, list[Path]] = {}
    for path in sorted(paths, key=lambda path: (series(path), step_of(path))):
        named.setdefault(series(path), []).append(path)
    return [picture(path) for group in named.values() for path in few(group)]


def series(path: Path) -> str:
    """step-40.png → step"""
    return re.sub(r"-?\d+$", "", path.stem)


def step_of(path: Path) -> int:
    found = re.search(r"\d+$", path.stem)
    return int(found.group()) if found else 0


def few(paths: list[Path]) -> list[Path]:
    """At most STEPS of them, the first and the last among them."""
    if len(paths) <= STEPS:
        return paths
    return [paths[round(i * (len(paths) - 1) / (STEPS - 1))] for i in range(STEPS)]


def picture(path: Path) -> dict[str, str]:
    """Title, text and data of a picture."""
    title = path.stem.replace("-", " ").replace("_", " ").capitalize()
    data = b64encode(path.read_bytes()).decode("ascii")
    return {"title": title, "about": KNOWN.get(path.stem, title), "uri": f"data:image/png;base64,{data}"}


def curves(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A chart for each thing read off the vectors: those of the encoder, and those that the loss compares."""
    read = [(row["step"], row["vectors"]) for row in rows if row.get("vectors")]
    return [one for name, (title, unit) in CURVES.items() if (one := curve(read, name, title, unit))]


def curve(read: list[tuple[int, dict[str, float]]], name: str, title: str, unit: str) -> dict[str, Any] | None:
    lines = []
    for style, prefix, called in ((2, "", "encoder"), (1, "compared_", "what the loss compares")):
        points = [(step, reading[prefix + name]) for step, reading in read if prefix + name in reading]
        if len(points) > 1:
            lines.append(Line(called, style, *zip(*points, strict=True)))
    return line_chart(lines, title, "step", unit, percent=name.endswith("accuracy")) if lines else None


def map_of(folder: Path, classes: Sequence[str] = ()) -> dict[str, Any] | None:
    """map.json of samples/ as a chart; None where there is none."""
    path = folder / "map.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    points, labels = found["points"], found["labels"]
    across = Scale(*ends([x for x, _ in points]), MARGIN, WIDTH - MARGIN)
    up = Scale(*ends([y for _, y in points]), HEIGHT - MARGIN, MARGIN)
    names = [name_of(label, classes) for label in labels]
    dots: list[dict[str, Any]] = [
        {"x": across(x), "y": up(y), "style": style_of(label), "tip": name, "name": name}
        for (x, y), label, name in zip(points, labels, names, strict=True)
    ]
    shares = " and ".join(f"{100 * share:.0f} %" for share in found["shares"])
    about = f"Map of {len(points):,} held-out samples: the two directions of most variance, which hold {shares} of it."
    legend = {dot["style"]: dot["name"] for dot in dots if 0 < dot["style"] < NAMED}
    return {
        "title": f"Map of held-out samples ({shares} of the variance)",
        "width": WIDTH,
        "height": HEIGHT,
        "dots": dots,
        "about": about,
        "legend": sorted(legend.items()),
    }


def ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def style_of(label: int | None) -> int:
    """A mark for each of the first classes; the others, and samples without one, share the first mark."""
    return label + 1 if label is not None and label + 1 < NAMED else 0


def name_of(label: int | None, classes: Sequence[str]) -> str:
    if label is None:
        return "sample"
    return classes[label] if label < len(classes) else f"class {label + 1}"
