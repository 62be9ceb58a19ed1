"""Rules as flat arrays for the kernel: patterns in pre-order, replacements and conditions in post-order.

A rule becomes one variant for each orientation of its commutative nodes. Variants are filed by the operator of their
root, and each place near the root (its operands and theirs) has a set of bits for every symbol that may stand there:
the variants that a symbol does not rule out. What can match a term is the intersection of a few such sets, so most
patterns are never tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.exprsimp.arena import NO_TERM, SYMBOLS, symbol_of
from sysgym.exprsimp.model import GIVES_BOOL, Builder, Expression, Op
from sysgym.exprsimp.rules.table import Rule, orientations

DIRECTIONS = ("down", "flat", "up")
PLACES = ((0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (1, 1))
"""Places that are looked at, as ways from the root: first operand, second, third, operands of the first two."""

TWINS = ((0, 1), (0, 2), (0, 5), (0, 6), (1, 2), (1, 3), (1, 4), (3, 4), (3, 5), (3, 6), (4, 5), (4, 6), (5, 6))
"""Pairs of `PLACES` where a name of a pattern may come twice, so that both hold the same term."""

WORD = 63
"""Bits of a word; one less than an int64 has, so that no sign is in the way."""


class Program(NamedTuple):
    """Compiled variants.

    Attributes:
        pattern: int64 (instructions, 3): operator, slot or constant, and whether the slot is met first, in pre-order.
        pattern_begin: int64 (variants + 1,): first instruction of each variant.
        replacement: int64 (instructions, 3): operator, slot or constant, and whether it is computed, in post-order.
        replacement_begin: int64 (variants + 1,).
        condition: int64 (instructions, 2): operator and slot or constant, in post-order.
        condition_begin: int64 (variants + 1,); nothing stands where there is no condition.
        filed: int64 (operators, words * 32): variants by operator of the root, in the table's order, -1 beyond.
        words: int64 (operators,): words that an operator's variants fill.
        admitted: int64 (operators, places, symbols, words): bit i for the variant `filed[operator, i]`.
        distinct: int64 (operators, pairs + 1, words): bits of the variants that do not ask for equal terms at a pair of
            `TWINS`; in the last row, at none of them.
        gentle: int64 (directions, operators, words): bits of the variants of at most this direction.
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
    filed: NDArray[np.int64]
    words: NDArray[np.int64]
    admitted: NDArray[np.int64]
    distinct: NDArray[np.int64]
    gentle: NDArray[np.int64]
    rule: NDArray[np.int64]
    orientation: NDArray[np.int64]
    direction: NDArray[np.int64]


def compile_rules(rules: Sequence[Rule]) -> Program:
    """Flatten rules; variants keep the order of the table."""
    variants = [(row, mask, pattern) for row, rule in enumerate(rules) for mask, pattern in orientations(rule)]
    patterns = [_preorder(pattern) for *_, pattern in variants]
    replacements = [_postorder(rules[row].rhs) for row, _, _ in variants]
    conditions = [_condition(rules[row].condition) for row, _, _ in variants]
    direction = np.array([DIRECTIONS.index(rules[row].direction) for row, _, _ in variants], np.int64)
    shapes = [pattern for *_, pattern in variants]
    filed, words = _filed(shapes)
    return Program(
        *_flat(patterns, 3), *_flat(replacements, 3), *_flat(conditions, 2), filed, words,
        _admitted(shapes, filed), _distinct(shapes, filed), _gentle(direction, filed),
        rule=np.array([row for row, _, _ in variants], np.int64),
        orientation=np.array([mask for _, mask, _ in variants], np.int64),
        direction=direction,
    )  # fmt: skip


def _condition(condition: Expression) -> list[tuple[int, ...]]:
    """Steps of a condition; none where it is the constant 1."""
    steps = [step[:2] for step in _postorder(condition)]
    return [] if steps == [(int(Op.TRUTH), 1)] else steps


