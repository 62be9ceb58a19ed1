"""Indexes beside their rivals in one run: the same keys and queries, every answer verified before it is timed.

A row has a batch's time a query, a single call's time, what building costs and what it keeps beside the keys. Times
are medians of a few rounds; the middle half of the rounds is given with them, and gaps below 15 % are ties. Rivals
that are not installed, or cannot answer on such keys, are left out and named.
"""

from __future__ import annotations

import bisect
import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pandas as pd
import sortedcontainers
from numpy.typing import NDArray

from sysgym.bench.drawing import COLOURS, INK, Sheet
from sysgym.bench.guard import summary
from sysgym.core.errors import InputFileError, SettingError, UnknownNameError, require_range
from sysgym.learned_index import (
    RMI,
    BinarySearch,
    BPlusTree,
    CompressedTree,
    InterpolatedTree,
    PGMIndex,
    RadixSpline,
    auto,
)
from sysgym.learned_index.keysets import KEY_SETS, key_set, present_queries, read_key_lines, read_sosd
from sysgym.learned_index.static import SortedIndex

Batch = Callable[[NDArray[Any]], Any]
_SINGLES = 5000
_LISTED = 2_000_000
"""Keys up to which rivals that hold Python objects take part."""

_DAMAGED = (ValueError, OSError, EOFError, TypeError, SyntaxError, TokenError)
"""What numpy's reader ends with: the header of a .npy file is Python text."""

STRUCTURES: dict[str, tuple[type[SortedIndex], dict[str, Any]]] = {
    "BinarySearch": (BinarySearch, {}),
    "BPlusTree": (BPlusTree, {}),
    "BPlusTree stride=64": (BPlusTree, {"stride": 64}),
    "CompressedTree": (CompressedTree, {}),
    "InterpolatedTree": (InterpolatedTree, {}),
    "RMI histogram": (RMI, {}),
    "RMI robust_linear": (RMI, {"root": "robust_linear"}),
    "PGMIndex epsilon=16": (PGMIndex, {}),
    "PGMIndex epsilon=64": (PGMIndex, {"epsilon": 64}),
    "RadixSpline": (RadixSpline, {}),
}
LEARNED = tuple(name for name, (made, _) in STRUCTURES.items() if made in (RMI, PGMIndex, RadixSpline))
"""Those that fit a model to the keys."""


@dataclass(frozen=True)
class IndexRow:
    """One structure or rival on one key set.

    Attributes:
        key_set: Name of the keys.
        name: The structure with its options, or the rival.
        batch_ns: A query of the batch; None where there is no batched call.
        spread_ns: Width of the middle half of the rounds.
        single_ns: A call with one query.
        build_ns: A key.
        bytes_per_key: Beside the keys; None where it is not known.
        ratio: Time of numpy.searchsorted over this one's.
        front: Whether nothing of ours is both faster and smaller.
        rounds_ns: A query of the batch in each round, in their order; empty where there is no batch.
    """

    key_set: str
    name: str
    batch_ns: float | None
    spread_ns: float | None
    single_ns: float | None
    build_ns: float
    bytes_per_key: float | None
    ratio: float | None = None
    front: bool = False
    rounds_ns: tuple[float, ...] = ()


def read_keys(source: str | Path, size: int) -> tuple[str, NDArray[Any]]:
    """Keys of a named key set, a .npy file, a text file (.csv, .txt) or one of SOSD; with the name they go by.

    Raises:
        UnknownNameError: Neither a key set nor a file.
        InputFileError: A file that holds no keys.
    """
    path = Path(source)
    if str(source) in KEY_SETS:
        return str(source), key_set(str(source), size)
    if not path.exists():
        raise UnknownNameError("key set or file", source, KEY_SETS)
    if path.suffix in (".csv", ".txt"):
        return path.name, read_key_lines(path)
    if path.suffix != ".npy":
        return path.name, read_sosd(path)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        raise InputFileError(path, f"is no .npy file with an array: {summary(error)}") from error
    return path.name, array


