"""What a log's columns hold: counts, quantiles, the commonest values and a histogram, storable as JSON.

The histogram has fixed bins, ten a decade on either side of zero, so that two logs can be compared by their statistics
alone, without the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.raw_table import RawTable
from sysgym.workloads.schema import ColumnSchema, Schema, is_missing

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
"""The shares at which quantiles are taken, linear between order statistics."""

GAP = "gap between arrivals"
"""Name of the derived column of differences between submissions in their order."""

_KIND, _VERSION = "sysgym log statistics", 1
_MOST_VALUES = 1000
_DECADE = 10


@dataclass(frozen=True)
class ColumnStatistics:
    """One column; times count in seconds since the earliest.

    Attributes:
        type: The schema's type.
        rows: Rows of the log.
        missing: Values that are unknown, by absence or by a mark.
        distinct: Different known values.
        first: The value in the first row, as text.
        zeros: Known values equal to 0.
        negative: Known values below 0.
        minimum: Smallest known value, None where there is none or it is text.
        maximum: Largest.
        mean: Arithmetic mean; None also where it is beyond float64.
        sd: Standard deviation, n in the denominator; likewise.
        quantiles: At `QUANTILES`.
        items: Elements of all lists together, for columns of lists.
        top: The commonest values as text with their counts, marks of the unknown included, at most 1000.
        histogram: Known values by bin, see `bins_of`.
    """

    type: str
    rows: int
    missing: int
    distinct: int
    first: str
    zeros: int = 0
    negative: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    sd: float | None = None
    quantiles: tuple[float, ...] = ()
    items: int | None = None
    top: tuple[tuple[str, int], ...] = ()
    histogram: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LogStatistics:
    """All columns of a log, and the gaps between its arrivals.

    Attributes:
        format: The format.
        source: The file.
        rows: Rows.
        columns: By name.
    """

    format: str
    source: str
    rows: int
    columns: Mapping[str, ColumnStatistics]

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": _KIND, "version": _VERSION, **asdict(self)}


def statistics_of(raw: RawTable, schema: Schema, format: str, source: str) -> LogStatistics:
    """Statistics of every column; O(rows log rows) a column."""
    columns = {
        name: describe(values, schema.columns.get(name, ColumnSchema(_type_of(values))))
        for name, values in raw.columns.items()
    }
    if schema.arrival is not None and schema.arrival in raw.columns:
        gaps = arrival_gaps(raw.columns[schema.arrival])
        columns[GAP] = describe(gaps, ColumnSchema("number"))
    return LogStatistics(format, source, len(raw), columns)


def arrival_gaps(times: NDArray[Any]) -> NDArray[np.float64]:
    """Differences between known submissions in their order, in the file's unit (seconds for times)."""
    known = np.sort(as_numbers(times[~is_missing(times)]))
    return np.diff(known)


def as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers as float64; times as seconds since the earliest."""
    if values.dtype.kind == "M":
        return (values - values.min()).astype(np.int64) / 1e9 if len(values) else np.empty(0)
    return values.astype(np.float64)


def _type_of(values: NDArray[Any]) -> str:
    return {"O": "text", "M": "time"}.get(values.dtype.kind, "number")


def describe(values: NDArray[Any], schema: ColumnSchema) -> ColumnStatistics:
    """The statistics of one column."""
    unknown = unknown_values(values, schema)
    first = text_of(values[0]) if len(values) else ""
    if schema.type == "list":
        items = sum(len(value) for value in values.tolist() if value is not None)
        return ColumnStatistics("list", len(values), int(unknown.sum()), 0, first, items=items)
    counts = pd.Series(values[~is_missing(values)]).value_counts()
    marks = sum(value in schema.missing for value in counts.index[: len(counts)]) if schema.missing else 0
    top = tuple((text_of(value), int(count)) for value, count in counts.iloc[:_MOST_VALUES].items())
    common: dict[str, Any] = {
        "type": schema.type,
        "rows": len(values),
        "missing": int(unknown.sum()),
        "distinct": len(counts) - marks,
        "first": first,
        "top": top,
    }
    if values.dtype.kind == "O" or unknown.all():
        return ColumnStatistics(**common)
    known = as_numbers(values[~unknown])
    with np.errstate(over="ignore"):
        mean, sd = (value if np.isfinite(value) else None for value in (float(known.mean()), float(known.std())))
    bins, number = np.unique(bins_of(known), return_counts=True)
    return ColumnStatistics(
        **common,
        zeros=int((known == 0).sum()),
        negative=int((known < 0).sum()),
        minimum=float(known.min()),
        maximum=float(known.max()),
        mean=mean,
        sd=sd,
        quantiles=tuple(float(value) for value in np.quantile(known, QUANTILES)),
        histogram=dict(zip(bins.tolist(), number.tolist(), strict=True)),
    )


def unknown_values(values: NDArray[Any], schema: ColumnSchema) -> NDArray[np.bool_]:
    """Which values are absent or marked as unknown."""
    unknown = is_missing(values)
    if schema.missing and values.dtype.kind in "if":
        unknown |= np.isin(values, schema.missing)
    return unknown


def bins_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each number: 0 for zero, ten bins a decade from 1e-6 on for either sign.

    >>> bins_of(np.array([0.0, 1.0, 1.3, 10.0, -10.0]))
    array([  0,  61,  62,  71, -71])
    """
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        place = np.floor(np.log10(np.maximum(size, 1e-6)) * _DECADE + 1e-9).astype(np.int64) + 6 * _DECADE + 1
    return np.where(size == 0, 0, np.sign(values).astype(np.int64) * place)


def text_of(value: Any) -> str:
    """A value for people: whole numbers without a point, long texts cut."""
    if isinstance(value, float | np.floating):
        return f"{value:.15g}"
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def is_statistics(text: str) -> bool:
    """Whether a text begins as statistics that were stored."""
    return text.lstrip().startswith("{") and f'"{_KIND}"' in text[:200]


def read_statistics(path: Path, text: str) -> LogStatistics:
    """Statistics from the JSON that `to_data` gives.

    Raises:
        InputFileError: It is none, or of another version.
    """
    try:
        data = json.loads(text)
        if data["version"] != _VERSION:
            raise InputFileError(path, f"statistics of version {data['version']}; expected {_VERSION}, make them anew")
        columns = {name: _column(entry) for name, entry in data["columns"].items()}
        return LogStatistics(str(data["format"]), str(data["source"]), int(data["rows"]), columns)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = (
            f"damaged statistics ({type(error).__name__}: {str(error)[:60]}); make them anew with trace stats --json"
        )
        raise InputFileError(path, message) from None


def _column(entry: Mapping[str, Any]) -> ColumnStatistics:
    histogram = {int(place): int(count) for place, count in entry["histogram"].items()}
    top = tuple((str(value), int(count)) for value, count in entry["top"])
    return ColumnStatistics(
        **{**entry, "histogram": histogram, "top": top, "quantiles": tuple(map(float, entry["quantiles"]))}
    )
