"""The moves of the fast copy of `simulator`: B episodes over flat arrays, compiled.

Each function takes the arrays of all episodes and the number `b` of one. A pass can be left when it needs a decision
and entered again, because everything it knows stands in the arrays (see `episodes`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted
from sysgym.core.events import EventKind, event_kinds
from sysgym.jobsched.batch.episodes import ACCASIM, EASY, NO_BACKFILL, NO_BOUND, NO_JOB, RLSCHEDULER, Episodes, Flags
from sysgym.jobsched.batch.model import Jobs
from sysgym.jobsched.batch.observation import show_jobs
from sysgym.jobsched.batch.prediction import corrected, predicted, remember_end, remember_start, reset_memory
from sysgym.jobsched.batch.priorities import F1, priority
from sysgym.jobsched.batch.rewards import job_score
from sysgym.jobsched.batch.rows import insert, insert_behind, place_of, remove, remove_job

_SUBMIT, _START, _FINISH = event_kinds(EventKind.SUBMIT, EventKind.START, EventKind.FINISH)


@uncounted
def log_event(s: Episodes, b: int, kind: int, job: int, amount: float) -> None:
    """Write down one event."""
    k = s.event_count[b]
    s.event_time[b, k] = s.time[b]
    s.event_kind[b, k] = kind
    s.event_subject[b, k] = job
    s.event_amount[b, k] = amount
    s.event_count[b] = k + 1


@uncounted
def available(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> int:
    """Processors that a job chosen now can take; expired plans included, but where a peer's rule holds them."""
    free: int = s.free[b]
    if flags.backfill == RLSCHEDULER:
        return free
    for i in range(s.running_count[b]):
        job = s.running[b, i]
        if s.planned_end[b, job - s.first[b]] > s.time[b]:
            break
        free += jobs.processors[job]
    return free


@uncounted
def _start(s: Episodes, b: int, jobs: Jobs, flags: Flags, job: int) -> None:
    now, first = s.time[b], s.first[b]
    size, count, running = jobs.processors[job], s.waiting_count[b], s.running_count[b]
    log_event(s, b, _START, job, size)
    remove(s.waiting[b], count, place_of(s.waiting[b], count, s.key[b], first, job))
    if flags.own_candidates:
        remove(s.candidates[b], count, place_of(s.candidates[b], count, s.candidate_key[b], first, job))
    s.waiting_count[b] = count - 1
    i = job - first
    s.start_time[b, i] = now
    s.planned_end[b, i] = now + s.planned_time[b, i]
    s.real_end[b, i] = now + jobs.run_time[job]
    insert_behind(s.running[b], running, s.planned_end[b], first, job)
    insert_behind(s.ending[b], running, s.real_end[b], first, job)
    s.running_count[b] = running + 1
    _watch(s, b, job)
    remember_start(flags.predictor, jobs, job, s.memory[b])
    s.free[b] -= size
    s.earned[b] += job_score(flags.score, now - jobs.submit_time[job], jobs.run_time[job])


@uncounted
def _watch(s: Episodes, b: int, job: int) -> None:
    """Note a running job whose plan ends before it does."""
    i = job - s.first[b]
    if s.planned_end[b, i] < s.real_end[b, i]:
        insert_behind(s.expiring[b], s.expiring_count[b], s.planned_end[b], s.first[b], job)
        s.expiring_count[b] += 1


@uncounted
def _reservation(s: Episodes, b: int, jobs: Jobs, flags: Flags, free: int) -> tuple[float, int]:
    """When the committed job can start by the planned ends, and the processors left over then."""
    need, shadow = jobs.processors[s.committed[b]], np.inf
    for i in range(s.running_count[b]):
        job = s.running[b, i]
        end = s.planned_end[b, job - s.first[b]]
        if end > shadow:
            break
        if end > s.time[b] or flags.backfill == RLSCHEDULER:  # else it is among the free already
            free += jobs.processors[job]
            if free >= need:
                shadow = min(shadow, end)
    return shadow, free - need


@uncounted
def _block(s: Episodes, b: int, jobs: Jobs, flags: Flags, free: int) -> None:
    """Let others start while the committed job can't."""
    if flags.backfill == EASY:
        if free > 0:
            shadow, extra = _reservation(s, b, jobs, flags, free)
            _backfill(s, b, jobs, flags, free, shadow, extra)
        return
    if s.bound[b] == NO_BOUND:
        s.bound[b] = _reservation(s, b, jobs, flags, free)[0]
        if flags.backfill == RLSCHEDULER:
            _sort_equal_ends(s, b)
    _backfill(s, b, jobs, flags, free, s.bound[b], 0)


