"""Plays heuristics on many arrivals at once, and tunes the exponent of weighted fair sharing on training arrivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sysgym.core.playing import play_rows_on_state
from sysgym.core.protocols import StatePolicy
from sysgym.jobsched.dag.arrivals import DagJobs
from sysgym.jobsched.dag.kernel import DagKernel
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.observation import View
from sysgym.jobsched.dag.policies import WeightedFairPolicy

ALPHAS = (-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.5)
"""Exponents that are tried; Decima's paper tried -2 to 2."""


def played(config: DagConfig, jobs: DagJobs, policy: StatePolicy, seeds: Sequence[int]) -> list[dict[str, float]]:
    """The metrics of each seed's first episode under a policy that remembers nothing."""
    count = len(seeds)
    engine = DagKernel(config, jobs, count, View("graph", config), "completion")
    play_rows_on_state(engine, policy, np.array(seeds, dtype=np.uint64), np.zeros(count, dtype=np.int64))
    return [engine.metrics(row) for row in range(count)]


def completion_times(
    config: DagConfig, jobs: DagJobs, policy: StatePolicy, seeds: Sequence[int]
) -> NDArray[np.float64]:
    """Mean completion time of each seed's episode, seconds."""
    return np.array([scores["mean_completion_time"] for scores in played(config, jobs, policy, seeds)])


def tune_alpha(
    config: DagConfig, jobs: DagJobs, seeds: Sequence[int], alphas: Sequence[float] = ALPHAS, sticky: bool = False
) -> tuple[float, dict[float, float]]:
    """The exponent with the least mean completion time.

    Args:
        config: The cluster.
        jobs: Where its jobs come from; of the training split, if the result shall be judged on another.
        seeds: Episodes.
        alphas: To be tried.
        sticky: See `WeightedFairPolicy`.

    Returns:
        The exponent, and the mean completion time of all that were tried.
    """
    found = {
        alpha: float(completion_times(config, jobs, WeightedFairPolicy(alpha, sticky), seeds).mean())
        for alpha in alphas
    }
    return min(found, key=found.__getitem__), found
