"""Predictors of run times side by side on one log, over its later part, with paired intervals.

Every predictor plays the whole log and learns as jobs end. What is compared are the jobs submitted in the later part,
cut into disjoint blocks of equal numbers of jobs: the mean bounded slowdown of each block is one observation, the same
blocks for all, and a bootstrap over blocks gives the intervals. Slowdowns within a burst depend on each other, so
blocks are long; choose fewer of them, not more, where a log is short.

A schedule is chaotic: one job more or less moves the mean of a log by several percent, whatever the predictor. With
`replicates` the log is also played without a random fiftieth of its jobs, several times, and the observation of a block
is its mean over the replicates; that takes chance out of the comparison and leaves the blocks what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.bench.statistics import Interval, mean, paired_difference
from sysgym.core.errors import WorkloadError, require_range
from sysgym.core.seeding import stream
from sysgym.jobsched.batch.replay import replay
from sysgym.workloads.workload import Workload

LEFT_OUT = 0.02
"""Share of the jobs that a thinned replicate lacks."""


@dataclass(frozen=True)
class PredictorRow:
    """One predictor.

    Attributes:
        predictor: Its name.
        whole: Mean bounded slowdown of the log as it is.
        later: Mean over the blocks of the later part, and over the replicates.
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
    replicates: int = 1,
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
        replicates: How often the log is played; the first time it is whole, then thinned.
        seed: Of the bootstrap and the thinning.

    Raises:
        SettingError: `begin` or `blocks` is out of range.
        WorkloadError: The later part has fewer jobs than blocks.
    """
    require_range("begin", begin, 0, 0.99)
    require_range("blocks", blocks, 2, whole=True)
    require_range("replicates", replicates, 1, whole=True)
    first = round(begin * len(workload))
    if len(workload) - first < blocks:
        raise WorkloadError(
            f"behind {begin:g} of the log are {len(workload) - first} jobs, too few for {blocks} blocks"
        )
    block = np.concatenate([np.full(first, -1), np.arange(len(workload) - first) * blocks // (len(workload) - first)])
    kept = _replicates(len(workload), replicates, seed)
    rows, reference = [], None
    for name in predictors:
        slowdowns = [replay(workload.take(jobs), policy, pass_rule, predictor=name).bounded_slowdown() for jobs in kept]
        found = [_block_means(block[jobs], slowdown, blocks) for jobs, slowdown in zip(kept, slowdowns, strict=True)]
        means = np.mean(found, axis=0)[:, None]  # a run is a block
        difference = None if reference is None else paired_difference(means, reference, mean, seed=seed)
        better = None if reference is None else int((means < reference).sum())
        reference = means if reference is None else reference
        rows.append(PredictorRow(name, float(slowdowns[0].mean()), float(means.mean()), difference, better))
    return rows


def _replicates(count: int, replicates: int, seed: int) -> list[NDArray[np.int64]]:
    """The rows of each replicate, in order: all of them first, then all but a random share `LEFT_OUT`."""
    generator = stream(seed, "workload")
    thinned = count - round(LEFT_OUT * count)
    return [np.arange(count)] + [np.sort(generator.permutation(count)[:thinned]) for _ in range(replicates - 1)]


def _block_means(block: NDArray[np.int64], slowdown: NDArray[np.float64], blocks: int) -> NDArray[np.float64]:
    later = block >= 0
    sums = np.bincount(block[later], slowdown[later], blocks)
    return np.asarray(sums / np.bincount(block[later], minlength=blocks), dtype=np.float64)
