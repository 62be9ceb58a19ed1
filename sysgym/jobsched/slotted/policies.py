"""Heuristics of the slotted cluster, over the state columns of one episode.

As in the public DeepRM code, they consider only jobs whose whole window fits now, never book ahead, break ties in
favour of the lowest slot, and let time pass where nothing fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_range
from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.jobsched.slotted.gated import SHORT, WEIGHTS, Weights, fits_now, gated_slot
from sysgym.jobsched.slotted.model import SlottedState

PATIENCE = 5
"""Time steps without an arrival after which `sjf_hold` lets a long job start."""


@compiled
def best_slot(
    free: NDArray[np.int64],
    slot_length: NDArray[np.int64],
    slot_demand: NDArray[np.int64],
    alignment_weight: float,
    shortness_weight: float,
    longest: int,
) -> int:
    """The slot with the largest alignment_weight * (free now . demand) + shortness_weight / length; void if none.

    Only jobs that fit now, of a length up to `longest` and with a score above 0 are considered.
    """
    best: int = slot_length.shape[0]
    best_score = 0.0
    for slot in range(slot_length.shape[0]):
        length = slot_length[slot]
        if 0 < length <= longest and fits_now(free, length, slot_demand[slot]):
            alignment = 0
            for resource in range(free.shape[1]):
                alignment += free[0, resource] * slot_demand[slot, resource]
            score = alignment_weight * alignment + shortness_weight * (1.0 / length)
            if score > best_score:
                best, best_score = slot, score
    return best


class SlotScore(StatePolicy):
    """Starts the job with the best weighted sum of alignment and shortness.

    Args:
        alignment_weight: Weight of the dot product of free units now and demand.
        shortness_weight: Weight of 1/length.
    """

    def __init__(self, alignment_weight: float, shortness_weight: float) -> None:
        self.alignment_weight, self.shortness_weight = float(alignment_weight), float(shortness_weight)

    def act_on_state(self, state: SlottedState) -> int:
        """See `StatePolicy`."""
        longest = state.free.shape[0]
        weights = self.alignment_weight, self.shortness_weight
        return int(best_slot(state.free, state.slot_length, state.slot_demand, *weights, longest))


def sjf() -> SlotScore:
    """Shortest job first."""
    return SlotScore(0.0, 1.0)


def packer() -> SlotScore:
    """Best alignment of demand with what is free now; what the public code's figure calls Tetris."""
    return SlotScore(1.0, 0.0)


def packer_sjf(knob: float = 0.5) -> SlotScore:
    """Mix knob * packer + (1 - knob) * SJF as published: not normalised, so the packer rules unless knob is small."""
    require_range("knob", knob, 0, 1)
    return SlotScore(knob, 1 - knob)


class Tetris(StatePolicy):
    """knob * alignment / (sum of squared capacities) + (1 - knob) / length: the mix with both parts in [0, 1].

    Args:
        knob: Weight of the alignment.
        capacity: Units of each resource.
    """

    def __init__(self, knob: float = 0.5, capacity: int = 10) -> None:
        require_range("knob", knob, 0, 1)
        self.knob, self.capacity = knob, capacity

    def act_on_state(self, state: SlottedState) -> int:
        """See `StatePolicy`."""
        horizon, resources = state.free.shape
        alignment_weight = self.knob / (resources * self.capacity**2)
        columns = state.free, state.slot_length, state.slot_demand
        return int(best_slot(*columns, alignment_weight, 1 - self.knob, horizon))


class SjfHold(StatePolicy):
    """SJF that holds long jobs back while short ones wait or are likely to come.

    A job longer than 3 may start only if no short job is in a slot and either nothing has arrived for 5 time steps or
    the backlog is not empty. Made for the generator's lengths and sequences of 50; it is no good rule for longer ones.
    """

    def act_on_state(self, state: SlottedState) -> int:
        """See `StatePolicy`."""
        lengths = state.slot_length
        short_waits = bool(((lengths > 0) & (lengths <= SHORT)).any())
        calm = state.since >= PATIENCE or state.backlog_count > 0
        longest = state.free.shape[0] if calm and not short_waits else SHORT
        return int(best_slot(state.free, lengths, state.slot_demand, 0.0, 1.0, longest))


class GatedLinear(StatePolicy):
    """The rule of `gated`, a linear score and a gate for long jobs.

    Args:
        weights: 13 numbers; those that the search found at 184 % load unless given.
    """

    def __init__(self, weights: Weights = WEIGHTS) -> None:
        self.weights = np.asarray(weights, dtype=np.float64)

    def act_on_state(self, state: SlottedState) -> int:
        """See `StatePolicy`."""
        return int(gated_slot(state, self.weights))


class Fcfs(StatePolicy):
    """First come, first served, among the jobs that fit now."""

    def act_on_state(self, state: SlottedState) -> int:
        """See `StatePolicy`."""
        for slot in np.argsort(state.slot_job, kind="stable"):
            length = state.slot_length[slot]
            if length > 0 and fits_now(state.free, length, state.slot_demand[slot]):
                return int(slot)
        return len(state.slot_job)


def _any_action(state: SlottedState, generator: np.random.Generator) -> int:
    """Any of the M+1 actions; it may book ahead, and may choose an empty slot."""
    return int(generator.integers(len(state.slot_job) + 1))


class Void(StatePolicy):
    """Lets time pass, always: what doing nothing costs."""

    def act_on_state(self, state: SlottedState) -> int:
        """See `StatePolicy`."""
        return len(state.slot_job)


HEURISTICS: Mapping[str, Callable[[], StatePolicy]] = {
    "sjf": sjf,
    "sjf_hold": SjfHold,
    "gated_linear": GatedLinear,
    "packer": packer,
    "packer_sjf": packer_sjf,
    "tetris": Tetris,
    "fcfs": Fcfs,
    "random": partial(RandomPolicy, _any_action, stream_name="policy/random"),
    "void": Void,
}
