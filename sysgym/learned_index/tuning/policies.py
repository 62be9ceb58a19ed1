"""Searches to compare with: CDFShop's, chance, and the candidate that is expected to gain most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.core.seeding import stream
from sysgym.learned_index.tuning.model import BITS_OF, COUNT, FANOUT_BITS, TuningState, action_of

_DEFAULT = action_of("cubic", "linear", 18)
_COARSE_BITS = (6, 11, 16, 21)


class Default(StatePolicy):
    """What the reference implementation's README builds: cubic over linear, 2^18 leaves; never anything else."""

    def act_on_state(self, state: TuningState) -> int:
        """See `StatePolicy`."""
        return _DEFAULT


def _any_new(state: TuningState, generator: np.random.Generator) -> int:
    """A configuration that was not evaluated yet."""
    return int(generator.choice(np.flatnonzero(state.allowed)))


class Grid(StatePolicy):
    """One configuration after the other, in the order of the actions."""

    def act_on_state(self, state: TuningState) -> int:
        """See `StatePolicy`."""
        return int(state.allowed.argmax())


class TwoPhase(StatePolicy):
    """CDFShop's optimizer: every root and leaf at four fan-outs (84 evaluations), then the best of them at all others.

    The best are the pairs on the front of the first phase; the published one compares sizes and mean log2 errors, this
    one sizes and latencies, which is what an evaluation tells here. What the first phase found counts too.

    Args:
        seed: Of a random order within each phase; None takes the published nested order.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._generator = None if seed is None else stream(seed, "policy")
        self._order: NDArray[np.int64] | None = None

    def reset(self) -> None:
        """Forget the last episode."""
        self._order = None

    def act_on_state(self, state: TuningState) -> int:
        """See `StatePolicy`."""
        if self._order is None or state.evaluations == 0:
            self._order = np.arange(COUNT) if self._generator is None else self._generator.permutation(COUNT)
        coarse = np.isin(BITS_OF, _COARSE_BITS)
        for candidates in (coarse & state.allowed, self._fine(state) & state.allowed, state.allowed):
            ordered = self._order[candidates[self._order]]
            if len(ordered):
                return int(ordered[0])
        return int(self._order[0])

    @staticmethod
    def _fine(state: TuningState) -> NDArray[np.bool_]:
        """The pairs of root and leaf on the front so far, at every fan-out."""
        measured = np.flatnonzero(~np.isnan(state.latency))
        order = measured[np.lexsort((state.latency[measured], state.log_bytes[measured]))]
        latency = state.latency[order]
        before = np.concatenate([[np.inf], np.minimum.accumulate(latency)[:-1]])
        pairs = np.unique(order[latency < before] // len(FANOUT_BITS))
        chosen: NDArray[np.bool_] = np.isin(np.arange(COUNT) // len(FANOUT_BITS), pairs)
        return chosen


class ExpectedGain(StatePolicy):
    """The candidate that is expected to add most hypervolume, by the sample's estimate and what was found near it."""

    def act_on_state(self, state: TuningState) -> int:
        """See `StatePolicy`."""
        return int(np.where(state.allowed, state.gain, -1.0).argmax())


def two_phase() -> TwoPhase:
    """`TwoPhase` in the published order, which no seed changes."""
    return TwoPhase()


def two_phase_shuffled(seed: int = 0) -> TwoPhase:
    """`TwoPhase` in random order."""
    return TwoPhase(seed)


HEURISTICS: Mapping[str, Callable[..., StatePolicy]] = {
    "default": Default,
    "random": partial(RandomPolicy, _any_new),
    "grid": Grid,
    "two_phase": two_phase,
    "two_phase_shuffled": two_phase_shuffled,
    "expected_gain": ExpectedGain,
}
"""The heuristics by name."""
