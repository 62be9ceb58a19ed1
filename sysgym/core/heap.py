"""A binary heap for kernels that know what comes next: numbers of things, ordered by two keys that lie elsewhere.

Item x comes before item y where (first[x], second[x], x) does; so there are no ties, and what comes next does not
depend on how a heap was filled. It takes `size` places from `begin` on, in an array that may hold other heaps too. Both
moves fill a hole rather than swap, and are copied into their callers; O(log size).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from sysgym.core.compiled import uncounted_inline

Integers = NDArray[Any]
Keys = NDArray[Any]


@uncounted_inline
def _comes_before(first: Keys, second: Keys, one: int, other: int, key: Any, tie: Any) -> bool:
    """Whether an item comes before another, whose keys are at hand."""
    if first[one] != key:
        return bool(first[one] < key)
    if second[one] != tie:
        return bool(second[one] < tie)
    return one < other


@uncounted_inline
def rise(heap: Integers, begin: int, size: int, item: int, first: Keys, second: Keys) -> None:
    """Put an item into a heap of `size`, from behind its last upwards."""
    hole, key, tie = size, first[item], second[item]
    while hole > 0:
        above = (hole - 1) >> 1
        other = heap[begin + above]
        if _comes_before(first, second, other, item, key, tie):
            break
        heap[begin + hole] = other
        hole = above
    heap[begin + hole] = item


@uncounted_inline
def sink(heap: Integers, begin: int, size: int, item: int, first: Keys, second: Keys) -> None:
    """Put an item in place of the first of a heap of `size`, downwards."""
    hole, key, tie = 0, first[item], second[item]
    while 2 * hole + 1 < size:
        below = 2 * hole + 1
        child = heap[begin + below]
        if below + 1 < size:
            other = heap[begin + below + 1]
            if _comes_before(first, second, other, child, first[child], second[child]):
                child, below = other, below + 1
        if not _comes_before(first, second, child, item, key, tie):
            break
        heap[begin + hole] = child
        hole = below
    heap[begin + hole] = item
