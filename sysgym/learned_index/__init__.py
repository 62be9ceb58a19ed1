"""Learned indexes over sorted keys: right on every key, batched, beside the classics they compete with.

`keys` says what a key is; `static` what every index offers; `binary`, `btree`, `compressed`, `interpolated`, `rmi`,
`pgm` and `radix_spline` are the structures, whose kernels stand in `last_mile`, `directory`, `leaves` and files of
their names; `gapped` takes inserts; `selection` picks a structure by measuring; `storage` is the file of an index;
`keysets` makes key sets and reads SOSD's format. `bloom`, `learned_bloom` and `hashing` answer whether a key is there,
and where, by exact match. `tuning` is the problem of choosing an RMI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sysgym.learned_index.binary import BinarySearch
    from sysgym.learned_index.bloom import BloomFilter
    from sysgym.learned_index.btree import BPlusTree
    from sysgym.learned_index.compressed import CompressedTree
    from sysgym.learned_index.gapped import BPlusTreeMap, GappedIndex
    from sysgym.learned_index.hashing import HashIndex
    from sysgym.learned_index.interpolated import InterpolatedTree
    from sysgym.learned_index.learned_bloom import LearnedBloomFilter
    from sysgym.learned_index.pgm import PGMIndex
    from sysgym.learned_index.radix_spline import RadixSpline
    from sysgym.learned_index.rmi import RMI
    from sysgym.learned_index.selection import auto
    from sysgym.learned_index.static import SortedIndex

_HOMES = {
    "BPlusTree": "btree",
    "BPlusTreeMap": "gapped",
    "BinarySearch": "binary",
    "BloomFilter": "bloom",
    "CompressedTree": "compressed",
    "GappedIndex": "gapped",
    "HashIndex": "hashing",
    "InterpolatedTree": "interpolated",
    "LearnedBloomFilter": "learned_bloom",
    "PGMIndex": "pgm",
    "RMI": "rmi",
    "RadixSpline": "radix_spline",
    "SortedIndex": "static",
    "auto": "selection",
}

__all__ = [
    "RMI",
    "BPlusTree",
    "BPlusTreeMap",
    "BinarySearch",
    "BloomFilter",
    "CompressedTree",
    "GappedIndex",
    "HashIndex",
    "InterpolatedTree",
    "LearnedBloomFilter",
    "PGMIndex",
    "RadixSpline",
    "SortedIndex",
    "auto",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # numba loads only when an index is asked for
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
