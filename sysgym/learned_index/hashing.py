"""Hash indexes for exact matches: a slot by a hash, or by a learned distribution of the keys.

A learned hash sends key k to slot F(k) * m, where F is how the keys are distributed (Kraska et al., SIGMOD 2018,
section 4). It spreads keys more evenly than chance only where their gaps are more regular than chance; on gaps that are
independent and random, as those of uniform keys, even the exact F leaves the 36.8 % of conflicts of a random hash.

Chains lie one behind the other: slot s holds the positions `starts[s]` to `starts[s + 1]`. Within a chain keys are
sorted, so a long one is halved, not walked. A learned hash keeps the order of the keys, and needs no positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.learned_index.bloom import mixed
from sysgym.learned_index.keys import Codec, exact_queries, map_stored, prepare_keys, query_array
from sysgym.learned_index.leaves import Route, leaf_of, predict
from sysgym.learned_index.machine import prefetch, unlocked
from sysgym.learned_index.rmi import RMI

HASHES = ("random", "learned")
_GROUP = 32


class HashIndex:
    """Positions of keys by exact match.

    O(1) a query, where chains are short.

    Attributes:
        hash: "random" or "learned".
        conflicts: Share of the slots that would be needed but stay empty: 1 - occupied / keys.
        longest_chain: Keys in the fullest slot.

    >>> HashIndex.build([10, 20, 30]).find([20, 21])
    array([ 1, -1])
    """

    hash: str
    conflicts: float
    longest_chain: int

    def __init__(self, codec: Codec, mapped: NDArray[np.uint64], slots_per_key: float, model: RMI | None) -> None:
        new = np.append(True, mapped[1:] != mapped[:-1]) if len(mapped) else np.empty(0, dtype=np.bool_)
        self._codec, self._model = codec, model
        self.hash = HASHES[model is not None]
        self._keys, self._first = mapped[new], np.flatnonzero(new).astype(np.uint32)
        self._slots = max(1, int(slots_per_key * len(self._keys)))
        self._chain()

    @classmethod
    def build(
        cls, keys: Any, *, hash: str = "random", slots_per_key: float = 1.0, leaves: int | None = None
    ) -> HashIndex:
        """Build the index.

        Args:
            keys: Sorted keys, as for every index; of equal ones the first is found.
            hash: "random" (SplitMix64's finaliser) or "learned" (an `RMI` with a histogram root).
            slots_per_key: Slots over distinct keys, from 0.1 to 16.
            leaves: Of the learned hash; n / 64 when left out.

        Raises:
            UnknownNameError: Another hash.
            SettingError: A number out of its range.
            KeyValueError: Keys that are unsorted or NaN.
        """
        require_known("hash", hash, HASHES)
        require_range("slots_per_key", slots_per_key, 0.1, 16)
        array, stored, codec = prepare_keys(keys)
        if len(array) > np.iinfo(np.uint32).max:
            raise SettingError(f"{len(array)} keys are too many for one HashIndex; at most 2^32 - 1")
        mapped = np.empty(len(array), dtype=np.uint64)
        map_stored(unlocked(stored), codec.form, mapped)
        distinct = np.unique(mapped)
        count = max(1, len(distinct) // 64) if leaves is None else leaves
        return cls(codec, mapped, slots_per_key, RMI.build(distinct, leaves=count) if hash == "learned" else None)

    def _chain(self) -> None:
        """Put keys into their slots."""
        slot = self._slots_of(self._keys)
        filled = np.bincount(slot, minlength=self._slots)
        self._starts = np.concatenate([[0], np.cumsum(filled)]).astype(np.uint32)
        if self.hash == "random" or bool((slot[1:] < slot[:-1]).any()):
            order = np.argsort(slot, kind="stable")
            self._keys, self._first = self._keys[order], self._first[order]
        self.conflicts = 1.0 - np.count_nonzero(filled) / max(1, len(self._keys))
        self.longest_chain = int(filled.max())

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def size_bytes(self) -> int:
        """Bytes of slots, positions, model and the keys in the order of their slots."""
        model = 0 if self._model is None else self._model.size_bytes
        return self._starts.nbytes + self._first.nbytes + self._keys.nbytes + model

    def find(self, queries: Any) -> Any:
        """Positions of queries among the keys (the first of equal ones), -1 where absent."""
        array = query_array(queries)
        mapped, held = exact_queries(array, self._codec)
        found = np.empty(array.size, dtype=np.int64)
        chosen = np.ascontiguousarray(mapped)
        _find(self._keys, self._first, self._starts, chosen, self._slots_of(chosen), found)
        found[~held] = -1
        if array.ndim == 0 and not isinstance(queries, np.ndarray):
            return int(found[0])
        return found.reshape(array.shape)

    def contains(self, queries: Any) -> Any:
        """Whether queries are among the keys."""
        found = self.find(queries)
        return found >= 0 if isinstance(found, np.ndarray) else bool(found >= 0)

    def _slots_of(self, mapped: NDArray[np.uint64]) -> NDArray[np.int64]:
        slots = np.empty(len(mapped), dtype=np.int64)
        if self._model is None:
            _random_slots(mapped, self._slots, slots)
        else:
            model = self._model
            _learned_slots(model._route, model._leaves, model._bends, len(model), mapped, self._slots, slots)
        return slots


@uncounted
def _random_slots(keys: NDArray[np.uint64], slots: int, out: NDArray[np.int64]) -> None:
    for i in range(len(keys)):
        out[i] = np.int64(((mixed(keys[i]) >> np.uint64(32)) * np.uint64(slots)) >> np.uint64(32))


@uncounted
def _learned_slots(
    route: Route, leaves: NDArray[Any], bends: NDArray[np.float64], count: int, keys: NDArray[np.uint64], slots: int,
    out: NDArray[np.int64],
) -> None:  # fmt: skip
    scale, last = float(slots) / max(1, count), slots - 1
    for i in range(len(keys)):
        leaf = leaf_of(route, leaves, keys[i])
        rank = float(predict(leaves, bends, leaf, keys[i])) + 0.5 * (leaves[leaf]["low"] + leaves[leaf]["high"] - 1)
        slot = int(rank * scale)
        out[i] = last if slot > last else (slot if slot > 0 else 0)


@uncounted
def _find(
    keys: NDArray[np.uint64], first: NDArray[np.uint32], starts: NDArray[np.uint32], queries: NDArray[np.uint64],
    slots: NDArray[np.int64], out: NDArray[np.int64],
) -> None:  # fmt: skip
    for begin in range(0, len(queries), _GROUP):
        end = min(begin + _GROUP, len(queries))
        for i in range(begin, end):
            prefetch(starts, slots[i])
        for i in range(begin, end):
            prefetch(keys, np.int64(starts[slots[i]]))
        for i in range(begin, end):
            place, length = np.int64(starts[slots[i]]), np.int64(starts[slots[i] + 1]) - np.int64(starts[slots[i]])
            while length > 0:
                half = length >> 1
                if keys[place + half] < queries[i]:
                    place += half + 1
                    length -= half + 1
                else:
                    length = half
            stop = np.int64(starts[slots[i] + 1])
            out[i] = np.int64(first[place]) if place < stop and keys[place] == queries[i] else -1
