"""Scores of a slotted episode, from its event log, its jobset and the time at which it ended."""

from __future__ import annotations

import numpy as np

from sysgym.core.events import EventKind, EventLog
from sysgym.jobsched.slotted.model import SlottedConfig
from sysgym.workloads.jobsets import Jobset


def slotted_metrics(events: EventLog, jobset: Jobset, end_time: int, config: SlottedConfig) -> dict[str, float]:
    """The scores of an episode.

    The slowdown of a job is (finish - enter)/length; its finish is known once it is booked. A job that was dropped or
    never booked counts with the least slowdown that it could still reach at the end of the episode, so that leaving
    jobs out never pays, and `incomplete` is 1. With the quirk `silent_loss` such jobs are left out, as published.

    Args:
        events: The episode's log.
        jobset: Its arrivals.
        end_time: Its last time step.
        config: The cluster.

    Returns:
        `mean_slowdown` (rounded down job by job with the quirk `floor_slowdown`), `floored_slowdown` (always so),
        `max_slowdown`, `mean_completion_time` (time steps from arrival to finish), `makespan` (last finish),
        `utilisation` (booked units over capacity up to the makespan), `jobs` (that entered), `booked`, `dropped`,
        `unbooked` (neither), `incomplete` (0 or 1). Where no job came, which light loads bring, slowdowns are 1, the
        least, so that such an episode can be compared, and `mean_completion_time` is NaN. Slowdowns are NaN where jobs
        came and all are left out: who books nothing shall not look perfect.
    """
    submits, books, drops = (events.of(kind) for kind in (EventKind.SUBMIT, EventKind.BOOK, EventKind.DROP))
    start = np.full(len(jobset), np.nan)
    start[books.subject] = books.amount
    jobs = books.subject if config.silent_loss else submits.subject
    enter = np.full(len(jobset), np.nan)
    enter[submits.subject] = submits.time
    finish = np.where(np.isnan(start), end_time, start) + jobset.length
    completion = (finish - enter)[jobs]
    slowdown = completion / jobset.length[jobs]
    floored = np.floor(slowdown)
    makespan = float((books.amount + jobset.length[books.subject]).max()) if len(books) else 0.0
    work = float((jobset.length[books.subject, None] * jobset.demand[books.subject]).sum())
    unbooked = len(jobs) - len(books) - len(drops)
    of_none = np.nan if len(submits) else 1.0
    return {
        "mean_slowdown": _mean(floored if config.floor_slowdown else slowdown, of_none),
        "floored_slowdown": _mean(floored, of_none),
        "max_slowdown": float(slowdown.max()) if len(jobs) else of_none,
        "mean_completion_time": _mean(completion, np.nan),
        "makespan": makespan,
        "utilisation": work / (config.resources * config.capacity * makespan) if makespan else 0.0,
        "jobs": float(len(jobs)),
        "booked": float(len(books)),
        "dropped": float(len(drops)),
        "unbooked": float(unbooked),
        "incomplete": float(unbooked + len(drops) > 0),
    }


def _mean(values: np.ndarray, otherwise: float) -> float:
    return float(values.mean()) if len(values) else otherwise
