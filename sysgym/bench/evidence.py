"""What an event log leaves in a record besides its hash: the length of the queue over time, thinned for a plot.

One scenario's queue is kept. It is the one with the most work in the time between its first and last submission: the
busiest shows most, and as work does not depend on who schedules it, all policies keep the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysgym.core.events import EventKind, EventLog

BINS = 160
"""Points of a thinned series: about one for four pixels of a plot."""

_CHANGE = {EventKind.SUBMIT: 1, EventKind.START: -1, EventKind.DROP: -1}


@dataclass(frozen=True)
class QueueSeries:
    """Mean number of waiting jobs in equal slices of time.

    Attributes:
        start: Time of the first event, in the domain's unit.
        step: Width of a slice.
        length: Mean queue length of each slice.
    """

    start: float
    step: float
    length: tuple[float, ...]


def queue_series(events: EventLog, bins: int = BINS) -> QueueSeries | None:
    """The queue of an episode, averaged over slices of time; None where no time passes.

    The integral of a queue is piecewise linear between events, so that interpolating it at the edges of the slices
    gives their exact means. O(n + bins).
    """
    if len(events) == 0 or events.time[-1] <= events.time[0]:
        return None
    change = np.zeros(len(events))
    for kind, amount in _CHANGE.items():
        change[events.kind == kind] = amount
    waiting = np.cumsum(change)
    area = np.concatenate([[0.0], np.cumsum(waiting[:-1] * np.diff(events.time))])
    edges = np.linspace(events.time[0], events.time[-1], bins + 1)
    step = float(edges[1] - edges[0])
    means = np.diff(np.interp(edges, events.time, area)) / step
    return QueueSeries(float(events.time[0]), step, tuple(round(float(value), 3) for value in means))


def offered_work(events: EventLog) -> float:
    """Processors times seconds of all jobs, over the time between the first and the last submission; 0 without one."""
    submissions = events.of(EventKind.SUBMIT).time
    span = float(submissions[-1] - submissions[0]) if len(submissions) else 0.0
    starts, finishes = events.of(EventKind.START), events.of(EventKind.FINISH)
    work = float(finishes.time @ finishes.amount - starts.time @ starts.amount)
    return round(work / span, 9) if span > 0 else 0.0
