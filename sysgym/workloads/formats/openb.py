"""Alibaba's openb lists of 2023: pods that ask for CPU, memory and (shares of) GPUs, and the nodes that serve them.

Weng et al., "Beware of fragmentation: scheduling GPU-sharing workloads with fragmentation gradient descent", USENIX ATC
2023. Times are relative seconds; a pod without a scheduled time was pending, and its run time is unknown. `gpu_milli`
matters only where `num_gpu` is 1. The lists of nodes number their nodes anew, so they are never joined by name. Some
published lists of pods carry fewer columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.core.errors import InputFileError
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, known_or
from sysgym.workloads.schema import schema_of
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names, open_trace
from sysgym.workloads.workload import STATUS_PENDING, STATUS_RUNNING

_PHASES = {"Succeeded": 1, "Failed": 0, "Running": STATUS_RUNNING, "Pending": STATUS_PENDING}


def recognises(file: TraceFile) -> bool:
    """Whether the header names what a pod needs."""
    return {"name", "cpu_milli", "num_gpu", "gpu_milli"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The list of pods as it stands."""
    return parse_table(file, "openb")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Pods as jobs: whole processors, and CPU, memory and GPUs as they were asked for."""
    cpu, memory, gpus = (known_or(raw.number(name)) for name in ("cpu_milli", "memory_mib", "num_gpu"))
    processors = np.where(cpu > 0, np.ceil(cpu / 1000), np.where(gpus > 0, 1, -1))  # whoever drives a GPU needs one
    submit, scheduled = raw.number("creation_time"), raw.number("scheduled_time")
    given = {
        "submit_time": submit,
        "run_time": raw.number("deletion_time") - scheduled,
        "requested_processors": processors,
        "requested_memory": np.where((memory >= 0) & (processors > 0), memory * 1024 / np.maximum(processors, 1), -1),
        "status": np.array([_PHASES.get(phase, -1) for phase in raw.text("pod_phase").tolist()], dtype=np.int64),
        "wait_time": scheduled - submit,
        "cpu_milli": cpu,
        "memory_mib": memory,
        "gpus": gpus,
        "gpu_milli": known_or(raw.number("gpu_milli")),
    }
    categories = {}
    for name, source in (("name", "name"), ("gpu_type", "gpu_spec"), ("qos", "qos")):
        given[name], categories[name] = codes(raw.text(source))
    return JobTable(make_columns(path, given, raw.lines), categories=categories)


def recognises_nodes(file: TraceFile) -> bool:
    """Whether the header names what a node has."""
    names = header_names(file)
    return {"sn", "cpu_milli", "gpu"} <= names and "creation_time" not in names


def parse_nodes(file: TraceFile) -> RawTable:
    """The list of nodes as it stands."""
    return parse_table(file, "openb_nodes")


def read_nodes(path: str | Path) -> NodeTable:
    """A list of nodes; O(nodes).

    Raises:
        InputFileError: It is no such list, or a node has no whole, positive number of processors.
    """
    file = open_trace(path)
    if not recognises_nodes(file):
        wanted = ", ".join(schema_of("openb_nodes").columns)
        raise InputFileError(path, f"is no list of nodes; expected a table with the columns {wanted}")
    raw = parse_nodes(file)
    raw.refuse_faults(file.path)
    given = {name: known_or(raw.number(source), 0) for name, source in
             (("cpu_milli", "cpu_milli"), ("memory_mib", "memory_mib"), ("gpus", "gpu"))}  # fmt: skip
    columns = make_columns(file.path, given | {"submit_time": np.zeros(len(raw))}, raw.lines)
    for name in given:
        wrong = np.flatnonzero(columns[name] < (name == "cpu_milli"))
        if len(wrong):
            line = int(raw.lines[wrong[0]])
            raise InputFileError(path, f"{columns[name][wrong[0]]} is no size of a node", line=line, column=name)
    gpu_type, gpu_types = codes(raw.text("model"))
    return NodeTable(tuple(raw.text("sn").tolist()), columns["cpu_milli"], columns["memory_mib"], columns["gpus"],
                     gpu_type, gpu_types, str(path))  # fmt: skip
