"""One query at a time, without numba's price of unpacking arrays at every call.

A compiled function takes three integers: the address of a small table with the addresses and lengths of the index's
arrays, the mapped query, and the kind of search. What it does is the same code as in the batched kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.learned_index.btree_kernel import search_tree_one
from sysgym.learned_index.compressed_kernel import search_compressed_one
from sysgym.learned_index.interpolated_kernel import search_interpolated_one
from sysgym.learned_index.last_mile import finish_one, lower_bound
from sysgym.learned_index.leaves import LEAF, Route, search_leaf
from sysgym.learned_index.machine import Form

PLAIN, HALVING, TREE, LEAVES, INTERPOLATED, COMPRESSED = range(6)


@intrinsic
def _pointer(_typing: Any, address: Any) -> Any:
    def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _context.get_value_type(types.voidptr))

    return types.voidptr(types.uint64), generate


class AddressTable:
    """Addresses and lengths of arrays, which it keeps alive.

    Args:
        numbers: Plain integers first.
        arrays: Then each array's address and length.
    """

    def __init__(self, numbers: list[int], arrays: list[NDArray[Any]]) -> None:
        self._arrays = arrays
        entries = list(numbers)
        for array in arrays:
            entries += [array.ctypes.data, len(array)]
        self._table = np.array(entries, dtype=np.uint64)
        self.address = int(self._table.ctypes.data)


@compiled
def search_address(address: int, number: int) -> int:
    """Position of a mapped query in the index whose table stands at an address; 64-bit keys."""
    query = np.uint64(number)
    head = carray(_pointer(np.uint64(address)), (22,), np.uint64)  # type: ignore[call-arg]
    kind, form = head[0], Form(head[1], head[2], head[3])
    stored = carray(_pointer(head[6]), (np.int64(head[7]),), np.uint64)
    if kind == PLAIN:
        return lower_bound(stored, form, query, 0, len(stored))
    if kind == HALVING:
        return finish_one(stored, form, query, 0, len(stored))[0]
    tree = carray(_pointer(head[8]), (np.int64(head[9]),), np.uint64)
    layers = carray(_pointer(head[10]), (np.int64(head[11]),), np.int64)
    if kind == TREE:
        return search_tree_one(stored, form, tree, layers, np.int64(head[4]), np.int64(head[5]), query)
    if kind == INTERPOLATED:
        firsts = carray(_pointer(head[12]), (np.int64(head[13]),), np.uint64)
        return search_interpolated_one(stored, form, firsts, tree, layers, np.int64(head[4]), query)
    if kind == COMPRESSED:
        bases = carray(_pointer(head[12]), (np.int64(head[13]),), np.uint64)
        drops = carray(_pointer(head[14]), (np.int64(head[15]),), np.uint8)
        separators = carray(_pointer(head[16]), (np.int64(head[17]),), np.uint16)
        return search_compressed_one(stored, form, tree, layers, bases, drops, separators, query)
    leaves = carray(_pointer(head[12]), (np.int64(head[13]),), LEAF)
    reals = carray(_pointer(head[14]), (np.int64(head[15]),), np.float64)
    words = carray(_pointer(head[16]), (np.int64(head[17]),), np.uint64)
    table = carray(_pointer(head[18]), (np.int64(head[19]),), np.uint32)
    bends = carray(_pointer(head[20]), (np.int64(head[21]),), np.float64)
    route = Route(np.int64(head[4]), reals, words, table, tree, layers)
    return search_leaf(stored, form, route, leaves, bends, query)
