"""Search in the interpolated tree: the leaf by its first keys, the place in the leaf by a line between two of them.

Where keys are clumped the line misses often. So those of a group that it missed are halved together, inside of what
is left of their leaves, rather than one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.directory import descend_group, descend_one
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.last_mile import (
    GROUP,
    Word,
    gallop_left,
    gallop_right,
    halve_group,
    lower_bound,
    search_plain,
    settle,
)
from sysgym.learned_index.machine import BLOCK, Form, count_below, count_less, prefetch

WINDOW = 2 * BLOCK
"""Keys that are looked at around a guess, without a branch."""


@uncounted
def place(firsts: NDArray[np.uint64], group: int, stride: int, last: int, lead: Any, query: Word) -> tuple[int, int]:
    """Leaf of a query, which is in one of a group of leaves, and the first key of its window, on a cache line."""
    leaf = max(group * BLOCK + count_below(firsts, group * BLOCK, query) - 1, 0)
    low, high = firsts[leaf], firsts[leaf + 1]
    share = 0.0
    if low < query < high:
        share = float(query - low) / float(high - low)
    elif query >= high:
        share = 1.0
    guess = leaf * stride + int(share * stride) - BLOCK + 4
    guess -= (guess + lead) & 7
    return leaf, max(0, min(guess, last))


@uncounted
def look_wide(stored: NDArray[Any], form: Form, query: Word, start: int) -> tuple[int, int]:
    """Position within the window at `start`; and -1 or 1 if the answer lies before or behind the window, else 0."""
    count = count_less(stored, start, query, form)
    count += count_less(stored, start + BLOCK, query, form)
    end, side = start + WINDOW, 0
    if count == 0 and start > 0 and mapped_key(stored[start - 1], form) >= query:
        side = -1
    elif count == WINDOW and end < len(stored) and mapped_key(stored[end], form) < query:
        side = 1
    return start + count, side


@uncounted
def settle_wide(stored: NDArray[Any], form: Form, query: Word, start: int) -> tuple[int, int]:
    """The exact position, where the window at `start` should hold it; else by galloping. And 1 in that case."""
    position, side = look_wide(stored, form, query, start)
    if side < 0:
        return gallop_left(stored, form, query, start - 1), 1
    if side > 0:
        return gallop_right(stored, form, query, start + WINDOW), 1
    return position, 0


@uncounted
def search_interpolated_one(
    stored: NDArray[Any],
    form: Form,
    firsts: NDArray[np.uint64],
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    stride: int,
    query: Word,
) -> int:
    """Position of one mapped query."""
    if len(stored) < WINDOW:
        return lower_bound(stored, form, query, 0, len(stored))
    _, start = place(firsts, descend_one(tree, layers, query), stride, len(stored) - WINDOW, 0, query)
    position, _ = settle_wide(stored, form, query, start)
    return position


@uncounted
def search_interpolated(
    stored: NDArray[Any],
    form: Form,
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
    parts, starts, lengths = scratch[:GROUP], scratch[GROUP : 2 * GROUP], scratch[2 * GROUP :]
    n, last = len(stored), len(stored) - WINDOW
    lead = np.int64((stored.ctypes.data & 63) // stored.itemsize)
    misses = 0
    if last < 0:
        return search_plain(stored, form, queries, step, out)
    for first in range(0, len(queries), GROUP):
        group = queries[first : min(first + GROUP, len(queries))]
        descend_group(tree, layers, group, step, parts)
        for j in range(len(group)):
            prefetch(firsts, parts[j] * BLOCK)
            prefetch(firsts, parts[j] * BLOCK + BLOCK // 2)
        for j in range(len(group)):
            parts[j], starts[j] = place(firsts, parts[j], stride, last, lead, group[j] + step)
            for k in range(0, WINDOW, 8):
                prefetch(stored, starts[j] + k)
        missed = 0
        for j in range(len(group)):
            query, start = group[j] + step, starts[j]
            starts[j] = -1
            if query < step:  # the right side of the largest number there is
                out[first + j] = n
                continue
            out[first + j], side = look_wide(stored, form, query, start)
            if side < 0:
                starts[j], lengths[j] = parts[j] * stride, start - parts[j] * stride
                missed += 1
            elif side > 0:
                starts[j], lengths[j] = start + WINDOW, min(n, (parts[j] + 1) * stride) - start - WINDOW
                missed += 1
        if missed > 0:
            misses += missed
            halve_group(stored, form, group, step, starts, lengths)
            for j in range(len(group)):
                if starts[j] >= 0:
                    out[first + j], _ = settle(stored, form, group[j] + step, starts[j])
    return misses
