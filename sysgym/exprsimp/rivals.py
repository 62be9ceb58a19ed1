"""Rivals: other people's simplifiers under our protocol, each behind its own import.

z3 gets our division guarded as in `proofs`; an Int goes to the contextual tactic as `r == e` with a fresh r. What comes
back is written in our grammar: `ite` as min, max or select, `-1 * x` as a subtraction, n-ary operators from the left.
If it cannot be written so, or the tactic gives another form, the input stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sysgym.exprsimp.computer_algebra import simplified
from sysgym.exprsimp.equality_saturation import saturated
from sysgym.exprsimp.model import Builder, Expression, Op, Sort
from sysgym.exprsimp.proofs import encode, solver_module
from sysgym.exprsimp.witness import ONE, Linear, Meaning, combine

_FRESH = "result"


@dataclass(frozen=True)
class Answer:
    """What a rival returned, and the seconds that its own call took, without building and writing back."""

    expression: Expression
    seconds: float


def z3_simplify(expression: Expression, time_limit: float | None = None) -> Answer:
    """z3's `simplify`.

    Raises:
        SettingError: z3 isn't installed.
    """
    solver = solver_module()
    term = encode(solver, expression)
    began = time.perf_counter()
    answer = solver.simplify(term)
    seconds = time.perf_counter() - began
    return Answer(_back(solver, expression, answer), seconds)


def z3_context(expression: Expression, time_limit: float | None = 1.0) -> Answer:
    """z3's tactic `ctx-solver-simplify`; the input where the time is up.

    Raises:
        SettingError: z3 isn't installed.
    """
    solver = solver_module()
    term = encode(solver, expression)
    is_bool = expression.sort == Sort.BOOL
    goal = solver.Goal()
    fresh = None if is_bool else solver.Int(_FRESH)
    goal.add(term if is_bool else fresh == term)
    tactic = solver.TryFor(solver.Tactic("ctx-solver-simplify"), int(1000 * (time_limit or 3600)))
    began = time.perf_counter()
    try:
        answer = tactic(goal)[0].as_expr()
    except solver.Z3Exception:
        answer = None
    seconds = time.perf_counter() - began
    if answer is not None and not is_bool:
        answer = _value_of(solver, answer, fresh)
    return Answer(expression if answer is None else _back(solver, expression, answer), seconds)


def _value_of(solver: Any, answer: Any, fresh: Any) -> Any:
    if not solver.is_eq(answer):
        return None
    left, right = answer.children()
    return right if left.eq(fresh) else left if right.eq(fresh) else None


def _back(solver: Any, expression: Expression, answer: Any) -> Expression:
    bools = {value for op, *_, value in expression.nodes.tolist() if op == Op.BOOL_VAR}
    builder = Builder()
    reader = _Reader(solver, builder, bools)
    root = reader.read(answer)
    if root is None or builder.sorts[root] != expression.sort:
        return expression
    return builder.expression(root)


class _Reader:
    """z3's terms, in a builder."""

    def __init__(self, solver: Any, builder: Builder, bools: set[int]) -> None:
        self.solver, self.builder, self.bools = solver, builder, bools
        add = builder.add
        self.many: dict[int, Callable[[list[int]], int | None]] = {
            solver.Z3_OP_ADD: self._sum,
            solver.Z3_OP_SUB: lambda parts: self._chain(Op.SUB, parts),
            solver.Z3_OP_MUL: lambda parts: self._chain(Op.MUL, parts[1:] + parts[:1]),
            solver.Z3_OP_AND: lambda parts: self._chain(Op.AND, parts),
            solver.Z3_OP_OR: lambda parts: self._chain(Op.OR, parts),
            solver.Z3_OP_UMINUS: lambda parts: add(Op.SUB, add(Op.INT, value=0), parts[0]),
            solver.Z3_OP_IDIV: lambda parts: add(Op.DIV, *parts),
            solver.Z3_OP_MOD: lambda parts: add(Op.MOD, *parts),
            solver.Z3_OP_LE: lambda parts: add(Op.LE, *parts),
            solver.Z3_OP_LT: lambda parts: add(Op.LT, *parts),
            solver.Z3_OP_GE: lambda parts: add(Op.LE, *parts[::-1]),
            solver.Z3_OP_GT: lambda parts: add(Op.LT, *parts[::-1]),
            solver.Z3_OP_EQ: self._equal,
            solver.Z3_OP_NOT: self._negation,
            solver.Z3_OP_ITE: self._choice,
        }

    def read(self, answer: Any) -> int | None:
        """The term, or None where it has a form that we don't write."""
        made: dict[int, int] = {}
        stack = [answer]
        while stack:
            term = stack[-1]
            if term.get_id() in made:
                stack.pop()
                continue
            missing = [child for child in term.children() if child.get_id() not in made]
            if missing:
                stack.extend(missing)
                continue
            number = self._one(term, [made[child.get_id()] for child in term.children()])
            if number is None:
                return None
            made[term.get_id()] = number
            stack.pop()
        return made[answer.get_id()]

    def _one(self, term: Any, parts: list[int]) -> int | None:
        solver = self.solver
        if solver.is_int_value(term):
            return self.builder.add(Op.INT, value=term.as_long())
        if solver.is_true(term) or solver.is_false(term):
            return self.builder.add(Op.TRUTH, value=int(solver.is_true(term)))
        if not parts:
            name = term.decl().name()
            if not name[1:].isdigit():
                return None
            number = int(name[1:])
            return self.builder.add(Op.BOOL_VAR if number in self.bools else Op.VAR, value=number)
        make = self.many.get(term.decl().kind())
        return make(parts) if make else None

    def _chain(self, op: Op, parts: list[int]) -> int:
        total = parts[0]
        for part in parts[1:]:
            total = self.builder.add(op, total, part)
        return total

    def _sum(self, parts: list[int]) -> int:
        """Positive terms first, then what is subtracted, then the constant."""
        builder = self.builder
        plus, minus, constant = [], [], 0
        for part in parts:
            op, a, b, _, value = builder.rows[part]
            factor = builder.rows[b][4] if op == Op.MUL and builder.rows[b][0] == Op.INT else 1
            if op == Op.INT:
                constant += value
            elif factor < 0:
                minus.append(a if factor == -1 else builder.add(Op.MUL, a, builder.add(Op.INT, value=-factor)))
            else:
                plus.append(part)
        if not plus:
            plus, constant = [builder.add(Op.INT, value=constant)], 0
        total = self._chain(Op.SUB, [self._chain(Op.ADD, plus), *minus])
        if constant:
            total = builder.add(Op.ADD if constant > 0 else Op.SUB, total, builder.add(Op.INT, value=abs(constant)))
        return total

    def _equal(self, parts: list[int]) -> int:
        if self.builder.sorts[parts[0]] == Sort.INT:
            return self.builder.add(Op.EQ, *parts)
        truths = [part for part in parts if self.builder.rows[part][0] == Op.TRUTH]
        if truths:
            other = parts[0] if parts[1] == truths[0] else parts[1]
            return other if self.builder.rows[truths[0]][4] else self._negation([other])
        return self.builder.add(Op.SELECT, parts[0], parts[1], self._negation(parts[1:]))

    def _negation(self, parts: list[int]) -> int:
        op, a, b, _, _ = self.builder.rows[parts[0]]
        if op in (Op.LT, Op.LE):
            return self.builder.add(Op.LE if op == Op.LT else Op.LT, b, a)
        return a if op == Op.NOT else self.builder.add(Op.NOT, parts[0])

    def _choice(self, parts: list[int]) -> int:
        builder = self.builder
        test, first, second = parts
        op, a, b, _, _ = builder.rows[test]
        if builder.sorts[first] == Sort.BOOL:
            return builder.add(Op.SELECT, *parts)
        if (builder.rows[first], builder.rows[second]) == ((Op.INT, -1, -1, -1, 1), (Op.INT, -1, -1, -1, 0)):
            return builder.add(Op.SELECT, *parts)
        zero = builder.add(Op.INT, value=0)
        quotient, _, divisor, *_ = builder.rows[second]
        if op == Op.EQ and first == zero and quotient in (Op.DIV, Op.MOD) and {a, b} == {zero, divisor}:
            return second
        if op in (Op.LT, Op.LE):
            left, right = self._difference(a, b), self._difference(first, second)
            if left == right:
                return builder.add(Op.MIN, first, second)
            if left == combine({}, right, -1):
                return builder.add(Op.MAX, first, second)
        return builder.add(Op.SELECT, *parts)

    def _difference(self, left: int, right: int) -> Linear:
        """`left - right` as a sum over terms, for comparison alone."""
        difference = self.builder.expression(self.builder.add(Op.SUB, left, right))
        meaning = Meaning(difference)
        return {hash(meaning.atoms[atom]) if atom != ONE else ONE: number for atom, number in meaning.forms[-1].items()}


def egglog(expression: Expression, time_limit: float | None = None) -> Answer:
    """Equality saturation by our rules; see `equality_saturation`.

    Raises:
        SettingError: egglog isn't installed.
    """
    found, seconds = saturated(expression, time_limit)
    return Answer(expression if found is None else found, seconds)


def sympy(expression: Expression, time_limit: float | None = None) -> Answer:
    """SymPy's `simplify`; see `computer_algebra`. It knows no time limit.

    Raises:
        SettingError: SymPy isn't installed.
    """
    del time_limit
    found, seconds = simplified(expression)
    return Answer(expression if found is None else found, seconds)


RIVALS: dict[str, Callable[[Expression, float | None], Answer]] = {
    "z3": z3_simplify, "z3_ctx": z3_context, "egglog": egglog, "sympy": sympy,
}  # fmt: skip
"""Rivals by name; each takes an expression and a time limit in seconds."""
