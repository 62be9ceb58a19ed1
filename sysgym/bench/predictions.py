"""Predictors of run times side by side on one log, over its later part, with paired intervals.

Every predictor plays the whole log and learns as jobs end. What is compared are the jobs submitted in the later part,
cut into disjoint blocks of equal numbers of jobs: the mean bounded slowdown of each block is one observation, the same
blocks for all, and a bootstrap over blocks gives the intervals. Slowdowns within a burst depend on each other, so
blocks are long; choose fewer of them, not more, where a log is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sysgym.bench.statistics import Interval, mean, paired_difference
from sysgym.core.errors import WorkloadError, require_range
from sysgym.jobsched.batch.replay import replay
from sysgym.workloads.workload import Workload


@dataclass(frozen=True)
class PredictorRow:
    """One predictor.

    Attributes:
        predictor: Its name.
        whole: Mean bounded slowdown of the whole log.
        later: Mean over the blocks of the later part.
        difference: `later` minus that of the reference, with its paired 95 % interval; None for the reference.
        better_blocks: Blocks in which it is below the reference.
    """

    predictor: str
    whole: float
    later: float
    difference: Interval | None
    better_blocks: int | None


def compare_predictors(
    workload: Workload,
    predictors: Sequence[str] = ("last_two", "learned"),
    policy: str = "easy_sjbf",
    pass_rule: str = "per_event",
    begin: float = 0.5,
    blocks: int = 20,
    seed: int = 0,
) -> list[PredictorRow]:
    """Play a log with each predictor and compare them with the first.

    Args:
        workload: The log.
        predictors: Names, see `jobsched.batch.prediction`; the first is the reference.
        policy: The scheduler that plans with them.
        pass_rule: "batch" or "per_event".
        begin: Share of the jobs, in order of submission, behind which the later part begins; in [0, 1).
        blocks: Disjoint blocks of the later part, at least 2.
        seed: Of the bootstrap.

    Raises:
        SettingError: `begin` or `blocks` is out of range.
        WorkloadError: The later part has fewer jobs than blocks.
    """
    require_range("begin", begin, 0, 0.99)
    require_range("blocks", blocks, 2, whole=True)
    first = round(begin * len(workload))
    if len(workload) - first < blocks:
        raise WorkloadError(
            f"behind {begin:g} of the log are {len(workload) - first} jobs, too few for {blocks} blocks"
        )
    rows, reference = [], None
    for name in predictors:
        slowdown = replay(workload, policy, pass_rule, predictor=name).bounded_slowdown()
        means = np.array([[block.mean()] for block in np.array_split(slowdown[first:], blocks)])  # a run is a block
        difference = None if reference is None else paired_difference(means, reference, mean, seed=seed)
        better = None if reference is None else int((means < reference).sum())
        reference = means if reference is None else reference
        rows.append(PredictorRow(name, float(slowdown.mean()), float(means.mean()), difference, better))
    return rows
