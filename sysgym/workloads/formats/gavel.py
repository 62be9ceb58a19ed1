"""Gavel's traces: seven tab-separated fields a job and no header (Narayanan et al., OSDI 2020).

Commands hold blanks, so only tabs separate. A job has steps instead of a run time, which depends on the GPU that it
gets; `scale_factor` is its number of GPUs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, known_or
from sysgym.workloads.text_table import finite, parse_table
from sysgym.workloads.trace_file import TraceFile

FIELDS = ("job_type", "command", "steps_flag", "needs_data_dir", "total_steps", "arrival_time", "scale_factor")
"""The seven fields, in order."""


def recognises(file: TraceFile) -> bool:
    """Whether the first line has at least six tabs, and numbers behind the last three."""
    cells = file.first_line.split("\t")
    return len(cells) >= len(FIELDS) and all(_is_number(cell) for cell in cells[-3:]) and not _is_number(cells[0])


def _is_number(cell: str) -> bool:
    return finite(cell) is not None


def parse(file: TraceFile) -> RawTable:
    """The jobs as they stand."""
    return parse_table(file, "gavel", "\t", FIELDS)


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Jobs on GPUs, without run times."""
    gpus = known_or(raw.number("scale_factor"))
    executable, types = codes(raw.text("job_type"))
    given = {
        "submit_time": raw.number("arrival_time"),
        "run_time": np.full(len(raw), np.nan),
        "requested_processors": gpus,
        "gpus": gpus,
        "total_steps": known_or(raw.number("total_steps")),
        "executable": executable,
    }
    return JobTable(make_columns(path, given, raw.lines), categories={"executable": types})
