"""What a cluster of executors, a decision and a state are; after Mao et al., SIGCOMM 2019, and their simulator.

Times are whole milliseconds. E identical executors run one task at a time and belong to at most one job; moving to
another job takes `moving_delay`. A stage is *runnable* when all its parents are complete. It is *saturated* when all
its tasks are taken or promised, and may be chosen (*selectable*) when it is not saturated and all its parents are: an
executor that comes too early waits in the job's pool.

**When is asked.** An executor goes on with its stage as long as tasks are left. When it has taken the last one and ends
it, in this order: a promise of its stage is fulfilled; else, if the job is done, its executors join the common pool; if
children have become runnable, it joins the job's pool; else all executors of its stage are the *source* of a round of
decisions, in which they are promised, and the others follow as they end. Pools are sources, too: the job's where
children have become runnable, then the common one; the common one alone when a job arrives or ends.

**A decision** names a stage and a limit. It commits min(tasks not taken or promised, limit - executors that the job has
or expects, executors of the source not yet committed) executors; those of the source that are uncommitted don't count
as the job's. The round goes on, each stage at most once, until all are committed, nothing is selectable, or "none"
leaves the rest idle: in their job's pool while it has tasks that nobody took, else in the common pool. "None" is not
allowed where nothing would ever happen after it.

**Stale commitments.** If the stage has no tasks left, the executor takes the first runnable, unsaturated stage of its
own job; else it goes to the first selectable stage of the jobs in order of arrival; else it idles. Promises to a job
that has ended are dropped, and who is under way to it chooses likewise on arrival.

Departures from the public code, where it leaves executors idle beside work: the common pool is asked also when stages
become runnable; executors that a job leaves behind are asked for at once; if nothing is running or to come, the pools
are asked again; and nobody moves from a job to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import WorkloadError, require_bool, require_range
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

NOTHING = -1
"""No job, no stage, no executor."""

# columns of `DagState.numbers`
TIME, DECISIONS, ARRIVED, DONE, SOURCE_JOB, SOURCE_STAGE, FREE, COMMITTED, CAN_WAIT = range(9)
NUMBERS = 9
# columns of `DagState.job`
KIND, SUBMIT, FINISH, ATTACHED, EXPECTED, STAGES_LEFT, UNTAKEN, FIRST_TASK = range(8)
JOB_COLUMNS = 8
# columns of `DagState.stage`
TASKS, TAKEN, FINISHED, PROMISED, MOVING, RUNNING, PARENTS_LEFT, SELECTED = range(8)
STAGE_COLUMNS = 8
# columns of `DagState.executor`
STATUS, JOB, STAGE = range(3)
EXECUTOR_COLUMNS = 3
IDLE, WAITING, BUSY, UNDER_WAY = range(4)
"""An executor's status: in a pool; at the end of a stage, about to leave it; at a task; moving."""


@dataclass(frozen=True)
class DagConfig:
    """Parameters of the cluster and of what is seen; the defaults are small enough to train on.

    Attributes:
        executors: E.
        moving_delay: ms that moving to another job takes.
        warm_up: ms that a task on a fresh executor takes longer where that was not measured.
        inverted_levels: Whether the weights of the two levels beside a number of executors are exchanged, as published.
        stages: N, stages that there is room for: the unfinished ones of the jobs in order of arrival, as long as whole
            jobs fit.
        limits: How many parallelism limits there are to choose from, spread evenly up to E; None: 1 to E.
    """

    executors: int = 10
    moving_delay: int = 2000
    warm_up: int = 1000
    inverted_levels: bool = False
    stages: int = 64
    limits: int | None = None

    def __post_init__(self) -> None:
        require_range("executors", self.executors, 1, 1000, whole=True)
        require_range("moving_delay", self.moving_delay, 0, 10**7, whole=True)
        require_range("warm_up", self.warm_up, 0, 10**7, whole=True)
        require_range("stages", self.stages, 1, 4096, whole=True)
        require_bool("inverted_levels", self.inverted_levels)
        if self.limits is not None:
            require_range("limits", self.limits, 1, self.executors, whole=True)

    @property
    def limit_values(self) -> Integers:
        """The limits, ascending, the last one E, int64 (L,)."""
        count = self.limits or self.executors
        return np.array([-(-self.executors * (place + 1) // count) for place in range(count)], dtype=np.int64)

    @property
    def num_actions(self) -> int:
        """N L + 1: choice l of node v is v L + l; the last one is "none"."""
        return self.stages * len(self.limit_values) + 1

    def check(self, table: ProfileTable) -> None:
        """Refuse jobs that could never be seen.

        Raises:
            WorkloadError: A kind has more stages, or more edges, than there is room for.
        """
        sizes = np.diff(table.first_stage)
        edges = table.parent_start[table.first_stage[1:]] - table.parent_start[table.first_stage[:-1]]
        if sizes.max() > self.stages:
            raise WorkloadError(f"a job has {sizes.max()} stages, there is room for {self.stages}; raise stages")
        if edges.max() > edge_room(self.stages):
            least = -(-int(edges.max()) // 2)
            raise WorkloadError(f"a job has {edges.max()} edges; give stages of at least {least}")


def edge_room(stages: int) -> int:
    """Edges that an observation of so many stages has room for."""
    return 2 * stages


def most_stages(table: ProfileTable) -> int:
    """M, stages of the largest kind; stage k of job j has number j M + k."""
    return int(np.diff(table.first_stage).max())


class DagState(NamedTuple):
    """One episode as far as it is known; A jobs have arrived, stage k of job j is row j M + k. Read-only.

    Attributes:
        numbers: By `TIME`, `DECISIONS`, `ARRIVED` (A), `DONE` (jobs that ended), `SOURCE_JOB` and `SOURCE_STAGE` (of
            the executors that are asked for; -1, -1 is the common pool), `FREE` (those not yet committed), `COMMITTED`
            (in this round), `CAN_WAIT` (whether "none" is allowed).
        job: (A, 8) by `KIND`, `SUBMIT`, `FINISH` (-1 before), `ATTACHED`, `EXPECTED` (moving, or promised by others),
            `STAGES_LEFT`, `UNTAKEN` (tasks that nobody took), `FIRST_TASK` (number of the first task in the episode).
        stage: (A M, 8) by `TASKS` (0 where there is no stage), `TAKEN`, `FINISHED`, `PROMISED`, `MOVING`, `RUNNING`
            (executors on it), `PARENTS_LEFT` (parents that are not complete), `SELECTED` (in this round).
        executor: (E, 3) by `STATUS`, `JOB` (-1: none), `STAGE` (the one it works on or moves to; -1: none).
        limits: Parallelism limits, (L,).
        node: Stages that are seen, as rows of `stage`, in the order of the actions; -1 behind the last, (N,).
        mask: int8, (N L + 1,).
        table: The profiles.
    """

    numbers: Integers
    job: Integers
    stage: Integers
    executor: Integers
    limits: Integers
    node: Integers
    mask: NDArray[np.int8]
    table: ProfileTable

    @property
    def time(self) -> float:
        """Seconds since the episode began."""
        return int(self.numbers[TIME]) / 1000.0

    @property
    def jobs_present(self) -> int:
        """Jobs that have arrived and not ended."""
        return int(self.numbers[ARRIVED] - self.numbers[DONE])

    def action(self, node: int, limit: int) -> int:
        """The action that gives a stage the largest limit up to `limit` (or else the smallest); node -1 is "none"."""
        if node < 0:
            return len(self.mask) - 1
        return node * len(self.limits) + max(0, int(np.searchsorted(self.limits, limit, side="right")) - 1)
