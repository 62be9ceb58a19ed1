"""The moves of an episode, compiled: what `simulator` says in words, over flat arrays. `model` has the rules.

An executor has at most one event to come (its task's end, or its arrival at a job), so a heap of executors is the whole
clock; arrivals of jobs are sorted already and come first at an instant, then what was scheduled earlier, as on SimPy's
clock. Promises stand in one list in the order in which they were made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.core.events import EventKind
from sysgym.jobsched.dag.episodes import (
    AREA,
    ASK_COMMON,
    ASK_JOB,
    COUNT,
    CUT,
    DUE,
    HORIZON,
    KEY,
    LEAVER,
    NEVER,
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
    CAN_WAIT,
    COMMITTED,
    DECISIONS,
    DONE,
    EXPECTED,
    FINISH,
    FINISHED,
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
    STAGES_LEFT,
    STATUS,
    SUBMIT,
    TAKEN,
    TASKS,
    TIME,
    UNDER_WAY,
    UNTAKEN,
    WAITING,
)
from sysgym.jobsched.dag.observation import (
    commitment,
    first_allowed,
    is_saturated,
    is_selectable,
    list_nodes,
    write_mask,
)
from sysgym.jobsched.dag.profiles import FIRST, FRESH, REST, ProfileTable, task_duration
from sysgym.jobsched.dag.rewards import fluid_time

Integers = NDArray[np.int64]
_SUBMIT, _BOOK = int(EventKind.SUBMIT), int(EventKind.BOOK)
_START, _FINISH = int(EventKind.START), int(EventKind.FINISH)


@uncounted
def _log(r: Episode, kind: int, subject: int, amount: int) -> None:
    place = r.clock[WRITTEN]
    r.event_time[place], r.event_kind[place] = r.numbers[TIME], kind
    r.event_subject[place], r.event_amount[place] = subject, amount
    r.clock[WRITTEN] = place + 1


@uncounted_inline
def _before(due: Integers, one: int, other: int) -> bool:
    if due[one, DUE] != due[other, DUE]:
        return bool(due[one, DUE] < due[other, DUE])
    return bool(due[one, ORDER] < due[other, ORDER])


@uncounted_inline
def _schedule(r: Episode, e: int, delay: int) -> None:
    """Let an executor's event come after a delay."""
    heap, due, place = r.heap, r.due, r.clock[PENDING]
    due[e, DUE], due[e, ORDER] = r.numbers[TIME] + delay, r.clock[SEQUENCE]
    r.clock[SEQUENCE] += 1
    r.clock[PENDING] = place + 1
    while place > 0:
        above = (place - 1) >> 1
        if _before(due, heap[above], e):
            break
        heap[place] = heap[above]
        place = above
    heap[place] = e


@uncounted_inline
def _next(r: Episode) -> int:
    """Take the executor of the earliest event off the heap."""
    heap, due = r.heap, r.due
    e, size = heap[0], r.clock[PENDING] - 1
    r.clock[PENDING] = size
    if size > 0:
        last, place = heap[size], 0
        while True:
            below = 2 * place + 1
            if below >= size:
                break
            if below + 1 < size and _before(due, heap[below + 1], heap[below]):
                below += 1
            if _before(due, last, heap[below]):
                break
            heap[place] = heap[below]
            place = below
        heap[place] = last
    return int(e)


