"""The fast path of reading: canonical text to one arena, compiled.

Takes exactly what `printer.to_text` writes with Int variables. Anything else, and every error, is left to `parser`,
which says what is wrong and where; so both read the same language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted_inline
from sysgym.exprsimp.arena import FULL, Arena, intern, load_nodes, make_arena, unload
from sysgym.exprsimp.model import ARITY, TAKES_BOOL, Expression, Op
from sysgym.exprsimp.parser import parse

_REFUSED = -1
_ARITY = np.array(ARITY, np.int64)
_TAKES_BOOL = np.array([op in TAKES_BOOL for op in Op], np.int64)
_INT, _TRUTH, _VAR = int(Op.INT), int(Op.TRUTH), int(Op.VAR)
_NOT, _SELECT, _MIN, _MAX = int(Op.NOT), int(Op.SELECT), int(Op.MIN), int(Op.MAX)
_BINARY = np.zeros(128, np.int64)
for _sign, _op in zip("+-*/%<", (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MOD, Op.LT), strict=True):
    _BINARY[ord(_sign)] = _op
_DOUBLE, _SECOND = np.zeros(128, np.int64), np.zeros(128, np.int64)  # by the first sign: operator, second sign
for _first, _second, _op in zip("<=&|", "==&|", (Op.LE, Op.EQ, Op.AND, Op.OR), strict=True):
    _DOUBLE[ord(_first)], _SECOND[ord(_first)] = _op, ord(_second)
_OPEN = 100
_SPACE, _LEFT, _RIGHT, _COMMA, _BANG, _MINUS = (ord(sign) for sign in " (),!-")
_ZERO, _NINE, _V, _S, _I, _N, _A, _X, _M = (ord(sign) for sign in "09vsinaxm")
_SELECT_NAME = np.frombuffer(b"select(", np.uint8)


@dataclass(frozen=True)
class Forest:
    """Many expressions that share their terms.

    Attributes:
        arena: The terms.
        roots: int64 (expressions,): the root of each.
    """

    arena: Arena
    roots: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.roots)

    def __getitem__(self, row: int) -> Expression:
        return unload(self.arena, int(self.roots[row]))


def parse_many(texts: Sequence[str]) -> Forest:
    """Read many expressions at once; O(characters).

    Raises:
        ExpressionError: As `parse`, for the first text that cannot be read.
    """
    raw = [text.encode() for text in texts]
    ends = np.cumsum([len(item) for item in raw], dtype=np.int64)
    signs = np.frombuffer(b"".join(raw) + b"\0", np.uint8)
    capacity = 1024 + len(signs) // 6
    while True:
        arena, roots = make_arena(capacity), np.empty(len(raw), np.int64)
        if _parse_all(arena, signs, ends, roots) and _parse_rest(arena, texts, roots):
            return Forest(arena, roots)
        capacity *= 2


def _parse_rest(arena: Arena, texts: Sequence[str], roots: NDArray[np.int64]) -> bool:
    """Let `parse` read what isn't canonical; whether there was room."""
    for row in np.flatnonzero(roots == _REFUSED).tolist():
        roots[row] = load_nodes(arena, parse(texts[row]).nodes)
    return not (roots == FULL).any()


@compiled
def _parse_all(arena: Arena, signs: NDArray[np.uint8], ends: NDArray[np.int64], roots: NDArray[np.int64]) -> bool:
    longest, begin = 0, 0
    for row in range(ends.shape[0]):
        longest, begin = max(longest, ends[row] - begin), ends[row]
    terms, waiting = np.empty(longest + 2, np.int64), np.empty((longest + 2, 2), np.int64)
    begin = 0
    for row in range(ends.shape[0]):
        roots[row] = _parse_one(arena, signs, begin, ends[row], terms, waiting)
        if roots[row] == FULL:
            return False
        begin = ends[row]
    return True


