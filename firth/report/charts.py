"""Where everything in a chart stands; templates/charts.html draws it as inline SVG.

Coordinates are in the units of the view box (WIDTH across), y downwards. A chart is a mapping: numbers are placed and
written out here, names are left as they are, and the template escapes them.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 44  # margins of a chart with two axes
ROW = 46  # height of a row in a chart of intervals
MARKS = 24  # points of a line up to which each gets a mark


class Line(NamedTuple):
    """Points (x, y), x ascending. style: number of the colour, dash and mark. faint: other lines of its kind, thin."""

    name: str
    style: int
    x: Sequence[float]
    y: Sequence[float]
    faint: Sequence[tuple[Sequence[float], Sequence[float]]] = ()
    low: Sequence[float] | None = None  # ends of the interval at each point
    high: Sequence[float] | None = None


class Row(NamedTuple):
    """A value with its interval, and the single values it is the mean of."""

    name: str
    style: int
    mean: float
    low: float
    high: float
    dots: Sequence[float] = ()


class Scale(NamedTuple):
    """A linear map of [low, high] onto [begin, end]."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return round(self.begin + (value - self.low) / span * (self.end - self.begin), 1)


def line_chart(
    lines: Sequence[Line], title: str, x_label: str, y_label: str, percent: bool = False, about: str = ""
) -> dict[str, Any]:
    """Lines over two axes with units. percent: values are shares. about: what the chart is of, for the ear."""
    across, up, x_ticks, y_ticks = _scales(lines, percent)
    return {
        "kind": "lines",
        "title": title,
        "about": f"{about} {describe_lines(lines, percent)}".strip(),
        "width": WIDTH,
        "height": HEIGHT,
        "frame": {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM},
        "x": {"label": x_label, "ticks": [(across(t), write(t)) for t in x_ticks]},
        "y": {"label": y_label, "ticks": [(up(t), write_value(t, percent, y_ticks)) for t in y_ticks]},
        "lines": [_drawn(line, across, up) for line in lines],
        "columns": _columns(lines, across, percent, x_label),
        "table": _table(lines, x_label, percent),
    }


def interval_chart(
    rows: Sequence[Row], title: str, x_label: str, percent: bool = True, zero: bool = False, about: str = ""
) -> dict[str, Any]:
    """A row per value: its interval as a bar, its mean as a mark, single values as dots. zero: draw that line."""
    values = [v for row in rows for v in (row.mean, row.low, row.high, *row.dots) if math.isfinite(v)] + [0.0] * zero
    low, high = _padded(values)
    ticks = ticks_of(low, high, 5)
    across = Scale(low, high, 8, WIDTH - 8)
    height = ROW * len(rows) + BOTTOM
    return {
        "kind": "intervals",
        "title": title,
        "about": f"{about} {' '.join(f'{row.name}: {read_row(row, percent, zero)}.' for row in rows)}".strip(),
        "width": WIDTH,
        "height": height,
        "frame": {"left": 8, "right": WIDTH - 8, "top": 0, "bottom": height - BOTTOM},
        "x": {"label": x_label, "ticks": [(across(t), write_value(t, percent, ticks, zero)) for t in ticks]},
        "zero": across(0.0) if zero else None,
        "rows": [_placed(row, i, across, percent, zero) for i, row in enumerate(rows)],
        "table": {
            "head": ["", x_label, "95 % interval", "each"],
            "rows": [_row_cells(row, percent, zero) for row in rows],
        },
    }


def ticks_of(low: float, high: float, about: int) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) within [low, high], about so many."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def write(value: float) -> str:
    """1,200 · 0.25 · −3"""
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"
    return text.replace("-", "−")


def write_value(value: float, percent: bool, ticks: Sequence[float] = (), signed: bool = False) -> str:
    """A share as percent; else three digits after the point, or as many as the ticks need."""
    gap = min((b - a for a, b in pairwise(ticks)), default=0.0) * (100 if percent else 1)
    places = max(0, -math.floor(math.log10(gap) + 1e-9)) if gap > 0 else (1 if percent else 3)
    number = 100 * value if percent else value
    sign = "+" if signed and round(number, places) > 0 else ""
    unit = " %" if percent and not signed else ""
    return f"{sign}{number:,.{places}f}".replace("-", "−") + unit


def read_row(row: Row, percent: bool, signed: bool) -> str:
    """75.3 % (73.0 % to 77.6 %)"""
    mean, low, high = (write_value(v, percent, signed=signed) for v in (row.mean, row.low, row.high))
    return f"{mean} ({low} to {high})" if math.isfinite(row.low) else mean


