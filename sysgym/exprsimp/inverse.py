"""Expressions whose short form is known: a small one, made longer by proved rules that are read from right to left.

What a rule's left side names and its right side lacks is drawn: a term of the expression, a small one, or a constant
that fulfils the condition. Every step is checked by applying the rule forwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from sysgym.exprsimp.matcher import Bindings, constant_value, match, rewrite
from sysgym.exprsimp.model import Builder, Expression, Op, Sort
from sysgym.exprsimp.rules.table import Rule, published_rules

_TRIES = 400
_MOST_NODES = 100
_NAMES = (Op.VAR, Op.BOOL_VAR, Op.CONSTANT)


def lengthened(target: Expression, generator: np.random.Generator, size: int) -> Expression:
    """An expression equal to the target, grown until it has `size` nodes or no draw makes it longer.

    Args:
        target: The short form.
        generator: Of the draws.
        size: Nodes to reach; at most 100 are kept.
    """
    builder = Builder()
    root = builder.load(target)
    for _ in range(_TRIES):
        if builder.sizes[root] >= size:
            break
        order = builder.order(root)
        term = order[int(generator.integers(len(order)))]
        rules = _by_result()[Sort(builder.sorts[term])]
        made = _undone(builder, rules[int(generator.integers(len(rules)))], term, order, generator)
        if made is not None and made != term:
            grown = builder.replace(root, term, made, order)
            if builder.sizes[root] < builder.sizes[grown] <= _MOST_NODES:
                root = grown
    return builder.expression(root)


@cache
def _by_result() -> dict[Sort, list[Rule]]:
    """Rules that can be read backwards, by the sort of what they give: nothing on the right is computed."""
    found: dict[Sort, list[Rule]] = {Sort.INT: [], Sort.BOOL: []}
    for rule in published_rules():
        if rule.direction == "down" and not any(_computes(rule.rhs, row) for row in range(len(rule.rhs.nodes))):
            found[rule.lhs.sort].append(rule)
    return found


def _computes(rhs: Expression, row: int) -> bool:
    """Whether an operator stands over constants alone."""
    op, *children, _ = rhs.nodes[row].tolist()
    below = [child for child in children if child >= 0]
    constant = all(rhs.nodes[child, 0] in (Op.INT, Op.TRUTH, Op.CONSTANT) or _computes(rhs, child) for child in below)
    return bool(below) and constant and op != Op.SELECT


def _undone(builder: Builder, rule: Rule, term: int, order: list[int], generator: np.random.Generator) -> int | None:
    """A term that the rule turns into this one."""
    bound = match(builder, rule.rhs, term)
    if bound is None:
        return None
    for _ in range(3):
        drawn = dict(bound)
        for op, slot in _leaves(rule.lhs):
            if slot not in drawn:
                drawn[slot] = _drawn(builder, op, order, generator)
        if constant_value(builder, rule.condition, drawn):
            made = _filled(builder, rule.lhs, drawn)
            return made if rewrite(builder, rule, rule.lhs, made) == term else None
    return None


def _leaves(expression: Expression) -> Iterator[tuple[int, int]]:
    return ((op, value) for op, *_, value in expression.nodes.tolist() if op in _NAMES)


def _drawn(builder: Builder, op: int, order: list[int], generator: np.random.Generator) -> int:
    """A term for a name of the left side."""
    if op == Op.CONSTANT:
        return builder.add(Op.INT, value=int(generator.integers(-64, 65)))
    sort = Sort.BOOL if op == Op.BOOL_VAR else Sort.INT
    fitting = [term for term in order if builder.sorts[term] == sort and builder.sizes[term] <= 5]
    if fitting and generator.random() < 0.6:
        return fitting[int(generator.integers(len(fitting)))]
    variable = builder.add(Op.VAR, value=int(generator.integers(6)))
    if sort == Sort.INT:
        return variable
    return builder.add(Op.LE, variable, builder.add(Op.INT, value=int(generator.integers(-64, 65))))


def _filled(builder: Builder, pattern: Expression, bound: Bindings) -> int:
    made: list[int] = []
    for op, a, b, c, value in pattern.nodes.tolist():
        if op in _NAMES:
            made.append(bound[value])
        else:
            a, b, c = (made[child] if child >= 0 else -1 for child in (a, b, c))  # noqa: PLW2901  in this table
            made.append(builder.add(op, a, b, c, value))
    return made[-1]