def compare(
    name: str,
    keys: NDArray[Any],
    queries: int = 100_000,
    rounds: int = 5,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[IndexRow], list[str]]:
    """Measure every structure and every rival on one key set.

    Args:
        name: Of the key set.
        keys: Sorted.
        queries: Size of the batch of present keys, in random order.
        rounds: Timed rounds after a first one that is verified.
        tell: Called with the name of what is measured next.

    Returns:
        Rows, and the rivals that are left out, each with the reason.

    Raises:
        SettingError: A number out of its range, no keys, or an answer that is wrong.
    """
    require_range("queries", queries, 1)
    require_range("rounds", rounds, 1)
    if not len(keys):
        raise SettingError(f"{name} has no keys; there is nothing to compare")
    keys = keys.astype(keys.dtype.newbyteorder("="), copy=False)
    asked = present_queries(keys, queries)
    truth = np.searchsorted(keys, asked)
    rows = []
    for label, (structure, options) in STRUCTURES.items():
        tell(label)
        structure.build(keys[:100], **options).search(asked[:10])
        begin = time.perf_counter()
        index = structure.build(keys, **options)
        build = time.perf_counter() - begin
        row = _measure(name, label, index.search, index.search, asked, truth, rounds)
        rows.append(_with(row, build_ns=1e9 * build / len(keys), bytes_per_key=index.size_bytes / len(keys)))
    rivals, left_out = _rivals(keys)
    for label, make in rivals.items():
        tell(label)
        begin = time.perf_counter()
        batch, single, position = make()
        build = time.perf_counter() - begin
        row = _measure(name, label, batch, single, asked, truth if position else None, rounds)
        rows.append(
            _with(row, build_ns=1e9 * build / len(keys), bytes_per_key=0.0 if "searchsorted" in label else None)
        )
    base = next(row.batch_ns for row in rows if row.name == "numpy.searchsorted")
    front = pareto([row for row in rows if row.name in STRUCTURES])
    return [
        _with(row, ratio=base / row.batch_ns if base and row.batch_ns else None, front=row.name in front)
        for row in rows
    ], left_out


def pareto(rows: Sequence[IndexRow]) -> set[str]:
    """Names of the rows that no other is at once faster and smaller than."""

    def beaten(row: IndexRow) -> bool:
        return any(
            _no_worse(other, row) and (other.batch_ns, other.bytes_per_key) != (row.batch_ns, row.bytes_per_key)
            for other in rows
        )

    return {row.name for row in rows if not beaten(row)}


def _no_worse(a: IndexRow, b: IndexRow) -> bool:
    return (a.batch_ns or 0) <= (b.batch_ns or 0) and (a.bytes_per_key or 0) <= (b.bytes_per_key or 0)


def _with(row: IndexRow, **changes: Any) -> IndexRow:
    return IndexRow(**{**vars(row), **changes})


