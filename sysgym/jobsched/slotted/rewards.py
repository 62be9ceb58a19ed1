"""Rewards of the slotted cluster: what a time step costs, by name, or a function of the user's.

A named reward is minus the cost of a time step that passes; booking is free. An injected one is a function
(before, action, after) -> float of two row states (see `model.SlottedState`); one compiled by numba runs with the
kernel, any other Python function with the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_known

Reward = str | Callable[[Any, int, Any], float]

REWARDS: Mapping[str, int] = {"slowdown": 0, "completion": 1, "makespan": 2}
"""Names and codes. `slowdown`: the sum of 1/length over the jobs in the system, DeepRM's, so that an episode returns
minus the sum of slowdowns; `completion`: the number of jobs in the system, minus the sum of completion times;
`makespan`: 1, minus the time at which the episode ends."""


@compiled
def step_cost(kind: int, present: NDArray[Any]) -> float:
    """Cost of one time step.

    Args:
        kind: A code of `REWARDS`.
        present: Jobs in the system by length, shape (H+1,). Adding by length makes the sum the same to the last bit
            in whatever order jobs came.
    """
    if kind == 2:
        return 1.0
    cost = 0.0
    for length in range(1, present.shape[0]):
        if present[length] > 0:
            cost += present[length] / length if kind == 0 else float(present[length])
    return cost


def reward_code(reward: Reward) -> int:
    """The code of a named reward, -1 for a function.

    Raises:
        UnknownNameError: No reward has this name.
    """
    if callable(reward):
        return -1
    require_known("reward", reward, REWARDS)
    return REWARDS[reward]
