"""The recursive model index with two layers (Kraska et al., The Case for Learned Index Structures, SIGMOD 2018).

A root model (`roots`) sends a key to one of many leaves, the leaf predicts its position. Departures from the published
code: differences to the smallest key are taken in integers; a root of pivots (`histogram`) is searched as a B+-tree;
regressions look at about 2^18 evenly spaced keys; a leaf isn't trained on its neighbours' keys; bounds hold for absent
keys too (see `leaves` and `last_mile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known
from sysgym.learned_index.directory import build_directory
from sysgym.learned_index.learned import LearnedIndex
from sysgym.learned_index.leaves import DIRECTORY, LINEAR, STRAIGHT, Route, fit_leaves, new_route, route_keys
from sysgym.learned_index.roots import TRAINERS, Sample

ROOTS = (*TRAINERS, "histogram")
MODELS = ("linear", "linear_spline", "cubic")
MAX_LEAVES = 1 << 26
_SAMPLE = 1 << 18


class RMI(LearnedIndex):
    """A root model, then one line a leaf.

    O(1) a query where the root fits the keys; one outlier spoils every root but four. `robust_linear` survives a few,
    tables over 18 or more bits many, `histogram` anything, for O(log leaves) in its root.

    Options:
        root: linear, robust_linear, linear_spline, cubic, loglinear, normal, lognormal; radix, or bradix, which may
            cut one bit more; radix8, radix18, radix22, radix26, radix28, tables over so many bits; or histogram.
        leaf: linear (least squares), linear_spline (through the first and the last key), or cubic.
        leaves: Number of leaf models, from 1 to 2^26; about n / 256 when left out.

    >>> index = RMI.build([1, 4, 9, 16, 25], root="linear", leaves=2)
    >>> index.search(16), index.search(16, side="right"), index.contains(17)
    (3, 4, False)
    """

    kind: ClassVar[str] = "rmi"

    def _fit(self, root: str = "histogram", leaf: str = "linear", leaves: int | None = None) -> None:
        self._require_countable()
        require_known("root", root, ROOTS)
        require_known("leaf", leaf, MODELS)
        count = max(1, len(self) // 256) if leaves is None else leaves
        if not isinstance(count, int | np.integer) or not 1 <= count <= MAX_LEAVES:
            raise SettingError(f"leaves is {leaves}; it must be a whole number from 1 to 2^26")
        self.root, self.leaf = root, leaf
        count = min(int(count), max(1, len(self)))
        if root == "histogram":
            starts = self._pivots(count)
            tree, layers = build_directory(self._mapped(starts[:-1]) if len(self) else np.empty(0, dtype=np.uint64))
            self._route = new_route(DIRECTORY, tree=tree, layers=layers)
            self._leaves = self._new_leaves(len(starts) - 1)
        else:
            self._route = self._new_route(root, count)
            self._leaves = self._new_leaves(count)
            starts = np.empty(count + 1, dtype=np.int64)
            route_keys(self._stored, self._codec.form, self._route, self._leaves, starts)
        self._bends = np.zeros(2 * len(self._leaves)) if leaf == "cubic" else STRAIGHT
        spline = leaf == "linear_spline"
        fit_leaves(self._stored, self._codec.form, starts, spline, self._leaves, self._bends)

    def _pivots(self, count: int) -> NDArray[np.int64]:
        """Ranges of about equal size whose borders don't cut a run of equal keys."""
        positions = np.arange(count, dtype=np.int64) * len(self) // count
        firsts = self._rank(self._mapped(positions)) if len(self) else positions
        return np.append(firsts[np.append(True, firsts[1:] > firsts[:-1])], len(self))

    def _new_route(self, root: str, count: int) -> Route:
        if not len(self):
            return new_route(LINEAR, reals=(0.0, 0.0), words=(0,))
        positions = np.append(np.arange(0, len(self) - 1, max(1, len(self) // _SAMPLE)), len(self) - 1)
        keys = self._mapped(positions)
        targets, first = positions * (count / len(self)), keys[0]
        distances, span = (keys - first).astype(np.float64), int(keys[-1] - first)
        return TRAINERS[root](Sample(distances, targets, first, span, count, self._stored, self._codec.form))

    def _options(self) -> dict[str, Any]:
        return {"root": self.root, "leaf": self.leaf}

    def _set_options(self, options: Mapping[str, Any]) -> None:
        self.root, self.leaf = str(options["root"]), str(options["leaf"])
