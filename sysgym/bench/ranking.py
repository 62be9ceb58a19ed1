"""Ranks of several policies: Borda points, ranks with intervals, and ranks that ties share.

Policies are rows of a matrix of N policies by m tasks, larger is better. Borda points and their rule for equal sums are
those of the Massive Text Embedding Benchmark (`mteb/benchmarks/_create_table.py`), apart from its zero for a missing
task: who has not played every task is not ranked here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from sysgym.core.errors import SettingError

LEVEL = 0.025
"""Share of replicates that a policy which is shown to be better may lose: one side of a 95 % interval."""


def average_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Rank of each policy on each task, 1 is best, ties averaged; shape (N, m) as `scores`."""
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise SettingError(f"scores have shape {matrix.shape}; expected policies by tasks, every entry finite")
    ranks: NDArray[np.float64] = rankdata(-matrix, method="average", axis=0)
    return ranks


def borda_points(scores: ArrayLike) -> NDArray[np.float64]:
    """N - rank points a task, summed over tasks; shape (N,).

    >>> borda_points([[0.9, 0.5], [0.8, 0.5], [0.1, 0.9]]).tolist()
    [2.5, 1.5, 2.0]
    """
    ranks = average_ranks(scores)
    points: NDArray[np.float64] = (len(ranks) - ranks).sum(axis=1)
    return points


def places(points: ArrayLike) -> NDArray[np.int64]:
    """Place of each policy by its points, 1 is best; equal points share the smaller number.

    >>> places([4, 15, 5, 5]).tolist()
    [4, 1, 2, 2]
    """
    found: NDArray[np.int64] = rankdata(-_comparable(points), method="min").astype(np.int64)
    return found


def rank_intervals(replicates: ArrayLike) -> list[tuple[int, int]]:
    """95 % range of each policy's rank over bootstrap replicates of all policies, drawn together.

    Args:
        replicates: Shape (B, N), larger is better.

    Returns:
        The 2.5th and 97.5th percentile, to the nearest rank, a pair a policy.
    """
    drawn = _comparable(replicates)
    ranks = rankdata(-drawn, method="min", axis=1)
    low, high = np.percentile(ranks, [2.5, 97.5], axis=0, method="nearest")
    return list(zip(low.astype(int).tolist(), high.astype(int).tolist(), strict=True))


def shared_ranks(replicates: ArrayLike) -> list[int]:
    """Ranks that ties share: 1 + how many policies are better in all but 2.5 % of the replicates.

    Args:
        replicates: Shape (B, N), larger is better; paired, so that column differences are paired differences.

    Returns:
        N ranks; policies between which no difference is shown have the same one, unless a third divides them.
    """
    drawn = _comparable(replicates)
    return [1 + _shown_better(drawn, number) for number in range(drawn.shape[1])]


def _comparable(values: ArrayLike) -> NDArray[np.float64]:
    """Values that have an order.

    Raises:
        SettingError: One is NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).any():
        raise SettingError("a value is NaN, which has no rank; leave incomplete policies out first")
    return array


def _shown_better(drawn: NDArray[np.float64], number: int) -> int:
    fails = (drawn <= drawn[:, number, None]).mean(axis=0)
    return int((fails <= LEVEL).sum())
