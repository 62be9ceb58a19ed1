"""The optimum of the queue, and the value of any policy, without simulation.

The number of free servers before a decision is a Markov chain of k + 1 states, because priorities are independent of
everything. Policy iteration gives the best long-run reward a step; the stationary distribution of the chain that a
policy induces gives that policy's.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from sysgym.queueing.model import QueueConfig

TOLERANCE = 1e-10
"""Share of the largest priority below which accepting and rejecting are worth the same."""


def releases(config: QueueConfig) -> NDArray[np.float64]:
    """Probability of f' free servers after a step that had f free ones once the decision was carried out.

    Returns:
        float64, shape (k + 1, k + 1): row f, column f'; binomial in the k - f busy servers.
    """
    k, p = config.servers, config.free_probability
    matrix = np.zeros((k + 1, k + 1))
    for free in range(k + 1):
        for freed in range(k - free + 1):
            matrix[free, free + freed] = comb(k - free, freed) * p**freed * (1 - p) ** (k - free - freed)
    return matrix


def _action_values(h: NDArray[np.float64], config: QueueConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of rejecting (k + 1,) and of accepting (k + 1, priorities); the latter is -inf without a free server."""
    after = releases(config) @ h.mean(axis=1)
    accept = np.full(h.shape, -np.inf)
    accept[1:] = np.asarray(config.priorities) + after[:-1, None]
    return after, accept


def optimal_gain(config: QueueConfig = QueueConfig()) -> tuple[float, NDArray[np.bool_]]:  # noqa: B008  it is frozen
    """The best mean reward a step, and a policy that reaches it.

    Args:
        config: Parameters of the queue.

    Returns:
        The gain, exact to about 12 digits, and accept[f, priority], bool, shape (k + 1, priorities).

    >>> round(optimal_gain()[0], 6)
    2.747642
    """
    pays, matrix = np.asarray(config.priorities), releases(config)
    accept = np.ones((config.servers + 1, len(pays)), dtype=np.bool_)
    accept[0] = False
    while True:
        gain, values = _gain_and_values(accept.astype(np.float64), config)
        after = matrix @ values
        worth = pays - (after[1:] - after[:-1])[:, None]  # what accepting brings beyond rejecting
        better = accept.copy()
        better[1:] = np.where(np.abs(worth) <= TOLERANCE * pays.max(), accept[1:], worth > 0)
        if np.array_equal(better, accept):
            return gain, accept
        accept = better


def finite_horizon_optimum(steps: int, config: QueueConfig = QueueConfig()) -> float:  # noqa: B008
    """The best mean reward a step over an episode of so many steps that begins with every server free.

    >>> round(finite_horizon_optimum(1000), 6)
    2.762235
    """
    h = np.zeros((config.servers + 1, len(config.priorities)))
    for _ in range(steps):
        reject, accept = _action_values(h, config)
        h = np.maximum(reject[:, None], accept)
    return float(h[-1].mean() / steps)


def _chain(accept: NDArray[np.float64], config: QueueConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transitions (k + 1, k + 1) and rewards (k + 1,) of a policy that accepts with these probabilities."""
    accept = np.asarray(accept, dtype=np.float64).copy()
    accept[0] = 0.0
    taken = accept.mean(axis=1)
    matrix = releases(config)
    transitions = (1 - taken)[:, None] * matrix
    transitions[1:] += taken[1:, None] * matrix[:-1]
    return transitions, (accept * np.asarray(config.priorities)).mean(axis=1)


def _gain_and_values(accept: NDArray[np.float64], config: QueueConfig) -> tuple[float, NDArray[np.float64]]:
    """Long-run mean reward a step of a policy, and what f free servers are worth beside none, shape (k + 1,)."""
    transitions, rewards = _chain(accept, config)
    states = len(rewards)
    system = np.ones((states + 1, states + 1))  # of the values, and of the gain in the last column
    system[:-1, :-1] = np.eye(states) - transitions
    system[-1] = np.eye(states + 1)[0]
    solution = np.linalg.solve(system, np.append(rewards, 0.0))
    return float(solution[-1]), solution[:-1]


def gain_of(accept: NDArray[np.float64], config: QueueConfig = QueueConfig()) -> float:  # noqa: B008
    """Long-run mean reward a step of a policy.

    Args:
        accept: Probability (or truth) of accepting, shape (k + 1, priorities), by free servers and priority; the row
            without a free server counts as rejecting.
        config: Parameters of the queue.

    >>> round(gain_of(np.ones((11, 4))), 6)
    2.181413
    """
    transitions, rewards = _chain(accept, config)
    states = len(rewards)
    balance = np.vstack([transitions.T - np.eye(states), np.ones(states)])
    stationary = np.linalg.lstsq(balance, np.append(np.zeros(states), 1.0), rcond=None)[0]
    return float(stationary @ rewards)


def episode_mean_of(
    accept: NDArray[np.float64],
    steps: int,
    config: QueueConfig = QueueConfig(),  # noqa: B008
) -> float:
    """Expected mean reward a step of a policy over an episode that begins with every server free."""
    transitions, rewards = _chain(accept, config)
    distribution = np.zeros(len(rewards))
    distribution[-1] = 1.0
    total = 0.0
    for _ in range(steps):
        total += float(distribution @ rewards)
        distribution = distribution @ transitions
    return total / steps
