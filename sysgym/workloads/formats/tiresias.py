"""The Tiresias family: deep-learning jobs with GPUs, submission and duration (Gu et al., NSDI 2019).

`interval` is the gap to the next job. Relatives, such as Chronus (Gao et al., SoCC 2021), add `user`, `best_effort`,
`job_type` and lists joined by dashes; columns may stand in any order and unknown ones are let through.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, codes, known_or
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names


def recognises(file: TraceFile) -> bool:
    """Whether the header names GPUs, submission and duration."""
    return {"num_gpu", "submit_time", "duration"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The jobs as they stand."""
    return parse_table(file, "tiresias")


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Jobs on GPUs."""
    gpus = known_or(raw.number("num_gpu"))
    given = {
        "submit_time": raw.number("submit_time"),
        "run_time": raw.number("duration"),
        "requested_processors": gpus,
        "gpus": gpus,
        "total_steps": known_or(raw.number("iterations")),
    }
    categories = {}
    numbers = _whole_numbers(raw)
    if numbers is None:
        given["name"], categories["name"] = codes(raw.text("job_id"))
    else:
        given["job_id"] = numbers
    for name, source in (("executable", "model_name"), ("user", "user"), ("queue", "job_type"), ("qos", "best_effort")):
        if source in raw.columns:
            given[name], categories[name] = codes(raw.text(source))
    return JobTable(make_columns(path, given, raw.lines), categories=categories)


def _whole_numbers(raw: RawTable) -> np.ndarray | None:
    """The job numbers, or None where there is none or one is a name."""
    texts = raw.text("job_id").tolist()
    if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
        return None
    return np.array([int(text) for text in texts], dtype=np.int64)
