"""The last mile: from a window of the sorted keys to the exact position, for one query and for a group of them.

A group of queries is searched together: each takes one step, asks the memory for its next key, and lets the others
take theirs, so that the machine waits for many keys at once. A window need not hold the answer: whoever ends on its
edge looks one key further, and gallops from there where the model was wrong. Answers are therefore right whatever a
model says; a bad model costs time alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.machine import BLOCK, Form, count_less, prefetch

GROUP = 32
"""Queries that are searched together: enough to fill the memory's queue, few enough to stay in the first cache."""

Word = np.uint64


def new_scratch() -> NDArray[np.int64]:
    """Memory for one group, which each call of a batched kernel needs for itself."""
    return np.empty(3 * GROUP, dtype=np.int64)


@uncounted
def lower_bound(stored: NDArray[Any], form: Form, query: Word, start: int, length: int) -> int:
    """First position in a window that is not below the query, by halving; O(log length)."""
    while length > 0:
        half = length >> 1
        if mapped_key(stored[start + half], form) < query:
            start += half + 1
            length -= half + 1
        else:
            length = half
    return start


@uncounted
def search_plain(
    stored: NDArray[Any],
    form: Form,
    queries: NDArray[Word],
    step: Word,
    out: NDArray[np.int64],
) -> int:
    """Search arrays that are shorter than one block."""
    n = len(stored)
    for i in range(len(queries)):
        if step == 1 and queries[i] == np.uint64(0xFFFFFFFFFFFFFFFF):
            out[i] = n
        else:
            out[i] = lower_bound(stored, form, queries[i] + step, 0, n)
    return 0


@uncounted
def gallop_left(stored: NDArray[Any], form: Form, query: Word, end: int) -> int:
    """The answer, if it is not behind `end`."""
    width = BLOCK
    while end > 0:
        start = max(0, end - width)
        if start == 0 or mapped_key(stored[start - 1], form) < query:
            return lower_bound(stored, form, query, start, end - start)
        end = start
        width *= 2
    return 0


@uncounted
def gallop_right(stored: NDArray[Any], form: Form, query: Word, start: int) -> int:
    """The answer, if it is not before `start`."""
    width, n = BLOCK, len(stored)
    while start < n:
        end = min(n, start + width)
        if end == n or mapped_key(stored[end], form) >= query:
            return lower_bound(stored, form, query, start, end - start)
        start = end
        width *= 2
    return n


@uncounted
def settle(stored: NDArray[Any], form: Form, query: Word, start: int) -> tuple[int, int]:
    """The exact position, where the block at `start` should hold it; and 1 where it did not.

    The check of the edges: an answer inside of the block has seen both its neighbours, one on the edge has not.
    """
    count = count_less(stored, start, query, form)
    if count == 0 and start > 0 and mapped_key(stored[start - 1], form) >= query:
        return gallop_left(stored, form, query, start - 1), 1
    end = start + BLOCK
    if count == BLOCK and end < len(stored) and mapped_key(stored[end], form) < query:
        return gallop_right(stored, form, query, end), 1
    return start + count, 0


@uncounted
def finish_one(stored: NDArray[Any], form: Form, query: Word, start: int, length: int) -> tuple[int, int]:
    """Halve a window until one block remains, and settle there."""
    while length > BLOCK:
        half = length >> 1
        start += half * int(mapped_key(stored[start + half - 1], form) < query)
        length -= half
    return settle(stored, form, query, max(0, min(start, len(stored) - BLOCK)))


@uncounted
def halve_group(
    stored: NDArray[Any],
    form: Form,
    queries: NDArray[Word],
    step: Word,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """Halve the windows of a group, a step at a time, until a block of each remains and is on its way to the cache.

    Args:
        stored: At least one block of keys.
        form: See `machine.Form`.
        queries: At most `GROUP` mapped queries.
        step: Added to each query.
        starts: First key of each window; then of its block. Below 0: a query that takes no part.
        lengths: Keys of each window; scratch.
    """
    last = len(stored) - BLOCK
    open_windows = 0
    for j in range(len(queries)):
        if starts[j] < 0:
            lengths[j] = 0
        elif lengths[j] > BLOCK:
            open_windows += 1
            prefetch(stored, starts[j] + (lengths[j] >> 1) - 1)
        else:
            starts[j] = min(starts[j], last)
            prefetch(stored, starts[j])
            prefetch(stored, starts[j] + BLOCK // 2)
            prefetch(stored, starts[j] + BLOCK - 1)
    while open_windows > 0:
        open_windows = 0
        for j in range(len(queries)):
            length = lengths[j]
            if length > BLOCK:
                half, start = length >> 1, starts[j]
                start += half * (mapped_key(stored[start + half - 1], form) < queries[j] + step)
                length -= half
                lengths[j] = length
                if length > BLOCK:
                    open_windows += 1
                    prefetch(stored, start + (length >> 1) - 1)
                else:
                    start = min(start, last)
                    prefetch(stored, start)
                    prefetch(stored, start + BLOCK // 2)
                    prefetch(stored, start + BLOCK - 1)
                starts[j] = start


@uncounted
def finish_group(
    stored: NDArray[Any],
    form: Form,
    queries: NDArray[Word],
    step: Word,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """`finish_one` for a group, a step at a time; the number of windows that did not hold their answer.

    The arguments are those of `halve_group`, whose windows all take part, and `out` for the positions.
    """
    for j in range(len(queries)):
        starts[j] = max(starts[j], 0)
    halve_group(stored, form, queries, step, starts, lengths)
    misses = 0
    for j in range(len(queries)):
        query = queries[j] + step
        if query < step:  # the right side of the largest number there is
            out[j] = len(stored)
        else:
            out[j], missed = settle(stored, form, query, starts[j])
            misses += missed
    return misses


@uncounted
def search_halving(
    stored: NDArray[Any],
    form: Form,
    queries: NDArray[Word],
    step: Word,
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """Interleaved binary search without any model; the array has at least one block."""
    starts, lengths = scratch[:GROUP], scratch[GROUP : 2 * GROUP]
    for first in range(0, len(queries), GROUP):
        end = min(first + GROUP, len(queries))
        starts[:] = 0
        lengths[:] = len(stored)
        finish_group(stored, form, queries[first:end], step, starts, lengths, out[first:end])
    return 0
