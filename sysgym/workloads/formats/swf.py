"""The Standard Workload Format, version 2, in which the Parallel Workloads Archive keeps its logs.

A header of `; Key: value` lines, then 18 blank-separated numbers a job, -1 where unknown (Feitelson, Tsafrir and
Krakov, "Experience with using the Parallel Workloads Archive", JPDC 74(10), 2014). Reading takes pandas' C parser at
full speed; wherever that meets something odd, a second, careful pass in Python decides, and names line and column.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sysgym.core.files import atomic_write
from sysgym.workloads.companions import Dependencies
from sysgym.workloads.job_table import COLUMNS, JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, first_lines
from sysgym.workloads.text_table import finite
from sysgym.workloads.trace_file import TraceFile
from sysgym.workloads.workload import LARGEST_MACHINE, STATUS_CANCELLED, Machine, Workload

FIELDS = (
    "job_id",
    "submit_time",
    "wait_time",
    "run_time",
    "allocated_processors",
    "cpu_time",
    "used_memory",
    "requested_processors",
    "requested_time",
    "requested_memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding_job",
    "think_time",
)
"""The 18 fields of a row, in order; those that are no column of a workload are checked and left out."""

_BEFORE_PANDAS_3_1 = tuple(int(part) for part in pd.__version__.split(".")[:2]) < (3, 1)
_EXACT_DECIMALS: dict[str, Any] = {"float_precision": "round_trip"} if _BEFORE_PANDAS_3_1 else {}
"""Decimals as Python reads them; pandas 3.1 made that the only way and deprecates the option."""

Table = list[NDArray[np.float64] | NDArray[np.int64]]
_KEY = re.compile(r";[ \t]?([A-Za-z]\w*):(?!//)(.*)")
_STANDARD_KEY = re.compile(
    r";\s*(Version|Computer|Installation|Acknowledge|Information|Conversion|MaxJobs|MaxRecords|Preemption|UnixStartTime"
    r"|TimeZone|TimeZoneString|StartTime|EndTime|MaxNodes|MaxProcs|MaxRuntime|MaxMemory|AllowOveruse|MaxQueues|Queues"
    r"|Queue|MaxPartitions|Partitions|Partition|Note):(.*)"
)


def recognises(file: TraceFile) -> bool:
    """Whether the first line is a header line, or nothing but numbers between blanks."""
    if file.first_line.startswith(";"):
        return True
    tokens = file.first_line.split()
    return len(tokens) > 1 and all(_is_number(token) for token in tokens)


def parse(file: TraceFile) -> RawTable:
    """The 18 fields of every row, as they stand; O(rows)."""
    lines = file.text.split("\n")
    rows = [number for number, line in enumerate(lines) if line and line[0] != ";" and not line.isspace()]
    header = read_header(line for line in lines if line.startswith(";"))
    numbers = np.array(rows, dtype=np.int64) + 1
    if not rows:
        fault = Fault("no_rows", "the log has a header and no jobs; expected 18 numbers a line", 1, (len(lines),))
        return RawTable(dict.fromkeys(FIELDS, np.empty(0)), numbers, (fault,), header, fields=len(FIELDS))
    table = _read_fast([lines[row] for row in rows])
    faults: list[Fault] = []
    if table is None:
        table, numbers, faults = _read_carefully(lines, rows)
    blank = tuple(row + 1 for row in range(len(lines) - 1) if not lines[row] or lines[row].isspace())
    columns = dict(zip(FIELDS, table, strict=True))
    with_point = np.array([row + 1 for row in rows if "." in lines[row]], dtype=np.int64)
    return RawTable(columns, numbers, tuple(faults), header, blank, with_point, len(FIELDS))


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Jobs as the log states them, with the jobs that they follow."""
    given = {name: column for name, column in raw.columns.items() if name in COLUMNS}
    given["wait_time"] = np.where(raw.columns["wait_time"] < 0, np.nan, raw.columns["wait_time"])
    columns = make_columns(path, given, raw.lines)
    return JobTable(columns, raw.header, machine_of(raw.header), dependencies=_dependencies(raw, columns["job_id"]))


