"""The grid of configurations, and the state of a search through it.

A configuration is a root, a leaf and a fan-out: 7 x 3 x 19 = 399, the grid of the CDFShop optimizer (Marcus et al.,
CDFShop, SIGMOD 2020; learnedsystems/RMI). Its size in bytes follows from the fan-out, its latency must be found out by
an evaluation. What counts is how much of the plane of log2 bytes and nanoseconds the evaluated ones dominate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOTS = ("radix", "radix18", "radix22", "robust_linear", "linear", "cubic", "linear_spline")
LEAVES = ("linear", "cubic", "linear_spline")
FANOUT_BITS = tuple(range(6, 25))
COUNT = len(ROOTS) * len(LEAVES) * len(FANOUT_BITS)
REFERENCE_LOG_BYTES = 30.0
"""Of the hypervolume: an index of one GiB counts for nothing."""

_LINE_BYTES, _CUBIC_BYTES = 32, 48
_TABLE_BITS = {1: 18, 2: 22}
_ROOT_BYTES = (24, 24, 24, 24, 24, 40, 24)


class Configuration(NamedTuple):
    """One recursive model index: names of `rmi.RMI`'s options, and the number of leaves."""

    root: str
    leaf: str
    fanout: int


def configuration(action: int) -> Configuration:
    """The configuration of an action: fan-outs run fastest, then leaves, then roots."""
    root, leaf, bits = np.unravel_index(action, (len(ROOTS), len(LEAVES), len(FANOUT_BITS)))
    return Configuration(ROOTS[int(root)], LEAVES[int(leaf)], 1 << FANOUT_BITS[int(bits)])


def action_of(root: str, leaf: str, fanout_bits: int) -> int:
    """The inverse of `configuration`.

    >>> configuration(action_of("cubic", "linear", 18))
    Configuration(root='cubic', leaf='linear', fanout=262144)
    """
    place = ROOTS.index(root), LEAVES.index(leaf), FANOUT_BITS.index(fanout_bits)
    return (place[0] * len(LEAVES) + place[1]) * len(FANOUT_BITS) + place[2]


def _columns() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    grid = np.indices((len(ROOTS), len(LEAVES), len(FANOUT_BITS))).reshape(3, -1)
    return grid[0], grid[1], grid[2] + FANOUT_BITS[0]


ROOT_OF, LEAF_OF, BITS_OF = _columns()
"""Number of the root, number of the leaf and log2 of the fan-out of every action, shape (399,)."""


def leaf_counts(keys: int) -> NDArray[np.int64]:
    """Leaves of every configuration, shape (399,): no more than there are keys."""
    return np.minimum(np.int64(1) << BITS_OF, max(1, keys))


def leaf_bytes(keys: int) -> NDArray[np.int64]:
    """Bytes of the leaves of every configuration, shape (399,)."""
    return leaf_counts(keys) * np.where(LEAVES.index("cubic") == LEAF_OF, _CUBIC_BYTES, _LINE_BYTES)


def root_bytes(span: int) -> NDArray[np.int64]:
    """Bytes of the root of every configuration on keys whose largest distance is `span`, shape (399,)."""
    size = np.array(_ROOT_BYTES, dtype=np.int64)
    for root, bits in _TABLE_BITS.items():
        size[root] += 4 * ((span >> max(0, span.bit_length() - bits)) + 2)
    return size[ROOT_OF]


def aliases(keys: int) -> NDArray[np.bool_]:
    """Configurations that are the same as one of a smaller fan-out, because there are too few keys; shape (399,)."""
    counts = leaf_counts(keys).reshape(len(ROOTS) * len(LEAVES), -1)
    same = np.zeros(counts.shape, dtype=np.bool_)
    same[:, 1:] = counts[:, 1:] == counts[:, :-1]
    return same.ravel()


class TuningState(NamedTuple):
    """A search as it stands; read-only. A candidate is a configuration, in the order of the actions.

    Attributes:
        time: Seconds that the evaluations so far have taken.
        evaluations: How many those are.
        budget: How many are allowed.
        keys: Number of keys.
        allowed: bool, shape (399,): not evaluated yet, and no alias of a smaller fan-out.
        log_bytes: float64, shape (399,): log2 of each candidate's bytes, which is known beforehand.
        latency: float64, shape (399,): nanoseconds a query; NaN where it was not evaluated.
        estimate: float64, shape (399,): latency as a sample of 4096 keys lets expect it.
        expected: float64, shape (399,): the estimate, corrected by what evaluations of similar candidates showed.
        confidence: float64, shape (399,): how much was evaluated near a candidate, 0 to 1.
        gain: float64, shape (399,): hypervolume that the candidate would add if it were as expected, over `promise`.
        reference: Nanoseconds of a search without any index: beyond that nothing counts.
        promise: Hypervolume of all candidates if they were as estimated at the beginning.
        hypervolume: What the evaluated ones dominate, over `promise`.
        quantiles: float32, shape (64,): the keys' quantiles, scaled to [0, 1].
        gaps: float32, shape (65,): shares of the gaps between keys by bit length.
        outliers: Share of the keys' span that the outermost ten-thousandths take.
    """

    time: float
    evaluations: int
    budget: int
    keys: int
    allowed: NDArray[np.bool_]
    log_bytes: NDArray[np.float64]
    latency: NDArray[np.float64]
    estimate: NDArray[np.float64]
    expected: NDArray[np.float64]
    confidence: NDArray[np.float64]
    gain: NDArray[np.float64]
    reference: float
    promise: float
    hypervolume: float
    quantiles: NDArray[np.float32]
    gaps: NDArray[np.float32]
    outliers: float
