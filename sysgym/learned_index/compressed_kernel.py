"""Search in the compressed tree: its directory, a node of truncated separators, then what they leave of the keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.directory import descend_group, descend_one
from sysgym.learned_index.interpolated_kernel import WINDOW, settle_wide
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.last_mile import GROUP, Word, finish_one, halve_group, lower_bound, settle
from sysgym.learned_index.machine import BLOCK, IDENTITY, Form, count_less, prefetch

LEAF = 32
"""Keys of a leaf."""
NODE = 32
"""Leaves of a node."""
MOST = 65535
"""The largest truncated separator."""


@uncounted
def fill_nodes(
    stored: NDArray[Any], form: Form, bases: NDArray[np.uint64], drops: NDArray[np.uint8],
    separators: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Write the first key of each node, the bits that its separators drop, and the separators."""
    n = len(stored)
    for node in range(len(bases)):
        begin = node * NODE * LEAF
        base = mapped_key(stored[begin], form)
        last = mapped_key(stored[min(begin + (NODE - 1) * LEAF, n - 1)], form)
        drop = 0
        while (last - base) >> np.uint64(drop) >= MOST:
            drop += 1
        bases[node], drops[node] = base, drop
        for leaf in range(NODE):
            place = begin + leaf * LEAF
            cut = np.uint64(MOST)
            if place < n:
                cut = (mapped_key(stored[place], form) - base) >> np.uint64(drop)
            separators[node * NODE + leaf] = cut


@uncounted
def window_in(
    bases: NDArray[np.uint64], drops: NDArray[np.uint8], separators: NDArray[np.uint16], node: int, n: int, query: Word
) -> tuple[int, int]:
    """First key and number of keys that may hold the first one not below a query of a node.

    A separator whose truncation is below that of the query is below the query; where they are equal, nothing is known.
    """
    cut = np.uint64(0)
    if query > bases[node]:
        cut = min((query - bases[node]) >> np.uint64(drops[node]), np.uint64(MOST))
    begin = node * NODE
    below = count_less(separators, begin, cut, IDENTITY)
    below += count_less(separators, begin + BLOCK, cut, IDENTITY)
    end = below
    while end < NODE and separators[begin + end] == cut:
        end += 1
    low = min((begin + max(below - 1, 0)) * LEAF, n)
    return low, min((begin + max(end, 1)) * LEAF, n) - low


@uncounted
def search_compressed_one(
    stored: NDArray[Any], form: Form, tree: NDArray[np.uint64], layers: NDArray[np.int64],
    bases: NDArray[np.uint64], drops: NDArray[np.uint8], separators: NDArray[np.uint16], query: Word,
) -> int:  # fmt: skip
    """Position of one mapped query."""
    if len(stored) < BLOCK:
        return lower_bound(stored, form, query, 0, len(stored))
    node = min(descend_one(tree, layers, query), len(bases) - 1)
    start, length = window_in(bases, drops, separators, node, len(stored), query)
    position, _ = finish_one(stored, form, query, start, length)
    return position


@uncounted
def search_compressed(
    stored: NDArray[Any], form: Form, tree: NDArray[np.uint64], layers: NDArray[np.int64],
    bases: NDArray[np.uint64], drops: NDArray[np.uint8], separators: NDArray[np.uint16], queries: NDArray[Word],
    step: Word, scratch: NDArray[np.int64], out: NDArray[np.int64],
) -> int:  # fmt: skip
    """Positions of mapped queries; the number of windows that did not hold their answer."""
    nodes, starts, lengths = scratch[:GROUP], scratch[GROUP : 2 * GROUP], scratch[2 * GROUP :]
    n, misses = len(stored), 0
    for first in range(0, len(queries), GROUP):
        group = queries[first : min(first + GROUP, len(queries))]
        descend_group(tree, layers, group, step, nodes)
        for j in range(len(group)):
            nodes[j] = min(nodes[j], len(bases) - 1)
            prefetch(separators, nodes[j] * NODE)
            prefetch(bases, nodes[j])
            prefetch(drops, nodes[j])
        long = 0
        for j in range(len(group)):
            starts[j], lengths[j] = window_in(bases, drops, separators, nodes[j], n, group[j] + step)
            if lengths[j] <= WINDOW and n >= WINDOW:
                starts[j] = min(starts[j], n - WINDOW)
                for k in range(0, WINDOW, 8):
                    prefetch(stored, starts[j] + k)
                prefetch(stored, starts[j] + WINDOW - 1)
            else:
                long += 1
        for j in range(len(group)):
            query = group[j] + step
            if query < step:  # the right side of the largest number there is
                out[first + j], starts[j] = n, -1
            elif lengths[j] <= WINDOW and n >= WINDOW:
                out[first + j], missed = settle_wide(stored, form, query, starts[j])
                misses, starts[j] = misses + missed, -1
        if long > 0:
            halve_group(stored, form, group, step, starts, lengths)
            for j in range(len(group)):
                if starts[j] >= 0:
                    out[first + j], missed = settle(stored, form, group[j] + step, starts[j])
                    misses += missed
    return misses
