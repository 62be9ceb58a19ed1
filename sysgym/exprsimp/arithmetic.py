"""The operators on 64-bit integers, compiled: the fast copy of `model.apply`. Callers mind overflow."""

from __future__ import annotations

from sysgym.core.compiled import uncounted_inline
from sysgym.exprsimp.model import Op

_ADD, _SUB, _MUL, _DIV, _MOD, _MIN, _MAX, _LT, _LE, _EQ, _AND, _OR, _NOT, _SELECT = (
    int(op) for op in Op if op > Op.CONSTANT
)


@uncounted_inline
def apply_to_words(op: int, x: int, y: int, z: int) -> int:  # noqa: PLR0912  one line an operator
    """The value of an operator; Bool values are 0 and 1."""
    if op == _ADD:
        result = x + y
    elif op == _SUB:
        result = x - y
    elif op == _MUL:
        result = x * y
    elif op == _DIV:
        result = (x - x % abs(y)) // y if y != 0 else 0
    elif op == _MOD:
        result = x % abs(y) if y != 0 else 0
    elif op == _MIN:
        result = min(x, y)
    elif op == _MAX:
        result = max(x, y)
    elif op == _LT:
        result = 1 if x < y else 0
    elif op == _LE:
        result = 1 if x <= y else 0
    elif op == _EQ:
        result = 1 if x == y else 0
    elif op == _AND:
        result = x & y
    elif op == _OR:
        result = x | y
    elif op == _NOT:
        result = 1 - x
    else:
        result = y if x != 0 else z
    return result
