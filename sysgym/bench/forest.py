"""Forest plots in tables: a dot and its interval in each row, under one axis, and strips of dots for a whole table.

Values beyond the axis are drawn as an arrow at its end, since one bad policy must not squeeze all others together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sysgym.bench import formats
from sysgym.bench.boards import SCORE, Board, BoardRow
from sysgym.bench.leaderboard import Row, Table
from sysgym.bench.plots import Axis, Tick
from sysgym.bench.statistics import Interval

WIDTH, MARGIN = 200.0, 12.0
LOWEST_SCORE = -0.4
"""Scores below are arrows."""
FARTHEST_RATIO = 16.0
"""Ratios beyond, or below one over it, are arrows."""


@dataclass(frozen=True)
class Whisker:
    """A row's dot and interval; `beyond` is "low" or "high" where the dot lies off the axis."""

    name: str
    kind: str
    low: float
    high: float
    point: float
    beyond: str
    hint: str


@dataclass(frozen=True)
class Forest:
    """A column of whiskers.

    Attributes:
        title: What is drawn.
        ticks: Of the axis.
        marks: Positions of what the values are read against: random and bound, or the best heuristic.
        whiskers: One a row, in the order of the rows.
        axis: What places values.
    """

    title: str
    ticks: list[Tick]
    marks: list[float]
    whiskers: list[Whisker]
    axis: Axis


def forest_of_board(board: Board) -> Forest:
    """The figures of a board's rows."""
    values = [row.figure for row in board.rows]
    if board.measure == SCORE:
        return _scores("score, IQM", board.rows, values)
    return _ratios("ratio to the best heuristic, IQM", board.rows, values)


def forest_of_table(table: Table) -> Forest:
    """Scores of a table's rows, or ratios or differences to the best heuristic, or else means."""
    rows = table.rows
    scores = [row.score for row in rows if row.score is not None]
    if rows and len(scores) == len(rows):
        return _scores("score", rows, scores)
    ratios = [row.ratio or Interval(1.0, 1.0, 1.0) for row in rows]
    others = [row for row in rows if not row.best_heuristic]
    if others and len(others) < len(rows) and all(row.ratio for row in others):
        return _ratios(f"ratio to {table.reference}", rows, ratios)
    if others and all(row.difference for row in others):
        differences = [row.difference or Interval(0.0, 0.0, 0.0) for row in rows]
        return _forest(f"minus {table.reference}", rows, differences, _spanning(differences, 0.0), [0.0])
    means = [row.mean for row in rows]
    return _forest("mean", rows, means, _spanning(means), [])


def measured_by_score(table: Table) -> bool:
    """Whether a table's forest shows scores."""
    return bool(table.rows) and all(row.score is not None for row in table.rows)


def _scores(title: str, rows: Sequence[Row | BoardRow], values: Sequence[Interval]) -> Forest:
    low = max(LOWEST_SCORE, min([0.0, *(value.low for value in values)]) - 0.03)
    high = max([1.0, *(value.high for value in values)]) + 0.02
    return _forest(title, rows, values, Axis(low, high, MARGIN, WIDTH - MARGIN), [0.0, 1.0])


def _ratios(title: str, rows: Sequence[Row | BoardRow], values: Sequence[Interval]) -> Forest:
    low = max(1 / FARTHEST_RATIO, min([1.0, *(value.low for value in values)]) / 1.05)
    high = min(FARTHEST_RATIO, max([1.0, *(value.high for value in values)]) * 1.05)
    return _forest(title, rows, values, Axis(low, high, MARGIN, WIDTH - MARGIN, log=True), [1.0])


def _spanning(values: Sequence[Interval], *also: float) -> Axis:
    low, high = min([*also, *(v.low for v in values)]), max([*also, *(v.high for v in values)])
    margin = 0.04 * (high - low)
    return Axis(low - margin, high + margin, MARGIN, WIDTH - MARGIN)


def _forest(
    title: str, rows: Sequence[Row | BoardRow], values: Sequence[Interval], axis: Axis, marks: Sequence[float]
) -> Forest:
    whiskers = [_whisker(row, value, axis) for row, value in zip(rows, values, strict=True)]
    return Forest(title, axis.ticks(4), [axis.at(mark) for mark in marks], whiskers, axis)


def _whisker(row: Row | BoardRow, value: Interval, axis: Axis) -> Whisker:
    beyond = "low" if value.estimate < axis.low else "high" if value.estimate > axis.high else ""
    low, high, point = (axis.within(each) for each in (value.low, value.high, value.estimate))
    kind = "best" if row.best_heuristic else row.kind
    return Whisker(row.policy, kind, low, high, point, beyond, f"{row.policy}: {formats.ratio(value)}, {row.verdict}")
