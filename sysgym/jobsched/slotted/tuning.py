"""Tuning of the gated linear rule by the cross-entropy method, many candidates played at once.

A round draws candidates from a normal distribution with independent weights, plays all of them on the same fresh
jobsets, and moves mean and deviation to those of the best (Rubinstein and Kroese, "The Cross-Entropy Method", 2004).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.engines import allocate_slot
from sysgym.core.seeding import stream
from sysgym.jobsched.slotted.gated import START, Weights, gated_slot
from sysgym.jobsched.slotted.kernel import SlottedKernel, row_state, settings_of
from sysgym.jobsched.slotted.model import SlottedConfig, state_columns
from sysgym.jobsched.slotted.observation import ENCODERS
from sysgym.workloads.jobsets import JobsetGenerator

LEAST_DEVIATION = 0.02


class Tuned(NamedTuple):
    """What a search found.

    Attributes:
        weights: The mean of the last round's best candidates.
        frames: Decisions that were played.
        costs: Mean cost of a jobset of the best candidates, round by round.
    """

    weights: Weights
    frames: int
    costs: list[float]


def tune_gated(
    generator: JobsetGenerator,
    *,
    seed: int = 0,
    rounds: int = 20,
    candidates: int = 32,
    best: int = 8,
    jobsets: int = 60,
    tell: Callable[[int, float], object] = lambda number, cost: None,
) -> Tuned:
    """Search the weights of `gated` for the least sum of slowdowns.

    Args:
        generator: Of the jobsets, of the split "train".
        seed: Of candidates and jobsets.
        rounds: Of the search.
        candidates: In a round.
        best: Of them that make the next distribution.
        jobsets: That every candidate of a round plays, others in each round.
        tell: Called with the round and the mean cost of its best candidates.
    """
    config = SlottedConfig.preset("corrected", sequence_length=generator.sequence_length)
    kernel = SlottedKernel(config, generator, candidates * jobsets, ENCODERS["compact"])
    random = stream(seed, "gated")
    mean, deviation = START.copy(), np.full(len(START), 0.5)
    frames, costs = 0, list[float]()
    for number in range(rounds):
        drawn = mean + deviation * random.normal(size=(candidates, len(mean)))
        drawn[0] = mean
        episodes = np.tile(number * jobsets + np.arange(jobsets), candidates)
        found, played = play_gated(kernel, np.repeat(drawn, jobsets, axis=0), seed, episodes)
        frames += played
        cost = found.reshape(candidates, jobsets).mean(axis=1)
        chosen = np.argsort(cost, kind="stable")[:best]
        mean, deviation = drawn[chosen].mean(axis=0), np.maximum(drawn[chosen].std(axis=0), LEAST_DEVIATION)
        costs.append(float(cost[chosen].mean()))
        tell(number, costs[-1])
    return Tuned(mean, frames, costs)


def play_gated(
    kernel: SlottedKernel, weights: Weights, seed: int, episodes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], int]:
    """Costs (minus returns) of one episode a row, (B,), each with its own weights (B, 13); and the decisions played."""
    rows = kernel.num_episodes
    slot = allocate_slot(kernel.observation_spec, rows, kernel.num_actions)
    kernel.reset(np.arange(rows), np.full(rows, seed, dtype=np.uint64), episodes)
    active, actions, cost, frames = np.ones(rows, dtype=np.bool_), np.zeros(rows, dtype=np.int64), np.zeros(rows), 0
    numbers, memory = kernel.columns
    while active.any():
        _choose(numbers, memory, weights, active, actions)
        kernel.step(actions, active, slot)
        frames += int(active.sum())
        cost[active] -= slot.rewards[active]
        active &= ~(slot.terminated | slot.truncated)
    return cost, frames


@compiled
def _choose(
    numbers: NDArray[np.int64],
    memory: NDArray[np.int64],
    weights: Weights,
    active: NDArray[np.bool_],
    actions: NDArray[np.int64],
) -> None:
    sizes, _, _ = settings_of(numbers)
    state = state_columns(memory, sizes)
    for row in range(len(actions)):
        if active[row]:
            actions[row] = gated_slot(row_state(state, row), weights[row])
