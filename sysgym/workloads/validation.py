"""Validation: what is wrong with a log before anything is repaired, in the manner of TensorFlow Data Validation.

A report has the anomalies by rule with counts, lines and an example, statistics of every column, and what each cleaning
rule would keep. Nothing is changed, and a broken row never ends the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import InputFileError, SettingError, require_known
from sysgym.workloads.checks import Anomaly, anomalies_of
from sysgym.workloads.cleaning import clean_jobs
from sysgym.workloads.column_statistics import LogStatistics, is_statistics, read_statistics, statistics_of
from sysgym.workloads.drift import drift_of
from sysgym.workloads.job_table import JobTable
from sysgym.workloads.raw_table import RawTable
from sysgym.workloads.reading import FORMATS, parse_as, recognise
from sysgym.workloads.schema import SEVERITIES, Schema, read_schema, schema_of
from sysgym.workloads.trace_file import TraceFile, open_trace
from sysgym.workloads.wall_clock import zone
from sysgym.workloads.workload import LARGEST_MACHINE, Machine, Repair

_RULES = ("default", "sc15")


@dataclass(frozen=True)
class Kept:
    """What a cleaning rule would make of a log.

    Attributes:
        jobs: How many it keeps.
        repairs: What it changes.
    """

    jobs: int
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True)
class ValidationReport:
    """What was found in a log.

    Attributes:
        path: The file.
        format: Its format.
        rows: Rows that could be read.
        fields: Fields a row, where the format has rows of fields.
        anomalies: The worst first, then by count.
        statistics: Of every column.
        header: What the file says about itself.
        cleaning: By the name of the rule; empty where rows are broken.
        schema: Where the schema stands.
    """

    path: str
    format: str
    rows: int
    fields: int | None
    anomalies: tuple[Anomaly, ...]
    statistics: LogStatistics
    header: Mapping[str, str]
    cleaning: Mapping[str, Kept]
    schema: str

    @property
    def errors(self) -> tuple[Anomaly, ...]:
        """The anomalies of severity "error"."""
        return tuple(anomaly for anomaly in self.anomalies if anomaly.severity == "error")

    @property
    def is_sound(self) -> bool:
        """Whether there is no anomaly of severity "error"."""
        return not self.errors

    def count(self, rule: str, column: str | None = None) -> int:
        """How often a rule was broken, in one column or in all; 0 where it never was."""
        return sum(a.count for a in self.anomalies if a.rule == rule and column in (None, a.column))

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "statistics": self.statistics.to_data()}


def validate(
    path: str | Path | TraceFile,
    format: str = "auto",
    *,
    schema: str | Path | Schema | None = None,
    against: str | Path | LogStatistics | None = None,
    columns: Mapping[str, Any] | str | Path | None = None,
    time_zone: str | None = None,
) -> ValidationReport:
    """Compare a log with its schema, and with a baseline.

    Args:
        path: The log, or what `open_trace` made of it.
        format: A name in `FORMATS`; "auto" recognises it by content.
        schema: A schema or the file of one, instead of the format's own.
        against: A log of the same format, the JSON of its statistics, or the statistics, to measure the drift from.
        columns: Column mapping, for "csv".
        time_zone: Zone of the clock of local times, instead of the schema's.

    Raises:
        InputFileError: The log, the schema or the baseline cannot be read at all.
        UnknownNameError: No such format.
        SettingError: Schema or baseline are of another format, or the zone is unknown.
    """
    require_known("format", format, [*FORMATS, "auto"])
    file = open_trace(path)
    name = recognise(file) if format == "auto" else format
    chosen = _schema(schema, name, str(file.path))
    if time_zone is not None:
        zone(time_zone)
        chosen = replace(chosen, time_zone=time_zone)
    raw = parse_as(file, name, columns)
    table, trouble = _jobs(file, name, raw)
    machine = table.machine if table else _machine(file, name, raw)
    found = [*anomalies_of(raw, chosen, machine), *trouble]
    statistics = statistics_of(raw, chosen, name, str(file.path))
    if against is not None:
        found += drift_of(statistics, _baseline(against, name, chosen, columns), chosen)
    order = {severity: place for place, severity in enumerate(SEVERITIES)}
    anomalies = sorted((a for a in found if a.count), key=lambda a: (order[a.severity], -a.count))
    cleaning = {rule: _kept(file.path, table, rule) for rule in _RULES} if table else {}
    source = chosen.source or "given"
    return ValidationReport(
        str(file.path), name, len(raw), raw.fields, tuple(anomalies), statistics, raw.header, cleaning, source
    )


def _schema(given: str | Path | Schema | None, format: str, path: str) -> Schema:
    if given is None:
        return schema_of(format)
    schema = given if isinstance(given, Schema) else read_schema(given)
    if schema.format != format:
        raise SettingError(f"the schema is for {schema.format!r}, {path} is {format!r}; give a schema of that format")
    return schema


def _baseline(
    given: str | Path | LogStatistics, format: str, schema: Schema, columns: Mapping[str, Any] | str | Path | None
) -> LogStatistics:
    statistics = given if isinstance(given, LogStatistics) else _read_baseline(Path(given), format, schema, columns)
    if statistics.format != format:
        raise SettingError(
            f"the baseline {statistics.source} is {statistics.format!r}, the log is {format!r}; "
            "give a baseline of the same format"
        )
    return statistics


def _read_baseline(
    path: Path, format: str, schema: Schema, columns: Mapping[str, Any] | str | Path | None
) -> LogStatistics:
    file = open_trace(path)
    if not file.is_binary and is_statistics(file.text[:1000]):
        return read_statistics(path, file.text)
    name = recognise(file)
    raw = parse_as(file, name, columns if FORMATS[name].maps_columns else None)
    return statistics_of(raw, schema if name == format else schema_of(name), name, str(path))


def _jobs(file: TraceFile, name: str, raw: RawTable) -> tuple[JobTable | None, list[Anomaly]]:
    """The jobs of a log whose rows are sound, else None; what only the making of jobs finds is an anomaly."""
    format = FORMATS[name]
    if raw.faults or format.jobs is None:
        return None, []
    try:
        table = format.jobs(file.path, raw)
        return (None if np.isnan(table.columns["submit_time"]).any() else table), []
    except InputFileError as error:
        message = str(error).split(": ", 1)[-1]
        lines = () if error.line is None else (error.line,)
        column = None if error.column is None else str(error.column)
        return None, [Anomaly("unreadable_value", "error", column, 1, 1 / max(len(raw), 1), lines, message, message)]


def _machine(file: TraceFile, name: str, raw: RawTable) -> Machine | None:
    """The machine of a log in which some rows are broken, as the others and the header tell it."""
    if FORMATS[name].jobs is None or any(fault.column is not None for fault in raw.faults):
        return None
    table, _ = _jobs(file, name, replace(raw, faults=()))
    return table.machine if table else None


def _kept(path: Path, table: JobTable, rule: str) -> Kept:
    size = table.machine.processors if table.machine else LARGEST_MACHINE
    try:
        jobs, repairs = clean_jobs(path, table.columns, rule, "requested", size)
    except InputFileError:
        return Kept(0)
    return Kept(len(jobs["job_id"]), repairs)
