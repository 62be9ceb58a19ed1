"""Figures of the report: data to positions on paper; the templates draw them as inline SVG.

Drawn by hand rather than by a plotting library, so that one figure serves light and dark paper through the page's own
colours, text stays text, and a figure is a few kilobytes of the same bytes every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sysgym.bench import formats
from sysgym.bench.leaderboard import Row, Table
from sysgym.bench.statistics import Interval

WIDTH = 470.0
ROW = 26.0
LEFT, RIGHT, TOP, BOTTOM = 122.0, 14.0, 8.0, 26.0
LINE_LEFT, LINE_WIDTH, LINE_HEIGHT = 58.0, 470.0, 230.0
WIDE_WIDTH = 960.0


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """One row of an interval plot; positions in the figure's units."""

    name: str
    kind: str
    y: float
    low: float
    high: float
    point: float


@dataclass(frozen=True)
class IntervalFigure:
    """Rows with a point and an interval, over one axis.

    Attributes:
        title: What is shown.
        width: Of the figure.
        height: Of the figure.
        bars: The rows.
        ticks: Of the axis.
        reference: Where the value of the best heuristic lies.
    """

    title: str
    width: float
    height: float
    bars: list[Bar]
    ticks: list[Tick]
    reference: float


@dataclass(frozen=True)
class Line:
    """A line: its name, number of its colour, points as SVG writes them, and the outline of its band or ""."""

    name: str
    colour: int
    points: str
    band: str
    shown_in_legend: bool


@dataclass(frozen=True)
class LineFigure:
    """Lines over two axes.

    Attributes:
        title: What is shown.
        x_title: Of the horizontal axis.
        width: Of the figure.
        height: Of the figure.
        lines: The lines.
        x_ticks: Of the horizontal axis.
        y_ticks: Of the vertical axis.
        base: Height of the horizontal axis.
        wide: Whether the figure takes the whole page.
        filled: Whether areas below the lines are tinted.
        dotted: Whether the points of the lines are marked.
    """

    title: str
    x_title: str
    width: float
    height: float
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    base: float
    wide: bool
    filled: bool
    dotted: bool = False


@dataclass(frozen=True)
class Curve:
    """Points of a line, before they are placed; `low` and `high` are the edges of its band, if it has one."""

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Axis:
    """A scale from values to positions.

    Args:
        low: Smallest value.
        high: Largest value.
        begin: Position of the smallest.
        end: Position of the largest.
        log: Whether equal ratios, not equal differences, are equally long; values must be above 0.
    """

    def __init__(self, low: float, high: float, begin: float, end: float, log: bool = False) -> None:
        self._map: Callable[[float], float] = math.log if log else float
        if high <= low:
            low, high = (low / 1.1, high * 1.1) if log else (low - 0.5, high + 0.5)
        self.low, self.high, self.begin, self.end, self.log = low, high, begin, end, log

    def at(self, value: float) -> float:
        """Position of a value, to a tenth of a unit."""
        share = (self._map(value) - self._map(self.low)) / (self._map(self.high) - self._map(self.low))
        return round(self.begin + share * (self.end - self.begin), 1)

    def within(self, value: float) -> float:
        """The same, of the nearer end for what lies beyond the axis."""
        return self.at(min(max(value, self.low), self.high))

    def ticks(self, count: int = 5) -> list[Tick]:
        """Marks at round values, about `count` of them."""
        values = _round_ratios(self.low, self.high) if self.log else _round_steps(self.low, self.high, count)
        marks = [Tick(self.at(value), _short(value)) for value in values]
        return _apart(marks) if self.end > self.begin else marks


def comparison_figure(table: Table) -> IntervalFigure | None:
    """Points of the ratio to the best heuristic (or the difference) with its interval; None without a heuristic."""
    others = [row for row in table.rows if row.difference is not None]
    if not others:
        return None
    ratios = has_ratios(table)
    neutral = 1.0 if ratios else 0.0
    found = [(row, row.ratio if ratios else row.difference) for row in table.rows]
    shown = [interval or Interval(neutral, neutral, neutral) for _, interval in found]
    axis = _axis_of([*shown, Interval(neutral, neutral, neutral)], log=ratios)
    bars = [_bar(row, number, shown[number], axis) for number, (row, _) in enumerate(found)]
    title = (
        "ratio to the best heuristic, paired, 95 % intervals"
        if ratios
        else "difference to the best heuristic, paired, 95 % intervals"
    )
    height = TOP + ROW * len(bars) + BOTTOM
    return IntervalFigure(title, WIDTH, height, bars, axis.ticks(), axis.at(neutral))


