"""Placing and inserting jobs in readable Python: the truth that `dynamics` must equal.

A job is placed at its *earliest feasible start*: its arrival, or the first end of another job behind it, from which
its units are free for its whole length. Gaps may be filled, so a job that is placed later can start earlier. A
schedule follows from the order in which jobs are placed, and some order gives a best one, because delaying a job from
its earliest start never helps a mean of slowdowns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sysgym.jobsched.rewriting.model import Instance

FRONT = -1
"""Behind which a job is inserted to come first."""


class Schedule:
    """Starts of jobs beside the units that are in use.

    Args:
        instance: The jobs.

    Attributes:
        start: Start of each job, None for one that is not placed.
    """

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.start: list[int | None] = [None] * len(instance)
        self._used = np.zeros((1, instance.demand.shape[1]), dtype=np.int64)

    def end(self, job: int) -> int:
        """When a placed job ends."""
        begun = self.start[job]
        assert begun is not None
        return begun + int(self.instance.length[job])

    def fits(self, job: int, at: int) -> bool:
        """Whether a job could run from `at` beside all that is placed."""
        window = self._used[at : at + int(self.instance.length[job])]
        return bool((window + self.instance.demand[job] <= self.instance.capacity).all())

    def earliest(self, job: int) -> int:
        """The earliest feasible start of a job that is not placed."""
        arrival = int(self.instance.arrival[job])
        ends = {self.end(other) for other, begun in enumerate(self.start) if begun is not None}
        return next(at for at in sorted({arrival, *(end for end in ends if end > arrival)}) if self.fits(job, at))

    def put(self, job: int, at: int) -> None:
        """Place a job at a start, feasible or not."""
        end = at + int(self.instance.length[job])
        if end > len(self._used):
            self._used = np.pad(self._used, ((0, end), (0, 0)))
        self._used[at:end] += self.instance.demand[job]
        self.start[job] = at

    def take(self, job: int) -> None:
        """Take a placed job out."""
        self._used[self.start[job] : self.end(job)] -= self.instance.demand[job]
        self.start[job] = None

    def place(self, job: int) -> int:
        """Place a job at its earliest feasible start, which is returned."""
        at = self.earliest(job)
        self.put(job, at)
        return at

    def starts(self) -> NDArray[np.int64]:
        """Starts of all jobs, (n,)."""
        return np.array(self.start, dtype=np.int64)

    def mean_slowdown(self) -> float:
        """See `Instance.mean_slowdown`."""
        return self.instance.mean_slowdown(self.starts())


def placed(instance: Instance, order: Sequence[int]) -> Schedule:
    """The schedule of a placement order."""
    schedule = Schedule(instance)
    for job in order:
        schedule.place(job)
    return schedule


def inserted(order: Sequence[int], job: int, behind: int) -> list[int]:
    """A placement order with a job directly behind another, or first for `FRONT`.

    >>> inserted([0, 1, 2], 0, 2), inserted([0, 1, 2], 2, FRONT)
    ([1, 2, 0], [2, 0, 1])
    """
    rest = [other for other in order if other != job]
    at = 0 if behind == FRONT else rest.index(behind) + 1
    return [*rest[:at], job, *rest[at:]]
