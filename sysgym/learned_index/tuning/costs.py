"""The deterministic cost model: nanoseconds a query and seconds of an evaluation, from what is known of an index.

Each is a weighted sum of terms. What a memory access costs grows with the logarithm of the bytes that are accessed at
random, with a bend where the second and the last cache end. The weights were fitted once by least squares to CPU times
of our own indexes, in batches of 200,000 present keys (`tests/ratios/indextune_calibration.py`), and are frozen:
scores under another version cannot be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from sysgym.learned_index.tuning.model import COUNT, LEAF_OF, ROOT_OF, leaf_bytes, leaf_counts, root_bytes

VERSION = 1
_CACHE_LOG_BYTES = (15.0, 20.0, 25.0)
"""Where the bends are: about the sizes of three caches."""

LATENCY_TERMS = (
    "query",
    "root_table", "root_cubic",
    "leaf_cubic",
    "table_15", "table_20", "table_25",
    "leaves_15", "leaves_20", "leaves_25",
    "keys_15", "keys_20", "keys_25",
    "halving", "halving_20", "halving_25",
    "plain",
)  # fmt: skip
BUILD_TERMS = ("call", "key", "key_cubic", "leaf", "table")

LATENCY = np.array([
    22.8256,
    0.0, 2.0463,
    3.3557,
    0.2234, 0.3917, 0.0,
    0.055, 1.3341, 0.0,
    0.0, 2.1935, 0.0,
    7.5405, 0.1541, 0.0,
    9.0099,
])  # fmt: skip
"""Nanoseconds a unit of each term. On the 260 rows it was fitted to the median error is 14 %, the 90th percentile 31 %;
a 2-core x86 machine, November 2026."""

BUILD = np.array([4.37e-4, 1.54e-8, 2.2e-9, 2.34e-8, 3.4e-10])
"""Seconds a unit of each term; median error 16 %."""


def _beyond(size: NDArray[Any] | float) -> NDArray[np.float64]:
    """How far the logarithm of a size in bytes lies behind each bend; shape (..., 3)."""
    logs = np.log2(np.maximum(np.asarray(size, dtype=np.float64), 1.0))
    return np.maximum(logs[..., None] - np.array(_CACHE_LOG_BYTES), 0.0)


def _key_terms(keys: int, halvings: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    bends = _beyond(8.0 * keys)
    near = [np.broadcast_to(bend, halvings.shape) for bend in bends]
    return [*near, halvings, halvings * bends[1], halvings * bends[2]]


def latency_terms(keys: int, span: int, halvings: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The terms of every configuration, shape (399, terms).

    Args:
        keys: Number of keys.
        span: Largest key less the smallest.
        halvings: Of every configuration, or one number for all.
    """
    steps = np.broadcast_to(np.asarray(halvings, dtype=np.float64), (COUNT,))
    table = np.where((ROOT_OF == 1) | (ROOT_OF == 2), root_bytes(span), 1)
    columns = [np.ones(COUNT), (table > 1).astype(np.float64), (ROOT_OF == 5).astype(np.float64),
               (LEAF_OF == 1).astype(np.float64), *_beyond(table).T, *_beyond(leaf_bytes(keys)).T,
               *_key_terms(keys, steps), np.zeros(COUNT)]  # fmt: skip
    return np.stack(columns, axis=1)


def plain_terms(keys: int) -> NDArray[np.float64]:
    """The terms of a search without an index, shape (terms,)."""
    steps = np.array(max(0.0, np.log2(max(1, keys) / 16)))
    return np.array([0.0, *[0.0] * 9, *(float(term) for term in _key_terms(keys, steps)), 1.0])


def latency(keys: int, span: int, halvings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nanoseconds a query of every configuration, shape (399,)."""
    found: NDArray[np.float64] = latency_terms(keys, span, halvings) @ LATENCY
    return found


def plain_latency(keys: int) -> float:
    """Nanoseconds a query of a search without an index."""
    return float(plain_terms(keys) @ LATENCY)


def build_terms(keys: int, span: int) -> NDArray[np.float64]:
    """The terms of building every configuration once, shape (399, terms)."""
    table = np.where((ROOT_OF == 1) | (ROOT_OF == 2), root_bytes(span), 0)
    columns = (np.ones(COUNT), np.full(COUNT, float(keys)), keys * (LEAF_OF == 1), leaf_counts(keys), table)
    return np.stack(columns, axis=1).astype(np.float64)


def evaluation_seconds(keys: int, span: int) -> NDArray[np.float64]:
    """Seconds that an evaluation of every configuration takes, shape (399,)."""
    seconds: NDArray[np.float64] = build_terms(keys, span) @ BUILD
    return seconds


def least_squares(design: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights of a fit, none of them negative."""
    weights: NDArray[np.float64] = nnls(design, target)[0]
    return weights
