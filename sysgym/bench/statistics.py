"""Aggregates and intervals of scores, exactly defined, vectorised over bootstrap replicates.

Scores are a matrix of n runs by m tasks; every aggregate works on the last two axes, so that one call serves a matrix
of shape (n, m) and a stack of B resampled ones of shape (B, n, m). A run is the unit of independence: the training
seed of a learned policy, the scenario of a fixed one.

Definitions follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS
2021 (IQM, optimality gap, probability of improvement, stratified bootstrap), and for the share of scenarios lost to a
heuristic Xia et al., "Genet", SIGCOMM 2022. Departures are named where they stand. Intervals are percentile intervals
of 95 % with linear interpolation; their seed is always an argument, and equal seeds give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sysgym.core.errors import SettingError, require_range

REPLICATES = 5000
"""Bootstrap replicates of every interval, unless told."""
PROFILE_REPLICATES = 1000
"""Of the bands around performance profiles, where a band's edge is drawn and not read."""
TIE = 1e-9
"""Scores that differ by no more than this are equal when scenarios are counted as lost."""
TIE_SPREAD = 0.005
"""Policies whose means differ by less than this share all tie: the instance is too light to rank them."""
REPLAY_SPREAD = 0.05
"""The same for single schedules, whose means move by several percent when a single job more or less is played."""
USELESS = "all policies tie: this instance is too light to rank them; take another, or raise its load"

Scores = NDArray[np.float64]
Statistic = Callable[[Scores], Any]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % percentile interval."""

    estimate: float
    low: float
    high: float


def mean(scores: ArrayLike) -> Any:
    """Mean of all entries; shape (..., n, m) gives (...)."""
    return np.asarray(scores, dtype=np.float64).mean(axis=(-2, -1))


def median(scores: ArrayLike) -> Any:
    """Median over tasks of the mean over runs, not the median of all entries."""
    return np.median(np.asarray(scores, dtype=np.float64).mean(axis=-2), axis=-1)


def iqm(scores: ArrayLike) -> Any:
    """Interquartile mean: the mean of what is left when floor(n m / 4) entries are dropped at each end.

    NaN where an entry is NaN.

    >>> float(iqm([[0.0, 1.0], [2.0, 100.0]]))
    1.5
    """
    flat = _flattened(scores)
    count = flat.shape[-1]
    cut = count // 4
    if cut == 0:
        return flat.mean(axis=-1)
    ordered = np.sort(flat, axis=-1)  # numpy sorts faster than it partitions, and NaN behind all numbers
    return np.where(np.isnan(ordered[..., -1]), np.nan, ordered[..., cut : count - cut].mean(axis=-1))[()]


def optimality_gap(scores: ArrayLike, gamma: float = 1.0) -> Any:
    """By how much the mean falls short of `gamma`; entries are clipped from above only."""
    return gamma - np.minimum(_flattened(scores), gamma).mean(axis=-1)


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Share of entries strictly above each threshold; shape of `thresholds`.

    Args:
        scores: Shape (n, m), every entry finite.
        thresholds: Any shape.
    """
    above = _matrix(scores).reshape(-1, 1) > np.asarray(thresholds, dtype=np.float64).reshape(1, -1)
    shares: NDArray[np.float64] = above.mean(axis=0).reshape(np.shape(thresholds))
    return shares


