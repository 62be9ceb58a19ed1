"""Roots of the recursive model index: each sends a key to one of many leaves.

A root is trained on the leaf number i * leaves / n of key i, over about 2^18 evenly spaced keys and their distances to
the smallest one, which are taken in integers. After Kraska et al. (2018), the reference code of Marcus et al.
(learnedsystems/RMI) and Maltry and Dittrich's bounded radix (analysis-rmi); `rmi` says where ours depart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.keys import mapped_key
from sysgym.learned_index.leaves import CUBIC, LINEAR, LOGLINEAR, LOGNORMAL, NORMAL, RADIX, TABLE, Route, new_route
from sysgym.learned_index.machine import Form

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What a root is trained on.

    Attributes:
        x: Distances of sampled keys to the smallest key, rising; float64.
        y: Their targets, in leaves.
        first: The smallest mapped key.
        span: The largest distance, as an integer.
        leaves: Number of leaves.
        stored: All keys, as the index holds them.
        form: See `machine.Form`.
    """

    x: Reals
    y: Reals
    first: np.uint64
    span: int
    leaves: int
    stored: NDArray[Any]
    form: Form

    @property
    def words(self) -> tuple[np.uint64]:
        """The route's only integer, where it needs no other."""
        return (self.first,)


Trainer = Callable[[Sample], Route]


def _line(x: Reals, y: Reals) -> tuple[float, float]:
    """Least squares; a line that is level, or would fall, is the mean."""
    spread = float(((x - x.mean()) ** 2).sum())
    slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum()) / spread) if spread > 0.0 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())


def _linear(s: Sample) -> Route:
    return new_route(LINEAR, reals=_line(s.x, s.y), words=s.words)


def _robust_linear(s: Sample) -> Route:
    """Without the first and last ten-thousandth of the keys."""
    cut = max(1, len(s.x) // 10_000) if len(s.x) > 2 else 0
    inner = slice(cut, len(s.x) - cut)
    return new_route(LINEAR, reals=_line(s.x[inner], s.y[inner]), words=s.words)


def _spline(s: Sample) -> tuple[float, float]:
    return (float(s.y[-1] / s.x[-1]) if s.x[-1] > 0 else 0.0), 0.0


def _linear_spline(s: Sample) -> Route:
    return new_route(LINEAR, reals=_spline(s), words=s.words)


def _cubic(s: Sample) -> Route:
    """A monotone cubic through both ends with the slopes at both ends; the line where that is closer."""
    line = new_route(CUBIC, reals=(1 / s.x[-1] if s.x[-1] > 0 else 0.0, 0.0, 0.0, float(s.y[-1])), words=s.words)
    if s.x[-1] <= 0 or s.y[-1] <= 0 or not ((s.x > 0) & (s.x < s.x[-1])).any():
        return line
    scaled, target = s.x / s.x[-1], s.y / s.y[-1]
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
    return new_route(CUBIC, reals=(1 / s.x[-1], a * s.y[-1], b * s.y[-1], c * s.y[-1]), words=s.words)


def _loglinear(s: Sample) -> Route:
    """A line through the logarithms of the targets."""
    inside = s.y > 0
    slope, intercept = _line(s.x[inside], np.log(s.y[inside])) if inside.any() else (0.0, 0.0)
    return new_route(LOGLINEAR, reals=(slope, intercept), words=s.words)


def _standardized(x: Reals, leaves: int) -> tuple[float, float, float]:
    deviation = float(x.std())
    scale = 1 / deviation if deviation > 0 else 0.0
    return scale, -float(x.mean()) * scale, float(leaves)


def _normal(s: Sample) -> Route:
    """A logistic curve in place of the normal distribution's."""
    return new_route(NORMAL, reals=_standardized(s.x, s.leaves), words=s.words)


def _lognormal(s: Sample) -> Route:
    return new_route(LOGNORMAL, reals=_standardized(np.log(np.maximum(s.x, 1.0)), s.leaves), words=s.words)


def _radix(s: Sample) -> Route:
    """The top bits of the distance to the smallest key; only a power of two of the leaves is used."""
    shift = max(0, s.span.bit_length() - (s.leaves.bit_length() - 1))
    return new_route(RADIX, words=(s.first, min(63, shift), s.leaves - 1))


def _bradix(s: Sample) -> Route:
    """As `radix`, or one bit more and cut at the top or at the bottom: what spreads the keys most evenly."""
    bits, span_bits = s.leaves.bit_length() - 1, s.span.bit_length()
    finer = min(63, max(0, span_bits - bits - 1))
    beyond = max(0, (s.span >> finer) + 1 - s.leaves)
    plain = _radix(s)
    top = new_route(RADIX, words=(s.first, finer, s.leaves - 1))
    bottom = new_route(RADIX, words=(int(s.first) + (beyond << finer), finer, s.leaves - 1))
    return min((plain, top, bottom), key=lambda route: _unevenness(s, route))


def _unevenness(s: Sample, route: Route) -> float:
    """Chi-square of the leaves' shares of the sample."""
    begin = float(int(route.words[0]) - int(s.first))
    leaf = np.clip(np.maximum(s.x - begin, 0.0) / 2.0 ** int(route.words[1]), 0, s.leaves - 1).astype(np.int64)
    filled = np.bincount(leaf).astype(np.float64)
    return float((filled**2).sum())


def _table(bits: int) -> Trainer:
    """A table over the top bits, which holds the leaf of the first key with each prefix."""

    def train(s: Sample) -> Route:
        shift = max(0, s.span.bit_length() - bits)
        last = s.span >> shift
        table = np.full(last + 2, s.leaves - 1, dtype=np.uint32)
        _fill_table(s.stored, s.form, s.first, np.uint64(shift), s.leaves, table)
        return new_route(TABLE, words=(s.first, shift, last), table=table)

    return train


@uncounted
def _fill_table(
    stored: NDArray[Any],
    form: Form,
    first: np.uint64,
    drop: np.uint64,
    leaves: int,
    table: NDArray[np.uint32],
) -> None:
    """Write the leaf of the first key of every prefix; prefixes without one get that of the next key."""
    n, prefix = len(stored), 0
    for i in range(n):
        own = np.int64((mapped_key(stored[i], form) - first) >> drop)
        if prefix <= own:
            leaf = min(i * leaves // n, leaves - 1)
            while prefix <= own:
                table[prefix] = leaf
                prefix += 1


TRAINERS: dict[str, Trainer] = {
    "linear": _linear,
    "robust_linear": _robust_linear,
    "linear_spline": _linear_spline,
    "cubic": _cubic,
    "loglinear": _loglinear,
    "normal": _normal,
    "lognormal": _lognormal,
    "radix": _radix,
    "bradix": _bradix,
    "radix8": _table(8),
    "radix18": _table(18),
    "radix22": _table(22),
    "radix26": _table(26),
    "radix28": _table(28),
}
