"""Alibaba's instances of disaggregated recommendation models, 2025: CPU nodes and GPU nodes of each application.

Times are relative seconds. An instance without a creation time existed before the window, one without a deletion time
was still running at its end: the run times of both are unknown, and the former are taken to arrive at 0, counted as a
reading. Memory and disk are in GB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, first_lines, known_or
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names
from sysgym.workloads.workload import STATUS_RUNNING, Repair


def recognises(file: TraceFile) -> bool:
    """Whether the header names instances with roles and requests."""
    return {"instance_sn", "role", "app_name", "cpu_request"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The instances as they stand."""
    return parse_table(file, "dlrm")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Instances as jobs on their requested processors."""
    created, scheduled, deleted = (raw.number(f"{when}_time") for when in ("creation", "scheduled", "deletion"))
    earlier = np.isnan(created)
    cpu, memory = known_or(raw.number("cpu_request")), known_or(raw.number("memory_request"))
    processors = np.where(cpu > 0, np.ceil(cpu), -1)
    given = {
        "submit_time": np.where(earlier, 0.0, created),
        "run_time": deleted - scheduled,
        "requested_processors": processors,
        "requested_memory": np.where(
            (memory >= 0) & (processors > 0), memory * 1024**2 / np.maximum(processors, 1), -1
        ),
        "status": np.where(np.isnan(deleted), STATUS_RUNNING, 1),
        "wait_time": scheduled - created,
        "cpu_milli": np.where(cpu >= 0, np.round(cpu * 1000), -1),
        "memory_mib": np.where(memory >= 0, np.round(memory * 1024), -1),
        "gpus": known_or(raw.number("gpu_request")),
        "max_per_node": known_or(raw.number("max_instance_per_node")),
    }
    categories = {}
    for name, source in (("name", "instance_sn"), ("executable", "app_name"), ("role", "role")):
        given[name], categories[name] = codes(raw.text(source))
    readings: tuple[Repair, ...] = ()
    if earlier.any():
        readings = (Repair("submit_at_origin", int(earlier.sum()), False, first_lines(raw.lines[earlier])),)
    return JobTable(make_columns(path, given, raw.lines), categories=categories, readings=readings)