def profile_band(
    scores: ArrayLike, thresholds: ArrayLike, *, replicates: int = PROFILE_REPLICATES, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pointwise 95 % stratified bootstrap band of `performance_profile`: low and high, a value a threshold.

    Args:
        scores: Shape (n, m).
        thresholds: Shape (T,).
        replicates: Number of replicates.
        seed: Of the resampling.
    """
    matrix = _matrix(scores)
    above = (matrix[:, :, None] > np.asarray(thresholds, dtype=np.float64)).reshape(matrix.size, -1)
    drawn = _counts(resample(len(matrix), matrix.shape[1], replicates, seed)).reshape(replicates, -1)
    low, high = np.percentile(drawn @ above.astype(np.float64) / matrix.size, [2.5, 97.5], axis=0)
    return low, high


def mean_score_profile(scores: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Share of tasks whose mean over runs is strictly above each threshold."""
    return performance_profile(_matrix(scores).mean(axis=0)[None, :], thresholds)


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> float:
    """Chance that a run of the first policy beats one of the second: P(X > Y) + P(X = Y) / 2, mean over tasks.

    Args:
        first: Scores X, shape (n_x, m), larger is better.
        second: Scores Y, shape (n_y, m), of independent runs.
    """
    return float(_wins(first, second).mean())


def paired_win_rate(first: ArrayLike, second: ArrayLike) -> float:
    """The same chance over pairs that share a scenario only; both of shape (n, m)."""
    x, y = _paired(first, second)
    return float(((x > y) + 0.5 * (x == y)).mean())


def lost(scores: ArrayLike, best: ArrayLike) -> NDArray[np.bool_]:
    """Where a policy scores less than the best heuristic, by more than `TIE`; shapes broadcast."""
    behind: NDArray[np.bool_] = np.asarray(scores) < np.asarray(best) - TIE
    return behind


def fraction_lost(scores: ArrayLike, best: ArrayLike) -> float:
    """Share of paired scenarios on which a policy scores less than the best heuristic, by more than `TIE`."""
    x, y = _paired(scores, best)
    return float(lost(x, y).mean())


def all_tie(values: ArrayLike, spread: float = TIE_SPREAD) -> bool:
    """Whether several values differ by so small a share of the smallest that ranking them says nothing.

    >>> all_tie([1.0, 1.0, 1.001]), all_tie([1.0, 1.2]), all_tie([1.0])
    (True, False, False)
    """
    found = np.asarray(values, dtype=np.float64)
    return len(found) > 1 and bool(np.ptp(found) <= spread * np.abs(found).min())


def resample(
    runs: int, tasks: int = 1, replicates: int = REPLICATES, seed: int = 0, block: int = 1
) -> NDArray[np.int64]:
    """Run indices of a stratified bootstrap: each task draws its runs on its own.

    Args:
        runs: Number of runs n.
        tasks: Number of tasks m.
        replicates: Number of replicates B.
        seed: Of the draw; one block of `default_rng(seed).integers(0, n, (B, n, m))` when `block` is 1.
        block: Draws disjoint blocks of so many consecutive runs instead of single ones, for windows of one log whose
            neighbours resemble each other. Where n is no multiple, the last block goes on with the first run.

    Returns:
        int64, shape (B, n, m).
    """
    require_range("replicates", replicates, 1, whole=True)
    require_range("block", block, 1, runs, whole=True)
    generator = np.random.default_rng(seed)
    if block == 1:
        return generator.integers(0, runs, (replicates, runs, tasks))
    blocks = -(-runs // block)
    starts = block * generator.integers(0, blocks, (replicates, blocks, 1, tasks))
    rows = (starts + np.arange(block)[:, None]) % runs
    return rows.reshape(replicates, blocks * block, tasks)[:, :runs]


def bootstrap(
    scores: ArrayLike, statistic: Statistic = iqm, *, replicates: int = REPLICATES, seed: int = 0, block: int = 1
) -> Interval:
    """A statistic of one policy with its stratified bootstrap interval.

    Args:
        scores: Shape (n, m).
        statistic: Works on the last two axes, such as `iqm`, `mean`, `median` or `optimality_gap`.
        replicates: Number of replicates.
        seed: Of the resampling.
        block: See `resample`.
    """
    matrix = _matrix(scores)
    rows = resample(len(matrix), matrix.shape[1], replicates, seed, block)
    return interval(statistic(matrix), statistic(_drawn(matrix, rows)))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic = mean,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    block: int = 1,
) -> Interval:
    """A statistic of first - second over shared scenarios; both of shape (n, m), resampled jointly."""
    x, y = _paired(first, second)
    return bootstrap(x - y, statistic, replicates=replicates, seed=seed, block=block)


def paired_ratio(
    first: ArrayLike, second: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0, block: int = 1
) -> Interval:
    """Mean of the first over mean of the second, over shared scenarios.

    Raises:
        SettingError: A value is not above 0, so that a ratio of means says nothing.
    """
    x, y = _paired(first, second)
    if not ((x > 0).all() and (y > 0).all()):
        raise SettingError("a ratio of means needs values above 0; use paired_difference")
    rows = resample(len(x), x.shape[1], replicates, seed, block)
    above, below = _drawn(x, rows), _drawn(y, rows)
    return interval(mean(x) / mean(y), mean(above) / mean(below))


def improvement_interval(
    first: ArrayLike, second: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """`probability_of_improvement` with an interval; the two policies are resampled independently.

    The table of wins is built once and replicates weigh it by how often each run was drawn.
    """
    wins = _wins(first, second)
    n_x, n_y, tasks = wins.shape
    chosen_x = _counts(resample(n_x, tasks, replicates, seed))
    chosen_y = _counts(resample(n_y, tasks, replicates, seed + 1))
    weighted = np.einsum("bik,ijk->bjk", chosen_x, wins, optimize=True)
    return interval(wins.mean(), (weighted * chosen_y).sum(axis=(1, 2)) / wins.size)


def scenario_weights(scenarios: int, replicates: int = REPLICATES, seed: int = 0) -> NDArray[np.float64]:
    """How much each scenario counts in each replicate of a mean; shape (B, scenarios), rows sum to 1.

    Policies that share these weights are resampled jointly, which is what pairs them.
    """
    return _counts(resample(scenarios, 1, replicates, seed))[:, :, 0] / scenarios


def crossed_runs(scores: ArrayLike, weights: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Means of a policy's runs in replicates that resample its runs and, jointly for all policies, the scenarios.

    A learned policy has several runs (training seeds) that met the same scenarios; whole runs are drawn as units, and
    the scenarios by the weights. One run leaves the scenarios alone as the source of uncertainty.

    Args:
        scores: Shape (runs, scenarios).
        weights: From `scenario_weights`, shape (B, scenarios).
        seed: Of the draw of runs.

    Returns:
        float64, shape (B, runs): the means of the runs that were drawn.
    """
    matrix = _matrix(scores)
    runs, replicates = len(matrix), len(weights)
    chosen = resample(runs, 1, replicates, seed)[:, :, 0]
    means: NDArray[np.float64] = np.take_along_axis(weights @ matrix.T, chosen, axis=1)
    return means


def interval(estimate: Any, replicates: NDArray[np.float64]) -> Interval:
    """The 95 % percentile interval of replicates around an estimate."""
    low, high = np.percentile(replicates, [2.5, 97.5])
    return Interval(float(estimate), float(low), float(high))


def _flattened(scores: ArrayLike) -> Scores:
    array = np.asarray(scores, dtype=np.float64)
    return array.reshape(*array.shape[:-2], -1)


def _matrix(scores: ArrayLike) -> Scores:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise SettingError(f"scores have shape {array.shape}; expected runs by tasks, at least one of each")
    if not np.isfinite(array).all():
        raise SettingError("scores hold a value that is not finite; leave failed runs out first")
    return array


def _drawn(matrix: Scores, rows: NDArray[np.int64]) -> Scores:
    """The replicates that `resample` says, shape (B, n, m), gathered from the flat matrix."""
    tasks = matrix.shape[1]
    drawn: Scores = matrix.ravel().take(rows * tasks + np.arange(tasks))
    return drawn


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[Scores, Scores]:
    x, y = _matrix(first), _matrix(second)
    if x.shape != y.shape:
        raise SettingError(f"paired scores have shapes {x.shape} and {y.shape}; they must share their scenarios")
    return x, y


def _wins(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    x, y = _matrix(first)[:, None, :], _matrix(second)[None, :, :]
    if x.shape[2] != y.shape[2]:
        raise SettingError(f"the policies have {x.shape[2]} and {y.shape[2]} tasks; they must share their tasks")
    wins: NDArray[np.float64] = (x > y) + 0.5 * (x == y)
    return wins


def _counts(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each run was drawn, shape (B, n, m)."""
    replicates, runs, tasks = rows.shape
    cells = (np.arange(replicates)[:, None, None] * runs + rows) * tasks + np.arange(tasks)
    return np.bincount(cells.ravel(), minlength=rows.size).reshape(rows.shape).astype(np.float64)
