"""Valid beside test: whether what is chosen on one split holds on the other.

Where a study played both, every policy has a figure on each. What lies far from equal was lucky, or fits the scenarios
that its makers looked at. The order counts more than the figures, since splits of a log may be easier or harder: the
share of pairs of policies that both splits put into the same order says whether choosing on valid is choosing for test.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from sysgym.bench import formats
from sysgym.bench.boards import SCORE, Board, BoardRow
from sysgym.bench.forest import Forest, forest_of_board


@dataclass(frozen=True)
class SplitFigure:
    """A dot for test, with its interval, and a ring for valid, a row a policy.

    Attributes:
        forest: Axis, dots and intervals of the shown split.
        rings: Position of the valid split's figure on the axis, a row each.
        labels: Both figures and their difference as text, a row each.
        agreement: Share of pairs of policies in the same order on both.
        best: Best policy on valid, and its rank on the shown split.
    """

    forest: Forest
    rings: list[float]
    labels: list[tuple[str, str, str]]
    agreement: float
    best: tuple[str, int]


def splits_of(board: Board) -> SplitFigure | None:
    """The figure of a board; None where the valid split was not played by all."""
    found = [(row, row.valid) for row in board.rows if row.valid is not None]
    if len(found) < 2 or len(found) < len(board.rows):
        return None
    forest = forest_of_board(board)
    rings = [forest.axis.within(valid) for _, valid in found]
    labels = [
        (formats.fixed(v), formats.fixed(r.figure.estimate), formats.fixed(r.figure.estimate - v)) for r, v in found
    ]
    sign = 1.0 if board.measure == SCORE or board.direction == "max" else -1.0
    pairs = list(combinations(found, 2))
    same = [_order(one, other, sign) for one, other in pairs]
    first = max(found, key=lambda pair: sign * pair[1])[0]
    return SplitFigure(forest, rings, labels, sum(same) / len(same), (first.policy, first.rank))


def _order(one: tuple[BoardRow, float], other: tuple[BoardRow, float], sign: float) -> bool:
    """Whether both splits agree on which of two is better; the rows stand in the order of the shown split."""
    return sign * (one[1] - other[1]) >= 0
