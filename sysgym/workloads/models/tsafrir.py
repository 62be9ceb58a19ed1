"""Estimates as users write them: few, round and popular values (Tsafrir, Etsion and Feitelson, JSSPP 2005).

Twenty "head" estimates hold 89 % of the jobs and a "tail" the rest; the longest allowed estimate is the most popular.
Estimates are dealt out at random among the jobs that fit into them. Numbers and steps are those of the authors' program
est_model; percentages are of jobs throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError, WorkloadError, require_range
from sysgym.workloads.models.variates import Counter, integer, stream_of
from sysgym.workloads.workload import Repair, Workload

_MINUTE, _HOUR = 60, 3600
_HEAD, _HEAD_PERCENT = 20, 89.0
_DISTINCT = ((0, 0), (20, 10), (200, 20), (1000, 35), (10_000, 90), (70_000, 340), (250_000, 565))
_NATURAL = tuple(minutes * _MINUTE for minutes in (5, 10, 15, 20, 30)) + tuple(
    hours * _HOUR for hours in (1, 2, 3, 4, 5, 6, 8, 10, 12, 18)
)
_STEPS = tuple(hours * _HOUR for hours in (200, 100, 50, 10, 5, 2, 1)) + tuple(
    minutes * _MINUTE for minutes in (20, 10, 5, 1)
)
"""Multiples that fill the head; the last is ours, for longest estimates below two hours."""

_POPULARITY = (
    (3, 1, 4, 17, 13, 7, 8, 18, 2, 6, 16, 10, 5, 15, 14, 19, 11, 12, 9, 20),
    (1, 3, 4, 2, 12, 9, 8, 18, 6, 7, 11, 20, 16, 5, 14, 13, 10, 15, 17, 19),
    (1, 4, 10, 14, 20, 2, 3, 7, 12, 6, 19, 5, 18, 16, 9, 17, 15, 13, 8, 11),
    (1, 6, 5, 3, 7, 2, 18, 19, 4, 11, 20, 9, 10, 14, 13, 16, 15, 17, 8, 12),
)
"""Popularity rank by time rank (the longest estimate first, the others rising) in the four logs of the fit."""


def with_tsafrir_estimates(workload: Workload, longest: float | None = None, seed: int = 0) -> Workload:
    """The same jobs with modelled estimates; O(n log n).

    Args:
        workload: Jobs with run times.
        longest: The longest estimate, seconds, at least an hour; None takes the next whole hour above all run times.
        seed: Integer >= 0.

    Returns:
        Each `requested_time` at least the `run_time`. Runs above `longest` are cut to it, a counted repair.

    Raises:
        SettingError: `longest` below an hour.
        WorkloadError: A run time is unknown, or too many runs are near `longest`.
    """
    if not np.isfinite(workload.run_time).all():
        raise WorkloadError(f"{workload.provenance.source}: a job has no run time; estimates need one for every job")
    largest = float(workload.run_time.max(initial=0.0))
    limit = max(_HOUR, math.ceil(largest / _HOUR) * _HOUR) if longest is None else longest
    long = workload.run_time > limit
    run = np.minimum(workload.run_time, limit)
    estimates = tsafrir_estimates(run, limit, seed)
    repairs = workload.repairs
    if long.any():
        lines = tuple(int(line) for line in workload.source_line[long][:5])
        repairs += (Repair("cut_run_time", int(long.sum()), False, lines),)
    header = {name: text for name, text in workload.provenance.header.items() if name != "Note"}
    header["Estimates"] = f"Tsafrir, Etsion and Feitelson 2005, longest={limit:g} s, seed={seed}"
    return replace(
        workload,
        run_time=read_only(run),
        requested_time=read_only(estimates),
        repairs=repairs,
        provenance=replace(workload.provenance, header=header),
    )


def tsafrir_estimates(run_time: NDArray[np.float64], longest: float, seed: int = 0) -> NDArray[np.float64]:
    """An estimate for each run time, seconds, shape (n,).

    Raises:
        SettingError: `longest` below an hour, or a seed below 0.
        WorkloadError: The long runs do not fit into the long estimates.
    """
    require_range("longest", longest, _HOUR)
    require_range("seed", seed, 0, whole=True)
    key, counter = stream_of(seed, "tsafrir", "estimates")
    times, counts = estimate_bins(len(run_time), longest, key, counter)
    order = np.argsort(-run_time, kind="stable")
    runs, estimates = run_time[order], np.sort(np.repeat(times, counts))[::-1].copy()
    short = np.flatnonzero(runs > estimates)
    if len(short):
        raise WorkloadError(
            f"{len(short)} of {len(runs)} runs are longer than any estimate left for them, the first of them "
            f"{runs[short[0]]:g} s; give a larger longest=... (now {longest:g} s)"
        )
    last = np.searchsorted(-estimates, -runs, side="right") - 1
    _deal(estimates, last, key, counter)
    dealt = np.empty(len(runs))
    dealt[order] = estimates
    return dealt


@compiled
def _deal(estimates: NDArray[np.float64], last: NDArray[np.int64], key: int, counter: Counter) -> None:
    """Give the k-th longest run one of the estimates k..last[k], all of which are long enough, in place."""
    for k in range(len(estimates)):
        j = integer(key, counter, k, last[k])
        chosen = estimates[j]
        estimates[j] = estimates[k]
        estimates[k] = chosen


def distinct_estimates(jobs: int) -> int:
    """How many different estimates so many jobs have: piecewise linear.

    >>> distinct_estimates(5_000), distinct_estimates(28_481)
    (59, 167)
    """
    for (low, few), (high, many) in pairwise(_DISTINCT):
        if jobs <= high:
            return few + round((jobs - low) * (many - few) / (high - low))
    return _DISTINCT[-1][1]


def estimate_bins(
    jobs: int, longest: float, key: int, counter: Counter
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different estimates, seconds, and how many jobs have each; head first."""
    head = _head_times(longest)
    shares = _head_shares()
    ranks = _popularity_ranks(key, counter)
    percent = [shares[rank - 1] for rank in ranks]
    tail = _tail_times(distinct_estimates(jobs), longest, set(head))
    sizes = 795.6 * np.arange(_HEAD + 1, _HEAD + 1 + len(tail)) ** -2.267
    if len(tail):
        sizes *= (100.0 - _HEAD_PERCENT) / sizes.sum()
        for place in range(len(tail) - 1, 0, -1):
            other = integer(key, counter, 0, place)
            sizes[place], sizes[other] = sizes[other], sizes[place]
    return np.array([*head, *tail]), _counts(jobs, np.array([*percent, *sizes]))


