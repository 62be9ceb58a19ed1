"""OpenDC's tasks as Parquet: submission, duration, processors and memory, in milliseconds since the epoch.

Mastenbroek et al., "OpenDC 2.0", CCGrid 2021. Rows are unsorted; -1 marks what is missing. Times become seconds since
the first submission.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.core.errors import InputFileError
from sysgym.workloads.formats.parquet import column_names, parse_parquet
from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, known_or
from sysgym.workloads.trace_file import TraceFile


def recognises(file: TraceFile) -> bool:
    """Whether it is Parquet with OpenDC's names."""
    return {"id", "submission_time", "duration", "cpu_count"} <= column_names(file)


def parse(file: TraceFile) -> RawTable:
    """The tasks as they stand."""
    return parse_parquet(file, "opendc")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Tasks as jobs, since the first submission."""
    submit = raw.number("submission_time").astype(np.float64)
    if np.isnan(submit).any():
        line = int(raw.lines[np.isnan(submit)][0])
        raise InputFileError(path, "the task has no submission; remove the row", line=line, column="submission_time")
    origin = float(submit.min())
    run, deadline = raw.number("duration"), raw.number("deadline")
    given = {
        "job_id": known_or(raw.number("id")),
        "submit_time": (submit - origin) / 1000,
        "run_time": np.where(run == -1, np.nan, run / 1000),
        "requested_processors": known_or(raw.number("cpu_count")),
        "cpu_mhz": raw.number("cpu_capacity"),
        "deadline": np.where(deadline == -1, np.nan, (deadline - origin) / 1000),
        "deferrable": known_or(raw.number("deferrable")),
    }
    return JobTable(make_columns(path, given, raw.lines), {"UnixStartTime": f"{origin / 1000:.15g}"})
