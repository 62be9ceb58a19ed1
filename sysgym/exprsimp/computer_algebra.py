"""The rival SymPy: constructors and `simplify`, there and back.

SymPy's `floor` and `Mod` follow the sign of the divisor, and its division by 0 is no number, so only divisions by
positive constants are handed over as what they are; all others are opaque functions. It knows no time limit, so
expressions of more than 40 nodes get its constructors alone.
"""

from __future__ import annotations

import time
from functools import reduce
from typing import Any

from sysgym.core.errors import SettingError
from sysgym.exprsimp.model import INT64, Builder, Expression, Op, Sort

_MOST_NODES = 40
_MOST_CONVERTED = 400


def sympy_module() -> Any:
    """The module sympy.

    Raises:
        SettingError: It isn't installed.
    """
    try:
        import sympy  # noqa: PLC0415  slow to load
    except ImportError as error:
        raise SettingError("sympy is not installed; pip install 'sysgym[rivals]' brings it") from error
    return sympy


def simplified(expression: Expression) -> tuple[Expression | None, float]:
    """What SymPy makes of an expression, and the seconds that it took; None where it has no form of ours.

    Raises:
        SettingError: SymPy isn't installed.
    """
    sympy = sympy_module()
    if expression.size > _MOST_CONVERTED:
        return None, 0.0
    began = time.perf_counter()
    try:
        answer = _there(sympy, expression)
        if expression.size <= _MOST_NODES:
            answer = sympy.simplify(answer)
    except (TypeError, ValueError, AttributeError, NotImplementedError, RecursionError, ArithmeticError):
        answer = None  # SymPy's own failures on mixed conditions
    seconds = time.perf_counter() - began
    if answer is None:
        return None, seconds
    reader = _Back(sympy, {value for op, *_, value in expression.nodes.tolist() if op == Op.BOOL_VAR})
    try:
        root = reader.read(answer)
    except _NoForm:
        return None, seconds
    found = reader.builder.expression(root)
    return (found if found.sort == expression.sort else None), seconds


def _there(sympy: Any, expression: Expression) -> Any:  # noqa: PLR0912  one branch an operator
    made: list[Any] = []
    for op, a, b, c, value in expression.nodes.tolist():
        below: list[Any] = [made[child] if child >= 0 else None for child in (a, b, c)]
        x, y, z = below
        if op == Op.INT:
            term = sympy.Integer(value)
        elif op == Op.TRUTH:
            term = sympy.true if value else sympy.false
        elif op == Op.VAR:
            term = sympy.Symbol(f"v{value}", integer=True)
        elif op == Op.BOOL_VAR:
            term = sympy.Symbol(f"b{value}")
        elif op in (Op.ADD, Op.SUB, Op.MUL):
            term = x + y if op == Op.ADD else x - y if op == Op.SUB else x * y
        elif op in (Op.DIV, Op.MOD):
            plain = y.is_Integer and y > 0
            if plain:
                term = sympy.floor(x / y) if op == Op.DIV else sympy.Mod(x, y)
            else:
                term = sympy.Function("divide" if op == Op.DIV else "modulo", integer=True)(x, y)
        elif op in (Op.MIN, Op.MAX):
            term = sympy.Min(x, y) if op == Op.MIN else sympy.Max(x, y)
        elif op in (Op.LT, Op.LE, Op.EQ):
            term = {Op.LT: sympy.Lt, Op.LE: sympy.Le, Op.EQ: sympy.Eq}[Op(op)](x, y)
        elif op in (Op.AND, Op.OR):
            term = sympy.And(x, y) if op == Op.AND else sympy.Or(x, y)
        elif op == Op.NOT:
            term = sympy.Not(x)
        elif expression_sort(expression, b) == Sort.BOOL:
            term = sympy.ITE(x, y, z)
        else:
            term = sympy.Piecewise((y, x), (z, True))
        made.append(term)
    return made[-1]


def expression_sort(expression: Expression, row: int) -> Sort:
    """Sort of a row of an expression's table."""
    return Expression(expression.nodes[: row + 1]).sort


class _NoForm(Exception):  # noqa: N818  no error: the input stands
    """SymPy's answer cannot be written in our language."""