@uncounted
def _sort_equal_ends(s: Episodes, b: int) -> None:
    """Where jobs end at one instant, the one with the earlier plan ends first: RLScheduler sorts its list by it."""
    first = s.first[b]
    for i in range(1, s.running_count[b]):
        job, place = s.ending[b, i], i
        end, plan = s.real_end[b, job - first], s.planned_end[b, job - first]
        while place > 0:
            before = s.ending[b, place - 1]
            if s.real_end[b, before - first] < end or s.planned_end[b, before - first] <= plan:
                break
            s.ending[b, place] = before
            place -= 1
        s.ending[b, place] = job


@uncounted
def _backfill(s: Episodes, b: int, jobs: Jobs, flags: Flags, free: int, shadow: float, extra: int) -> None:
    candidates = s.candidates[b] if flags.own_candidates else s.waiting[b]
    place = 0
    while place < s.waiting_count[b] and free > 0:
        job = candidates[place]
        size, end = jobs.processors[job], s.time[b] + s.planned_time[b, job - s.first[b]]
        in_time = end < shadow or flags.backfill == ACCASIM or (flags.backfill == EASY and end == shadow)
        if job == s.committed[b] or size > free or not (in_time or size <= extra):
            place += 1
            continue
        _start(s, b, jobs, flags, job)  # what stood behind moves to this place
        free -= size
        if not in_time:
            extra -= size


@uncounted
def _submitted_too_wide(s: Episodes, b: int, jobs: Jobs, free: int) -> bool:
    """Whether the last event is the submission of a job that doesn't fit."""
    last = s.event_count[b] - 1
    if last < 0 or s.event_kind[b, last] != _SUBMIT:
        return False
    need: int = jobs.processors[s.event_subject[b, last]]
    return need > free


