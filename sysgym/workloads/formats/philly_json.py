"""Philly's own job log: a JSON list of jobs, each with its attempts and the GPUs that they held.

The publishers' description (msr-fiddle/philly-traces): a job may have no attempt, an attempt may lack its start or end,
and one without an end was running when the log was taken. The run time is the sum over attempts, the wait is the first
start minus the submission, and the size is the most GPUs that an attempt held. A run time is unknown where any attempt
lacks an end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, codes, first_lines, known_or
from sysgym.workloads.text_table import wall_time
from sysgym.workloads.trace_file import TraceFile
from sysgym.workloads.wall_clock import seconds_between, since_first

_STATUS = {"Pass": 1, "Killed": 5, "Failed": 0}
_ABSENT = (None, "", "None")
_TEXTS = ("jobid", "status", "vc", "user")


@dataclass(frozen=True, eq=False)
class _Attempts:
    """All attempts: the row of each one's job, its start and its end, NaT where the log lacks one."""

    job: NDArray[np.int64]
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]

    def run_times(self, jobs: int, time_zone: str | None = None) -> NDArray[np.float64]:
        """Seconds that each job ran; NaN where it has no attempt, or one that lacks start or end."""
        sums = np.bincount(self.job, seconds_between(self.start, self.end, time_zone), jobs)
        return np.where(np.bincount(self.job, minlength=jobs) > 0, sums, np.nan)


def recognises(file: TraceFile) -> bool:
    """Whether it begins as a list of objects that mention attempts."""
    head = "" if file.is_binary else file.text[:65536].lstrip()
    return head.startswith("[") and '"attempts"' in head and '"submitted_time"' in head


def parse(file: TraceFile) -> RawTable:
    """One row a job; a record that is none is a fault at its line."""
    records, lines, faults = _records(file.text)
    rows = []
    kept = []
    wrong: list[int] = []
    first_message = ""
    for record, line in zip(records, lines, strict=True):
        try:
            rows.append(_row(record))
            kept.append(line)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            first_message = first_message or f"not a job of Philly ({type(error).__name__}: {str(error)[:80]})"
            wrong.append(line)
    if wrong:
        faults.append(Fault("not_a_record", f"{first_message}; complete or remove it", len(wrong), first_lines(wrong)))
    if not rows and not faults:
        faults.append(Fault("no_rows", "the list has no jobs", 1, (1,)))
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows], dtype=object) for name in _TEXTS}
    for name in ("submitted_time", "first_start", "last_end"):
        columns[name] = np.array([row[name] for row in rows], dtype="datetime64[ns]")
    for name in ("attempts", "attempts_without_end", "gpus"):
        columns[name] = np.array([row[name] for row in rows], dtype=np.float64)
    attempts = _Attempts(
        np.repeat(np.arange(len(rows)), [len(row["starts"]) for row in rows]),
        *(
            np.array([time for row in rows for time in row[name]], dtype="datetime64[ns]")
            for name in ("starts", "ends")
        ),
    )
    columns["run_time"] = attempts.run_times(len(rows))
    return RawTable(columns, np.array(kept, dtype=np.int64), tuple(faults), companion=attempts)


def _records(text: str) -> tuple[list[Any], list[int], list[Fault]]:
    """The elements of the list with the lines on which they begin; what follows a broken one is a fault."""
    decoder = json.JSONDecoder()
    records: list[Any] = []
    lines: list[int] = []
    counted, line = 0, 1
    place = text.find("[") + 1
    while True:
        while place < len(text) and text[place] in " \t\n,":
            place += 1
        line += text.count("\n", counted, place)
        counted = place
        if place >= len(text):
            return records, lines, [Fault("truncated", "the list does not end; fetch the file again", 1, (line,))]
        if text[place] == "]":
            return records, lines, []
        try:
            record, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            message = f"not JSON from here on ({str(error)[:80]}); mend or fetch the file again"
            return records, lines, [Fault("not_json", message, 1, (line,))]
        records.append(record)
        lines.append(line)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    attempts = record["attempts"]
    starts = [_time(attempt["start_time"]) for attempt in attempts]
    ends = [_time(attempt["end_time"]) for attempt in attempts]
    known = [start for start in starts if start is not None]
    return {
        **{name: _text(record.get(name)) for name in _TEXTS},
        "submitted_time": _time(record["submitted_time"]),
        "first_start": min(known) if known else None,
        "last_end": ends[-1] if attempts else None,
        "attempts": len(attempts),
        "attempts_without_end": sum(end is None for end in ends),
        "gpus": max((_gpus(attempt) for attempt in attempts), default=np.nan),
        "starts": starts,
        "ends": ends,
    }


def _gpus(attempt: Mapping[str, Any]) -> int:
    return sum(len(node["gpus"]) for node in attempt["detail"])


def _text(value: Any) -> str:
    return "" if value in _ABSENT else str(value)


def _time(value: Any) -> np.datetime64 | None:
    """A time, or None where it is absent; ValueError where it is neither."""
    if value in _ABSENT:
        return None
    time = wall_time(str(value).removesuffix(" PST").removesuffix(" PDT"))
    if time is None:
        raise ValueError(f"{value!r} is no time")
    return time


def jobs(path: Path, raw: RawTable, time_zone: str | None = None) -> JobTable:
    """Jobs on GPUs, since the first submission."""
    submit, header, readings = since_first(path, raw, "submitted_time", time_zone)
    gpus = known_or(raw.columns["gpus"])
    given = {
        "submit_time": submit,
        "run_time": raw.companion.run_times(len(raw), time_zone),
        "requested_processors": gpus,
        "status": np.array([_STATUS.get(status, -1) for status in raw.columns["status"].tolist()], dtype=np.int64),
        "wait_time": seconds_between(raw.columns["submitted_time"], raw.columns["first_start"], time_zone),
        "gpus": gpus,
        "attempts": raw.columns["attempts"],
    }
    categories = {}
    for name, source in (("name", "jobid"), ("queue", "vc"), ("user", "user")):
        given[name], categories[name] = codes(raw.columns[source])
    return JobTable(make_columns(path, given, raw.lines), header, categories=categories, readings=readings)
