"""Policies side by side on an unseen range of a log, with paired intervals over disjoint blocks of time.

A range (a split) is cut into disjoint blocks of equal numbers of jobs. In a block, windows of consecutive jobs, which
may overlap, are played from an empty machine; their mean is the block's one observation, the same windows for every
policy, and a bootstrap over blocks gives the intervals. So overlapping windows take the chance of where a window begins
out of the comparison, and do not pretend to be independent: no job is in two blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.bench.replays import Player
from sysgym.bench.statistics import Interval, paired_ratio
from sysgym.core.errors import WorkloadError, require_known, require_range
from sysgym.jobsched.batch.replay import Schedule
from sysgym.workloads.workload import SPLITS, Workload


@dataclass(frozen=True)
class ComparedRow:
    """One policy.

    Attributes:
        policy: Its name.
        mean: Mean bounded slowdown over the blocks.
        geometric_mean: The same by logarithms, over the blocks.
        ratio: Mean of the first policy over this one's, with its paired 95 % interval; None for the first itself.
        lost: Share of blocks in which the first policy is above this one.
        block_means: Of each block.
    """

    policy: str
    mean: float
    geometric_mean: float
    ratio: Interval | None
    lost: float | None
    block_means: tuple[float, ...]


def compare_policies(
    workload: Workload,
    policies: Sequence[str],
    split: str = "test",
    length: int = 256,
    stride: int = 64,
    blocks: int = 16,
    *,
    backfill: str | None = None,
    commit: bool | None = None,
    patience: float | None = None,
    pass_rule: str = "batch",
    seed: int = 0,
) -> list[ComparedRow]:
    """Play the windows of a range with each policy and compare the first policy with each.

    Args:
        workload: The log.
        policies: Names of schedulers, or policies as `replay_policies` takes them.
        split: One of `workload.SPLITS`.
        length: Jobs of a window.
        stride: Jobs between the beginnings of two windows of a block.
        blocks: Disjoint blocks of the range, at least 2.
        backfill: What stands behind a deciding policy; None takes what it was trained with.
        commit: Whether its choices are commitments; likewise.
        patience: Seconds that a job may wait before it goes first; likewise.
        pass_rule: "batch" or "per_event".
        seed: Of the bootstrap.

    Raises:
        UnknownNameError: No such split or policy.
        SettingError: A number out of its range.
        WorkloadError: The log is too short; the message says how many jobs it needs.
    """
    windows = _windows(workload, split, length, stride, blocks)
    rows: list[ComparedRow] = []
    first: NDArray[np.float64] | None = None
    for name in policies:
        player = Player(name, workload, pass_rule, backfill=backfill, commit=commit, patience=patience)
        means = np.array([[_score(player.play(workload.take(window))) for window in block] for block in windows]).mean(
            axis=1
        )
        ratio = lost = None
        if first is None:
            first = means
        else:
            ratio = paired_ratio(first[:, None], means[:, None], seed=seed)
            lost = float((first > means).mean())
        geometric = float(np.exp(np.log(means).mean()))
        rows.append(ComparedRow(player.name, float(means.mean()), geometric, ratio, lost, tuple(means.tolist())))
    return rows


def _windows(workload: Workload, split: str, length: int, stride: int, blocks: int) -> list[list[slice]]:
    """The windows of each block."""
    require_known("split", split, SPLITS)
    require_range("length", length, 1, whole=True)
    require_range("stride", stride, 1, whole=True)
    require_range("blocks", blocks, 2, whole=True)
    begin, end = (round(share * len(workload)) for share in SPLITS[split])
    size = (end - begin) // blocks
    if size < length:
        share = round(SPLITS[split][1] - SPLITS[split][0], 6)
        raise WorkloadError(
            f"{workload.provenance.source}: split {split!r} has {end - begin} of {len(workload)} jobs; {blocks} blocks "
            f"with windows of {length} need a log of at least {int(np.ceil(blocks * length / share))} jobs: bring one, "
            "or lower blocks or length"
        )
    starts = [begin + block * size for block in range(blocks)]
    offsets = range(0, size - length + 1, stride)
    return [[slice(start + offset, start + offset + length) for offset in offsets] for start in starts]


def _score(schedule: Schedule) -> float:
    return float(schedule.bounded_slowdown().mean())
