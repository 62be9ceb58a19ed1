"""The optimum of small instances, by branch and bound over placement orders, compiled.

Some placement order gives an optimal schedule (see `schedule`). A branch places one more job at its earliest feasible
start. Below it no job can start before its earliest start beside what is placed, which bounds the sum of slowdowns.
Orders that only exchange two jobs that don't touch each other give the same schedule: where a job is placed directly
after one with a higher number, it must be because that one moved its start.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import WorkloadError
from sysgym.jobsched.rewriting.dynamics import Ints, Jobs, earliest, jobs_of, place_order, put, scratch_room, take
from sysgym.jobsched.rewriting.model import Instance

MOST_JOBS = 16
"""Jobs up to which an optimum is searched: ten take a millisecond, sixteen some seconds."""
_ROUNDING = 1e-12


def optimum(instance: Instance, order: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """A placement order whose schedule has the least mean slowdown of all schedules, (n,).

    Args:
        instance: The jobs.
        order: One that is known; a good one prunes much.

    Raises:
        WorkloadError: There are more than 16 jobs.
    """
    if len(instance) > MOST_JOBS:
        raise WorkloadError(f"the optimum is searched for up to {MOST_JOBS} jobs; there are {len(instance)}")
    jobs = jobs_of(instance)
    best = np.arange(len(instance)) if order is None else np.array(order, dtype=np.int64)
    _search(jobs, scratch_room(jobs), best)
    return best


@compiled
def _search(jobs: Jobs, room: NDArray[Any], best: Ints) -> None:  # noqa: PLR0912  a depth-first search in one loop
    """Depth first; at each depth the jobs in the order of the bound that placing them leaves."""
    count = len(best)
    start = np.empty(count, dtype=np.int64)
    place_order(jobs, best, room, start)
    least = 0.0
    for job in range(count):
        least += _slowdown(jobs, job, start[job])
    room[:] = jobs.free
    order, placed = np.full(count, -1), np.zeros(count, dtype=np.bool_)
    tried = np.zeros((count + 1, count), dtype=np.bool_)
    sums = np.zeros(count + 1)
    soonest = np.zeros((count + 1, count), dtype=np.int64)
    soonest[0] = jobs.arrival
    depth = 0
    while depth >= 0:
        job = -1
        if depth < count:
            for each in range(count):
                finish = soonest[depth, each] + jobs.length[each]
                if placed[each] or tried[depth, each]:
                    continue
                if job < 0 or finish < soonest[depth, job] + jobs.length[job]:
                    job = each
        if job < 0:
            depth -= 1
            if depth >= 0:
                take(jobs, room, order[depth], start[order[depth]])
                placed[order[depth]] = False
            continue
        tried[depth, job] = True
        if depth > 0 and job < order[depth - 1] and soonest[depth, job] == soonest[depth - 1, job]:
            before = order[depth - 1]
            if _apart(jobs, room, before, start[before], job, soonest[depth, job]):
                continue
        start[job] = soonest[depth, job]
        put(jobs, room, job, start[job])
        placed[job], order[depth] = True, job
        sums[depth + 1] = sums[depth] + _slowdown(jobs, job, start[job])
        bound = sums[depth + 1]
        for each in range(count):
            if not placed[each]:
                soonest[depth + 1, each] = _soonest(jobs, room, each, job, start[job], soonest[depth, each])
                bound += _slowdown(jobs, each, soonest[depth + 1, each])
        if bound >= least - _ROUNDING:
            take(jobs, room, job, start[job])
            placed[job] = False
            continue
        depth += 1
        tried[depth] = False
        if depth == count:
            least = bound
            best[:] = order


@compiled
def _slowdown(jobs: Jobs, job: int, start: int) -> float:
    return float((start + jobs.length[job] - jobs.arrival[job]) / jobs.length[job])


@compiled
def _soonest(jobs: Jobs, room: NDArray[Any], job: int, newest: int, begun: int, before: int) -> int:
    """Earliest start of a job behind the placing of another, which matters only where it stands in the way."""
    if before >= begun + jobs.length[newest] or before + jobs.length[job] <= begun:
        return before
    return earliest(jobs, room, job)


@compiled
def _apart(jobs: Jobs, room: NDArray[Any], before: int, begun: int, job: int, start: int) -> bool:
    """Whether the job placed before would start at the same time if this one were placed first."""
    take(jobs, room, before, begun)
    put(jobs, room, job, start)
    same = earliest(jobs, room, before) == begun
    take(jobs, room, job, start)
    put(jobs, room, before, begun)
    return same
