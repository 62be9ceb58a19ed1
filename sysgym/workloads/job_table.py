"""What a format's reader hands to cleaning: the jobs exactly as the file states them, as columns.

Every format fills the same columns, so that cleaning, machine size and sorting are written once. -1 is an unknown value
in every column; a format that has no run times at all gives NaN there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.companions import DagProfile, Dependencies
from sysgym.workloads.workload import EXTRA_COLUMNS, Machine, Repair, unknown

Columns = dict[str, NDArray[Any]]

COLUMNS: Mapping[str, type[np.generic]] = {
    "job_id": np.int64,
    "submit_time": np.float64,
    "run_time": np.float64,
    "requested_time": np.float64,
    "requested_processors": np.int64,
    "allocated_processors": np.int64,
    "user": np.int64,
    "group": np.int64,
    "executable": np.int64,
    "queue": np.int64,
    "partition": np.int64,
    "requested_memory": np.float64,
    "status": np.int64,
}
"""The columns a reader may fill, with their types: those of `Workload`, and the two processor counts to choose from."""


@dataclass(frozen=True)
class JobTable:
    """The jobs of a file, uncleaned and in the file's order.

    Attributes:
        columns: The names in `COLUMNS`, `source_line`, and some of `EXTRA_COLUMNS`; arrays of one length.
        header: What the file says about itself.
        machine: The machine, or None where the file does not tell its size.
        categories: Labels of columns whose numbers stand for names.
        dependencies: Which job waits for which.
        profiles: The DAG of each job.
        readings: Values that the reader had to choose because the file leaves them open, each counted.
    """

    columns: Columns
    header: Mapping[str, str] = field(default_factory=dict)
    machine: Machine | None = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dependencies: Dependencies | None = None
    profiles: tuple[DagProfile, ...] | None = None
    readings: tuple[Repair, ...] = ()


def make_columns(path: Path, given: Mapping[str, NDArray[Any]], source_line: NDArray[np.int64]) -> Columns:
    """Columns in their types; names that are missing become unknown, a missing `job_id` counts from 1.

    Args:
        path: The file, for the error.
        given: Numbers by name, of `COLUMNS` and `EXTRA_COLUMNS`, each of shape (n,); finite, or NaN where unknown.
        source_line: 1-based line of each job, shape (n,).

    Raises:
        InputFileError: A fraction, or a number beyond 64 bits, in a column of whole numbers.
    """
    count = len(source_line)
    columns: Columns = {"source_line": source_line}
    for name, dtype in COLUMNS.items():
        if name not in given:
            columns[name] = np.arange(1, count + 1) if name == "job_id" else unknown(count).astype(dtype)
        elif dtype is np.int64:
            columns[name] = _whole(path, name, given[name], source_line)
        else:
            columns[name] = np.ascontiguousarray(given[name], dtype=dtype)
    for name, (dtype, _) in EXTRA_COLUMNS.items():
        if name in given:
            is_whole = dtype is np.int64
            columns[name] = _whole(path, name, given[name], source_line) if is_whole else given[name].astype(dtype)
    return columns


def _whole(path: Path, name: str, values: NDArray[Any], lines: NDArray[np.int64]) -> NDArray[np.int64]:
    if values.dtype == np.int64:
        return np.ascontiguousarray(values)
    values = np.where(np.isnan(values), -1, values)
    wrong = np.flatnonzero((values != np.floor(values)) | (np.abs(values) >= 2.0**63))
    if len(wrong):
        row = wrong[0]
        raise InputFileError(
            path,
            f"{values[row]:.17g} is not a whole number of 64 bits; correct the row",
            line=int(lines[row]),
            column=name,
        )
    return values.astype(np.int64)
