"""A user's own keys as an instance: each evaluation really builds the index, and may really time it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import KeyValueError, require_known
from sysgym.learned_index.keys import map_stored, prepare_keys
from sysgym.learned_index.machine import unlocked
from sysgym.learned_index.tuning import costs, tables
from sysgym.learned_index.tuning.instances import Instance
from sysgym.learned_index.tuning.model import COUNT

LATENCIES = ("model", "measured")
_QUERIES = 100_000
_ROUNDS = 5


class LiveInstance(Instance):
    """Keys whose grid is not known beforehand.

    The whole grid's hypervolume is unknown too: shares are of what the sample's estimates promise.
    """

    live = True
    _keys: NDArray[np.uint64]
    _measured: bool
    _found: dict[int, float]

    @property
    def total(self) -> float:
        """Hypervolume of the whole grid, as estimated."""
        return self.promise

    def find(self, action: int) -> float:
        """Build a configuration; its nanoseconds a query, by the cost model or the clock (the median of five)."""
        if action not in self._found:
            index = tables.build(self._keys, action)
            steps = np.full(COUNT, tables.halvings(index))
            self._found[action] = (
                _median_nanoseconds(index, self._keys)
                if self._measured
                else float(costs.latency(self.keys, self.span, steps)[action])
            )
        return self._found[action]


def instances_of(keys: Any, latency: str = "model") -> Sequence[Instance]:
    """What an environment plays: a user's keys as one live instance, or instances as they are.

    Raises:
        KeyValueError: See `live_instance`.
        UnknownNameError: Likewise.
    """
    if isinstance(keys, Instance):
        return (keys,)
    if isinstance(keys, Sequence) and keys and all(isinstance(one, Instance) for one in keys):
        return keys
    return (live_instance(keys, latency),)


def live_instance(keys: NDArray[np.generic], latency: str = "model") -> LiveInstance:
    """An instance over a user's keys.

    Args:
        keys: Sorted keys of any type that the indexes take.
        latency: "model": by the frozen cost model, which repeats; "measured": by the clock.

    Raises:
        KeyValueError: No keys, or keys that are unsorted or NaN.
        UnknownNameError: Another kind of latency.
    """
    require_known("latency", latency, LATENCIES)
    array, stored, codec = prepare_keys(keys)
    if not len(array):
        raise KeyValueError("there are no keys; a search needs at least one")
    mapped = np.empty(len(array), dtype=np.uint64)
    map_stored(unlocked(stored), codec.form, mapped)
    known = tables.describe(f"{array.dtype}-{len(array)}", mapped, np.zeros(COUNT))
    live = LiveInstance(**vars(known))
    for name, value in (("_keys", mapped), ("_measured", latency == "measured"), ("_found", {})):
        object.__setattr__(live, name, value)
    return live


def _median_nanoseconds(index: object, keys: NDArray[np.uint64]) -> float:
    queries = keys[np.random.default_rng(0).integers(0, len(keys), _QUERIES)]
    out = np.empty(_QUERIES, dtype=np.int64)
    search = index.search  # type: ignore[attr-defined]
    times = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        search(queries, out=out)
        times.append(time.perf_counter() - begin)
    return sorted(times)[_ROUNDS // 2] * 1e9 / _QUERIES
