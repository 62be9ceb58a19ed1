"""What executors do, compiled: take tasks, move, rest, keep promises; and the rounds in which they are promised.

An executor has at most one event to come (its task's end, or its arrival at a job), so a heap of executors is the whole
clock. Promises stand in one list in the order in which they were made. `dynamics` says what happens when.
"""

from __future__ import annotations

from sysgym.core.compiled import (
    uncounted,
    uncounted_inline,
)
from sysgym.core.events import EventKind, event_kinds
from sysgym.core.heap import rise, sink
from sysgym.jobsched.dag.choices import (
    is_saturated,
    is_selectable,
)
from sysgym.jobsched.dag.episodes import (
    COUNT,
    DUE,
    KEY,
    LEAVER,
    NUMBER,
    ORDER,
    PENDING,
    POOL,
    PROMISES,
    ROUND_OPEN,
    SEQUENCE,
    SOURCE,
    TARGET,
    WRITTEN,
    Episode,
    Rules,
)
from sysgym.jobsched.dag.model import (
    ARRIVED,
    ATTACHED,
    BUSY,
    COMMITTED,
    EXPECTED,
    FINISH,
    FIRST_TASK,
    FREE,
    IDLE,
    JOB,
    KIND,
    MOVING,
    NOTHING,
    PARENTS_LEFT,
    PROMISED,
    RUNNING,
    SELECTED,
    SOURCE_JOB,
    SOURCE_STAGE,
    STAGE,
    STATUS,
    TAKEN,
    TASKS,
    TIME,
    UNDER_WAY,
    UNTAKEN,
    WAITING,
)
from sysgym.jobsched.dag.profiles import FIRST, FRESH, ProfileTable, task_duration

_BOOK, _START = event_kinds(EventKind.BOOK, EventKind.START)


@uncounted
def log(r: Episode, kind: int, subject: int, amount: int) -> None:
    """Write an event."""
    place = r.clock[WRITTEN]
    r.event_time[place], r.event_kind[place] = r.numbers[TIME], kind
    r.event_subject[place], r.event_amount[place] = subject, amount
    r.clock[WRITTEN] = place + 1


@uncounted_inline
def schedule(r: Episode, e: int, delay: int) -> None:
    """Let an executor's event come after a delay."""
    due, pending = r.due, r.clock[PENDING]
    due[e, DUE], due[e, ORDER] = r.numbers[TIME] + delay, r.clock[SEQUENCE]
    r.clock[SEQUENCE] += 1
    r.clock[PENDING] = pending + 1
    rise(r.heap, 0, pending, e, due[:, DUE], due[:, ORDER])


@uncounted_inline
def next_executor(r: Episode) -> int:
    """Take the executor of the earliest event off the heap."""
    e, pending = r.heap[0], r.clock[PENDING] - 1
    r.clock[PENDING] = pending
    sink(r.heap, 0, pending, r.heap[pending], r.due[:, DUE], r.due[:, ORDER])
    return int(e)


