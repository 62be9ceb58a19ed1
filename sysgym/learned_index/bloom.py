"""The classic Bloom filter: whether a key may be in a set, in a few bits a key and never wrongly no.

k probes a query from two halves of one hash (Kirsch and Mitzenmacher, Less Hashing, Same Performance, ESA 2006). With b
bits a key and k = b ln 2 probes the share of wrong yeses is about 0.6185^b.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError, require_range
from sysgym.learned_index.keys import Codec, exact_queries, map_stored, prepare_keys, query_array
from sysgym.learned_index.machine import prefetch, unlocked

ALPHA = 2.0 ** -math.log(2.0)
"""Share of wrong yeses of a filter with one bit a key; with b bits it is this to the b."""

_MOST_PROBES = 24
_MOST_BITS = 1 << 32
_GROUP = 16


class BloomFilter:
    """A set that may say yes wrongly, never no.

    O(probes) a query; a batch has its probes on the way from memory together.

    >>> words = BloomFilter.build([b"ada", b"bob"], bits_per_key=16)
    >>> words.contains(b"ada"), words.contains([b"bob", b"eve"])
    (True, array([ True, False]))
    """

    def __init__(self, codec: Codec, mapped: NDArray[np.uint64], bits: int) -> None:
        self._codec, self._count = codec, len(mapped)
        self.probes = best_probes(bits, len(mapped))
        self._words = np.zeros(-(-bits // 64), dtype=np.uint64)
        set_bits(self._words, np.uint64(bits), self.probes, mapped)
        self._bits = bits

    @classmethod
    def build(cls, keys: Any, *, bits_per_key: float = 10.0) -> BloomFilter:
        """Build the filter.

        Args:
            keys: Keys in any order, of any type that the indexes take.
            bits_per_key: Above 0; 10 lets about 1 in 120 absent keys through.

        Raises:
            KeyTypeError: Keys of a type that has no exact form here.
            KeyValueError: NaN, or keys that are not one-dimensional.
            SettingError: The bits are not positive, or too many.
        """
        codec, mapped = map_keys(keys)
        return cls(codec, mapped, bits_for(bits_per_key, len(mapped)))

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes of the filter."""
        return self._words.nbytes

    @property
    def expected_rate(self) -> float:
        """Share of absent keys that are let through, by the number of bits that are set."""
        filled = float(np.bitwise_count(self._words).sum()) / self._bits
        return filled**self.probes

    def contains(self, queries: Any) -> Any:
        """Whether queries may be among the keys: a bool for a scalar, else an array of the queries' shape."""
        return answer(queries, self._codec, self.contains_mapped)

    def contains_mapped(self, mapped: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """The same for mapped keys."""
        out = np.empty(len(mapped), dtype=np.bool_)
        test_bits(self._words, np.uint64(self._bits), self.probes, mapped, out)
        return out


def map_keys(keys: Any) -> tuple[Codec, NDArray[np.uint64]]:
    """The map of keys in any order, and the distinct keys as sorted 64-bit numbers."""
    _, stored, codec = prepare_keys(keys, sort=True)
    mapped = np.empty(len(stored), dtype=np.uint64)
    map_stored(unlocked(stored), codec.form, mapped)
    return codec, np.unique(mapped)


def answer(queries: Any, codec: Codec, contains: Any) -> Any:
    """Let a function of mapped keys answer queries of any kind."""
    array = query_array(queries)
    mapped, held = exact_queries(array, codec)
    found = contains(np.ascontiguousarray(mapped)) & held
    if array.ndim == 0 and not isinstance(queries, np.ndarray):
        return bool(found[0])
    return found.reshape(array.shape)


def bits_for(bits_per_key: float, count: int) -> int:
    """Bits of a filter, at least 64.

    Raises:
        SettingError: Not positive, or more than 2^32 in all.
    """
    require_range("bits_per_key", bits_per_key, 0, open_low=True)
    bits = max(64, math.ceil(bits_per_key * count))
    if bits > _MOST_BITS:
        raise SettingError(f"{bits} bits are too many for one filter; at most 2^32: give fewer bits_per_key")
    return bits


def best_probes(bits: int, count: int) -> int:
    """The number of probes with the least share of wrong yeses."""
    return min(_MOST_PROBES, max(1, round(bits / max(1, count) * math.log(2.0))))


@uncounted
def mixed(key: np.uint64) -> np.uint64:
    """A hash of 64 bits (the finaliser of SplitMix64)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@uncounted
def _place(key: np.uint64, probe: int, bits: np.uint64) -> np.uint64:
    """Bit of a probe, from both halves of the hash."""
    low, high = key & np.uint64(0xFFFFFFFF), (key >> np.uint64(32)) | np.uint64(1)
    return (((low + np.uint64(probe) * high) & np.uint64(0xFFFFFFFF)) * bits) >> np.uint64(32)


@uncounted
def set_bits(words: NDArray[np.uint64], bits: np.uint64, probes: int, keys: NDArray[np.uint64]) -> None:
    """Put keys into a filter."""
    for i in range(len(keys)):
        key = mixed(keys[i])
        for probe in range(probes):
            place = _place(key, probe, bits)
            words[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))


@uncounted
def test_bits(
    words: NDArray[np.uint64], bits: np.uint64, probes: int, keys: NDArray[np.uint64], out: NDArray[np.bool_]
) -> None:
    """Look keys up in a filter, a group at a time."""
    for first in range(0, len(keys), _GROUP):
        end = min(first + _GROUP, len(keys))
        for i in range(first, end):
            key = mixed(keys[i])
            for probe in range(min(probes, 3)):  # most absent keys are told by the third
                prefetch(words, np.int64(_place(key, probe, bits) >> np.uint64(6)))
        for i in range(first, end):
            key, found, probe = mixed(keys[i]), True, 0
            while found and probe < probes:
                place = _place(key, probe, bits)
                found = (words[place >> np.uint64(6)] >> (place & np.uint64(63))) & np.uint64(1) != 0
                probe += 1
            out[i] = found