@uncounted
def _pass(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> bool:
    """Make or go on with a scheduling pass; True where it needs to be told the next job."""
    free = available(s, b, jobs, flags)
    if not flags.pass_when_full and _submitted_too_wide(s, b, jobs, free):
        return False
    while s.waiting_count[b] > 0:
        job = s.committed[b]
        if job == NO_JOB:
            return True
        held = flags.backfill == ACCASIM and s.time[b] < s.bound[b]
        if jobs.processors[job] > free or held:
            if flags.backfill != NO_BACKFILL:
                _block(s, b, jobs, flags, free)
            break
        free -= jobs.processors[job]
        _start(s, b, jobs, flags, job)
        s.committed[b], s.bound[b] = NO_JOB, NO_BOUND
    if not flags.commit:
        s.committed[b] = NO_JOB
    return False


@uncounted
def _arrive(s: Episodes, b: int, jobs: Jobs, flags: Flags, job: int) -> None:
    log_event(s, b, _SUBMIT, job, jobs.processors[job])
    first, count = s.first[b], s.waiting_count[b]
    i, submit, size = job - first, jobs.submit_time[job], jobs.processors[job]
    planned = predicted(flags.predictor, jobs, job, s.memory[b])
    s.planned_time[b, i], s.corrections[b, i] = planned, 0
    s.key[b, i] = priority(flags.order, submit, submit, planned, size) if flags.order <= F1 else submit
    insert(s.waiting[b], count, place_of(s.waiting[b], count, s.key[b], first, job), job)
    if flags.own_candidates:
        s.candidate_key[b, i] = priority(flags.candidates, submit, submit, planned, size)
        insert(s.candidates[b], count, place_of(s.candidates[b], count, s.candidate_key[b], first, job), job)
    s.waiting_count[b] = count + 1
    s.arrived[b] += 1


@uncounted
def _complete(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> None:
    job, count = s.ending[b, 0], s.running_count[b]
    log_event(s, b, _FINISH, job, jobs.processors[job])
    remove(s.ending[b], count, 0)
    remove_job(s.running[b], count, s.planned_end[b], s.first[b], job)
    s.running_count[b] = count - 1
    s.free[b] += jobs.processors[job]
    remember_end(flags.predictor, jobs, job, s.time[b], s.memory[b])


@uncounted
def _expire(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> None:
    """Correct the prediction of the first job that outlives it."""
    job, first = s.expiring[b, 0], s.first[b]
    i = job - first
    remove(s.expiring[b], s.expiring_count[b], 0)
    s.expiring_count[b] -= 1
    remove_job(s.running[b], s.running_count[b], s.planned_end[b], first, job)
    planned = corrected(flags.corrector, s.planned_time[b, i], jobs.requested_time[job], s.corrections[b, i])
    s.corrections[b, i] += 1
    s.planned_time[b, i] = planned
    s.planned_end[b, i] = s.start_time[b, i] + planned
    insert_behind(s.running[b], s.running_count[b] - 1, s.planned_end[b], first, job)
    _watch(s, b, job)


@uncounted
def _next_arrival(s: Episodes, b: int, jobs: Jobs) -> float:
    if s.arrived[b] == s.waiting.shape[1]:
        return np.inf
    time: float = jobs.submit_time[s.first[b] + s.arrived[b]]
    return time


@uncounted
def _next_completion(s: Episodes, b: int) -> float:
    if s.running_count[b] == 0:
        return np.inf
    time: float = s.real_end[b, s.ending[b, 0] - s.first[b]]
    return time


@uncounted
def _next_events(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> bool:
    """Move to the next instant and handle what the pass rule puts before the next pass; False when nothing is left."""
    now = min(_next_arrival(s, b, jobs), _next_completion(s, b))
    while s.expiring_count[b] > 0 and s.planned_end[b, s.expiring[b, 0] - s.first[b]] <= now:
        _expire(s, b, jobs, flags)
    if now == np.inf:
        if s.waiting_count[b] == 0:
            return False
        now = s.bound[b]  # only AccaSim holds a job back on an idle machine
    s.time[b] = now
    while True:
        submitted = _next_arrival(s, b, jobs) == now
        if _next_completion(s, b) == now and not (flags.per_event and submitted):
            _complete(s, b, jobs, flags)
        elif submitted:
            _arrive(s, b, jobs, flags, s.first[b] + s.arrived[b])
        else:
            return True
        if flags.per_event:
            return True


@uncounted
def _run_to_decision(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> bool:
    """Let time pass until a job must be chosen; False when every job has started and ended."""
    while not _pass(s, b, jobs, flags):
        if not _next_events(s, b, jobs, flags):
            return False
    return True


@compiled
def _show(s: Episodes, b: int, jobs: Jobs) -> None:
    show_jobs(s.waiting[b, : s.waiting_count[b]], jobs, s.visible[b])


@compiled
def begin(
    s: Episodes, rows: NDArray[np.int64], firsts: NDArray[np.int64], jobs: Jobs, flags: Flags, processors: int
) -> None:
    """Begin an episode in each of the rows, at the job in `firsts`, and run to its first decision."""
    for b, first in zip(rows, firsts):  # noqa: B905  numba's zip has no strict
        s.time[b] = jobs.submit_time[first]
        s.free[b] = processors
        s.first[b] = first
        s.committed[b], s.bound[b] = NO_JOB, NO_BOUND
        s.start_time[b] = np.nan
        s.arrived[b] = s.waiting_count[b] = s.running_count[b] = s.expiring_count[b] = s.event_count[b] = 0
        s.earned[b] = s.told[b] = 0.0
        reset_memory(s.memory[b])
        _run_to_decision(s, b, jobs, flags)
        _show(s, b, jobs)


@compiled
def decide(s: Episodes, b: int, job: int, jobs: Jobs, flags: Flags) -> bool:
    """Choose a waiting job and run to the next decision; False when every job has started and ended."""
    oldest = s.waiting[b, 0]
    s.committed[b] = oldest if s.time[b] - jobs.submit_time[oldest] > flags.patience else job
    asked: bool = _run_to_decision(s, b, jobs, flags)
    _show(s, b, jobs)
    return asked


@uncounted
def _accrued(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> float:
    """Minus what the scores have grown by since they were told last, over the jobs of the episode."""
    before, total = s.told[b], s.earned[b]
    for place in range(s.waiting_count[b]):
        job = s.waiting[b, place]
        total += job_score(flags.score, s.time[b] - jobs.submit_time[job], jobs.run_time[job])
    s.told[b] = total
    paid: float = -(total - before) / s.waiting.shape[1]
    return paid


@compiled
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
        if not (flags.final or flags.accrued):
            s.earned[b] = 0.0
        asked = decide(s, b, job if job != NO_JOB else s.waiting[b, 0], jobs, flags)
        if flags.accrued:
            rewards[b] = _accrued(s, b, jobs, flags)
        else:
            rewards[b] = 0.0 if flags.final and asked else -s.earned[b] / s.waiting.shape[1]
        terminated[b], truncated[b] = not asked, False


@uncounted
def _head(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> int:
    """The most urgent waiting job; O(1), O(waiting) where the order changes with time."""
    head: int = s.waiting[b, 0]
    if flags.order <= F1:
        return head
    best = np.inf
    for place in range(s.waiting_count[b]):
        job = s.waiting[b, place]
        planned = s.planned_time[b, job - s.first[b]]
        value = priority(flags.order, s.time[b], jobs.submit_time[job], planned, jobs.processors[job])
        if value < best:
            head, best = job, value
    return head


@compiled
def replay_in_order(s: Episodes, jobs: Jobs, flags: Flags, processors: int) -> None:
    """Play row 0 to its end, always choosing the head of the queue."""
    rows = np.zeros(1, dtype=np.int64)
    begin(s, rows, rows, jobs, flags, processors)
    while s.waiting_count[0] > 0:
        s.committed[0] = _head(s, rows[0], jobs, flags)
        _run_to_decision(s, rows[0], jobs, flags)
