"""The readable matcher and rewriter: what the kernel must agree with, and what certificates are replayed by.

Works on the tables of `model.Builder` and on the rules themselves, not on compiled programs, so that it is a judge of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from sysgym.exprsimp.model import ARITY, Builder, Expression, Op, apply
from sysgym.exprsimp.rules.table import Rule, orientations

INT32 = 2**31
Bindings = dict[int, int]


def match(builder: Builder, pattern: Expression, term: int) -> Bindings | None:
    """What the slots of a pattern stand for in a term, or None; a slot that comes again asks for the same term."""
    bound: Bindings = {}
    pending = [(len(pattern.nodes) - 1, term)]
    rows = pattern.nodes.tolist()
    while pending:
        place, term = pending.pop()
        op, *children, value = rows[place]
        found, *below, number = builder.rows[term]
        if op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT):
            if (op == Op.CONSTANT and found != Op.INT) or builder.sorts[term] != (op == Op.BOOL_VAR):
                return None
            if bound.setdefault(value, term) != term:
                return None
        elif op != found or (op in (Op.INT, Op.TRUTH) and number != value):
            return None
        else:
            pending.extend(pair for pair in zip(children, below, strict=True) if pair[0] >= 0)
    return bound


def constant_value(builder: Builder, expression: Expression, bound: Bindings) -> int | None:
    """Value of a term over constants; None where a number on the way does not fit 32 bits."""
    values: list[int] = []
    for op, a, b, c, value in expression.nodes.tolist():
        if op in (Op.INT, Op.TRUTH):
            values.append(value)
        elif op == Op.CONSTANT:
            values.append(builder.rows[bound[value]][4])
        else:
            values.append(apply(op, values[a], values[b], values[c]))
        if not -INT32 <= values[-1] < INT32:
            return None
    return values[-1]


def rewrite(builder: Builder, rule: Rule, pattern: Expression, term: int) -> int | None:
    """The term that a rule puts in a term's place, or None where it doesn't apply.

    Args:
        builder: Table of the term; the result is added.
        rule: Gives condition and replacement.
        pattern: The rule's pattern in one of its orientations.
        term: Where to try.
    """
    bound = match(builder, pattern, term)
    if bound is None or not constant_value(builder, rule.condition, bound):
        return None
    made: list[int] = []
    computed: list[int | None] = []
    for op, a, b, c, value in rule.rhs.nodes.tolist():
        children = [child for child in (a, b, c) if child >= 0]
        if op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT):
            made.append(bound[value])
            computed.append(builder.rows[bound[value]][4] if op == Op.CONSTANT else None)
        elif all(computed[child] is not None for child in children) and op != Op.SELECT:
            numbers = [computed[child] or 0 for child in children] + [0] * (3 - len(children))
            result = apply(op, *numbers) if ARITY[op] else value
            if not -INT32 <= result < INT32:
                return None
            made.append(builder.add(Op.TRUTH if _gives_truth(op) else Op.INT, value=result))
            computed.append(result)
        else:
            places = [made[child] for child in children] + [-1] * (3 - len(children))
            made.append(builder.add(op, places[0], places[1], places[2], value))
            computed.append(None)
    if any(number is not None and not -INT32 <= number < INT32 for number in computed):
        return None
    return made[-1]


def _gives_truth(op: int) -> bool:
    return op in (Op.TRUTH, Op.LT, Op.LE, Op.EQ, Op.AND, Op.OR, Op.NOT)


def applications(builder: Builder, rules: Sequence[Rule], root: int) -> Iterator[tuple[int, int, int, int]]:
    """All that rules can do to an expression: (term, row of the rule, orientation, result)."""
    turned = _by_operator(tuple(rules))
    for term in builder.order(root):
        for row, orientation, pattern in turned.get(builder.rows[term][0], ()):
            result = rewrite(builder, rules[row], pattern, term)
            if result is not None:
                yield term, row, orientation, result


@lru_cache(maxsize=4)
def _by_operator(rules: tuple[Rule, ...]) -> dict[int, list[tuple[int, int, Expression]]]:
    """Row, orientation and pattern of what can match, by the operator of the root."""
    found: dict[int, list[tuple[int, int, Expression]]] = {}
    for row, rule in enumerate(rules):
        for orientation, pattern in orientations(rule):
            found.setdefault(int(pattern.nodes[-1, 0]), []).append((row, orientation, pattern))
    return found


def normal_form(builder: Builder, rules: Sequence[Rule], root: int, known: dict[int, int]) -> int:
    """Normal form under the down rules among these: operands first, then the first rule that applies.

    Args:
        builder: Table of the term; grows.
        rules: The rules.
        root: The term.
        known: Normal forms so far, kept between calls; grows.
    """
    turned = _by_operator(tuple(rules))
    stack = [root]
    while stack:
        term = stack[-1]
        op, *children, value = builder.rows[term]
        waiting = [child for child in children if child >= 0 and child not in known]
        if term in known:
            stack.pop()
        elif waiting:
            stack.append(waiting[0])
        else:
            a, b, c = (known[child] if child >= 0 else -1 for child in children)
            same = builder.add(op, a, b, c, value)
            if same != term and same not in known:
                stack.append(same)
                continue
            if same == term:
                result = _first_down(builder, rules, turned, term)
                if result is not None and result not in known:
                    stack.append(result)
                    continue
                known[term] = term if result is None else known[result]
            else:
                known[term] = known[same]
            stack.pop()
    return known[root]


def _first_down(
    builder: Builder, rules: Sequence[Rule], turned: dict[int, list[tuple[int, int, Expression]]], term: int
) -> int | None:
    for row, _, pattern in turned.get(builder.rows[term][0], ()):
        if rules[row].direction == "down":
            result = rewrite(builder, rules[row], pattern, term)
            if result is not None:
                return result
    return None
