"""The expressions that episodes begin with: a fixed list, drawn from by (seed, episode).

The list is generated, or the user's own. Which of it an episode gets depends on the seed, the split and the episode's
number alone, so it is the same whatever steps beside it and in whichever engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from sysgym.core.errors import SettingError, UnknownNameError, require_known, require_range
from sysgym.core.seeding import stream_key
from sysgym.exprsimp.fast_parser import parse_many
from sysgym.exprsimp.generator import SPLITS, generate, split_of
from sysgym.exprsimp.model import Expression
from sysgym.exprsimp.parser import read_expressions
from sysgym.workloads.draws import philox4x32

SAMPLINGS = ("uniform", "disjoint")


class ExpressionPool:
    """Expressions and how episodes draw from them.

    Args:
        expressions: The list.
        split: Its name, part of the key of the draws.
        sampling: "uniform", drawn from (seed, episode); "disjoint", number seed + episode in turn.
        max_nodes: Nodes that an expression may have.

    Raises:
        SettingError: The list is empty, or an expression is too large.
    """

    def __init__(self, expressions: Iterable[Expression], split: str, sampling: str, max_nodes: int) -> None:
        self.expressions = tuple(expressions)
        if not self.expressions:
            raise SettingError(f"no expression lies in the split {split!r}; give more of them, or split='all'")
        for place, expression in enumerate(self.expressions):
            require_small(expression, max_nodes, f"expression {place + 1}")
        require_known("sampling", sampling, SAMPLINGS)
        self.split, self.sampling = split, sampling
        self.begin = np.cumsum([0, *(len(one.nodes) for one in self.expressions)], dtype=np.int64)
        self.nodes = np.concatenate([one.nodes for one in self.expressions])
        self.cost = np.array([(one.size, one.length) for one in self.expressions], np.int64)

    def row(self, seed: int, episode: int) -> int:
        """Number of the expression of an episode."""
        if self.sampling == "disjoint":
            return (seed + episode) % len(self.expressions)
        key = stream_key(seed, f"expressions/{self.split}")
        return philox4x32(key, episode & 0xFFFFFFFF, episode >> 32, 0, 0)[0] % len(self.expressions)


def require_small(expression: Expression, max_nodes: int, name: str) -> None:
    """Raise `SettingError` if an expression has more nodes than an environment holds."""
    if expression.size > max_nodes:
        raise SettingError(
            f"{name} has {expression.size} nodes, and the environment holds max_nodes={max_nodes}; make it with a "
            "larger max_nodes, or leave the expression out"
        )


Expressions = Iterable[str | Expression] | str | Path | ExpressionPool | None
"""What an environment takes: a list, a file, what another environment plays, or None for what is generated."""


def make_pool(
    expressions: Expressions = None, *, distribution: str = "neurewriter",
    split: str | None = None, sampling: str = "uniform", count: int = 1000, field: str = "expr", max_nodes: int = 128,
) -> ExpressionPool:  # fmt: skip
    """The pool that an environment's arguments mean.

    Args:
        expressions: A list, or the path of a file of them; a pool, which is played as it is; None generates.
        distribution: Of what is generated, see `generator`.
        split: train, valid, test, which share no shape, or all. None: train of what is generated, all of one's own.
        sampling: See `ExpressionPool`.
        count: Expressions that are generated, each reducible.
        field: Of a .jsonl file that holds the expression.
        max_nodes: Nodes that an expression may have.

    Raises:
        ExpressionError: An expression cannot be read.
        InputFileError: A file cannot be read.
        UnknownNameError: An unknown distribution, split or sampling.
        SettingError: No expression is left, or one is too large.
    """
    if split not in (None, "all", *SPLITS):
        raise UnknownNameError("split", split, (*SPLITS, "all"))
    require_range("count", count, 1, whole=True)
    if expressions is None:
        chosen = split or "train"
        return ExpressionPool(_generated(count, distribution, chosen, max_nodes), chosen, sampling, max_nodes)
    if isinstance(expressions, ExpressionPool):
        if split in (None, expressions.split):
            return ExpressionPool(expressions.expressions, expressions.split, expressions.sampling, max_nodes)
        expressions = expressions.expressions
    elif not isinstance(expressions, Iterable | Path):
        raise SettingError(f"expressions is {expressions!r}; give a list of them, the path of a file, or a pool")
    given = read_expressions(expressions, field) if isinstance(expressions, str | Path) else expressions
    listed = list(given)
    if wrong := [one for one in listed if not isinstance(one, str | Expression)]:
        raise SettingError(f"{wrong[0]!r} is no expression; give texts, or what parse() makes of them")
    forest = parse_many([one for one in listed if isinstance(one, str)])
    read = iter(range(len(forest)))
    parsed = [forest[next(read)] if isinstance(one, str) else one for one in listed]
    split = split or "all"
    return ExpressionPool((one for one in parsed if split in ("all", split_of(one))), split, sampling, max_nodes)


@lru_cache(maxsize=16)
def _generated(count: int, distribution: str, split: str, max_nodes: int) -> tuple[Expression, ...]:
    """Reducible expressions of a seed that no user shares with his own lists; those too large are left out."""
    drawn = generate(count, distribution, _SEED, None if split == "all" else split, reducible=True)
    return tuple(one for one in drawn if one.size <= max_nodes)


_SEED = 2019
