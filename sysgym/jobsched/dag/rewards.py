"""What a decision earns: minus the time that jobs spend in the system until the next decision.

`completion`, the default, is the published reward: minus the integral of the number of jobs in the system, in seconds
over 100 (the public code has milliseconds over 1e5). When all jobs end, the return is minus the sum of their completion
times over 100. `makespan` is minus the time that passes, over 100. What passes where nobody has to decide belongs to
the decision before.

`regret` is what `completion` loses to a fluid cluster. Let w_1 <= ... <= w_n be the expected work left of the jobs that
are present, and F = sum_i (n - i + 1) w_i / E: the time that they would still spend in the system if any number of
executors could work on a job without loss and the shortest were always served. A fluid cluster earns 0 at every
decision; ours loses by idling, moving, warming up and by serving longer jobs first, and pays at once: minus the
integral and the growth of F, without what arrivals add to F. It is a reward to learn from, not to be judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sysgym.core.compiled import uncounted
from sysgym.core.errors import require_known
from sysgym.jobsched.dag.model import ARRIVED, FINISH, FINISHED, KIND, TASKS, DagState
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

Reward = Callable[[DagState, int, DagState], float]


COMPLETION, MAKESPAN, REGRET = 0, 1, 2
REWARDS: Mapping[str, int] = {"completion": COMPLETION, "makespan": MAKESPAN, "regret": REGRET}
SCALE = 1e5
"""Milliseconds that a reward of 1 stands for."""


@uncounted
def fluid_time(numbers: Integers, job: Integers, stage: Integers, executors: int, table: ProfileTable) -> float:
    """F of the module, ms; each pair of jobs waits for the shorter one, so no sorting is needed."""
    per_job, total = stage.shape[0] // job.shape[0], 0.0
    for j in range(numbers[ARRIVED]):
        if job[j, FINISH] < 0:
            work = work_left(job, stage, per_job, table, j)
            total += work
            for other in range(j):
                if job[other, FINISH] < 0:
                    total += min(work, work_left(job, stage, per_job, table, other))
    return total / executors


@uncounted
def work_left(job: Integers, stage: Integers, per_job: int, table: ProfileTable, j: int) -> float:
    """Expected work left of a job, ms."""
    begin, end = table.first_stage[job[j, KIND]], table.first_stage[job[j, KIND] + 1]
    total = 0.0
    for k in range(begin, end):
        s = j * per_job + k - begin
        total += (stage[s, TASKS] - stage[s, FINISHED]) * table.mean[k]
    return total


@uncounted
def reward_of(kind: int, area: int, time: int, growth: float) -> float:
    """A named reward.

    Args:
        kind: Its number in `REWARDS`.
        area: Integral of the number of jobs in the system since the last decision, ms.
        time: That passed since, ms.
        growth: Of `fluid_time` since, without arrivals, ms; counts for `regret` alone.
    """
    if kind == MAKESPAN:
        return -time / SCALE
    return -(area + growth) / SCALE if kind == REGRET else -area / SCALE


def reward_code(reward: str) -> int:
    """Number of a named reward.

    Raises:
        UnknownNameError: No reward has this name.
    """
    require_known("reward", reward, REWARDS)
    return REWARDS[reward]
