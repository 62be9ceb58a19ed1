"""What is worth knowing about stages, jobs and the cluster, as features; heuristics read the same figures.

Sizes and times enter as logarithms, because the published jobs differ by a factor of hundreds; everything is clipped at
`BOUND`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.jobsched.dag.choices import commitment, is_selectable
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
    SOURCE_JOB,
    SOURCE_STAGE,
    STAGE,
    STATUS,
    SUBMIT,
    TAKEN,
    TASKS,
    TIME,
    UNTAKEN,
)
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

FEATURES = 19
"""Numbers that describe a stage."""
GLOBALS = 10
JOB_FEATURES = 9
"""The last of them, which describe its job."""
COMMITMENT = 8
"""Numbers that describe what an action commits."""
ROW_FEATURES = FEATURES + COMMITMENT + GLOBALS
"""Numbers that describe an action: of its stage, of the commitment, and of the cluster."""
CHOICE_FEATURES = COMMITMENT + 5
"""Numbers that describe a choice of a node: what it commits, and what more that would mean for its job."""
BOUND = 4.0
LOCKED_SECONDS = (10.0, 40.0)
"""An executor counts as locked where its stage has work for so long; tasks are not taken back."""
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
        live: The jobs that are present, in the order of arrival; as many as ARRIVED less DONE.
    """

    work: Floats
    path: Floats
    job_work: Floats
    job_path: Floats
    about: Floats
    around: Floats
    place: Integers
    live: Integers


@uncounted
def look_out(
    numbers: Integers, job: Integers, stage: Integers, executors: int, table: ProfileTable, outlook: Outlook
) -> None:
    """Compute the outlook of all jobs that are present; O(their stages and edges), and a glance at those that ended."""
    per_job, present = stage.shape[0] // job.shape[0], 0
    for j in range(numbers[ARRIVED]):
        outlook.job_work[j] = outlook.job_path[j] = 0.0
        if job[j, FINISH] < 0:
            outlook.live[present] = j
            present += 1
    for place in range(present):
        j = outlook.live[place]
        begin, end = table.first_stage[job[j, KIND]], table.first_stage[job[j, KIND] + 1]
        for turn in range(end - 1, begin - 1, -1):
            k = table.order[turn]
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
    live = np.zeros(jobs, dtype=np.int64)
    by_stage, by_job = np.zeros((2, stages)), np.zeros((2, jobs))
    return Outlook(by_stage[0], by_stage[1], by_job[0], by_job[1], about, np.zeros(GLOBALS), place, live)


@uncounted
def _scaled(seconds: float) -> float:
    """A time between a millisecond and an hour, on a scale of about 0 to 2."""
    return min(math.log1p(10.0 * seconds) / 5.0, BOUND)


