"""Hash-consed terms in flat arrays: the store that compiled code grows, compares and measures terms in.

The compiled copy of `model.Builder`. A term costs one row and one slot of an open-addressing table; size and length of
its tree are kept beside it. All functions answer `FULL` where there is no room left, and the caller starts again with
a larger arena.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted_inline
from sysgym.core.seeding import stream
from sysgym.exprsimp.model import GIVES_BOOL, OWN_LENGTH, Builder, Expression, Op

FULL = -2
LITERALS = (0, 1, 2, -1)
"""Integers with a symbol of their own, in this order behind the operators: most patterns that ask for one ask so."""

NO_TERM = len(Op) + len(LITERALS)
"""Symbol of an operand that isn't there."""

SYMBOLS = NO_TERM + 1
TURNS = stream(0, "expressions/marks").integers(-(1 << 63), 1 << 63, (len(Op), 3, 4))
TURNS[:, :, [0, 3]] |= 1
TURNS[:, :, 2] &= -2
"""What a mark counts in the tree above, by operator and operand: a 2 x 2 matrix, by rows, modulo 2^64.

The mark of a tree is what its root adds, plus the sum over its operands of matrix times mark. So it is linear in the
mark of any term below, and what exchanging a term does to the root's mark is one product. Matrices do not commute, so
operators that change places on a way to a leaf change the mark, and odd determinants lose nothing on the way.
"""

_OWN_LENGTH = np.array(OWN_LENGTH, np.int64)
_GIVES_BOOL = np.array([op in GIVES_BOOL for op in Op], np.int64)
_INT, _VAR, _SELECT, _TRUTH = int(Op.INT), int(Op.VAR), int(Op.SELECT), int(Op.TRUTH)
_OPERATORS = len(Op)
_MOST = 1 << 50


class Arena(NamedTuple):
    """Terms in columns.

    Attributes:
        nodes: int64 (capacity, 5): operator, three children or -1, value.
        size: int64 (capacity,): nodes of the tree.
        length: int64 (capacity,): characters of the canonical text.
        sort: int64 (capacity,): 0 for Int, 1 for Bool.
        symbol: int64 (capacity,): what a pattern can ask of a root: its operator, or one of `SYMBOLS` beyond.
        mark: int64 (capacity, 2): hash of the tree, the same in every arena, see `TURNS`.
        table: int64 (a power of two,): term by hash, -1 where empty.
        filled: int64 (1,): terms so far.
    """

    nodes: NDArray[np.int64]
    size: NDArray[np.int64]
    length: NDArray[np.int64]
    sort: NDArray[np.int64]
    symbol: NDArray[np.int64]
    mark: NDArray[np.int64]
    table: NDArray[np.int64]
    filled: NDArray[np.int64]


def make_arena(capacity: int) -> Arena:
    """An empty arena; memory is touched as it fills, except for the table."""
    slots = 1 << max(6, (2 * capacity - 1).bit_length())
    return Arena(
        nodes=np.empty((capacity, 5), np.int64),
        size=np.empty(capacity, np.int64),
        length=np.empty(capacity, np.int64),
        sort=np.empty(capacity, np.int64),
        symbol=np.empty(capacity, np.int64),
        mark=np.empty((capacity, 2), np.int64),
        table=np.full(slots, -1, np.int64),
        filled=np.zeros(1, np.int64),
    )


@uncounted_inline
def _digits(value: int) -> int:
    count = 2 if value < 0 else 1
    value = value // 10 if value >= 0 else -(value // 10) - (value % 10 != 0)
    while value > 0:
        value //= 10
        count += 1
    return count


@uncounted_inline
def symbol_of(op: int, value: int) -> int:
    """Symbol of a term by its operator and value."""
    if op != _INT or value < -1 or value > 2:
        return op
    return _OPERATORS + (3 if value < 0 else value)


@uncounted_inline
def own_mark(op: int, value: int) -> tuple[int, int]:
    """What a root adds to its tree's mark, which for a leaf is all of it; wraps at 64 bits."""
    mixed = np.int64(op + 1) * 0x2545F4914F6CDD1D + value
    mixed = (mixed ^ (mixed >> 29)) * 0x5851F42D4C957F2D
    first = (mixed ^ (mixed >> 32)) * 0x27BB2EE687B0B0FD
    return int(first), int((first ^ (first >> 31)) * 0x369DEA0F31A53F85)


