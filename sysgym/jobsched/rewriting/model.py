"""What is scheduled, what an environment is made with, and what a policy may see.

After Chen and Tian, "Learning to perform local rewriting for combinatorial optimization", NeurIPS 2019 (NeuRewriter).
All arrivals are known: this is offline search with release times, although the paper calls it online. Time steps and
units are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import WorkloadError, require_known, require_range
from sysgym.workloads.jobsets import Jobset, JobsetSource

CAPACITY = 10
"""Units of every resource."""
LONGEST = 10**7
"""Time steps that a schedule may span; what is free is kept for each."""
MOVES = ("insertion", "published")
"""What it means to move a job behind another: in the order in which jobs are placed, or in the public code's way."""
INITIAL = ("ejf", "sjf", "sjfs", "sjf_offline", "earliest_finish")
"""List schedules that an episode may begin with, see `construction`."""
WINDOW = 10
"""Pending jobs among which the list schedules choose, and neighbours to either side in the published moves."""
REWARDS = ("log_best", "best", "decrease", "published", "final")


@dataclass(frozen=True, eq=False)
class Instance:
    """Jobs that are known from the beginning, in the order of their arrival.

    Attributes:
        arrival: int64, (n,), time steps, never decreasing.
        length: int64, (n,), time steps, at least 1.
        demand: int64, (n, D), units held while it runs; every job needs at least one of some resource.
        capacity: Units of each resource that the machine has.

    Raises:
        WorkloadError: The columns don't belong together, there is no job or no resource, a job needs nothing, or more
            than the machine has, or a schedule may span more than `LONGEST` time steps.
    """

    arrival: NDArray[np.int64]
    length: NDArray[np.int64]
    demand: NDArray[np.int64]
    capacity: int = CAPACITY

    def __post_init__(self) -> None:
        require_range("capacity", self.capacity, 1, 10**6, whole=True)
        for name in ("arrival", "length", "demand"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if self.arrival.ndim != 1 or self.length.shape != self.arrival.shape or self.demand.ndim != 2:
            raise WorkloadError(
                f"jobs need arrival (n,), length (n,) and demand (n, D); these have the shapes {self.arrival.shape}, "
                f"{self.length.shape} and {self.demand.shape}"
            )
        if not len(self.arrival):
            raise WorkloadError("the sequence has no jobs; give at least one")
        if len(self.demand) != len(self.arrival) or self.demand.shape[1] < 1:
            raise WorkloadError(
                f"demand has the shape {self.demand.shape}; it must be ({len(self.arrival)}, D) with D at least 1"
            )
        if (self.arrival < 0).any() or (np.diff(self.arrival) < 0).any():
            raise WorkloadError("arrivals must be at least 0 and in order; sort the jobs by arrival")
        self._require("has length {}; it must last at least 1 time step", self.length, self.length < 1)
        span = int(self.arrival.max()) + sum(self.length.tolist())
        if span > LONGEST:
            raise WorkloadError(f"a schedule may span {span} time steps, at most {LONGEST}; count in longer steps")
        least, most = self.demand.min(axis=1), self.demand.max(axis=1)
        self._require("demands {} units; demands are at least 0", least, least < 0)
        self._require("needs {} units of everything; a job needs at least 1 unit of some resource", most, most < 1)
        self._require(f"needs {{}} units of a resource; the machine has {self.capacity}", most, most > self.capacity)

    def _require(self, message: str, values: NDArray[np.int64], wrong: NDArray[np.bool_]) -> None:
        if wrong.any():
            job = int(wrong.argmax())
            raise WorkloadError(f"job {job} " + message.format(int(values[job])))

    def __len__(self) -> int:
        return len(self.arrival)

    @classmethod
    def of(cls, jobset: Jobset, capacity: int = CAPACITY) -> Instance:
        """The jobs of a jobset; element k arrives at time k."""
        arrival = np.flatnonzero(jobset.length > 0)
        return cls(arrival, jobset.length[arrival], jobset.demand[arrival], capacity)

    def mean_slowdown(self, start: Sequence[int] | NDArray[np.int64]) -> float:
        """Mean of (finish - arrival) / length; added up in the order of the jobs."""
        total = 0.0
        for arrival, length, begun in zip(self.arrival.tolist(), self.length.tolist(), map(int, start), strict=True):
            total += (begun + length - arrival) / length
        return total / len(self)

    def is_feasible(self, start: NDArray[np.int64]) -> bool:
        """Whether no job starts before its arrival and no resource is ever over capacity."""
        finish = np.asarray(start) + self.length
        used = np.zeros((int(finish.max()), self.demand.shape[1]), dtype=np.int64)
        for job in range(len(self)):
            used[int(start[job]) : int(finish[job])] += self.demand[job]
        return bool((np.asarray(start) >= self.arrival).all() and (used <= self.capacity).all())


def _whole(name: str, values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and not (array.dtype.kind == "f" and (array == np.floor(array)).all()):
        raise WorkloadError(f"{name} is {array.dtype}; it must be whole numbers")
    return np.ascontiguousarray(array, dtype=np.int64)


@dataclass(frozen=True)
class RewriteConfig:
    """What an environment is made with, beside where its jobs come from.

    Attributes:
        capacity: Units of every resource.
        initial: Schedule that an episode begins with, one of `INITIAL`.
        moves: One of `MOVES`.
        rewrites: Moves of an episode; each is two decisions.
        reward: One of `REWARDS`, see `rewards`.
    """

    capacity: int = CAPACITY
    initial: str = "ejf"
    moves: str = "insertion"
    rewrites: int = 50
    reward: str = "log_best"

    def __post_init__(self) -> None:
        require_range("capacity", self.capacity, 1, 10**6, whole=True)
        require_range("rewrites", self.rewrites, 1, 10_000, whole=True)
        require_known("initial schedule", self.initial, INITIAL)
        require_known("kind of moves", self.moves, MOVES)
        require_known("reward", self.reward, REWARDS)

    def check_source(self, source: JobsetSource) -> None:
        """Refuse jobs that this machine could never hold.

        Raises:
            WorkloadError: A demand exceeds the capacity.
        """
        if source.largest_demand > self.capacity:
            raise WorkloadError(
                f"the workload has demands of {source.largest_demand} units, capacity is {self.capacity}; raise it"
            )


class RewriteState(NamedTuple):
    """One episode's state; arrays are read-only. n jobs, D resources; -1 is no job.

    Attributes:
        rewrites: Moves so far.
        limit: Moves of the whole episode.
        picked: The job that is to be moved, or -1 while one is to be picked.
        arrival: Of each job, int64 (n,).
        length: Time steps it lasts, int64 (n,).
        demand: Units it needs, int64 (n, D).
        capacity: Units of every resource.
        start: When it starts in the schedule at hand, int64 (n,).
        order: Jobs in the order in which they are placed, of published moves that of their starts, int64 (n,).
        moved: The move by which it was moved last, counted from 1; 0 for none, int64 (n,).
        slowdown: Mean slowdown of the schedule at hand.
        best: Least mean slowdown so far.
        initial: Mean slowdown at the beginning.
        best_start: Starts in the best schedule so far, int64 (n,).
        allowed: bool (N + 1,): what may be chosen now; row N stops, or names the front.
    """

    rewrites: int
    limit: int
    picked: int
    arrival: NDArray[np.int64]
    length: NDArray[np.int64]
    demand: NDArray[np.int64]
    capacity: int
    start: NDArray[np.int64]
    order: NDArray[np.int64]
    moved: NDArray[np.int64]
    slowdown: float
    best: float
    initial: float
    best_start: NDArray[np.int64]
    allowed: NDArray[np.bool_]
