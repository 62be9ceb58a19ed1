"""Slurm's accounting, as `sacct --parsable2` (or `--parsable`) prints it: columns in any order, one job a row.

Durations are `days-hours:minutes:seconds`, times the local clock's. Rows of job steps (`17.batch`) are parts of jobs
and left out; `sacct --allocations` does not print them. A job that is pending or still runs has no run time yet, so
cleaning drops it. `sacct --duplicates` prints a row for each time that a job was requeued: the last one counts.
Fields and forms are those of sacct's manual page (https://slurm.schedmd.com/sacct.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, codes, first_lines, known_or
from sysgym.workloads.schema import schema_of
from sysgym.workloads.text_table import header_faults, parse_cells, split_rows
from sysgym.workloads.trace_file import TraceFile, header_names
from sysgym.workloads.wall_clock import seconds_between, since_first
from sysgym.workloads.workload import STATUS_CANCELLED, STATUS_PENDING, STATUS_RUNNING, Repair

_DURATIONS = ("Elapsed", "Timelimit")
_UNKNOWN = {"", "Unknown", "None", "UNLIMITED", "Partition_Limit"}
_SIZES = ("ReqCPUS", "AllocCPUS", "NCPUS")
_RUN_TIMES = ("Elapsed", "ElapsedRaw", "End")
_STATUS = {"COMPLETED": 1, "CANCELLED": STATUS_CANCELLED, "PENDING": STATUS_PENDING, "REQUEUED": STATUS_PENDING}
_STATUS |= dict.fromkeys(("RUNNING", "SUSPENDED", "COMPLETING", "RESIZING"), STATUS_RUNNING)
_NAMES = {"user": "User", "group": "Account", "executable": "JobName", "queue": "Partition", "qos": "QOS"}


def recognises(file: TraceFile) -> bool:
    """Whether bars separate the names of a job and its submission."""
    return {"JobID", "Submit"} <= header_names(file, "|")


def parse(file: TraceFile) -> RawTable:
    """The jobs as they stand, durations in seconds; steps are left out."""
    header = [name.strip() for name in file.first_line.split("|")]
    rows = split_rows(file, "|", header)
    schema = schema_of("slurm")
    names = [name for name in header if name]  # --parsable ends every line with a bar
    faults = [*rows.faults, *header_faults(names, schema), *_missing(names)]
    by_name = dict(zip(rows.names, zip(*rows.cells[1:], strict=True), strict=True)) if len(rows.cells) > 1 else {}
    jobs = np.array(["." not in number for number in by_name.get("JobID", ())], dtype=np.bool_)
    if not jobs.any() and not faults:
        faults.append(Fault("no_rows", "the table has a header and no jobs; expected one row a job", 1, (1,)))
    lines = np.array(rows.lines[1:], dtype=np.int64)[jobs]
    columns = {}
    for name in dict.fromkeys(names):
        cells = [cell.strip() for cell, job in zip(by_name.get(name, ()), jobs, strict=False) if job]
        kind = schema.columns[name].type if name in schema.columns else "text"
        if kind != "text":
            cells = ["" if cell in _UNKNOWN else cell for cell in cells]
        columns[name], found = parse_cells(cells, "duration" if name in _DURATIONS else kind, name, lines)
        faults += found
    return RawTable(columns, lines, tuple(faults), {}, rows.blank_lines, fields=len(names))


def jobs(path: Path, raw: RawTable, time_zone: str | None = None) -> JobTable:
    """Jobs on processors, with Slurm's own waits; an account is the group, a partition the queue."""
    raw, requeued = _last_runs(raw)
    submit, header, readings = since_first(path, raw, "Submit", time_zone)
    status = _status(raw.text("State"))
    allocated = raw.number("AllocCPUS") if "AllocCPUS" in raw.columns else raw.number("NCPUS")
    given = {
        "submit_time": submit,
        "run_time": np.where(status >= STATUS_RUNNING, -1.0, known_or(_run_time(raw, time_zone))),
        "requested_time": known_or(raw.number("Timelimit") if "Timelimit" in raw.columns else _minutes(raw)),
        "requested_processors": known_or(raw.number("ReqCPUS")),
        "allocated_processors": known_or(allocated),
        "status": status,
        "wait_time": _seconds_between(raw, "Submit", "Start", time_zone),
    }
    categories = {}
    numbers = raw.text("JobID").tolist()
    if all(number.isascii() and number.isdigit() and len(number) < 19 for number in numbers):
        given["job_id"] = np.array([int(number) for number in numbers], dtype=np.int64)
    else:  # arrays (17_4) and heterogeneous jobs (17+1)
        given["name"], categories["name"] = codes(raw.text("JobID"))
    for name, source in _NAMES.items():
        if source in raw.columns:
            given[name], categories[name] = codes(raw.text(source))
    return JobTable(make_columns(path, given, raw.lines), header, categories=categories, readings=requeued + readings)


def _last_runs(raw: RawTable) -> tuple[RawTable, tuple[Repair, ...]]:
    """The last row of each job, and what that left out."""
    last = {number: row for row, number in enumerate(raw.text("JobID").tolist())}
    kept = np.zeros(len(raw), dtype=np.bool_)
    kept[list(last.values())] = True
    if kept.all():
        return raw, ()
    repair = Repair("drop_requeued_run", int((~kept).sum()), True, first_lines(raw.lines[~kept]))
    columns = {name: column[kept] for name, column in raw.columns.items()}
    return replace(raw, columns=columns, lines=raw.lines[kept]), (repair,)


def _missing(names: Sequence[str]) -> list[Fault]:
    """What has no column: the size of a job, or how long it ran."""
    return [
        Fault("missing_column", f"no column {' or '.join(any_of)}; add one to sacct's --format", len(names))
        for any_of in (_SIZES, _RUN_TIMES)
        if not set(any_of) & set(names)
    ]


def _status(states: NDArray[np.object_]) -> NDArray[np.int64]:
    """Status by the first word of a state, such as `CANCELLED by 1001`; what is neither listed nor empty failed."""
    words = [state.split(maxsplit=1)[0].rstrip("+") if state else "" for state in states.tolist()]
    return np.array([_STATUS.get(word, 0 if word else -1) for word in words], dtype=np.int64)


def _run_time(raw: RawTable, time_zone: str | None) -> NDArray[np.float64]:
    for name in ("Elapsed", "ElapsedRaw"):
        if name in raw.columns:
            return raw.number(name)
    return _seconds_between(raw, "Start", "End", time_zone)


def _minutes(raw: RawTable) -> NDArray[np.float64]:
    return raw.number("TimelimitRaw") * 60.0


def _seconds_between(raw: RawTable, first: str, second: str, time_zone: str | None) -> NDArray[np.float64]:
    if not {first, second} <= set(raw.columns):
        return np.full(len(raw), np.nan)
    return seconds_between(raw.columns[first], raw.columns[second], time_zone)
