"""All leaves of an index with gaps: batches of lookups, insertion with splits, and copies, over one arena of rows.

A leaf is a row of `gapped_rows`. Leaves follow each other in `order`; `lows` are bounds no key of a leaf lies below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.directory import descend_group
from sysgym.learned_index.gapped_rows import (
    LARGEST,
    ONE,
    SLOTS,
    ZERO,
    Arena,
    collect,
    erase_from,
    insert_into,
    next_real,
    rank_in,
    slot_of,
    window_start,
    write_row,
)
from sysgym.learned_index.last_mile import GROUP
from sysgym.learned_index.machine import prefetch

FULL = SLOTS * 4 // 5
"""Keys above which a leaf is split."""
FILL = SLOTS * 3 // 5
"""Keys of a leaf after a split, at most."""
BULK = SLOTS * 7 // 10
"""Keys of a leaf that is built at once."""


@uncounted
def bulk_load(
    arena: Arena, keys: NDArray[np.uint64], values: NDArray[np.int64], starts: NDArray[np.int64], packed: bool
) -> None:
    """Write row i from the keys in starts[i] : starts[i + 1]."""
    for row in range(len(starts) - 1):
        write_row(arena, row, keys, values, starts[row], starts[row + 1], packed)


@uncounted
def rows_needed(arena: Arena, order: NDArray[np.int64], parts: NDArray[np.int64], total: NDArray[np.int64]) -> int:
    """New rows that an insertion into the leaves `parts` takes at most; `total[0]` gets the most keys of a split."""
    rows, largest, i = 0, 0, 0
    while i < len(parts):
        end = i
        while end < len(parts) and parts[end] == parts[i]:
            end += 1
        keys = arena.filled[order[parts[i]]] + end - i
        if keys > FULL:
            rows += -(-keys // FILL) - 1
            largest = max(largest, keys)
        i = end
    total[0] = largest
    return rows


@uncounted
def insert_sorted(
    arena: Arena,
    order: NDArray[np.int64],
    parts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int64],
    keep: bool,
    packed: bool,
    free: int,
    merged_keys: NDArray[np.uint64],
    merged_values: NDArray[np.int64],
    new_parts: NDArray[np.int64],
    new: NDArray[np.bool_],
) -> int:
    """Insert sorted keys, a leaf's share at a time; the number of rows that splits have taken from `free` on.

    Args:
        arena: With enough rows, see `rows_needed`.
        order: Row of each leaf.
        parts: Leaf of each key.
        keys: Sorted.
        values: Of the keys.
        keep: Keep equal keys, rather than overwrite.
        packed: Write rows without gaps.
        free: First unused row.
        merged_keys: Scratch for the largest split; also `merged_values`.
        merged_values: See `merged_keys`.
        new_parts: Written for each new row: the leaf behind which it belongs.
        new: Written: whether each key is new.
    """
    taken, i = 0, 0
    while i < len(keys):
        end = i
        while end < len(keys) and parts[end] == parts[i]:
            end += 1
        row = order[parts[i]]
        if arena.filled[row] + end - i <= FULL:
            for k in range(i, end):
                new[k] = insert_into(arena, row, keys[k], values[k], keep)
            i = end
            continue
        old = collect(arena, row, merged_keys, merged_values, len(merged_keys) // 2) - len(merged_keys) // 2
        total = _merge(merged_keys, merged_values, old, keys, values, i, end, keep, new)
        pieces = -(-total // FILL)
        write_row(arena, row, merged_keys, merged_values, 0, total // pieces, packed)
        for piece in range(1, pieces):
            fresh = free + taken
            write_row(
                arena, fresh, merged_keys, merged_values, total * piece // pieces, total * (piece + 1) // pieces, packed
            )
            new_parts[taken] = parts[i]
            taken += 1
        i = end
    return taken


@uncounted
def _merge(
    merged_keys: NDArray[np.uint64],
    merged_values: NDArray[np.int64],
    old: int,
    keys: NDArray[np.uint64],
    values: NDArray[np.int64],
    start: int,
    end: int,
    keep: bool,
    new: NDArray[np.bool_],
) -> int:
    """Merge the `old` keys in the second half of the scratch with new ones into its front; the number of keys."""
    read, stop, count = len(merged_keys) // 2, len(merged_keys) // 2 + old, 0
    for i in range(start, end):
        while read < stop and merged_keys[read] <= keys[i]:
            merged_keys[count], merged_values[count] = merged_keys[read], merged_values[read]
            read += 1
            count += 1
        new[i] = keep or count == 0 or merged_keys[count - 1] != keys[i]
        if not new[i]:
            count -= 1
        merged_keys[count], merged_values[count] = keys[i], values[i]
        count += 1
    while read < stop:
        merged_keys[count], merged_values[count] = merged_keys[read], merged_values[read]
        read += 1
        count += 1
    return count


@uncounted
def _locate(
    arena: Arena,
    order: NDArray[np.int64],
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    queries: NDArray[np.uint64],
    step: np.uint64,
    parts: NDArray[np.int64],
    values: bool,
) -> None:
    """Leaf of each query of a group; its row's slots, and their `values`, are on their way to the cache."""
    descend_group(tree, layers, queries, step, parts)
    for j in range(len(queries)):
        parts[j] = min(parts[j], len(order) - 1)
        row = order[parts[j]]
        prefetch(arena.slope, row)
        prefetch(arena.base, row)
    for j in range(len(queries)):
        row = order[parts[j]]
        start = window_start(arena, row, queries[j] + step)
        prefetch(arena.keys[row], start)
        prefetch(arena.keys[row], start + 8)
        prefetch(arena.bits[row], 0)
        if values:
            prefetch(arena.values[row], start)
            prefetch(arena.values[row], start + 8)


