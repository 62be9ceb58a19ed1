"""What a policy sees: a row of features for every job, and one for the front, in both engines.

While a job is to be picked, a row tells what that job is, how it stands, and what it does to others. Once one is
picked, rows also tell what would come of putting it behind them. Nothing is found by playing moves: a view costs about
as much as one or two evaluations of a schedule, for the starts that jobs would get behind what was placed before them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.protocols import ArraySpec
from sysgym.jobsched.rewriting.dynamics import Ints, Jobs, earliest, new_start, put, take

FEATURES = 44
BOUND = 4.0
"""Where features are clipped."""


def spec_of(most: int) -> ArraySpec:
    """Rows of at most so many jobs, and of the front."""
    return ArraySpec((most + 1, FEATURES), np.float32, -BOUND, BOUND)


@compiled
def _clip(value: float) -> float:
    return min(max(value, -BOUND), BOUND)


@compiled
def _share_units(jobs: Jobs, one: int, other: int) -> bool:
    """Whether two jobs can run at the same time."""
    for word in range(jobs.needs.shape[1]):
        if (jobs.free - jobs.needs[one, word] - jobs.needs[other, word]) & jobs.guard != jobs.guard:
            return False
    return True


@compiled
def starts_behind_cursor(jobs: Jobs, order: Ints, moved: Ints, room: NDArray[Any], found: Ints) -> int:
    """Earliest start of each job beside the jobs up to the one moved last; returns that one's place, -1 for none."""
    cursor, newest = -1, 0
    for place in range(len(order)):
        if moved[order[place]] > newest:
            cursor, newest = place, moved[order[place]]
    room[: jobs.horizon] = jobs.free
    at = np.empty(len(order), dtype=np.int64)
    for place in range(cursor + 1):
        job = order[place]
        at[job] = earliest(jobs, room, job)
        put(jobs, room, job, at[job])
    for place in range(len(order)):
        job = order[place]
        if place <= cursor:
            take(jobs, room, job, at[job])
        found[job] = earliest(jobs, room, job)
        if place <= cursor:
            put(jobs, room, job, at[job])
    return cursor


@compiled
def starts_behind_each(
    jobs: Jobs, order: Ints, start: Ints, picked: int, published: bool, room: NDArray[Any], found: Ints
) -> None:
    """Start that the picked job would get behind each job, and at the front (n), beside what is placed before."""
    count = len(order)
    if published:
        for job in range(count + 1):
            found[job] = start[picked] if job == picked else new_start(jobs, start, picked, job)
        return
    room[: jobs.horizon] = jobs.free
    found[count] = jobs.arrival[picked]
    for place in range(count):
        job = order[place]
        if job == picked:
            found[job] = start[picked]
            continue
        put(jobs, room, job, earliest(jobs, room, job))
        found[job] = earliest(jobs, room, picked)


@compiled
def write_view(
    jobs: Jobs, demand: Ints, capacity: int, order: Ints, start: Ints, moved: Ints, picked: int, rewrites: int,
    limit: int, published: bool, slowdown: float, best: float, initial: float, room: NDArray[Any],
    view: NDArray[Any],
) -> None:  # fmt: skip
    """Write the observation of one episode.

    Args:
        jobs: The instance.
        demand: Its demands, (n, D).
        capacity: Units of every resource.
        order: See `RewriteState`, as the following.
        start: Of each job.
        moved: Of each job.
        picked: The picked job, or -1.
        rewrites: Moves so far.
        limit: Moves in all.
        published: Whether moves are the public code's.
        slowdown: Mean at hand.
        best: Least mean.
        initial: Mean at the beginning.
        room: Scratch, (horizon, W).
        view: Where to write, (N + 1, `FEATURES`).
    """
    count, front = len(order), view.shape[0] - 1
    view[:] = 0.0
    found = np.empty(count + 1, dtype=np.int64)
    cursor = starts_behind_cursor(jobs, order, moved, room, found)
    _write_jobs(jobs, demand, capacity, order, start, moved, rewrites, slowdown, cursor, found, view)
    _write_harm(jobs, start, view)
    _write_rivalry(jobs, order, cursor, found, view)
    for row in range(front + 1):
        if row < count or row == front:
            view[row, 28] = (limit - rewrites) / limit
            view[row, 29] = _clip(math.log(slowdown / best))
            view[row, 30] = _clip(math.log(slowdown) / 2.0)
            view[row, 31] = count / front
            view[row, 32] = 1.0 if picked >= 0 else 0.0
    view[front, 39] = 1.0
    if picked >= 0:
        starts_behind_each(jobs, order, start, picked, published, room, found)
        _write_places(jobs, order, start, picked, found, cursor, view)