@uncounted_inline
def intern(arena: Arena, op: int, a: int, b: int, c: int, value: int) -> int:
    """Number of a term, made if it is new; `FULL` where the arena is."""
    mixed = ((op * 1000003 + a) * 1000003 + b) * 1000003 + c
    mixed = mixed * 1000003 + (value & 0xFFFFFFFF)
    mixed = (mixed & 0x7FFFFFFFFFFF) ^ ((mixed & 0x7FFFFFFFFFFF) >> 17)
    last = arena.table.shape[0] - 1
    slot = mixed & last
    nodes = arena.nodes
    while True:
        term = arena.table[slot]
        if term < 0:
            break
        if (
            nodes[term, 0] == op and nodes[term, 1] == a and nodes[term, 2] == b and nodes[term, 3] == c
            and nodes[term, 4] == value
        ):  # fmt: skip
            return int(term)
        slot = (slot + 1) & last
    term = arena.filled[0]
    if term >= nodes.shape[0]:
        return FULL
    arena.table[slot] = term
    arena.filled[0] = term + 1
    nodes[term, 0], nodes[term, 1], nodes[term, 2], nodes[term, 3], nodes[term, 4] = op, a, b, c, value
    size, length = 1, _OWN_LENGTH[op]
    if a < 0:
        length = _digits(value) + (1 if op >= _VAR else 0)
    else:
        size, length = size + arena.size[a], length + arena.length[a]
        if b >= 0:
            size, length = size + arena.size[b], length + arena.length[b]
        if c >= 0:
            size, length = size + arena.size[c], length + arena.length[c]
    arena.size[term], arena.length[term] = min(size, _MOST), min(length, _MOST)
    arena.sort[term] = arena.sort[b] if op == _SELECT else _GIVES_BOOL[op]
    arena.symbol[term] = symbol_of(op, value)
    mark = arena.mark
    first, second = own_mark(op, value)
    for place in range(3):
        child = nodes[term, 1 + place]
        if child >= 0:
            turn, x, y = TURNS[op, place], mark[child, 0], mark[child, 1]
            first += turn[0] * x + turn[1] * y
            second += turn[2] * x + turn[3] * y
    mark[term, 0], mark[term, 1] = first, second
    return int(term)


@compiled
def load_nodes(arena: Arena, nodes: NDArray[np.int64]) -> int:
    """Add the terms of an expression; the number of its root or `FULL`."""
    place = np.empty(nodes.shape[0], np.int64)
    for row in range(nodes.shape[0]):
        a, b, c = nodes[row, 1], nodes[row, 2], nodes[row, 3]
        a = place[a] if a >= 0 else -1
        b = place[b] if b >= 0 else -1
        c = place[c] if c >= 0 else -1
        place[row] = intern(arena, nodes[row, 0], a, b, c, nodes[row, 4])
        if place[row] == FULL:
            return FULL
    return int(place[nodes.shape[0] - 1])


@compiled
def below(arena: Arena, root: int) -> NDArray[np.int64]:
    """Terms of a root's tree, each once, in ascending number: children before parents."""
    wanted = np.zeros(root + 1, np.bool_)
    wanted[root] = True
    total = 0
    for term in range(root, -1, -1):
        if wanted[term]:
            total += 1
            for child in range(1, 4):
                if arena.nodes[term, child] >= 0:
                    wanted[arena.nodes[term, child]] = True
    found = np.empty(total, np.int64)
    at = 0
    for term in range(root + 1):
        if wanted[term]:
            found[at] = term
            at += 1
    return found


@compiled
def replace(arena: Arena, root: int, old: int, new: int) -> int:
    """The root with one subterm exchanged everywhere it occurs, or `FULL`."""
    terms = below(arena, root)
    changed = np.full(root + 1, -1, np.int64)
    for term in terms:
        op, a, b, c = arena.nodes[term, 0], arena.nodes[term, 1], arena.nodes[term, 2], arena.nodes[term, 3]
        if term == old:
            changed[term] = new
        elif a < 0:
            changed[term] = term
        else:
            a, b, c = changed[a], changed[b] if b >= 0 else -1, changed[c] if c >= 0 else -1
            changed[term] = intern(arena, op, a, b, c, arena.nodes[term, 4])
            if changed[term] == FULL:
                return FULL
    return int(changed[root])


def load(arena: Arena, expression: Expression) -> int:
    """Add an expression; the number of its root, or `FULL`."""
    return int(load_nodes(arena, expression.nodes))


def unload(arena: Arena, root: int) -> Expression:
    """The expression below a root, in its own canonical order."""
    builder = Builder()
    place: dict[int, int] = {-1: -1}
    for term in below(arena, root).tolist():
        op, a, b, c, value = arena.nodes[term].tolist()
        place[term] = builder.add(op, place[a], place[b], place[c], value)
    return builder.expression(place[root])
