"""The recursive model index with two layers (Kraska et al., The Case for Learned Index Structures, SIGMOD 2018).

A root model sends a key to one of many leaves, the leaf predicts its position. Roots are trained on the leaf number
i * leaves / n of key i. Departures from the published code: differences to the smallest key are taken in integers; a
root of pivots (`histogram`) is searched as a B+-tree; regressions look at about 2^18 evenly spaced keys;
bounds hold for absent keys too (see `leaves` and `last_mile`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.learned_index.directory import build_directory
from sysgym.learned_index.learned import LearnedIndex, new_route
from sysgym.learned_index.leaves import CUBIC, DIRECTORY, LINEAR, RADIX, TABLE, Route, fit_leaves, route_keys

MODELS = ("linear", "linear_spline")
MAX_LEAVES = 1 << 26
_SAMPLE = 1 << 18


class RMI(LearnedIndex):
    """A root model, then one line a leaf.

    O(1) a query where the root fits the keys; one outlier spoils `linear`, `linear_spline`, `cubic` and `radix`.
    `robust_linear` survives a few, `radix18` and `radix22` many, `histogram` anything, for O(log leaves) in its root.

    Options:
        root: linear, robust_linear, linear_spline, cubic, radix, radix18, radix22, or histogram.
        leaf: linear (least squares) or linear_spline (through the first and the last key).
        leaves: Number of leaf models, from 1 to 2^26; about n / 256 when left out.

    >>> index = RMI.build([1, 4, 9, 16, 25], root="linear", leaves=2)
    >>> index.search(16), index.search(16, side="right"), index.contains(17)
    (3, 4, False)
    """

    kind: ClassVar[str] = "rmi"

    def _fit(self, root: str = "histogram", leaf: str = "linear", leaves: int | None = None) -> None:
        self._require_countable()
        if root not in ROOTS:
            raise UnknownNameError("root", root, ROOTS)
        if leaf not in MODELS:
            raise UnknownNameError("leaf", leaf, MODELS)
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
            route_keys(self._stored, *self._codec.form, self._route, self._leaves, starts)
        fit_leaves(self._stored, *self._codec.form, starts, leaf == "linear_spline", self._leaves)

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
        first = keys[0]
        return ROOTS[root](self, (keys - first).astype(np.float64), positions * (count / len(self)), first, count)

    def _options(self) -> dict[str, Any]:
        return {"root": self.root, "leaf": self.leaf}

    def _set_options(self, options: Mapping[str, Any]) -> None:
        self.root, self.leaf = str(options["root"]), str(options["leaf"])


Trainer = Callable[[RMI, NDArray[np.float64], NDArray[np.float64], np.uint64, int], Route]
"""Index, sampled distances to the smallest key, their targets in leaves, the smallest key, leaves."""


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Least squares; a line that is level, or would fall, is the mean."""
    spread = float(((x - x.mean()) ** 2).sum())
    slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum()) / spread) if spread > 0.0 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())


def _linear(_: RMI, x: NDArray[np.float64], y: NDArray[np.float64], first: np.uint64, count: int) -> Route:
    return new_route(LINEAR, reals=_line(x, y), words=(first,))


def _robust_linear(_: RMI, x: NDArray[np.float64], y: NDArray[np.float64], first: np.uint64, count: int) -> Route:
    """Without the first and last ten-thousandth of the keys."""
    cut = max(1, len(x) // 10_000) if len(x) > 2 else 0
    return new_route(LINEAR, reals=_line(x[cut : len(x) - cut], y[cut : len(y) - cut]), words=(first,))


def _spline(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    return (float(y[-1] / x[-1]) if x[-1] > 0 else 0.0), 0.0


def _linear_spline(_: RMI, x: NDArray[np.float64], y: NDArray[np.float64], first: np.uint64, count: int) -> Route:
    return new_route(LINEAR, reals=_spline(x, y), words=(first,))


def _cubic(_: RMI, x: NDArray[np.float64], y: NDArray[np.float64], first: np.uint64, count: int) -> Route:
    """A monotone cubic through both ends with the slopes at both ends; the line where that is closer."""
    line = new_route(LINEAR, reals=_spline(x, y), words=(first,))
    if x[-1] <= 0 or y[-1] <= 0 or not ((x > 0) & (x < x[-1])).any():
        return line
    scaled, target = x / x[-1], y / y[-1]
    inside = np.flatnonzero((scaled > 0) & (scaled < 1))
    left = float(target[inside[0]] / scaled[inside[0]])
    right = float((1 - target[inside[-1]]) / (1 - scaled[inside[-1]]))
    steep = left * left + right * right
    if steep > 9.0:
        left, right = 3 * left / np.sqrt(steep), 3 * right / np.sqrt(steep)
    a, b, c = left + right - 2, 3 - 2 * left - right, left
    curve = ((a * scaled + b) * scaled + c) * scaled
    if np.abs(curve - target).sum() > np.abs(scaled - target).sum():
        return line
    return new_route(CUBIC, reals=(1 / x[-1], a * y[-1], b * y[-1], c * y[-1]), words=(first,))


def _span_bits(index: RMI) -> int:
    ends = index._mapped(np.array([0, -1]))
    return int(ends[1] - ends[0]).bit_length()


def _radix(index: RMI, x: NDArray[np.float64], y: NDArray[np.float64], first: np.uint64, count: int) -> Route:
    """The top bits of the distance to the smallest key."""
    shift = max(0, _span_bits(index) - (count.bit_length() - 1))
    return new_route(RADIX, words=(first, min(63, shift), count - 1))


def _table(bits: int) -> Trainer:
    """A table over the top bits, which holds the leaf of the first key with each prefix."""

    def train(index: RMI, x: NDArray[np.float64], y: NDArray[np.float64], first: np.uint64, count: int) -> Route:
        span, ends = _span_bits(index), index._mapped(np.array([0, -1]))
        shift = max(0, span - bits)
        borders = np.arange((int(ends[1] - ends[0]) >> shift) + 1, dtype=np.uint64) << np.uint64(shift)
        leaves = np.minimum(index._rank(borders + first) * count // len(index), count - 1).astype(np.uint32)
        return new_route(TABLE, words=(first, shift, len(leaves) - 1), table=np.append(leaves, np.uint32(count - 1)))

    return train


ROOTS: dict[str, Any] = {
    "linear": _linear,
    "robust_linear": _robust_linear,
    "linear_spline": _linear_spline,
    "cubic": _cubic,
    "radix": _radix,
    "radix18": _table(18),
    "radix22": _table(22),
    "histogram": None,
}
