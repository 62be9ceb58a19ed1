"""Heuristics of filling, as policies that read the state; their scores are those of `gpu.policies`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.jobsched.gpu.filling.model import FillState
from sysgym.jobsched.gpu.model import WHOLE

Score = Callable[[FillState], NDArray[np.float64]]


class ScoredPolicy(StatePolicy):
    """Takes the node of the lowest score among those with room; the first of equal ones.

    Args:
        name: Name in tables.
        score: A score for each node.
    """

    def __init__(self, name: str, score: Score) -> None:
        self.name, self.score = name, score

    def act_on_state(self, state: FillState) -> int:
        """The first node of the lowest score."""
        return int(np.where(state.fits == 1, self.score(state), np.inf).argmin())


def _any_with_room(state: FillState, generator: np.random.Generator) -> int:
    able = np.flatnonzero(state.fits)
    return int(able[generator.integers(len(able))])


def _shares(state: FillState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Free processors and GPUs of each node, as shares of the largest."""
    return state.free_cpu / state.largest[0], state.free_gpu.sum(axis=1) / state.largest[1]


def _best_fit(state: FillState) -> NDArray[np.float64]:
    cpu, gpu = _shares(state)
    left = 0.5 * (cpu - state.cpu / state.largest[0]) + 0.5 * (gpu - state.gpus * state.share / state.largest[1])
    score: NDArray[np.float64] = -np.floor((1.0 - left) * 100.0)
    return score


def _dot_product(state: FillState) -> NDArray[np.float64]:
    cpu, gpu = _shares(state)
    product = cpu * (state.cpu / state.largest[0]) + gpu * (state.gpus * state.share / state.largest[1])
    score: NDArray[np.float64] = -np.floor((1.0 - product / 2.0) * 100.0)
    return score


def _fgd(state: FillState) -> NDArray[np.float64]:
    score: NDArray[np.float64] = -np.floor(100.0 / (1.0 + np.exp(state.increase / WHOLE)))
    return score


HEURISTICS: Mapping[str, Callable[[], StatePolicy]] = {
    "first_fit": lambda: ScoredPolicy("first_fit", lambda state: np.zeros(len(state.fits))),
    "best_fit": lambda: ScoredPolicy("best_fit", _best_fit),
    "dot_product": lambda: ScoredPolicy("dot_product", _dot_product),
    "fgd": lambda: ScoredPolicy("fgd", _fgd),
    "fgd_exact": lambda: ScoredPolicy("fgd_exact", lambda state: state.increase),
    "random": partial(RandomPolicy, _any_with_room),
}
"""The heuristics by name; a shared GPU is always the one of least fragmentation."""
