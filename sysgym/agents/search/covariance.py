"""Covariance matrix adaptation: a normal distribution over weights that follows its better samples.

CMA-ES after Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772 (2016), with the weights, rates and
dampings of its table 1 and no negative weights. One departure: samples come in mirrored pairs (Brockhoff et al.,
"Mirrored sampling and sequential selection for evolution strategies", PPSN 2010), which costs nothing and takes noise
out of the mean's step. A generation's samples follow from (seed, generation), so a search that goes on needs no state
of a generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.seeding import stream

Floats = NDArray[np.float64]


class CovarianceSearch:
    """The distribution N(mean, step^2 C) of a minimisation; O(n^3) a generation, for hundreds of numbers.

    Args:
        mean: Where it begins, float64, shape (n,).
        step: Standard deviation at first.
        population: Samples of a generation, even, at least 4.
        seed: Of the samples.

    Attributes:
        generation: Generations so far.
    """

    def __init__(self, mean: Floats, step: float, population: int, seed: int) -> None:
        n, half = len(mean), population // 2
        weights = np.log(half + 0.5) - np.log(np.arange(1, half + 1))
        self._weights = weights / weights.sum()
        mass = 1.0 / (self._weights**2).sum()
        self._mass = mass
        self._keep_path = (4 + mass / n) / (n + 4 + 2 * mass / n)
        self._keep_step = (mass + 2) / (n + mass + 5)
        self._one = 2 / ((n + 1.3) ** 2 + mass)
        self._many = min(1 - self._one, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
        self._damping = 1 + 2 * max(0.0, np.sqrt((mass - 1) / (n + 1)) - 1) + self._keep_step
        self._usual = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self.population, self.seed, self.generation = population, seed, 0
        self.mean, self.step = np.array(mean, dtype=np.float64), float(step)
        self._path, self._step_path, self._covariance = np.zeros(n), np.zeros(n), np.eye(n)
        self._decompose()

    def sample(self) -> Floats:
        """The generation's samples, (population, n)."""
        generator = stream(self.seed, "noise", self.generation)
        half = generator.standard_normal((self.population // 2, len(self.mean)))
        self._drawn = np.concatenate([half, -half]) * self._scales @ self._axes.T
        samples: Floats = self.mean + self.step * self._drawn
        return samples

    def learn(self, costs: Floats) -> None:
        """Move towards the samples of the smallest costs, shape (population,)."""
        best = self._drawn[np.argsort(costs, kind="stable")[: len(self._weights)]]
        moved = self._weights @ best
        self.mean = self.mean + self.step * moved
        self.generation += 1
        keep, keep_step = self._keep_path, self._keep_step
        whitened = self._axes @ ((self._axes.T @ moved) / self._scales)
        self._step_path = (1 - keep_step) * self._step_path
        self._step_path += np.sqrt(keep_step * (2 - keep_step) * self._mass) * whitened
        length = float(np.linalg.norm(self._step_path))
        steady = length / np.sqrt(1 - (1 - keep_step) ** (2 * self.generation))
        follows = steady < (1.4 + 2 / (len(self.mean) + 1)) * self._usual
        self._path = (1 - keep) * self._path + follows * np.sqrt(keep * (2 - keep) * self._mass) * moved
        rank_many = (best.T * self._weights) @ best
        self._covariance = (
            (1 - self._one - self._many) * self._covariance
            + self._one * np.outer(self._path, self._path)
            + self._many * rank_many
        )
        self.step *= float(np.exp(min(1.0, keep_step / self._damping * (length / self._usual - 1))))
        self._decompose()

    def state(self) -> tuple[dict[str, Floats], dict[str, Any]]:
        """What a search that goes on needs: arrays, and plain values."""
        arrays = {"mean": self.mean, "path": self._path, "step_path": self._step_path, "covariance": self._covariance}
        return arrays, {"step": self.step, "generation": self.generation}

    def restore(self, arrays: Mapping[str, Floats], values: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.mean, self._path, self._step_path, self._covariance = (
            np.array(arrays[name]) for name in ("mean", "path", "step_path", "covariance")
        )
        self.step, self.generation = float(values["step"]), int(values["generation"])
        self._decompose()

    def _decompose(self) -> None:
        self._covariance = (self._covariance + self._covariance.T) / 2
        squares, self._axes = np.linalg.eigh(self._covariance)
        self._scales = np.sqrt(np.maximum(squares, 1e-20))
