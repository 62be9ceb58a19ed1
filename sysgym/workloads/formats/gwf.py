"""Grid Workload Format for workflows, as OpenDC reads it: a padded table of tasks, each with those it waits for.

Times are whole seconds. `Dependencies` holds the numbers of the tasks that have to end first, separated by blanks; task
numbers are unique over all workflows. A task's size is what it requested, else what it used. Source: Iosup et al., "The
Grid Workloads Archive", FGCS 24(7), 2008; the columns are those of the files in OpenDC's repository.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.companions import Dependencies
from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, known_or
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names


def recognises(file: TraceFile) -> bool:
    """Whether the header names workflows, tasks and their dependencies."""
    return {"WorkflowID", "JobID", "SubmitTime", "RunTime", "Dependencies"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The tasks as they stand."""
    return parse_table(file, "gwf")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Tasks as jobs, with their dependencies."""
    run = raw.number("RunTime")
    columns = make_columns(
        path,
        {
            "job_id": known_or(raw.number("JobID")),
            "submit_time": raw.number("SubmitTime"),
            "run_time": np.where(run < 0, np.nan, run),
            "requested_processors": known_or(raw.number("ReqNProcs", -1)),
            "allocated_processors": known_or(raw.number("NProcs")),
            "workflow": known_or(raw.number("WorkflowID")),
        },
        raw.lines,
    )
    return JobTable(columns, dependencies=_dependencies(path, raw, columns["job_id"]))


def _dependencies(path: Path, raw: RawTable, number: NDArray[np.int64]) -> Dependencies:
    child: list[int] = []
    parent: list[int] = []
    for job, text, line in zip(number.tolist(), raw.text("Dependencies"), raw.lines.tolist(), strict=True):
        for word in text.split():
            if word == "-1":  # none, as elsewhere in the archive
                continue
            if not (word.isascii() and word.isdigit() and len(word) < 19):
                raise InputFileError(
                    path, f"{word!r} is no number of a task; correct the list", line=line, column="Dependencies"
                )
            child.append(job)
            parent.append(int(word))
    return Dependencies(
        np.array(child, dtype=np.int64), np.array(parent, dtype=np.int64), np.zeros(len(child), dtype=np.float64)
    )
