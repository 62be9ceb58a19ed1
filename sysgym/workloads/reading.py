"""The one door for logs: recognise the format by content, read, clean, and make a `Workload`.

A new format is one file in `formats/` with `recognises`, `parse` and `jobs`, a schema in `schemas/`, and one row in
`FORMATS`. Opening, cleaning, machine size and provenance are done here, once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import InputFileError, SettingError, require_known, require_range
from sysgym.workloads.cleaning import CLEANING_RULES, PROCESSOR_SOURCES, clean_jobs
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.formats import (
    alea,
    azure_llm,
    dlrm,
    gavel,
    generic_csv,
    gwf,
    openb,
    opendc,
    parquet,
    philly,
    philly_json,
    pollux,
    slurm,
    swf,
    tiresias,
    tpch,
    wta,
)
from sysgym.workloads.job_table import JobTable
from sysgym.workloads.raw_table import RawTable
from sysgym.workloads.trace_file import TraceFile, open_trace
from sysgym.workloads.wall_clock import zone
from sysgym.workloads.workload import LARGEST_MACHINE, Machine, Provenance, Workload


@dataclass(frozen=True)
class Format:
    """A format of logs.

    Attributes:
        title: What it is, for lists and errors.
        recognises: Whether a file looks like it.
        parse: The file's own columns and faults; a format with a column mapping takes it as second argument.
        jobs: Our columns from those; None where the file lists no jobs. A format with local times takes a zone.
        has_run_times: Whether its jobs have run times.
        maps_columns: Whether `parse` takes a column mapping.
        local_times: Whether `jobs` takes a time zone.
        needs_machine: Whether reading refuses a log that doesn't tell the machine's size; else only a replay does.
    """

    title: str
    recognises: Callable[[TraceFile], bool]
    parse: Callable[..., RawTable]
    jobs: Callable[..., JobTable] | None
    has_run_times: bool = True
    maps_columns: bool = False
    local_times: bool = False
    needs_machine: bool = False


FORMATS: Mapping[str, Format] = {
    "alea": Format("Alea's log of MetaCentrum", alea.recognises, alea.parse, alea.jobs),
    "swf": Format("Standard Workload Format", swf.recognises, swf.parse, swf.jobs, needs_machine=True),
    "opendc": Format("OpenDC tasks (Parquet)", opendc.recognises, opendc.parse, opendc.jobs),
    "wta": Format("Workflow Trace Archive (Parquet)", wta.recognises, wta.parse, wta.jobs),
    "openb": Format("Alibaba GPU pods 2023", openb.recognises, openb.parse, openb.jobs),
    "openb_nodes": Format("Alibaba GPU nodes 2023", openb.recognises_nodes, openb.parse_nodes, None),
    "dlrm": Format("Alibaba DLRM instances 2025", dlrm.recognises, dlrm.parse, dlrm.jobs),
    "philly": Format("Philly jobs (table)", philly.recognises, philly.parse, philly.jobs, local_times=True),
    "philly_json": Format(
        "Philly jobs with attempts (JSON)",
        philly_json.recognises,
        philly_json.parse,
        philly_json.jobs,
        local_times=True,
    ),
    "pollux": Format("Pollux workload", pollux.recognises, pollux.parse, pollux.jobs, has_run_times=False),
    "tiresias": Format("Tiresias and Chronus jobs", tiresias.recognises, tiresias.parse, tiresias.jobs),
    "gavel": Format("Gavel trace", gavel.recognises, gavel.parse, gavel.jobs, has_run_times=False),
    "slurm": Format(
        "Slurm's accounting (sacct --parsable2)",
        slurm.recognises,
        slurm.parse,
        slurm.jobs,
        local_times=True,
    ),
    "gwf": Format("Grid Workload Format (workflows)", gwf.recognises, gwf.parse, gwf.jobs),
    "azure_llm": Format(
        "Azure LLM requests",
        azure_llm.recognises,
        azure_llm.parse,
        azure_llm.jobs,
        has_run_times=False,
        local_times=True,
    ),
    "tpch": Format("TPC-H stage profiles", tpch.recognises, tpch.parse, tpch.jobs, has_run_times=False),
    "csv": Format(
        "table with a header row",
        generic_csv.recognises,
        generic_csv.parse,
        generic_csv.jobs,
        maps_columns=True,
        local_times=True,
        needs_machine=True,
    ),
}
"""The formats by name, in the order in which they are asked whether they recognise a file."""


def read_trace(
    path: str | Path | TraceFile,
    format: str = "auto",
    clean: str = "default",
    processors: int | None = None,
    columns: Mapping[str, Any] | str | Path | None = None,
    *,
    processors_from: str | None = None,
    nodes: str | Path | NodeTable | None = None,
    time_zone: str | None = None,
) -> Workload:
    """Read a log of jobs.

    Args:
        path: The log, plain or gzip, or what `open_trace` made of it.
        format: A name in `FORMATS`; "auto" recognises it by content.
        clean: A name in `CLEANING_RULES`: "default", "sc15" or "none".
        processors: Size of the machine, where the file does not tell it or tells it wrong.
        columns: For "csv": which column is what, a mapping or a TOML file; see `generic_csv`.
        processors_from: "requested" (as None), "allocated" or "max": which count is a job's size.
        nodes: The machine's nodes, or a file that lists them (see `read_nodes`).
        time_zone: Zone of the clock, for formats with local times; see `wall_clock`.

    Returns:
        The jobs, sorted stably by (submission, job number), with everything that reading and cleaning changed in
        `repairs`. Under "none" the file's own order and values stand, and an unknown run time or estimate is NaN. A
        format without run times has NaN in all of them. Where neither log nor caller tells the machine's size,
        `machine.is_known` is False (SWF and plain tables are refused).

    Raises:
        InputFileError: The file cannot be read, with line and column; or no job is left after cleaning.
        UnknownNameError: No such format, cleaning rule, processors source or column.
        SettingError: `processors` below 1, a column mapping for a format that has none, or an unknown time zone.
    """
    source = processors_from or "requested"
    require_known("processors source", source, PROCESSOR_SOURCES)
    require_known("cleaning rule", clean, CLEANING_RULES)
    require_known("format", format, [*FORMATS, "auto"])
    if columns is not None and not isinstance(columns, Mapping | str | Path):
        raise SettingError(f"columns is {columns!r}; give a mapping, or the path of a TOML file")
    file = open_trace(path)
    name = recognise(file) if format == "auto" else format
    raw = parse_as(file, name, columns)
    raw.refuse_faults(file.path)
    table = _jobs(file.path, name, raw, time_zone)
    _require_submissions(file.path, table)
    machine = _machine(file.path, name, table, processors, nodes)
    jobs, repairs = clean_jobs(file.path, table.columns, clean, source, machine.processors)
    provenance = Provenance(str(file.path), name, clean, file.sha256, table.header, len(raw))
    return Workload.from_columns(
        jobs, machine, provenance, (*table.readings, *repairs), table.categories, table.dependencies, table.profiles
    )


def recognise(file: TraceFile) -> str:
    """The format of a file by its content.

    Raises:
        InputFileError: It is none that we know.
    """
    for name, format in FORMATS.items():
        if format.recognises(file):
            return name
    what = "a binary file" if file.is_binary else f"a file that begins {file.first_line[:60]!r}"
    why = ", ".join(FORMATS)
    if parquet.is_parquet(file):
        what = "Parquet with other columns" if (fault := parquet.fault_of(file)) is None else what
        why = fault or why
    raise InputFileError(file.path, f"{what} is no known format ({why}); name one with format=..., or convert the file")


def parse_as(file: TraceFile, name: str, columns: Mapping[str, Any] | str | Path | None = None) -> RawTable:
    """The file's own columns and faults in a format of `FORMATS`.

    Raises:
        InputFileError: Nothing of it can be read as that format.
        SettingError: A column mapping for a format that has none.
    """
    format = FORMATS[name]
    if format.maps_columns:
        return format.parse(file, columns)
    if columns is not None:
        raise SettingError(f"columns is for formats with named columns; {file.path} is {name!r}, leave columns out")
    return format.parse(file)


def _jobs(path: Path, name: str, raw: RawTable, time_zone: str | None) -> JobTable:
    format = FORMATS[name]
    if format.jobs is None:
        raise InputFileError(
            path, f"is a list of nodes ({name}), not of jobs; give it as nodes=... beside the jobs' log"
        )
    if time_zone is None:
        return format.jobs(path, raw)
    zone(time_zone)
    if not format.local_times:
        raise SettingError(f"time_zone is for formats with local times; {path} is {name!r}, leave time_zone out")
    return format.jobs(path, raw, time_zone)


def _require_submissions(path: Path, table: JobTable) -> None:
    absent = np.flatnonzero(np.isnan(table.columns["submit_time"]))
    if len(absent):
        line = int(table.columns["source_line"][absent[0]])
        raise InputFileError(path, f"{len(absent)} jobs have no submission; complete or remove the row", line=line)


def _machine(
    path: Path, name: str, table: JobTable, processors: int | None, nodes: str | Path | NodeTable | None
) -> Machine:
    listed = read_nodes(nodes) if isinstance(nodes, str | Path) else nodes
    if processors is not None:
        require_range("processors", processors, 1, LARGEST_MACHINE, whole=True)
        return Machine(int(processors), "caller", len(listed) if listed else None, listed)
    if listed is not None:
        return Machine(listed.processors, "node list", len(listed), listed)
    if table.machine is not None:
        return table.machine
    if FORMATS[name].needs_machine:
        raise InputFileError(
            path, "the file does not tell the size of the machine; give it with processors=... (--processors)"
        )
    return Machine(LARGEST_MACHINE, "unknown")


def read_nodes(path: str | Path) -> NodeTable:
    """The nodes of a machine: Alibaba's list of openb nodes, or Alea's `.machines`.

    Raises:
        InputFileError: The file is neither, with line and column.
    """
    if openb.recognises_nodes(open_trace(path)):
        return openb.read_nodes(path)
    return alea.read_machines(path)