@compiled
def _write_jobs(
    jobs: Jobs, demand: Ints, capacity: int, order: Ints, start: Ints, moved: Ints, rewrites: int, slowdown: float,
    cursor: int, found: Ints, view: NDArray[Any],
) -> None:  # fmt: skip
    """Columns 0 to 20: what each job is, and how it stands."""
    count, resources = demand.shape
    needed = 0
    for resource in range(resources):
        needed += demand[:, resource].max() > 0
    soonest, first_end = np.inf, np.inf
    for place in range(cursor + 1, count):
        job = order[place]
        soonest = min(soonest, float(found[job]))
        first_end = min(first_end, float(found[job] + jobs.length[job]))
    for place in range(count):
        job = order[place]
        largest, total, heavy = 0, 0, 0
        for resource in range(resources):
            units = demand[job, resource]
            largest, total, heavy = max(largest, units), total + units, heavy + (2 * units > capacity)
        length, wait = jobs.length[job], start[job] - jobs.arrival[job]
        view[job, 0] = 1.0
        view[job, 1] = _clip(length / 8.0)
        view[job, 2] = 1.0 / length
        view[job, 3] = largest / capacity
        view[job, 4] = total / (capacity * needed)
        view[job, 5] = heavy / needed
        view[job, 6] = _clip((jobs.arrival[job] - 25.0) / 16.0)
        view[job, 7] = _clip(wait / 16.0)
        view[job, 8] = _clip(math.log(1.0 + wait / length))
        view[job, 9] = _clip((1.0 + wait / length) / slowdown / 4.0)
        view[job, 10] = place / count
        view[job, 11] = _clip((start[job] - 40.0) / 24.0)
        view[job, 12] = 1.0 / (1.0 + rewrites - moved[job]) if moved[job] > 0 else 0.0
        view[job, 13] = 1.0 if moved[job] > 0 else 0.0
        view[job, 14] = 1.0 if place > cursor else 0.0
        view[job, 15] = _clip((place - cursor) / 8.0)
        view[job, 16] = _clip((found[job] - jobs.arrival[job]) / 16.0)
        view[job, 17] = _clip((start[job] - found[job]) / 16.0)
        if soonest < np.inf:
            view[job, 18] = _clip((found[job] - soonest) / 4.0)
            view[job, 19] = _clip((found[job] + length - first_end) / 8.0)
        view[job, 20] = _clip((found[job] - jobs.arrival[job] + length) / length / 4.0)


@compiled
def _write_harm(jobs: Jobs, start: Ints, view: NDArray[Any]) -> None:
    """Columns 21 to 24: how jobs that cannot run together keep each other waiting."""
    count = len(start)
    for job in range(count):
        end = start[job] + jobs.length[job]
        for other in range(count):
            overlap = min(end, start[other]) - max(start[job], jobs.arrival[other])
            if other == job or overlap <= 0 or _share_units(jobs, job, other):
                continue
            view[job, 21] += overlap / jobs.length[other]
            view[job, 22] += 1.0 if jobs.length[other] < jobs.length[job] else 0.0
            view[other, 23] += overlap / jobs.length[other]
            view[other, 24] += 1.0 if jobs.length[other] < jobs.length[job] else 0.0
    for job in range(count):
        view[job, 21] = _clip(math.log(1.0 + view[job, 21]))
        view[job, 22] = _clip(view[job, 22] / 4.0)
        view[job, 23] = _clip(math.log(1.0 + view[job, 23]))
        view[job, 24] = _clip(view[job, 24] / 4.0)


@compiled
def _write_rivalry(jobs: Jobs, order: Ints, cursor: int, soonest: Ints, view: NDArray[Any]) -> None:
    """Columns 40 to 43: what jobs behind the cursor cost each other if one starts at its soonest, then the other."""
    count = len(order)
    for place in range(cursor + 1, count):
        job = order[place]
        least = BOUND
        for rival_place in range(cursor + 1, count):
            rival = order[rival_place]
            cost = (soonest[job] + jobs.length[job] - soonest[rival]) / jobs.length[rival]
            suffered = (soonest[rival] + jobs.length[rival] - soonest[job]) / jobs.length[job]
            if rival == job or cost <= 0 or suffered <= 0 or _share_units(jobs, job, rival):
                continue
            view[job, 40] += cost
            view[job, 41] += suffered
            view[job, 42] += 1.0 if cost > suffered else 0.0
            least = min(least, suffered - cost)
        view[job, 40] = _clip(math.log(1.0 + view[job, 40]))
        view[job, 41] = _clip(math.log(1.0 + view[job, 41]))
        view[job, 42] = _clip(view[job, 42] / 4.0)
        view[job, 43] = _clip(least)


@compiled
def _write_places(
    jobs: Jobs, order: Ints, start: Ints, picked: int, found: Ints, cursor: int, view: NDArray[Any]
) -> None:
    """Columns 25 to 27 and 33 to 38: what would come of putting the picked job behind each row."""
    count, front = len(order), view.shape[0] - 1
    here = 0
    while order[here] != picked:
        here += 1
    length = jobs.length[picked]
    passed = 0.0
    for place in range(here - 1, -2, -1):  # towards the front
        row = order[place] if place >= 0 else front
        _write_place(jobs, order, start, picked, found[row] if place >= 0 else found[count], place, here, view[row])
        view[row, 38] = _clip(passed / 4.0)
        view[row, 25] = 1.0 if place == cursor else 0.0
        if place >= 0:
            passed += 1.0 / jobs.length[order[place]]
    passed = 0.0
    for place in range(here + 1, count):
        row = order[place]
        passed += 1.0 / jobs.length[row]
        _write_place(jobs, order, start, picked, found[row], place, here, view[row])
        view[row, 38] = _clip(-passed / 4.0)
        view[row, 25] = 1.0 if place == cursor else 0.0
    view[picked, 26] = 1.0
    for row in range(front + 1):
        if row < count or row == front:
            view[row, 27] = 1.0 / length


@compiled
def _write_place(
    jobs: Jobs, order: Ints, start: Ints, picked: int, at: int, place: int, here: int, row: NDArray[Any]
) -> None:
    length, behind = jobs.length[picked], place + 1
    row[33] = _clip((place - here) / 8.0)
    row[34] = _clip((start[picked] - at) / 16.0)
    row[35] = _clip((start[picked] - at) / (4.0 * length))
    row[36] = _clip((at - jobs.arrival[picked]) / 16.0)
    if behind < len(order):
        row[37] = _clip((start[order[behind]] - at) / 8.0)
