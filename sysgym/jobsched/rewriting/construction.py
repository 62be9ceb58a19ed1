"""List schedules, as the orders in which they place the jobs, in readable Python.

* `ejf`, earliest job first: in the order of arrival.
* `sjf`: jobs become pending in the order of arrival; whenever ten are pending, or no more come, the one with the
  smallest feasible start is placed, the shortest among those. So it looks ahead, and is not "shortest first" (the
  public NeuRewriter code).
* `sjfs`, shortest job first with search: as `sjf`, but a pending job is placed after which the others, placed by
  length, have the least sum of slowdowns together with it. The paper names this rule and doesn't define it; this is
  our reading.
* `earliest_finish`: of all jobs that are left, the one that can finish first is placed. It knows all arrivals, like
  `sjf_offline`, and is by far the best of these rules (ours).
* `sjf_offline`: by (length, arrival). Inferred: of three candidates the only one that has the published averages.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import require_known
from sysgym.jobsched.rewriting.model import INITIAL, WINDOW, Instance
from sysgym.jobsched.rewriting.schedule import Schedule


def order_of(name: str, instance: Instance) -> NDArray[np.int64]:
    """The placement order of a named list schedule, (n,).

    Raises:
        UnknownNameError: No rule has this name.
    """
    require_known("list schedule", name, INITIAL)
    if name == "ejf":
        return np.arange(len(instance))
    if name == "sjf_offline":
        return np.argsort(instance.length, kind="stable")
    if name == "earliest_finish":
        return _by_finish(instance)
    return _windowed(instance, search=name == "sjfs")


def _by_finish(instance: Instance) -> NDArray[np.int64]:
    schedule, left, order = Schedule(instance), list(range(len(instance))), list[int]()
    while left:
        finish = [schedule.earliest(job) + int(instance.length[job]) for job in left]
        order.append(left.pop(finish.index(min(finish))))
        schedule.place(order[-1])
    return np.array(order, dtype=np.int64)


def _windowed(instance: Instance, search: bool) -> NDArray[np.int64]:
    schedule, pending, order = Schedule(instance), list[int](), list[int]()
    for job in range(len(instance) + 1):
        ended = job == len(instance)
        while len(pending) >= (1 if ended else WINDOW):
            scores = [
                _looked_ahead(schedule, pending, each) if search else _first_and_shortest(schedule, each)
                for each in pending
            ]
            chosen = pending.pop(scores.index(min(scores)))
            schedule.place(chosen)
            order.append(chosen)
        if not ended:
            pending.append(job)
    return np.array(order, dtype=np.int64)


def _first_and_shortest(schedule: Schedule, job: int) -> tuple[float, ...]:
    return schedule.earliest(job), int(schedule.instance.length[job])


def _looked_ahead(schedule: Schedule, pending: list[int], job: int) -> tuple[float, ...]:
    """Sum of the pending jobs' slowdowns if this one is placed, and then the others by (length, arrival)."""
    instance, total = schedule.instance, 0.0
    rest = sorted((other for other in pending if other != job), key=lambda other: (int(instance.length[other]), other))
    for other in (job, *rest):
        at, length = schedule.place(other), int(instance.length[other])
        total += (at + length - int(instance.arrival[other])) / length
    for other in (job, *rest):
        schedule.take(other)
    return (total,)
