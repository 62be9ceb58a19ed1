"""Search in the interpolated tree: the leaf by its first keys, the place in the leaf by a line between two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.learned_index.directory import descend_group, descend_one
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.last_mile import GROUP, Word, gallop_left, gallop_right, lower_bound
from sysgym.learned_index.machine import BLOCK, count_below, count_less, prefetch, uncounted

WINDOW = 2 * BLOCK
"""Keys that are looked at around a guess, without a branch."""


@uncounted
def place(firsts: NDArray[np.uint64], group: int, stride: int, last: int, lead: int, query: Word) -> int:
    """First key of the window of a query, on a cache line; the query is in one of a group of leaves."""
    leaf = max(group * BLOCK + count_below(firsts, group * BLOCK, query) - 1, 0)
    low, high = firsts[leaf], firsts[leaf + 1]
    share = 0.0
    if low < query < high:
        share = float(query - low) / float(high - low)
    elif query >= high:
        share = 1.0
    guess = leaf * stride + int(share * stride) - BLOCK + 4
    guess -= (guess + lead) & 7
    return max(0, min(guess, last))


@uncounted
def settle_wide(stored: NDArray[Any], sign: Word, flip: Word, shift: Word, query: Word, start: int) -> tuple[int, int]:
    """The exact position, where the window at `start` should hold it; else by galloping. And 1 in that case."""
    count = count_less(stored, start, query, sign, flip, shift)
    count += count_less(stored, start + BLOCK, query, sign, flip, shift)
    if count == 0 and start > 0 and mapped_key(stored[start - 1], sign, flip, shift) >= query:
        return gallop_left(stored, sign, flip, shift, query, start - 1), 1
    end = start + WINDOW
    if count == WINDOW and end < len(stored) and mapped_key(stored[end], sign, flip, shift) < query:
        return gallop_right(stored, sign, flip, shift, query, end), 1
    return start + count, 0


@uncounted
def search_interpolated_one(
    stored: NDArray[Any],
    sign: Word,
    flip: Word,
    shift: Word,
    firsts: NDArray[np.uint64],
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    stride: int,
    query: Word,
) -> int:
    """Position of one mapped query."""
    if len(stored) < WINDOW:
        return lower_bound(stored, sign, flip, shift, query, 0, len(stored))
    start = place(firsts, descend_one(tree, layers, query), stride, len(stored) - WINDOW, 0, query)
    position, _ = settle_wide(stored, sign, flip, shift, query, start)
    return position


@uncounted
def search_interpolated(
    stored: NDArray[Any],
    sign: Word,
    flip: Word,
    shift: Word,
    firsts: NDArray[np.uint64],
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    stride: int,
    queries: NDArray[Word],
    step: Word,
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """Positions of mapped queries; the number of windows that did not hold their answer."""
    groups, starts = scratch[:GROUP], scratch[GROUP : 2 * GROUP]
    n, last = len(stored), len(stored) - WINDOW
    lead = np.int64((stored.ctypes.data & 63) // stored.itemsize)
    misses = 0
    for first in range(0, len(queries), GROUP):
        part = queries[first : min(first + GROUP, len(queries))]
        if last < 0:
            for j in range(len(part)):
                query = part[j] + step
                out[first + j] = n if query < step else lower_bound(stored, sign, flip, shift, query, 0, n)
            continue
        descend_group(tree, layers, part, step, groups)
        for j in range(len(part)):
            prefetch(firsts, groups[j] * BLOCK)
            prefetch(firsts, groups[j] * BLOCK + BLOCK // 2)
        for j in range(len(part)):
            starts[j] = place(firsts, groups[j], stride, last, lead, part[j] + step)
            for k in range(0, WINDOW, 8):
                prefetch(stored, starts[j] + k)
        for j in range(len(part)):
            query = part[j] + step
            if query < step:  # the right side of the largest number there is
                out[first + j] = n
            else:
                out[first + j], missed = settle_wide(stored, sign, flip, shift, query, starts[j])
                misses += missed
    return misses
