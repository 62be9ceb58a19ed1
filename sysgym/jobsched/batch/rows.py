"""Sorted rows of jobs, compiled: how the kernels keep queues, running jobs and reservations in order.

A row is an int64 array of which the first `count` places are in use; `keys[job - first]` is what it is sorted by.
Insertion and removal shift what stands behind, which for the lengths at hand (hundreds) is faster than a heap, and the
order of all, not only of the first, is needed for reservations anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted


@uncounted
def place_behind(row: NDArray[np.int64], count: int, keys: NDArray[Any], first: int, key: float) -> int:
    """Place behind every job whose key is not above `key`; O(log count)."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if keys[row[middle] - first] <= key:
            low = middle + 1
        else:
            high = middle
    return low


@uncounted
def place_of(row: NDArray[np.int64], count: int, keys: NDArray[Any], first: int, job: int) -> int:
    """Place of a job, or where it belongs, in a row sorted by (key, job); O(log count)."""
    key = keys[job - first]
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        other = row[middle]
        if keys[other - first] < key or (keys[other - first] == key and other < job):
            low = middle + 1
        else:
            high = middle
    return low


@uncounted
def insert(row: NDArray[np.int64], count: int, place: int, job: int) -> None:
    """Put a job at a place; O(count)."""
    for i in range(count, place, -1):
        row[i] = row[i - 1]
    row[place] = job


@uncounted
def remove(row: NDArray[np.int64], count: int, place: int) -> None:
    """Take away what stands at a place; O(count)."""
    for i in range(place, count - 1):
        row[i] = row[i + 1]


@uncounted
def insert_behind(row: NDArray[np.int64], count: int, keys: NDArray[Any], first: int, job: int) -> None:
    """Insert a job behind those with the same key; O(count)."""
    insert(row, count, place_behind(row, count, keys, first, keys[job - first]), job)


@uncounted
def remove_job(row: NDArray[np.int64], count: int, keys: NDArray[Any], first: int, job: int) -> None:
    """Remove a job from a row in which jobs of one key stand in any order; O(count)."""
    place = place_behind(row, count, keys, first, keys[job - first]) - 1
    while row[place] != job:
        place -= 1
    remove(row, count, place)