@compiled
def _parse_one(  # noqa: PLR0911  one state machine
    arena: Arena, signs: NDArray[np.uint8], at: int, end: int, terms: NDArray[np.int64], waiting: NDArray[np.int64]
) -> int:
    """One expression; `waiting` holds operator and arguments so far of what is unfinished."""
    depth, held = 0, 0
    while at < end:
        op, length = _opening(signs, at, end)
        if op == _REFUSED:
            return _REFUSED
        if length > 0:
            waiting[depth, 0], waiting[depth, 1] = op, 1
            depth, at = depth + 1, at + length
            continue
        term, at = _operand(arena, signs, at)
        if term < 0:
            return term
        terms[held] = term
        held += 1
        while depth:  # after an operand: close what is complete, until another operand is due
            op, given = waiting[depth - 1, 0], waiting[depth - 1, 1]
            if op == _OPEN or given < _ARITY[op]:
                op, at = _infix(signs, at, end) if op == _OPEN else _comma(signs, at, end, op)
                if op == _REFUSED:
                    return _REFUSED
                waiting[depth - 1, 0], waiting[depth - 1, 1] = op, given + 1
                break
            if op != _NOT:
                if at >= end or signs[at] != _RIGHT:
                    return _REFUSED
                at += 1
            held -= given - 1
            made = _make(arena, op, terms, held - 1, given)
            if made < 0:
                return made
            terms[held - 1] = made
            depth -= 1
        if depth == 0:
            return terms[0] if at == end and held == 1 else _REFUSED
    return _REFUSED


@uncounted_inline
def _opening(signs: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """What begins here before its first operand, and how many signs it takes; none where an operand stands here."""
    sign = signs[at]
    if sign in (_LEFT, _BANG):
        return _OPEN if sign == _LEFT else _NOT, 1
    if sign == _M and signs[at + 3] == _LEFT:
        second, third = signs[at + 1], signs[at + 2]
        if second == _I and third == _N:
            return _MIN, 4
        return (_MAX, 4) if second == _A and third == _X else (_REFUSED, 0)
    if sign == _S and at + 7 < end:
        for place in range(7):
            if signs[at + place] != _SELECT_NAME[place]:
                return _REFUSED, 0
        return _SELECT, 7
    return _OPEN, 0


@uncounted_inline
def _operand(arena: Arena, signs: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The term of a variable or a number, and where it ends."""
    variable, negative = signs[at] == _V, signs[at] == _MINUS
    begin = at + 1 if variable or negative else at
    value, at = 0, begin
    while _ZERO <= signs[at] <= _NINE and at - begin < 18:
        value = value * 10 + int(signs[at]) - _ZERO
        at += 1
    length = at - begin
    if length == 0 or length >= (9 if variable else 18) or (signs[begin] == _ZERO and (length > 1 or negative)):
        return _REFUSED, at
    return intern(arena, _VAR if variable else _INT, -1, -1, -1, -value if negative else value), at


@uncounted_inline
def _infix(signs: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The operator between two operands, and where the second begins."""
    if at + 3 >= end or signs[at] != _SPACE or signs[at + 1] > 127:
        return _REFUSED, at
    doubled = signs[at + 2] != _SPACE
    if doubled and signs[at + 2] != _SECOND[signs[at + 1]]:
        return _REFUSED, at
    op = _DOUBLE[signs[at + 1]] if doubled else _BINARY[signs[at + 1]]
    at += 3 if doubled else 2
    return (_REFUSED, at) if op == 0 or signs[at] != _SPACE else (op, at + 1)


@uncounted_inline
def _comma(signs: NDArray[np.uint8], at: int, end: int, op: int) -> tuple[int, int]:
    """The same operator, and where its next argument begins."""
    return (op, at + 2) if at + 1 < end and signs[at] == _COMMA and signs[at + 1] == _SPACE else (_REFUSED, at)


@compiled
def _make(arena: Arena, op: int, terms: NDArray[np.int64], first: int, given: int) -> int:
    """The term over the newest operands, refused where the sorts need the careful parser."""
    for place in range(first, first + given):
        bool_wanted = _TAKES_BOOL[op] == 1 or (op == _SELECT and place == first)
        if op == _SELECT and place > first:
            if arena.sort[terms[place]] != arena.sort[terms[first + 1]]:
                return _REFUSED
        elif arena.sort[terms[place]] != (1 if bool_wanted else 0):
            number = arena.nodes[terms[place], 4]
            if not bool_wanted or arena.nodes[terms[place], 0] != _INT or number < 0 or number > 1:
                return _REFUSED
            terms[place] = intern(arena, _TRUTH, -1, -1, -1, number)
            if terms[place] == FULL:
                return FULL
    second = terms[first + 1] if given > 1 else -1
    third = terms[first + 2] if given > 2 else -1
    return intern(arena, op, terms[first], second, third, 0)
