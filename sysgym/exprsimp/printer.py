"""Expression to canonical text: every binary node in parentheses, one space around every operator.

The text is what the metric `length` counts; Chen & Tian (NeurIPS 2019) count the compact form of Halide's printer,
which is there as a switch. Works through a stack of its own, so that nesting has no limit.
"""

from __future__ import annotations

from collections.abc import Callable

from sysgym.exprsimp.model import CALLS, SYMBOLS, Builder, Expression, Op

Names = Callable[[int, int], str]


def to_text(expression: Expression, *, compact: bool = False) -> str:
    """Canonical text of an expression; `parse` reads it back to an equal expression.

    >>> from sysgym.exprsimp.parser import parse
    >>> to_text(parse("v0+3*v1 > -4"))
    '(-4 < (v0 + (3 * v1)))'
    """
    rows = [tuple(row) for row in expression.nodes.tolist()]
    return _write(
        rows, len(rows) - 1, lambda op, value: str(value) if op in (Op.INT, Op.TRUTH) else f"v{value}", compact
    )


def term_text(builder: Builder, root: int, names: Names | None = None) -> str:
    """Canonical text of a term in a table, with the caller's names for leaves."""
    return _write(
        builder.rows, root, names or (lambda op, value: f"{'' if op <= Op.TRUTH else 'v'}{value}"), compact=False
    )


def _write(
    rows: list[tuple[int, ...]] | list[tuple[int, int, int, int, int]], root: int, names: Names, compact: bool
) -> str:
    parts: list[str] = []
    stack: list[int | str] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        op, a, b, c, value = rows[item]
        if a < 0:
            parts.append(names(op, value))
        elif op == Op.NOT:
            stack.extend((")", a, "!(") if compact else (a, "!"))
        elif op == Op.SELECT:
            stack.extend((")", c, ", ", b, ", ", a, "select("))
        elif op in (Op.MIN, Op.MAX):
            stack.extend((")", b, ", ", a, CALLS[Op(op)] + "("))
        else:
            space = "" if compact and op in (Op.MUL, Op.DIV) else " "
            stack.extend((")", b, f"{space}{SYMBOLS[Op(op)]}{space}", a, "("))
    return "".join(parts)