@uncounted
def _describe_jobs(numbers: Integers, job: Integers, executors: int, outlook: Outlook, least: float) -> None:
    """Write what the stages of each job share into the outlook."""
    present = numbers[ARRIVED] - numbers[DONE]
    for place in range(present):
        j = outlook.live[place]
        work, path, out, smaller = outlook.job_work[j], outlook.job_path[j], outlook.about[j], 0
        for other in range(present):
            smaller += outlook.job_work[outlook.live[other]] < work
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
def describe_stage(
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
def _least_work(present: int, outlook: Outlook) -> tuple[float, float]:
    """Least work of a job that is present, and the work of all."""
    least, total = np.inf, 0.0
    for place in range(present):
        work = outlook.job_work[outlook.live[place]]
        least = min(least, work)
        total += work
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
def _hidden_jobs(present: int, node: Integers, per_job: int, outlook: Outlook) -> int:
    """Jobs that are present behind the last one that is seen."""
    seen, hidden = 0, present
    while seen < node.shape[0] and node[seen] >= 0:
        seen += 1
    last = node[seen - 1] // per_job if seen > 0 else -1
    while hidden > 0 and outlook.live[present - hidden] <= last:
        hidden -= 1
    return hidden


@uncounted
def _describe_commitment(
    numbers: Integers, job: Integers, stage: Integers, executors: int, outlook: Outlook, s: int, limit: int,
    out: NDArray[Any],
) -> None:  # fmt: skip
    """Write what giving a stage executors up to a limit commits."""
    j = s // (stage.shape[0] // job.shape[0])
    commits = commitment(numbers, job, stage, s, j, limit)
    has = job[j, ATTACHED] + job[j, EXPECTED] - (numbers[FREE] if numbers[SOURCE_JOB] == j else 0)
    untaken = stage[s, TASKS] - stage[s, TAKEN] - stage[s, PROMISED] - stage[s, MOVING]
    out[0] = commits / executors
    out[1] = commits / max(numbers[FREE], 1)
    out[2] = (has + commits) / executors
    out[3] = commits / untaken
    out[4] = _scaled(outlook.job_work[j] / (has + commits))
    out[5] = 1.0 if job[j, UNTAKEN] == untaken else 0.0
    out[6] = _scaled(outlook.work[s] / (_crew(stage, s) + commits))
    out[7] = min((has + commits) * (numbers[ARRIVED] - numbers[DONE]) / executors, BOUND)


@uncounted
def describe_choice(
    numbers: Integers, job: Integers, stage: Integers, executors: int, outlook: Outlook, s: int, limit: int,
    out: NDArray[Any],
) -> None:  # fmt: skip
    """Write the features of a choice of a node; the outlook is that of `prepare`.

    Behind those of the commitment: how far it goes beyond an equal share of the executors, the time that the job then
    needs, what each further executor saves of it, and how far the job has more or less than a share by rank, which is
    the best one where speed grows with the root of the executors (heSRPT, Berg et al., 2020): (2 i - 1) / m^2 for the
    i-th largest of m jobs.
    """
    j = s // (stage.shape[0] // job.shape[0])
    _describe_commitment(numbers, job, stage, executors, outlook, s, limit, out[:COMMITMENT])
    has = job[j, ATTACHED] + job[j, EXPECTED] - (numbers[FREE] if numbers[SOURCE_JOB] == j else 0)
    then, present = has + commitment(numbers, job, stage, s, j, limit), numbers[ARRIVED] - numbers[DONE]
    larger = present - int(outlook.about[j, 7] * present + 0.5)
    beyond = then / executors - (2 * larger - 1) / (present * present)
    out[COMMITMENT] = min(max(then * present / executors - 1.0, 0.0), BOUND)
    out[COMMITMENT + 1] = _scaled(outlook.job_path[j] + outlook.job_work[j] / then)
    out[COMMITMENT + 2] = _scaled(outlook.job_work[j] / (max(has, 1) * then))
    out[COMMITMENT + 3] = max(4.0 * beyond, 0.0)
    out[COMMITMENT + 4] = max(-4.0 * beyond, 0.0)


@uncounted
def describe_action(
    numbers: Integers, job: Integers, stage: Integers, executors: int, table: ProfileTable, outlook: Outlook, s: int,
    limit: int, out: NDArray[Any],
) -> None:  # fmt: skip
    """Write the row of an action; the outlook is that of `prepare`."""
    j = s // (stage.shape[0] // job.shape[0])
    describe_stage(numbers, job, stage, executors, table, outlook, s, j, out[:FEATURES])
    _describe_commitment(numbers, job, stage, executors, outlook, s, limit, out[FEATURES : FEATURES + COMMITMENT])
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
    present = numbers[ARRIVED] - numbers[DONE]
    look_out(numbers, job, stage, executor.shape[0], table, outlook)
    least, total = _least_work(present, outlook)
    _describe_jobs(numbers, job, executor.shape[0], outlook, least)
    hidden = _hidden_jobs(present, node, stage.shape[0] // job.shape[0], outlook)
    _describe_cluster(numbers, stage, executor, hidden, total, outlook)
