"""Rules as flat arrays for the kernel: patterns in pre-order, replacements and conditions in post-order.

A rule becomes one variant for each orientation of its commutative nodes; variants are sorted by the operator that their
pattern has at the root, so that a term meets only those that can match.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.exprsimp.model import Builder, Expression, Op
from sysgym.exprsimp.rules.table import Rule, orientations

DIRECTIONS = ("down", "flat", "up")


class Program(NamedTuple):
    """Compiled variants.

    Attributes:
        pattern: int64 (instructions, 2): operator and slot or constant, in pre-order.
        pattern_begin: int64 (variants + 1,): first instruction of each variant.
        replacement: int64 (instructions, 3): operator, slot or constant, and whether it is computed, in post-order.
        replacement_begin: int64 (variants + 1,).
        condition: int64 (instructions, 2): operator and slot or constant, in post-order.
        condition_begin: int64 (variants + 1,).
        by_operator: int64 (operators + 1,): first variant of each root operator.
        rule: int64 (variants,): row of the rule in the table.
        orientation: int64 (variants,): which commutative nodes are swapped.
        direction: int64 (variants,): index into `DIRECTIONS`.
        second: int64 (variants, 2): operator that the pattern asks of the first and the second child, -1 for any.
    """

    pattern: NDArray[np.int64]
    pattern_begin: NDArray[np.int64]
    replacement: NDArray[np.int64]
    replacement_begin: NDArray[np.int64]
    condition: NDArray[np.int64]
    condition_begin: NDArray[np.int64]
    by_operator: NDArray[np.int64]
    rule: NDArray[np.int64]
    orientation: NDArray[np.int64]
    direction: NDArray[np.int64]
    second: NDArray[np.int64]


def compile_rules(rules: Sequence[Rule]) -> Program:
    """Flatten rules; the order of the table is kept within a root operator."""
    variants = [
        (int(pattern.nodes[-1, 0]), row, mask, pattern)
        for row, rule in enumerate(rules)
        for mask, pattern in orientations(rule)
    ]
    variants.sort(key=lambda variant: variant[0])
    patterns = [_preorder(pattern) for *_, pattern in variants]
    replacements = [_postorder(rules[row].rhs) for _, row, _, _ in variants]
    conditions = [[step[:2] for step in _postorder(rules[row].condition)] for _, row, _, _ in variants]
    roots = np.array([operator for operator, *_ in variants])
    return Program(
        *_flat(patterns, 2), *_flat(replacements, 3), *_flat(conditions, 2),
        by_operator=np.searchsorted(roots, np.arange(len(Op) + 1)).astype(np.int64),
        rule=np.array([row for _, row, _, _ in variants], np.int64),
        orientation=np.array([mask for _, _, mask, _ in variants], np.int64),
        direction=np.array([DIRECTIONS.index(rules[row].direction) for _, row, _, _ in variants], np.int64),
        second=np.array([_asked(pattern) for *_, pattern in variants], np.int64).reshape(-1, 2),
    )  # fmt: skip


def _flat(programs: list[list[tuple[int, ...]]], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    begins = np.cumsum([0, *(len(program) for program in programs)], dtype=np.int64)
    steps = [step for program in programs for step in program]
    return np.array(steps, np.int64).reshape(-1, width), begins


def _asked(pattern: Expression) -> tuple[int, int]:
    """Operators of the root's first two children, -1 where any term will do."""
    asked = []
    for child in pattern.nodes[-1, 1:3].tolist():
        op = int(pattern.nodes[child, 0]) if child >= 0 else -1
        asked.append({int(Op.VAR): -1, int(Op.BOOL_VAR): -1, int(Op.CONSTANT): int(Op.INT)}.get(op, op))
    return asked[0], asked[1]


def _preorder(pattern: Expression) -> list[tuple[int, ...]]:
    steps: list[tuple[int, ...]] = []
    stack = [len(pattern.nodes) - 1]
    while stack:
        op, a, b, c, value = pattern.nodes[stack.pop()].tolist()
        steps.append((op, value))
        stack.extend(child for child in (c, b, a) if child >= 0)
    return steps


def _postorder(expression: Expression) -> list[tuple[int, ...]]:
    """Steps of a stack machine; the third number is 1 where only constants stand below."""
    builder = Builder()
    root = builder.load(expression)
    computed: dict[int, int] = {-1: 1}
    for term in builder.order(root):
        op, a, b, c, _ = builder.rows[term]
        computed[term] = int(op not in (Op.VAR, Op.BOOL_VAR) and computed[a] and computed[b] and computed[c])
    steps: list[tuple[int, ...]] = []
    stack = [root]
    while stack:
        term = stack.pop()
        op, a, b, c, value = builder.rows[term]
        steps.append((op, value, computed[term]))
        stack.extend(child for child in (a, b, c) if child >= 0)
    return steps[::-1]