class _Back:
    """SymPy's terms, in a builder; as deep as they are nested, which `_MOST_CONVERTED` bounds."""

    def __init__(self, sympy: Any, bools: set[int]) -> None:
        self.sympy, self.bools, self.builder = sympy, bools, Builder()

    def read(self, term: Any) -> int:  # noqa: PLR0911, PLR0912  one branch a form
        """A term.

        Raises:
            _NoForm: It has no form of ours.
        """
        sympy, add = self.sympy, self.builder.add
        if term.is_Integer:
            if abs(int(term)) >= INT64:
                raise _NoForm
            return add(Op.INT, value=int(term))
        if term in (sympy.true, sympy.false):
            return add(Op.TRUTH, value=int(bool(term)))
        if term.is_Symbol:
            number = int(term.name[1:])
            return add(Op.BOOL_VAR if term.name[0] == "b" else Op.VAR, value=number)
        if isinstance(term, sympy.Add):
            return self._sum(term.args)
        if isinstance(term, sympy.Mul) or term.is_Pow:
            return self._product(term)
        if isinstance(term, sympy.floor):
            top, bottom = sympy.fraction(sympy.together(term.args[0]))
            if not (bottom.is_Integer and bottom > 0):
                raise _NoForm
            return add(Op.DIV, self.read(sympy.expand(top)), self.read(bottom))
        if isinstance(term, sympy.Mod):
            if not (term.args[1].is_Integer and term.args[1] > 0):
                raise _NoForm
            return add(Op.MOD, *map(self.read, term.args))
        if isinstance(term, sympy.Min | sympy.Max):
            return self._chain(Op.MIN if isinstance(term, sympy.Min) else Op.MAX, term.args)
        if isinstance(term, sympy.And | sympy.Or):
            return self._chain(Op.AND if isinstance(term, sympy.And) else Op.OR, term.args)
        if isinstance(term, sympy.Not):
            return add(Op.NOT, self.read(term.args[0]))
        if isinstance(term, sympy.ITE):
            return add(Op.SELECT, *map(self.read, term.args))
        if isinstance(term, sympy.Piecewise):
            return self._choice(term)
        if term.is_Relational:
            return self._comparison(term)
        if term.is_Function and term.func.__name__ in ("divide", "modulo"):
            return add(Op.DIV if term.func.__name__ == "divide" else Op.MOD, *map(self.read, term.args))
        raise _NoForm

    def _chain(self, op: Op, terms: Any) -> int:
        return reduce(lambda left, right: self.builder.add(op, left, right), map(self.read, terms))

    def _sum(self, terms: Any) -> int:
        plus = [term for term in terms if not term.could_extract_minus_sign()]
        minus = [-term for term in terms if term.could_extract_minus_sign()]
        total = self._chain(Op.ADD, plus) if plus else self.builder.add(Op.INT, value=0)
        return reduce(lambda left, term: self.builder.add(Op.SUB, left, self.read(term)), minus, total)

    def _product(self, term: Any) -> int:
        if term.is_Pow:
            base, power = term.args
            if not (power.is_Integer and 1 < power <= 4):
                raise _NoForm
            return self._chain(Op.MUL, [base] * int(power))
        number, rest = term.as_coeff_Mul()
        if not number.is_Integer:
            raise _NoForm
        factors = [factor for factor in rest.as_ordered_factors() if factor != 1]
        if number == -1:
            return self.builder.add(Op.SUB, self.builder.add(Op.INT, value=0), self._chain(Op.MUL, factors))
        return self._chain(Op.MUL, factors if number == 1 else [*factors, number])

    def _comparison(self, term: Any) -> int:
        sympy, add = self.sympy, self.builder.add
        left, right = map(self.read, term.args)
        if isinstance(term, sympy.Eq):
            return add(Op.EQ, left, right)
        if isinstance(term, sympy.Ne):
            return add(Op.NOT, add(Op.EQ, left, right))
        if isinstance(term, sympy.Gt | sympy.Ge):
            left, right = right, left
        return add(Op.LT if isinstance(term, sympy.Lt | sympy.Gt) else Op.LE, left, right)

    def _choice(self, term: Any) -> int:
        (last, always), *others = reversed(term.args)
        if always != self.sympy.true:
            raise _NoForm
        total = self.read(last)
        for value, condition in others:
            total = self.builder.add(Op.SELECT, self.read(condition), self.read(value), total)
        return total
