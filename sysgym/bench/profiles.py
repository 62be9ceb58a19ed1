"""Performance profiles: on which share of the scenarios a policy scores more than each threshold.

After Agarwal et al., NeurIPS 2021, with scores of scenarios on the scale of their environment's anchors, environments
counting alike. Bands are pointwise and resample what the intervals of a board resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.bench import statistics
from sysgym.bench.contests import Replicates

THRESHOLDS = np.linspace(-0.5, 1.0, 61)


@dataclass(frozen=True)
class Profile:
    """A policy's profile at `THRESHOLDS`, with its band."""

    name: str
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def profile_of(name: str, replicates: Sequence[Replicates], environments: NDArray[np.int64] | None = None) -> Profile:
    """The profile of a policy that played in every contest; each has anchors.

    Args:
        name: Of the policy.
        replicates: Of the contests.
        environments: Which of them each replicate is made of, shape (B, contests); None: each once.
    """
    count = statistics.PROFILE_REPLICATES
    shares, drawn = [], []
    for replicate in replicates:
        contest = replicate.contest
        entry = next(entry for entry in contest.entries if entry.name == name)
        assert contest.anchors is not None
        above = contest.anchors.score(entry.values)[:, :, None] > THRESHOLDS
        shares.append(above.mean(axis=(0, 1)))
        chosen = statistics.scenario_weights(len(entry.values), count, contest.seed)
        by_run = np.tensordot(replicate.weights[:count], above.astype(np.float64), axes=(1, 1))
        drawn.append(np.einsum("br,brt->bt", chosen, by_run))
    stacked = np.stack(drawn, axis=1)
    if environments is not None:
        stacked = np.take_along_axis(stacked, environments[:count, :, None], axis=1)
    low, high = np.percentile(stacked.mean(axis=1), [2.5, 97.5], axis=0)
    return Profile(name, np.mean(shares, axis=0), low, high)
