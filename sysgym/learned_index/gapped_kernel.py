"""Leaves with gaps: search, insertion, deletion and splits over one arena of rows.

A row is a leaf: `SLOTS` sorted slots of which some hold a key, said by a bitmap. A gap holds a copy of the nearest
key on its right, so that the slots are sorted; behind the last key stands the largest number. Which slots are real is
a matter of the bitmap alone, so the largest number is a key like any other. Leaves follow each other in `order`;
`lows` are bounds no key of a leaf lies below.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.directory import descend_group
from sysgym.learned_index.last_mile import GROUP, lower_bound, settle
from sysgym.learned_index.machine import BLOCK, popcount, prefetch

SLOTS = 512
WORDS = SLOTS // 64
FULL = SLOTS * 4 // 5
"""Keys above which a leaf is split."""
FILL = SLOTS * 3 // 5
"""Keys of a leaf after a split, at most."""
BULK = SLOTS * 7 // 10
"""Keys of a leaf that is built at once."""
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE, _ZERO = np.uint64(1), np.uint64(0)


class Arena(NamedTuple):
    """Rows of slots; a row is in use where `order` names it.

    Attributes:
        keys: Mapped keys, shape (rows, SLOTS).
        values: Shape (rows, SLOTS).
        bits: Which slots are real, shape (rows, WORDS).
        base: Smallest key when the row was written, shape (rows,).
        slope: Slots a unit of key; 0 in packed rows.
        filled: Keys of each row.
    """

    keys: NDArray[np.uint64]
    values: NDArray[np.int64]
    bits: NDArray[np.uint64]
    base: NDArray[np.uint64]
    slope: NDArray[np.float64]
    filled: NDArray[np.int64]


@uncounted
def is_real(arena: Arena, row: int, slot: int) -> bool:
    """Whether a slot holds a key."""
    return (arena.bits[row, slot >> 6] >> np.uint64(slot & 63)) & _ONE == _ONE


@uncounted
def next_real(arena: Arena, row: int, slot: int) -> int:
    """First real slot from `slot` on; SLOTS if there is none."""
    word = slot >> 6
    if slot >= SLOTS:
        return SLOTS
    rest = arena.bits[row, word] & (_LARGEST << np.uint64(slot & 63))
    while rest == _ZERO:
        word += 1
        if word == WORDS:
            return SLOTS
        rest = arena.bits[row, word]
    return word * 64 + popcount((rest & (~rest + _ONE)) - _ONE)


@uncounted
def next_gap(arena: Arena, row: int, slot: int) -> int:
    """First gap from `slot` on; SLOTS if there is none."""
    word = slot >> 6
    if slot >= SLOTS:
        return SLOTS
    rest = ~arena.bits[row, word] & (_LARGEST << np.uint64(slot & 63))
    while rest == _ZERO:
        word += 1
        if word == WORDS:
            return SLOTS
        rest = ~arena.bits[row, word]
    return word * 64 + popcount((rest & (~rest + _ONE)) - _ONE)


@uncounted
def last_gap(arena: Arena, row: int, slot: int) -> int:
    """Last gap at or before `slot`; -1 if there is none."""
    if slot < 0:
        return -1
    word = slot >> 6
    rest = ~arena.bits[row, word] & (_LARGEST >> np.uint64(63 - (slot & 63)))
    while rest == _ZERO:
        word -= 1
        if word < 0:
            return -1
        rest = ~arena.bits[row, word]
    for shift in (1, 2, 4, 8, 16, 32):  # every bit below the highest one
        rest |= rest >> np.uint64(shift)
    return word * 64 + popcount(rest) - 1


@uncounted
def guess_of(arena: Arena, row: int, query: np.uint64) -> int:
    """Slot that the row's line predicts."""
    if query <= arena.base[row]:
        return 0
    guess = arena.slope[row] * float(query - arena.base[row])
    return int(guess) if guess < SLOTS - 1 else SLOTS - 1


@uncounted
def window_start(arena: Arena, row: int, query: np.uint64) -> int:
    """Begin of the two cache lines in which a key should be: a key is put where it is predicted, or behind."""
    return min(max(guess_of(arena, row, query) - 1, 0) & ~7, SLOTS - BLOCK)


@uncounted
def slot_of(arena: Arena, row: int, query: np.uint64) -> int:
    """First slot that is not below the query; SLOTS if there is none."""
    if arena.slope[row] == 0.0:
        return lower_bound(arena.keys[row], _ZERO, _ZERO, np.uint64(63), query, 0, SLOTS)
    slot, _ = settle(arena.keys[row], _ZERO, _ZERO, np.uint64(63), query, window_start(arena, row, query))
    return slot


