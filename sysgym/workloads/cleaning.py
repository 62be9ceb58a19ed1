"""Cleaning rules: named, ordered sequences of repairs, each counted and none silent.

`sc15` is the filter of the SC15 prediction study (Gaussier, Glesser, Reis and Trystram, "Improving backfilling by using
machine learning to predict running times", SC 2015): it cuts run times at the estimate. `default` raises the estimate
instead and keeps logs without estimates. `none` repairs nothing: where the others would drop or reorder, it refuses.
Which rule is used changes every result, so its name travels in the workload's provenance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.job_table import Columns
from sysgym.workloads.workload import Repair

Mask = NDArray[np.bool_]

PROCESSOR_SOURCES: Mapping[str, Callable[[Columns], NDArray[np.int64]]] = {
    "requested": lambda jobs: jobs["requested_processors"],
    "allocated": lambda jobs: jobs["allocated_processors"],
    "max": lambda jobs: np.maximum(jobs["requested_processors"], jobs["allocated_processors"]),
}
"""Where a job's `processors` come from; a job that has none there takes the other count, as a counted repair."""


@dataclass(frozen=True)
class Step:
    """One repair of a cleaning rule.

    Attributes:
        rule: Its name in reports.
        column: The column at fault.
        fault: What is wrong, for people; `none` refuses with it.
        finds: (jobs, machine size) -> mask of the jobs it concerns, shape (n,).
        mends: (jobs, mask) -> the jobs with those changed; None drops them.
    """

    rule: str
    column: str
    fault: str
    finds: Callable[[Columns, int], Mask]
    mends: Callable[[Columns, Mask], Columns] | None = None


def _with_column(name: str, source: Callable[[Columns], NDArray[Any]]) -> Callable[[Columns, Mask], Columns]:
    """A mend that sets one column of the found jobs from others."""
    return lambda jobs, found: {**jobs, name: np.where(found, source(jobs), jobs[name])}


def _repeats(jobs: Columns, _size: int) -> Mask:
    """Every job whose number is known and stood before; SWF's first line of a job is its summary, so that one stays."""
    repeated: Mask = jobs["job_id"] != -1
    repeated[np.unique(jobs["job_id"], return_index=True)[1]] = False
    return repeated


def _out_of_order(jobs: Columns, _size: int) -> Mask:
    """Jobs that come before their predecessor by (submit time, job number)."""
    submit, number = jobs["submit_time"], jobs["job_id"]
    later = (submit[1:] < submit[:-1]) | ((submit[1:] == submit[:-1]) & (number[1:] < number[:-1]))
    return np.concatenate([[False], later])


def _sorted(jobs: Columns, _found: Mask) -> Columns:
    order = np.lexsort((jobs["job_id"], jobs["submit_time"]))
    return {name: column[order] for name, column in jobs.items()}


_BOTH_PROCESSORS = PROCESSOR_SOURCES["max"]

REPEATED_ID = Step("drop_repeated_job_id", "job_id", "this job number stood before", _repeats)
UNKNOWN_PROCESSORS = Step(
    "fill_processors",
    "processors",
    "the chosen processor count is unknown",
    lambda jobs, _: (jobs["processors"] <= 0) & (_BOTH_PROCESSORS(jobs) > 0),
    _with_column("processors", _BOTH_PROCESSORS),
)
NEGATIVE_SUBMIT = Step(
    "drop_negative_submit_time",
    "submit_time",
    "the submission is before the log's origin",
    lambda jobs, _: jobs["submit_time"] < 0,
)
NOT_RUN = Step(
    "drop_nonpositive_run_time",
    "run_time",
    "the run time is not positive",
    lambda jobs, _: jobs["run_time"] <= 0,
)
NO_PROCESSORS = Step(
    "drop_nonpositive_processors",
    "processors",
    "neither requested nor allocated processors are positive",
    lambda jobs, _: jobs["processors"] <= 0,
)
OVERSIZED = Step(
    "drop_oversized",
    "processors",
    "the job is larger than the machine",
    lambda jobs, size: jobs["processors"] > size,
)
OVERSIZED_EITHER = Step(
    "drop_oversized",
    "processors",
    "the job is larger than the machine",
    lambda jobs, size: _BOTH_PROCESSORS(jobs) > size,
)
UNKNOWN_ESTIMATE = Step(
    "fill_requested_time",
    "requested_time",
    "the estimate is unknown",
    lambda jobs, _: (jobs["requested_time"] <= 0) & (jobs["run_time"] > 0),
    _with_column("requested_time", lambda jobs: jobs["run_time"]),
)
LOW_ESTIMATE = Step(
    "raise_requested_time",
    "requested_time",
    "the run time exceeds the estimate",
    lambda jobs, _: jobs["requested_time"] < jobs["run_time"],
    _with_column("requested_time", lambda jobs: jobs["run_time"]),
)
NO_ESTIMATE = Step(
    "drop_nonpositive_requested_time",
    "requested_time",
    "the estimate is not positive",
    lambda jobs, _: jobs["requested_time"] <= 0,
)
LONG_RUN = Step(
    "cut_run_time",
    "run_time",
    "the run time exceeds the estimate",
    lambda jobs, _: jobs["requested_time"] < jobs["run_time"],
    _with_column("run_time", lambda jobs: jobs["requested_time"]),
)
UNSORTED = Step("sort_by_submit_and_job", "submit_time", "the rows are out of order", _out_of_order, _sorted)

