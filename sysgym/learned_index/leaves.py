"""Leaves of a learned index: a line through the ranks of some neighbouring keys, with the errors it makes.

RMI, PGM-index and RadixSpline differ in how they choose leaves and how they find the leaf of a query. What a leaf is,
how it is measured and how it is searched is the same and stands here.

A leaf predicts `start + min(slope * (query - base), count)`. `low` and `high` bound rank minus prediction for every
key of the leaf and every query between two of them, so they take the place of an intercept too. The difference to
`base` is taken in integers, then becomes a float: close keys never merge. With a slope that isn't negative every step
is monotone in floating point.

A bent leaf (`bends` is not empty) has a cubic through its first and last key instead: its `slope` scales the leaf to
[0, 1], and the bends are the curve's steepness at both ends, in ranks. Rounding may make it fall by a hair; then the
check of the edges holds the answer up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.directory import descend_group, descend_one
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.last_mile import GROUP, Word, finish_group, finish_one
from sysgym.learned_index.machine import BLOCK, Form, prefetch

LEAF = np.dtype([("base", "u8"), ("slope", "f8"), ("start", "u4"), ("count", "u4"), ("low", "i4"), ("high", "i4")])
"""Half a cache line. Ranks have 32 bits, so an index holds at most `MAX_KEYS` keys."""

MAX_KEYS = (1 << 32) - 1
_WIDEST = 1 << 30
_LINE_KEYS = 8

LINEAR, CUBIC, RADIX, TABLE, DIRECTORY, KNOTS, LOGLINEAR, NORMAL, LOGNORMAL = range(9)
"""Kinds of routes."""

STRAIGHT = np.empty(0, dtype=np.float64)
"""The bends of leaves that are lines."""


class Route(NamedTuple):
    """How the leaf of a query is found.

    Attributes:
        kind: One of the nine above.
        reals: LINEAR and LOGLINEAR: slope, intercept; CUBIC: scale to [0, 1] and the three coefficients, in leaves;
            NORMAL and LOGNORMAL: 1 / deviation, -mean / deviation, leaves.
        words: Smallest key; RADIX, TABLE and KNOTS: then the bits below a prefix, and the largest prefix.
        table: TABLE: leaf of each prefix; KNOTS: first knot of each prefix.
        tree: DIRECTORY: separators; KNOTS: first key of each leaf.
        layers: DIRECTORY: begin of each layer.
    """

    kind: int
    reals: NDArray[np.float64]
    words: NDArray[np.uint64]
    table: NDArray[np.uint32]
    tree: NDArray[np.uint64]
    layers: NDArray[np.int64]


def new_route(
    kind: int,
    *,
    reals: Any = (),
    words: Any = (),
    table: NDArray[np.uint32] | None = None,
    tree: NDArray[np.uint64] | None = None,
    layers: NDArray[np.int64] | None = None,
) -> Route:
    """A route, with empty arrays where its kind has none."""
    return Route(
        kind,
        np.array(reals, dtype=np.float64),
        np.array(words, dtype=np.uint64),
        np.empty(0, dtype=np.uint32) if table is None else table,
        np.empty(0, dtype=np.uint64) if tree is None else tree,
        np.empty(0, dtype=np.int64) if layers is None else layers,
    )


@uncounted
def prefix_of(words: NDArray[np.uint64], query: Word) -> int:
    """The bits of a query that a radix table looks at; queries outside of the keys get the first or the last."""
    if query < words[0]:
        return 0
    return np.int64(min((query - words[0]) >> words[1], words[2]))


@uncounted
def leaf_of(route: Route, leaves: NDArray[Any], query: Word) -> int:
    """The leaf that a route leads to; O(1), or O(log leaves) for DIRECTORY."""
    last = len(leaves) - 1
    if route.kind == DIRECTORY:
        return min(descend_one(route.tree, route.layers, query), last)
    if RADIX <= route.kind <= KNOTS:
        prefix = prefix_of(route.words, query)
        if route.kind == RADIX:
            return prefix
        begin = np.int64(route.table[prefix])
        if route.kind == TABLE:
            return min(begin, last)
        length = np.int64(route.table[prefix + 1]) - begin
        while length > 0:
            half = length >> 1
            if route.tree[begin + half] < query:
                begin += half + 1
                length -= half + 1
            else:
                length = half
        return max(begin - 1, 0)
    distance = float(query - route.words[0]) if query > route.words[0] else 0.0
    if route.kind == CUBIC:
        x = min(route.reals[0] * distance, 1.0)
        guess = ((route.reals[1] * x + route.reals[2]) * x + route.reals[3]) * x
    else:
        x = np.log(max(distance, 1.0)) if route.kind == LOGNORMAL else distance
        guess = route.reals[0] * x + route.reals[1]
        if route.kind == LOGLINEAR:
            guess = (1.0 + min(max(guess, -60.0), 60.0) / 64.0) ** 64
        elif route.kind != LINEAR:
            guess = route.reals[2] / (1.0 + np.exp(-1.65451 * guess))
    if not guess > 0.0:
        return 0
    return last if guess >= last else int(guess)


@uncounted
def predict(leaves: NDArray[Any], bends: NDArray[np.float64], leaf: int, query: Word) -> Any:
    """The rank that a leaf predicts, before its errors."""
    base, count = leaves[leaf]["base"], np.int64(leaves[leaf]["count"])
    if query <= base:
        return np.int64(leaves[leaf]["start"])
    offset = leaves[leaf]["slope"] * float(query - base)
    if len(bends):
        x, left, right = min(offset, 1.0), bends[2 * leaf], bends[2 * leaf + 1]
        rise = float(count - 1)
        offset = (((left + right - 2 * rise) * x + (3 * rise - 2 * left - right)) * x + left) * x
        offset = max(offset, 0.0)
    return np.int64(leaves[leaf]["start"]) + (int(offset) if offset < count else count)


@uncounted
def window_of(leaves: NDArray[Any], bends: NDArray[np.float64], leaf: int, query: Word, lead: Any) -> tuple[int, int]:
    """First key and number of keys that must be looked at; a short window's block begins on a cache line if it can."""
    guess, start = predict(leaves, bends, leaf, query), np.int64(leaves[leaf]["start"])
    low = max(guess + np.int64(leaves[leaf]["low"]), start)
    high = min(guess + np.int64(leaves[leaf]["high"]), start + np.int64(leaves[leaf]["count"]))
    length = max(high - low, 0)
    if length > BLOCK:
        return low, length
    ahead = (low + lead) & (_LINE_KEYS - 1)
    return (low - ahead if ahead + length <= BLOCK else low - ((BLOCK - length) >> 1)), BLOCK