def _dependencies(raw: RawTable, number: NDArray[np.int64]) -> Dependencies | None:
    """Fields 17 and 18: the preceding job and the think time behind its end."""
    parent = raw.columns["preceding_job"]
    rows = np.flatnonzero((parent > 0) & (parent == np.floor(parent)) & (np.abs(parent) < 2.0**53))
    if not len(rows):
        return None
    think = np.maximum(raw.columns["think_time"][rows], 0).astype(np.float64)
    return Dependencies(number[rows], parent[rows].astype(np.int64), think)


def read_header(lines: Iterator[str]) -> dict[str, str]:
    r"""Header values by key; a repeated key and a continuation line each add a line to the value.

    >>> read_header(iter(["; MaxProcs: 128", "; Note: cleaned", ";       of one user", ";"]))
    {'MaxProcs': '128', 'Note': 'cleaned\nof one user'}
    """
    header: dict[str, list[str]] = {}
    key = "Comment"
    for line in lines:
        match = _STANDARD_KEY.match(line) or _KEY.match(line)
        if match:
            key = match[1]
        value = (match[2] if match else line[1:]).strip()
        if value:
            header.setdefault(key, []).append(value)
    return {key: "\n".join(values) for key, values in header.items()}


_SIZE = re.compile(r"\s*(\d{1,3}(?:,\d{3})+|\d+)\s*(?=$|[(\n])")


def machine_of(header: Mapping[str, str]) -> Machine | None:
    """The machine by `MaxProcs`, else `MaxNodes`; a value that is missing, below 1 or no plain number does not count.

    >>> machine_of({"MaxProcs": "-1", "MaxNodes": "1,152 (8 processors each)"})
    Machine(processors=1152, source='MaxNodes', nodes=1152)
    """
    sizes = {}
    for key in ("MaxProcs", "MaxNodes"):
        match = _SIZE.match(header.get(key, ""))
        size = int(match[1].replace(",", "")) if match else 0
        if 0 < size <= LARGEST_MACHINE:
            sizes[key] = size
    nodes = sizes.get("MaxNodes")
    return next((Machine(size, key, nodes) for key, size in sizes.items()), None)


