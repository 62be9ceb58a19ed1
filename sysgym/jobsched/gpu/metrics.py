"""Scores of a replay on GPU nodes, from its events, its table of placements and its samples alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.events import EventKind, EventLog
from sysgym.jobsched.gpu.model import WHOLE, Cluster, Jobs, Placements, Samples


def capacity_milli(cluster: Cluster) -> int:
    """Thousandths of all GPUs."""
    return int(cluster.gpus.sum()) * WHOLE


def first_times(events: EventLog, kind: EventKind, count: int) -> NDArray[np.float64]:
    """When each job first met with an event of a kind; NaN for those that never did."""
    chosen = events.of(kind)
    jobs, places = np.unique(chosen.subject, return_index=True)
    times = np.full(count, np.nan)
    times[jobs] = chosen.time[places]
    return times


def arrived_milli(events: EventLog, samples: Samples) -> NDArray[np.int64]:
    """Thousandths of GPUs that had been asked for by each sample."""
    submitted = events.of(EventKind.SUBMIT)
    total = np.concatenate([[0], np.cumsum(submitted.amount)])
    return total[np.searchsorted(submitted.time, samples.time, side="right")].astype(np.int64)


def mean_over_time(samples: Samples, values: NDArray[np.float64]) -> float:
    """Mean of what holds from each sample to the next; the last value where all are at one instant."""
    spans = np.diff(samples.time)
    return float((values[:-1] * spans).sum() / spans.sum()) if spans.sum() > 0 else float(values[-1])


def fragmentation_rate(cluster: Cluster, samples: Samples) -> NDArray[np.float64]:
    """Fragmentation as a share of the GPUs that are free, after each pass; 0 where none is."""
    free = capacity_milli(cluster) - samples.allocated
    rate: NDArray[np.float64] = np.divide(samples.fragmented, free, out=np.zeros(len(free)), where=free > 0)
    return rate


def gpu_summary(
    cluster: Cluster, jobs: Jobs, events: EventLog, placements: Placements, samples: Samples
) -> dict[str, float]:
    """The scores of a replay.

    Returns:
        `jobs`, `started`, `lost` (under "loss"), `unfinished` (started, but of unknown run time); `allocation_rate` and
        `fragmentation_rate` as `mean` over time and at the `last` pass, `highest` for the allocation (shares of all and
        of the free GPUs); `gpu_hours`: held by jobs; wait and turnaround of those that started and ended, as means,
        medians, 95 % quantiles, longest, in seconds; `makespan`; `preemptions`, `lost_gpu_hours` (work done twice);
        `nodes_per_gang`: nodes that a gang of several workers is spread over.
    """
    count, total = len(jobs.submit), capacity_milli(cluster)
    start, finish = first_times(events, EventKind.START, count), first_times(events, EventKind.FINISH, count)
    started, ended = ~np.isnan(start), ~np.isnan(finish)
    scores = {"jobs": float(count), "started": float(started.sum()), "lost": float(len(events.of(EventKind.DROP)))}
    scores["unfinished"] = float((started & ~ended).sum())
    allocated, fragmented = samples.allocated / max(1, total), fragmentation_rate(cluster, samples)
    scores |= {"mean_allocation_rate": mean_over_time(samples, allocated), "last_allocation_rate": float(allocated[-1])}
    scores["highest_allocation_rate"] = float(allocated.max())
    scores["mean_fragmentation_rate"] = mean_over_time(samples, fragmented)
    scores["last_fragmentation_rate"] = float(fragmented[-1])
    held = np.minimum(placements.end, samples.time[-1]) - placements.start
    each = (jobs.gpus * jobs.share)[placements.job] / WHOLE
    scores["gpu_hours"] = float((held * each).sum()) / 3600
    for name, values in (("wait", (start - jobs.submit)[started]), ("turnaround", (finish - jobs.submit)[ended])):
        scores |= _spread(name, values)
    scores["makespan"] = float(samples.time[-1] - jobs.submit[0])
    stopped = events.of(EventKind.PREEMPT)
    scores["preemptions"] = float(len(stopped))
    scores["lost_gpu_hours"] = float((stopped.amount * jobs.milli[stopped.subject]).sum()) / WHOLE / 3600
    return scores | _gangs(jobs, placements)


def _spread(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {f"{which}_{name}": float("nan") for which in ("mean", "median", "p95", "max")}
    median, p95 = np.percentile(values, [50, 95])
    return {f"mean_{name}": float(values.mean()), f"median_{name}": float(median), f"p95_{name}": float(p95),
            f"max_{name}": float(values.max())}  # fmt: skip


def _gangs(jobs: Jobs, placements: Placements) -> dict[str, float]:
    """Nodes that a gang is spread over, over all starts; left out where there is no gang."""
    rows = jobs.workers[placements.job] > 1
    if not rows.any():
        return {}
    own = np.stack([placements.job[rows], placements.start[rows].view(np.int64), placements.node[rows]], axis=1)
    spread = np.unique(own, axis=0)
    return {"nodes_per_gang": len(spread) / len(np.unique(spread[:, :2], axis=0))}
