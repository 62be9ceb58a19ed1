"""Ordered maps that take inserts: `GappedIndex`, after ALEX, and a classic B+-tree beside it.

ALEX (Ding et al., ALEX: An Updatable Adaptive Learned Index, SIGMOD 2020) leaves gaps where its models predict that
keys will come. Departures: leaves have one size, a split makes as many as the keys need, and above them stands a
static B+-tree, rebuilt once a batch when leaves were split, instead of a tree of models whose shape follows a cost
estimate. The keys' differences are taken in integers, and there is no reserved key.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError, KeyTypeError, KeyValueError, require_known
from sysgym.learned_index import storage
from sysgym.learned_index.directory import aligned, build_directory
from sysgym.learned_index.gapped_kernel import (
    BULK,
    FULL,
    bulk_load,
    copy_entries,
    get_batch,
    insert_sorted,
    leaves_of,
    rank_batch,
    rows_needed,
)
from sysgym.learned_index.gapped_rows import SLOTS, WORDS, Arena
from sysgym.learned_index.keys import Codec, exact_queries, map_queries, map_stored, prepare_keys, query_array, unmap
from sysgym.learned_index.last_mile import new_scratch
from sysgym.learned_index.machine import unlocked

POLICIES = ("overwrite", "keep")
_ROOM = 1.5


class GappedIndex:
    """An ordered map from keys to int64 values, in leaves with gaps where their models expect keys.

    Insert, delete and get are O(log n) with a small constant; a batch costs much less a key than single calls. A map
    without values numbers its keys in the order in which they come. One writer at a time; readers may share.

    Attributes:
        duplicates: "overwrite": a key has one value, the last; "keep": equal keys stand behind each other.

    >>> index = GappedIndex.build([10, 30], values=[1, 3])
    >>> index.insert(20, 2), index.get(20), index.delete(10), len(index)
    (True, 2, True, 2)
    >>> index.range(15, 31)
    (array([20, 30]), array([2, 3]))
    """

    kind: ClassVar[str] = "gapped"
    _packed: ClassVar[bool] = False

    def __init__(self, codec: Codec, duplicates: str) -> None:
        self._codec, self.duplicates = codec, duplicates
        self._next = 0

    @classmethod
    def build(cls, keys: Any, values: Any = None, *, sort: bool = False, duplicates: str = "overwrite") -> Self:
        """Build the map.

        Args:
            keys: Sorted keys, shape (n,), as for every index.
            values: Integers, shape (n,); positions of the keys when left out.
            sort: The keys are in any order; values stay with their keys.
            duplicates: "overwrite" (of equal keys the last one counts) or "keep".

        Raises:
            KeyValueError: Keys that are unsorted, NaN or not one-dimensional, or values of another shape.
            KeyTypeError: Keys without an exact order here, or values that are no 64-bit integers.
            UnknownNameError: Another policy for duplicates.
        """
        require_known("duplicates policy", duplicates, POLICIES)
        numbers = None
        if sort:
            keys = query_array(keys)
            order = np.argsort(keys, kind="stable") if keys.ndim == 1 and keys.dtype != object else slice(None)
            numbers = _values(values, len(keys) if keys.ndim else 0)[order]
            keys = keys[order]
        array, stored, codec = prepare_keys(keys)
        numbers = _values(values, len(array)) if numbers is None else numbers
        index = cls(codec, duplicates)
        mapped = np.empty(len(array), dtype=np.uint64)
        map_stored(unlocked(stored), codec.form, mapped)
        if duplicates == "overwrite" and len(mapped):
            last = np.append(mapped[1:] != mapped[:-1], True)
            mapped, numbers = mapped[last], numbers[last]
        index._next = len(array)
        index._load(mapped, numbers)
        return index

    def _load(self, mapped: NDArray[np.uint64], values: NDArray[np.int64]) -> None:
        leaves = max(1, -(-len(mapped) // BULK))
        starts = np.arange(leaves + 1, dtype=np.int64) * len(mapped) // leaves
        self._arena = _allocate(int(leaves * _ROOM) + 4)
        bulk_load(self._arena, np.ascontiguousarray(mapped), np.ascontiguousarray(values), starts, self._packed)
        self._order = np.arange(leaves, dtype=np.int64)
        self._lows = mapped[starts[:-1]] if len(mapped) else np.zeros(1, dtype=np.uint64)
        self._lows[0] = 0
        self._rows = leaves
        self._renew()

    def _renew(self) -> None:
        """The tree above the leaves, after leaves were split."""
        self._tree, self._layers = build_directory(self._lows)
        self._before: NDArray[np.int64] | None = None
        self._length = int(self._arena.filled[self._order].sum())

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} {self.dtype} keys in {len(self._order):,} leaves>"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the keys."""
        return self._codec.dtype

    @property
    def size_bytes(self) -> int:
        """Bytes of the leaves in use, with their keys, values and gaps, and of the tree above."""
        row = SLOTS * 16 + WORDS * 8 + 3 * 8
        return int(self._rows * row + self._tree.nbytes + self._order.nbytes + self._lows.nbytes)

    def _ranks_before(self) -> NDArray[np.int64]:
        if self._before is None:
            self._before = np.concatenate([[0], np.cumsum(self._arena.filled[self._order])]).astype(np.int64)
        return self._before

    def search(self, queries: Any, side: str = "left") -> Any:
        """Ranks of queries among the keys, as `numpy.searchsorted` on them; O(log n).

        Raises:
            KeyValueError: NaN among the queries.
            KeyTypeError: Queries that cannot be compared with the keys exactly.
        """
        array = query_array(queries)
        mapped = map_queries(array, self._codec, side)
        out = np.empty(array.size, dtype=np.int64)
        parts = (self._arena, self._order, self._ranks_before(), self._tree, self._layers)
        rank_batch(*parts, unlocked(mapped.values), mapped.step, new_scratch(), out)
        if mapped.above is not None:
            out[mapped.above] = len(self)
        return _like(queries, array, out)

    def get(self, queries: Any, default: Any = None) -> Any:
        """Values of keys; where there is none, `default`, which in an array of answers is -1 when left out."""
        array, values, found = self._look(queries, erase=False)
        if array.ndim == 0 and not isinstance(queries, np.ndarray):
            return int(values[0]) if found[0] else default
        values[~found] = -1 if default is None else default
        return values.reshape(array.shape)

    def contains(self, queries: Any) -> Any:
        """Whether queries are among the keys."""
        array, _, found = self._look(queries, erase=False)
        return _like(queries, array, found)

    __contains__ = contains

    def delete(self, queries: Any) -> Any:
        """Remove an entry with each key (the first of equal ones), and say whether there was one; O(log n)."""
        array, _, found = self._look(queries, erase=True)
        self._length -= int(found.sum())
        self._before = None
        return _like(queries, array, found)

    def _look(self, queries: Any, *, erase: bool) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
        array = query_array(queries)
        mapped, found = exact_queries(array, self._codec)
        values = np.empty(array.size, dtype=np.int64)
        get_batch(self._arena, self._order, self._tree, self._layers, mapped, new_scratch(), erase, values, found)
        return array, values, found

    def insert(self, keys: Any, values: Any = None) -> Any:
        """Insert keys, in any order, and say which are new.

        Args:
            keys: A scalar or an array that the keys' type holds exactly.
            values: As many integers; running numbers when left out.

        Returns:
            A bool for a scalar, else a bool array: False where a key was there and got the new value.

        Raises:
            KeyTypeError: Keys that the type does not hold exactly, or values that are no 64-bit integers.
            KeyValueError: NaN among the keys, or another number of values.
        """
        array = query_array(keys)
        mapped, held = exact_queries(array, self._codec)
        if not held.all():
            wrong = array.reshape(-1)[~held][0]
            raise KeyTypeError(f"key {wrong!s} is not a number that {self.dtype} holds exactly; convert it first")
        numbers = _values(values, array.size, self._next)
        self._next += array.size
        order = _stable_order(mapped)
        new = np.empty(array.size, dtype=np.bool_)
        new[order] = self._insert_sorted(mapped[order], numbers[order])
        return _like(keys, array, new)

    def _insert_sorted(self, mapped: NDArray[np.uint64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
        parts, largest = np.empty(len(mapped), dtype=np.int64), np.zeros(1, dtype=np.int64)
        leaves_of(self._tree, self._layers, len(self._order), mapped, parts)
        rows = int(rows_needed(self._arena, self._order, parts, largest))
        if self._rows + rows > len(self._arena.filled):
            self._arena = _grown(self._arena, self._rows, int((self._rows + rows) * _ROOM))
        merged = 2 * int(largest[0])
        new, new_parts = np.empty(len(mapped), dtype=np.bool_), np.empty(rows, dtype=np.int64)
        scratch = (np.empty(merged, dtype=np.uint64), np.empty(merged, dtype=np.int64))
        policy = (self.duplicates == "keep", self._packed, self._rows)
        taken = insert_sorted(self._arena, self._order, parts, mapped, values, *policy, *scratch, new_parts, new)
        if taken:
            fresh = np.arange(self._rows, self._rows + taken)
            behind = new_parts[:taken] + 1
            self._order = np.insert(self._order, behind, fresh)
            self._lows = np.insert(self._lows, behind, self._arena.base[fresh])
            self._rows += int(taken)
            self._renew()
        else:
            self._length += int(new.sum())
            self._before = None
        return new

    def range(self, low: Any, high: Any, *, closed: bool = False) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Keys and values of the entries with keys in [low, high), or [low, high] if `closed`; O(log n + entries)."""
        start, stop = self.search(low), self.search(high, "right" if closed else "left")
        return self._entries(start, max(0, stop - start))

    def items(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All keys, sorted, and their values."""
        return self._entries(0, len(self))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items()[0])

    def _entries(self, start: int, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        keys, values = np.empty(count, dtype=np.uint64), np.empty(count, dtype=np.int64)
        copy_entries(self._arena, self._order, self._ranks_before(), start, keys, values)
        return unmap(keys, self._codec), values

    def save(self, path: str | Path) -> None:
        """Write keys and values to one file, whole or not at all.

        Raises:
            OutputError: The place cannot be written; what stood there is untouched.
        """
        keys, values = self.items()
        head = {"dtype": np.lib.format.dtype_to_descr(self.dtype), "duplicates": self.duplicates, "next": self._next}
        storage.write_index(path, self.kind, head, {"keys": keys, "values": values})

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True) -> Self:
        """Open a saved map; its leaves are written anew, in O(n), since they will change.

        Args:
            path: The file.
            mmap: Read the keys through a memory map, rather than read and check all of the file first.

        Raises:
            InputFileError: Not a file of this map, of another version, truncated, or damaged.
        """
        contents = storage.read_index(path, map_memory=mmap)
        if contents.kind != cls.kind:
            raise InputFileError(path, f"holds a {contents.kind!r} index, not {cls.__name__}")
        head = contents.parameters
        keys = contents.arrays["keys"].view(np.dtype(head["dtype"]))
        return cls._restored(keys, contents.arrays["values"], head["duplicates"], head["next"])

    @classmethod
    def _restored(cls, keys: NDArray[Any], values: NDArray[np.int64], duplicates: str, following: int) -> Self:
        index = cls.build(keys, values, duplicates=duplicates)
        index._next = following
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._restored, (*self.items(), self.duplicates, self._next)

    def _check(self) -> None:
        """Assert what must hold of leaves, gaps, bounds and counts."""
        arena, order = self._arena, self._order
        assert len(set(order.tolist())) == len(order) == len(self._lows) and order.max() < self._rows
        assert (self._lows[1:] >= self._lows[:-1]).all()
        assert self._length == arena.filled[order].sum()
        for part, row in enumerate(order):
            real = np.unpackbits(arena.bits[row].view(np.uint8), bitorder="little").astype(bool)
            keys = arena.keys[row]
            assert real.sum() == arena.filled[row] <= FULL
            assert (keys[1:] >= keys[:-1]).all()
            held = keys[real]
            following = np.append(held, np.uint64(0xFFFFFFFFFFFFFFFF))[np.concatenate([[0], np.cumsum(real)[:-1]])]
            assert (keys == following).all()
            if self.duplicates == "overwrite":
                assert (held[1:] > held[:-1]).all()
            if part:
                assert not len(held) or held[0] >= self._lows[part]
            if part + 1 < len(order):
                assert not len(held) or held[-1] <= self._lows[part + 1]


class BPlusTreeMap(GappedIndex):
    """The classic beside it: an ordered map in a B+-tree whose leaves are packed and searched by halving.

    An insertion shifts the keys behind it. The same operations and costs in O-notation as `GappedIndex`.

    >>> BPlusTreeMap.build([1, 5]).search(3)
    1
    """

    kind: ClassVar[str] = "b_plus_tree_map"
    _packed: ClassVar[bool] = True


def _stable_order(mapped: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where the sorted keys stand, equal ones in their order; numpy's unstable sort is five times as fast."""
    order = np.argsort(mapped)
    ordered = mapped[order]
    return np.argsort(mapped, kind="stable") if (ordered[1:] == ordered[:-1]).any() else order


def _allocate(rows: int) -> Arena:
    """An arena; the system gives memory to a row when it is first written."""

    def table(width: int, dtype: type[np.generic]) -> NDArray[Any]:
        return aligned(rows * width, dtype).reshape(rows, width)

    return Arena(
        keys=table(SLOTS, np.uint64),
        values=table(SLOTS, np.int64),
        bits=table(WORDS, np.uint64),
        base=np.empty(rows, dtype=np.uint64),
        slope=np.empty(rows, dtype=np.float64),
        filled=np.zeros(rows, dtype=np.int64),
    )


def _grown(arena: Arena, used: int, rows: int) -> Arena:
    larger = _allocate(rows)
    for old, new in zip(arena, larger, strict=True):
        new[:used] = old[:used]
    return larger


def _values(values: Any, count: int, first: int = 0) -> NDArray[np.int64]:
    """Values as int64, or running numbers."""
    if values is None:
        return np.arange(first, first + count, dtype=np.int64)
    array = np.asarray(values)
    if array.dtype.kind not in "ui" or (array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63):
        if array.size:
            raise KeyTypeError(
                f"values of type {array.dtype} are not 64-bit integers; give positions of what they stand for"
            )
        array = array.astype(np.int64)
    if array.size != count:
        raise KeyValueError(f"{array.size} values for {count} keys; give as many")
    return np.ascontiguousarray(array.reshape(-1), dtype=np.int64)


def _like(given: Any, array: NDArray[Any], out: NDArray[Any]) -> Any:
    """Answers in the shape of the question; a Python value for a scalar."""
    return out[0].item() if array.ndim == 0 and not isinstance(given, np.ndarray) else out.reshape(array.shape)