@uncounted
def leaves_of(
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    count: int,
    queries: NDArray[np.uint64],
    parts: NDArray[np.int64],
) -> None:
    """Last leaf whose bound is not above each query: where a key is inserted."""
    for first in range(0, len(queries), GROUP):
        end = min(first + GROUP, len(queries))
        descend_group(tree, layers, queries[first:end], ONE, parts[first:end])
        for j in range(first, end):
            # the step wraps around at the largest number, which belongs into the last leaf
            parts[j] = count - 1 if queries[j] == LARGEST else min(parts[j], count - 1)


@uncounted
def rank_batch(
    arena: Arena,
    order: NDArray[np.int64],
    before: NDArray[np.int64],
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    queries: NDArray[np.uint64],
    step: np.uint64,
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Ranks of mapped queries; `before` is the number of keys before each leaf, and all of them behind."""
    parts = scratch[:GROUP]
    for first in range(0, len(queries), GROUP):
        group = queries[first : min(first + GROUP, len(queries))]
        _locate(arena, order, tree, layers, group, step, parts, False)
        for j in range(len(group)):  # apart from the ranks, so that a wrong guess of the processor costs neither
            out[first + j] = slot_of(arena, order[parts[j]], group[j] + step)
        for j in range(len(group)):
            if group[j] + step < step:  # the right side of the largest number there is
                out[first + j] = before[len(order)]
            else:
                out[first + j] = before[parts[j]] + rank_in(arena, order[parts[j]], out[first + j])


@uncounted
def find_entry(arena: Arena, order: NDArray[np.int64], part: int, query: np.uint64) -> tuple[int, int]:
    """Row and slot of the first entry that is not below the query; SLOTS behind the last entry of all."""
    row = order[part]
    slot = next_real(arena, row, slot_of(arena, row, query))
    while slot == SLOTS and part + 1 < len(order):
        part += 1
        row = order[part]
        slot = next_real(arena, row, 0)
    return row, slot


@uncounted
def get_batch(
    arena: Arena,
    order: NDArray[np.int64],
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    queries: NDArray[np.uint64],
    scratch: NDArray[np.int64],
    erase: bool,
    values: NDArray[np.int64],
    found: NDArray[np.bool_],
) -> None:
    """Values of the first entries with the given keys, where `found` says to look and they are there; or erase them."""
    parts = scratch[:GROUP]
    for first in range(0, len(queries), GROUP):
        group = queries[first : min(first + GROUP, len(queries))]
        _locate(arena, order, tree, layers, group, ZERO, parts, True)
        for j in range(len(group)):
            if not found[first + j]:
                continue
            row, slot = find_entry(arena, order, parts[j], group[j])
            found[first + j] = slot < SLOTS and arena.keys[row, slot] == group[j]
            if found[first + j]:
                values[first + j] = arena.values[row, slot]
                if erase:
                    erase_from(arena, row, slot)


@uncounted
def copy_entries(
    arena: Arena,
    order: NDArray[np.int64],
    before: NDArray[np.int64],
    start: int,
    keys: NDArray[np.uint64],
    values: NDArray[np.int64],
) -> None:
    """Copy the entries from rank `start` on, as many as `keys` takes."""
    part = 0
    length = len(order)
    while length > 1:  # the leaf of a rank
        half = length >> 1
        if before[part + half] <= start:
            part += half
        length -= half
    skip, place = start - before[part], 0
    while place < len(keys):
        row = order[part]
        slot = next_real(arena, row, 0)
        while slot < SLOTS and place < len(keys):
            if skip > 0:
                skip -= 1
            else:
                keys[place], values[place] = arena.keys[row, slot], arena.values[row, slot]
                place += 1
            slot = next_real(arena, row, slot + 1)
        part += 1
