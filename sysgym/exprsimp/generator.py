"""Random expressions: typed by construction, seeded, split by shape, in four named distributions.

`neurewriter` follows table 2 of Chen & Tian (NeurIPS 2019) in compact length: 10 to 579 characters, 106.84 on average,
3 to 100 nodes, 27.39 on average, and the shares of at most 20, 30, 50 and 100 characters.
`halide` follows the operators,
constants and lengths of the expressions that Halide's compiler meets. `fuzz` draws all operators alike. All of them
hold `select`, and divisors that are 0, negative or variable, which compilers' data lacks. `inverse` makes short ones
of `fuzz` longer by proved rules, so that a short form is known (`generate_inverse`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.seeding import stream
from sysgym.exprsimp import kernel
from sysgym.exprsimp.arena import load, make_arena
from sysgym.exprsimp.inverse import lengthened
from sysgym.exprsimp.model import Builder, Expression, Op, Sort
from sysgym.exprsimp.printer import to_text
from sysgym.exprsimp.rules.table import published_rules
from sysgym.exprsimp.workbench import program_of

SPLITS = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
"""Shares of the shapes, disjoint."""

_TRIES = 200
_COMPARISONS = (Op.LT, Op.LE, Op.EQ)


@dataclass(frozen=True)
class Distribution:
    """How expressions are drawn.

    Attributes:
        operators: Weights of the Int operators.
        conditions: Weights of the Bool operators.
        lengths: Buckets of characters: (share, least, most); within the last one lengths fall off exponentially.
        tail: Mean excess over the least of the last bucket.
        characters_per_node: From a length to a number of nodes.
        bools: Share of Bool roots.
        constants: Share of constants among the leaves.
        quantiles: Quantiles 1, 5, 25, 50, 75, 95, 99 % of constants.
        plain_divisors: Share of divisors that are positive constants; the rest are 0, negative or terms.
        variables: Most variables.
        compact: Whether lengths are compact.
        nodes: Least and most nodes.
    """

    operators: Mapping[Op, float]
    conditions: Mapping[Op, float]
    lengths: tuple[tuple[float, int, int], ...]
    tail: float
    characters_per_node: float
    bools: float
    constants: float
    quantiles: tuple[int, ...]
    plain_divisors: float
    variables: int = 13
    compact: bool = True
    nodes: tuple[int, int] = (3, 100)


_CONDITIONS = {Op.LE: 4.2, Op.AND: 2.7, Op.EQ: 1.5, Op.NOT: 0.5, Op.LT: 0.6, Op.OR: 0.3}
DISTRIBUTIONS = {
    "neurewriter": Distribution(
        operators={Op.ADD: 28, Op.SUB: 14, Op.MUL: 9, Op.DIV: 6, Op.MOD: 3, Op.MIN: 14, Op.MAX: 12, Op.SELECT: 3},
        conditions=_CONDITIONS,
        lengths=((0.016, 10, 20), (0.028, 21, 30), (0.112, 31, 50), (0.383, 51, 100), (0.461, 101, 579)),
        tail=37.0, characters_per_node=3.9, bools=0.5, constants=0.6, quantiles=(-1024, -300, 4, 64, 300, 900, 1024),
        plain_divisors=0.95,
    ),
    "halide": Distribution(
        operators={Op.ADD: 31.1, Op.MUL: 18.7, Op.SUB: 13.1, Op.DIV: 10.6, Op.MIN: 10.5, Op.MAX: 6.2, Op.MOD: 0.6,
                   Op.SELECT: 0.5},
        conditions=_CONDITIONS,
        lengths=((0.10, 10, 28), (0.15, 29, 37), (0.25, 38, 60), (0.25, 61, 107), (0.25, 108, 410)),
        tail=85.0, characters_per_node=3.55, bools=0.39, constants=0.61, quantiles=(-103, 0, 2, 7, 45, 508, 1999),
        plain_divisors=0.97, compact=False,
    ),
    "fuzz": Distribution(
        operators=dict.fromkeys((Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MOD, Op.MIN, Op.MAX, Op.SELECT), 1.0),
        conditions=dict.fromkeys((Op.LT, Op.LE, Op.EQ, Op.AND, Op.OR, Op.NOT, Op.SELECT), 1.0),
        lengths=((0.5, 10, 60), (0.5, 61, 300)), tail=60.0, characters_per_node=4.0, bools=0.5, constants=0.5,
        quantiles=(-1024, -8, -1, 1, 3, 16, 1024), plain_divisors=0.4, variables=5,
    ),
}  # fmt: skip


NAMES = (*DISTRIBUTIONS, "inverse")
"""All distributions."""


def generate(
    count: int, distribution: str = "neurewriter", seed: int = 0, split: str | None = None, *, reducible: bool = False
) -> list[Expression]:
    """Draw distinct expressions.

    Args:
        count: How many.
        distribution: neurewriter, halide, fuzz or inverse.
        seed: Equal seeds give equal lists, and a longer list begins with a shorter one.
        split: train, valid or test, which share no shape (the text with variables and constants blanked); None for all.
        reducible: Whether at least one simplifying rule must apply, as in the published set.

    Raises:
        UnknownNameError: There is no such distribution or split.
        SettingError: The count isn't positive, or so many distinct expressions were not found.

    >>> [len(generate(3, "halide", seed=1)), generate(1, seed=5) == generate(2, seed=5)[:1]]
    [3, True]
    """
    require_known("distribution", distribution, NAMES)
    if split is not None:
        require_known("split", split, SPLITS)
    require_range("count", count, 1)
    found: dict[str, Expression] = {}
    for made in _stream_of(distribution, stream(seed, f"expressions/{distribution}"), count * _TRIES):
        if (split is None or split_of(made) == split) and (not reducible or is_reducible(made)):
            found.setdefault(to_text(made), made)
            if len(found) == count:
                return list(found.values())
    raise SettingError(f"found only {len(found)} distinct expressions of {count}; ask for fewer")


def generate_inverse(count: int, seed: int = 0) -> list[tuple[Expression, Expression]]:
    """Expressions of the distribution `inverse`, each with the short form that it was made from.

    Args:
        count: How many.
        seed: Equal seeds give equal lists.
    """
    require_range("count", count, 1)
    drawn = _inverse(stream(seed, "expressions/inverse"), count * _TRIES)
    return [pair for pair, _ in zip(drawn, range(count), strict=False)]


def _stream_of(distribution: str, generator: np.random.Generator, most: int) -> Iterator[Expression]:
    if distribution == "inverse":
        return (made for made, _ in _inverse(generator, most))
    return _drawn(DISTRIBUTIONS[distribution], generator, most)


def _inverse(generator: np.random.Generator, most: int) -> Iterator[tuple[Expression, Expression]]:
    """Longer expressions beside their short forms."""
    for _ in range(most):
        target = _Draw(DISTRIBUTIONS["fuzz"], generator).expression(int(generator.integers(3, 16)))
        made = lengthened(target, generator, int(generator.integers(10, 100)))
        if not _is_trivial(target) and made.size > target.size:
            yield made, target


def shape_of(expression: Expression) -> str:
    """The canonical text with variables and constants blanked."""
    nodes = expression.nodes.copy()
    leaf = nodes[:, 1] < 0
    nodes[leaf, 0], nodes[leaf, 4] = Op.INT, 0
    return to_text(Expression(nodes))


def split_of(expression: Expression) -> str:
    """The split that an expression's shape belongs to."""
    digest = hashlib.sha256(shape_of(expression).encode()).digest()
    share = int.from_bytes(digest[:8], "little") / 2**64
    return next(name for name, (low, high) in SPLITS.items() if low <= share < high)


