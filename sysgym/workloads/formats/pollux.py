"""Pollux's workloads: deep-learning jobs by arrival, application, replicas and batch size (Qiao et al., OSDI 2021).

They have no run times, which depend on how many replicas a scheduler grants. A column `workload`, where there is one,
tells apart several workloads in one table; each has its own time axis, and it becomes the `partition`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, known_or
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names


def recognises(file: TraceFile) -> bool:
    """Whether the header names arrival, application and replicas."""
    return {"name", "time", "application", "num_replicas"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The jobs as they stand."""
    return parse_table(file, "pollux")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Jobs on as many GPUs as they have replicas, without run times."""
    replicas = known_or(raw.number("num_replicas"))
    given = {
        "submit_time": raw.number("time"),
        "run_time": np.full(len(raw), np.nan),
        "requested_processors": replicas,
        "partition": known_or(raw.number("workload")),
        "gpus": replicas,
        "batch_size": known_or(raw.number("batch_size")),
    }
    categories = {}
    for name, source in (("name", "name"), ("executable", "application")):
        given[name], categories[name] = codes(raw.text(source))
    return JobTable(make_columns(path, given, raw.lines), categories=categories)
