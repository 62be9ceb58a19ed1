"""The moves of an episode, compiled: what `simulator` says in words, over flat arrays. `model` has the rules.

Here is what happens when: tasks end, executors and jobs arrive, decisions are asked for and played. What executors do
then is in `executors`. Arrivals of jobs are sorted already and come first at an instant, then what was scheduled
earlier, as on SimPy's clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.events import EventKind, event_kinds
from sysgym.core.heap import sink
from sysgym.jobsched.dag.choices import (
    commitment,
    first_allowed,
    is_selectable,
    list_nodes,
    write_mask,
)
from sysgym.jobsched.dag.episodes import (
    AREA,
    ASK_COMMON,
    ASK_JOB,
    CUT,
    DUE,
    HORIZON,
    KEY,
    NEVER,
    NUMBER,
    ORDER,
    PENDING,
    PROMISES,
    ROUND_OPEN,
    SEQUENCE,
    TARGET,
    Episode,
    Rules,
)
from sysgym.jobsched.dag.executors import (
    close_round,
    commit,
    find_other_work,
    first_promise,
    keep_promise,
    log,
    next_executor,
    open_pool,
    open_round,
    remove_promise,
    rest,
    send,
    take_task,
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
from sysgym.jobsched.dag.profiles import REST, ProfileTable, task_duration
from sysgym.jobsched.dag.rewards import fluid_time

_SUBMIT, _FINISH = event_kinds(EventKind.SUBMIT, EventKind.FINISH)


@uncounted
def _end_job(r: Episode, j: int) -> None:
    """A job is complete: its executors join the common pool, nobody is expected any more."""
    per_job = r.stage.shape[0] // r.job.shape[0]
    r.job[j, FINISH] = r.numbers[TIME]
    r.numbers[DONE] += 1
    log(r, _FINISH, j, 0)
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
            remove_promise(r, place)
        else:
            place += 1


@uncounted
def _end_task(r: Episode, table: ProfileTable, rules: Rules, e: int) -> None:
    per_job, s = r.stage.shape[0] // r.job.shape[0], r.executor[e, STAGE]
    j = s // per_job
    r.stage[s, FINISHED] += 1
    if r.stage[s, TAKEN] < r.stage[s, TASKS]:
        take_task(r, table, rules, e, s, REST)
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
    ended, place = r.job[j, STAGES_LEFT] == 0, first_promise(r, s)
    if place >= 0:
        keep_promise(r, table, rules, e, place, j)
    elif ended or unlocked:
        rest(r, e)
    else:
        open_round(r, j, s, e, r.stage[s, RUNNING])
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
        find_other_work(r, table, rules, e)
        return
    j = s // (r.stage.shape[0] // r.job.shape[0])
    r.stage[s, MOVING] -= 1
    r.job[j, EXPECTED] -= 1
    r.job[j, ATTACHED] += 1
    r.executor[e, JOB] = j
    send(r, table, rules, e, s)


@uncounted
def _ask_any_pool(r: Episode) -> None:
    """Nothing is running or to come: ask the first pool that is not empty."""
    open_pool(r, NOTHING)
    for j in range(r.job.shape[0]):
        if not r.clock[ROUND_OPEN]:
            open_pool(r, j)


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
        log(r, _SUBMIT, arrived, r.job[arrived, UNTAKEN])
        r.clock[ASK_COMMON] = 1
        return
    e = next_executor(r)
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
        sink(heap, 0, size, e, due[:, DUE], due[:, ORDER])
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
            open_pool(r, j)
        elif r.clock[ASK_COMMON]:
            r.clock[ASK_COMMON] = 0
            open_pool(r, NOTHING)
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