def is_reducible(expression: Expression) -> bool:
    """Whether at least one rule of the simplifying set applies."""
    arena = make_arena(4096 + 8 * len(expression.nodes))
    root = load(arena, expression)
    return kernel.applications(arena, program_of(published_rules()), root, np.empty((1, 3), np.int64), 0) > 0


def _drawn(chosen: Distribution, generator: np.random.Generator, most: int) -> Iterator[Expression]:
    """Expressions whose length lies in the bucket that was drawn for them."""
    shares = np.array([share for share, _, _ in chosen.lengths])
    made = 0
    while made < most:
        bucket = int(generator.choice(len(shares), p=shares / shares.sum()))
        _, least, longest = chosen.lengths[bucket]
        for _ in range(_TRIES):
            made += 1
            last = bucket == len(shares) - 1
            length = least + generator.exponential(chosen.tail) if last else generator.uniform(least, longest + 1)
            size = int(np.clip(round(length / chosen.characters_per_node), *chosen.nodes))
            expression = _Draw(chosen, generator).expression(size)
            text_length = expression.compact_length if chosen.compact else expression.length
            fits = least <= text_length <= longest and chosen.nodes[0] <= expression.size <= chosen.nodes[1]
            if fits and not _is_trivial(expression):
                yield expression
                break


