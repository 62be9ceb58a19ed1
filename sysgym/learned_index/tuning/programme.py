"""A dynamic programme over trees of models, after CARMI: what could be had outside of the grid.

CARMI (Zhang and Gao, CARMI: A Cache-Aware Learned Index with a Cost-based Construction Algorithm, PVLDB 15(11), 2022)
builds a tree in which every range of keys gets the cheapest of a leaf, or of an inner node that cuts its range of
values into a power of two equal parts:

    cost(range) = min(leaf, visit + sum of cost(part)),   leaf = share * time + weight * bytes

A sweep over the weight gives a front of size and latency. Here inner nodes are equal cuts and leaves are lines through
both ends, over a sample of the keys, and times are those of `costs`, so that its front can be laid beside the grid's.
A node visited costs what a query costs without its last mile, for want of a measured one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.learned_index.tuning import costs
from sysgym.learned_index.tuning.dynamics import dominated

SAMPLE = 1 << 14
_LEAF_BYTES, _NODE_BYTES, _POINTER_BYTES = 32.0, 32.0, 8.0
_FANOUT_BITS = (2, 4, 6, 8)
_DEPTH = 4
_LEAST_KEYS = 32.0
_VISIT = 6.0
"""Nanoseconds of an inner node: a multiplication and an access to memory that is prefetched for a group."""


def programme_front(keys: NDArray[np.uint64], weights: int = 16) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log2 bytes and nanoseconds of the trees that a sweep over the weight of a byte finds.

    Args:
        keys: Sorted keys.
        weights: How many weights, from memory that is free to memory that is dear.
    """
    sample = np.ascontiguousarray(keys[:: max(1, len(keys) // SAMPLE)])
    distances = (sample - sample[0]).astype(np.float64)
    wider = len(keys) / len(sample)
    none, one = (costs.latency(len(keys), int(keys[-1] - keys[0]), np.full(399, steps))[150] for steps in (0.0, 1.0))
    found = [_best(distances, wider, float(weight), float(one - none)) for weight in np.logspace(-9, 0, weights)]
    log_bytes = np.log2(np.array([size for _, size in found]))
    return log_bytes, np.array([time for time, _ in found]) + none - _VISIT


def programme_share(keys: NDArray[np.uint64], reference: float, total: float) -> float:
    """Hypervolume of the programme's front over that of a grid."""
    log_bytes, latency = programme_front(keys)
    return float(dominated(log_bytes, latency, reference)) / total


def _best(distances: NDArray[np.float64], wider: float, weight: float, halving: float) -> tuple[float, float]:
    low, high = float(distances[0]), float(distances[-1])
    _, time, size = _solve(distances, 0, len(distances), low, high, wider, weight, halving, _DEPTH)
    return time, size


@compiled
def _solve(
    x: NDArray[np.float64], start: int, end: int, low: float, high: float, wider: float, weight: float, halving: float,
    depth: int,
) -> tuple[float, float, float]:  # fmt: skip
    """Cost, time (weighted by keys) and bytes of the best tree over x[start:end] within [low, high]."""
    count, n = end - start, len(x)
    share = count / n
    if count == 0:
        return weight * _LEAF_BYTES, 0.0, _LEAF_BYTES
    worst, span = 0.0, x[end - 1] - x[start]
    for i in range(start, end):
        guess = (x[i] - x[start]) / span * (count - 1) if span > 0 else 0.0
        worst = max(worst, abs(guess - (i - start)))
    window = (2.0 * worst) * wider + 1.0
    time = share * halving * max(0.0, np.log2(window / 16.0))
    best = time + weight * _LEAF_BYTES, time, _LEAF_BYTES
    if depth == 0 or count < 2 or count * wider < _LEAST_KEYS or high <= low or time == 0.0:
        return best
    for bits in _FANOUT_BITS:
        parts = 1 << bits
        spent, size = share * _VISIT, _NODE_BYTES + _POINTER_BYTES * parts
        cost = spent + weight * size
        width, begin = (high - low) / parts, start
        for part in range(parts):
            upper = low + width * (part + 1)
            stop = end if part == parts - 1 else begin + int(np.searchsorted(x[begin:end], upper))
            below = _solve(x, begin, stop, low + width * part, upper, wider, weight, halving, depth - 1)
            cost, spent, size = cost + below[0], spent + below[1], size + below[2]
            begin = stop
            if cost >= best[0]:
                break
        if cost < best[0]:
            best = cost, spent, size
    return best
