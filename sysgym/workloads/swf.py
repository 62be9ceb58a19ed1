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

from sysgym.core.errors import InputFileError
from sysgym.core.files import atomic_write
from sysgym.workloads.job_table import COLUMNS, JobTable, make_columns
from sysgym.workloads.trace_file import TraceFile
from sysgym.workloads.workload import LARGEST_MACHINE, Machine, Workload

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


def read_swf(file: TraceFile) -> JobTable:
    """Read a log as it stands; O(rows).

    Raises:
        InputFileError: No job, a row without exactly 18 fields, or a field that is no finite number.
    """
    lines = file.text.split("\n")
    rows = [number for number, line in enumerate(lines) if line and line[0] != ";" and not line.isspace()]
    if not rows:
        raise InputFileError(file.path, "the log has a header and no jobs; expected 18 numbers a line", line=len(lines))
    header = read_header(line for line in lines if line.startswith(";"))
    table = _read_fast([lines[row] for row in rows])
    if table is None:
        table = _read_carefully(file.path, lines, rows)
    given = {name: column for name, column in zip(FIELDS, table, strict=True) if name in COLUMNS}
    return JobTable(make_columns(file.path, given, np.array(rows) + 1), header, machine_of(header))


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


def _read_carefully(path: Path, lines: list[str], rows: list[int]) -> Table:
    table = np.empty((len(rows), len(FIELDS)))
    for index, row in enumerate(rows):
        tokens = lines[row].split()
        if len(tokens) != len(FIELDS):
            raise InputFileError(
                path,
                f"{len(tokens)} fields, expected the {len(FIELDS)} of SWF; complete or remove the row",
                line=row + 1,
            )
        for place, token in enumerate(tokens):
            if not _is_number(token):
                raise InputFileError(
                    path,
                    f"{token!r} is not a finite number; write -1 where a value is unknown",
                    line=row + 1,
                    column=f"{place + 1} ({FIELDS[place]})",
                )
            table[index, place] = float(token)
    return list(table.T)


def _is_number(token: str) -> bool:
    try:
        return math.isfinite(float(token))
    except ValueError:
        return False


def write_swf(workload: Workload, path: str | Path) -> None:
    """Write a workload as SWF, packed where the name ends in .gz; reading it back gives the same jobs and machine.

    Unknown values become -1, and `processors` stands for both the allocated and the requested count. The same workload
    gives the same bytes (the packed file carries no time stamp).

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
    for key, value in header.items():
        first, *more = value.split("\n")
        yield f"; {key}: {first}" if _KEY.match(f"; {key}:") else f"; Note: {key}: {first}"
        yield from (f";       {line}" for line in more)
    yield ";"


def _rows(workload: Workload) -> Iterator[str]:
    columns = {name: _as_text(column) for name, column in workload.columns().items()}
    columns["allocated_processors"] = columns["requested_processors"] = columns["processors"]
    blank = ["-1"] * len(workload)
    return map(" ".join, zip(*(columns.get(name, blank) for name in FIELDS), strict=True))


def _as_text(column: NDArray[np.float64] | NDArray[np.int64]) -> list[str]:
    known = np.where(np.isnan(column), -1, column)
    if (known == np.floor(known)).all() and (np.abs(known) < 2.0**53).all():
        known = known.astype(np.int64)
    return list(map(str, known.tolist()))
