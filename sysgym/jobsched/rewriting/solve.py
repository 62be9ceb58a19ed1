"""One door to all methods: a list schedule, a search, the optimum, or OR-tools."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.seeding import stream_key
from sysgym.jobsched.rewriting.dynamics import Jobs, jobs_of, mean_slowdown, order_by, place_order, scratch_room
from sysgym.jobsched.rewriting.exact import optimum
from sysgym.jobsched.rewriting.model import INITIAL, Instance
from sysgym.jobsched.rewriting.programme import solve_programme
from sysgym.jobsched.rewriting.search import Search, improve
from sysgym.workloads.jobsets import Jobset

SEARCHES = {"climb": 0.0, "anneal": 0.03}
"""Searches and their temperatures."""
METHODS = (*INITIAL, *SEARCHES, "exact", "ortools")


@dataclass(frozen=True, eq=False)
class Rewritten:
    """A schedule that a method found.

    Attributes:
        method: Which.
        start: Of each job, time steps, (n,).
        mean_slowdown: Of the schedule.
        bound: A proven lower bound of any schedule's mean slowdown; 1 where the method proves nothing.
        evaluations: Schedules that were evaluated; 0 where the method doesn't count them.
        seconds: By the clock, compilation included.
    """

    method: str
    start: NDArray[np.int64]
    mean_slowdown: float
    bound: float
    evaluations: int
    seconds: float


def solve(
    jobs: Instance | Jobset,
    method: str = "anneal",
    *,
    evaluations: int = 2000,
    initial: str = "earliest_finish",
    informed: bool = True,
    temperature: float | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
) -> Rewritten:
    """Schedule jobs whose arrivals are all known, for the least mean slowdown.

    Args:
        jobs: The jobs.
        method: A list schedule (`ejf`, `sjf`, `sjfs`, `sjf_offline`, `earliest_finish`), a search (`climb`,
            `anneal`), `exact` (up to 16 jobs) or `ortools` (extra `ortools`).
        evaluations: Of a search.
        initial: List schedule that a search begins with.
        informed: Whether a search draws most changes by who waits for whom; False inserts at random.
        temperature: Of annealing; None: 0.03.
        time_limit: Seconds of OR-tools.
        seed: Of a search.

    Raises:
        UnknownNameError: The method or the list schedule does not exist.
        WorkloadError: The jobs cannot be scheduled, or are too many for `exact`.
        SettingError: A value is out of range, or OR-tools is not installed.

    >>> jobs = Instance([0, 0, 1], [3, 1, 1], [[6], [6], [4]])
    >>> [round(solve(jobs, method).mean_slowdown, 2) for method in ("ejf", "sjf_offline", "exact")]
    [2.0, 1.11, 1.11]
    """
    require_known("method", method, METHODS)
    require_range("evaluations", evaluations, 1, whole=True)
    require_range("time_limit", time_limit, 0, open_low=True)
    if temperature is not None:
        require_range("temperature", temperature, 0)
    if not isinstance(jobs, Instance | Jobset):
        raise SettingError(f"jobs is {jobs!r}; give an Instance or a Jobset")
    instance, begun = Instance.of(jobs) if isinstance(jobs, Jobset) else jobs, time.perf_counter()
    columns = jobs_of(instance)
    order = _listed(columns, method if method in INITIAL else initial)
    bound, counted = 1.0, 1
    if method in SEARCHES:
        heat = SEARCHES[method] if temperature is None or method == "climb" else temperature
        improve(columns, Search(evaluations, heat, informed), stream_key(seed, "search"), scratch_room(columns), order)
        counted = evaluations
    elif method == "exact":
        order, counted = optimum(instance, order), 0
    start = _starts(columns, order)
    if method == "ortools":
        start, bound = solve_programme(instance, start, time_limit, seed)
        counted = 0
    value = mean_slowdown(columns, start)
    spent = time.perf_counter() - begun
    return Rewritten(method, start, value, value if method == "exact" else bound, counted, spent)


def _listed(columns: Jobs, rule: str) -> NDArray[np.int64]:
    require_known("list schedule", rule, INITIAL)
    order = np.empty(len(columns.arrival), dtype=np.int64)
    order_by(INITIAL.index(rule), columns, scratch_room(columns), order)
    return order


def _starts(columns: Jobs, order: NDArray[np.int64]) -> NDArray[np.int64]:
    start = np.empty(len(order), dtype=np.int64)
    place_order(columns, order, scratch_room(columns), start)
    return start
