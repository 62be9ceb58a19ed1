"""The moves of the fast copy of `simulator`, compiled: each takes the whole `Machine` (see `episodes`)."""

from __future__ import annotations

import numpy as np

from sysgym.core.compiled import compiled, uncounted
from sysgym.core.events import EventKind, event_kinds
from sysgym.jobsched.gpu.episodes import (
    ALLOCATED,
    ARRIVED,
    EPOCH,
    EVENTS,
    FIFO,
    FRAGMENTED,
    HEAP,
    LAS,
    LOSS,
    ROWS,
    RUNNING,
    SAMPLES,
    SEQUENCE,
    SHORTEST,
    SRTF,
    WAITING,
    Machine,
    Need,
)
from sysgym.jobsched.gpu.fragmentation import fragmentation
from sysgym.jobsched.gpu.model import WHOLE, progress_kept
from sysgym.jobsched.gpu.placement import change, free_thousandths, room
from sysgym.jobsched.gpu.policies import NO_NODE, choose

_SUBMIT, _START, _FINISH = event_kinds(EventKind.SUBMIT, EventKind.START, EventKind.FINISH)
_DROP, _PLACE, _PREEMPT = event_kinds(EventKind.DROP, EventKind.PLACE, EventKind.PREEMPT)
_LATER = 1 << 40
"""Added to the order of a demotion, so that it comes behind all completions of its instant."""

_kept = compiled(progress_kept)


@uncounted
def _log(m: Machine, kind: int, job: int, amount: float) -> None:
    k = m.run.counts[EVENTS]
    m.run.events[k].time = m.run.time[0]
    m.run.events[k].kind = kind
    m.run.events[k].subject = job
    m.run.events[k].amount = amount
    m.run.counts[EVENTS] = k + 1


@uncounted
def _milli(m: Machine, job: int) -> int:
    """Thousandths of GPUs of a whole gang."""
    return m.jobs[job].workers * m.jobs[job].gpus * m.jobs[job].share


# The heap of completions and demotions, by (time, order).


@uncounted
def _before(m: Machine, i: int, k: int) -> bool:
    a, b = m.run.heap[i], m.run.heap[k]
    return a.time < b.time or (a.time == b.time and a.order < b.order)


@uncounted
def _swap(m: Machine, i: int, k: int) -> None:
    a, b = m.run.heap[i], m.run.heap[k]
    a.time, b.time = b.time, a.time
    a.order, b.order = b.order, a.order
    a.job, b.job = b.job, a.job
    a.attempt, b.attempt = b.attempt, a.attempt


