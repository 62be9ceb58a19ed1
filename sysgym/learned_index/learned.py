"""What RMI, PGM-index and RadixSpline share: a route to a leaf, the leaves, and the search through both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.learned_index.directory import aligned
from sysgym.learned_index.keys import map_stored
from sysgym.learned_index.last_mile import new_scratch, search_halving, search_plain
from sysgym.learned_index.leaves import LEAF, MAX_KEYS, STRAIGHT, Route, search_leaves
from sysgym.learned_index.machine import BLOCK
from sysgym.learned_index.scalar import LEAVES
from sysgym.learned_index.static import SortedIndex


class LearnedIndex(SortedIndex):
    """An index that predicts: a route leads to a leaf, the leaf's line to a window, and the window is searched.

    Answers don't depend on the models. A window is bounded by the errors that were measured at build time, also for
    absent keys; an answer at its edge is checked against the next key, and searched for from there where it fails.
    """

    _route: Route
    _leaves: NDArray[Any]
    _bends: NDArray[np.float64] = STRAIGHT

    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """The options it was built with, for files and reports."""

    @abstractmethod
    def _set_options(self, options: Mapping[str, Any]) -> None:
        """Take over what `_options` gave."""

    @property
    def leaf_count(self) -> int:
        """Number of leaf models."""
        return len(self._leaves)

    @property
    def mean_log2_error(self) -> float:
        """Mean of log2(window + 1) over the keys: the steps that the last mile costs."""
        windows = self._leaves["high"].astype(np.float64) - self._leaves["low"]
        counts = self._leaves["count"].astype(np.float64)
        return float((counts * np.log2(windows + 1)).sum() / max(1.0, counts.sum()))

    def _require_countable(self) -> None:
        if len(self) > MAX_KEYS:
            raise SettingError(
                f"{len(self)} keys are too many for {type(self).__name__}; at most {MAX_KEYS}: use BPlusTree"
            )

    def _new_leaves(self, count: int) -> NDArray[Any]:
        leaves: NDArray[Any] = aligned(count, LEAF)
        leaves[:] = 0
        return leaves

    def _mapped(self, positions: Any) -> NDArray[np.uint64]:
        """Keys at some positions, mapped."""
        chosen = np.ascontiguousarray(self._stored[positions])
        values = np.empty(len(chosen), dtype=np.uint64)
        map_stored(chosen, self._codec.form, values)
        return values

    def _rank(self, values: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Number of keys below some mapped values."""
        ranks = np.empty(len(values), dtype=np.int64)
        if len(self) >= BLOCK:
            search_halving(self._stored, self._codec.form, values, np.uint64(0), new_scratch(), ranks)
        else:
            search_plain(self._stored, self._codec.form, values, np.uint64(0), ranks)
        return ranks

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = {name: array for name, array in self._route._asdict().items() if name != "kind"}
        return {"route": self._route.kind, "options": self._options()}, {
            **arrays,
            "leaves": self._leaves,
            **({"bends": self._bends} if len(self._bends) else {}),
        }

    def _restore(self, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._route = Route(int(parameters["route"]), *(arrays[name] for name in Route._fields[1:]))
        self._leaves, self._bends = arrays["leaves"], arrays.get("bends", STRAIGHT)
        self._set_options(parameters["options"])

    def _find(self, queries: NDArray[np.uint64], step: np.uint64, out: NDArray[np.int64]) -> int:
        parts = (self._route, self._leaves, self._bends)
        return int(search_leaves(self._stored, self._codec.form, *parts, queries, step, new_scratch(), out))

    def _addresses(self) -> tuple[int, list[int], list[NDArray[Any]]]:
        route = self._route
        tables: list[NDArray[Any]] = [route.reals, route.words, route.table, self._bends]
        return LEAVES, [route.kind, 0], [route.tree, route.layers, self._leaves, *tables]
