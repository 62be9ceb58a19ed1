"""How far a log's columns have moved from a baseline's: L-infinity for names, Jensen-Shannon for numbers.

As in TensorFlow Data Validation (Breck et al., MLSys 2019): the largest difference of a value's share, and the
divergence in bits between histograms, which is 0 for equal and 1 for disjoint ones. Both are taken from stored
statistics.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

import numpy as np

from sysgym.workloads.checks import Anomaly
from sysgym.workloads.column_statistics import GAP, ColumnStatistics, LogStatistics
from sysgym.workloads.schema import ColumnSchema, Schema

GAP_THRESHOLD = 0.1
"""Largest divergence of the gaps between arrivals."""


def drift_of(log: LogStatistics, baseline: LogStatistics, schema: Schema) -> Iterator[Anomaly]:
    """An anomaly of severity "error" for each column that is further from the baseline than its schema allows."""
    thresholds = {name: column for name, column in schema.columns.items() if column.drift is not None}
    thresholds[GAP] = ColumnSchema("number", drift=GAP_THRESHOLD)
    for name, column in thresholds.items():
        here, there = log.columns.get(name), baseline.columns.get(name)
        if here is None or there is None:
            continue
        measure, distance = distance_of(here, there, column)
        assert column.drift is not None
        if distance > column.drift:
            message = f"{measure} from the baseline is {distance:.4g}, the schema allows {column.drift:g}"
            example = f"{_summary(here)} against {_summary(there)}"
            yield Anomaly("drift", "error", name, log.rows, distance, (), example, message)


def distance_of(here: ColumnStatistics, there: ColumnStatistics, column: ColumnSchema) -> tuple[str, float]:
    """The measure that suits a column, and its value."""
    if column.categorical or column.type in ("text", "boolean"):
        return "L-infinity", l_infinity(dict(here.top), dict(there.top))
    return "Jensen-Shannon divergence", jensen_shannon(_with_missing(here), _with_missing(there))


def _with_missing(column: ColumnStatistics) -> dict[Hashable, int]:
    counts: dict[Hashable, int] = {"missing": column.missing}
    counts.update(column.histogram.items())
    return counts


def l_infinity(here: Mapping[str, int], there: Mapping[str, int]) -> float:
    """Largest difference between the shares of a value.

    >>> l_infinity({"a": 3, "b": 1}, {"a": 1, "c": 1})
    0.5
    """
    left, right = sum(here.values()), sum(there.values())
    if not left or not right:
        return float(bool(left) != bool(right))
    return max(abs(here.get(key, 0) / left - there.get(key, 0) / right) for key in {*here, *there})


def jensen_shannon(here: Mapping[Hashable, int], there: Mapping[Hashable, int]) -> float:
    """Jensen-Shannon divergence of two histograms, in bits (Lin, IEEE Trans. Information Theory 37(1), 1991).

    >>> jensen_shannon({1: 5}, {1: 9}), jensen_shannon({1: 5}, {2: 5})
    (0.0, 1.0)
    """
    keys = list({*here, *there})
    left, right = (np.array([side.get(key, 0) for key in keys], dtype=np.float64) for side in (here, there))
    if not left.sum() or not right.sum():
        return float(bool(left.sum()) != bool(right.sum()))
    left, right = left / left.sum(), right / right.sum()
    middle = (left + right) / 2
    return float(
        sum(0.5 * (side[side > 0] * np.log2(side[side > 0] / middle[side > 0])).sum() for side in (left, right))
    )


def _summary(column: ColumnStatistics) -> str:
    if column.quantiles:
        return f"median {column.quantiles[3]:.6g}"
    return f"mostly {column.top[0][0]!r}" if column.top else "nothing"