@uncounted
def write_row(
    arena: Arena, row: int, keys: NDArray[np.uint64], values: NDArray[np.int64], start: int, end: int, packed: bool
) -> None:
    """Spread keys over a row, each at its prediction or right behind the one before; densely if `packed`."""
    count = end - start
    for word in range(WORDS):
        arena.bits[row, word] = _ZERO
    arena.filled[row] = count
    arena.base[row] = keys[start] if count else _ZERO
    span = keys[end - 1] - keys[start] if count else _ZERO
    arena.slope[row] = 0.0 if packed or span == _ZERO else (SLOTS - 1) / float(span)
    slot = 0
    for i in range(start, end):
        place = slot if packed else min(max(guess_of(arena, row, keys[i]), slot), SLOTS - (end - i))
        while slot < place:
            arena.keys[row, slot] = keys[i]
            slot += 1
        arena.keys[row, slot], arena.values[row, slot] = keys[i], values[i]
        arena.bits[row, slot >> 6] |= _ONE << np.uint64(slot & 63)
        slot += 1
    while slot < SLOTS:
        arena.keys[row, slot] = _LARGEST
        slot += 1


@uncounted
def bulk_load(
    arena: Arena, keys: NDArray[np.uint64], values: NDArray[np.int64], starts: NDArray[np.int64], packed: bool
) -> None:
    """Write row i from the keys in starts[i] : starts[i + 1]."""
    for row in range(len(starts) - 1):
        write_row(arena, row, keys, values, starts[row], starts[row + 1], packed)


@uncounted
def _set(arena: Arena, row: int, slot: int, key: np.uint64, value: int) -> None:
    arena.keys[row, slot], arena.values[row, slot] = key, value
    arena.bits[row, slot >> 6] |= _ONE << np.uint64(slot & 63)


@uncounted
def insert_into(arena: Arena, row: int, key: np.uint64, value: int, keep: bool) -> bool:
    """Insert into a row that has a gap; whether the key is new. Equal keys are kept in order, or overwritten."""
    slot = slot_of(arena, row, key)
    real = next_real(arena, row, slot)
    if keep:
        while real < SLOTS and arena.keys[row, real] == key:
            slot = real + 1
            real = next_real(arena, row, slot)
    elif real < SLOTS and arena.keys[row, real] == key:
        arena.values[row, real] = value
        return False
    arena.filled[row] += 1
    if slot < real:  # gaps between the neighbours: as near the prediction as the order allows
        place = slot if arena.slope[row] == 0.0 else min(max(guess_of(arena, row, key), slot), real - 1)
        for i in range(slot, place):
            arena.keys[row, i] = key
        _set(arena, row, place, key, value)
        return True
    right, left = next_gap(arena, row, slot), last_gap(arena, row, slot - 1)
    if right < SLOTS and (left < 0 or right - slot <= slot - left):
        for i in range(right, slot, -1):
            arena.keys[row, i], arena.values[row, i] = arena.keys[row, i - 1], arena.values[row, i - 1]
        arena.bits[row, right >> 6] |= _ONE << np.uint64(right & 63)
        _set(arena, row, slot, key, value)
    else:
        for i in range(left, slot - 1):
            arena.keys[row, i], arena.values[row, i] = arena.keys[row, i + 1], arena.values[row, i + 1]
        arena.bits[row, left >> 6] |= _ONE << np.uint64(left & 63)
        _set(arena, row, slot - 1, key, value)
    return True


@uncounted
def erase_from(arena: Arena, row: int, slot: int) -> None:
    """Turn a real slot into a gap: it and the copies before it take the next key's value."""
    arena.bits[row, slot >> 6] &= ~(_ONE << np.uint64(slot & 63))
    arena.filled[row] -= 1
    following = next_real(arena, row, slot + 1)
    key = arena.keys[row, following] if following < SLOTS else _LARGEST
    while slot >= 0 and not is_real(arena, row, slot):
        arena.keys[row, slot] = key
        slot -= 1


@uncounted
def collect(arena: Arena, row: int, keys: NDArray[np.uint64], values: NDArray[np.int64], place: int) -> int:
    """Copy a row's keys and values in order to `place`; where they end."""
    slot = next_real(arena, row, 0)
    while slot < SLOTS:
        keys[place], values[place] = arena.keys[row, slot], arena.values[row, slot]
        place += 1
        slot = next_real(arena, row, slot + 1)
    return place


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
def rank_in(arena: Arena, row: int, slot: int) -> int:
    """Keys of a row before a slot: all words are counted, since a loop to the slot's word would be guessed wrongly."""
    rank = 0
    for word in range(WORDS):
        bits = min(max(slot - 64 * word, 0), 64)
        mask = ((_ONE << np.uint64(bits >> 1)) << np.uint64(bits - (bits >> 1))) - _ONE  # in two steps: 64 is too far
        rank += popcount(arena.bits[row, word] & mask)
    return rank


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
        descend_group(tree, layers, queries[first:end], _ONE, parts[first:end])
        for j in range(first, end):
            # the step wraps around at the largest number, which belongs into the last leaf
            parts[j] = count - 1 if queries[j] == _LARGEST else min(parts[j], count - 1)


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
        _locate(arena, order, tree, layers, group, _ZERO, parts, True)
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
