"""A schema from a good log: what is there is required, what never happened is not allowed; to be edited by hand.

Presence, types, small sets of values, signs, uniqueness and order are read off the log's statistics. Rules of the
format's own schema stay if the log keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from sysgym.core.errors import WorkloadError
from sysgym.core.files import atomic_write
from sysgym.workloads.column_statistics import GAP, ColumnStatistics
from sysgym.workloads.schema import ColumnSchema, Rule, Schema, schema_of
from sysgym.workloads.validation import ValidationReport, validate

_MOST_VALUES = 20
_LEAST_ROWS = 20


def infer_schema(path: str | Path, format: str = "auto", *, columns: Any = None) -> Schema:
    """The schema that a log suggests.

    Args:
        path: A log that is known to be good.
        format: A name in `FORMATS`, or "auto".
        columns: Column mapping, for "csv".

    Raises:
        InputFileError: The log cannot be read.
        WorkloadError: It has rows that are broken, so that it is no model for others.
    """
    report = validate(path, format, columns=columns)
    broken = [a for a in report.errors if a.rule not in ("missing_column",)]
    if broken:
        raise WorkloadError(f"{path} has {broken[0].count} rows with {broken[0].rule}; infer from a log without errors")
    base = schema_of(report.format)
    decreasing = {a.column for a in report.anomalies if a.rule in ("decreasing", "unsorted")}
    inferred = {
        name: _column(statistics, base.columns.get(name, ColumnSchema()), name == base.arrival, name not in decreasing)
        for name, statistics in report.statistics.columns.items()
        if name != GAP
    }
    return Schema(
        base.format,
        inferred,
        tuple(rule for rule in base.rules if _holds(rule, report, set(inferred))),
        None if base.duplicate_rows is None else _severity(report, "duplicate_row", "error"),
        "error",
        base.blank_lines,
        base.time_zone,
        base.arrival,
    )


def _severity(report: ValidationReport, rule: str, otherwise: str) -> str | None:
    return None if report.count(rule) else otherwise


def _holds(rule: Rule, report: ValidationReport, columns: set[str]) -> bool:
    return rule.severity != "info" and not report.count(rule.name) and (rule.column is None or rule.column in columns)


def _column(seen: ColumnStatistics, base: ColumnSchema, is_arrival: bool, keeps_order: bool) -> ColumnSchema:
    known = seen.rows - seen.missing
    is_amount = seen.minimum is not None and not (is_arrival or base.unique or base.categorical)
    positive = is_amount and seen.minimum is not None and seen.minimum > 0
    at_least_zero = is_amount and seen.minimum is not None and seen.minimum >= 0
    names = base.categorical or base.type == "text"
    few = names and 0 < seen.distinct <= _MOST_VALUES and seen.rows >= _LEAST_ROWS
    values: tuple[Any, ...] | None = None
    if few:
        texts = [value for value, _ in seen.top]
        values = tuple(sorted(texts if base.type == "text" else [int(float(text)) for text in texts]))
    return ColumnSchema(
        type=base.type,
        presence="required",
        present_fraction=int(100 * known / seen.rows) / 100 if seen.rows else 0.0,
        missing=base.missing,
        min=0.0 if at_least_zero and not positive else None if positive else base.min,
        max=base.max,
        above=0.0 if positive else None,
        values=values,
        unique=base.unique and seen.distinct == known,
        order=base.order if keeps_order else None,
        drift=base.drift,
        categorical=base.categorical,
        severity="error",
    )


def write_schema(schema: Schema, path: str | Path) -> None:
    """Write a schema as the TOML that `read_schema` reads.

    Raises:
        OutputError: The place cannot be written.
    """
    with atomic_write(path) as handle:
        handle.write("\n".join(_lines(schema)) + "\n")


def _lines(schema: Schema) -> Iterator[str]:
    yield f"format = {_toml(schema.format)}"
    for key in ("duplicate_rows", "unexpected_columns", "blank_lines"):
        yield f"{key} = {_toml(getattr(schema, key) or 'allowed')}"
    for key in ("time_zone", "arrival"):
        if getattr(schema, key) is not None:
            yield f"{key} = {_toml(getattr(schema, key))}"
    for name, column in schema.columns.items():
        yield from ("", f"[columns.{_toml(name)}]", *_settings(column, ColumnSchema(), ("type", "presence")))
    for rule in schema.rules:
        yield from ("", "[[rules]]", *_settings(rule, Rule(""), ("name",)))


def _settings(entry: Any, default: Any, always: tuple[str, ...]) -> Iterator[str]:
    for item in fields(entry):
        value = getattr(entry, item.name)
        if value is not None and (item.name in always or value != getattr(default, item.name)):
            yield f"{item.name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
