"""Azure's requests to language models: when they came, and how many tokens went in and out (Patel et al., ISCA 2024).

Timestamps have seven digits behind the point and no zone. There are no run times: they depend on the machine that
serves the request.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import RawTable, known_or
from sysgym.workloads.text_table import parse_table
from sysgym.workloads.trace_file import TraceFile, header_names
from sysgym.workloads.wall_clock import since_first


def recognises(file: TraceFile) -> bool:
    """Whether the header names time and tokens."""
    return {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= header_names(file)


def parse(file: TraceFile) -> RawTable:
    """The requests as they stand."""
    return parse_table(file, "azure_llm")


def jobs(path: Path, raw: RawTable, time_zone: str | None = None) -> JobTable:
    """Requests as jobs on one processor, without run times."""
    submit, header, readings = since_first(path, raw, "TIMESTAMP", time_zone)
    given = {
        "submit_time": submit,
        "run_time": np.full(len(raw), np.nan),
        "requested_processors": np.ones(len(raw), dtype=np.int64),
        "context_tokens": known_or(raw.number("ContextTokens")),
        "generated_tokens": known_or(raw.number("GeneratedTokens")),
    }
    return JobTable(make_columns(path, given, raw.lines), header, readings=readings)
