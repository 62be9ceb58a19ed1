"""Scores of an episode, from its event log, its arrivals and the time at which it ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.core.events import EventKind, EventLog
from sysgym.jobsched.dag.arrivals import Arrivals
from sysgym.jobsched.dag.bounds import lower_bounds
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.profiles import ProfileTable


def dag_metrics(
    events: EventLog, arrivals: Arrivals, end_time: float, table: ProfileTable, config: DagConfig
) -> dict[str, float]:
    """The scores of an episode.

    Args:
        events: Its log, times in seconds.
        arrivals: Its jobs.
        end_time: Where it ended, or stands, seconds.
        table: The profiles.
        config: The cluster.

    Returns:
        `mean_completion_time` over the jobs that arrived, in which an unfinished job counts with its age, so that
        leaving jobs out never pays; `median_completion_time`, `max_age` (the longest of all, which shows starvation),
        `jobs`, `unfinished`, `makespan` (last end), `horizon` (where the episode was to be cut, 0 if nowhere), all
        times in seconds; `lower_bound` of the mean and `over_bound`, the mean over it; and, where all jobs have ended,
        `makespan_bound`.
    """
    submits, finishes = events.of(EventKind.SUBMIT), events.of(EventKind.FINISH)
    end = np.full(len(arrivals.kind), end_time)
    end[finishes.subject] = finishes.time
    age = end[submits.subject] - submits.time
    scores = {
        "mean_completion_time": float(age.mean()) if len(age) else float("nan"),
        "median_completion_time": float(np.median(age)) if len(age) else float("nan"),
        "max_age": float(age.max()) if len(age) else float("nan"),
        "jobs": float(len(submits)),
        "unfinished": float(len(submits) - len(finishes)),
        "makespan": float(finishes.time[-1]) if len(finishes) else 0.0,
        "horizon": arrivals.horizon / 1000.0,
    }
    if len(age) and scores["mean_completion_time"] > 0:
        known = replace(arrivals, kind=arrivals.kind[: len(age)], submit=arrivals.submit[: len(age)])
        complete = len(finishes) == len(arrivals.kind)
        until = np.inf if complete else 1000.0 * end_time
        bounds = lower_bounds(table, known, config.executors, config.moving_delay, until)
        scores["lower_bound"] = bounds.mean_completion_time
        scores["over_bound"] = scores["mean_completion_time"] / bounds.mean_completion_time
        scores |= {"makespan_bound": bounds.makespan} if complete else {}
    return scores