@uncounted
def search_leaves(
    stored: NDArray[Any],
    form: Form,
    route: Route,
    leaves: NDArray[Any],
    bends: NDArray[np.float64],
    queries: NDArray[Word],
    step: Word,
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """Positions of mapped queries; the number of windows that did not hold their answer."""
    parts, starts, lengths = scratch[:GROUP], scratch[GROUP : 2 * GROUP], scratch[2 * GROUP :]
    lead = np.int64((stored.ctypes.data & 63) // stored.itemsize)
    misses = 0
    for first in range(0, len(queries), GROUP):
        group = queries[first : min(first + GROUP, len(queries))]
        if route.kind == DIRECTORY:
            descend_group(route.tree, route.layers, group, step, parts)
            for j in range(len(group)):
                parts[j] = min(parts[j], len(leaves) - 1)
                prefetch(leaves, parts[j])
        else:
            if route.kind in (TABLE, KNOTS):
                for j in range(len(group)):
                    prefetch(route.table, prefix_of(route.words, group[j] + step))
            for j in range(len(group)):
                parts[j] = leaf_of(route, leaves, group[j] + step)
                prefetch(leaves, parts[j])
        if len(bends):
            for j in range(len(group)):
                prefetch(bends, 2 * parts[j])
        for j in range(len(group)):
            starts[j], lengths[j] = window_of(leaves, bends, parts[j], group[j] + step, lead)
        misses += finish_group(stored, form, group, step, starts, lengths, out[first : first + len(group)])
    return misses


@uncounted
def search_leaf(
    stored: NDArray[Any],
    form: Form,
    route: Route,
    leaves: NDArray[Any],
    bends: NDArray[np.float64],
    query: Word,
) -> int:
    """Position of one mapped query."""
    start, length = window_of(leaves, bends, leaf_of(route, leaves, query), query, 0)
    position, _ = finish_one(stored, form, query, start, length)
    return position


@uncounted
def route_keys(
    stored: NDArray[Any],
    form: Form,
    route: Route,
    leaves: NDArray[Any],
    starts: NDArray[np.int64],
) -> None:
    """Write the first key of each leaf, and n behind them: where a route sends the sorted keys."""
    n, seen = len(stored), 0
    starts[:] = n
    for i in range(n):
        leaf = leaf_of(route, leaves, mapped_key(stored[i], form))
        while seen <= leaf:
            starts[seen] = i
            seen += 1


@uncounted
def _least_squares(stored: NDArray[Any], form: Form, start: int, end: int) -> float:
    """Slope of the regression of first ranks on keys; never negative."""
    base = mapped_key(stored[start], form)
    sum_x = sum_y = sum_xx = sum_xy = 0.0
    previous, rank = base, 0
    for i in range(start, end):
        key = mapped_key(stored[i], form)
        if key != previous:
            previous, rank = key, i - start
        x, y = float(key - base), float(rank)
        sum_x += x
        sum_y += y
        sum_xx += x * x
        sum_xy += x * y
    count = float(end - start)
    spread = sum_xx - sum_x * sum_x / count
    return max((sum_xy - sum_x * sum_y / count) / spread, 0.0) if spread > 0.0 else 0.0


@uncounted
def measure_leaf(
    stored: NDArray[Any],
    form: Form,
    leaves: NDArray[Any],
    bends: NDArray[np.float64],
    leaf: int,
) -> int:
    """Set `low` and `high` of a leaf whose line stands; the width of its window.

    Between two keys a query has the rank of the upper one and a prediction that is not below the lower one's. So the
    largest error is that of a key's prediction to the first rank behind its run of equal keys.
    """
    start, count = np.int64(leaves[leaf]["start"]), np.int64(leaves[leaf]["count"])
    low = high = np.int64(0)
    i = start
    while i < start + count:
        key = mapped_key(stored[i], form)
        after = i + 1
        while after < start + count and mapped_key(stored[after], form) == key:
            after += 1
        guess = predict(leaves, bends, leaf, key)
        low, high = min(low, i - guess), max(high, after - guess)
        i = after
    leaves[leaf]["low"], leaves[leaf]["high"] = max(low, -_WIDEST), min(high, _WIDEST)
    return high - low


@uncounted
def _bend(
    stored: NDArray[Any],
    form: Form,
    start: int,
    end: int,
    bends: NDArray[np.float64],
    leaf: int,
) -> None:
    """Set the steepness of a leaf's cubic at both ends, cut so that it rises; that of a line where a line is closer."""
    base, last = mapped_key(stored[start], form), mapped_key(stored[end - 1], form)
    scale, rise = 1.0 / float(last - base), float(end - 1 - start)
    left = right = rise
    for i in range(start + 1, end - 1):
        x = float(mapped_key(stored[i], form) - base) * scale
        if x > 0.0:
            left = float(i - start) / x if x < 1.0 else rise
            break
    for i in range(end - 2, start, -1):
        x = float(mapped_key(stored[i], form) - base) * scale
        if x < 1.0:
            right = (rise - float(i - start)) / (1.0 - x) if x > 0.0 else rise
            break
    steep = np.sqrt(left * left + right * right)
    if steep > 3.0 * rise:
        left, right = 3.0 * rise * left / steep, 3.0 * rise * right / steep
    gain = 0.0
    for i in range(start, end):
        x = float(mapped_key(stored[i], form) - base) * scale
        curve = (((left + right - 2 * rise) * x + (3 * rise - 2 * left - right)) * x + left) * x
        gain += abs(rise * x - float(i - start)) - abs(curve - float(i - start))
    bends[2 * leaf], bends[2 * leaf + 1] = (left, right) if gain > 0.0 else (rise, rise)


@uncounted
def fit_leaves(
    stored: NDArray[Any],
    form: Form,
    starts: NDArray[np.int64],
    spline: bool,
    leaves: NDArray[Any],
    bends: NDArray[np.float64],
) -> None:
    """Fit and measure a model over each range of keys; an empty range answers its own begin.

    Args:
        stored: Keys.
        form: See `machine.Form`.
        starts: First key of each leaf, and n behind them.
        spline: The line through the first and last key, rather than least squares.
        leaves: Written.
        bends: Written, unless it is empty: two a leaf, for cubics.
    """
    for leaf in range(len(leaves)):
        start, end = starts[leaf], starts[leaf + 1]
        leaves[leaf]["start"], leaves[leaf]["count"] = start, end - start
        leaves[leaf]["base"], leaves[leaf]["slope"] = 0, 0.0
        leaves[leaf]["low"] = leaves[leaf]["high"] = 0
        if end == start:
            continue
        base = mapped_key(stored[start], form)
        leaves[leaf]["base"] = base
        span = mapped_key(stored[end - 1], form) - base
        if span > 0:
            if len(bends):
                leaves[leaf]["slope"] = 1.0 / float(span)
                _bend(stored, form, start, end, bends, leaf)
            elif spline:
                leaves[leaf]["slope"] = float(end - 1 - start) / float(span)
            else:
                leaves[leaf]["slope"] = _least_squares(stored, form, start, end)
        measure_leaf(stored, form, leaves, bends, leaf)
