"""The plot: everything inside its frame, nothing invented where a release has no value."""

from __future__ import annotations

import itertools
import re

import pytest

from distributor.site.plot import Series, plot, sparkline


@pytest.mark.parametrize("count", [1, 2, 3, 24, 200])
def test_everything_lies_inside(count: int) -> None:
    names = [f"1.{number}" for number in range(count)]
    values = [1000 * (number % 7) + 5 for number in range(count)]
    drawing = plot(names, [Series(name="a", values=values)], width=380, height=280)
    (line,) = drawing.lines
    assert len(line.points) == count
    assert all(drawing.left <= point.x <= drawing.right for point in line.points)
    assert all(drawing.top <= point.y <= drawing.bottom for point in line.points)
    assert all(drawing.top <= y <= drawing.bottom for y, _ in drawing.ticks)
    assert drawing.labels[-1][1] == names[-1]
    places = [x for x, _, _ in drawing.labels]
    assert places == sorted(places)
    assert all(after - before > 60 for before, after in itertools.pairwise(places))


def test_larger_is_higher_and_zero_is_the_floor() -> None:
    drawing = plot(["1", "2", "3"], [Series(name="a", values=[0, 50, 100])], width=400, height=200)
    floor, middle, top = (point.y for point in drawing.lines[0].points)
    assert floor == drawing.bottom
    assert floor > middle > top


def test_a_release_without_a_value_has_no_point() -> None:
    drawing = plot(["1", "2", "3"], [Series(name="a", values=[10, None, 30])], width=400, height=200)
    assert [point.text for point in drawing.lines[0].points] == ["1: 10 B", "3: 30 B"]
    nothing = plot(["1"], [Series(name="a", values=[None])], width=400, height=200)
    assert nothing.lines[0].path == ""
    assert plot([], [], width=400, height=200).labels == ()


def test_sparklines() -> None:
    assert sparkline([None, 5]) == ""
    numbers = [float(text) for text in re.findall(r"[\d.]+", sparkline([5, None, 9, 9, 1]))]
    assert len(numbers) == 8
    assert all(0 <= x <= 120 for x in numbers[::2])
    assert all(0 <= y <= 28 for y in numbers[1::2])


def test_a_legend_follows_the_ends_of_the_lines_and_colours_stay() -> None:
    series = [Series(name="low", values=[9, 1]), Series(name="none", values=[None, None])]
    series.append(Series(name="high", values=[1, 9]))
    lines = plot(["1", "2"], series, width=400, height=200).lines
    assert [(line.name, line.number) for line in lines] == [("low", 0), ("none", 1), ("high", 2)]
    assert [line.name for line in sorted(lines, key=lambda line: line.rank)] == ["high", "low", "none"]


def test_labels_are_evenly_spread() -> None:
    names = [f"2026.1.{number}" for number in range(200)]
    places = [x for x, _, _ in plot(names, [], width=1100, height=300).labels]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert max(gaps) - min(gaps) < 11  # two releases
