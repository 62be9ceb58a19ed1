"""The moves of the public NeuRewriter code in readable Python: the graph of jobs, and the sweep that repairs.

Jobs form a directed graph below a root. In the start schedule an edge leads from the root to a job that starts on
arrival, else from every job that ends when it starts. A job may be moved behind its nearest ancestors and descendants.
The moved job is put at max(end of the neighbour, its arrival), where capacity may be broken for the moment; then time
is swept, and every job that starts in a step is placed anew at its earliest feasible start. Re-placed jobs get one
parent: the job before them among those that start with them, or for the first of these the last that ends then.

Sources: Chen and Tian, NeurIPS 2019, section 4.2, and the public code, whose order of ties is kept: jobs of a time
step stand in the order of their numbers, and behind them those that came there during the move.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.jobsched.rewriting.model import WINDOW, Instance
from sysgym.jobsched.rewriting.schedule import Schedule


class PublishedSchedule(Schedule):
    """A schedule with its graph; node n is the root.

    Args:
        instance: The jobs.
        start: Of each job, feasible, (n,).

    Attributes:
        parents: Of each node, in ascending order.
        children: Of each node, in the order in which the edges came.
    """

    def __init__(self, instance: Instance, start: NDArray[np.int64]) -> None:
        super().__init__(instance)
        self.root = len(instance)
        self.parents: list[list[int]] = [[] for _ in range(self.root + 1)]
        self.children: list[list[int]] = [[] for _ in range(self.root + 1)]
        self._came, self._arrivals = [0] * self.root, 0
        for job, at in enumerate(start.tolist()):
            self.put(job, at)
        for job, at in enumerate(start.tolist()):
            ended = [other for other in range(self.root) if self.end(other) == at]
            for parent in [self.root] if at == instance.arrival[job] else ended:
                self._link(parent, job)

    def neighbours(self, job: int) -> list[int]:
        """Up to ten ancestors, then up to ten descendants, nearest first; the root counts as an ancestor."""
        return self._nearest(job, self.parents) + self._nearest(job, self.children)

    def new_start(self, job: int, neighbour: int) -> int:
        """Where a move behind a neighbour puts a job at first."""
        end = 0 if neighbour == self.root else self.end(neighbour)
        return max(end, int(self.instance.arrival[job]))

    def move(self, job: int, neighbour: int) -> bool:
        """Move a job behind a neighbour; returns whether anything could change."""
        old, new = self.start[job], self.new_start(job, neighbour)
        assert old is not None
        if new == old:
            return False
        time = min(old, new, 0 if neighbour == self.root else self.end(neighbour))
        self._came, self._arrivals = [0] * self.root, 0
        self.take(job)
        self._put_anew(job, new, old)
        replaced = [job]
        last = max(int(begun) for begun in self.start if begun is not None)
        while time <= last:
            for other in self._at(time, self.start):
                self.take(other)
                at = self.earliest(other)
                self._put_anew(other, at, time)
                last = max(last, at)
                if other not in replaced:
                    replaced.append(other)
            time += 1
        for other in replaced:
            self._relink(other)
        return True

    def _put_anew(self, job: int, at: int, before: int) -> None:
        """Put a job that was taken out; where it wasn't before, it stands behind the others."""
        if at != before:
            self._arrivals += 1
            self._came[job] = self._arrivals
        self.put(job, at)

    def _at(self, time: int, times: list[int | None]) -> list[int]:
        """Jobs whose time this is, in the order of their list."""
        return sorted((job for job in range(self.root) if times[job] == time), key=lambda job: (self._came[job], job))

    def _relink(self, job: int) -> None:
        for parent in self.parents[job]:
            self.children[parent].remove(job)
        self.parents[job] = []
        at = self.start[job]
        assert at is not None
        together = self._at(at, self.start)
        if at == self.instance.arrival[job]:
            self._link(self.root, job)
        elif together[0] != job:
            self._link(together[together.index(job) - 1], job)
        else:
            self._link(self._at(at, [self.end(other) for other in range(self.root)])[-1], job)

    def _link(self, parent: int, child: int) -> None:
        self.parents[child].append(parent)
        self.children[parent].append(child)

    def _nearest(self, job: int, links: list[list[int]]) -> list[int]:
        found = [job]
        for node in found:  # grows while it is read: breadth first
            if len(found) > WINDOW:
                break
            found += [other for other in links[node] if other not in found]
        return found[1 : WINDOW + 1]
