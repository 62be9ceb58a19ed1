"""Heuristics over the state: FIFO and fair sharing as Decima's code has them, and stronger ones beside them.

All choose a stage and a limit whenever executors are asked for, and leave none idle while something is selectable.
Within a job, stages that are runnable come before those that are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_range
from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.jobsched.dag.choices import is_selectable
from sysgym.jobsched.dag.model import (
    ARRIVED,
    ATTACHED,
    EXPECTED,
    FINISH,
    FREE,
    KIND,
    PARENTS_LEFT,
    SOURCE_JOB,
    DagState,
)
from sysgym.jobsched.dag.outlook import Outlook, look_out, new_outlook
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

NONE = -1

ALPHA = -1.5
"""Exponent of `weighted_fair`, tuned on training arrivals of the default cluster; see `tuning`."""


@compiled
def job_stage(
    job: Integers, stage: Integers, node: Integers, table: ProfileTable, path: NDArray[np.float64], j: int
) -> int:
    """The selectable stage of a job that comes first, as a number of a node; -1 if there is none.

    Runnable ones come before others; then the one of the longest `path`; then the lowest number.
    """
    per_job, best, best_runnable = stage.shape[0] // job.shape[0], NONE, False
    first = table.first_stage[job[j, KIND]]
    for v in range(node.shape[0]):
        s = node[v]
        if s < 0:
            break
        if s // per_job == j and is_selectable(stage, table, s, j * per_job, first):
            runnable = stage[s, PARENTS_LEFT] == 0
            better = best < 0 or (runnable and not best_runnable)
            if better or (runnable == best_runnable and path[s] > path[node[best]]):
                best, best_runnable = v, runnable
    return best


@compiled
def capped(
    numbers: Integers, job: Integers, stage: Integers, node: Integers, table: ProfileTable, cap: int
) -> tuple[int, int]:
    """The job of the source first, without a limit; then the first job in order of arrival that is below the cap.

    Returns:
        Number of the node and the limit; -1 for "none".
    """
    path = np.zeros(stage.shape[0])
    source = numbers[SOURCE_JOB]
    if source >= 0 and job[source, FINISH] < 0:
        v = job_stage(job, stage, node, table, path, source)
        if v >= 0:
            return v, 1 << 30
    for j in range(numbers[ARRIVED]):
        has = job[j, ATTACHED] + job[j, EXPECTED] - (numbers[FREE] if j == source else 0)
        if job[j, FINISH] < 0 and has < cap:
            v = job_stage(job, stage, node, table, path, j)
            if v >= 0:
                return v, cap
    return NONE, 0


@compiled
def weighted(
    numbers: Integers, job: Integers, stage: Integers, executors: int, node: Integers, table: ProfileTable,
    outlook: Outlook, alpha: float, sticky: bool,
) -> tuple[int, int]:  # fmt: skip
    """The job that is farthest below its share, up to that share; shares are as (work left) ^ alpha.

    The job of the source keeps its executors up to its share; `sticky` lets it keep them beyond, as Decima's fair
    sharing does. Where all jobs have their shares, the one that is least above gets everything.
    """
    look_out(numbers, job, stage, executors, table, outlook)
    total, source = 0.0, numbers[SOURCE_JOB]
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] < 0:
            total += max(outlook.job_work[j], 1e-3) ** alpha
    best, best_lack, best_cap, best_node = NONE, -np.inf, 0, NONE
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] >= 0:
            continue
        v = job_stage(job, stage, node, table, outlook.path, j)
        if v < 0:
            continue
        share = executors * max(outlook.job_work[j], 1e-3) ** alpha / total
        cap = int(np.ceil(share - 1e-9))
        has = job[j, ATTACHED] + job[j, EXPECTED] - (numbers[FREE] if j == source else 0)
        if j == source and (has < cap or sticky):
            return v, cap if has < cap and not sticky else 1 << 30
        lack = share - has
        if lack > best_lack:
            best, best_lack, best_cap, best_node = j, lack, cap if has < cap else 1 << 30, v
    return (best_node, best_cap) if best >= 0 else (NONE, 0)


@compiled
def ranked(
    numbers: Integers, job: Integers, stage: Integers, executors: int, node: Integers, table: ProfileTable,
    outlook: Outlook, by_path: bool,
) -> int:  # fmt: skip
    """The first stage of the job with the least work left; or, by path, the stage with the longest way to its end."""
    look_out(numbers, job, stage, executors, table, outlook)
    best, least = NONE, np.inf
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] >= 0:
            continue
        v = job_stage(job, stage, node, table, outlook.path, j)
        if v < 0:
            continue
        key = -outlook.path[node[v]] if by_path else outlook.job_work[j]
        if key < least:
            best, least = v, key
    return best


class FairPolicy(StatePolicy):
    """Every job gets as many executors; Decima's rule of "dynamic partition".

    The job of the source keeps all its executors as long as it has work for them; a job is given others while it is
    below ceil(executors / unfinished jobs).
    """

    name = "fair"

    def act_on_state(self, state: DagState) -> int:
        """See the class."""
        cap = -(-len(state.executor) // max(state.jobs_present, 1))
        return state.action(*capped(state.numbers, state.job, state.stage, state.node, state.table, cap))


class FifoPolicy(StatePolicy):
    """The job that came first gets all executors that it has work for."""

    name = "fifo"

    def act_on_state(self, state: DagState) -> int:
        """See the class."""
        cap = len(state.executor)
        return state.action(*capped(state.numbers, state.job, state.stage, state.node, state.table, cap))


class WeightedFairPolicy(StatePolicy):
    """Jobs share the executors in proportion to (work left) ^ alpha; 0 is an equal share, below 0 favours short jobs.

    Args:
        alpha: The exponent.
        sticky: Whether the job of the source keeps its executors beyond its share, which saves moving.
    """

    name = "weighted_fair"

    def __init__(self, alpha: float = ALPHA, sticky: bool = False) -> None:
        require_range("alpha", alpha, -10.0, 10.0)
        self.alpha, self.sticky = float(alpha), sticky

    def act_on_state(self, state: DagState) -> int:
        """See the class."""
        outlook = new_outlook(len(state.job), len(state.stage))
        columns = state.numbers, state.job, state.stage, len(state.executor), state.node, state.table
        return state.action(*weighted(*columns, outlook, self.alpha, self.sticky))


class RankedPolicy(StatePolicy):
    """All executors to the stage that ranks first.

    Args:
        name: "shortest_work": of the job with the least work left, its longest path first; or "critical_path": with
            the longest way to its job's end, whosever it is.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def act_on_state(self, state: DagState) -> int:
        """See the class."""
        outlook = new_outlook(len(state.job), len(state.stage))
        columns = state.numbers, state.job, state.stage, len(state.executor), state.node, state.table
        v = int(ranked(*columns, outlook, self.name == "critical_path"))
        return state.action(v, len(state.executor))


def _any_allowed(state: DagState, generator: np.random.Generator) -> int:
    return int(generator.choice(np.flatnonzero(state.mask)))


class IdlePolicy(StatePolicy):
    """Leaves executors idle wherever that is allowed."""

    name = "idle"

    def act_on_state(self, state: DagState) -> int:
        """See the class."""
        return len(state.mask) - 1 if state.mask[-1] else int(state.mask.argmax())


HEURISTICS: Mapping[str, Callable[[], StatePolicy]] = {
    "fair": FairPolicy,
    "fifo": FifoPolicy,
    "weighted_fair": WeightedFairPolicy,
    "shortest_work": lambda: RankedPolicy("shortest_work"),
    "critical_path": lambda: RankedPolicy("critical_path"),
    "random": partial(RandomPolicy, _any_allowed),
    "idle": IdlePolicy,
}
"""The heuristics by name."""
