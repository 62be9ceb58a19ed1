"""Admission heuristics, and the optimum itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.queueing.exact import optimal_gain
from sysgym.queueing.model import ACCEPT, REJECT, QueueConfig, QueueState


class OptimalPolicy(StatePolicy):
    """The stationary policy of the best long-run mean reward, for whatever queue it meets."""

    name = "optimal"

    def act_on_state(self, state: QueueState) -> int:
        """Accept whom that policy accepts; nobody without a free server."""
        accept = _optimal(len(state.busy), state.free_probability, tuple(state.priorities.tolist()))
        return ACCEPT if accept[state.free, state.head] else REJECT


@lru_cache(maxsize=64)
def _optimal(servers: int, free_probability: float, priorities: tuple[float, ...]) -> NDArray[np.bool_]:
    return optimal_gain(QueueConfig(servers, free_probability, priorities))[1]


def _either(state: QueueState, generator: np.random.Generator) -> int:
    """Accepts half of those that can be served."""
    return int(generator.integers(2)) if state.free > 0 else REJECT


class ThresholdPolicy(StatePolicy):
    """Accepts every customer who pays at least so much.

    Args:
        name: Name in tables.
        least: The smallest priority that is accepted.
    """

    def __init__(self, name: str, least: float) -> None:
        self.name, self.least = name, least

    def act_on_state(self, state: QueueState) -> int:
        """Accept a payer when a server is free."""
        return ACCEPT if state.free > 0 and state.priorities[state.head] >= self.least else REJECT


HEURISTICS: Mapping[str, Callable[[], StatePolicy]] = {
    "reject_all": lambda: ThresholdPolicy("reject_all", np.inf),
    "accept_all": lambda: ThresholdPolicy("accept_all", -np.inf),
    "at_least_2": lambda: ThresholdPolicy("at_least_2", 2.0),
    "at_least_4": lambda: ThresholdPolicy("at_least_4", 4.0),
    "optimal": OptimalPolicy,
    "random": partial(RandomPolicy, _either),
}
"""The heuristics by name, the optimal stationary policy among them."""
