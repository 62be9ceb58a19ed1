"""The static B+-tree without pointers (S+-tree) over the sorted keys: the classic beside learned indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.learned_index.btree_kernel import search_tree
from sysgym.learned_index.directory import build_directory
from sysgym.learned_index.keys import map_stored
from sysgym.learned_index.last_mile import new_scratch
from sysgym.learned_index.machine import BLOCK
from sysgym.learned_index.scalar import TREE
from sysgym.learned_index.static import SortedIndex

_LINE = 64


class BPlusTree(SortedIndex):
    """A static B+-tree of fan-out 17; its leaves are blocks of the sorted array itself.

    O(log n) a query, the same on every distribution of keys.

    Options:
        stride: Keys a leaf, a power of two from 16 to 65536. 16 is fastest and takes half a byte a key; each doubling
            halves the memory and adds a step of halving.

    >>> BPlusTree.build(range(0, 1000, 10)).range(95, 120)
    (10, 12)
    """

    kind: ClassVar[str] = "b_plus_tree"

    def _fit(self, stride: int = BLOCK) -> None:
        if not isinstance(stride, int) or stride & (stride - 1) or not BLOCK <= stride <= 65536:
            raise SettingError(f"stride is {stride}; it must be a power of two from {BLOCK} to 65536")
        unit = min(_LINE, BLOCK * self._stored.itemsize)
        ahead = -self._stored.ctypes.data % unit // self._stored.itemsize
        self.stride, self._pad = stride, -ahead % (unit // self._stored.itemsize)
        blocks = -(-(len(self) + self._pad) // stride)
        positions = np.maximum(np.arange(blocks, dtype=np.int64) * stride - self._pad, 0)
        firsts = np.empty(blocks if len(self) else 0, dtype=np.uint64)
        map_stored(self._stored[positions[: len(firsts)]], self._codec.form, firsts)
        self._tree, self._layers = build_directory(firsts)

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"stride": self.stride, "pad": self._pad}, {"tree": self._tree, "layers": self._layers}

    def _restore(self, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.stride, self._pad = int(parameters["stride"]), int(parameters["pad"])
        self._tree, self._layers = arrays["tree"], arrays["layers"]

    def _find(self, queries: NDArray[np.uint64], step: np.uint64, out: NDArray[np.int64]) -> int:
        return search_tree(
            self._stored, self._codec.form, self._tree, self._layers, self.stride, self._pad, queries, step,
            new_scratch(), out,
        )  # fmt: skip

    def _addresses(self) -> tuple[int, list[int], list[NDArray[Any]]]:
        return TREE, [self.stride, self._pad], [self._tree, self._layers]