def _flat(programs: list[list[tuple[int, ...]]], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    begins = np.cumsum([0, *(len(program) for program in programs)], dtype=np.int64)
    steps = [step for program in programs for step in program]
    return np.array(steps, np.int64).reshape(-1, width), begins


def _filed(patterns: list[Expression]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Variants by operator of the root, and the words they fill."""
    groups: list[list[int]] = [[] for _ in Op]
    for variant, pattern in enumerate(patterns):
        groups[int(pattern.nodes[-1, 0])].append(variant)
    words = np.array([-(-len(group) // WORD) for group in groups], np.int64)
    filed = np.full((len(Op), max(1, int(words.max(initial=0))) * WORD), -1, np.int64)
    for op, group in enumerate(groups):
        filed[op, : len(group)] = group
    return filed, words


def _bits(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Booleans of the last axis as words."""
    grouped = chosen.reshape(*chosen.shape[:-1], -1, WORD)
    words: NDArray[np.int64] = (grouped * (1 << np.arange(WORD, dtype=np.int64))).sum(axis=-1)
    return words


def _gentle(direction: NDArray[np.int64], filed: NDArray[np.int64]) -> NDArray[np.int64]:
    steepness = np.where(filed >= 0, np.append(direction, 0)[filed], len(DIRECTIONS))
    return _bits(steepness[None] <= np.arange(len(DIRECTIONS))[:, None, None])


def _admitted(patterns: list[Expression], filed: NDArray[np.int64]) -> NDArray[np.int64]:
    chosen = np.zeros((len(Op), len(PLACES), SYMBOLS, filed.shape[1]), np.bool_)
    for op, bit in np.argwhere(filed >= 0).tolist():
        for place, way in enumerate(PLACES):
            chosen[op, place, _symbols(patterns[filed[op, bit]], way), bit] = True
    return _bits(chosen)


def _distinct(patterns: list[Expression], filed: NDArray[np.int64]) -> NDArray[np.int64]:
    chosen = np.ones((len(Op), len(TWINS) + 1, filed.shape[1]), np.bool_)
    for op, bit in np.argwhere(filed >= 0).tolist():
        at = [_row(patterns[filed[op, bit]], way) for way in PLACES]
        for pair, (one, other) in enumerate(TWINS):
            chosen[op, [pair, -1], bit] &= at[one] < 0 or at[one] != at[other]  # a pattern's equal rows are one
    return _bits(chosen)


def _row(pattern: Expression, way: tuple[int, ...]) -> int:
    """Row of a pattern's table at a place, -1 where it has none."""
    row = len(pattern.nodes) - 1
    for step in way:
        row = int(pattern.nodes[row, 1 + step]) if row >= 0 else -1
    return row


def _symbols(pattern: Expression, way: tuple[int, ...]) -> list[int]:
    """Symbols that a pattern allows at a place."""
    row = _row(pattern, way)
    if row < 0:  # below a name anything may stand, below an operator without this operand nothing does
        return list(range(SYMBOLS))
    op, *_, value = pattern.nodes[row].tolist()
    integers = [int(Op.INT), *range(len(Op), NO_TERM)]
    if op == Op.CONSTANT:
        return integers
    if op == Op.VAR:
        return [int(found) for found in Op if found not in GIVES_BOOL] + integers[1:]
    if op == Op.BOOL_VAR:
        return [int(Op.SELECT), *(int(found) for found in GIVES_BOOL)]
    return [symbol_of(op, value)]


def _preorder(pattern: Expression) -> list[tuple[int, ...]]:
    steps: list[tuple[int, ...]] = []
    stack, met = [len(pattern.nodes) - 1], set()
    while stack:
        op, a, b, c, value = pattern.nodes[stack.pop()].tolist()
        is_name = op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT)
        steps.append((op, value, int(is_name and value not in met)))
        if is_name:
            met.add(value)
        stack.extend(child for child in (c, b, a) if child >= 0)
    return steps


def _postorder(expression: Expression) -> list[tuple[int, ...]]:
    """Steps of a stack machine; the third number is 1 where only constants stand below, and no `select`."""
    builder = Builder()
    root = builder.load(expression)
    computed: dict[int, int] = {-1: 1}
    for term in builder.order(root):
        op, a, b, c, _ = builder.rows[term]
        leaves = computed[a] and computed[b] and computed[c]
        computed[term] = int(op not in (Op.VAR, Op.BOOL_VAR, Op.SELECT) and leaves)
    steps: list[tuple[int, ...]] = []
    stack = [root]
    while stack:
        term = stack.pop()
        op, a, b, c, value = builder.rows[term]
        steps.append((op, value, computed[term]))
        stack.extend(child for child in (a, b, c) if child >= 0)
    return steps[::-1]
