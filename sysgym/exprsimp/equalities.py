"""Terms that seem equal: candidates for an exchange that a proof must allow.

Two terms with the same values at 64 points are worth the question whether they are equal. A term may be a constant, or
another of the expression's terms, perhaps with a constant added, or itself with one operand of a `min`, `max`, `&&`,
`||` or `select` left out, or its own sum with like terms collected. (The idea is that of sweeping in logic synthesis.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import gcd

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.exprsimp.arena import FULL, Arena, below, replace
from sysgym.exprsimp.matcher import INT32
from sysgym.exprsimp.model import Op, Sort
from sysgym.exprsimp.workbench import ArenaFull, Move, State, Workbench, evaluate_arena

_SUMS = (Op.ADD, Op.SUB, Op.MUL)
_COMPARISONS = (Op.LT, Op.LE, Op.EQ)
_INT, _TRUTH, _MIN, _MAX, _AND, _OR, _SELECT = (
    int(op) for op in (Op.INT, Op.TRUTH, Op.MIN, Op.MAX, Op.AND, Op.OR, Op.SELECT)
)
_MOST_CANDIDATES = 400
_MOST_ROUNDS = 40
_LARGE = 300
"""Nodes of a term beyond which it is left alone in an expression of more than as many terms: large ones go in parts."""


def swept(bench: Workbench, state: State, budget: int, over: Callable[[], bool]) -> State:
    """Exchange terms for smaller equal ones until none is found; every exchange is proved.

    Args:
        bench: The workbench.
        state: Where to begin; it should be normalised.
        budget: Linear programs a proof may take.
        over: Whether to stop; asked before every proof.
    """
    for _ in range(min(_MOST_ROUNDS, max(4, 20_000 // len(bench.terms(state.root))))):
        move = _first_move(bench, state.root, budget, over)
        if move is None:
            return state
        state = bench.normalised(bench.exchanged(state, move))
    return state


def _first_move(bench: Workbench, root: int, budget: int, over: Callable[[], bool]) -> Move | None:
    terms = bench.terms(root)
    bench.evaluated()
    order = terms[np.argsort(-bench.arena.size[terms], kind="stable")]
    for term in order.tolist():
        if bench.arena.nodes[term, 1] < 0 or not bench.usable[term]:
            continue
        if len(terms) > _LARGE and bench.arena.size[term] > _LARGE and bench.arena.sort[term] == Sort.INT:
            continue
        for other in sorted(set(_candidates(bench, terms, term)), key=bench.cost):
            if over():
                return None
            if bench.cost(other) < bench.cost(term):
                proof = bench.proved(term, other, budget)
                if proof is not None:
                    return Move(term, other, proof=proof)
    return None


def _candidates(  # noqa: PLR0912  one kind of candidate after another
    bench: Workbench, terms: NDArray[np.int64], term: int
) -> Iterator[int]:
    """Terms that agree with one at all points."""
    row = bench.values[term]
    is_int = bench.arena.sort[term] == Sort.INT
    if (row == row[0]).all():
        if -INT32 <= row[0] < INT32:
            yield bench.make(Op.INT if is_int else Op.TRUTH, value=int(row[0]))
        if not is_int:
            return
    smaller = terms[(terms != term) & (bench.arena.sort[terms] == bench.arena.sort[term]) & bench.usable[terms]]
    smaller = smaller[bench.arena.size[smaller] <= bench.arena.size[term]]
    gap = row[None, :] - bench.values[smaller]
    for place in np.flatnonzero((gap == gap[:, :1]).all(axis=1)).tolist():
        other, offset = int(smaller[place]), int(gap[place, 0])
        if offset == 0:
            yield other
        elif is_int and -INT32 < offset < INT32:
            yield bench.make(Op.ADD if offset > 0 else Op.SUB, other, bench.make(Op.INT, value=abs(offset)))
    if is_int:
        total = row[None, :] + bench.values[smaller]
        for place in np.flatnonzero((total == total[:, :1]).all(axis=1)).tolist():
            if abs(int(total[place, 0])) < INT32:
                yield bench.make(Op.SUB, bench.make(Op.INT, value=int(total[place, 0])), int(smaller[place]))
    else:
        for place in np.flatnonzero((gap != 0).all(axis=1)).tolist():
            yield bench.make(Op.NOT, int(smaller[place]))
    op = int(bench.arena.nodes[term, 0])
    if op in _SUMS or op in _COMPARISONS:
        yield from _collected(bench, term)
    if op == Op.SELECT and is_int:
        _, _, first, second, _ = bench.arena.nodes[term].tolist()
        for choice, of_both in ((Op.MIN, np.minimum), (Op.MAX, np.maximum)):
            if np.array_equal(row, of_both(bench.values[first], bench.values[second])):
                yield bench.make(choice, first, second)
    if bench.arena.size[term] >= 5:
        yield from _without_operands(bench, term)


def _without_operands(bench: Workbench, term: int) -> list[int]:
    found = np.empty(_MOST_CANDIDATES, np.int64)
    count = without_operands(bench.arena, bench.points, bench.values, bench.usable, bench.valued, term, found)
    if count == FULL:
        raise ArenaFull
    return [int(made) for made in found[:count]]


@compiled
def without_operands(
    arena: Arena, points: NDArray[np.int64], values: NDArray[np.int64], usable: NDArray[np.bool_],
    valued: NDArray[np.int64], term: int, found: NDArray[np.int64],
) -> int:  # fmt: skip
    """What a term is without one operand of a choice below it, where that has the same values at all points."""
    count, tried = 0, 0
    for inner in below(arena, term):
        op = arena.nodes[inner, 0]
        if op not in (_MIN, _MAX, _AND, _OR, _SELECT):
            continue
        for child in range(1, 4):
            operand = arena.nodes[inner, child]
            if operand < 0 or (op == _SELECT and child == 1) or tried >= _MOST_CANDIDATES:
                continue
            tried += 1
            made = replace(arena, term, inner, operand)
            if made == FULL:
                return FULL
            evaluate_arena(arena, points, values, usable, valued)
            same = usable[made]
            for point in range(points.shape[0]):
                if not same:
                    break
                same = values[made, point] == values[term, point]
            if same and count < found.shape[0]:
                found[count] = made
                count += 1
    return count


def _collected(bench: Workbench, term: int) -> Iterator[int]:
    """A sum, or a comparison of sums, with like terms collected."""
    op, a, b, _, _ = bench.arena.nodes[term].tolist()
    if op not in _COMPARISONS:
        yield from _sums(bench, *_terms_of(bench, [(term, 1)]))
        return
    parts, constant = _terms_of(bench, [(a, 1), (b, -1)])
    common = gcd(*parts.values()) if parts else 0
    if common > 1 and (op != Op.EQ or constant % common == 0):
        parts = {part: number // common for part, number in parts.items()}
        constant = (
            -(-constant // common) if op == Op.LE else (constant // common if op == Op.EQ else -((-constant) // common))
        )
        if op == Op.LT:  # common * p + c < 0 is common * p + c + 1 <= 0
            return
    left = {part: number for part, number in parts.items() if number > 0}
    right = {part: -number for part, number in parts.items() if number < 0}
    for sides in ((constant, 0), (0, -constant)):
        for first in _sums(bench, left, sides[0]):
            for second in _sums(bench, right, sides[1]):
                yield bench.make(op, first, second)


def _terms_of(bench: Workbench, pending: list[tuple[int, int]]) -> tuple[dict[int, int], int]:
    """A sum's terms with their factors, and its constant."""
    parts: dict[int, int] = {}
    constant = 0
    nodes = bench.arena.nodes
    while pending:
        term, factor = pending.pop()
        op, a, b, _, value = nodes[term].tolist()
        if op == Op.INT:
            constant += factor * value
        elif op in (Op.ADD, Op.SUB):
            pending.extend(((b, factor if op == Op.ADD else -factor), (a, factor)))
        elif op == Op.MUL and Op.INT in (nodes[a, 0], nodes[b, 0]):
            number, other = (a, b) if nodes[a, 0] == Op.INT else (b, a)
            pending.append((other, factor * int(nodes[number, 4])))
        else:
            parts[term] = parts.get(term, 0) + factor
    return {part: number for part, number in parts.items() if number}, constant