@uncounted
def take_task(r: Episode, table: ProfileTable, rules: Rules, e: int, s: int, kind: int) -> None:
    """Executor e begins the next task of stage s."""
    j = s // (r.stage.shape[0] // r.job.shape[0])
    k = table.first_stage[r.job[j, KIND]] + s - j * (r.stage.shape[0] // r.job.shape[0])
    task = r.job[j, FIRST_TASK] + table.task_offset[k] + r.stage[s, TAKEN]
    if r.stage[s, TAKEN] == 0:
        log(r, _START, s, r.job[j, ATTACHED])
    r.stage[s, TAKEN] += 1
    r.job[j, UNTAKEN] -= 1
    attached, clock = r.job[j, ATTACHED], r.clock
    schedule(r, e, task_duration(table, clock[KEY], clock[NUMBER], task, k, attached, kind, rules.inverted))


@uncounted
def _leave_stage(r: Episode, e: int) -> None:
    if r.executor[e, STATUS] == WAITING:
        r.stage[r.executor[e, STAGE], RUNNING] -= 1
    r.executor[e, STATUS], r.executor[e, STAGE] = IDLE, NOTHING


@uncounted
def _enter_stage(r: Episode, table: ProfileTable, rules: Rules, e: int, s: int) -> None:
    """Executor e, which belongs to the job, begins to work on a runnable stage."""
    kind = FIRST if r.executor[e, STATUS] == WAITING else FRESH
    _leave_stage(r, e)
    r.executor[e, STATUS], r.executor[e, STAGE] = BUSY, s
    r.stage[s, RUNNING] += 1
    take_task(r, table, rules, e, s, kind)


@uncounted
def rest(r: Episode, e: int) -> None:
    """Executor e idles: in its job's pool while tasks are left there, else in the common one."""
    _leave_stage(r, e)
    j = r.executor[e, JOB]
    if j >= 0 and r.job[j, UNTAKEN] == 0:
        r.job[j, ATTACHED] -= 1
        r.executor[e, JOB] = NOTHING


@uncounted
def _move(r: Episode, rules: Rules, e: int, s: int) -> None:
    """Executor e sets out for a stage of another job."""
    _leave_stage(r, e)
    if r.executor[e, JOB] >= 0:
        r.job[r.executor[e, JOB], ATTACHED] -= 1
    r.executor[e, JOB], r.executor[e, STATUS], r.executor[e, STAGE] = NOTHING, UNDER_WAY, s
    r.stage[s, MOVING] += 1
    r.job[s // (r.stage.shape[0] // r.job.shape[0]), EXPECTED] += 1
    schedule(r, e, rules.moving_delay)


@uncounted
def send(r: Episode, table: ProfileTable, rules: Rules, e: int, s: int) -> None:
    """Executor e follows its commitment to a stage, unless that has become stale."""
    j = s // (r.stage.shape[0] // r.job.shape[0])
    if r.stage[s, TAKEN] >= r.stage[s, TASKS]:
        find_other_work(r, table, rules, e)
    elif r.executor[e, JOB] != j:
        _move(r, rules, e, s)
    elif r.stage[s, PARENTS_LEFT] == 0:
        _enter_stage(r, table, rules, e, s)
    else:
        rest(r, e)


@uncounted
def find_other_work(r: Episode, table: ProfileTable, rules: Rules, e: int) -> None:
    """Executor e came too late: something in its own job, else what is selectable first, else nothing."""
    per_job, own = r.stage.shape[0] // r.job.shape[0], r.executor[e, JOB]
    if own >= 0:
        for s in range(own * per_job, (own + 1) * per_job):
            if r.stage[s, PARENTS_LEFT] == 0 and not is_saturated(r.stage, s):
                _enter_stage(r, table, rules, e, s)
                return
    for j in range(r.numbers[ARRIVED]):
        if r.job[j, FINISH] >= 0:
            continue
        first = table.first_stage[r.job[j, KIND]]
        for s in range(j * per_job, (j + 1) * per_job):
            if r.stage[s, TASKS] > 0 and is_selectable(r.stage, table, s, j * per_job, first):
                if j == own:
                    rest(r, e)
                else:
                    _move(r, rules, e, s)
                return
    rest(r, e)


@uncounted
def _promise(r: Episode, source: int, target: int, count: int) -> None:
    place = r.clock[PROMISES]
    r.promise[place, SOURCE], r.promise[place, TARGET], r.promise[place, COUNT] = source, target, count
    r.clock[PROMISES] = place + 1


@uncounted
def first_promise(r: Episode, source: int) -> int:
    """Place of the oldest promise of a source; -1 if there is none."""
    for place in range(r.clock[PROMISES]):
        if r.promise[place, SOURCE] == source:
            return place
    return NOTHING


@uncounted
def remove_promise(r: Episode, place: int) -> None:
    """Take a promise off the list."""
    last = r.clock[PROMISES] - 1
    for later in range(place, last):
        for column in range(3):
            r.promise[later, column] = r.promise[later + 1, column]
    r.clock[PROMISES] = last


@uncounted
def keep_promise(r: Episode, table: ProfileTable, rules: Rules, e: int, place: int, source_job: int) -> None:
    """Executor e does what was promised of its source."""
    target = r.promise[place, TARGET]
    r.promise[place, COUNT] -= 1
    if r.promise[place, COUNT] == 0:
        remove_promise(r, place)
    if target == NOTHING:
        rest(r, e)
        return
    j = target // (r.stage.shape[0] // r.job.shape[0])
    r.stage[target, PROMISED] -= 1
    if j != source_job:
        r.job[j, EXPECTED] -= 1
    send(r, table, rules, e, target)


@uncounted
def open_round(r: Episode, source_job: int, source_stage: int, leaver: int, free: int) -> None:
    """Ask for the free executors of a source."""
    r.clock[ROUND_OPEN], r.clock[LEAVER] = 1, leaver
    r.numbers[SOURCE_JOB], r.numbers[SOURCE_STAGE] = source_job, source_stage
    r.numbers[FREE], r.numbers[COMMITTED] = free, 0


@uncounted
def open_pool(r: Episode, j: int) -> None:
    """Ask for the idle executors of a pool, if there are any; j = -1 is the common pool."""
    free = 0
    for e in range(r.executor.shape[0]):
        free += r.executor[e, STATUS] == IDLE and r.executor[e, JOB] == j
    if free > 0:
        open_round(r, j, NOTHING, NOTHING, free)


@uncounted
def commit(r: Episode, s: int, count: int) -> None:
    """Commit executors of the source to a stage."""
    j, source_stage = s // (r.stage.shape[0] // r.job.shape[0]), r.numbers[SOURCE_STAGE]
    _promise(r, source_stage if source_stage >= 0 else POOL, s, count)
    r.stage[s, PROMISED] += count
    r.stage[s, SELECTED] = 1
    if j != r.numbers[SOURCE_JOB]:
        r.job[j, EXPECTED] += count
    r.numbers[FREE] -= count
    r.numbers[COMMITTED] += count
    log(r, _BOOK, s, count)


@uncounted
def close_round(r: Episode, table: ProfileTable, rules: Rules) -> None:
    """End a round: the rest idles, and those who are free do what was decided."""
    source_job, source_stage, leaver = r.numbers[SOURCE_JOB], r.numbers[SOURCE_STAGE], r.clock[LEAVER]
    source = source_stage if source_stage >= 0 else POOL
    for place in range(r.clock[PROMISES]):
        if r.promise[place, SOURCE] == source:
            r.stage[r.promise[place, TARGET], SELECTED] = 0
    if r.numbers[FREE] > 0:
        _promise(r, source, NOTHING, r.numbers[FREE])
    open_round(r, NOTHING, NOTHING, NOTHING, 0)
    r.clock[ROUND_OPEN] = 0
    if source_stage >= 0:
        keep_promise(r, table, rules, leaver, first_promise(r, source), source_job)
        return
    for e in range(r.executor.shape[0]):
        if r.executor[e, STATUS] == IDLE and r.executor[e, JOB] == source_job:
            place = first_promise(r, POOL)
            if place < 0:
                return
            keep_promise(r, table, rules, e, place, source_job)