NEGATIVE_RUN = Step(
    "negative_run_time",
    "run_time",
    "the run time is negative and not -1, the mark of an unknown one",
    lambda jobs, _: (jobs["run_time"] < 0) & (jobs["run_time"] != -1),
)
NEGATIVE_ESTIMATE = Step(
    "negative_requested_time",
    "requested_time",
    "the estimate is negative and not -1, the mark of an unknown one",
    lambda jobs, _: (jobs["requested_time"] < 0) & (jobs["requested_time"] != -1),
)
DECREASING_SUBMIT = Step(
    "decreasing_submit_time",
    "submit_time",
    "the submission is before that of the row above",
    lambda jobs, _: np.diff(jobs["submit_time"], prepend=-np.inf) < 0,
)


@dataclass(frozen=True)
class CleaningRule:
    """An ordered sequence of repairs.

    Attributes:
        steps: Repairs, in order.
        refusals: Steps whose first find is an error.
    """

    steps: tuple[Step, ...]
    refusals: tuple[Step, ...] = ()


CLEANING_RULES: Mapping[str, CleaningRule] = {
    "default": CleaningRule(
        (
            REPEATED_ID,
            UNKNOWN_PROCESSORS,
            NEGATIVE_SUBMIT,
            NOT_RUN,
            NO_PROCESSORS,
            OVERSIZED,
            UNKNOWN_ESTIMATE,
            LOW_ESTIMATE,
            UNSORTED,
        )
    ),
    "sc15": CleaningRule(
        (
            REPEATED_ID,
            OVERSIZED_EITHER,
            UNKNOWN_PROCESSORS,
            NO_PROCESSORS,
            NOT_RUN,
            NO_ESTIMATE,
            LONG_RUN,
            NEGATIVE_SUBMIT,
            UNSORTED,
        )
    ),
    "none": CleaningRule(
        (UNKNOWN_PROCESSORS,),
        (
            REPEATED_ID,
            NEGATIVE_SUBMIT,
            NEGATIVE_RUN,
            NEGATIVE_ESTIMATE,
            NO_PROCESSORS,
            OVERSIZED,
            DECREASING_SUBMIT,
        ),
    ),
}
"""The cleaning rules by name."""


def clean_jobs(
    path: Path, jobs: Columns, rule: str, processors_from: str, size: int
) -> tuple[Columns, tuple[Repair, ...]]:
    """Apply a cleaning rule; O(n log n).

    Args:
        path: The file, for errors.
        jobs: Columns of a `JobTable`.
        rule: A name in `CLEANING_RULES`.
        processors_from: A name in `PROCESSOR_SOURCES`.
        size: Processors of the machine.

    Returns:
        The columns of a `Workload`, and what was changed.

    Raises:
        InputFileError: `none` met what it refuses, or no job is left.
    """
    jobs = {**jobs, "processors": PROCESSOR_SOURCES[processors_from](jobs)}
    total = len(jobs["job_id"])
    repairs = []
    for step in CLEANING_RULES[rule].steps:
        found = step.finds(jobs, size)
        if not found.any():
            continue
        lines = tuple(int(line) for line in jobs["source_line"][found][:5])
        repairs.append(Repair(step.rule, int(found.sum()), step.mends is None, lines))
        jobs = step.mends(jobs, found) if step.mends else {name: column[~found] for name, column in jobs.items()}
    for step in CLEANING_RULES[rule].refusals:
        _refuse(path, jobs, step, size)
    if not len(jobs["job_id"]):
        raise InputFileError(path, _nothing_left(rule, repairs, total))
    return _as_workload_columns(jobs), tuple(repairs)


def _as_workload_columns(jobs: Columns) -> Columns:
    """Without the counts that `processors` was chosen from, and with NaN for unknown durations."""
    counts = {"requested_processors", "allocated_processors"}
    kept = {name: column for name, column in jobs.items() if name not in counts}
    return kept | {name: np.where(jobs[name] == -1, np.nan, jobs[name]) for name in ("run_time", "requested_time")}


def _refuse(path: Path, jobs: Columns, step: Step, size: int) -> None:
    found = np.flatnonzero(step.finds(jobs, size))
    if len(found):
        row = found[0]
        raise InputFileError(
            path,
            f"{step.fault} ({step.column} {jobs[step.column][row]:.17g}, machine of {size} processors; {len(found)} "
            f"such rows); mend the file, or read it with clean='default', which counts what it repairs",
            line=int(jobs["source_line"][row]),
            column=step.column,
        )


def _nothing_left(rule: str, repairs: list[Repair], total: int) -> str:
    drops = ", ".join(f"{repair.rule} dropped {repair.count}" for repair in repairs if repair.dropped)
    remedy = "check the machine size and the columns"
    if any(repair.rule == NO_ESTIMATE.rule for repair in repairs):
        remedy = "the log lacks users' estimates, which this rule needs; read it with clean='default'"
    return f"no job of {total} is left after cleaning with {rule!r} ({drops}); {remedy}"
