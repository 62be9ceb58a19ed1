"""What an evaluation changes: hypervolume, expectations of similar candidates, and what each candidate would gain.

Compiled functions over one episode's columns, for the simulator and the kernel alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.learned_index.tuning.model import BITS_OF, COUNT, LEAF_OF, REFERENCE_LOG_BYTES, ROOT_OF

Reals = NDArray[np.float64]

_SIMILAR_ROOT, _SIMILAR_LEAF, _REACH = 0.35, 0.6, 2.5
_PRIOR = 0.3
"""What an estimate weighs against evaluations nearby."""


@compiled
def dominated(log_bytes: Reals, latency: Reals, reference: float) -> float:
    """Hypervolume of points up to the reference point; those with NaN don't count. O(n log n)."""
    order = np.argsort(log_bytes)
    area, best, behind = 0.0, reference, REFERENCE_LOG_BYTES
    for i in order:
        if latency[i] < best and log_bytes[i] < behind:
            area += (behind - log_bytes[i]) * (best - latency[i])
            best = latency[i]
    return area


@compiled
def insert_point(front: Reals, size: int, x: float, y: float) -> int:
    """Add a point to a front of points (shape (room, 2), growing x and falling y); the new number of points."""
    if x >= REFERENCE_LOG_BYTES:
        return size
    place = 0
    while place < size and front[place, 0] <= x:
        if front[place, 1] <= y:
            return size
        place += 1
    if place > 0 and front[place - 1, 0] == x:
        place -= 1
    end = place
    while end < size and front[end, 1] >= y:
        end += 1
    if end == place:
        for i in range(size, place, -1):
            front[i, 0], front[i, 1] = front[i - 1, 0], front[i - 1, 1]
        size += 1
    elif end > place + 1:
        for i in range(end, size):
            front[place + 1 + i - end, 0], front[place + 1 + i - end, 1] = front[i, 0], front[i, 1]
        size -= end - place - 1
    front[place, 0], front[place, 1] = x, y
    return size


@compiled
def added(front: Reals, size: int, x: float, y: float, reference: float) -> float:
    """Hypervolume that a point adds to a front; O(front)."""
    if x >= REFERENCE_LOG_BYTES or y >= reference:
        return 0.0
    area, best = 0.0, reference
    begin = x
    for i in range(size):
        if front[i, 0] <= x:
            best = min(best, front[i, 1])
            continue
        if best <= y:
            return area
        area += (front[i, 0] - begin) * (best - y)
        begin, best = front[i, 0], min(best, front[i, 1])
    if best > y:
        area += (REFERENCE_LOG_BYTES - begin) * (best - y)
    return area


@compiled
def learn(action: int, surprise: float, weight: Reals, shift: Reals) -> None:
    """Let what an evaluation showed beyond its estimate count for candidates near it.

    Args:
        action: The evaluated configuration.
        surprise: Logarithm of its latency over the estimate.
        weight: Sum of the nearness of all evaluated ones, shape (399,); grows.
        shift: Sum of their surprises, weighted by nearness, shape (399,); grows.
    """
    for other in range(COUNT):
        near = np.exp(-abs(BITS_OF[other] - BITS_OF[action]) / _REACH)
        if ROOT_OF[other] != ROOT_OF[action]:
            near *= _SIMILAR_ROOT
        if LEAF_OF[other] != LEAF_OF[action]:
            near *= _SIMILAR_LEAF
        weight[other] += near * near
        shift[other] += near * near * surprise


@compiled
def expect(estimate: Reals, latency: Reals, weight: Reals, shift: Reals, expected: Reals, confidence: Reals) -> None:
    """Latencies as they are expected now, and how sure that is; evaluated ones are known."""
    for i in range(COUNT):
        confidence[i] = weight[i] / (weight[i] + _PRIOR)
        expected[i] = estimate[i] * np.exp(shift[i] / (weight[i] + _PRIOR))
        if not np.isnan(latency[i]):
            expected[i], confidence[i] = latency[i], 1.0


@compiled
def gains(
    log_bytes: Reals, expected: Reals, allowed: NDArray[np.bool_], front: Reals, size: int, reference: float,
    promise: float, gain: Reals,
) -> None:  # fmt: skip
    """What each allowed candidate would add if it were as expected, over the promise."""
    for i in range(COUNT):
        gain[i] = added(front, size, log_bytes[i], expected[i], reference) / promise if allowed[i] else 0.0
