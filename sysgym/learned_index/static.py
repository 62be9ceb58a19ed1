"""What every index over sorted keys offers, and what a structure must add to it.

The contract is `numpy.searchsorted` on the exact keys: `left(q)` is the number of keys below q, `right(q)` the number
of keys not above it, whether q is present or not. A structure adds how it is built and one kernel that finds mapped
queries (`keys.Mapped`). Reads share nothing that changes but a counter, so threads may read together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numba import config
from numpy.typing import NDArray

from sysgym.core.columns import part_of
from sysgym.core.compiled import uncounted
from sysgym.core.errors import InputFileError, KeyValueError, SettingError, require_range
from sysgym.learned_index import storage
from sysgym.learned_index.keys import (
    Codec,
    codec_of,
    map_queries,
    mapped_key,
    prepare_keys,
    query_array,
    side_step,
    store,
)
from sysgym.learned_index.last_mile import search_plain
from sysgym.learned_index.machine import BLOCK, Form, unlocked
from sysgym.learned_index.scalar import PLAIN, AddressTable, search_address

_SIGNED_MOST = (1 << 63) - 1
_SINGLE = (int, np.uint64, np.int64)
_CHUNK = 1 << 14
"""Queries that make a thread worth its start."""
_STRUCTURES = ("binary", "btree", "compressed", "interpolated", "pgm", "radix_spline", "rmi")
"""The files of the structures."""
_Index = TypeVar("_Index", bound="SortedIndex")


class SortedIndex(ABC):
    """An index over sorted keys that never change.

    Build one with `build(keys)`; the keys are not copied and must not be changed afterwards.

    Attributes:
        keys: The sorted keys.
        trials: What `auto` measured, if it built the index.
    """

    kind: ClassVar[str]
    """Name of the structure in files and reports."""

    def __init__(self, keys: NDArray[Any], stored: NDArray[Any], codec: Codec) -> None:
        self.keys = keys
        self._stored, self._codec = unlocked(stored), codec
        self._source: storage.MappedFile | None = None
        self._fallbacks = 0
        self.trials: tuple[Any, ...] = ()

    @classmethod
    def build(cls, keys: Any, *, sort: bool = False, **options: Any) -> Self:
        """Build the index.

        Args:
            keys: Sorted keys, shape (n,): integers, floats, times, or byte strings of up to 8 bytes.
            sort: Sort a copy of the keys first.
            options: Of the structure; see its class.

        Raises:
            KeyValueError: Keys that are unsorted, NaN, or not one-dimensional.
            KeyTypeError: Keys of a type that has no exact order here.
            SettingError: An unknown option, or one out of its range.
        """
        array, stored, codec = prepare_keys(keys, sort=sort)
        try:
            index = cls(array, stored, codec)
            index._fit(**options)
        except TypeError as error:
            if "keyword argument" not in str(error):
                raise
            raise SettingError(
                f"{cls.__name__}: {str(error).split(') ', 1)[-1]}; see {cls.__name__}'s options"
            ) from None
        index._ready()
        return index

    @abstractmethod
    def _fit(self) -> None:
        """Build the structure over `_stored`."""

    @abstractmethod
    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Parameters (for JSON) and arrays of which the structure consists, without the keys."""

    @abstractmethod
    def _restore(self, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `_parts` gave."""

    @abstractmethod
    def _find(self, queries: NDArray[np.uint64], step: np.uint64, out: NDArray[np.int64]) -> int:
        """Write left(query + step), and n for the right side of the largest number; give the number of fallbacks."""

    @abstractmethod
    def _addresses(self) -> tuple[int, list[int], list[NDArray[Any]]]:
        """Kind, two numbers and the arrays that `scalar.search_address` takes."""

    def _ready(self) -> None:
        """Set up the path of single queries."""
        self._table: AddressTable | None = None
        self._address = 0
        compiled = not config.DISABLE_JIT  # type: ignore[attr-defined]
        if compiled and self._codec.dtype.kind in "ui" and self._stored.dtype == np.uint64:
            limits = np.iinfo(self._codec.dtype)
            self._least, self._most, self._span = int(limits.min), int(limits.max), (1 << 64) - 1
            kind, numbers, arrays = (PLAIN, [0, 0], []) if len(self) < BLOCK else self._addresses()
            form = [int(word) for word in self._codec.form]
            self._table = AddressTable([kind, *form, *numbers], [self._stored, *arrays])
            self._address = self._table.address

    def __len__(self) -> int:
        return len(self._stored)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {len(self):,} {self._codec.dtype} keys, {self.size_bytes:,} bytes beside them>"
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the keys."""
        return self._codec.dtype

    @property
    def size_bytes(self) -> int:
        """Bytes of everything except the sorted keys."""
        return sum(array.nbytes for array in self._parts()[1].values())

    @property
    def keys_bytes(self) -> int:
        """Bytes of the sorted keys, with the integers of byte strings beside them."""
        return int(self.keys.nbytes + (self._stored.nbytes if self._codec.dtype.kind == "S" else 0))

    @property
    def fallbacks(self) -> int:
        """Batched queries so far whose answer lay outside of the window that the model gave."""
        return self._fallbacks

    def search(
        self, queries: Any, side: str = "left", *, out: NDArray[np.int64] | None = None, threads: int = 1
    ) -> Any:
        """Positions at which queries would be inserted; O(1) to O(log n) each, see the class.

        Args:
            queries: A scalar, or an array of any shape, of any type that compares with the keys exactly.
            side: "left": number of keys below a query; "right": number of keys not above it.
            out: Array of the queries' shape, int64, that takes the answers.
            threads: Threads among which a large batch is divided.

        Returns:
            A Python int for a scalar, else an int64 array of the queries' shape, each in [0, n].

        Raises:
            KeyValueError: NaN among the queries, or `out` of another shape or type.
            KeyTypeError: Queries that cannot be compared with the keys exactly.
        """
        if out is None and self._address and type(queries) in _SINGLE:
            return self._search_one(int(queries), side)
        array = query_array(queries)
        if array.ndim == 0 and not isinstance(queries, np.ndarray) and out is None:
            return self._search_scalar(array, side)
        return self._search_array(array, side, out, threads)

    def _search_scalar(self, query: NDArray[Any], side: str) -> int:
        if query.dtype.kind not in "ui" or not self._address:
            return int(self._search_array(query, side, None, 1)[()])
        return self._search_one(int(query), side)

    def _search_one(self, query: int, side: str) -> int:
        """One integer on 64-bit integer keys; written for few steps of the interpreter."""
        value = query - self._least
        if side != "left":
            value += side_step(side)
        if 0 <= value <= self._span and query <= self._most:
            if value > _SIGNED_MOST:  # numba takes every int for a signed one
                value -= 1 << 64
            return search_address(self._address, value)
        side_step(side)
        return 0 if query < self._least else len(self._stored)

    def _search_array(self, queries: NDArray[Any], side: str, out: NDArray[np.int64] | None, threads: int) -> Any:
        if self._source is not None:
            self._source.require_unchanged()
        mapped = map_queries(queries, self._codec, side)
        if out is None:
            out = np.empty(queries.shape, dtype=np.int64)
        elif not isinstance(out, np.ndarray) or out.dtype != np.int64 or out.shape != queries.shape:
            raise KeyValueError(f"out must be an int64 array of shape {queries.shape}")
        flat = out.reshape(-1) if out.flags.c_contiguous else np.empty(queries.size, dtype=np.int64)
        self._fallbacks += self._find_all(mapped.values, mapped.step, flat, threads)
        if mapped.above is not None:
            flat[mapped.above] = len(self)
        if not out.flags.c_contiguous:
            out[...] = flat.reshape(out.shape)
        return out

    def _find_all(self, values: NDArray[np.uint64], step: np.uint64, out: NDArray[np.int64], threads: int) -> int:
        values = unlocked(values)
        if len(self) < BLOCK:
            return int(search_plain(self._stored, self._codec.form, values, step, out))
        require_range("threads", threads, 1)
        workers = min(int(threads), max(1, len(values) // _CHUNK))
        if workers == 1:
            return self._find(values, step, out)
        cuts = np.linspace(0, len(values), workers + 1).astype(np.int64)
        with ThreadPoolExecutor(workers) as pool:
            pieces = [slice(a, b) for a, b in pairwise(cuts)]
            return sum(pool.map(lambda piece: self._find(values[piece], step, out[piece]), pieces))

    def contains(self, queries: Any) -> Any:
        """Whether queries are among the keys: a bool for a scalar, else an array of the queries' shape."""
        found = self.find(queries)
        return found >= 0 if isinstance(found, np.ndarray) else bool(found >= 0)

    def find(self, queries: Any) -> Any:
        """Positions of queries among the keys (the first of equal ones), -1 where absent."""
        array = query_array(queries)
        left = self._search_array(array, "left", None, 1)
        if array.dtype == self._codec.dtype and self._codec.dtype.kind != "S":
            values = unlocked(map_queries(array, self._codec, "left").values)
            keep_found(self._stored, self._codec.form, values, left.reshape(-1))
        else:
            left[left == self._search_array(array, "right", None, 1)] = -1
        return left if isinstance(queries, np.ndarray) or array.ndim else int(left[()])

    def count(self, queries: Any) -> Any:
        """How often queries occur among the keys."""
        return self.search(queries, "right") - self.search(queries, "left")

    def range(self, low: Any, high: Any, *, closed: bool = False) -> tuple[Any, Any]:
        """Positions (start, stop) of the keys in [low, high), or [low, high] if `closed`; empty where low > high."""
        start, stop = self.search(low), self.search(high, "right" if closed else "left")
        return start, np.maximum(start, stop) if isinstance(start, np.ndarray) else max(start, stop)

    def save(self, path: str | Path) -> None:
        """Write the index with its keys to one file, whole or not at all.

        Raises:
            OutputError: The place cannot be written; what stood there is untouched.
        """
        parameters, arrays = self._parts()
        head = {"dtype": self._codec.dtype.str.replace("=", "<"), "n": len(self), "structure": parameters}
        if self._codec.dtype.kind in "mM":
            head["dtype"] = np.lib.format.dtype_to_descr(self._codec.dtype)
        storage.write_index(path, self.kind, head, {"keys": self.keys, **{f"part.{k}": a for k, a in arrays.items()}})

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True) -> Self:
        """Open a saved index.

        Args:
            path: The file.
            mmap: Map the file into memory, in constant time, rather than read and check all of it.

        Raises:
            InputFileError: Not an index file, of another version or structure, truncated, or damaged.
        """
        contents = storage.read_index(path, map_memory=mmap)
        for name in _STRUCTURES:  # a class is found once its file has been imported
            import_module(f"sysgym.learned_index.{name}")
        made = _structure(cls, contents.kind)
        if made is None:
            raise InputFileError(path, f"holds a {contents.kind!r} index, not {cls.__name__}")
        return made._from_contents(contents)

    @classmethod
    def _from_contents(cls, contents: storage.Contents) -> Self:
        keys = contents.arrays["keys"].view(codec_of(np.dtype(contents.parameters["dtype"])).dtype)
        parts = {name: unlocked(part) for name, part in part_of(contents.arrays, "part.").items()}
        index = _rebuilt(cls, keys, contents.parameters["structure"], parts)
        index._source = contents.source
        return index

    def verify(self) -> None:
        """Check every byte of the file that the index is mapped from; nothing for an index in memory.

        Raises:
            InputFileError: The file is damaged or was changed.
        """
        if self._source is not None:
            self._source.verify()

    def __reduce__(self) -> tuple[Any, ...]:
        parameters, arrays = self._parts()
        return _rebuilt, (
            type(self),
            np.array(self.keys),
            parameters,
            {name: np.array(a) for name, a in arrays.items()},
        )

    def _check(self) -> None:
        """Assert that every key is found at its first and behind its last position."""
        left = self.search(self.keys)
        assert np.array_equal(left, np.searchsorted(self.keys, self.keys))
        assert np.array_equal(self.search(self.keys, "right"), np.searchsorted(self.keys, self.keys, "right"))


@uncounted
def keep_found(
    stored: NDArray[Any],
    form: Form,
    values: NDArray[np.uint64],
    positions: NDArray[np.int64],
) -> None:
    """Replace the positions at which another key stands by -1."""
    for i in range(len(positions)):
        if positions[i] == len(stored) or mapped_key(stored[positions[i]], form) != values[i]:
            positions[i] = -1


def _structure(asked: type[SortedIndex], kind: str) -> Any:
    """The class of a file's structure, if it is the asked one or one below it."""
    classes = [asked]
    for cls in classes:
        if cls.__dict__.get("kind") == kind:
            return cls
        classes += cls.__subclasses__()
    return None


def _rebuilt(
    cls: type[_Index], keys: NDArray[Any], parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> _Index:
    """An index of what `_parts` gave, over its keys."""
    codec = codec_of(keys.dtype)
    index = cls(keys, store(keys, codec), codec)
    index._restore(parameters, arrays)
    index._ready()
    return index
