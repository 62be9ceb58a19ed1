"""The PGM-index (Ferragina and Vinciguerra, The PGM-index, PVLDB 13(8), 2020): the fewest lines within an error bound.

One pass keeps the convex hulls of the points a line must pass below and above, and the two extreme lines that still
pass between them (O'Rourke, An On-Line Algorithm for Fitting Straight Lines Between Data Ranges, 1981). Slopes are
compared exactly, in 128 bits. Departures: the levels above the segments are one static B+-tree over their first keys,
which for the few segments there are stays in the second cache; a segment's real errors are measured after it is
fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.learned_index.directory import build_directory
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.last_mile import Word
from sysgym.learned_index.learned import LearnedIndex
from sysgym.learned_index.leaves import DIRECTORY, STRAIGHT, measure_leaf, new_route
from sysgym.learned_index.machine import uncounted

MAX_EPSILON = 1 << 20


class PGMIndex(LearnedIndex):
    """The fewest linear segments that are within `epsilon` ranks of every key.

    O(log segments + log epsilon) a query, in very little memory: the choice where bytes count.

    Options:
        epsilon: Largest error of a segment, from 1 to 2^20.

    >>> PGMIndex.build(range(0, 10_000, 5), epsilon=16).leaf_count
    1
    """

    kind: ClassVar[str] = "pgm"

    def _fit(self, epsilon: int = 16) -> None:
        self._require_countable()
        self.epsilon = require_epsilon(epsilon)
        space = 64
        while True:  # the number of segments shows while they are made
            segments = self._new_leaves(space)
            count = int(fit_segments(self._stored, *self._codec.form, self.epsilon, segments, STRAIGHT))
            if count >= 0:
                break
            space *= 8
        self._leaves = self._new_leaves(count)
        self._leaves[:] = segments[:count]
        tree, layers = build_directory(np.ascontiguousarray(self._leaves["base"]))
        self._route = new_route(DIRECTORY, tree=tree, layers=layers)

    def _options(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}

    def _set_options(self, options: Mapping[str, Any]) -> None:
        self.epsilon = int(options["epsilon"])


def require_epsilon(epsilon: Any) -> int:
    """An error bound as an integer.

    Raises:
        SettingError: It is not a whole number from 1 to 2^20.
    """
    if not isinstance(epsilon, int | np.integer) or isinstance(epsilon, bool) or not 1 <= epsilon <= MAX_EPSILON:
        raise SettingError(f"epsilon is {epsilon}; it must be a whole number from 1 to 2^20")
    return int(epsilon)


@uncounted
def _product_less(a: Word, b: Word, c: Word, d: Word) -> bool:
    """Whether a * b < c * d in 128 bits; b and d are below 2^33. Floats decide where their rounding cannot matter."""
    left, right = float(a) * float(b), float(c) * float(d)
    if abs(left - right) > 1e-15 * (left + right):
        return left < right
    half = np.uint64(32)
    mask = np.uint64(0xFFFFFFFF)
    left_low, right_low = (a & mask) * b, (c & mask) * d
    left_high, right_high = (a >> half) * b + (left_low >> half), (c >> half) * d + (right_low >> half)
    if left_high != right_high:
        return left_high < right_high
    return (left_low & mask) < (right_low & mask)


@uncounted
def _shallower(x1: Word, y1: int, x2: Word, y2: int) -> bool:
    """Whether y1 / x1 < y2 / x2, exactly; both x are positive."""
    if y1 < 0:
        return y2 >= 0 or _product_less(x1, np.uint64(-y2), x2, np.uint64(-y1))
    return y2 > 0 and _product_less(x2, np.uint64(y1), x1, np.uint64(y2))


@njit(cache=True, nogil=True)
def fit_segments(
    stored: NDArray[Any],
    sign: Word,
    flip: Word,
    shift: Word,
    epsilon: int,
    segments: NDArray[Any],
    straight: NDArray[np.float64],
) -> int:
    """Write the segments and measure them; their number, or -1 if there is no room for all.

    `upper` is the hull of the points (key, rank + epsilon), `lower` of (key, rank - epsilon). The shallowest line goes
    from `flat_x` on the upper hull to `flat_end_x` below, the steepest from `steep_x` on the lower hull to
    `steep_end_x` above.
    """
    n = len(stored)
    room = 4096
    upper_x, upper_y = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    lower_x, lower_y = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    upper_begin = upper_end = lower_begin = lower_end = 0
    flat_x = flat_end_x = steep_x = steep_end_x = np.uint64(0)
    flat_y = flat_end_y = steep_y = steep_end_y = 0
    count, points, start = 0, 0, 0
    i = 0
    while i <= n:
        x = mapped_key(stored[i], sign, flip, shift) if i < n else np.uint64(0)
        above, below = i + epsilon, i - epsilon
        outside = i == n
        if not outside and points >= 2:
            outside = _shallower(
                x - flat_end_x, above - flat_end_y, flat_end_x - flat_x, flat_end_y - flat_y
            ) or _shallower(steep_end_x - steep_x, steep_end_y - steep_y, x - steep_end_x, below - steep_end_y)
        if outside and points > 0:
            if count == len(segments):
                return -1
            segments[count]["start"], segments[count]["count"] = start, i - start
            segments[count]["base"] = mapped_key(stored[start], sign, flip, shift)
            if points >= 2:
                flat = float(flat_end_y - flat_y) / float(flat_end_x - flat_x)
                steep = float(steep_end_y - steep_y) / float(steep_end_x - steep_x)
                segments[count]["slope"] = max(0.5 * (flat + steep), 0.0)
            else:
                segments[count]["slope"] = 0.0
            measure_leaf(stored, sign, flip, shift, segments, straight, count)
            count += 1
            points = 0
        if i == n:
            break
        if points == 0:
            start = i
            flat_x, flat_y, steep_x, steep_y = x, above, x, below
            upper_x[0], upper_y[0], lower_x[0], lower_y[0] = x, above, x, below
            upper_begin, upper_end, lower_begin, lower_end = 0, 1, 0, 1
        elif points == 1:
            flat_end_x, flat_end_y, steep_end_x, steep_end_y = x, below, x, above
            upper_x[1], upper_y[1], lower_x[1], lower_y[1] = x, above, x, below
            upper_end = lower_end = 2
        else:
            if upper_end == len(upper_x) or lower_end == len(lower_x):
                upper_x, upper_y = _doubled(upper_x), _doubled(upper_y)
                lower_x, lower_y = _doubled(lower_x), _doubled(lower_y)
            if _shallower(x - steep_x, above - steep_y, steep_end_x - steep_x, steep_end_y - steep_y):
                best = lower_begin
                for k in range(lower_begin + 1, lower_end):
                    if _shallower(x - lower_x[best], above - lower_y[best], x - lower_x[k], above - lower_y[k]):
                        break
                    best = k
                steep_x, steep_y, steep_end_x, steep_end_y = lower_x[best], lower_y[best], x, above
                lower_begin = best
                while upper_end >= upper_begin + 2 and not _shallower(
                    upper_x[upper_end - 1] - upper_x[upper_end - 2],
                    upper_y[upper_end - 1] - upper_y[upper_end - 2],
                    x - upper_x[upper_end - 2],
                    above - upper_y[upper_end - 2],
                ):
                    upper_end -= 1
                upper_x[upper_end], upper_y[upper_end] = x, above
                upper_end += 1
            if _shallower(flat_end_x - flat_x, flat_end_y - flat_y, x - flat_x, below - flat_y):
                best = upper_begin
                for k in range(upper_begin + 1, upper_end):
                    if _shallower(x - upper_x[k], below - upper_y[k], x - upper_x[best], below - upper_y[best]):
                        break
                    best = k
                flat_x, flat_y, flat_end_x, flat_end_y = upper_x[best], upper_y[best], x, below
                upper_begin = best
                while lower_end >= lower_begin + 2 and not _shallower(
                    x - lower_x[lower_end - 2],
                    below - lower_y[lower_end - 2],
                    lower_x[lower_end - 1] - lower_x[lower_end - 2],
                    lower_y[lower_end - 1] - lower_y[lower_end - 2],
                ):
                    lower_end -= 1
                lower_x[lower_end], lower_y[lower_end] = x, below
                lower_end += 1
        points += 1
        i += 1
        while i < n and mapped_key(stored[i], sign, flip, shift) == x:
            i += 1
    return count


@njit(cache=True, nogil=True)
def _doubled(row: NDArray[Any]) -> NDArray[Any]:
    longer = np.empty(2 * len(row), dtype=row.dtype)
    longer[: len(row)] = row
    return longer
