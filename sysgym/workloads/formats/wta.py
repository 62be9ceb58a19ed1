"""Workflow Trace Archive, schema 1.0, as Parquet: tasks of workflows with their parents, in milliseconds.

Versluis et al., "The Workflow Trace Archive: open-access data from public and private computing infrastructures", TPDS
31(9), 2020. Rows are unsorted, -1 marks what is missing, and the lists of parents and children may be of floats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.companions import Dependencies
from sysgym.workloads.formats.parquet import column_names, parse_parquet
from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, known_or
from sysgym.workloads.trace_file import TraceFile


def recognises(file: TraceFile) -> bool:
    """Whether it is Parquet with the archive's names."""
    return {"id", "ts_submit", "runtime", "workflow_id"} <= column_names(file)


def parse(file: TraceFile) -> RawTable:
    """The tasks as they stand."""
    return parse_parquet(file, "wta")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Tasks as jobs, with their dependencies."""
    submit, run, wait = (raw.number(name) for name in ("ts_submit", "runtime", "wait_time"))
    amount = known_or(raw.number("resource_amount_requested", -1))
    columns = make_columns(
        path,
        {
            "job_id": known_or(raw.number("id")),
            "submit_time": submit / 1000,
            "run_time": np.where(run < 0, np.nan, run / 1000),
            "requested_processors": np.where(amount > 0, np.ceil(amount), -1),
            "user": known_or(raw.number("user_id", -1)),
            "group": known_or(raw.number("group_id", -1)),
            "workflow": known_or(raw.number("workflow_id")),
            "wait_time": np.where(wait < 0, np.nan, wait / 1000),
            "executable": codes(raw.text("type"))[0],
        },
        raw.lines,
    )
    parents = _edges(path, raw, columns["job_id"])
    return JobTable(columns, categories={"executable": codes(raw.text("type"))[1]}, dependencies=parents)


def _edges(path: Path, raw: RawTable, number: NDArray[np.int64]) -> Dependencies | None:
    if "parents" not in raw.columns:
        return None
    lists: list[Any] = [() if value is None else value for value in raw.columns["parents"].tolist()]
    child = np.repeat(number, [len(value) for value in lists])
    try:
        parent = np.concatenate([np.asarray(value, dtype=np.float64) for value in lists] or [np.empty(0)])
    except (TypeError, ValueError):
        raise InputFileError(path, "holds what is no number; expected lists of task ids", column="parents") from None
    if not np.isfinite(parent).all() or (parent != np.floor(parent)).any():
        raise InputFileError(path, "holds an id that is no whole number; expected lists of task ids", column="parents")
    return Dependencies(child, parent.astype(np.int64), np.zeros(len(child)))