def describe_lines(lines: Sequence[Line], percent: bool) -> str:
    """What somebody who cannot see the lines should know: where each begins, ends, and its lowest and highest point."""
    told = []
    for line in lines:
        values = [v for v in line.y if math.isfinite(v)]
        if values:
            first, last, low, high = (
                write_value(v, percent) for v in (values[0], values[-1], min(values), max(values))
            )
            told.append(f"{line.name}: from {first} to {last}, lowest {low}, highest {high}.")
    return " ".join(told)


# ------------------------------------------------------------------ inside


def _scales(lines: Sequence[Line], percent: bool) -> tuple[Scale, Scale, list[float], list[float]]:
    xs = [x for line in lines for x in line.x] or [0.0, 1.0]
    low, high = _padded([v for line in lines for v in _heights(line) if math.isfinite(v)] or [0.0, 1.0])
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = Scale(low, min(high, 1.0) if percent else high, HEIGHT - BOTTOM, TOP)
    return across, up, ticks_of(across.low, across.high, 5), ticks_of(up.low, up.high, 5)


def _heights(line: Line):
    yield from line.y
    yield from (line.low or ())
    yield from (line.high or ())
    for _, ys in line.faint:
        yield from ys


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or abs(high) * 0.05 or 0.5
    return low - room, high + room


def _drawn(line: Line, across: Scale, up: Scale) -> dict[str, Any]:
    points = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    ends = zip(line.x, line.low or (), line.high or (), strict=False)
    return {
        "name": line.name,
        "style": line.style % 6,
        "path": path(points),
        "marks": points if len(points) <= MARKS else [],
        "faint": [
            path([(across(x), up(y)) for x, y in zip(*other, strict=True) if math.isfinite(y)]) for other in line.faint
        ],
        "whiskers": [(across(x), up(a), up(b)) for x, a, b in ends if math.isfinite(a)],
    }


def path(points: Sequence[tuple[float, float]]) -> str:
    """M x y L x y …"""
    return " ".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate(points))


def _columns(lines: Sequence[Line], across: Scale, percent: bool, x_label: str) -> list[dict[str, Any]]:
    """One strip per x, half-way to its neighbours, with what stands there: what hovering shows."""
    xs = sorted({x for line in lines for x in line.x})
    places = [across(x) for x in xs]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(places)), WIDTH - RIGHT]
    return [
        {"at": place, "left": round(a, 1), "width": round(b - a, 1), "head": f"{x_label}: {write(x)}", "values": found}
        for x, place, (a, b) in zip(xs, places, pairwise(edges), strict=False)
        if (found := _values_at(lines, x, percent))
    ]


def _values_at(lines: Sequence[Line], x: float, percent: bool) -> list[tuple[int, str, str]]:
    found = [(line, line.y[list(line.x).index(x)]) for line in lines if x in line.x]
    return [(line.style % 6, line.name, write_value(y, percent)) for line, y in found if math.isfinite(y)]


def _table(lines: Sequence[Line], x_label: str, percent: bool, most: int = 40) -> dict[str, Any]:
    """The numbers behind the lines; of long ones an even choice."""
    xs = sorted({x for line in lines for x in line.x})
    xs = xs if len(xs) <= most else [xs[round(i * (len(xs) - 1) / (most - 1))] for i in range(most)]
    lookups = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    rows = [[write(x), *(write_value(known[x], percent) if x in known else "" for known in lookups)] for x in xs]
    return {"head": [x_label, *(line.name for line in lines)], "rows": rows}


def _placed(row: Row, number: int, across: Scale, percent: bool, signed: bool) -> dict[str, Any]:
    return {
        "name": row.name,
        "style": row.style % 6,
        "top": ROW * number,
        "middle": ROW * number + 31,
        "mean": across(row.mean),
        "ends": (across(row.low), across(row.high)) if math.isfinite(row.low) else None,
        "dots": [across(dot) for dot in row.dots],
        "text": write_value(row.mean, percent, signed=signed),
        "tip": read_row(row, percent, signed),
    }


def _row_cells(row: Row, percent: bool, signed: bool) -> list[str]:
    ends = f"{write_value(row.low, percent, signed=signed)} to {write_value(row.high, percent, signed=signed)}"
    each = ", ".join(write_value(dot, percent, signed=signed) for dot in row.dots)
    return [row.name, write_value(row.mean, percent, signed=signed), ends if math.isfinite(row.low) else "–", each]
