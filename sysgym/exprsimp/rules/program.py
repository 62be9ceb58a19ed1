"""Rules as flat arrays for the kernel: patterns in pre-order, replacements and conditions in post-order.

A rule becomes one variant for each orientation of its commutative nodes. Variants are filed by the operators that their
pattern asks of the root and of its first two operands, so that a term meets only those that can match.
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
        bucket_begin: int64 (operators ** 3 + 1,): where the variants of a bucket begin in `bucket`; see `bucket_of`.
        bucket: int64: variants that may match a term, in the table's order.
        rule: int64 (variants,): row of the rule in the table.
        orientation: int64 (variants,): which commutative nodes are swapped.
        direction: int64 (variants,): index into `DIRECTIONS`.
    """

    pattern: NDArray[np.int64]
    pattern_begin: NDArray[np.int64]
    replacement: NDArray[np.int64]
    replacement_begin: NDArray[np.int64]
    condition: NDArray[np.int64]
    condition_begin: NDArray[np.int64]
    bucket_begin: NDArray[np.int64]
    bucket: NDArray[np.int64]
    rule: NDArray[np.int64]
    orientation: NDArray[np.int64]
    direction: NDArray[np.int64]


def compile_rules(rules: Sequence[Rule]) -> Program:
    """Flatten rules; variants keep the order of the table."""
    variants = [(row, mask, pattern) for row, rule in enumerate(rules) for mask, pattern in orientations(rule)]
    patterns = [_preorder(pattern) for *_, pattern in variants]
    replacements = [_postorder(rules[row].rhs) for row, _, _ in variants]
    conditions = [[step[:2] for step in _postorder(rules[row].condition)] for row, _, _ in variants]
    buckets = _buckets([pattern for *_, pattern in variants])
    return Program(
        *_flat(patterns, 2), *_flat(replacements, 3), *_flat(conditions, 2),
        bucket_begin=np.cumsum([0, *map(len, buckets)], dtype=np.int64),
        bucket=np.array([variant for bucket in buckets for variant in bucket], np.int64),
        rule=np.array([row for row, _, _ in variants], np.int64),
        orientation=np.array([mask for _, mask, _ in variants], np.int64),
        direction=np.array([DIRECTIONS.index(rules[row].direction) for row, _, _ in variants], np.int64),
    )  # fmt: skip


def _flat(programs: list[list[tuple[int, ...]]], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    begins = np.cumsum([0, *(len(program) for program in programs)], dtype=np.int64)
    steps = [step for program in programs for step in program]
    return np.array(steps, np.int64).reshape(-1, width), begins


def _buckets(patterns: list[Expression]) -> list[list[int]]:
    """Variants by the operators of a term and of its first two operands (0 where there is none)."""
    buckets: list[list[int]] = [[] for _ in range(len(Op) ** 3)]
    for variant, pattern in enumerate(patterns):
        asked = _asked(pattern)
        first, second = (range(len(Op)) if op < 0 else (op,) for op in asked)
        for a in first:
            for b in second:
                buckets[(int(pattern.nodes[-1, 0]) * len(Op) + a) * len(Op) + b].append(variant)
    return buckets


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
