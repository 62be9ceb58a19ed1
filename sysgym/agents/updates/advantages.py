"""Generalised advantage estimation, and the one place where termination is told from truncation.

Schulman et al., "High-dimensional continuous control using generalized advantage estimation", ICLR 2016, eqs. 11 and
16. An episode that *terminated* is worth nothing afterwards. One that was *truncated* (a time limit) would have gone
on: it is worth the value of its last observation, which is not the observation that the next row of the slot holds,
because that one belongs to the next episode.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def next_values(values: Floats, terminated: Flags, truncated: Flags, final_values: Floats) -> Floats:
    """What each step of a slot leads to: 0 if terminated, V(final) if truncated, else the next row's value.

    Args:
        values: (T + 1, N), values of the slot's observations, the last row bootstraps the slot's end.
        terminated: (T, N); wins where both flags are set.
        truncated: (T, N).
        final_values: (k,), values of the final observations of the truncated steps (and not terminated), in
            row-major order of (t, n).

    Returns:
        (T, N).
    """
    following = values[1:].copy()
    following[truncated & ~terminated] = final_values
    following[terminated] = 0.0
    return following


def decision_trace(decisions: Flags, trace_decay: float) -> Floats:
    """Lambda that decays at decisions only: 1 from a step to a state in which one action alone is allowed.

    The advantages of decisions are then those of the shorter chain from which such states have been left out, their
    rewards added to the decision before: waiting that cannot be avoided does not cut the credit of what led to it.

    Args:
        decisions: (T + 1, N), whether a state allows more than one action.
        trace_decay: lambda.

    Returns:
        (T, N).
    """
    return np.where(decisions[1:], trace_decay, 1.0)


def generalized_advantages(
    rewards: Floats, values: Floats, following: Floats, done: Flags, *, discount: float, trace_decay: Floats | float
) -> Floats:
    """Advantages of every step of a slot, accumulated backwards in float64; O(T N).

        delta_t = r_t + discount * next_t - V_t
        A_t = delta_t + discount * trace_decay_t * (1 - done_t) * A_{t+1},    A_T = 0

    Args:
        rewards: (T, N).
        values: (T, N) or more rows, of which the first T are used.
        following: (T, N), see `next_values`.
        done: (T, N), terminated or truncated.
        discount: gamma.
        trace_decay: lambda, one number or (T, N), see `decision_trace`.

    Returns:
        (T, N). The return that a value should predict is the advantage plus the value.
    """
    delta = rewards + discount * following - values[: len(rewards)]
    advantages = np.empty_like(delta)
    later = np.zeros(delta.shape[1:])
    trace = np.broadcast_to(trace_decay, delta.shape)
    for t in range(len(delta) - 1, -1, -1):
        later = delta[t] + discount * trace[t] * np.where(done[t], 0.0, later)
        advantages[t] = later
    return advantages
