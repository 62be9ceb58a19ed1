"""Reference bands: what a training of a known agent should come to, so that "too bad" and "too good" are both noticed.

After MLPerf's reference convergence points: of the reference runs and of the new ones the best and the worst are
dropped, and a one-sided t test at 5 % compares the means. A mean better than the limit is no luck: the agent, the
environment or the evaluator has changed. The same test the other way tells what got worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from sysgym.core.errors import SettingError

LEVEL = 0.95
FEWEST_REFERENCES, FEWEST_RUNS = 5, 3


@dataclass(frozen=True)
class Band:
    """Between which limits the mean of new runs may lie, the best and the worst of them left out.

    Attributes:
        mean: Of the reference runs that count.
        low: Below, the new runs are shown to be smaller.
        high: Above, the new runs are shown to be larger.
    """

    mean: float
    low: float
    high: float

    def verdict(self, runs: ArrayLike, minimise: bool = False) -> str:
        """What as many new runs as the band was made for are: "as expected", "too good" or "too bad"."""
        found = float(_kept(runs, FEWEST_RUNS).mean())
        if self.low <= found <= self.high:
            return "as expected"
        return "too good" if (found < self.low) == minimise else "too bad"


def reference_band(reference: ArrayLike, runs: int = 5) -> Band:
    """The band of reference runs for a number of new ones.

    Args:
        reference: A value a training, at least 5.
        runs: How many new ones will be compared, at least 3.

    Raises:
        SettingError: Too few of either.

    >>> band = reference_band([16, 14, 16, 17, 16, 16, 15, 16, 15, 16])  # epochs, MLPerf's own example
    >>> round(band.mean, 2), round(band.low, 2)
    (15.75, 15.21)
    """
    if runs < FEWEST_RUNS:
        raise SettingError(f"runs is {runs}; a band compares at least {FEWEST_RUNS}")
    kept = _kept(reference, FEWEST_REFERENCES)
    margin = _quantile(len(kept), runs - 2) * float(kept.std()) * np.sqrt(1 / len(kept) + 1 / (runs - 2))
    mean = float(kept.mean())
    return Band(mean, mean - float(margin), mean + float(margin))


def _quantile(references: int, runs: int) -> float:
    return float(student.ppf(LEVEL, references + runs - 2))


def _kept(values: ArrayLike, fewest: int) -> NDArray[np.float64]:
    found = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if len(found) < fewest:
        raise SettingError(f"{len(found)} runs; a reference band needs at least {fewest}")
    return found[1:-1]
