"""Whole episodes under a row network, compiled: the policy, the features and the moves without a word of Python.

A trained policy whose network is shared over rows (`core.row_network`) is a priority rule of the observation `queue`.
Here it takes the visible job that it scores highest, at every decision, which is what the greedy policy does; a search
plays millions of decisions this way, and a replay a whole log.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.row_network import RowNetwork, best_row
from sysgym.jobsched.batch.dynamics import begin, decide
from sysgym.jobsched.batch.episodes import Episodes, Flags
from sysgym.jobsched.batch.model import Jobs
from sysgym.jobsched.batch.queue_features import QUEUE_FEATURES, encode_queue
from sysgym.jobsched.batch.state_view import state_of

_best_row = compiled(best_row)


@compiled
def play_episode(
    s: Episodes,
    first: int,
    jobs: Jobs,
    flags: Flags,
    processors: int,
    table: NDArray[np.float32],
    network: RowNetwork,
) -> int:
    """Play row 0 from the job `first` to its end; returns the number of decisions.

    Args:
        s: State with at least one row, whose `earned` then is the summed score of the jobs.
        first: First job.
        jobs: Columns of the workload.
        flags: The rules.
        processors: Size of the machine.
        table: What `encode_queue` needs.
        network: Of the features of `encode_queue`.
    """
    window = s.visible.shape[1]
    features = np.zeros((window, len(QUEUE_FEATURES)), dtype=np.float32)
    below = np.empty(network.widths.max(), dtype=np.float32)
    above = np.empty_like(below)
    rows = np.zeros(1, dtype=np.int64)
    begin(s, rows, np.full(1, first), jobs, flags, processors)
    decisions = 0
    while s.waiting_count[0] > 0:
        count = min(window, s.waiting_count[0])
        chosen = 0
        if count > 1:
            encode_queue(state_of(s, rows[0], jobs, flags), table, features[:count])
            chosen = _best_row(network.weights, network.widths, network.tanh, features[:count], below, above)
        decisions += 1
        decide(s, rows[0], s.visible[0, chosen], jobs, flags)
    return decisions


@compiled
def play_members(
    s: Episodes,
    firsts: NDArray[np.int64],
    jobs: Jobs,
    flags: Flags,
    processors: int,
    table: NDArray[np.float32],
    networks: RowNetwork,
    returns: NDArray[np.float64],
) -> int:
    """Play the episodes that begin at `firsts` with each of M networks; returns the number of decisions.

    Args:
        s: State with at least one row.
        firsts: First jobs, shape (W,).
        jobs: Columns of the workload.
        flags: The rules.
        processors: Size of the machine.
        table: What `encode_queue` needs.
        networks: M networks.
        returns: Written, shape (M, W): minus the mean score of the episode's jobs.
    """
    decisions = 0
    for episode in range(len(firsts)):
        for member in range(len(networks.weights)):
            network = RowNetwork(networks.weights[member], networks.widths, networks.tanh)
            decisions += play_episode(s, firsts[episode], jobs, flags, processors, table, network)
            returns[member, episode] = -s.earned[0] / s.waiting.shape[1]
    return decisions
