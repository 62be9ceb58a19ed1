"""What people ask first about a log: when jobs arrive, how large and long they are, and how good the estimates are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.workloads.wall_clock import zone
from sysgym.workloads.workload import LARGEST_MACHINE, Workload

_HOUR = 3600
_YEAR_3000 = 32_503_680_000
_ACCURACY_BINS = 20
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def summary_of(workload: Workload) -> dict[str, Any]:
    """Numbers for a page or for machines; O(n log n).

    Returns:
        `jobs`, `span` (seconds between first and last submission), `mean_gap`, `offered_load` (None where the machine
        is unknown), `arrivals_by_hour` (24 counts, `clock` says of which clock), `arrivals_by_weekday` (7 counts from
        Monday, None without a calendar), `sizes` ([processors, jobs] by powers of two), `run_times` ([seconds, jobs] by
        powers of two, lower ends), `quantiles` of gap, run time, processors and accuracy, `accuracy` (20 counts of run
        time over estimate), `users` and the share of the busiest.
    """
    submit = workload.submit_time
    seconds, clock = _local_seconds(workload)
    run = workload.run_time[np.isfinite(workload.run_time)]
    estimate = workload.requested_time
    judged = (estimate > 0) & (workload.run_time > 0) & _is_estimated(workload)
    accuracy = np.minimum(workload.run_time[judged] / estimate[judged], 1.0)
    users, jobs_of_users = np.unique(workload.user[workload.user != -1], return_counts=True)
    has_machine = workload.machine.processors < LARGEST_MACHINE
    load = workload.offered_load if has_machine and len(run) == len(workload) else np.nan
    series = {"gap": np.diff(submit), "run_time": run, "processors": workload.processors, "accuracy": accuracy}
    return {
        "jobs": len(workload),
        "span": float(submit[-1] - submit[0]) if len(workload) else 0.0,
        "mean_gap": float(np.diff(submit).mean()) if len(workload) > 1 else None,
        "offered_load": float(load) if np.isfinite(load) else None,
        "clock": clock,
        "arrivals_by_hour": np.bincount((seconds // _HOUR % 24).astype(np.int64), minlength=24).tolist(),
        "arrivals_by_weekday": _weekdays(seconds) if clock != _ORIGIN else None,
        "sizes": _powers(workload.processors[workload.processors > 0]),
        "run_times": _powers(run[run > 0]),
        "accuracy": np.histogram(accuracy, _ACCURACY_BINS, (0.0, 1.0))[0].tolist() if len(accuracy) else None,
        "quantiles": {name: _quantiles(values) for name, values in series.items()},
        "users": len(users),
        "busiest_user_share": float(jobs_of_users.max() / len(workload)) if len(users) else None,
    }


_ORIGIN = "hours since the log's origin"


def _local_seconds(workload: Workload) -> tuple[NDArray[np.float64], str]:
    """Submissions on the log's own clock, in seconds whose day begins at midnight, and which clock that is."""
    header, submit = workload.provenance.header, workload.submit_time
    local = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d) \(local time\)", header.get("FirstSubmit", ""))
    if local:
        return submit + np.datetime64(local[1], "s").astype(np.int64), "local time"
    start = header.get("UnixStartTime", "").strip()
    instants = submit + float(start) if re.fullmatch(r"\d{1,12}(\.\d+)?", start) else submit
    if not start and (not len(submit) or submit[0] < 1e8):
        return submit - (submit[0] // (24 * _HOUR) * 24 * _HOUR if len(submit) else 0), _ORIGIN
    if not len(instants) or instants[-1] > _YEAR_3000:
        return instants, "UTC"
    name = header.get("TimeZoneString", "UTC").strip()
    try:
        clock = zone(name)
    except SettingError:
        return instants, "UTC"
    quarters, place = np.unique(instants // 900, return_inverse=True)
    shift = [datetime.fromtimestamp(quarter * 900, UTC).astimezone(clock).utcoffset() for quarter in quarters.tolist()]
    offset = np.array([delta.total_seconds() if delta else 0.0 for delta in shift])
    return instants + offset[place], name


def _is_estimated(workload: Workload) -> NDArray[np.bool_]:
    """Jobs whose estimate the user wrote; where cleaning filled some, those that equal the run time are left out."""
    filled = sum(repair.count for repair in workload.repairs if repair.rule == "fill_requested_time")
    if filled == 0:
        return np.ones(len(workload), dtype=np.bool_)
    differs: NDArray[np.bool_] = workload.requested_time != workload.run_time
    return differs


def _weekdays(seconds: NDArray[np.float64]) -> list[int]:
    """Counts from Monday; the first of January 1970 was a Thursday."""
    counts: list[int] = np.bincount(((seconds // (24 * _HOUR) + 3) % 7).astype(np.int64), minlength=7).tolist()
    return counts


def _powers(values: NDArray[Any]) -> list[list[float]]:
    """Counts by the power of two at or below each value."""
    powers, counts = np.unique(np.floor(np.log2(values.astype(np.float64))), return_counts=True)
    return [[float(2.0**power), int(count)] for power, count in zip(powers, counts, strict=True)]


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"p{round(share * 100)}": float(np.quantile(values, share)) for share in _QUANTILES} | {
        "mean": float(values.mean())
    }
