"""Search in the static B+-tree: its directory, then the block of keys below it.

Block i holds the keys from i * stride - pad on; the pad puts block borders on cache lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.directory import descend_group, descend_one
from sysgym.learned_index.last_mile import GROUP, Word, finish_group, finish_one
from sysgym.learned_index.machine import BLOCK, Form, count_less, prefetch


@uncounted
def search_tree_one(
    stored: NDArray[Any],
    form: Form,
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    stride: int,
    pad: int,
    query: Word,
) -> int:
    """Position of one mapped query; at least one block of keys."""
    block = descend_one(tree, layers, query)
    low = max(0, block * stride - pad)
    high = min(len(stored), (block + 1) * stride - pad)
    position, _ = finish_one(stored, form, query, low, high - low)
    return position


@uncounted
def search_tree(
    stored: NDArray[Any],
    form: Form,
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    stride: int,
    pad: int,
    queries: NDArray[Word],
    step: Word,
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """Positions of mapped queries. The tree names the right block always, so nothing is checked or counted."""
    n, last = len(stored), len(stored) - BLOCK
    blocks, lengths = scratch[:GROUP], scratch[GROUP : 2 * GROUP]
    for first in range(0, len(queries), GROUP):
        group = queries[first : min(first + GROUP, len(queries))]
        answers = out[first : first + len(group)]
        descend_group(tree, layers, group, step, blocks)
        if stride > BLOCK:
            for j in range(len(group)):
                low = max(0, blocks[j] * stride - pad)
                lengths[j] = min(n, (blocks[j] + 1) * stride - pad) - low
                blocks[j] = low
            finish_group(stored, form, group, step, blocks, lengths, answers)
            continue
        for j in range(len(group)):
            start = max(0, min(blocks[j] * BLOCK - pad, last))
            blocks[j] = start
            prefetch(stored, start)
            prefetch(stored, start + BLOCK // 2)
            prefetch(stored, start + BLOCK - 1)
        for j in range(len(group)):
            query = group[j] + step
            # a sum below the step has wrapped around: the right side of the largest number there is
            answers[j] = n if query < step else blocks[j] + count_less(stored, blocks[j], query, form)
    return 0
