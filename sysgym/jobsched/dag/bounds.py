"""What no schedule can beat: the work over the executors, and each job's critical path.

A task's duration depends on the schedule, but it is one of a few that its draws allow; the least of them, over all
levels that a job on E executors can meet and all three situations, is a bound. With w_j the sum of these over a job's
tasks and p_j the longest path through its stages, where a stage takes at least its longest task and at least its work
over E:

* the sum of completion times is at least that of a machine E times as fast which serves whoever has least left (the
  shortest remaining work first is optimal there), and at least the sum of (moving delay + p_j);
* the makespan is at least the end of that machine's work, and at least the last submission + moving delay + p_j.

Of an episode that was cut, the same holds for the times that jobs spent in the system until then, because that machine
has the fewest jobs unfinished at every instant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.jobsched.dag.arrivals import Arrivals
from sysgym.jobsched.dag.profiles import LEVELS, Integers, ProfileTable, listed_duration, task_draws

Floats = NDArray[np.float64]


class Bounds(NamedTuple):
    """Lower bounds in seconds.

    Attributes:
        mean_completion_time: Of the mean over all jobs.
        makespan: Of the time at which the last job ends.
        work: Least work of each job, (J,).
        path: Least time that each job takes alone, moving included, (J,).
    """

    mean_completion_time: float
    makespan: float
    work: Floats
    path: Floats


def lower_bounds(
    table: ProfileTable, arrivals: Arrivals, executors: int, moving_delay: int, until: float = np.inf
) -> Bounds:
    """The bounds of an episode, or of its part until a time.

    Args:
        table: The profiles.
        arrivals: Jobs; those that arrive until then count.
        executors: E.
        moving_delay: ms.
        until: Where the episode was cut, ms; the makespan is then bounded by what that leaves.
    """
    reachable = int(np.searchsorted(LEVELS, min(executors, LEVELS[-1])))
    work, path = _least_times(table, arrivals.kind, arrivals.duration_key, arrivals.episode, executors, reachable)
    path += moving_delay
    submit = arrivals.submit.astype(np.float64)
    flow, end = _fluid(submit, work / executors, until)
    mean = max(flow, float(np.minimum(path, until - submit).sum())) / len(submit)
    makespan = max(end, float((submit + path).max()))
    return Bounds(mean / 1000.0, makespan / 1000.0, work / 1000.0, path / 1000.0)


@compiled
def _least_times(
    table: ProfileTable, kind: Integers, key: int, episode: int, executors: int, reachable: int
) -> tuple[Floats, Floats]:
    """Least work and least path of each job, ms; `reachable` is the highest level that can be met."""
    jobs = kind.shape[0]
    work, path, number = np.zeros(jobs), np.zeros(jobs), 0
    for j in range(jobs):
        first, end = table.first_stage[kind[j]], table.first_stage[kind[j] + 1]
        behind = np.zeros(end - first)
        for place in range(end - 1, first - 1, -1):
            k = table.order[place]
            total, longest = 0.0, 0.0
            for task in range(table.tasks[first + k]):
                _, draw = task_draws(key, episode, number + table.task_offset[first + k] + task)
                least = np.inf
                for level in range(reachable + 1):
                    for situation in range(3):
                        least = min(least, listed_duration(table, first + k, level, situation, draw))
                total += least
                longest = max(longest, least)
            after = 0.0
            for edge in range(table.child_start[first + k], table.child_start[first + k + 1]):
                after = max(after, behind[table.child[edge]])
            behind[k] = after + max(longest, total / executors)
            work[j] += total
            path[j] = max(path[j], behind[k])
        for k in range(first, end):
            number += table.tasks[k]
    return work, path


@compiled
def _fluid(submit: Floats, time: Floats, until: float) -> tuple[float, float]:
    """Times in the system until then of one machine that always serves the job with the least left; and its end."""
    jobs = submit.shape[0]
    left, now, flow, done, arrived = time.copy(), 0.0, 0.0, 0, 0
    while done < jobs:
        while arrived < jobs and submit[arrived] <= now:
            arrived += 1
        best = -1
        for j in range(arrived):
            if left[j] >= 0.0 and (best < 0 or left[j] < left[best]):
                best = j
        following = submit[arrived] if arrived < jobs else np.inf
        if best >= 0 and now + left[best] <= following:
            following = now + left[best]
            left[best] = -1.0
        elif best >= 0:
            left[best] -= following - now
        flow += (arrived - done) * max(0.0, min(following, until) - now)
        done += best >= 0 and left[best] < 0.0
        now = following
    return flow, now
