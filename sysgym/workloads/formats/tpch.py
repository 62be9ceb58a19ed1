"""Profiles of TPC-H queries on Spark, one DAG of stages a line of JSON (Mao et al., SIGCOMM 2019).

Each becomes a job without an arrival and a run time: it waits at 0 and its `profiles` entry holds the stages, whose
durations depend on the number of executors. The file is raw; `StageProfile.prepared` takes the fresh durations out of
the first wave, as Decima's simulator does before it draws.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.companions import DagProfile, StageProfile, Waves, is_acyclic
from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, first_lines
from sysgym.workloads.trace_file import TraceFile, open_trace

_LARGEST = 2**31
_WAVES = ("fresh_durations", "first_wave", "rest_wave")


def recognises(file: TraceFile) -> bool:
    """Whether the first line is a JSON object with stages and edges."""
    return file.first_line.startswith("{") and '"stages"' in file.first_line and '"edges"' in file.first_line


def parse(file: TraceFile) -> RawTable:
    """One row a DAG; a line that is none is a fault."""
    profiles: list[DagProfile] = []
    lines: list[int] = []
    wrong: list[int] = []
    blank: list[int] = []
    first_message = ""
    for number, text in enumerate(file.text.split("\n"), 1):
        if not text.strip():
            blank.append(number)
            continue
        try:
            profiles.append(_profile(json.loads(text)))
            lines.append(number)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            first_message = first_message or f"not a DAG of stages ({type(error).__name__}: {str(error)[:80]})"
            wrong.append(number)
    faults = []
    if wrong:
        faults.append(Fault("not_a_record", f"{first_message}; complete or remove it", len(wrong), first_lines(wrong)))
    columns = {
        "size_gb": np.array([profile.size_gb for profile in profiles], dtype=np.float64),
        "query": np.array([profile.query for profile in profiles], dtype=np.int64),
        "num_stages": np.array([len(profile.stages) for profile in profiles], dtype=np.int64),
        "num_edges": np.array([len(profile.edges) for profile in profiles], dtype=np.int64),
        "num_tasks": np.array([sum(stage.tasks for stage in dag.stages) for dag in profiles], dtype=np.int64),
    }
    blank_lines = tuple(blank[:-1] if blank and blank[-1] > max(lines, default=0) else blank)
    return RawTable(columns, np.array(lines, dtype=np.int64), tuple(faults), {}, blank_lines, companion=tuple(profiles))


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Queries as jobs at time 0, without run times."""
    given = {
        "submit_time": np.zeros(len(raw)),
        "run_time": np.full(len(raw), np.nan),
        "requested_processors": np.ones(len(raw), dtype=np.int64),
        "executable": raw.columns["query"],
        "size_gb": raw.columns["size_gb"],
    }
    return JobTable(make_columns(path, given, raw.lines), profiles=raw.companion)


def read_dag_profiles(path: str | Path) -> tuple[DagProfile, ...]:
    """The DAGs of a file, in its order.

    Raises:
        InputFileError: A line is no DAG of stages: not JSON, a key is missing, a cycle, a duration below 0.
    """
    file = open_trace(path)
    if not recognises(file):
        raise InputFileError(
            path, "is no list of stage profiles; expected one JSON object with stages and edges a line"
        )
    raw = parse(file)
    raw.refuse_faults(file.path)
    return tuple(raw.companion)


def _profile(record: Mapping[str, Any]) -> DagProfile:
    stages = tuple(_stage(stage) for stage in record["stages"])
    edges = np.array(record["edges"], dtype=np.int64).reshape(-1, 2)
    if not stages:
        raise ValueError("no stages")
    if len(stages) != record.get("num_stages", len(stages)):
        raise ValueError(f"num_stages is {record['num_stages']}, there are {len(stages)}")
    if len(edges) and not (edges.min() >= 0 and edges.max() < len(stages)):
        raise ValueError("an edge leads to a stage that is not there")
    if not is_acyclic(len(stages), edges):
        raise ValueError("the edges form a cycle")
    query, size = int(record["query"]), float(record["size_gb"])
    if not (0 <= query < _LARGEST and 0 <= size < _LARGEST):
        raise ValueError(f"query {query} of {size} GB is out of range")
    return DagProfile(query, size, stages, edges)


def _stage(record: Mapping[str, Any]) -> StageProfile:
    tasks = int(record["num_tasks"])
    if not 1 <= tasks < _LARGEST:
        raise ValueError(f"a stage has {tasks} tasks")
    return StageProfile(tasks, *(_waves(record[name]) for name in _WAVES))


def _waves(record: Mapping[str, Any]) -> Waves:
    waves = {int(key): _durations(values) for key, values in record.items()}
    if any(key < 1 for key in waves):
        raise ValueError("a number of executors is below 1")
    return dict(sorted(waves.items()))


def _durations(values: Any) -> NDArray[np.int64]:
    durations = np.array(values, dtype=np.int64).reshape(-1)
    if len(durations) and durations.min() < 0:
        raise ValueError(f"a task took {durations.min()} ms")
    return durations
