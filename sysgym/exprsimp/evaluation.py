"""Values of an expression at many assignments: compiled 64-bit arithmetic that notices overflow, else exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError
from sysgym.exprsimp.arithmetic import apply_to_words
from sysgym.exprsimp.model import INT64, Expression, Op, apply

_LIMIT = 1 << 62
_INT, _TRUTH, _VAR, _BOOL_VAR, _MUL = (int(op) for op in (Op.INT, Op.TRUTH, Op.VAR, Op.BOOL_VAR, Op.MUL))
CORNERS = (0, 1, -1, 2, -2, 3, -3)


def draw_points(generator: np.random.Generator, points: int, variables: int) -> NDArray[np.int64]:
    """Random assignments as int64 (points, variables): a magnitude of 3, 12, 100 or 2000 a point, then uniform.

    The first points are corners: all variables equal to each of 0, 1, -1, 2, -2, 3, -3.
    """
    magnitude = generator.choice(np.array([3, 12, 100, 2000]), size=(points, 1))
    drawn = generator.integers(-magnitude, magnitude + 1, size=(points, variables))
    corners = min(points, len(CORNERS))
    drawn[:corners] = np.array(CORNERS[:corners])[:, None]
    return drawn


def evaluate(expression: Expression, points: ArrayLike) -> NDArray[np.int64] | NDArray[np.object_]:
    """Values at assignments.

    Args:
        expression: What to evaluate; Bool variables read any number but 0 as true.
        points: Integers of shape (points, variables); column i is variable `v<i>`.

    Returns:
        int64 (points,), or exact Python integers (dtype object) where 64 bits do not suffice. Bool gives 0 and 1.

    Raises:
        SettingError: There are fewer columns than variables, or the numbers are not integers.

    >>> from sysgym.exprsimp.parser import parse
    >>> evaluate(parse("(v0 / -2)"), [[-7], [7], [0]]).tolist()
    [4, -3, 0]
    """
    table = _table(points)
    wanted = max(expression.variables, default=-1) + 1
    whole = table.dtype.kind == "i" or (
        table.dtype == object and all(isinstance(number, int | np.integer) for number in table.flat)
    )
    if table.ndim != 2 or table.shape[1] < wanted or not whole:
        raise SettingError(
            f"points have shape {table.shape}, {table.dtype}; expected integers of shape (points, {wanted} or more)"
        )
    if table.dtype != object:
        table = np.ascontiguousarray(table, np.int64)
        values = np.empty((len(expression.nodes), table.shape[0]), np.int64)
        if evaluate_nodes(expression.nodes, table, values):
            return np.array(values[-1])
    return np.array([_exactly(expression, row) for row in table.tolist()], object)


def _table(points: ArrayLike) -> NDArray[Any]:
    """The points as an array: of int64 where that holds them, else of Python objects; other kinds as they are."""
    table = np.asarray(points)
    if table.dtype.kind == "f" and not isinstance(points, np.ndarray):
        table = np.asarray(points, object)  # numpy reads a list of numbers below 0 and above 2^63 - 1 as floats
    if table.dtype.kind == "u":
        return table.astype(object if table.size and table.max() >= INT64 else np.int64)
    return table


def _exactly(expression: Expression, assignment: list[int]) -> int:
    values: list[int] = []
    for op, a, b, c, value in expression.nodes.tolist():
        if op in (Op.INT, Op.TRUTH):
            values.append(value)
        elif op in (Op.VAR, Op.BOOL_VAR):
            values.append(assignment[value] if op == Op.VAR else int(assignment[value] != 0))
        else:
            values.append(apply(op, values[a], values[b], values[c]))
    return values[-1]


@compiled
def evaluate_nodes(nodes: NDArray[np.int64], points: NDArray[np.int64], values: NDArray[np.int64]) -> bool:
    """Fill `values` (rows of `nodes`, points); False as soon as a number may leave 62 bits."""
    for row in range(nodes.shape[0]):  # noqa: SIM110  compiled
        if not evaluate_row(nodes, row, points, values):
            return False
    return True


@compiled
def evaluate_row(nodes: NDArray[np.int64], row: int, points: NDArray[np.int64], values: NDArray[np.int64]) -> bool:
    """Values of one term whose children are done; False on overflow."""
    op, a, b, c, constant = nodes[row, 0], nodes[row, 1], nodes[row, 2], nodes[row, 3], nodes[row, 4]
    for point in range(points.shape[0]):
        if op in (_INT, _TRUTH):
            result = constant
        elif op == _VAR:
            result = points[point, constant]
        elif op == _BOOL_VAR:
            result = np.int64(points[point, constant] != 0)
        else:
            x, y, z = values[a, point], values[max(b, 0), point], values[max(c, 0), point]
            if op == _MUL and abs(float(x) * float(y)) > _LIMIT:
                return False
            result = apply_to_words(op, x, y, z)
        if result > _LIMIT or result < -_LIMIT:
            return False
        values[row, point] = result
    return True
