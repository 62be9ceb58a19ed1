"""Heuristics for scheduling as decisions: each picks the next of the visible jobs from the state.

They choose for good where the environment commits to a choice, so `sjf` here is `sjf_commit` of a replay; with
`commit=False` each is the scheduler of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.jobsched.batch.model import QueueState
from sysgym.jobsched.batch.priorities import ORDERS, priorities


class PriorityPolicy(StatePolicy):
    """Picks the visible job with the smallest priority; ties go to the earliest submission.

    Args:
        name: Name in tables.
        priority: Takes the state and the visible jobs (int64, shape (k,)), gives float64, shape (k,).
    """

    def __init__(self, name: str, priority: Callable[[QueueState, NDArray[np.int64]], NDArray[np.float64]]) -> None:
        self.name, self._priority = name, priority

    def act_on_state(self, state: QueueState) -> int:
        """The action of the most urgent job."""
        visible = state.visible[state.visible >= 0]
        return int(np.lexsort((visible, self._priority(state, visible)))[0])


def _any_visible(state: QueueState, generator: np.random.Generator) -> int:
    return int(generator.integers(np.count_nonzero(state.visible >= 0)))


def fcfs() -> PriorityPolicy:
    """First come, first served."""
    return PriorityPolicy("fcfs", lambda state, visible: state.jobs.submit_time[visible])


def sjf() -> PriorityPolicy:
    """Shortest requested time first."""
    return PriorityPolicy("sjf", lambda state, visible: state.jobs.requested_time[visible])


def smallest() -> PriorityPolicy:
    """Fewest processors first."""
    return PriorityPolicy("smallest", lambda state, visible: state.jobs.processors[visible].astype(np.float64))


def smallest_area() -> PriorityPolicy:
    """Smallest requested time times processors first."""
    return PriorityPolicy(
        "smallest_area", lambda state, visible: state.jobs.requested_time[visible] * state.jobs.processors[visible]
    )


def scored(order: str) -> PriorityPolicy:
    """Most urgent first in one of `priorities.ORDERS`, with the requested time as the planned one."""
    number = ORDERS.index(order)

    def value(state: QueueState, visible: NDArray[np.int64]) -> NDArray[np.float64]:
        jobs = state.jobs
        columns = (jobs.submit_time[visible], jobs.requested_time[visible], jobs.processors[visible])
        found: NDArray[np.float64] = priorities(number, state.time, *columns)
        return found

    return PriorityPolicy(order, value)


def published(order: str) -> PriorityPolicy:
    """WFP3 or UNICEF as RLScheduler's repository computes it: the wait is -1 - submission, as of a job scheduled at -1.

    So the wait is below 0 and its order turned round. Its figures for the two (Zhang et al., SC 2020) carry this, and
    these are here to reproduce them. `wfp3` and `unicep` have the real wait.
    """
    number = ORDERS.index(order)

    def value(state: QueueState, visible: NDArray[np.int64]) -> NDArray[np.float64]:
        jobs = state.jobs
        submit = jobs.submit_time[visible] + 1.0  # now - submit is then -1 - submission
        found: NDArray[np.float64] = priorities(
            number, 0.0, submit, jobs.requested_time[visible], jobs.processors[visible]
        )
        return found

    return PriorityPolicy(f"{order}_published", value)


HEURISTICS: Mapping[str, Callable[[], StatePolicy]] = {
    "fcfs": fcfs,
    "sjf": sjf,
    "smallest": smallest,
    "smallest_area": smallest_area,
    "wfp3": lambda: scored("wfp3"),
    "unicep": lambda: scored("unicep"),
    "f1": lambda: scored("f1"),
    "wfp3_published": lambda: published("wfp3"),
    "unicep_published": lambda: published("unicep"),
    "random": partial(RandomPolicy, _any_visible),
}
"""The heuristics by name; each call builds a fresh one."""
