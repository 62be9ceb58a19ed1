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
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, counted, uncounted, uncounted_inline
from sysgym.core.errors import SettingError
from sysgym.learned_index.directory import build_directory
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.last_mile import Word
from sysgym.learned_index.learned import LearnedIndex
from sysgym.learned_index.leaves import DIRECTORY, STRAIGHT, measure_leaf, new_route
from sysgym.learned_index.machine import Form

MAX_EPSILON = 1 << 20

Line = tuple[Word, int, Word, int]
"""Two points, x and y each."""


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
            count = int(fit_segments(self._stored, self._codec.form, self.epsilon, segments, STRAIGHT))
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


@uncounted_inline
def _narrow(
    x: Word, y: int, side: int, line: Line,
    near_x: NDArray[Word], near_y: NDArray[np.int64], near_begin: int, near_end: int,
    far_x: NDArray[Word], far_y: NDArray[np.int64], far_begin: int, far_end: int,
) -> tuple[Line, int, int]:  # fmt: skip
    """Let an extreme line pass a new point, which joins the far hull if the line had to move.

    `side` is 1 for the steepest line and a point that it passes below; -1 turns the plane upside down, for the
    shallowest line and a point that it passes above.

    Returns:
        The line, the beginning of the near hull, from which it comes, and the end of the far one.
    """
    from_x, from_y, to_x, to_y = line
    if not _shallower(x - from_x, side * (y - from_y), to_x - from_x, side * (to_y - from_y)):
        return line, near_begin, far_end
    best = near_begin
    for k in range(near_begin + 1, near_end):
        if _shallower(x - near_x[best], side * (y - near_y[best]), x - near_x[k], side * (y - near_y[k])):
            break
        best = k
    while far_end >= far_begin + 2 and not _shallower(
        far_x[far_end - 1] - far_x[far_end - 2],
        side * (far_y[far_end - 1] - far_y[far_end - 2]),
        x - far_x[far_end - 2],
        side * (y - far_y[far_end - 2]),
    ):
        far_end -= 1
    far_x[far_end], far_y[far_end] = x, y
    return (near_x[best], near_y[best], x, y), best, far_end + 1


@uncounted
def _slope(line: Line) -> float:
    return float(line[3] - line[1]) / float(line[2] - line[0])


@compiled
def fit_segments(
    stored: NDArray[Any],
    form: Form,
    epsilon: int,
    segments: NDArray[Any],
    straight: NDArray[np.float64],
) -> int:
    """Write the segments and measure them; their number, or -1 if there is no room for all.

    `upper` is the hull of the points (key, rank + epsilon), `lower` of (key, rank - epsilon). The shallowest line goes
    from the upper hull to a point below, the steepest from the lower hull to a point above.
    """
    n = len(stored)
    room = 4096
    upper_x, upper_y = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    lower_x, lower_y = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    upper_begin = upper_end = lower_begin = lower_end = 0
    shallowest = steepest = (np.uint64(0), 0, np.uint64(0), 0)
    count, points, start = 0, 0, 0
    i = 0
    while i <= n:
        x = mapped_key(stored[i], form) if i < n else np.uint64(0)
        above, below = i + epsilon, i - epsilon
        outside = i == n
        if not outside and points >= 2:
            from_x, from_y, to_x, to_y = shallowest
            outside = _shallower(x - to_x, above - to_y, to_x - from_x, to_y - from_y)
            from_x, from_y, to_x, to_y = steepest
            outside = outside or _shallower(to_x - from_x, to_y - from_y, x - to_x, below - to_y)
        if outside and points > 0:
            if count == len(segments):
                return -1
            segments[count]["start"], segments[count]["count"] = start, i - start
            segments[count]["base"] = mapped_key(stored[start], form)
            mean = 0.5 * (_slope(shallowest) + _slope(steepest)) if points >= 2 else 0.0
            segments[count]["slope"] = max(mean, 0.0)
            measure_leaf(stored, form, segments, straight, count)
            count += 1
            points = 0
        if i == n:
            break
        if points == 0:
            start, upper_begin, lower_begin = i, 0, 0
            shallowest, steepest = (x, above, x, below), (x, below, x, above)
        elif points == 1:
            shallowest = (shallowest[0], shallowest[1], x, below)
            steepest = (steepest[0], steepest[1], x, above)
        if points < 2:
            upper_x[points], upper_y[points], lower_x[points], lower_y[points] = x, above, x, below
            upper_end = lower_end = points + 1
        else:
            if upper_end == len(upper_x) or lower_end == len(lower_x):
                upper_x, upper_y = _doubled(upper_x), _doubled(upper_y)
                lower_x, lower_y = _doubled(lower_x), _doubled(lower_y)
            steepest, lower_begin, upper_end = _narrow(
                x, above, 1, steepest,
                lower_x, lower_y, lower_begin, lower_end, upper_x, upper_y, upper_begin, upper_end,
            )  # fmt: skip
            shallowest, upper_begin, lower_end = _narrow(
                x, below, -1, shallowest,
                upper_x, upper_y, upper_begin, upper_end, lower_x, lower_y, lower_begin, lower_end,
            )  # fmt: skip
        points += 1
        i += 1
        while i < n and mapped_key(stored[i], form) == x:
            i += 1
    return count


@counted
def _doubled(row: NDArray[Any]) -> NDArray[Any]:
    longer = np.empty(2 * len(row), dtype=row.dtype)
    longer[: len(row)] = row
    return longer
