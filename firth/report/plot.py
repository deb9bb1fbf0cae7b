"""Curves drawn with characters, for a terminal or a log."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

MARKS = "o*x+#@"  # one a curve; later curves are drawn over earlier ones
COLOURS = ("yellow", "cyan", "green", "magenta", "blue", "red")


class Curve(NamedTuple):
    """A line through points (x, y), x ascending."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Drawing(NamedTuple):
    """Lines of text without their axis; `marks[row][column]` is the number of the curve there, or -1."""

    marks: list[list[int]]
    low: float
    high: float
    begin: float
    end: float


def draw(curves: Sequence[Curve], width: int = 60, height: int = 12) -> Drawing:
    """Curves on one grid, scaled to hold all of them."""
    ys = [y for curve in curves for y in curve.y if math.isfinite(y)] or [0.0]
    xs = [x for curve in curves for x in curve.x] or [0.0]
    low, high, begin, end = min(ys), max(ys), min(xs), max(xs)
    grid = [[-1] * width for _ in range(height)]
    for number, curve in enumerate(curves):
        for column in range(width):
            x = begin + (end - begin) * column / (width - 1)
            y = at(curve, x)
            if y is not None:
                grid[_row(y, low, high, height)][column] = number
    return Drawing(grid, low, high, begin, end)


def at(curve: Curve, x: float) -> float | None:
    """Height of the curve at x, on straight lines between its points; None beyond them."""
    points = [(a, b) for a, b in zip(curve.x, curve.y, strict=True) if math.isfinite(b)]
    if not points or not points[0][0] <= x <= points[-1][0]:
        return None
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x <= x1:
            return y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[0][1]


def lines(
    curves: Sequence[Curve], title: str, unit: str, width: int = 60, height: int = 12, coloured: bool = False
) -> list[str]:
    """The whole drawing with title, both axes and a legend. coloured: with rich's markup."""
    drawing = draw(curves, width, height)
    paint = _painted if coloured else _plain
    rows = [
        f"{_label(drawing, row, height):>9} ┤" + "".join(paint(MARKS[n % 6], n) if n >= 0 else " " for n in marks)
        for row, marks in enumerate(drawing.marks)
    ]
    first, last = f"{drawing.begin:,.0f}", f"{drawing.end:,.0f} {unit}"
    axis = [" " * 10 + "└" + "─" * width, " " * 11 + first + last.rjust(width - len(first))]
    legend = "   ".join(paint(f"{MARKS[n % 6]} {curve.name}", n) for n, curve in enumerate(curves))
    return [f"{'':11}{title}", *rows, *axis, f"{'':11}{legend}"]


def _row(y: float, low: float, high: float, height: int) -> int:
    return round((high - y) / (high - low) * (height - 1)) if high > low else height // 2


def _label(drawing: Drawing, row: int, height: int) -> str:
    """The value at every third row."""
    if row % 3 and row != height - 1:
        return ""
    return f"{drawing.high - (drawing.high - drawing.low) * row / (height - 1):.3f}"


def _painted(text: str, number: int) -> str:
    return f"[{COLOURS[number % 6]}]{text}[/]"


def _plain(text: str, number: int) -> str:
    return text
