"""The memory of the compiled episodes: what a policy may see, and the clock behind it that it must not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import zeroed
from sysgym.core.compiled import counted, uncounted
from sysgym.jobsched.dag.model import (
    EXECUTOR_COLUMNS,
    FINISH,
    FIRST_TASK,
    IDLE,
    JOB,
    JOB_COLUMNS,
    KIND,
    NOTHING,
    NUMBERS,
    PARENTS_LEFT,
    SOURCE_JOB,
    SOURCE_STAGE,
    STAGE,
    STAGE_COLUMNS,
    STAGES_LEFT,
    STATUS,
    SUBMIT,
    TASKS,
    UNTAKEN,
)
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

# columns of `Episode.clock`: what a policy must not see
KEY, NUMBER, HORIZON, AREA, SEQUENCE, PENDING, PROMISES = range(7)
ROUND_OPEN, LEAVER, ASK_JOB, ASK_COMMON, WRITTEN, CUT = range(7, 13)
CLOCK = 13
DUE, ORDER = range(2)
SOURCE, TARGET, COUNT = range(3)
NEVER = 2**62
"""A time behind every event, ms."""
POOL = -2
"""Source of the promises of a pool, which are kept within the instant."""


class Episode(NamedTuple):
    """Everything of one episode; the arrays of the kernel's row, or of all rows with a dimension more.

    Attributes:
        numbers: See `DagState`, as `job`, `stage`, `executor` and `node`.
        job: Also of jobs that are still to come.
        stage: Likewise.
        executor: All.
        node: What is seen.
        clock: By `KEY` (of durations), `NUMBER` (of the episode), `HORIZON`, `AREA` (job-milliseconds so far),
            `SEQUENCE` (events scheduled so far), `PENDING` (size of the heap), `PROMISES` (length of the list),
            `ROUND_OPEN`, `LEAVER` (executor at whose stage's end is asked), `ASK_JOB`, `ASK_COMMON` (pools to be
            asked), `WRITTEN` (length of the log), `CUT` (whether the horizon has been reached).
        due: (E, 2): time of an executor's event, and its place among those of one instant.
        heap: Executors by `due`, (E,).
        promise: (E + 1, 3): source stage or `POOL`, target stage or -1, number of executors.
        fluid: What arrivals have added to `rewards.fluid_time`, ms, (1,); kept where the reward asks for it.
        event_time: Log, ms.
        event_kind: Log.
        event_subject: Log.
        event_amount: Log.
    """

    numbers: Integers
    job: Integers
    stage: Integers
    executor: Integers
    node: Integers
    clock: Integers
    due: Integers
    heap: Integers
    promise: Integers
    fluid: NDArray[np.float64]
    event_time: Integers
    event_kind: NDArray[np.int8]
    event_subject: Integers
    event_amount: Integers


class Rules(NamedTuple):
    """`DagConfig` for compiled code."""

    moving_delay: int
    inverted: bool
    regret: bool
    limits: Integers


def allocate(rows: int, jobs: int, per_job: int, executors: int, nodes: int, events: int) -> Episode:
    """Zeroed memory for a number of episodes."""
    of_events = dict.fromkeys(("event_time", "event_kind", "event_subject", "event_amount"), events)
    return zeroed(
        Episode, rows, numbers=NUMBERS, job=(jobs, JOB_COLUMNS), stage=(jobs * per_job, STAGE_COLUMNS),
        executor=(executors, EXECUTOR_COLUMNS), node=nodes, clock=CLOCK, due=(executors, 2), heap=executors,
        promise=(executors + 1, 3), fluid=1, **of_events,
    )  # fmt: skip


@counted
def row_of(all_rows: Episode, b: int) -> Episode:
    """Row b as views."""
    a = all_rows
    return Episode(
        a.numbers[b], a.job[b], a.stage[b], a.executor[b], a.node[b], a.clock[b], a.due[b], a.heap[b], a.promise[b],
        a.fluid[b], a.event_time[b], a.event_kind[b], a.event_subject[b], a.event_amount[b],
    )  # fmt: skip


@uncounted
def begin(r: Episode, table: ProfileTable, kind: Integers, submit: Integers) -> None:
    """Set an episode up; `clock`'s key, number and horizon are written already."""
    key, number, horizon = r.clock[KEY], r.clock[NUMBER], r.clock[HORIZON]
    r.numbers[:] = 0
    r.clock[:] = 0
    r.job[:] = 0
    r.stage[:] = 0
    r.fluid[0] = 0.0
    r.clock[KEY], r.clock[NUMBER], r.clock[HORIZON] = key, number, horizon
    r.clock[LEAVER] = r.clock[ASK_JOB] = NOTHING
    r.numbers[SOURCE_JOB] = r.numbers[SOURCE_STAGE] = NOTHING
    r.executor[:, STATUS] = IDLE
    r.executor[:, JOB] = NOTHING
    r.executor[:, STAGE] = NOTHING
    r.node[:] = NOTHING
    per_job, task = r.stage.shape[0] // r.job.shape[0], 0
    for j in range(r.job.shape[0]):
        first, end = table.first_stage[kind[j]], table.first_stage[kind[j] + 1]
        r.job[j, KIND], r.job[j, SUBMIT], r.job[j, FINISH] = kind[j], submit[j], NOTHING
        r.job[j, STAGES_LEFT], r.job[j, FIRST_TASK] = end - first, task
        for k in range(first, end):
            s = j * per_job + k - first
            r.stage[s, TASKS] = table.tasks[k]
            r.stage[s, PARENTS_LEFT] = table.parent_start[k + 1] - table.parent_start[k]
            r.job[j, UNTAKEN] += table.tasks[k]
        task += r.job[j, UNTAKEN]
