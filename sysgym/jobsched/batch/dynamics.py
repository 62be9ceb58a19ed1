"""The moves of the fast copy of `simulator`: B episodes over flat arrays, compiled.

Each function takes the arrays of all episodes and the number `b` of one. A pass can be left when it needs a decision
and entered again, because everything it knows stands in the arrays. Three sorted rows hold the jobs of an episode:
`waiting` in the queue's order, `running` by requested end, `ending` by real end; insertion and removal shift a row,
which for the lengths at hand is faster than a heap.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sysgym.core.events import EventKind
from sysgym.jobsched.batch.model import Jobs, Rules
from sysgym.jobsched.batch.observation import show_jobs
from sysgym.jobsched.batch.rewards import QueueReward, job_score

_uncounted: Any = partial(njit, cache=True, nogil=True)(_nrt=False)  # an option that numba uses and does not declare
"""For functions that neither allocate nor return arrays: counting references to all the arrays of the state at every
call would take three quarters of the time."""

NO_JOB = -1
_SUBMIT, _START, _FINISH = int(EventKind.SUBMIT), int(EventKind.START), int(EventKind.FINISH)


class Episodes(NamedTuple):
    """State of B episodes of N jobs each, row b for episode b.

    A job is named by its row in the workload; arrays about the jobs of an episode begin at its `first`.
    """

    time: NDArray[np.float64]
    free: NDArray[np.int64]
    first: NDArray[np.int64]
    arrived: NDArray[np.int64]
    committed: NDArray[np.int64]
    earned: NDArray[np.float64]
    waiting: NDArray[np.int64]
    waiting_count: NDArray[np.int64]
    candidates: NDArray[np.int64]
    running: NDArray[np.int64]
    ending: NDArray[np.int64]
    running_count: NDArray[np.int64]
    start_time: NDArray[np.float64]
    requested_end: NDArray[np.float64]
    real_end: NDArray[np.float64]
    visible: NDArray[np.int64]
    event_time: NDArray[np.float64]
    event_kind: NDArray[np.int8]
    event_subject: NDArray[np.int64]
    event_amount: NDArray[np.float64]
    event_count: NDArray[np.int64]


class Flags(NamedTuple):
    """`Rules` and the named reward as numbers, for compiled code."""

    commit: bool
    easy: bool
    own_candidates: bool
    per_event: bool
    score: int
    final: bool


def flags_of(rules: Rules, reward: QueueReward) -> Flags:
    """Rules and reward in the kernel's form."""
    return Flags(
        commit=rules.commit,
        easy=rules.backfill == "easy",
        own_candidates=rules.candidates != rules.order,
        per_event=rules.pass_rule == "per_event",
        score=reward.score,
        final=reward.final,
    )


def allocate(episodes: int, length: int, window: int) -> Episodes:
    """Zeroed state of a number of episodes with `length` jobs each."""

    def zeros(dtype: Any, *shape: int) -> NDArray[Any]:
        return np.zeros((episodes, *shape), dtype=dtype)

    return Episodes(
        time=zeros(np.float64),
        free=zeros(np.int64),
        first=zeros(np.int64),
        arrived=zeros(np.int64),
        committed=zeros(np.int64),
        earned=zeros(np.float64),
        waiting=zeros(np.int64, length),
        waiting_count=zeros(np.int64),
        candidates=zeros(np.int64, length),
        running=zeros(np.int64, length),
        ending=zeros(np.int64, length),
        running_count=zeros(np.int64),
        start_time=zeros(np.float64, length),
        requested_end=zeros(np.float64, length),
        real_end=zeros(np.float64, length),
        visible=zeros(np.int64, window),
        event_time=zeros(np.float64, 3 * length),
        event_kind=zeros(np.int8, 3 * length),
        event_subject=zeros(np.int64, 3 * length),
        event_amount=zeros(np.float64, 3 * length),
        event_count=zeros(np.int64),
    )


