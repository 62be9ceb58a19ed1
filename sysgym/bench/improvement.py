"""How likely one policy is to do better than another: the matrix of probabilities of improvement of a board.

After Agarwal et al., NeurIPS 2021: the chance that a run of the first does better than a run of the second on a task,
ties half, as a mean over tasks. A task is a scenario, so that both have met the same one; a run is a training seed or a
draw. Environments count alike. Bands resample what the intervals of a board resample: scenarios, runs, environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sysgym.bench import statistics
from sysgym.bench.contests import Contest, Entry, Replicates
from sysgym.bench.leaderboard import MINIMUM_SCENARIOS
from sysgym.core.seeding import stream_key

MOST = 14
"""Most policies of a matrix, the best ones: more cannot be read."""


@dataclass(frozen=True)
class Improvements:
    """Chances of doing better, row by row.

    Attributes:
        policies: Of the rows and columns, best first.
        chances: That the policy of the row does better than that of the column; a half on the diagonal.
        shown: Whether the 95 % interval leaves out a half.
    """

    policies: list[str]
    chances: list[list[float]]
    shown: list[list[bool]]


def improvements(
    names: Sequence[str], replicates: Sequence[Replicates], environments: NDArray[np.int64] | None = None
) -> Improvements:
    """The matrix of policies that played in every contest.

    Args:
        names: Of the policies, best first; the first `MOST` are taken.
        replicates: Of the contests.
        environments: Which of them each replicate is made of, shape (B, contests); None: each once.
    """
    names = list(names[:MOST])
    parts = [_of_contest(names, replicate) for replicate in replicates]
    estimates = np.mean([estimate for estimate, _ in parts], axis=0)
    stacked = np.stack([drawn for _, drawn in parts], axis=1)
    if environments is not None:
        stacked = np.take_along_axis(stacked, environments[: len(stacked), :, None], axis=1)
    low, high = np.percentile(stacked.mean(axis=1), [2.5, 97.5], axis=0)
    enough = sum(replicate.contest.scenarios for replicate in replicates) >= MINIMUM_SCENARIOS
    differs = ((low > 0.5) | (high < 0.5)) & enough
    chances = np.full((len(names), len(names)), 0.5)
    shown = np.zeros(chances.shape, dtype=bool)
    upper = np.triu_indices(len(names), 1)  # in the order of `combinations`
    chances[upper], shown[upper] = estimates, differs
    chances.T[upper], shown.T[upper] = 1 - estimates, differs
    return Improvements(names, chances.tolist(), shown.tolist())


def _of_contest(names: Sequence[str], replicate: Replicates) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chances of every pair on one environment, shape (pairs,), and their replicates, shape (B, pairs).

    What the draws of scenarios and those of runs change is added up, the first order of drawing both at once.
    """
    contest, count = replicate.contest, statistics.PROFILE_REPLICATES
    entries = [next(entry for entry in contest.entries if entry.name == name) for name in names]
    pairs = list(combinations(entries, 2))
    tables = [_wins(first, second, contest) for first, second in pairs]
    estimates = np.array([table.mean() for table in tables])
    drawn: NDArray[np.float64] = replicate.weights[:count] @ np.stack([table.mean(axis=(0, 1)) for table in tables]).T
    chosen = {
        entry.name: statistics.scenario_weights(len(entry.values), len(drawn), stream_key(contest.seed, entry.name))
        for entry in entries
        if len(entry.values) > 1
    }
    once = np.ones((len(drawn), 1))
    for number, (first, second) in enumerate(pairs):
        if first.name in chosen or second.name in chosen:
            by_run = chosen.get(first.name, once) @ tables[number].mean(axis=2)
            drawn[:, number] += (by_run * chosen.get(second.name, once)).sum(axis=1) - estimates[number]
    return estimates, drawn


def _wins(first: Entry, second: Entry, contest: Contest) -> NDArray[np.float64]:
    """Whether a run of the first does better than one of the second, ties half; shape (runs, runs, scenarios)."""
    x, y = first.values[:, None, :], second.values[None, :, :]
    better = x < y if contest.minimise else x > y
    wins: NDArray[np.float64] = better + 0.5 * (x == y)
    return wins