@uncounted
def _take_task(r: Episode, table: ProfileTable, rules: Rules, e: int, s: int, kind: int) -> None:
    """Executor e begins the next task of stage s."""
    j = s // (r.stage.shape[0] // r.job.shape[0])
    k = table.first_stage[r.job[j, KIND]] + s - j * (r.stage.shape[0] // r.job.shape[0])
    task = r.job[j, FIRST_TASK] + table.task_offset[k] + r.stage[s, TAKEN]
    if r.stage[s, TAKEN] == 0:
        _log(r, _START, s, r.job[j, ATTACHED])
    r.stage[s, TAKEN] += 1
    r.job[j, UNTAKEN] -= 1
    attached, clock = r.job[j, ATTACHED], r.clock
    _schedule(r, e, task_duration(table, clock[KEY], clock[NUMBER], task, k, attached, kind, rules.inverted))


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
    _take_task(r, table, rules, e, s, kind)


@uncounted
def _rest(r: Episode, e: int) -> None:
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
    _schedule(r, e, rules.moving_delay)


@uncounted
def _send(r: Episode, table: ProfileTable, rules: Rules, e: int, s: int) -> None:
    """Executor e follows its commitment to a stage, unless that has become stale."""
    j = s // (r.stage.shape[0] // r.job.shape[0])
    if r.stage[s, TAKEN] >= r.stage[s, TASKS]:
        _find_other_work(r, table, rules, e)
    elif r.executor[e, JOB] != j:
        _move(r, rules, e, s)
    elif r.stage[s, PARENTS_LEFT] == 0:
        _enter_stage(r, table, rules, e, s)
    else:
        _rest(r, e)


@uncounted
def _find_other_work(r: Episode, table: ProfileTable, rules: Rules, e: int) -> None:
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
                    _rest(r, e)
                else:
                    _move(r, rules, e, s)
                return
    _rest(r, e)


@uncounted
def _promise(r: Episode, source: int, target: int, count: int) -> None:
    place = r.clock[PROMISES]
    r.promise[place, SOURCE], r.promise[place, TARGET], r.promise[place, COUNT] = source, target, count
    r.clock[PROMISES] = place + 1


@uncounted
def _first_promise(r: Episode, source: int) -> int:
    for place in range(r.clock[PROMISES]):
        if r.promise[place, SOURCE] == source:
            return place
    return NOTHING


@uncounted
def _remove_promise(r: Episode, place: int) -> None:
    last = r.clock[PROMISES] - 1
    for later in range(place, last):
        for column in range(3):
            r.promise[later, column] = r.promise[later + 1, column]
    r.clock[PROMISES] = last


@uncounted
def _keep_promise(r: Episode, table: ProfileTable, rules: Rules, e: int, place: int, source_job: int) -> None:
    """Executor e does what was promised of its source."""
    target = r.promise[place, TARGET]
    r.promise[place, COUNT] -= 1
    if r.promise[place, COUNT] == 0:
        _remove_promise(r, place)
    if target == NOTHING:
        _rest(r, e)
        return
    j = target // (r.stage.shape[0] // r.job.shape[0])
    r.stage[target, PROMISED] -= 1
    if j != source_job:
        r.job[j, EXPECTED] -= 1
    _send(r, table, rules, e, target)


@uncounted
def _open_round(r: Episode, source_job: int, source_stage: int, leaver: int, free: int) -> None:
    r.clock[ROUND_OPEN], r.clock[LEAVER] = 1, leaver
    r.numbers[SOURCE_JOB], r.numbers[SOURCE_STAGE] = source_job, source_stage
    r.numbers[FREE], r.numbers[COMMITTED] = free, 0


@uncounted
def _open_pool(r: Episode, j: int) -> None:
    """Ask for the idle executors of a pool, if there are any; j = -1 is the common pool."""
    free = 0
    for e in range(r.executor.shape[0]):
        free += r.executor[e, STATUS] == IDLE and r.executor[e, JOB] == j
    if free > 0:
        _open_round(r, j, NOTHING, NOTHING, free)


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
    _log(r, _BOOK, s, count)


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
    _open_round(r, NOTHING, NOTHING, NOTHING, 0)
    r.clock[ROUND_OPEN] = 0
    if source_stage >= 0:
        _keep_promise(r, table, rules, leaver, _first_promise(r, source), source_job)
        return
    for e in range(r.executor.shape[0]):
        if r.executor[e, STATUS] == IDLE and r.executor[e, JOB] == source_job:
            place = _first_promise(r, POOL)
            if place < 0:
                return
            _keep_promise(r, table, rules, e, place, source_job)


@uncounted
def _end_job(r: Episode, j: int) -> None:
    """A job is complete: its executors join the common pool, nobody is expected any more."""
    per_job = r.stage.shape[0] // r.job.shape[0]
    r.job[j, FINISH] = r.numbers[TIME]
    r.numbers[DONE] += 1
    _log(r, _FINISH, j, 0)
    for e in range(r.executor.shape[0]):
        if r.executor[e, JOB] == j:
            r.executor[e, JOB] = NOTHING
        if r.executor[e, STATUS] == UNDER_WAY and r.executor[e, STAGE] // per_job == j:
            r.executor[e, STAGE] = NOTHING
    r.job[j, ATTACHED] = r.job[j, EXPECTED] = 0
    for s in range(j * per_job, (j + 1) * per_job):
        r.stage[s, PROMISED] = r.stage[s, MOVING] = 0
    place = 0
    while place < r.clock[PROMISES]:
        if r.promise[place, TARGET] >= 0 and r.promise[place, TARGET] // per_job == j:
            _remove_promise(r, place)
        else:
            place += 1


@uncounted
def _end_task(r: Episode, table: ProfileTable, rules: Rules, e: int) -> None:
    per_job, s = r.stage.shape[0] // r.job.shape[0], r.executor[e, STAGE]
    j = s // per_job
    r.stage[s, FINISHED] += 1
    if r.stage[s, TAKEN] < r.stage[s, TASKS]:
        _take_task(r, table, rules, e, s, REST)
        return
    unlocked = False
    if r.stage[s, FINISHED] == r.stage[s, TASKS]:
        r.job[j, STAGES_LEFT] -= 1
        k = table.first_stage[r.job[j, KIND]] + s - j * per_job
        for place in range(table.child_start[k], table.child_start[k + 1]):
            child = j * per_job + table.child[place]
            r.stage[child, PARENTS_LEFT] -= 1
            unlocked = unlocked or r.stage[child, PARENTS_LEFT] == 0
    r.executor[e, STATUS] = WAITING
    ended, place = r.job[j, STAGES_LEFT] == 0, _first_promise(r, s)
    if place >= 0:
        _keep_promise(r, table, rules, e, place, j)
    elif ended or unlocked:
        _rest(r, e)
    else:
        _open_round(r, j, s, e, r.stage[s, RUNNING])
        return
    if ended:
        _end_job(r, j)
    if unlocked:
        r.clock[ASK_JOB] = j
    if ended or unlocked:
        r.clock[ASK_COMMON] = 1


@uncounted
def _arrive_at_job(r: Episode, table: ProfileTable, rules: Rules, e: int) -> None:
    s = r.executor[e, STAGE]
    r.executor[e, STATUS], r.executor[e, STAGE] = IDLE, NOTHING
    if s < 0:
        _find_other_work(r, table, rules, e)
        return
    j = s // (r.stage.shape[0] // r.job.shape[0])
    r.stage[s, MOVING] -= 1
    r.job[j, EXPECTED] -= 1
    r.job[j, ATTACHED] += 1
    r.executor[e, JOB] = j
    _send(r, table, rules, e, s)


@uncounted
def _ask_any_pool(r: Episode) -> None:
    """Nothing is running or to come: ask the first pool that is not empty."""
    _open_pool(r, NOTHING)
    for j in range(r.job.shape[0]):
        if not r.clock[ROUND_OPEN]:
            _open_pool(r, j)


@uncounted
def _pass_time(r: Episode, table: ProfileTable, rules: Rules) -> None:
    """Let the next event happen, or the horizon come."""
    arrived, jobs = r.numbers[ARRIVED], r.job.shape[0]
    arrival = arrived < jobs and (r.clock[PENDING] == 0 or r.job[arrived, SUBMIT] <= r.due[r.heap[0], DUE])
    time = r.job[arrived, SUBMIT] if arrival else r.due[r.heap[0], DUE]
    if 0 < r.clock[HORIZON] <= time:
        time, r.clock[CUT] = r.clock[HORIZON], 1
    r.clock[AREA] += (arrived - r.numbers[DONE]) * (time - r.numbers[TIME])
    r.numbers[TIME] = time
    if r.clock[CUT]:
        return
    if arrival:
        before = fluid_time(r.numbers, r.job, r.stage, r.executor.shape[0], table) if rules.regret else 0.0
        r.numbers[ARRIVED] = arrived + 1
        if rules.regret:
            r.fluid[0] += fluid_time(r.numbers, r.job, r.stage, r.executor.shape[0], table) - before
        _log(r, _SUBMIT, arrived, r.job[arrived, UNTAKEN])
        r.clock[ASK_COMMON] = 1
        return
    e = _next(r)
    if r.executor[e, STATUS] == UNDER_WAY:
        _arrive_at_job(r, table, rules, e)
    else:
        _end_task(r, table, rules, e)


@uncounted
def _work_on(r: Episode, table: ProfileTable, rules: Rules) -> None:
    """Let tasks end whose executors go on with their stage, until anything else is next; most events are of this kind.

    The same as `_pass_time` again and again, without leaving this function: the next task's end takes its place on the
    heap at once.
    """
    numbers, job, stage, executor, clock, due, heap = r.numbers, r.job, r.stage, r.executor, r.clock, r.due, r.heap
    jobs, per_job, size = job.shape[0], stage.shape[0] // job.shape[0], clock[PENDING]
    last = NEVER
    if numbers[ARRIVED] < jobs:
        last = job[numbers[ARRIVED], SUBMIT]
    if clock[HORIZON] > 0:
        last = min(last, clock[HORIZON])
    key, episode, sequence = clock[KEY], clock[NUMBER], clock[SEQUENCE]
    present, area, now = numbers[ARRIVED] - numbers[DONE], clock[AREA], numbers[TIME]
    while size > 0:
        e = heap[0]
        s, time = executor[e, STAGE], due[e, DUE]
        if time >= last or executor[e, STATUS] != BUSY or stage[s, TAKEN] >= stage[s, TASKS]:
            break
        area += present * (time - now)
        now = time
        j = s // per_job
        k = table.first_stage[job[j, KIND]] + s - j * per_job
        task = job[j, FIRST_TASK] + table.task_offset[k] + stage[s, TAKEN]
        stage[s, FINISHED] += 1
        stage[s, TAKEN] += 1
        job[j, UNTAKEN] -= 1
        due[e, DUE] = now + task_duration(table, key, episode, task, k, job[j, ATTACHED], REST, rules.inverted)
        due[e, ORDER] = sequence
        sequence += 1
        place = 0
        while True:
            below = 2 * place + 1
            if below >= size:
                break
            if below + 1 < size and _before(due, heap[below + 1], heap[below]):
                below += 1
            if _before(due, e, heap[below]):
                break
            heap[place] = heap[below]
            place = below
        heap[place] = e
    clock[SEQUENCE], clock[AREA], numbers[TIME] = sequence, area, now


@uncounted
def run_to_decision(r: Episode, table: ProfileTable, rules: Rules) -> None:
    """Go on until somebody has to decide, all jobs are done, or the horizon is reached."""
    jobs = r.job.shape[0]
    while True:
        if r.clock[ROUND_OPEN]:
            if r.numbers[FREE] > 0 and list_nodes(r.numbers, r.job, r.stage, table, r.node) > 0:
                break
            close_round(r, table, rules)
        elif r.clock[ASK_JOB] >= 0:
            j = r.clock[ASK_JOB]
            r.clock[ASK_JOB] = NOTHING
            _open_pool(r, j)
        elif r.clock[ASK_COMMON]:
            r.clock[ASK_COMMON] = 0
            _open_pool(r, NOTHING)
        elif r.numbers[DONE] == jobs or r.clock[CUT]:
            list_nodes(r.numbers, r.job, r.stage, table, r.node)
            break
        elif r.clock[PENDING] == 0 and r.numbers[ARRIVED] == jobs:
            _ask_any_pool(r)
        else:
            _work_on(r, table, rules)
            _pass_time(r, table, rules)
    waits = r.clock[PENDING] > 0 or r.numbers[ARRIVED] < jobs or r.numbers[COMMITTED] > 0
    r.numbers[CAN_WAIT] = 1 if waits else 0


@uncounted
def decide(r: Episode, table: ProfileTable, rules: Rules, action: int, mask: NDArray[np.int8]) -> None:
    """Play an action and go on to the next decision; one that commits nobody counts as "none", or as the first allowed.

    Args:
        r: The episode.
        table: The profiles.
        rules: Of the cluster.
        action: Any number of the action space.
        mask: Room for one.
    """
    r.numbers[DECISIONS] += 1
    count = rules.limits.shape[0]
    commits = _commits(r, table, rules, action)
    if commits <= 0 and not r.numbers[CAN_WAIT]:
        write_mask(r.numbers, r.job, r.stage, rules.limits, r.node, table, mask)
        action = first_allowed(mask)
        commits = _commits(r, table, rules, action)
    if commits > 0:
        commit(r, r.node[action // count], commits)
    else:
        close_round(r, table, rules)
    run_to_decision(r, table, rules)


@uncounted
def _commits(r: Episode, table: ProfileTable, rules: Rules, action: int) -> int:
    """Executors that an action commits, 0 for "none" and for what cannot be chosen."""
    count, per_job = rules.limits.shape[0], r.stage.shape[0] // r.job.shape[0]
    v = action // count
    if v >= r.node.shape[0] or r.node[v] < 0:
        return 0
    s = r.node[v]
    j = s // per_job
    if not is_selectable(r.stage, table, s, j * per_job, table.first_stage[r.job[j, KIND]]):
        return 0
    return int(max(0, commitment(r.numbers, r.job, r.stage, s, j, rules.limits[action % count])))