@_uncounted
def _place_of(row: NDArray[np.int64], count: int, keys: NDArray[Any], first: int, key: float) -> int:
    """Place in a sorted row behind every job whose key is not above `key`; O(log count)."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if keys[row[middle] - first] <= key:
            low = middle + 1
        else:
            high = middle
    return low


@_uncounted
def _insert(row: NDArray[np.int64], count: int, place: int, job: int) -> None:
    for i in range(count, place, -1):
        row[i] = row[i - 1]
    row[place] = job


@_uncounted
def _remove(row: NDArray[np.int64], count: int, place: int) -> None:
    for i in range(place, count - 1):
        row[i] = row[i + 1]


@_uncounted
def _remove_job(row: NDArray[np.int64], count: int, keys: NDArray[Any], first: int, job: int) -> None:
    """Remove a job from a row sorted by `keys`, in which keys may tie."""
    place = _place_of(row, count, keys, first, keys[job - first]) - 1
    while row[place] != job:
        place -= 1
    _remove(row, count, place)


@_uncounted
def _log(s: Episodes, b: int, kind: int, job: int, amount: float) -> None:
    k = s.event_count[b]
    s.event_time[b, k] = s.time[b]
    s.event_kind[b, k] = kind
    s.event_subject[b, k] = job
    s.event_amount[b, k] = amount
    s.event_count[b] = k + 1


@_uncounted
def available(s: Episodes, b: int, jobs: Jobs) -> int:
    """Processors that a job chosen now can take, expired requests included."""
    free: int = s.free[b]
    for i in range(s.running_count[b]):
        job = s.running[b, i]
        if s.requested_end[b, job - s.first[b]] > s.time[b]:
            break
        free += jobs.processors[job]
    return free


@_uncounted
def _start(s: Episodes, b: int, jobs: Jobs, flags: Flags, job: int) -> None:
    now, first = s.time[b], s.first[b]
    size, count, running = jobs.processors[job], s.waiting_count[b], s.running_count[b]
    _log(s, b, _START, job, size)
    _remove_job(s.waiting[b], count, jobs.rank, 0, job)
    if flags.own_candidates:
        _remove_job(s.candidates[b], count, jobs.candidate_rank, 0, job)
    s.waiting_count[b] = count - 1
    i = job - first
    s.start_time[b, i] = now
    s.requested_end[b, i] = now + jobs.requested_time[job]
    s.real_end[b, i] = now + jobs.run_time[job]
    _insert(
        s.running[b], running, _place_of(s.running[b], running, s.requested_end[b], first, s.requested_end[b, i]), job
    )
    _insert(s.ending[b], running, _place_of(s.ending[b], running, s.real_end[b], first, s.real_end[b, i]), job)
    s.running_count[b] = running + 1
    s.free[b] -= size
    s.earned[b] += job_score(flags.score, now - jobs.submit_time[job], jobs.run_time[job])


@_uncounted
def _reservation(s: Episodes, b: int, jobs: Jobs, free: int) -> tuple[float, int]:
    """When the committed job can start by the requested ends, and the processors left over then."""
    need, shadow = jobs.processors[s.committed[b]], np.inf
    for i in range(s.running_count[b]):
        job = s.running[b, i]
        end = s.requested_end[b, job - s.first[b]]
        if end > shadow:
            break
        if end > s.time[b]:
            free += jobs.processors[job]
            if free >= need:
                shadow = end
    return shadow, free - need


@_uncounted
def _backfill(s: Episodes, b: int, jobs: Jobs, flags: Flags, free: int) -> None:
    shadow, extra = _reservation(s, b, jobs, free)
    candidates = s.candidates[b] if flags.own_candidates else s.waiting[b]
    place = 0
    while place < s.waiting_count[b] and free > 0:
        job = candidates[place]
        size = jobs.processors[job]
        ends_in_time = s.time[b] + jobs.requested_time[job] <= shadow
        if job == s.committed[b] or size > free or not (ends_in_time or size <= extra):
            place += 1
            continue
        _start(s, b, jobs, flags, job)  # what stood behind moves to this place
        free -= size
        if not ends_in_time:
            extra -= size


@_uncounted
def _pass(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> bool:
    """Make or go on with a scheduling pass; True where it needs to be told the next job."""
    free = available(s, b, jobs)
    while s.waiting_count[b] > 0:
        job = s.committed[b]
        if job == NO_JOB:
            return True
        if jobs.processors[job] > free:
            if flags.easy and free > 0:
                _backfill(s, b, jobs, flags, free)
            break
        free -= jobs.processors[job]
        _start(s, b, jobs, flags, job)
        s.committed[b] = NO_JOB
    if not flags.commit:
        s.committed[b] = NO_JOB
    return False


@_uncounted
def _arrive(s: Episodes, b: int, jobs: Jobs, flags: Flags, job: int) -> None:
    _log(s, b, _SUBMIT, job, jobs.processors[job])
    count = s.waiting_count[b]
    _insert(s.waiting[b], count, _place_of(s.waiting[b], count, jobs.rank, 0, jobs.rank[job]), job)
    if flags.own_candidates:
        place = _place_of(s.candidates[b], count, jobs.candidate_rank, 0, jobs.candidate_rank[job])
        _insert(s.candidates[b], count, place, job)
    s.waiting_count[b] = count + 1
    s.arrived[b] += 1


@_uncounted
def _complete(s: Episodes, b: int, jobs: Jobs) -> None:
    job, count = s.ending[b, 0], s.running_count[b]
    _log(s, b, _FINISH, job, jobs.processors[job])
    _remove(s.ending[b], count, 0)
    _remove_job(s.running[b], count, s.requested_end[b], s.first[b], job)
    s.running_count[b] = count - 1
    s.free[b] += jobs.processors[job]


@_uncounted
def _next_events(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> bool:
    """Move to the next instant and handle what the pass rule puts before the next pass; False when nothing is left."""
    length, first = s.waiting.shape[1], s.first[b]
    arrival = jobs.submit_time[first + s.arrived[b]] if s.arrived[b] < length else np.inf
    completion = s.real_end[b, s.ending[b, 0] - first] if s.running_count[b] > 0 else np.inf
    now = min(arrival, completion)
    if now == np.inf:
        return False
    s.time[b] = now
    if flags.per_event:
        if arrival <= completion:
            _arrive(s, b, jobs, flags, first + s.arrived[b])
        else:
            _complete(s, b, jobs)
        return True
    while s.running_count[b] > 0 and s.real_end[b, s.ending[b, 0] - first] == now:
        _complete(s, b, jobs)
    while s.arrived[b] < length and jobs.submit_time[first + s.arrived[b]] == now:
        _arrive(s, b, jobs, flags, first + s.arrived[b])
    return True


@_uncounted
def _run_to_decision(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> bool:
    """Let time pass until a job must be chosen; False when every job has started and ended."""
    while not _pass(s, b, jobs, flags):
        if not _next_events(s, b, jobs, flags):
            return False
    return True


@njit(cache=True, nogil=True)
def _show(s: Episodes, b: int, jobs: Jobs) -> None:
    show_jobs(s.waiting[b, : s.waiting_count[b]], jobs, s.visible[b])


@njit(cache=True, nogil=True)
def begin(
    s: Episodes, rows: NDArray[np.int64], firsts: NDArray[np.int64], jobs: Jobs, flags: Flags, processors: int
) -> None:
    """Begin an episode in each of the rows, at the job in `firsts`, and run to its first decision."""
    for b, first in zip(rows, firsts):  # noqa: B905  numba's zip has no strict
        s.time[b] = jobs.submit_time[first]
        s.free[b] = processors
        s.first[b] = first
        s.committed[b] = NO_JOB
        s.start_time[b] = np.nan
        s.arrived[b] = s.waiting_count[b] = s.running_count[b] = s.event_count[b] = 0
        s.earned[b] = 0.0
        _run_to_decision(s, b, jobs, flags)
        _show(s, b, jobs)


@njit(cache=True, nogil=True)
def step_rows(
    s: Episodes,
    jobs: Jobs,
    flags: Flags,
    actions: NDArray[np.int64],
    active: NDArray[np.bool_],
    rewards: NDArray[np.float64],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
) -> None:
    """Play one decision in every active row; an action that stands for no job chooses the head of the queue."""
    for b in range(len(active)):
        if not active[b]:
            continue
        job = s.visible[b, actions[b]]
        s.committed[b] = job if job != NO_JOB else s.waiting[b, 0]
        if not flags.final:
            s.earned[b] = 0.0
        asked = _run_to_decision(s, b, jobs, flags)
        _show(s, b, jobs)
        rewards[b] = 0.0 if flags.final and asked else -s.earned[b] / s.waiting.shape[1]
        terminated[b], truncated[b] = not asked, False


@njit(cache=True, nogil=True)
def replay_in_order(s: Episodes, jobs: Jobs, flags: Flags, processors: int) -> None:
    """Play row 0 to its end, always choosing the head of the queue."""
    rows = np.zeros(1, dtype=np.int64)
    begin(s, rows, rows, jobs, flags, processors)
    while s.waiting_count[0] > 0:
        s.committed[0] = s.waiting[0, 0]
        _run_to_decision(s, 0, jobs, flags)
