"""Admission heuristics, and the optimum itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.queueing.exact import optimal_gain
from sysgym.queueing.model import ACCEPT, REJECT, QueueConfig, QueueState


class TablePolicy(StatePolicy):
    """Accepts by a table of free servers and priority.

    Args:
        name: Name in tables.
        accept: bool, shape (k + 1, priorities), for the default queue.
    """

    def __init__(self, name: str, accept: NDArray[np.bool_]) -> None:
        self.name, self.accept = name, accept

    def act_on_state(self, state: QueueState) -> int:
        """Accept where the table says so and a server is free."""
        return ACCEPT if state.free > 0 and self.accept[state.free, state.head] else REJECT


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
    "optimal": lambda: TablePolicy("optimal", optimal_gain(QueueConfig())[1]),
    "random": partial(RandomPolicy, _either),
}
"""The heuristics by name, the optimal stationary policy of the default queue among them."""