def _is_trivial(expression: Expression) -> bool:
    """Whether the root compares a term with itself, or no variable occurs."""
    op, a, b, _, _ = expression.nodes[-1].tolist()
    return not expression.variables or (op in _COMPARISONS and a == b)


class _Draw:
    """One expression in the making; variables are named in the order of their first use."""

    def __init__(self, chosen: Distribution, generator: np.random.Generator) -> None:
        self._chosen, self._generator, self._builder = chosen, generator, Builder()
        self._pool = int(generator.integers(1, min(chosen.variables, 6) + 1))
        self._names: dict[int, int] = {}

    def expression(self, size: int) -> Expression:
        """A tree of about `size` nodes."""
        generator = self._generator
        sort = Sort.BOOL if size >= 3 and generator.random() < self._chosen.bools else Sort.INT
        made: list[int] = []
        tasks: list[tuple[str, int, int]] = [("make", sort, size)]
        while tasks:
            what, first, second = tasks.pop()
            if what == "join":
                children = made[-second:]
                del made[-second:]
                made.append(self._builder.add(first, *children))
            elif what == "divisor":
                made.append(self._divisor())
            elif second <= 1 or (first == Sort.BOOL and second < 3):
                made.append(self._leaf(Sort(first)))
            else:
                tasks += reversed(self._split(Sort(first), second))
        return self._builder.expression(made[-1])

    def _split(self, sort: Sort, size: int) -> list[tuple[str, int, int]]:
        """What makes a term of a size: its operands from the left, then their operator."""
        op = self._operator(sort, size)
        if op == Op.NOT:
            return [("make", Sort.BOOL, size - 1), ("join", op, 1)]
        if op == Op.SELECT:
            test = int(self._generator.integers(3, max(4, size // 2)))
            left = int(self._generator.integers(1, max(2, size - 1 - test)))
            parts = [("make", Sort.BOOL, test), ("make", sort, left), ("make", sort, max(1, size - 1 - test - left))]
            return [*parts, ("join", op, 3)]
        if op in (Op.DIV, Op.MOD) and self._generator.random() < 0.99:
            return [("make", Sort.INT, size - 2), ("divisor", 0, 0), ("join", op, 2)]
        inner = Sort.BOOL if op in (Op.AND, Op.OR) else Sort.INT
        least = 3 if inner == Sort.BOOL else 1
        left = int(self._generator.integers(least, max(least + 1, size - least)))
        return [("make", inner, left), ("make", inner, max(1, size - 1 - left)), ("join", op, 2)]

    def _operator(self, sort: Sort, size: int) -> Op:
        weights = self._chosen.conditions if sort == Sort.BOOL else self._chosen.operators
        least = {Op.AND: 7, Op.OR: 7, Op.NOT: 4, Op.SELECT: 10 if sort == Sort.BOOL else 6}
        fitting = [op for op in weights if size >= least.get(op, 3)] or [Op.LE if sort == Sort.BOOL else Op.ADD]
        shares = np.array([weights.get(op, 1.0) for op in fitting])
        return fitting[int(self._generator.choice(len(fitting), p=shares / shares.sum()))]

    def _leaf(self, sort: Sort) -> int:
        if sort == Sort.BOOL:
            return self._builder.add(Op.LE, self._leaf(Sort.INT), self._leaf(Sort.INT))
        if self._generator.random() < self._chosen.constants:
            return self._builder.add(Op.INT, value=self._constant())
        return self._variable()

    def _variable(self) -> int:
        drawn = int(self._generator.integers(self._pool))
        return self._builder.add(Op.VAR, value=self._names.setdefault(drawn, len(self._names)))

    def _constant(self) -> int:
        return round(
            float(
                np.interp(self._generator.random(), (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), self._chosen.quantiles)
            )
        )

    def _divisor(self) -> int:
        if self._generator.random() < self._chosen.plain_divisors:
            return self._builder.add(Op.INT, value=max(2, abs(self._constant())))
        kind = int(self._generator.integers(3))
        if kind == 0:
            return self._variable()
        return self._builder.add(Op.INT, value=0 if kind == 1 else -max(1, abs(self._constant())))