def _measure(
    key_set_name: str, name: str, batch: Batch | None, single: Callable[[Any], Any] | None,
    asked: NDArray[Any], truth: NDArray[np.int64] | None, rounds: int,
) -> IndexRow:  # fmt: skip
    middle = spread = one = None
    times: list[float] = []
    if batch is not None:
        answer = np.asarray(batch(asked))
        if truth is not None and not np.array_equal(answer, truth):
            raise SettingError(f"{name} answers wrongly on {key_set_name}; its time would mean nothing")
        times = [_seconds(lambda: batch(asked)) * 1e9 / len(asked) for _ in range(rounds)]
        ranked = sorted(times)
        middle, spread = statistics.median(times), ranked[(3 * rounds) // 4] - ranked[rounds // 4]
    if single is not None:
        few = _scalars(asked[:_SINGLES])
        checked = [single(query) for query in few]
        if truth is not None and checked != truth[: len(few)].tolist():
            raise SettingError(f"{name} answers single calls wrongly on {key_set_name}; its time would mean nothing")
        one = _seconds(lambda: [single(query) for query in few]) * 1e9 / len(few)
    return IndexRow(key_set_name, name, middle, spread, one, 0.0, None, rounds_ns=tuple(times))


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


Made = tuple[Batch | None, Callable[[Any], Any] | None, bool]
"""Batched call, single call, and whether they answer positions."""


def _rivals(keys: NDArray[Any]) -> tuple[dict[str, Callable[[], Made]], list[str]]:
    kind = keys.dtype.type
    made: dict[str, Callable[[], Made]] = {
        "numpy.searchsorted": lambda: (
            lambda q: np.searchsorted(keys, q),
            lambda q: int(keys.searchsorted(kind(q))),
            True,
        ),
        "argsort + searchsorted + scatter": lambda: (lambda q: _sorted_first(keys, q), None, True),
        "pandas Index.get_indexer": lambda: (pd.Index(keys).get_indexer, None, True),
    }
    if len(keys) <= _LISTED:
        made["bisect on a list"] = lambda: _bisect(_scalars(keys))
        made["sortedcontainers.SortedList"] = lambda: (
            None,
            sortedcontainers.SortedList(_scalars(keys)).bisect_left,
            True,
        )
        made["dict"] = lambda: (None, dict(zip(_scalars(keys), range(len(keys)), strict=True)).__getitem__, True)
    left_out = []
    for module, label, make in (("BTrees.QQBTree", "BTrees", _btrees), ("pygm", "pygm", _pygm)):
        try:
            found = importlib.import_module(module)
        except ImportError:
            left_out.append(f"{label} (not installed)")
        else:
            if len(keys) <= _LISTED:
                made[label] = lambda make=make, found=found: make(found, keys)  # type: ignore[misc]
    for label, reason in _unable(keys).items():
        if made.pop(label, None) is not None:
            left_out.append(f"{label} ({reason})")
    return made, left_out


def _unable(keys: NDArray[Any]) -> dict[str, str]:
    """The rivals that cannot answer lookups in such keys, with the reason."""
    reasons = {}
    if not np.issubdtype(keys.dtype, np.integer) or keys[0] < 0:
        reasons["BTrees"] = "its tree of 64-bit keys takes integers from 0"
    if keys.dtype.kind not in "iuf":
        reasons["pygm"] = "it takes numbers"
    if keys.dtype == np.float16:
        reasons["pandas Index.get_indexer"] = "it has no index of float16"
    if (keys[1:] == keys[:-1]).any():
        one_position = ("pandas Index.get_indexer", "dict", "BTrees")
        reasons |= dict.fromkeys(one_position, "keys repeat, and it has one position a key")
    return reasons


def _scalars(values: NDArray[Any]) -> list[Any]:
    """Python's objects; numpy's where Python's would be of another kind or unit, as for datetime64."""
    return list(values) if values.dtype.kind in "mM" else values.tolist()


def _sorted_first(keys: NDArray[Any], queries: NDArray[Any]) -> NDArray[np.int64]:
    order = np.argsort(queries)
    positions = np.empty(len(queries), dtype=np.int64)
    positions[order] = np.searchsorted(keys, queries[order])
    return positions


def _bisect(keys: list[Any]) -> Made:
    return None, lambda query: bisect.bisect_left(keys, query), True


def _btrees(module: Any, keys: NDArray[Any]) -> Made:
    tree = module.QQBTree(list(zip(keys.tolist(), range(len(keys)), strict=True)))
    return None, tree.__getitem__, True


def _pygm(module: Any, keys: NDArray[Any]) -> Made:
    return None, module.SortedList(keys).bisect_left, True  # the class that holds its PGM-index


def build_index(keys: NDArray[Any], structure: str, objective: str = "latency") -> SortedIndex:
    """Build one of the structures by name, or what `auto` picks.

    Raises:
        UnknownNameError: No such structure.
    """
    if structure == "auto":
        return auto(keys, objective=objective)
    if structure not in STRUCTURES:
        raise UnknownNameError("structure", structure, ("auto", *STRUCTURES))
    made, options = STRUCTURES[structure]
    return made.build(keys, **options)


def plot(rows: Sequence[IndexRow], title: str) -> Sheet:
    """Latency against size; what is faster and smaller than all others is joined by a line."""
    points = [row for row in rows if row.batch_ns is not None and row.bytes_per_key is not None]
    most_bytes = max(row.bytes_per_key or 0 for row in points) or 1.0
    most_ns = max(row.batch_ns or 0 for row in points)

    def place(row: IndexRow) -> tuple[float, float]:
        return 60 + 520 * (row.bytes_per_key or 0) / most_bytes, 360 - 310 * (row.batch_ns or 0) / most_ns

    sheet = Sheet(820, 410, title)
    sheet.line([(60, 50), (60, 360), (580, 360)])
    sheet.line(sorted(place(row) for row in points if row.front), COLOURS[0])
    for row in points:
        x, y = place(row)
        sheet.rectangle(x - 4, y - 4, 8, 8, COLOURS[0] if row.front else INK)
        sheet.word(x + 8, y + 4, f"{row.name}, {row.batch_ns:.0f} ns")
    sheet.word(60, 24, title)
    sheet.word(60, 380, "0")
    sheet.word(540, 380, f"{most_bytes:.2g} bytes a key beside the keys")
    sheet.word(4, 54, f"{most_ns:.0f} ns")
    return sheet
