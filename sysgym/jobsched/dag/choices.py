"""Which stages are seen and which actions are allowed, for both engines and all policies.

An action is a choice of a node: a stage that is seen, and a parallelism limit. Everything here reads the columns of
`model.DagState` alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.jobsched.dag.model import (
    ARRIVED,
    ATTACHED,
    CAN_WAIT,
    EXPECTED,
    FINISH,
    FINISHED,
    FREE,
    KIND,
    MOVING,
    PROMISED,
    SELECTED,
    SOURCE_JOB,
    TAKEN,
    TASKS,
)
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

_UNLIMITED = 1 << 30


@uncounted
def is_saturated(stage: Integers, s: int) -> bool:
    """Whether all tasks of a stage are taken or promised."""
    return bool(stage[s, TAKEN] + stage[s, PROMISED] + stage[s, MOVING] >= stage[s, TASKS])


@uncounted
def is_selectable(stage: Integers, table: ProfileTable, s: int, first: int, begin: int) -> bool:
    """Whether a stage may be chosen; `first` is row of its job's first stage, `begin` that stage in the table."""
    if is_saturated(stage, s) or stage[s, SELECTED]:
        return False
    k = begin + s - first
    for place in range(table.parent_start[k], table.parent_start[k + 1]):
        if not is_saturated(stage, first + table.parent[place]):
            return False
    return True


@uncounted
def list_nodes(numbers: Integers, job: Integers, stage: Integers, table: ProfileTable, node: Integers) -> int:
    """Write the stages that are seen into `node`, -1 behind them; returns how many are selectable."""
    per_job, count, selectable, edges = stage.shape[0] // job.shape[0], 0, 0, 0
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] >= 0:
            continue
        begin, end = table.first_stage[job[j, KIND]], table.first_stage[job[j, KIND] + 1]
        more, more_edges = 0, 0
        for k in range(begin, end):
            if stage[j * per_job + k - begin, FINISHED] < table.tasks[k]:
                more += 1
                more_edges += table.child_start[k + 1] - table.child_start[k]
        if count + more > node.shape[0] or edges + more_edges > 2 * node.shape[0]:
            break
        edges += more_edges
        for k in range(begin, end):
            s = j * per_job + k - begin
            if stage[s, FINISHED] < stage[s, TASKS]:
                node[count] = s
                count += 1
                selectable += is_selectable(stage, table, s, j * per_job, begin)
    node[count:] = -1
    return selectable


@uncounted
def commitment(numbers: Integers, job: Integers, stage: Integers, s: int, j: int, limit: int) -> int:
    """Executors that choosing a stage with a limit commits; at most 0 where the limit is reached."""
    left = stage[s, TASKS] - stage[s, TAKEN] - stage[s, PROMISED] - stage[s, MOVING]
    return int(min(left, commitment_room(numbers, job, j, limit), numbers[FREE]))


@uncounted
def commitment_room(numbers: Integers, job: Integers, j: int, limit: int) -> int:
    """Executors that a job may be given up to a limit; those that are asked for now don't count as its own."""
    own = numbers[FREE] if numbers[SOURCE_JOB] == j else 0
    return int(limit - (job[j, ATTACHED] + job[j, EXPECTED] - own))


@uncounted
def first_allowed(mask: NDArray[np.int8]) -> int:
    """The first action that a mask allows."""
    action = 0
    while not mask[action]:
        action += 1
    return action


@uncounted
def write_mask(
    numbers: Integers, job: Integers, stage: Integers, limits: Integers, node: Integers, table: ProfileTable,
    mask: NDArray[np.int8],
) -> None:  # fmt: skip
    """Write which actions are allowed: of the limits that commit equally many executors, the smallest."""
    per_job, count = stage.shape[0] // job.shape[0], limits.shape[0]
    mask[:] = 0
    mask[-1] = 1 if numbers[CAN_WAIT] or numbers[FREE] == 0 else 0
    if numbers[FREE] == 0:
        return
    for v in range(node.shape[0]):
        s = node[v]
        if s < 0:
            break
        j = s // per_job
        if is_selectable(stage, table, s, j * per_job, table.first_stage[job[j, KIND]]):
            most, before = commitment(numbers, job, stage, s, j, _UNLIMITED), 0
            has = _UNLIMITED - commitment_room(numbers, job, j, _UNLIMITED)
            for place in range(count):
                commits = min(most, limits[place] - has)
                if commits > before:
                    mask[v * count + place] = 1
                    before = commits
                if commits == most:
                    break
