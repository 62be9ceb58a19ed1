"""One leaf with gaps: search, insertion and deletion in a row of slots.

A row is a leaf: `SLOTS` sorted slots of which some hold a key, said by a bitmap. A gap holds a copy of the nearest
key on its right, so that the slots are sorted; behind the last key stands the largest number. Which slots are real is
a matter of the bitmap alone, so the largest number is a key like any other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.last_mile import lower_bound, settle
from sysgym.learned_index.machine import BLOCK, IDENTITY, popcount

SLOTS = 512
WORDS = SLOTS // 64
LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE, ZERO = np.uint64(1), np.uint64(0)


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
    return (arena.bits[row, slot >> 6] >> np.uint64(slot & 63)) & ONE == ONE


@uncounted
def next_real(arena: Arena, row: int, slot: int) -> int:
    """First real slot from `slot` on; SLOTS if there is none."""
    word = slot >> 6
    if slot >= SLOTS:
        return SLOTS
    rest = arena.bits[row, word] & (LARGEST << np.uint64(slot & 63))
    while rest == ZERO:
        word += 1
        if word == WORDS:
            return SLOTS
        rest = arena.bits[row, word]
    return word * 64 + popcount((rest & (~rest + ONE)) - ONE)


@uncounted
def next_gap(arena: Arena, row: int, slot: int) -> int:
    """First gap from `slot` on; SLOTS if there is none."""
    word = slot >> 6
    if slot >= SLOTS:
        return SLOTS
    rest = ~arena.bits[row, word] & (LARGEST << np.uint64(slot & 63))
    while rest == ZERO:
        word += 1
        if word == WORDS:
            return SLOTS
        rest = ~arena.bits[row, word]
    return word * 64 + popcount((rest & (~rest + ONE)) - ONE)


@uncounted
def last_gap(arena: Arena, row: int, slot: int) -> int:
    """Last gap at or before `slot`; -1 if there is none."""
    if slot < 0:
        return -1
    word = slot >> 6
    rest = ~arena.bits[row, word] & (LARGEST >> np.uint64(63 - (slot & 63)))
    while rest == ZERO:
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
        return lower_bound(arena.keys[row], IDENTITY, query, 0, SLOTS)
    slot, _ = settle(arena.keys[row], IDENTITY, query, window_start(arena, row, query))
    return slot


@uncounted
def write_row(
    arena: Arena, row: int, keys: NDArray[np.uint64], values: NDArray[np.int64], start: int, end: int, packed: bool
) -> None:
    """Spread keys over a row, each at its prediction or right behind the one before; densely if `packed`."""
    count = end - start
    for word in range(WORDS):
        arena.bits[row, word] = ZERO
    arena.filled[row] = count
    arena.base[row] = keys[start] if count else ZERO
    span = keys[end - 1] - keys[start] if count else ZERO
    arena.slope[row] = 0.0 if packed or span == ZERO else (SLOTS - 1) / float(span)
    slot = 0
    for i in range(start, end):
        place = slot if packed else min(max(guess_of(arena, row, keys[i]), slot), SLOTS - (end - i))
        while slot < place:
            arena.keys[row, slot] = keys[i]
            slot += 1
        arena.keys[row, slot], arena.values[row, slot] = keys[i], values[i]
        arena.bits[row, slot >> 6] |= ONE << np.uint64(slot & 63)
        slot += 1
    while slot < SLOTS:
        arena.keys[row, slot] = LARGEST
        slot += 1


@uncounted
def _set(arena: Arena, row: int, slot: int, key: np.uint64, value: int) -> None:
    arena.keys[row, slot], arena.values[row, slot] = key, value
    arena.bits[row, slot >> 6] |= ONE << np.uint64(slot & 63)


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
        arena.bits[row, right >> 6] |= ONE << np.uint64(right & 63)
        _set(arena, row, slot, key, value)
    else:
        for i in range(left, slot - 1):
            arena.keys[row, i], arena.values[row, i] = arena.keys[row, i + 1], arena.values[row, i + 1]
        arena.bits[row, left >> 6] |= ONE << np.uint64(left & 63)
        _set(arena, row, slot - 1, key, value)
    return True


@uncounted
def erase_from(arena: Arena, row: int, slot: int) -> None:
    """Turn a real slot into a gap: it and the copies before it take the next key's value."""
    arena.bits[row, slot >> 6] &= ~(ONE << np.uint64(slot & 63))
    arena.filled[row] -= 1
    following = next_real(arena, row, slot + 1)
    key = arena.keys[row, following] if following < SLOTS else LARGEST
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
def rank_in(arena: Arena, row: int, slot: int) -> int:
    """Keys of a row before a slot: all words are counted, since a loop to the slot's word would be guessed wrongly."""
    rank = 0
    for word in range(WORDS):
        bits = min(max(slot - 64 * word, 0), 64)
        mask = ((ONE << np.uint64(bits >> 1)) << np.uint64(bits - (bits >> 1))) - ONE  # in two steps: 64 is too far
        rank += popcount(arena.bits[row, word] & mask)
    return rank
