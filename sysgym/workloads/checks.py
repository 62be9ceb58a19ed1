"""What validation looks for: a column against its schema, rows against rules, and what no comparison can say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sysgym.workloads.column_statistics import arrival_gaps, as_numbers, text_of, unknown_values
from sysgym.workloads.raw_table import RawTable, first_lines
from sysgym.workloads.schema import ColumnSchema, Rule, Schema, condition, is_missing
from sysgym.workloads.wall_clock import to_utc
from sysgym.workloads.workload import Machine

Mask = NDArray[np.bool_]
_DAY = 86400.0


@dataclass(frozen=True)
class Anomaly:
    """One kind of fault in a log.

    Attributes:
        rule: Its name.
        severity: "error" (the log is not what its schema says), "warning" (it will be repaired, or misleads) or "info".
        column: The column at fault, or None.
        count: How many rows, cells or steps.
        fraction: Their share of the rows; of a drift, the distance.
        first_lines: The first five lines.
        example: What stands in the first of them.
        message: What it means, for people.
    """

    rule: str
    severity: str
    column: str | None
    count: int
    fraction: float
    first_lines: tuple[int, ...] = ()
    example: str = ""
    message: str = ""


def anomalies_of(raw: RawTable, schema: Schema, machine: Machine | None) -> Iterator[Anomaly]:
    """All anomalies of a table, by structure, columns, rows and rules."""
    yield from _structure(raw, schema)
    for name, column in schema.columns.items():
        yield from _presence(raw, name, column)
        if name in raw.columns:
            yield from _values(raw, name, column, name == schema.arrival)
    yield from _duplicates(raw, schema)
    for rule in schema.rules:
        yield from _rule(raw, schema, rule, machine)


def _structure(raw: RawTable, schema: Schema) -> Iterator[Anomaly]:
    for fault in raw.faults:
        if fault.rule != "missing_column":
            share = fault.count / max(len(raw) + (fault.column is None) * fault.count, 1)
            yield Anomaly(fault.rule, "error", fault.column, fault.count, share, fault.lines, fault.message)
    if raw.blank_lines and schema.blank_lines:
        blank = raw.blank_lines
        share = len(blank) / max(len(raw), 1)
        message = "lines without anything between the rows"
        yield Anomaly("blank_line", schema.blank_lines, None, len(blank), share, blank[:5], "", message)
    for name in raw.columns:
        if name not in schema.columns and schema.unexpected_columns:
            message = "a column that the schema does not name"
            yield Anomaly("unexpected_column", schema.unexpected_columns, name, len(raw), 1.0, (), "", message)


def _presence(raw: RawTable, name: str, column: ColumnSchema) -> Iterator[Anomaly]:
    there = name in raw.columns
    if column.presence == "unexpected" and there:
        message = "the schema says that this column is not there"
        yield Anomaly("unexpected_column", column.severity or "error", name, len(raw), 1.0, (), "", message)
    elif column.presence == "required" and not there:
        message = "the schema needs this column"
        yield Anomaly("missing_column", "error", name, len(raw), 1.0, (), "", message)
    elif column.presence == "optional" and not there:
        message = "an optional column that the file does not have; its values are unknown"
        yield Anomaly("missing_optional_column", "info", name, len(raw), 1.0, (), "", message)


def _values(raw: RawTable, name: str, column: ColumnSchema, is_arrival: bool) -> Iterator[Anomaly]:
    values = raw.columns[name]
    known = ~unknown_values(values, column)
    domain = column.severity or "warning"
    unknown = len(values) - int(known.sum())
    if len(values) and known.mean() < column.present_fraction:
        message = f"{known.mean():.4g} of the values are known, the schema wants {column.present_fraction:g}"
        severity = "error" if is_arrival else column.severity or "error"  # a job without a submission cannot be read
        yield _found(raw, "missing_values", severity, name, ~known, message)
    if unknown == len(values):
        return
    numeric = values.dtype.kind in "if"
    if column.type == "integer" and values.dtype.kind == "f":
        message = "a whole number was expected"
        yield _found(
            raw, "not_an_integer", column.severity or "error", name, known & (values != np.floor(values)), message
        )
    for rule, bound, below in (("below_minimum", column.min, np.less), ("above_maximum", column.max, np.greater),
                               ("not_above_bound", column.above, np.less_equal)):  # fmt: skip
        if bound is not None and numeric:
            yield _found(raw, rule, domain, name, known & below(values, bound), f"the bound is {bound:g}")
    if column.values is not None:
        allowed = (
            np.isin(values, np.array(column.values, dtype=object)) if not numeric else np.isin(values, column.values)
        )
        yield _found(
            raw, "not_in_domain", domain, name, known & ~allowed, f"allowed: {', '.join(map(str, column.values))}"
        )
    if column.unique:
        repeated = known & pd.Series(values).duplicated().to_numpy()
        yield _found(raw, "repeated_value", domain, name, repeated, "the value stood before")
    if column.order == "rising" and values.dtype.kind in "ifM":
        yield _found(
            raw, "decreasing", domain, name, _steps_down(values, known), "the value is below that of the row above"
        )


def _steps_down(values: NDArray[Any], known: Mask) -> Mask:
    lower = np.zeros(len(values), dtype=np.bool_)
    lower[1:] = (values[1:] < values[:-1]) & known[1:] & known[:-1]
    return lower


def _duplicates(raw: RawTable, schema: Schema) -> Iterator[Anomaly]:
    flat = {name: column for name, column in raw.columns.items() if schema.columns.get(name, _TEXT).type != "list"}
    if schema.duplicate_rows is None or not flat or not len(raw):
        return
    if any(pd.Series(column).is_unique for column in flat.values()):
        return
    repeated = pd.DataFrame(flat).duplicated().to_numpy()
    yield _found(
        raw, "duplicate_row", schema.duplicate_rows, None, repeated, "the row equals an earlier one in every column"
    )


_TEXT = ColumnSchema()


def _found(
    raw: RawTable, rule: str, severity: str, column: str | None, mask: Mask, message: str, example: str | None = None
) -> Anomaly:
    rows = np.flatnonzero(mask)
    share = len(rows) / max(len(raw), 1)
    if example is None:
        has_cell = column is not None and column in raw.columns and len(rows)
        example = text_of(raw.columns[str(column)][rows[0]]) if has_cell else ""
    return Anomaly(rule, severity, column, len(rows), share, first_lines(raw.lines[rows]), example, message)


def _rule(raw: RawTable, schema: Schema, rule: Rule, machine: Machine | None) -> Iterator[Anomaly]:
    if rule.check is not None:
        needed = {rule.column} - {None}
        if needed <= set(raw.columns):
            yield from _CHECKS[rule.check](raw, schema, rule, machine)
        return
    conditions = [condition(text) for text in rule.where]
    names = list(dict.fromkeys(name for one in conditions for name in one.names))
    if not set(names) <= set(raw.columns):
        return
    mask = np.ones(len(raw), dtype=np.bool_)
    for one in conditions:
        mask &= one.holds(raw.columns)
    row = int(np.argmax(mask)) if mask.any() else 0
    example = ", ".join(f"{name} {text_of(raw.columns[name][row])}" for name in names) if mask.any() else ""
    yield _found(raw, rule.name, rule.severity, rule.column, mask, rule.message, example)


Check = Callable[[RawTable, Schema, Rule, Machine | None], Iterator[Anomaly]]


def _gaps(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Whole numbers between the smallest and the largest that do not occur."""
    values = raw.columns[str(rule.column)]
    numbers, row = np.unique(values[~is_missing(values)].astype(np.float64), return_index=True)
    steps = np.diff(numbers) - 1
    if len(steps) and (steps == np.floor(steps)).all() and steps.sum() > 0:
        behind = np.sort(row[1:][steps > 0])
        count = int(steps.sum())
        place = int(np.argmax(steps > 0))
        example = f"{text_of(numbers[place])} is followed by {text_of(numbers[place + 1])}"
        lines = first_lines(raw.lines[behind])
        yield Anomaly(rule.name, rule.severity, rule.column, count, count / len(raw), lines, example, rule.message)