@uncounted
def _push(m: Machine, time: float, later: int, job: int) -> None:
    r, i = m.run, m.run.counts[HEAP]
    r.heap[i].time, r.heap[i].order = time, r.counts[SEQUENCE] + later
    r.heap[i].job, r.heap[i].attempt = job, r.gangs[job].attempts
    r.counts[SEQUENCE] += 1
    r.counts[HEAP] = i + 1
    while i > 0 and _before(m, i, (i - 1) // 2):
        _swap(m, i, (i - 1) // 2)
        i = (i - 1) // 2


@uncounted
def _pop(m: Machine) -> None:
    """Take the first away; it can be read behind the last."""
    last = m.run.counts[HEAP] - 1
    m.run.counts[HEAP] = last
    _swap(m, 0, last)
    i = 0
    while True:
        child = 2 * i + 1
        if child + 1 < last and _before(m, child + 1, child):
            child += 1
        if child >= last or not _before(m, child, i):
            return
        _swap(m, i, child)
        i = child


@uncounted
def _next_due(m: Machine) -> float:
    """When the next completion or demotion comes; those of attempts that were stopped are thrown away."""
    r = m.run
    while r.counts[HEAP] > 0:
        job = r.heap[0].job
        if r.gangs[job].seat >= 0 and r.heap[0].attempt == r.gangs[job].attempts:
            return r.heap[0].time
        _pop(m)
    return np.inf


# What jobs hold, and where they wait.


@uncounted
def _change(m: Machine, job: int, row: int, sign: int) -> None:
    """Let the worker of a row of the table take what it says, or give it back."""
    n = m.run.rows[row].node
    change(m.nodes, m.jobs, job, n, m.run.rows[row].gpus, sign)
    after = fragmentation(m.nodes, m.typical, n)
    m.run.counts[FRAGMENTED] += after - m.nodes.table[n].fragmentation
    m.nodes.table[n].fragmentation = after


@uncounted
def _change_all(m: Machine, job: int, sign: int) -> None:
    first = m.run.gangs[job].first_row
    for row in range(first, first + m.jobs[job].workers):
        _change(m, job, row, sign)
    m.run.counts[ALLOCATED] += sign * _milli(m, job)


@uncounted
def _progress(m: Machine, job: int) -> float:
    """Seconds of its run time that a running job has behind it."""
    restart = m.flags.restart if m.run.gangs[job].attempts > 1 else 0.0
    return m.run.gangs[job].done + max(0.0, m.run.time[0] - m.run.gangs[job].began - restart)


@uncounted
def _urgency(m: Machine, job: int, progress: float) -> float:
    """A job's key in the queue: the smaller, the sooner it goes."""
    if m.flags.queue == SHORTEST:
        return m.jobs[job].planned
    if m.flags.queue == SRTF:
        return max(0.0, m.jobs[job].planned - progress)
    return float(m.run.gangs[job].level) if m.flags.queue == LAS else 0.0


@uncounted
def _wait(m: Machine, job: int) -> None:
    r = m.run
    key = r.gangs[job].key = _urgency(m, job, r.gangs[job].done)
    low, high = 0, r.counts[WAITING]
    while low < high:
        middle = (low + high) // 2
        other = r.waiting[middle]
        if r.gangs[other].key < key or (r.gangs[other].key == key and other < job):
            low = middle + 1
        else:
            high = middle
    for i in range(r.counts[WAITING], low, -1):
        r.waiting[i] = r.waiting[i - 1]
    r.waiting[low] = job
    r.counts[WAITING] += 1


@uncounted
def _leave_queue(m: Machine, place: int) -> None:
    r = m.run
    r.counts[WAITING] -= 1
    for i in range(place, r.counts[WAITING]):
        r.waiting[i] = r.waiting[i + 1]


@uncounted
def _leave_nodes(m: Machine, job: int) -> None:
    """Note that a running job holds nothing any more; its resources were given back."""
    r = m.run
    first, seat, last = r.gangs[job].first_row, r.gangs[job].seat, r.counts[RUNNING] - 1
    for row in range(first, first + m.jobs[job].workers):
        r.rows[row].end = r.time[0]
    other = r.running[last]
    r.running[seat], r.gangs[other].seat = other, seat
    r.gangs[job].seat = -1
    r.counts[RUNNING] = last
    r.counts[EPOCH] += 1


# Starting.


@uncounted
def _has_room(m: Machine, job: int) -> bool:
    """Whether all workers of a gang find room now."""
    missing = m.jobs[job].workers
    for n in range(len(m.nodes.table)):
        missing -= room(m.nodes, m.jobs, job, n, missing)
        if missing == 0:
            return True
    return False


@uncounted
def _place(m: Machine, job: int) -> bool:
    """Give all workers of a job nodes, or none."""
    r, workers = m.run, m.jobs[job].workers
    if workers > 1 and not _has_room(m, job):
        return False
    for worker in range(workers):
        number = r.gangs[job].choices + worker
        n, bits = choose(m.nodes, m.jobs, m.typical, m.memo, m.flags.choice, job, number)
        if n == NO_NODE:
            return False
        row = r.counts[ROWS] + worker
        r.rows[row].job, r.rows[row].node, r.rows[row].gpus = job, n, bits
        r.rows[row].start, r.rows[row].end = r.time[0], np.inf
        _change(m, job, row, 1)
    r.gangs[job].choices += workers
    r.gangs[job].first_row = r.counts[ROWS]
    r.counts[ROWS] += workers
    r.counts[ALLOCATED] += _milli(m, job)
    return True


@uncounted
def _begin(m: Machine, job: int) -> None:
    """Let a job run that has been placed."""
    r, now = m.run, m.run.time[0]
    first = r.gangs[job].first_row
    for row in range(first, first + m.jobs[job].workers):
        _log(m, _PLACE, job, r.rows[row].node)
    _log(m, _START, job, _milli(m, job))
    restart = m.flags.restart if r.gangs[job].attempts > 0 else 0.0
    r.gangs[job].attempts += 1
    r.gangs[job].began = now
    r.running[r.counts[RUNNING]], r.gangs[job].seat = job, r.counts[RUNNING]
    r.counts[RUNNING] += 1
    end = now + restart + (m.jobs[job].run - r.gangs[job].done)
    if end < np.inf:
        _push(m, end, 0, job)
    _watch(m, job)


@uncounted
def _watch(m: Machine, job: int) -> None:
    """Note when a running job is demoted."""
    milli, level = _milli(m, job), m.run.gangs[job].level
    if m.flags.queue == LAS and milli > 0 and level < len(m.flags.levels):
        left = m.flags.levels[level] - m.run.gangs[job].served
        _push(m, max(m.run.time[0], m.run.gangs[job].began + left * WHOLE / milli), _LATER, job)


# Stopping.


@uncounted
def _stop(m: Machine, job: int) -> None:
    """Write down that a running job was stopped, and let it wait; its resources were given back."""
    r = m.run
    progress = _progress(m, job)
    kept = _kept(progress, m.flags.checkpoint)
    _log(m, _PREEMPT, job, progress - kept)
    r.gangs[job].done = kept
    r.gangs[job].served += (r.time[0] - r.gangs[job].began) * (_milli(m, job) / WHOLE)
    _leave_nodes(m, job)
    _wait(m, job)


@uncounted
def _collect_victims(m: Machine, job: int) -> int:
    """The running jobs that a waiting one may stop; none where all of them together can't be enough."""
    r, count = m.run, 0
    for n in range(len(m.nodes.table)):
        m.nodes.tied[n, 1] = 0  # what victims hold there
    for seat in range(r.counts[RUNNING]):
        other = r.running[seat]
        key = _urgency(m, other, _progress(m, other))
        if key > r.gangs[job].key:
            r.gangs[other].key = key
            r.victims[count] = other
            count += 1
            first = r.gangs[other].first_row
            for row in range(first, first + m.jobs[other].workers):
                m.nodes.tied[r.rows[row].node, 1] += m.jobs[other].gpus * m.jobs[other].share
    return count if _may_be_enough(m, job) else 0


@uncounted
def _may_be_enough(m: Machine, job: int) -> bool:
    """Whether the free GPUs and the victims', without a look at anything else, could hold all workers of a job."""
    asked, missing = m.jobs[job].gpus * m.jobs[job].share, m.jobs[job].workers
    if asked == 0:
        return True
    for n in range(len(m.nodes.table)):
        missing -= (free_thousandths(m.nodes, n) + m.nodes.tied[n, 1]) // asked
    return missing <= 0


@uncounted
def _release(m: Machine, victim: int, job: int, sign: int) -> int:
    """Take a victim's resources away (sign -1) or put it back; how much the room for the job's workers grows."""
    gained, most = 0, m.jobs[job].workers
    first = m.run.gangs[victim].first_row
    for row in range(first, first + m.jobs[victim].workers):
        n = m.run.rows[row].node
        gained -= room(m.nodes, m.jobs, job, n, most)
        _change(m, victim, row, sign)
        gained += room(m.nodes, m.jobs, job, n, most)
    m.run.counts[ALLOCATED] += sign * _milli(m, victim)
    return gained


@uncounted
def _make_room(m: Machine, job: int) -> bool:
    """Stop running jobs until a waiting one finds room: most urgent last, and none that needn't be."""
    r, most = m.run, m.jobs[job].workers
    count = _collect_victims(m, job)
    if count == 0:
        return False
    places = 0
    for n in range(len(m.nodes.table)):
        places += room(m.nodes, m.jobs, job, n, most)
    released = 0
    while released < count and places < most:
        worst = released
        for i in range(released + 1, count):
            a, b = r.victims[i], r.victims[worst]
            if r.gangs[a].key > r.gangs[b].key or (r.gangs[a].key == r.gangs[b].key and a > b):
                worst = i
        r.victims[released], r.victims[worst] = r.victims[worst], r.victims[released]
        places += _release(m, r.victims[released], job, -1)
        released += 1
    enough = places >= most
    for i in range(released - 1, -1, -1):
        gained = _release(m, r.victims[i], job, 1)
        if enough and places + gained < most:
            _release(m, r.victims[i], job, -1)
        else:
            places += gained
            r.victims[i] = -1
    for i in range(released):
        if r.victims[i] >= 0:
            _stop(m, r.victims[i])
    return enough


# An instant.


@uncounted
def _pass_over_queue(m: Machine) -> None:
    """Start what finds room, in the order of the queue; see `model`."""
    r, place = m.run, 0
    preempts = m.flags.queue == SRTF or m.flags.queue == LAS  # noqa: PLR1714  numba has no sets
    r.counts[EPOCH] += preempts
    while place < r.counts[WAITING]:
        job = r.waiting[place]
        form = m.jobs[job].form
        if r.failed[form] != r.counts[EPOCH]:  # else nothing was given back since its like found no room
            placed, again = False, True
            while again and not placed:
                placed = _place(m, job)
                again = preempts and not placed and _make_room(m, job)
            if placed:
                _leave_queue(m, place)
                _begin(m, job)
                continue
            r.failed[form] = r.counts[EPOCH]
        if m.flags.queue == LOSS:
            _leave_queue(m, place)
            _log(m, _DROP, job, _milli(m, job))
            continue
        if m.flags.queue == FIFO:
            break
        place += 1


@uncounted
def _has_space(m: Machine, need: Need) -> bool:
    """Whether everything that an instant may write has room."""
    r = m.run
    return (
        r.counts[HEAP] + need.heap <= len(r.heap)
        and r.counts[EVENTS] + need.events <= len(r.events)
        and r.counts[ROWS] + need.rows <= len(r.rows)
        and r.counts[SAMPLES] + need.samples <= len(r.samples)
    )


@compiled
def let_time_pass(m: Machine, need: Need) -> bool:
    """Handle one instant after another; True when nothing is left, False where there is no room for the next."""
    r = m.run
    while _has_space(m, need):
        arrival = m.jobs[r.counts[ARRIVED]].submit if r.counts[ARRIVED] < len(m.jobs) else np.inf
        now = min(_next_due(m), arrival)
        if now == np.inf:
            return True
        r.time[0] = now
        while _next_due(m) == now:
            _pop(m)
            job = r.heap[r.counts[HEAP]].job
            if r.heap[r.counts[HEAP]].order >= _LATER:
                r.gangs[job].level += 1
                _watch(m, job)
            else:
                _change_all(m, job, -1)
                _leave_nodes(m, job)
                _log(m, _FINISH, job, _milli(m, job))
        while r.counts[ARRIVED] < len(m.jobs) and m.jobs[r.counts[ARRIVED]].submit == now:
            job = r.counts[ARRIVED]
            _log(m, _SUBMIT, job, _milli(m, job))
            _wait(m, job)
            r.counts[ARRIVED] += 1
        _pass_over_queue(m)
        k = r.counts[SAMPLES]
        r.samples[k].time, r.samples[k].allocated = now, r.counts[ALLOCATED]
        r.samples[k].fragmented = r.counts[FRAGMENTED]
        r.counts[SAMPLES] = k + 1
    return False
