"""Expressions: operators, sorts, the one meaning of each operator, and hash-consed terms.

A term is a row (operator, first, second, third, value) whose children stand before it, and equal terms are one row,
so that equality of subterms is equality of row numbers. Integers are unbounded. Division is Euclidean and total:
`a = b * q + r` with `0 <= r < |b|`, and `x / 0 = x % 0 = 0`. Nothing here recurses, so nesting has no limit.

The grammar is Halide's as used by Chen & Tian (NeurIPS 2019, appendix A.1), with `select`, and typed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SysgymError


class ExpressionError(SysgymError):
    """Raised when an expression cannot be read, is ill-typed, or is larger than what is asked of it allows."""


class Op(IntEnum):
    """Operators. `CONSTANT` stands for any integer constant and occurs in patterns of rules alone."""

    INT = 0
    TRUTH = 1
    VAR = 2
    BOOL_VAR = 3
    CONSTANT = 4
    ADD = 5
    SUB = 6
    MUL = 7
    DIV = 8
    MOD = 9
    MIN = 10
    MAX = 11
    LT = 12
    LE = 13
    EQ = 14
    AND = 15
    OR = 16
    NOT = 17
    SELECT = 18


class Sort(IntEnum):
    """The two sorts."""

    INT = 0
    BOOL = 1


SYMBOLS = {
    Op.ADD: "+", Op.SUB: "-", Op.MUL: "*", Op.DIV: "/", Op.MOD: "%", Op.LT: "<", Op.LE: "<=", Op.EQ: "==",
    Op.AND: "&&", Op.OR: "||",
}  # fmt: skip
CALLS = {Op.MIN: "min", Op.MAX: "max", Op.SELECT: "select"}
COMMUTATIVE = frozenset({Op.ADD, Op.MUL, Op.MIN, Op.MAX, Op.EQ, Op.AND, Op.OR})
ARITY = tuple([0] * 5 + [2] * 12 + [1, 3])
"""Number of children by operator."""

TAKES_BOOL = frozenset({Op.AND, Op.OR, Op.NOT})
GIVES_BOOL = frozenset({Op.TRUTH, Op.BOOL_VAR, Op.LT, Op.LE, Op.EQ, Op.AND, Op.OR, Op.NOT})
OWN_LENGTH = (0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 7, 7, 5, 6, 6, 6, 6, 1, 12)
"""Characters that an operator adds to its operands in canonical text."""

_COMPACT_LENGTH = (0, 0, 0, 0, 0, 5, 5, 3, 3, 5, 7, 7, 5, 6, 6, 6, 6, 3, 12)
INT64 = 2**63
Row = tuple[int, int, int, int, int]


def divide(a: int, b: int) -> int:
    """Euclidean quotient, 0 for a divisor of 0.

    >>> [divide(7, 2), divide(-7, 2), divide(7, -2), divide(-7, -2), divide(7, 0)]
    [3, -4, -3, 4, 0]
    """
    if b == 0:
        return 0
    return (a - a % abs(b)) // b


def modulo(a: int, b: int) -> int:
    """Euclidean remainder, never negative, 0 for a divisor of 0.

    >>> [modulo(7, 2), modulo(-7, 2), modulo(7, -2), modulo(-7, -2), modulo(7, 0)]
    [1, 1, 1, 1, 0]
    """
    if b == 0:
        return 0
    return a % abs(b)


def apply(op: int, a: int, b: int, c: int) -> int:  # noqa: PLR0911, PLR0912  one line an operator
    """The value of an operator on exact integers; Bool values are 0 and 1."""
    if op == Op.ADD:
        return a + b
    if op == Op.SUB:
        return a - b
    if op == Op.MUL:
        return a * b
    if op == Op.DIV:
        return divide(a, b)
    if op == Op.MOD:
        return modulo(a, b)
    if op == Op.MIN:
        return min(a, b)
    if op == Op.MAX:
        return max(a, b)
    if op == Op.LT:
        return int(a < b)
    if op == Op.LE:
        return int(a <= b)
    if op == Op.EQ:
        return int(a == b)
    if op == Op.AND:
        return a & b
    if op == Op.OR:
        return a | b
    if op == Op.NOT:
        return 1 - a
    assert op == Op.SELECT, op
    return b if a else c


@dataclass(frozen=True, eq=False, repr=False)
class Expression:
    """One term with everything below it.

    Attributes:
        nodes: int64 of shape (unique terms, 5): operator, three children (-1 where there is none), value. Children
            stand before their parents in the order in which a walk from the left meets them; the last row is the root.
    """

    nodes: NDArray[np.int64]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and np.array_equal(self.nodes, other.nodes)

    def __hash__(self) -> int:
        return hash(self.nodes.tobytes())

    def __repr__(self) -> str:
        return f"Expression({self.size} nodes, {self.length} characters)"

    @property
    def sort(self) -> Sort:
        """Sort of the root."""
        return Sort(self._fold("sort")[-1])

    @property
    def size(self) -> int:
        """Nodes of the tree, shared terms counted as often as they occur."""
        return self._fold("size")[-1]

    @property
    def length(self) -> int:
        """Characters of the canonical text."""
        return self._fold("length")[-1]

    @property
    def compact_length(self) -> int:
        """Characters as Halide prints: no spaces around `*` and `/`, parentheses after every `!`."""
        return self._fold("compact")[-1]

    @property
    def depth(self) -> int:
        """Longest path from the root to a leaf, counted in nodes."""
        return self._fold("depth")[-1]

    @property
    def variables(self) -> tuple[int, ...]:
        """Indices of the variables that occur, ascending."""
        ops = self.nodes[:, 0]
        return tuple(sorted(set(self.nodes[(ops == Op.VAR) | (ops == Op.BOOL_VAR), 4].tolist())))

    def weight(self, weights: dict[Op, float]) -> float:
        """Custom cost: the sum of a weight per operator (1 where none is given) over the nodes of the tree."""
        totals: list[float] = []
        for op, *children, _ in self.nodes.tolist():
            totals.append(weights.get(Op(op), 1.0) + sum(totals[child] for child in children if child >= 0))
        return totals[-1]

    def _fold(self, measure: str) -> list[int]:
        found: list[int] = []
        for op, a, b, c, value in self.nodes.tolist():
            below = [found[child] for child in (a, b, c) if child >= 0]
            if measure == "size":
                found.append(1 + sum(below))
            elif measure == "depth":
                found.append(1 + max(below, default=0))
            elif measure == "sort":
                found.append(found[b] if op == Op.SELECT else int(op in GIVES_BOOL))
            else:
                own = OWN_LENGTH if measure == "length" else _COMPACT_LENGTH
                found.append(own[op] + sum(below) if below else leaf_length(op, value))
        return found


def leaf_length(op: int, value: int) -> int:
    """Characters of a leaf."""
    return len(str(value)) + (op not in (Op.INT, Op.TRUTH))


class Builder:
    """Grows hash-consed terms; equal terms get the same number. O(1) a term."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sorts: list[int] = []
        self.sizes: list[int] = []
        self.lengths: list[int] = []
        self._index: dict[Row, int] = {}

    def add(self, op: int, a: int = -1, b: int = -1, c: int = -1, value: int = 0) -> int:
        """Number of a term, made if it is new. The sorts of the children are the caller's to check."""
        row = (int(op), a, b, c, value)
        known = self._index.get(row)
        if known is None:
            known = self._index[row] = len(self.rows)
            self.rows.append(row)
            self.sorts.append(self.sorts[b] if op == Op.SELECT else int(op in GIVES_BOOL))
            below = [child for child in (a, b, c) if child >= 0]
            self.sizes.append(1 + sum([self.sizes[child] for child in below]))
            own = OWN_LENGTH[op] if below else leaf_length(op, value)
            self.lengths.append(own + sum([self.lengths[child] for child in below]))
        return known

    def load(self, expression: Expression) -> int:
        """Add an expression's terms; the number of its root."""
        numbers: list[int] = []
        for op, a, b, c, value in expression.nodes.tolist():
            a, b, c = (numbers[child] if child >= 0 else -1 for child in (a, b, c))  # noqa: PLW2901  in this table
            numbers.append(self.add(op, a, b, c, value))
        return numbers[-1]

    def order(self, root: int) -> list[int]:
        """Terms below a root, children first, left before right, each once."""
        seen: set[int] = {-1}
        found: list[int] = []
        stack = [root]
        rows = self.rows
        while stack:
            term = stack.pop()
            if term < -1:  # -2 - term marks a term whose children are done
                term = -2 - term
                if term not in seen:
                    seen.add(term)
                    found.append(term)
            elif term not in seen:
                _, a, b, c, _ = rows[term]
                if a < 0:
                    seen.add(term)
                    found.append(term)
                elif b < 0:
                    stack += (-2 - term, a)
                elif c < 0:
                    stack += (-2 - term, b, a)
                else:
                    stack += (-2 - term, c, b, a)
        return found

    def expression(self, root: int) -> Expression:
        """What stands below a root, on its own."""
        place: dict[int, int] = {-1: -1}
        nodes: list[Row] = []
        for term in self.order(root):
            op, a, b, c, value = self.rows[term]
            place[term] = len(nodes)
            nodes.append((op, place[a], place[b], place[c], value))
        return Expression(np.array(nodes, np.int64))

    def replace(self, root: int, old: int, new: int, order: list[int] | None = None) -> int:
        """The root with one subterm exchanged everywhere it occurs; `order(root)` may be given where it is known."""
        return self.exchange(root, {old: new}, order)

    def exchange(self, root: int, results: Mapping[int, int], order: list[int] | None = None) -> int:
        """The root with several subterms, none within another, exchanged everywhere they occur; O(terms)."""
        changed: dict[int, int] = dict(results)
        for term in order or self.order(root):
            op, a, b, c, value = self.rows[term]
            if term not in changed and (a in changed or b in changed or c in changed):
                a, b, c = changed.get(a, a), changed.get(b, b), changed.get(c, c)
                changed[term] = self.add(op, a, b, c, value)
        return changed.get(root, root)

    def positions(self, order: list[int]) -> dict[int, int]:
        """Place in pre-order over the tree of the first occurrence of every term of `order(root)`; O(terms)."""
        places = {order[-1]: 0}
        for term in reversed(order):
            place = places[term] + 1
            for child in self.rows[term][1:4]:
                if child >= 0:
                    places[child] = min(place, places.get(child, place))
                    place += self.sizes[child]
        return places

    def terms_at(self, root: int, places: Sequence[int]) -> list[int]:
        """The subterms at places in pre-order, -1 where the tree has none; a walk down to all of them together."""
        found = dict.fromkeys(places, -1)
        wanted = sorted(place for place in found if 0 <= place < self.sizes[root])
        stack = [(root, 0, 0, len(wanted))]
        while stack:
            term, place, low, high = stack.pop()
            if low < high and wanted[low] == place:
                found[place] = term
                low += 1
            place += 1
            for child in self.rows[term][1:4]:
                if child < 0 or low == high:
                    break
                place += self.sizes[child]
                end = bisect_left(wanted, place, low, high)
                if end > low:
                    stack.append((child, place - self.sizes[child], low, end))
                low = end
        return [found[place] for place in places]

    def at(self, root: int, place: int) -> int:
        """The subterm at a place in pre-order, or -1 where the tree has no such place."""
        return self.terms_at(root, [place])[0]