def _sums(bench: Workbench, parts: dict[int, int], constant: int) -> Iterator[int]:
    """Ways to write a sum: like factors together, or all under their common factor."""
    if max((abs(number) for number in (constant, *parts.values())), default=0) >= INT32:
        return
    yield _sum(bench, parts, constant)
    common = gcd(constant, *parts.values())
    if common > 1 and parts:
        inner = _sum(bench, {part: number // common for part, number in parts.items()}, constant // common)
        yield bench.make(Op.MUL, inner, bench.make(Op.INT, value=common))


def _sum(bench: Workbench, parts: dict[int, int], constant: int) -> int:
    groups: dict[int, list[tuple[int, int]]] = {}
    for part, number in parts.items():
        groups.setdefault(abs(number), []).append((part, 1 if number > 0 else -1))
    added: list[int] = []
    taken: list[int] = []
    for size, members in groups.items():
        plus = [part for part, sign in members if sign > 0]
        minus = [part for part, sign in members if sign < 0]
        if size == 1:
            added, taken = added + plus, taken + minus
            continue
        first, second = (plus, minus) if plus else (minus, plus)
        product = bench.make(Op.MUL, _joined(bench, first, second), bench.make(Op.INT, value=size))
        (added if plus else taken).append(product)
    if not added:
        added.append(bench.make(Op.INT, value=constant))
        constant = 0
    total = _joined(bench, added, taken)
    if constant:
        total = bench.make(Op.ADD if constant > 0 else Op.SUB, total, bench.make(Op.INT, value=abs(constant)))
    return total


def _joined(bench: Workbench, added: list[int], taken: list[int]) -> int:
    total = added[0]
    for part in added[1:]:
        total = bench.make(Op.ADD, total, part)
    for part in taken:
        total = bench.make(Op.SUB, total, part)
    return total
