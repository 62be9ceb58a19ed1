"""A linear rule with a gate, tuned by the cross-entropy method: the search that stands beside every learner.

Of the jobs that could start now the rule starts that with the largest score, a weighted sum of `SCORES`; a long job
(longer than `SHORT`) only while the gate, a weighted sum of `GATES`, is above 0. `sjf_hold` is such a rule,
and the search starts from one like it. `WEIGHTS` are what `python -m tests.ratios.deeprm tune` found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.jobsched.slotted.model import SlottedState

Weights = NDArray[np.float64]

SHORT = 3
"""Longest job that rules call short: the generator's short jobs last 1..3."""
SCORES = ("1/length", "free now . demand / 200", "length / 15", "largest demand / 10", "smallest remainder / 10")
GATES = (
    "1", "steps since an arrival / 10", "backlog is not empty", "backlog / 60", "a short job waits", "short jobs / 10",
    "free units now / 20", "filled slots / 10",
)  # fmt: skip
START = np.array([1.0, 0.0, 0.0, 0.0, 0.0, -0.45, 1.0, 1.0, 0.0, -3.0, 0.0, 0.0, 0.0])
"""Acts as `sjf_hold`."""
WEIGHTS = np.array([1.236, -0.025, -0.909, -0.135, -0.29, -0.368, 1.421, 1.28, -0.655, -2.729, -0.47, 0.05, 0.073])
"""Tuned at 184 % load on 1,200 jobsets of the split "train", 9.3 million decisions."""


@compiled
def fits_now(free: NDArray[np.int64], length: int, demand: NDArray[np.int64]) -> bool:
    """Whether a job could start now and keep its units for its whole length."""
    for row in range(length):
        for resource in range(demand.shape[0]):
            if free[row, resource] < demand[resource]:
                return False
    return True


@compiled
def gated_slot(state: SlottedState, weights: Weights) -> int:
    """The slot that the rule starts, or M."""
    slots, resources = state.slot_demand.shape
    short = filled = units = 0
    for slot in range(slots):
        filled += state.slot_length[slot] > 0
        short += 0 < state.slot_length[slot] <= SHORT
    for resource in range(resources):
        units += state.free[0, resource]
    w = weights[5:]
    gate = w[0] + w[1] * state.since / 10 + w[3] * state.backlog_count / 60
    gate += w[5] * short / 10 + w[6] * units / 20 + w[7] * filled / 10
    gate += (w[2] if state.backlog_count > 0 else 0.0) + (w[4] if short > 0 else 0.0)
    best: int = slots
    best_score = -np.inf
    for slot in range(slots):
        length, demand = state.slot_length[slot], state.slot_demand[slot]
        if length == 0 or (length > SHORT and gate <= 0) or not fits_now(state.free, length, demand):
            continue
        alignment, largest, remainder = 0, 0, state.free[0, 0]
        for resource in range(resources):
            alignment += state.free[0, resource] * demand[resource]
            largest = max(largest, demand[resource])
            remainder = min(remainder, state.free[0, resource] - demand[resource])
        score = weights[0] / length + weights[1] * alignment / 200 + weights[2] * length / 15
        score += weights[3] * largest / 10 + weights[4] * remainder / 10
        if score > best_score:
            best, best_score = slot, score
    return best
