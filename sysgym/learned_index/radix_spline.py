"""RadixSpline (Kipf et al., RadixSpline: A Single-Pass Learned Index, aiDM 2020): a spline, and a table of prefixes.

One pass keeps a corridor of slopes from the last knot. Departures: only the first rank of equal keys is a point,
where the reference's last knot takes the last rank and its bounds then fail; each piece's real errors are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.learned import LearnedIndex
from sysgym.learned_index.leaves import KNOTS, STRAIGHT, measure_leaf, new_route
from sysgym.learned_index.machine import Form
from sysgym.learned_index.pgm import require_epsilon

MAX_RADIX_BITS = 28


class RadixSpline(LearnedIndex):
    """Spline pieces within `epsilon` ranks of the keys, found through a table over the top bits of a key.

    O(log of the knots that share a prefix + log epsilon) a query; built in one pass. A single outlier makes the
    prefixes of all other keys equal, which costs time alone.

    Options:
        radix_bits: Bits of the table's prefixes, from 1 to 28; 4 bytes for each prefix that is possible.
        epsilon: Largest error of the spline, from 1 to 2^20.

    >>> RadixSpline.build([1, 2, 3, 500, 501]).search(500)
    3
    """

    kind: ClassVar[str] = "radix_spline"

    def _fit(self, radix_bits: int = 18, epsilon: int = 16) -> None:
        self._require_countable()
        self.epsilon = require_epsilon(epsilon)
        if not isinstance(radix_bits, int | np.integer) or not 1 <= radix_bits <= MAX_RADIX_BITS:
            raise SettingError(f"radix_bits is {radix_bits}; it must be a whole number from 1 to {MAX_RADIX_BITS}")
        self.radix_bits = int(radix_bits)
        space = 64
        while True:  # the number of knots shows while they are made
            pieces = self._new_leaves(space)
            count = int(fit_spline(self._stored, self._codec.form, float(self.epsilon), pieces, STRAIGHT))
            if count >= 0:
                break
            space *= 8
        self._leaves = self._new_leaves(count)
        self._leaves[:] = pieces[:count]
        knots = np.ascontiguousarray(self._leaves["base"])
        ends = self._mapped(np.array([0, -1])) if len(self) else np.zeros(2, dtype=np.uint64)
        shift = max(0, int(ends[1] - ends[0]).bit_length() - self.radix_bits)
        prefixes = (knots - ends[0]) >> np.uint64(shift)
        possible = np.arange((int(ends[1] - ends[0]) >> shift) + 2, dtype=np.uint64)
        table = np.searchsorted(prefixes, possible).astype(np.uint32)
        self._route = new_route(KNOTS, words=(ends[0], shift, len(table) - 2), table=table, tree=knots)

    def _options(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "radix_bits": self.radix_bits}

    def _set_options(self, options: Mapping[str, Any]) -> None:
        self.epsilon, self.radix_bits = int(options["epsilon"]), int(options["radix_bits"])


@uncounted
def fit_spline(
    stored: NDArray[Any],
    form: Form,
    epsilon: float,
    pieces: NDArray[Any],
    straight: NDArray[np.float64],
) -> int:
    """Write the pieces between knots and measure them; their number, or -1 if there is no room for all.

    A piece runs from its knot to before the next; the last key is a knot, with a piece of its own run. `straight` is
    empty.
    """
    n, count = len(stored), 0
    start, start_key = 0, mapped_key(stored[0], form) if n else np.uint64(0)
    before, before_key = 0, start_key
    least, most = 0.0, np.inf
    i = 0
    while i < n:
        key = mapped_key(stored[i], form)
        if key != before_key:
            slope = float(i - start) / float(key - start_key)
            if before > start and (slope < least or slope > most):
                if count == len(pieces):
                    return -1
                _write_piece(stored, form, pieces, straight, count, start, before)
                count += 1
                start, start_key = before, before_key
                least, most = 0.0, np.inf
            width = float(key - start_key)
            least = max(least, (float(i - start) - epsilon) / width)
            most = min(most, (float(i - start) + epsilon) / width)
            before, before_key = i, key
        i += 1
    if n == 0:
        return 0
    if count + 2 > len(pieces):
        return -1
    if before > start:
        _write_piece(stored, form, pieces, straight, count, start, before)
        count += 1
    _write_piece(stored, form, pieces, straight, count, before, n)
    return count + 1


@uncounted
def _write_piece(
    stored: NDArray[Any],
    form: Form,
    pieces: NDArray[Any],
    straight: NDArray[np.float64],
    piece: int,
    start: int,
    end: int,
) -> None:
    base = mapped_key(stored[start], form)
    pieces[piece]["base"], pieces[piece]["start"], pieces[piece]["count"] = base, start, end - start
    pieces[piece]["slope"] = 0.0
    if end < len(stored):
        span = mapped_key(stored[end], form) - base
        if span > 0:
            pieces[piece]["slope"] = float(end - start) / float(span)
    measure_leaf(stored, form, pieces, straight, piece)
