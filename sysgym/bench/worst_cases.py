"""Worst cases: what a mean hides. The longest wait, the oldest job, the worst scenario, of each policy.

A policy that starves large jobs has a good mean for a while. So beside each table stands what the environment's metrics
say of extremes (`max_age`, `max_slowdown`, `p99_wait`, `unfinished`, ...): the mean over scenarios and the worst one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.bench.contests import Contest, Entry

EXTREMES = ("max_age", "max_wait", "max_slowdown", "max_bounded_slowdown", "p99_wait", "unfinished", "dropped")
"""Metrics that tell of starvation, the most telling first; small is good."""
MOST = 3
"""Most of them in a table."""


@dataclass(frozen=True)
class WorstCases:
    """A table of extremes.

    Attributes:
        metrics: The metrics, the objective first.
        rows: Of each policy, (mean over scenarios, worst scenario) of each metric.
    """

    metrics: list[str]
    rows: list[tuple[str, list[tuple[float, float]]]]


def worst_cases_of(contest: Contest) -> WorstCases | None:
    """The extremes of a contest; None where no metric tells of them."""
    known = [name for name in EXTREMES if all(_has(entry, name) for entry in contest.entries)]
    telling = [name for name in known if any(_values(entry, name).any() for entry in contest.entries)][:MOST]
    if not telling:
        return None
    objective = contest.newest.environment.objective
    worst = np.max if contest.minimise else np.min
    rows = [
        (
            entry.name,
            [(entry.mean, float(worst(entry.values)))]
            + [(float(values.mean()), float(values.max())) for values in (_values(entry, name) for name in telling)],
        )
        for entry in contest.entries
    ]
    return WorstCases([objective, *telling], rows)


def _has(entry: Entry, name: str) -> bool:
    return all(None not in record.result.metrics.get(name, [None]) for record in entry.records)


def _values(entry: Entry, name: str) -> NDArray[np.float64]:
    return np.array([record.result.metrics[name] for record in entry.records], dtype=np.float64)
