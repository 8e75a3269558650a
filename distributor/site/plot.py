"""Sizes over releases as a drawing: inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manifests.console import size

_TICKS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A line of the plot: its name, and a value in bytes for each release (None: not in it)."""

    name: str
    values: Sequence[int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A value's place, and what it says to who points at it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A series as it is drawn: path data of the line and of the area below it, and its points.

    *number* counts the series; a legend in the order of *rank* names them as they end, from the top.
    """

    name: str
    number: int
    rank: float
    path: str
    area: str
    points: tuple[Point, ...]
    end: Point | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Everything of a drawing, in units of its view box."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    labels: tuple[tuple[float, str, str], ...]


def plot(names: Sequence[str], series: Sequence[Series], *, width: int, height: int) -> Plot:
    """Return *series* over the releases *names* as a drawing of *width* times *height*."""
    left, right, top, bottom = 70, width - 14, 16, height - 34
    largest = max((value or 0 for item in series for value in item.values), default=0)
    step = _nice_step(largest)
    ceiling = max(step * math.ceil(largest / step), step)

    def x_of(index: int) -> float:
        return left + (right - left) * (index / (len(names) - 1) if len(names) > 1 else 0.5)

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * value / ceiling

    lines = []
    for number, item in enumerate(series):
        points = tuple(
            Point(x=round(x_of(index), 1), y=round(y_of(value), 1), text=f"{names[index]}: {size(value)}")
            for index, value in enumerate(item.values)
            if value is not None
        )
        path = " ".join(f"{'L' if count else 'M'}{point.x} {point.y}" for count, point in enumerate(points))
        area = f"{path} L{points[-1].x} {bottom} L{points[0].x} {bottom} Z" if points else ""
        end = points[-1] if points else None
        rank = end.y if end else math.inf
        lines.append(
            Line(name=item.name, number=number, rank=rank, path=path, area=area, points=points, end=end)
        )
    return Plot(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        lines=tuple(lines),
        ticks=tuple((round(y_of(value), 1), _tick(int(value))) for value in _multiples(step, ceiling)),
        labels=tuple(_labels(names, x_of, (right - left) // 110)),
    )


def sparkline(values: Sequence[int | None], *, width: int = 120, height: int = 28) -> str:
    """Return path data of *values* without axes; "" for fewer than two."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1
    points: list[str] = []
    for index, value in enumerate(values):
        if value is not None:
            x = 2 + (width - 4) * index / (len(values) - 1)
            y = height / 2 if high == low else height - 3 - (height - 6) * (value - low) / span
            points.append(f"{'L' if points else 'M'}{x:.1f} {y:.1f}")
    return " ".join(points)


def _tick(value: int) -> str:
    """Return *value* as an axis names it: without the zeros that only exact sizes need."""
    number, _, unit = size(value).partition(" ")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {unit}" if value else "0"


def _nice_step(largest: int) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, of which a few reach *largest*."""
    raw = max(largest, 1) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)


def _multiples(step: float, ceiling: float) -> list[float]:
    return [step * number for number in range(round(ceiling / step) + 1)]


def _labels(names: Sequence[str], x_of: Callable[[int], float], room: int) -> list[tuple[float, str, str]]:
    """Return a few of *names* with their places: the first, the last, and some between."""
    if not names:
        return []
    last = len(names) - 1
    steps = max(1, min(room, last))
    chosen = sorted({round(last * step / steps) for step in range(steps + 1)})
    places = {0: "start", last: "end"} if last else {}
    return [(round(x_of(index), 1), names[index], places.get(index, "middle")) for index in chosen]