def has_ratios(table: Table) -> bool:
    """Whether policies are compared by ratios: where all objectives are above 0."""
    return all(row.ratio is not None for row in table.rows if row.difference is not None)


def line_figure(
    title: str,
    x_title: str,
    curves: Sequence[Curve],
    *,
    wide: bool = False,
    filled: bool = False,
    dotted: bool = False,
    y_range: tuple[float, float] | None = None,
) -> LineFigure | None:
    """Lines over common axes; points that are not finite are left out.

    Args:
        title: What is shown.
        x_title: Of the horizontal axis.
        curves: What is drawn.
        wide: Whether the figure takes the whole page.
        filled: Whether areas are tinted down to 0.
        dotted: Whether the points are marked.
        y_range: Of the vertical axis; None fits it to the curves.

    Returns:
        The figure, or None where no curve has two points.
    """
    finite = [_finite(curve) for curve in curves]
    drawn = [curve for curve in finite if len(curve.x) > 1]
    if not drawn:
        return None
    width = WIDE_WIDTH if wide else LINE_WIDTH
    base = LINE_HEIGHT - BOTTOM - 12
    low = min(min([*curve.y, *curve.low]) for curve in drawn)
    high = max(max([*curve.y, *curve.high]) for curve in drawn)
    low, high = y_range or ((0.0, max(high, 1.0)) if filled else (low, high))
    x = Axis(min(c.x[0] for c in drawn), max(c.x[-1] for c in drawn), LINE_LEFT, width - RIGHT)
    y = Axis(low, high, base, TOP)
    seen: set[int] = set()
    lines = []
    for curve in drawn:
        outline = ""
        if curve.low:
            outline = f"{_points(x, y, curve.x, curve.high)} {_points(x, y, curve.x[::-1], curve.low[::-1])}"
        lines.append(Line(curve.name, curve.colour, _points(x, y, curve.x, curve.y), outline, curve.colour not in seen))
        seen.add(curve.colour)
    ticks = x.ticks(8 if wide else 5), y.ticks(4)
    return LineFigure(title, x_title, width, LINE_HEIGHT, lines, *ticks, base, wide, filled, dotted)


def words(name: str) -> str:
    """A metric's name as words."""
    return name.replace("_", " ")


def _points(x: Axis, y: Axis, across: Sequence[float], up: Sequence[float]) -> str:
    return " ".join(f"{x.at(a):.0f},{y.at(b):g}" for a, b in zip(across, up, strict=True))


def _finite(curve: Curve) -> Curve:
    if curve.low:
        return curve
    kept = [(a, b) for a, b in zip(curve.x, curve.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return Curve(curve.name, curve.colour, [a for a, _ in kept], [b for _, b in kept])


def _axis_of(intervals: Sequence[Interval], *, log: bool) -> Axis:
    low = min(min(interval.low, interval.estimate) for interval in intervals)
    high = max(max(interval.high, interval.estimate) for interval in intervals)
    if log:
        margin = (high / low) ** 0.04
        low, high = low / margin, high * margin
    else:
        margin = 0.04 * (high - low)
        low, high = low - margin, high + margin
    return Axis(low, high, LEFT, WIDTH - RIGHT, log)


def _bar(row: Row, number: int, value: Interval, axis: Axis) -> Bar:
    name = row.policy if len(row.policy) <= 17 else f"{row.policy[:16]}…"
    kind = "best" if row.best_heuristic else row.kind
    y = TOP + ROW * number + ROW / 2
    return Bar(name, kind, y, axis.at(value.low), axis.at(value.high), axis.at(value.estimate))


def _apart(ticks: list[Tick]) -> list[Tick]:
    """Ticks of a horizontal axis whose labels do not touch: every second is left out, 0 or 1 never, until they fit."""
    while any(b.at - a.at < 3.4 * (len(a.label) + len(b.label)) + 4 for a, b in pairwise(ticks)):
        places = [number for number, tick in enumerate(ticks) if tick.label in ("0", "1")]
        ticks = ticks[places[0] % 2 if places else 0 :: 2]
    return ticks


def _round_steps(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / max(1, count)
    size = 10.0 ** math.floor(math.log10(rough))
    step = size * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _round_ratios(low: float, high: float) -> list[float]:
    """Round values for a scale of ratios, of the coarsest kind that still gives three."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            return inside
    return _round_steps(low, high, 6)


def _short(value: float) -> str:
    return formats.count(value) if abs(value) >= 10_000 else formats.number(value, 4, trim=True)
