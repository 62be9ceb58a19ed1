"""`auto`: the structure that measures best on the keys at hand.

Every candidate is built and timed on the same queries, half of them present keys; nothing is assumed about the keys.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.learned_index.binary import BinarySearch
from sysgym.learned_index.btree import BPlusTree
from sysgym.learned_index.compressed import CompressedTree
from sysgym.learned_index.interpolated import InterpolatedTree
from sysgym.learned_index.keys import prepare_keys
from sysgym.learned_index.pgm import PGMIndex
from sysgym.learned_index.radix_spline import RadixSpline
from sysgym.learned_index.rmi import RMI
from sysgym.learned_index.static import SortedIndex

OBJECTIVES = ("latency", "size", "balanced")
_ROUNDS = 3
_QUERIES = 100_000
_NEAR = 1.5
"""The objective "size" takes the smallest structure whose latency is at most this many times the best."""

CANDIDATES: tuple[tuple[type[SortedIndex], dict[str, Any]], ...] = (
    (BinarySearch, {}),
    (BPlusTree, {}),
    (BPlusTree, {"stride": 64}),
    (CompressedTree, {}),
    (InterpolatedTree, {}),
    (RMI, {}),
    (PGMIndex, {}),
    (PGMIndex, {"epsilon": 64}),
    (RadixSpline, {}),
)


@dataclass(frozen=True)
class Trial:
    """A candidate's measurement.

    Attributes:
        structure: Name of its class.
        options: It was built with.
        nanoseconds: A query of a batch, the best of a few rounds.
        build_nanoseconds: A key.
        size_bytes: Beside the keys.
        chosen: Whether it was picked.
    """

    structure: str
    options: dict[str, Any]
    nanoseconds: float
    build_nanoseconds: float
    size_bytes: int
    chosen: bool = False


def auto(
    keys: Any, *, objective: str = "latency", max_bytes_per_key: float | None = None, sort: bool = False, seed: int = 0
) -> SortedIndex:
    """Build the structure that measures best on these keys.

    Args:
        keys: Sorted keys, as for every structure.
        objective: "latency": the fastest batch; "size": the smallest that is within 1.5 of the fastest; "balanced": the
            least product of latency and of total bytes, keys included.
        max_bytes_per_key: No structure larger than this, beside the keys.
        sort: Sort a copy of the keys first.
        seed: Of the queries that are timed.

    Returns:
        The index; its `trials` say what was measured.

    Raises:
        UnknownNameError: Another objective.
        SettingError: A negative limit of size.
    """
    require_known("objective", objective, OBJECTIVES)
    if max_bytes_per_key is not None:
        require_range("max_bytes_per_key", max_bytes_per_key, 0)
    array, _, _ = prepare_keys(keys, sort=sort)
    if not len(array):
        return BinarySearch.build(array)
    indexes, trials = measure(array, CANDIDATES, _queries(array, seed))
    limit = np.inf if max_bytes_per_key is None else max_bytes_per_key * len(array)
    allowed = [i for i, trial in enumerate(trials) if trial.size_bytes <= limit]
    best = _pick([trials[i] for i in allowed], objective, array.nbytes)
    chosen = indexes[allowed[best]]
    chosen.trials = tuple(Trial(**{**vars(t), "chosen": i == allowed[best]}) for i, t in enumerate(trials))
    return chosen


def measure(
    keys: NDArray[Any],
    candidates: Sequence[tuple[type[SortedIndex], dict[str, Any]]],
    queries: NDArray[Any],
    rounds: int = _ROUNDS,
) -> tuple[list[SortedIndex], list[Trial]]:
    """Build and time candidates; each is compiled on a few keys first.

    Raises:
        SettingError: Two candidates answer differently, which is a defect of this package.
    """
    indexes: list[SortedIndex] = []
    trials: list[Trial] = []
    answers = np.empty(len(queries), dtype=np.int64)
    truth: NDArray[np.int64] | None = None
    for structure, options in candidates:
        structure.build(keys[:64], **options).search(queries[:64])
        begin = time.perf_counter()
        index = structure.build(keys, **options)
        build = time.perf_counter() - begin
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            index.search(queries, out=answers)
            seconds.append(time.perf_counter() - begin)
        if truth is not None and not np.array_equal(truth, answers):
            raise SettingError(f"{structure.__name__} and {trials[0].structure} answer differently; report this defect")
        truth = answers.copy()
        indexes.append(index)
        nanoseconds = 1e9 * min(seconds) / max(1, len(queries))
        trials.append(
            Trial(structure.__name__, options, nanoseconds, 1e9 * build / max(1, len(keys)), index.size_bytes)
        )
    return indexes, trials


def _queries(keys: NDArray[Any], seed: int) -> NDArray[Any]:
    """Present keys, drawn at random; for numbers, as many that lie between two keys."""
    generator = np.random.default_rng(seed)
    present = keys[generator.integers(0, len(keys), _QUERIES)]
    if keys.dtype.kind not in "ui":
        return present
    between = present[: _QUERIES // 2]
    after = between + (between < np.iinfo(keys.dtype).max).astype(keys.dtype)
    return generator.permutation(np.concatenate([present[_QUERIES // 2 :], after]))


def _pick(trials: Sequence[Trial], objective: str, keys_bytes: int) -> int:
    fastest = min(trial.nanoseconds for trial in trials)
    if objective == "latency":
        scores = [trial.nanoseconds for trial in trials]
    elif objective == "size":
        scores = [float(t.size_bytes) if t.nanoseconds <= _NEAR * fastest else np.inf for t in trials]
    else:
        scores = [trial.nanoseconds * (keys_bytes + trial.size_bytes) for trial in trials]
    return int(np.argmin(scores))
