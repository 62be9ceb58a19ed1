"""Binary search without an index: the floor that every structure must beat, and the best choice for few keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.learned_index.last_mile import new_scratch, search_halving
from sysgym.learned_index.scalar import HALVING
from sysgym.learned_index.static import SortedIndex


class BinarySearch(SortedIndex):
    """Branch-free halving; a batch takes its steps interleaved, so that many keys are on their way from memory at once.

    O(log n) a query, no memory beside the keys.

    >>> BinarySearch.build([10, 20, 20, 30]).search([5, 20, 31])
    array([0, 1, 4])
    """

    kind: ClassVar[str] = "binary_search"

    def _fit(self) -> None:
        pass

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {}

    def _restore(self, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        pass

    def _find(self, queries: NDArray[np.uint64], step: np.uint64, out: NDArray[np.int64]) -> int:
        return int(search_halving(self._stored, self._codec.form, queries, step, new_scratch(), out))

    def _addresses(self) -> tuple[int, list[int], list[NDArray[Any]]]:
        return HALVING, [0, 0], []
