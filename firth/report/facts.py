"""Facts as people read them: pairs of words, with units."""

from collections.abc import Iterable, Mapping
from typing import Any

from firth.train.describe import duration

FEW_CLASSES = 20  # up to which a confusion matrix is drawn: the 17 parts of speech of UD are
WATTS = 10.0  # assumed for each busy core, memory and power supply included


def pairs(facts: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(name, value) of each fact that is a number, a word, or a short list of them."""
    return [(label(key), text(value)) for key, value in (facts or {}).items() if _shown(value)]


def label(key: str) -> str:
    """exact_duplicates → exact duplicates"""
    return str(key).replace("_", " ")


def text(value: Any) -> str:
    """1,200 · 0.25 · yes · a, b"""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(inner)}" for key, inner in value.items())
    return ", ".join(map(text, value)) if isinstance(value, list | tuple) else str(value)


def cost(parts: Mapping[str, float], cores: int) -> list[tuple[str, str]]:
    """Seconds of each part, their sum, and the energy that many cores take in that time, estimated."""
    total = sum(parts.values())
    energy = total * cores * WATTS / 3600
    assumed = f"about {energy:.2g} Wh, assuming {WATTS:.0f} W for each of {cores} cores"
    return [
        *((label(key), duration(seconds)) for key, seconds in parts.items()),
        ("in all", duration(total)),
        ("energy", assumed),
    ]


def confusion(matrix: Iterable[Iterable[int]], classes: Iterable[str], title: str) -> dict[str, Any]:
    """Counts with their share of the row, for templates/charts.html."""
    classes, rows = list(classes), []
    for i, (name, counts) in enumerate(zip(classes, matrix, strict=True)):
        shares = [count / (sum(counts) or 1) for count in counts]
        cells = [
            {"count": f"{count:,}", "share": f"{share:.3f}", "percent": f"{100 * share:.0f} %", "right": i == j}
            for j, (count, share) in enumerate(zip(counts, shares, strict=True))
        ]
        rows.append({"name": name, "cells": cells})
    return {"title": title, "classes": classes, "rows": rows}


def _shown(value: Any) -> bool:
    return isinstance(value, str | int | float | Mapping) or (isinstance(value, list | tuple) and len(value) <= 20)