def _repeats(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Values that stood before."""
    repeated = pd.Series(raw.columns[str(rule.column)]).duplicated().to_numpy()
    yield _found(raw, rule.name, rule.severity, rule.column, repeated, rule.message)


def _decimals(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Rows with a decimal point, and the columns whose values have a fraction."""
    lines = raw.point_lines
    if len(lines):
        numbers = {name: values for name, values in raw.columns.items() if values.dtype.kind == "f"}
        names = ", ".join(name for name, values in numbers.items() if (values != np.floor(values)).any()) or None
        share = len(lines) / max(len(raw), len(lines))
        yield Anomaly(rule.name, rule.severity, names, len(lines), share, first_lines(lines), "", rule.message)


def _decreasing(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Steps down from one row to the next."""
    values = raw.columns[str(rule.column)]
    yield _found(raw, rule.name, rule.severity, rule.column, _steps_down(values, ~is_missing(values)), rule.message)


def _constant(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """A column in which all known values are equal."""
    values = raw.columns[str(rule.column)]
    known = ~is_missing(values)
    if known.sum() > 1 and pd.Series(values[known]).nunique() == 1:
        yield _found(raw, rule.name, rule.severity, rule.column, known, rule.message)


def _header_rows(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """A count in the header that is not the number of rows."""
    text = raw.header.get(str(rule.key), "").strip()
    if text.isdigit() and int(text) != len(raw):
        count = abs(int(text) - len(raw))
        example = f"{rule.key} {text}, {len(raw)} rows"
        yield Anomaly(rule.name, rule.severity, None, count, count / max(len(raw), 1), (), example, rule.message)


def _oversized(raw: RawTable, _schema: Schema, rule: Rule, machine: Machine | None) -> Iterator[Anomaly]:
    """Jobs that need more processors than the machine has, where its size is known."""
    if machine is not None and machine.is_known:
        sizes = [raw.columns[name] for name in ("requested_processors", "allocated_processors") if name in raw.columns]
        large = np.any([size > machine.processors for size in sizes], axis=0)
        yield _found(raw, rule.name, rule.severity, rule.column, large, rule.message)


def _unit(raw: RawTable, schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Seconds that look like milliseconds: far too long, all multiples of 1000, or an epoch beyond the year 5000."""
    column = str(rule.column)
    values = raw.columns[column]
    arrivals = as_numbers(raw.number(schema.arrival)) if schema.arrival else np.empty(0)
    times = arrival_gaps(values) if column == schema.arrival else as_numbers(values)
    positive = times[times > 0]
    reasons = []
    if len(arrivals) and np.nanmin(arrivals, initial=np.inf) > 1e11:
        reasons.append("submissions lie beyond the year 5000")
    if len(positive) >= 10:
        median, p90, p99 = np.quantile(positive, (0.5, 0.9, 0.99))
        if median > 5 * _DAY or p90 > 30 * _DAY or p99 > 100 * _DAY:
            reasons.append(f"the median is {median / _DAY:.3g} days, the 99th percentile {p99 / _DAY:.3g}")
        elif (positive % 1000 == 0).mean() >= 0.99 and len(np.unique(positive)) >= 10 and median >= 5000:
            reasons.append("nearly all values are multiples of 1000")
    if reasons:
        mask = np.ones(len(raw), dtype=np.bool_)
        yield _found(raw, rule.name, rule.severity, column, mask, f"{'; '.join(reasons)}: {rule.message}")


def _seconds(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Milliseconds that look like seconds: three quarters of the durations are below 1000."""
    values = as_numbers(raw.columns[str(rule.column)])
    positive = values[values > 0]
    if len(positive) >= 10 and np.quantile(positive, 0.75) < 1000:
        mask = np.ones(len(raw), dtype=np.bool_)
        reason = f"the median is {np.median(positive):.3g} ms"
        yield _found(raw, rule.name, rule.severity, rule.column, mask, f"{reason}: {rule.message}")


def _clock_change(raw: RawTable, schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Local times on both sides of a change of the clocks, and those that the clock showed twice or never."""
    times = raw.columns[str(rule.column)]
    known = ~is_missing(times)
    is_local = times.dtype.kind == "M" and "TimeZoneString" not in raw.header
    if schema.time_zone is None or not is_local or not known.any():
        return
    instants, repeated, skipped = to_utc(times[known], schema.time_zone)
    offset = times[known] - instants
    shifted = np.zeros(len(raw), dtype=np.bool_)
    shifted[known] = offset != offset[np.argmin(times[known])]
    message = f"{rule.message} (in {schema.time_zone})"
    yield _found(raw, rule.name, rule.severity, rule.column, shifted, message)
    ambiguous = np.zeros(len(raw), dtype=np.bool_)
    ambiguous[known] = repeated | skipped
    message = f"the clock showed this time twice or never (in {schema.time_zone})"
    yield _found(raw, "ambiguous_local_time", rule.severity, rule.column, ambiguous, message)


def _unknown_parent(raw: RawTable, _schema: Schema, rule: Rule, _machine: Machine | None) -> Iterator[Anomaly]:
    """Tasks with a parent that is no task."""
    known = set(raw.number("id").tolist())
    lists = raw.columns[str(rule.column)].tolist()
    mask = np.array([value is not None and not set(value) <= known for value in lists], dtype=np.bool_)
    yield _found(raw, rule.name, rule.severity, rule.column, mask, rule.message)


_CHECKS: Mapping[str, Check] = {
    "clock_change": _clock_change,
    "constant": _constant,
    "decimals": _decimals,
    "decreasing": _decreasing,
    "gaps": _gaps,
    "oversized": _oversized,
    "repeats": _repeats,
    "rows_differ_from_header": _header_rows,
    "seconds": _seconds,
    "unit": _unit,
    "unknown_parent": _unknown_parent,
}
