"""Scores of an episode, from its event log and its jobs alone."""

from __future__ import annotations

import numpy as np

from sysgym.core.events import EventLog
from sysgym.jobsched.rewriting.construction import order_of
from sysgym.jobsched.rewriting.model import Instance
from sysgym.jobsched.rewriting.schedule import placed


def rewrite_metrics(events: EventLog, instance: Instance) -> dict[str, float]:
    """The scores of an episode.

    Args:
        events: BOOK events; the time counts moves, the amount is a job's start from then on.
        instance: Its jobs.

    Returns:
        `mean_slowdown` and `max_slowdown` of the best schedule met, `mean_completion_time` (time steps from arrival to
        finish) and `makespan` of the same; `initial_slowdown`, `last_slowdown` (means at the beginning and at the
        end); `over_sjf_offline`: `mean_slowdown` over that of SJF-offline; `changes`: moves that changed a start;
        `jobs`.
    """
    start = np.zeros(len(instance), dtype=np.int64)
    best, best_start, means = np.inf, start, list[float]()
    for move in np.unique(events.time):
        now = events.time == move
        start[events.subject[now]] = events.amount[now].astype(np.int64)
        means.append(instance.mean_slowdown(start))
        if means[-1] < best:
            best, best_start = means[-1], start.copy()
    finish = best_start + instance.length
    rival = placed(instance, order_of("sjf_offline", instance).tolist()).mean_slowdown()
    return {
        "mean_slowdown": best,
        "max_slowdown": float(((finish - instance.arrival) / instance.length).max()),
        "mean_completion_time": float((finish - instance.arrival).mean()),
        "makespan": float(finish.max()),
        "initial_slowdown": means[0],
        "last_slowdown": means[-1],
        "over_sjf_offline": best / rival,
        "changes": float(len(means) - 1),
        "jobs": float(len(instance)),
    }
