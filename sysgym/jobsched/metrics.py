"""Scores of a schedule, computed from its event log and its workload alone.

Bounded slowdown follows Feitelson et al., "Theory and practice in parallel job scheduling" (JSSPP 1997), with the
threshold of ten seconds that the archive's studies use. Averages of slowdown are ruled by few jobs, so medians,
quantiles and means by size class always stand beside them. Quantiles interpolate linearly between order statistics.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.events import EventKind, EventLog

SLOWDOWN_THRESHOLD = 10.0
"""Seconds below which a run time counts as this long, so that very short jobs don't rule the mean."""


def start_times(events: EventLog, first: int, count: int) -> NDArray[np.float64]:
    """Start of every job, from the log.

    Args:
        events: Log whose START events name jobs `first` to `first + count - 1`.
        first: Row of the first job in its workload.
        count: Number of jobs.

    Returns:
        float64, shape (count,), seconds; NaN for a job that never started.
    """
    starts = events.of(EventKind.START)
    times = np.full(count, np.nan)
    times[starts.subject - first] = starts.time
    return times


def bounded_slowdown(
    wait: NDArray[np.float64], run: NDArray[np.float64], threshold: float = SLOWDOWN_THRESHOLD
) -> NDArray[np.float64]:
    """max(1, (wait + run) / max(run, threshold)) of every job; all in seconds.

    >>> bounded_slowdown(np.array([10.0]), np.array([5.0]))
    array([1.5])
    """
    return np.maximum(1.0, (wait + run) / np.maximum(run, threshold))


def schedule_summary(
    submit: NDArray[np.float64],
    start: NDArray[np.float64],
    run: NDArray[np.float64],
    processors: NDArray[np.int64],
    machine: int,
) -> dict[str, float]:
    """The scores of a whole schedule.

    Args:
        submit: Submission of every job, seconds, shape (n,).
        start: Its start.
        run: Its run time.
        processors: The processors it takes.
        machine: Processors of the machine.

    Returns:
        `jobs`; bounded slowdown as mean, median, p95, p99, max, and by size class (serial, up to an eighth, up to
        half, above half of the machine; classes without jobs are left out); `mean_wait`, `median_wait`, `p95_wait`,
        `p99_wait`, `max_wait`, `mean_turnaround`, `makespan` in seconds; `utilisation` in [0, 1].
    """
    wait = start - submit
    slowdown = bounded_slowdown(wait, run)
    makespan = float((start + run).max() - submit.min())
    scores = {"jobs": float(len(submit))}
    for name, values in (("bounded_slowdown", slowdown), ("wait", wait)):
        median, p95, p99 = np.percentile(values, [50, 95, 99])
        scores[f"mean_{name}"] = float(values.mean())
        scores |= {f"median_{name}": float(median), f"p95_{name}": float(p95), f"p99_{name}": float(p99)}
        scores[f"max_{name}"] = float(values.max())
    scores["mean_turnaround"] = float((wait + run).mean())
    scores["makespan"] = makespan
    scores["utilisation"] = float((run * processors).sum() / (machine * makespan))
    return scores | _by_size(slowdown, processors, machine)


def _by_size(slowdown: NDArray[np.float64], processors: NDArray[np.int64], machine: int) -> dict[str, float]:
    eighth, half = max(1.0, machine / 8), max(1.0, machine / 2)
    edges = {"serial": (0.0, 1.0), "eighth": (1.0, eighth), "half": (eighth, half), "large": (half, float(machine))}
    scores = {}
    for name, (above, up_to) in edges.items():
        chosen = (processors > above) & (processors <= up_to)
        if chosen.any():
            scores[f"mean_bounded_slowdown_{name}"] = float(slowdown[chosen].mean())
    return scores
