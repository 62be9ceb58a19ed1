"""Conservative backfilling, fast: the compiled copy of `conservative`.

The profile is two arrays of edges and free processors that shift like the rows of jobs. A compression looks only where
something can have changed: capacity that was given back since a job last found no earlier start ends at `reach`, and a
job that finds nothing earlier before `reach` or its own start stays where it is. That is exact, because a window
that begins behind `reach` has not gained anything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted
from sysgym.core.events import EventKind, event_kinds
from sysgym.jobsched.batch.dynamics import log_event
from sysgym.jobsched.batch.episodes import Episodes
from sysgym.jobsched.batch.model import Jobs
from sysgym.jobsched.batch.rows import insert_behind, place_of, remove, remove_job

_SUBMIT, _START, _FINISH = event_kinds(EventKind.SUBMIT, EventKind.START, EventKind.FINISH)


class Reservations(NamedTuple):
    """The profile, and the reservations of the waiting jobs of one workload of N jobs.

    `times` and `free` (2 N + 2 places, `length[0]` in use) say how many processors are free from each edge on.
    `begin` is the reserved start of each job, `due` the row of waiting jobs sorted by it. `reach[0]` is the end of the
    capacity that was given back since all waiting jobs last found no earlier start, `reach[1]` the same for what the
    round under way gives back.
    """

    times: NDArray[np.float64]
    free: NDArray[np.int64]
    length: NDArray[np.int64]
    begin: NDArray[np.float64]
    due: NDArray[np.int64]
    reach: NDArray[np.float64]


def reservations_of(count: int) -> Reservations:
    """Empty reservations for so many jobs."""
    edges = 2 * count + 2
    return Reservations(
        np.zeros(edges),
        np.zeros(edges, dtype=np.int64),
        np.ones(1, dtype=np.int64),
        np.zeros(count),
        np.zeros(count, dtype=np.int64),
        np.full(2, -np.inf),
    )


@uncounted
def _advance(r: Reservations, now: float) -> None:
    """Forget the profile before `now`."""
    past, length = 0, r.length[0]
    while past + 1 < length and r.times[past + 1] <= now:
        past += 1
    if past > 0:
        for place in range(past, length):
            r.times[place - past], r.free[place - past] = r.times[place], r.free[place]
        r.length[0] = length - past
    r.times[0] = now


@uncounted
def _edge(r: Reservations, time: float) -> int:
    """Place of a time among the edges, put there if it is none."""
    low, high = 0, r.length[0]
    while low < high:
        middle = (low + high) // 2
        if r.times[middle] < time:
            low = middle + 1
        else:
            high = middle
    if low == r.length[0] or r.times[low] != time:
        for place in range(r.length[0], low, -1):
            r.times[place], r.free[place] = r.times[place - 1], r.free[place - 1]
        r.times[low], r.free[low] = time, r.free[low - 1]
        r.length[0] += 1
    return low


@uncounted
def _join(r: Reservations, place: int) -> None:
    """Remove an edge at which nothing changes."""
    if place > 0 and r.free[place] == r.free[place - 1]:
        r.length[0] -= 1
        for behind in range(place, r.length[0]):
            r.times[behind], r.free[behind] = r.times[behind + 1], r.free[behind + 1]


@uncounted
def _take(r: Reservations, begin: float, end: float, processors: int) -> None:
    """Take processors from `begin` to `end`; a negative number gives them back."""
    first = _edge(r, begin)
    last = _edge(r, end)
    for place in range(first, last):
        r.free[place] -= processors
    _join(r, last)
    _join(r, first)


@uncounted
def _earliest(r: Reservations, processors: int, duration: float, own: float, limit: float) -> float:
    """First start before `limit` for a job that holds a reservation at `own`; `own` where there is none.

    From `own` on the job's own reservation makes room, so only what lies before it is looked at.
    """
    begin: float = r.times[0]
    place, length = 0, r.length[0]
    while begin < limit:
        if r.free[place] < processors:
            place += 1
            if place == length:
                break
            begin = r.times[place]
            continue
        place += 1
        if place == length or r.times[place] >= min(begin + duration, own):
            return begin
    return own


@uncounted
def _reserve(s: Episodes, r: Reservations, jobs: Jobs, job: int, begin: float) -> None:
    r.begin[job] = begin
    _take(r, begin, begin + jobs.requested_time[job], jobs.processors[job])
    insert_behind(r.due, s.waiting_count[0] - 1, r.begin, 0, job)


@uncounted
def _arrive(s: Episodes, r: Reservations, jobs: Jobs, job: int) -> None:
    log_event(s, 0, _SUBMIT, job, jobs.processors[job])
    s.waiting[0, s.waiting_count[0]] = job
    s.waiting_count[0] += 1
    s.arrived[0] += 1
    _reserve(s, r, jobs, job, _earliest(r, jobs.processors[job], jobs.requested_time[job], np.inf, np.inf))


@uncounted
def _start(s: Episodes, r: Reservations, jobs: Jobs) -> None:
    """Start the first job that is due."""
    job, now = r.due[0], s.time[0]
    count, running = s.waiting_count[0], s.running_count[0]
    log_event(s, 0, _START, job, jobs.processors[job])
    remove(r.due, count, 0)
    remove(s.waiting[0], count, place_of(s.waiting[0], count, jobs.submit_time, 0, job))
    s.waiting_count[0] = count - 1
    s.start_time[0, job] = now
    s.planned_end[0, job] = now + jobs.requested_time[job]
    s.real_end[0, job] = now + jobs.run_time[job]
    insert_behind(s.ending[0], running, s.real_end[0], 0, job)
    s.running_count[0] = running + 1


@uncounted
def _complete(s: Episodes, r: Reservations, jobs: Jobs) -> None:
    job, now = s.ending[0, 0], s.time[0]
    log_event(s, 0, _FINISH, job, jobs.processors[job])
    remove(s.ending[0], s.running_count[0], 0)
    s.running_count[0] -= 1
    if s.planned_end[0, job] > now:
        _take(r, now, s.planned_end[0, job], -jobs.processors[job])
        r.reach[0] = max(r.reach[0], s.planned_end[0, job])


@uncounted
def _compress(s: Episodes, r: Reservations, jobs: Jobs) -> None:
    """One round over the waiting jobs in order of submission."""
    now, r.reach[1] = s.time[0], -np.inf
    if r.reach[0] <= now:
        return
    for place in range(s.waiting_count[0]):
        job = s.waiting[0, place]
        before, size, duration = r.begin[job], jobs.processors[job], jobs.requested_time[job]
        if before <= now:
            continue
        begin = _earliest(r, size, duration, before, min(before, r.reach[0]))
        if begin < before:
            _take(r, before, before + duration, -size)
            remove_job(r.due, s.waiting_count[0], r.begin, 0, job)
            _reserve(s, r, jobs, job, begin)
            r.reach[0] = max(r.reach[0], before + duration)
            r.reach[1] = max(r.reach[1], before + duration)
    r.reach[0] = r.reach[1]


@compiled
def replay_conservatively(s: Episodes, r: Reservations, jobs: Jobs, per_event: bool, processors: int) -> None:
    """Play row 0 to its end."""
    count = len(jobs.submit_time)
    r.times[0], r.free[0] = jobs.submit_time[0], processors
    while True:
        arrival = jobs.submit_time[s.arrived[0]] if s.arrived[0] < count else np.inf
        completion = s.real_end[0, s.ending[0, 0]] if s.running_count[0] > 0 else np.inf
        due = r.begin[r.due[0]] if s.waiting_count[0] > 0 else np.inf
        now = min(arrival, completion, due)
        if now == np.inf:
            return
        s.time[0] = now
        _advance(r, now)
        if completion == now and not (per_event and arrival == now):
            _complete(s, r, jobs)
            ended = per_event or s.running_count[0] == 0 or s.real_end[0, s.ending[0, 0]] > now
            if ended:
                _compress(s, r, jobs)
        elif arrival == now:
            _arrive(s, r, jobs, s.arrived[0])
        else:
            _start(s, r, jobs)
