"""A B+-tree whose wide leaves are entered by interpolation: the first key of each leaf is the model.

The keys between two neighbouring separators lie almost evenly wherever a distribution is smooth at that scale, so a
line between the two, which are in the cache already, names the place within a few keys, and no slope need be stored.
A histogram root over spline leaves (`RMI`) predicts the same with five times the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.learned_index.directory import aligned, build_directory
from sysgym.learned_index.interpolated_kernel import search_interpolated
from sysgym.learned_index.keys import map_stored
from sysgym.learned_index.last_mile import new_scratch
from sysgym.learned_index.machine import BLOCK
from sysgym.learned_index.scalar import INTERPOLATED
from sysgym.learned_index.static import SortedIndex


class InterpolatedTree(SortedIndex):
    """The first keys of wide leaves under a B+-tree; a line from one to the next finds the place in between.

    O(log n) a query, in 8.5 bytes a leaf.

    Options:
        stride: Keys a leaf, a multiple of 8 from 32 to 65536.

    >>> InterpolatedTree.build(range(0, 100_000, 7), stride=64).search(700)
    100
    """

    kind: ClassVar[str] = "interpolated_tree"

    def _fit(self, stride: int = 128) -> None:
        if not isinstance(stride, int) or stride % 8 or not 2 * BLOCK <= stride <= 65536:
            raise SettingError(f"stride is {stride}; it must be a multiple of 8 from {2 * BLOCK} to 65536")
        self.stride = stride
        leaves = -(-len(self) // stride)
        groups = -(-leaves // BLOCK)
        self._firsts: NDArray[np.uint64] = aligned((groups + 1) * BLOCK, np.uint64)  # type: ignore[assignment]
        self._firsts[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        if leaves:
            map_stored(self._stored[::stride].copy(), self._codec.form, self._firsts[:leaves])
            map_stored(self._stored[-1:].copy(), self._codec.form, self._firsts[leaves : leaves + 1])
        self._tree, self._layers = build_directory(self._firsts[: groups * BLOCK : BLOCK].copy())

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"stride": self.stride}, {"firsts": self._firsts, "tree": self._tree, "layers": self._layers}

    def _restore(self, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.stride = int(parameters["stride"])
        self._firsts, self._tree, self._layers = arrays["firsts"], arrays["tree"], arrays["layers"]

    def _find(self, queries: NDArray[np.uint64], step: np.uint64, out: NDArray[np.int64]) -> int:
        return search_interpolated(
            self._stored, self._codec.form, self._firsts, self._tree, self._layers, self.stride, queries, step,
            new_scratch(), out,
        )  # fmt: skip

    def _addresses(self) -> tuple[int, list[int], list[NDArray[Any]]]:
        return INTERPOLATED, [self.stride, 0], [self._tree, self._layers, self._firsts]
