"""Microsoft's Philly cluster in the table that Pollux uses: when, how long, how many GPUs, which virtual cluster.

Jeon et al., "Analysis of large-scale multi-tenant GPU clusters for DNN training workloads", USENIX ATC 2019. The times
are local wall time without a zone, unsorted, and cross the end of daylight saving time; `wall_clock` says how they
become seconds. Jobs count GPUs, which serve as `processors` too.
"""

from __future__ import annotations

from pathlib import Path

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, known_or
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names
from sysgym.workloads.wall_clock import since_first


def recognises(file: TraceFile) -> bool:
    """Whether the header names time, duration and GPUs of a virtual cluster."""
    return {"timestamp", "duration", "num_gpus"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The jobs as they stand."""
    return parse_table(file, "philly")


def jobs(path: Path, raw: RawTable, time_zone: str | None = None) -> JobTable:
    """Jobs on GPUs, since the first submission."""
    submit, header, readings = since_first(path, raw, "timestamp", time_zone)
    gpus = known_or(raw.number("num_gpus"))
    queue, clusters = codes(raw.text("cluster"))
    given = {
        "submit_time": submit,
        "run_time": raw.number("duration"),
        "requested_processors": gpus,
        "gpus": gpus,
        "queue": queue,
    }
    return JobTable(make_columns(path, given, raw.lines), header, categories={"queue": clusters}, readings=readings)