def _read_fast(rows: list[str]) -> Table | None:
    """All 18 columns by the C parser, or None where anything is odd; the 19th column catches rows that are too long."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO("\n".join(rows)),
                sep=r"\s+",
                header=None,
                names=range(len(FIELDS) + 1),
                index_col=False,
                quoting=3,
                **_EXACT_DECIMALS,
            )
    except (ValueError, OverflowError, Warning):
        return None
    *table, beyond = (frame[name].to_numpy() for name in frame)
    sound = all(column.dtype.kind in "if" and np.isfinite(column).all() for column in table)
    if not sound or len(frame) != len(rows) or not frame[len(FIELDS)].isna().all() or beyond.dtype.kind != "f":
        return None
    return table


def _read_carefully(lines: list[str], rows: list[int]) -> tuple[Table, NDArray[np.int64], list[Fault]]:
    """The rows of 18 fields with their line numbers, NaN where a field is no number, and what was wrong."""
    short: list[int] = []
    broken: dict[int, list[int]] = {}
    message: dict[int, str] = {}
    kept = []
    values: list[list[float]] = []
    for row in rows:
        tokens = lines[row].split()
        if len(tokens) != len(FIELDS):
            expected = f"expected the {len(FIELDS)} of SWF; complete or remove the row"
            message.setdefault(-1, f"{len(tokens)} fields, {expected}")
            short.append(row + 1)
            continue
        kept.append(row + 1)
        values.append([float(token) if _is_number(token) else math.nan for token in tokens])
        for place in (place for place, value in enumerate(values[-1]) if math.isnan(value)):
            message.setdefault(
                place, f"{tokens[place][:80]!r} is not a finite number; write -1 where a value is unknown"
            )
            broken.setdefault(place, []).append(row + 1)
    faults = [Fault("field_count", message[-1], len(short), first_lines(short))] if short else []
    for place, found in broken.items():
        column = f"{place + 1} ({FIELDS[place]})"
        faults.append(Fault("not_a_number", message[place], len(found), first_lines(found), column))
    table = np.array(values, dtype=np.float64).reshape(len(kept), len(FIELDS))
    return list(table.T), np.array(kept, dtype=np.int64), faults


def _is_number(token: str) -> bool:
    return finite(token) is not None


def write_swf(workload: Workload, path: str | Path) -> None:
    """Write a workload as SWF, packed where the name ends in .gz; reading it back gives the same jobs and machine.

    Unknown values become -1, and `processors` stands for both the allocated and the requested count. Of what a job
    follows, one job and its think time are written, none where there are several. The same workload gives the same
    bytes (the packed file carries no time stamp).

    Raises:
        OutputError: The place cannot be written; what stood there before is untouched.
    """
    text = "\n".join([*_header_lines(workload), *_rows(workload), ""]).encode()
    with atomic_write(path, "wb") as handle:
        handle.write(gzip.compress(text, 6, mtime=0) if Path(path).suffix == ".gz" else text)


def _header_lines(workload: Workload) -> Iterator[str]:
    machine, count = workload.machine, str(len(workload))
    header = {"Version": "2.2", **workload.provenance.header, "MaxJobs": count, "MaxRecords": count}
    header["MaxProcs"] = str(machine.processors)
    header["MaxNodes"] = str(machine.nodes or -1)
    header |= {
        f"{column} codes": ", ".join(f"{number} = {label}" for number, label in enumerate(labels, 1))
        for column, labels in workload.categories.items()
        if column in FIELDS
    }
    for key, value in header.items():
        first, *more = value.split("\n")
        yield f"; {key}: {first}" if _KEY.match(f"; {key}:") else f"; Note: {key}: {first}"
        yield from (f";       {line}" for line in more)
    yield ";"


def _rows(workload: Workload) -> Iterator[str]:
    columns = {name: _as_text(column) for name, column in workload.columns().items()}
    columns["status"] = _as_text(np.where(workload.status > STATUS_CANCELLED, -1, workload.status))
    if "wait_time" in workload.extra:
        columns["wait_time"] = _as_text(workload.extra["wait_time"])
    columns["allocated_processors"] = columns["requested_processors"] = columns["processors"]
    if workload.dependencies is not None:
        columns |= _followed(workload.job_id, workload.dependencies)
    blank = ["-1"] * len(workload)
    return map(" ".join, zip(*(columns.get(name, blank) for name in FIELDS), strict=True))


def _followed(number: NDArray[np.int64], dependencies: Dependencies) -> dict[str, list[str]]:
    """Fields 17 and 18 of jobs that follow one other job; the format has no room for more."""
    child, place, count = np.unique(dependencies.child, return_index=True, return_counts=True)
    place = place[count == 1]
    parent = dict(zip(child[count == 1].tolist(), dependencies.parent[place].tolist(), strict=True))
    think = dict(zip(parent, _as_text(dependencies.think_time[place]), strict=True))
    numbers = number.tolist()
    return {
        "preceding_job": [str(parent.get(job, -1)) for job in numbers],
        "think_time": [think.get(job, "-1") for job in numbers],
    }


def _as_text(column: NDArray[np.float64] | NDArray[np.int64]) -> list[str]:
    known = np.where(np.isnan(column), -1, column)
    if (known == np.floor(known)).all() and (np.abs(known) < 2.0**53).all():
        known = known.astype(np.int64)
    return list(map(str, known.tolist()))