def _head_times(longest: float) -> list[float]:
    """The longest first, the other nineteen rising."""
    times = [time for time in _NATURAL if time < longest]
    for time in _multiples(longest):
        if len(times) >= _HEAD - 1:
            break
        if time not in times:
            times.append(time)
    return [longest, *sorted(times)]


def _multiples(longest: float) -> Iterator[int]:
    for step in _STEPS:
        yield from (time for time in range(int(longest // step) * step, 0, -step) if time < longest)


def _head_shares() -> list[float]:
    """Percent of the jobs by popularity rank; the first takes what the others leave of 89."""
    others = [14.0491 * math.exp(-0.177531 * rank) + 0.462513 for rank in range(2, _HEAD + 1)]
    return [_HEAD_PERCENT - sum(others), *others]


def _popularity_ranks(key: int, counter: Counter) -> list[int]:
    """Popularity rank of each time rank: the longest estimate is first, the others are drawn near the four logs'."""
    last_seen = {rank: max(log.index(rank) for log in _POPULARITY) for rank in range(1, _HEAD + 1)}
    ranks, pool = [1], [log[0] for log in _POPULARITY if log[0] != 1]
    for place in range(1, _HEAD):
        pool += [log[place] for log in _POPULARITY if log[place] not in ranks]
        due = [rank for rank, last in last_seen.items() if last <= place and rank not in ranks]
        ranks.append(min(due or [pool[integer(key, counter, 0, len(pool) - 1)] for _ in range(2)]))
        pool = [rank for rank in pool if rank != ranks[-1]]
    return ranks


def _tail_times(distinct: int, longest: float, taken: set[float]) -> list[float]:
    """Whole minutes that crowd towards the short end; near another estimate, some seconds beside it."""
    count = max(0, distinct - _HEAD)
    bend = 1 + 12.1039 * distinct**-0.6026 if distinct else 1.0
    times = []
    used = set(taken)
    for place in range(1, count + 1):
        x = place / count
        minute = round((bend - 1) * x / (bend - x) * longest / _MINUTE) * _MINUTE
        for shift in (0, 30, -30, 20, -20, 10, -10):
            time = float(minute + shift)
            if 0 < time < longest and time not in used:
                used.add(time)
                times.append(time)
                break
    return times


def _counts(jobs: int, percent: NDArray[np.float64]) -> NDArray[np.int64]:
    """Jobs by estimate, one at least where there are enough, in all exactly `jobs`; the largest are mended first."""
    counts: NDArray[np.int64] = np.maximum(1, np.round(jobs * percent / 100)).astype(np.int64)
    largest = np.argsort(-counts, kind="stable")
    surplus = int(counts.sum()) - jobs
    counts = np.maximum(1, counts - np.trunc(surplus * counts / counts.sum()).astype(np.int64))
    for least in (1, 0):
        while (surplus := int(counts.sum()) - jobs) != 0:
            movable = largest if surplus < 0 else largest[counts[largest] > least]
            if not len(movable):
                break
            counts[movable[: abs(surplus)]] -= np.sign(surplus)
    if counts.sum() != jobs:
        raise SettingError(f"jobs is {jobs}; it must be at least 1")
    return counts
