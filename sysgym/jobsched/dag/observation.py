"""What is seen of a cluster: which stages, which actions are allowed, and two observations, for both engines.

`graph` is the graph convention: unfinished stages are nodes, edges lead from parents to children. `rows` has a row an
action, with the same features of the stage and what the commitment would mean; where an action is masked the row is 0,
so whoever learns from rows pays for allowed actions alone. Both are clipped at `BOUND`; sizes and times enter as
logarithms, because the published jobs differ by a factor of hundreds.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import UnknownNameError
from sysgym.core.packing import graph_spec
from sysgym.core.protocols import ArraySpec, ObservationSpec
from sysgym.jobsched.dag.model import (
    ARRIVED,
    ATTACHED,
    CAN_WAIT,
    DONE,
    EXPECTED,
    FINISH,
    FINISHED,
    FREE,
    IDLE,
    JOB,
    KIND,
    MOVING,
    PARENTS_LEFT,
    PROMISED,
    RUNNING,
    SELECTED,
    SOURCE_JOB,
    SOURCE_STAGE,
    STAGE,
    STATUS,
    SUBMIT,
    TAKEN,
    TASKS,
    TIME,
    UNTAKEN,
    DagConfig,
    edge_room,
)
from sysgym.jobsched.dag.profiles import ProfileTable

FEATURES = 19
"""Numbers that describe a stage."""
GLOBALS = 10
JOB_FEATURES = 9
"""The last of them, which describe its job."""
ROW_FEATURES = FEATURES + 18
"""Numbers that describe an action: of its stage, of the commitment, and of the cluster."""
BOUND = 4.0
_UNLIMITED = 1 << 30
LOCKED_SECONDS = (10.0, 40.0)
"""An executor counts as locked where its stage has work for so long; tasks are not taken back."""
OBSERVATIONS = ("graph", "rows")
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Outlook(NamedTuple):
    """What both observations and the heuristics compute from the columns; times in seconds.

    Attributes:
        work: Expected work left of each stage, by row of `stage`.
        path: Expected time along the longest way from a stage's beginning to the job's end, with all executors.
        job_work: Expected work left of each job.
        job_path: Longest `path` of each job.
        about: Features that the stages of a job share, (jobs, `JOB_FEATURES`).
        around: The globals, (`GLOBALS`,).
        place: Number of the node that a stage is seen as, by row of `stage`.
    """

    work: Floats
    path: Floats
    job_work: Floats
    job_path: Floats
    about: Floats
    around: Floats
    place: Integers


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


@uncounted
def look_out(
    numbers: Integers, job: Integers, stage: Integers, executors: int, table: ProfileTable, outlook: Outlook
) -> None:
    """Compute the outlook of all jobs that are present."""
    per_job = stage.shape[0] // job.shape[0]
    for j in range(numbers[ARRIVED]):
        outlook.job_work[j] = outlook.job_path[j] = 0.0
        if job[j, FINISH] >= 0:
            continue
        begin, end = table.first_stage[job[j, KIND]], table.first_stage[job[j, KIND] + 1]
        for place in range(end - 1, begin - 1, -1):
            k = table.order[place]
            s = j * per_job + k
            left = stage[s, TASKS] - stage[s, FINISHED]
            mean = table.mean[begin + k] / 1000.0
            longest = 0.0
            for edge in range(table.child_start[begin + k], table.child_start[begin + k + 1]):
                longest = max(longest, outlook.path[j * per_job + table.child[edge]])
            outlook.work[s] = left * mean
            outlook.path[s] = longest + mean * ((left + executors - 1) // executors)
            outlook.job_path[j] = max(outlook.job_path[j], outlook.path[s])
        for k in range(end - begin):
            outlook.job_work[j] += outlook.work[j * per_job + k]


def new_outlook(jobs: int, stages: int) -> Outlook:
    """Room for an outlook of so many rows."""
    about, place = np.zeros((jobs, JOB_FEATURES)), np.zeros(stages, dtype=np.int64)
    by_stage, by_job = np.zeros((2, stages)), np.zeros((2, jobs))
    return Outlook(by_stage[0], by_stage[1], by_job[0], by_job[1], about, np.zeros(GLOBALS), place)


@uncounted
def _scaled(seconds: float) -> float:
    """A time between a millisecond and an hour, on a scale of about 0 to 2."""
    return min(math.log1p(10.0 * seconds) / 5.0, BOUND)


@uncounted
def _describe_jobs(numbers: Integers, job: Integers, executors: int, outlook: Outlook, least: float) -> None:
    """Write what the stages of each job share into the outlook."""
    present = numbers[ARRIVED] - numbers[DONE]
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] >= 0:
            continue
        work, path, out, smaller = outlook.job_work[j], outlook.job_path[j], outlook.about[j], 0
        for other in range(numbers[ARRIVED]):
            smaller += job[other, FINISH] < 0 and outlook.job_work[other] < work
        out[0] = job[j, ATTACHED] / executors
        out[1] = job[j, EXPECTED] / executors
        out[2] = 1.0 if numbers[SOURCE_JOB] == j else 0.0
        out[3] = _scaled(work)
        out[4] = _scaled(path)
        out[5] = work / max(work + executors * path, 1e-9)
        out[6] = _scaled(work - least)
        out[7] = smaller / present
        out[8] = _scaled((numbers[TIME] - job[j, SUBMIT]) / 1000.0)


@uncounted
def _crew(stage: Integers, s: int) -> int:
    """Executors that work on a stage or will."""
    return int(stage[s, RUNNING] + stage[s, PROMISED] + stage[s, MOVING])


@uncounted
def _describe(
    numbers: Integers, job: Integers, stage: Integers, executors: int, table: ProfileTable, outlook: Outlook, s: int,
    j: int, out: NDArray[Any],
) -> None:  # fmt: skip
    """Write the features of a stage."""
    per_job = stage.shape[0] // job.shape[0]
    begin = table.first_stage[job[j, KIND]]
    untaken = stage[s, TASKS] - stage[s, TAKEN] - stage[s, PROMISED] - stage[s, MOVING]
    out[0] = 1.0 if numbers[FREE] > 0 and is_selectable(stage, table, s, j * per_job, begin) else 0.0
    out[1] = 1.0 if stage[s, PARENTS_LEFT] == 0 else 0.0
    out[2] = math.log1p(max(untaken, 0)) / 5.0
    out[3] = _scaled(outlook.work[s])
    out[4] = _scaled(table.mean[begin + s - j * per_job] / 1000.0)
    out[5] = stage[s, RUNNING] / executors
    out[6] = (stage[s, PROMISED] + stage[s, MOVING]) / executors
    out[7] = _scaled(outlook.path[s])
    out[8] = outlook.path[s] / max(outlook.job_path[j], 1e-9)
    out[9] = _scaled(outlook.work[s] / max(_crew(stage, s), 1))
    for place in range(JOB_FEATURES):
        out[FEATURES - JOB_FEATURES + place] = outlook.about[j, place]


@uncounted
def _least_work(numbers: Integers, job: Integers, outlook: Outlook) -> tuple[float, float]:
    """Least work of a job that is present, and the work of all."""
    least, total = np.inf, 0.0
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] < 0:
            least = min(least, outlook.job_work[j])
            total += outlook.job_work[j]
    return least, total


@uncounted
def _describe_cluster(
    numbers: Integers, stage: Integers, executor: Integers, hidden: int, total: float, outlook: Outlook
) -> None:
    """Write the globals into the outlook."""
    executors, pooled, locked, long_locked, out = executor.shape[0], 0, 0, 0, outlook.around
    for e in range(executors):
        if executor[e, STATUS] == IDLE:
            pooled += executor[e, JOB] < 0
        elif executor[e, STAGE] >= 0:
            s = executor[e, STAGE]
            time = outlook.work[s] / max(_crew(stage, s), 1)
            locked += time > LOCKED_SECONDS[0]
            long_locked += time > LOCKED_SECONDS[1]
    present = numbers[ARRIVED] - numbers[DONE]
    out[0] = min(present / 10.0, BOUND)
    out[1] = numbers[FREE] / executors
    out[2] = 1.0 if numbers[SOURCE_JOB] >= 0 else 0.0
    out[3] = 1.0 if numbers[SOURCE_STAGE] >= 0 else 0.0
    out[4] = pooled / executors
    out[5] = _scaled(total / executors)
    out[6] = min(hidden / 10.0, BOUND)
    out[7] = 1.0 if numbers[CAN_WAIT] else 0.0
    out[8] = locked / executors
    out[9] = long_locked / executors


@uncounted
def _hidden_jobs(numbers: Integers, node: Integers, job: Integers, per_job: int) -> int:
    last, hidden = -1, 0
    for v in range(node.shape[0]):
        if node[v] >= 0:
            last = node[v] // per_job
    for j in range(last + 1, numbers[ARRIVED]):
        hidden += job[j, FINISH] < 0
    return hidden


@uncounted
def write_graph(
    numbers: Integers, job: Integers, stage: Integers, executor: Integers, node: Integers, table: ProfileTable,
    outlook: Outlook, row: NDArray[Any],
) -> None:  # fmt: skip
    """Write the packed graph observation.

    Args:
        numbers: See `DagState`, as `job`, `stage`, `executor`, `node` and `table`.
        job: Of jobs that have arrived; more rows may follow.
        stage: Likewise.
        executor: All.
        node: As `list_nodes` wrote it.
        table: Profiles.
        outlook: Room for one; overwritten.
        row: Where to write, float32.
    """
    count, per_job, executors = node.shape[0], stage.shape[0] // job.shape[0], executor.shape[0]
    room = 2 * count
    context = 3 * room
    node_mask = context + GLOBALS
    first = node_mask + count
    row[:] = 0.0
    prepare(numbers, job, stage, executor, node, table, outlook)
    shown = 0
    while shown < count and node[shown] >= 0:
        s = node[shown]
        outlook.place[s] = shown
        row[node_mask + shown] = 1.0
        begins = first + shown * FEATURES
        _describe(numbers, job, stage, executors, table, outlook, s, s // per_job, row[begins : begins + FEATURES])
        shown += 1
    edge = 0
    for v in range(shown):
        s = node[v]
        j = s // per_job
        k = table.first_stage[job[j, KIND]] + s - j * per_job
        for place in range(table.child_start[k], table.child_start[k + 1]):
            row[edge] = 1.0
            row[room + 2 * edge], row[room + 2 * edge + 1] = v, outlook.place[j * per_job + table.child[place]]
            edge += 1
    for column in range(GLOBALS):
        row[context + column] = outlook.around[column]


@uncounted
def describe_action(
    numbers: Integers, job: Integers, stage: Integers, executors: int, table: ProfileTable, outlook: Outlook, s: int,
    limit: int, out: NDArray[Any],
) -> None:  # fmt: skip
    """Write the row of an action; the outlook is that of `prepare`."""
    j = s // (stage.shape[0] // job.shape[0])
    _describe(numbers, job, stage, executors, table, outlook, s, j, out[:FEATURES])
    commits = commitment(numbers, job, stage, s, j, limit)
    has = job[j, ATTACHED] + job[j, EXPECTED] - (numbers[FREE] if numbers[SOURCE_JOB] == j else 0)
    untaken = stage[s, TASKS] - stage[s, TAKEN] - stage[s, PROMISED] - stage[s, MOVING]
    out[FEATURES] = commits / executors
    out[FEATURES + 1] = commits / max(numbers[FREE], 1)
    out[FEATURES + 2] = (has + commits) / executors
    out[FEATURES + 3] = commits / untaken
    out[FEATURES + 4] = _scaled(outlook.job_work[j] / (has + commits))
    out[FEATURES + 5] = 1.0 if job[j, UNTAKEN] == untaken else 0.0
    out[FEATURES + 6] = _scaled(outlook.work[s] / (_crew(stage, s) + commits))
    out[FEATURES + 7] = min((has + commits) * (numbers[ARRIVED] - numbers[DONE]) / executors, BOUND)
    describe_waiting(outlook, out)


@uncounted
def describe_waiting(outlook: Outlook, out: NDArray[Any]) -> None:
    """Write the globals behind the features of an action; all that the row of "none" has."""
    for column in range(GLOBALS):
        out[ROW_FEATURES - GLOBALS + column] = outlook.around[column]


@uncounted
def prepare(
    numbers: Integers, job: Integers, stage: Integers, executor: Integers, node: Integers, table: ProfileTable,
    outlook: Outlook,
) -> None:  # fmt: skip
    """Compute what all stages' features need."""
    look_out(numbers, job, stage, executor.shape[0], table, outlook)
    least, total = _least_work(numbers, job, outlook)
    _describe_jobs(numbers, job, executor.shape[0], outlook, least)
    hidden = _hidden_jobs(numbers, node, job, stage.shape[0] // job.shape[0])
    _describe_cluster(numbers, stage, executor, hidden, total, outlook)


@uncounted
def write_rows(
    numbers: Integers, job: Integers, stage: Integers, executor: Integers, limits: Integers, node: Integers,
    mask: NDArray[np.int8], table: ProfileTable, outlook: Outlook, rows: NDArray[Any],
) -> None:  # fmt: skip
    """Write a row an allowed action, 0 elsewhere; see `write_graph` for the arguments."""
    count = limits.shape[0]
    rows[:] = 0.0
    prepare(numbers, job, stage, executor, node, table, outlook)
    for action in range(mask.shape[0] - 1):
        if mask[action]:
            s, limit = node[action // count], limits[action % count]
            describe_action(numbers, job, stage, executor.shape[0], table, outlook, s, limit, rows[action])
    if mask[-1]:
        describe_waiting(outlook, rows[rows.shape[0] - 1])


class View:
    """One of the two observations.

    Args:
        name: "graph" or "rows".
        config: Of the cluster.

    Raises:
        UnknownNameError: Neither.
    """

    def __init__(self, name: str, config: DagConfig) -> None:
        if name not in OBSERVATIONS:
            raise UnknownNameError("observation", name, OBSERVATIONS)
        self.name, self.is_graph = name, name == "graph"
        self.spec: ObservationSpec
        if self.is_graph:
            self.spec = graph_spec(config.stages, FEATURES, edge_room(config.stages), GLOBALS, -BOUND, BOUND)
        else:
            self.spec = ArraySpec((config.num_actions, ROW_FEATURES), np.float32, -BOUND, BOUND)
