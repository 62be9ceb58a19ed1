"""Parts of a workload: windows, loads, and the jobs that are left without some users or without flurries.

Each returns a new workload; what drops jobs is a counted repair, so that no result hides it. The order in which
`select` applies them is fixed: run times, users, flurries, window, load.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_range
from sysgym.workloads.workload import Workload


def select(
    workload: Workload,
    *,
    with_run_times: bool = False,
    drop_users: Sequence[int] = (),
    flurry_jobs: int | None = None,
    flurry_seconds: float = 3600.0,
    window: tuple[int, int] | None = None,
    load: float | None = None,
    arrival_factor: float | None = None,
) -> Workload:
    """The jobs that are asked for.

    Args:
        workload: The jobs.
        with_run_times: Whether jobs of unknown run time are left out.
        drop_users: Users whose jobs are left out.
        flurry_jobs: See `without_flurries`; None keeps all.
        flurry_seconds: Likewise.
        window: First job and end, in order of submission, after what was left out.
        load: Offered load to which arrivals are scaled.
        arrival_factor: Factor of the submissions instead, floor(submit * factor).

    Raises:
        SettingError: Both `load` and `arrival_factor`, or a value out of its range.
        WorkloadError: No job is left.
    """
    if load is not None and arrival_factor is not None:
        raise SettingError(f"load is {load} and arrival_factor {arrival_factor}; give one of them")
    chosen = workload.with_run_times() if with_run_times else workload
    chosen = without_users(chosen, drop_users) if drop_users else chosen
    chosen = without_flurries(chosen, flurry_jobs, flurry_seconds) if flurry_jobs is not None else chosen
    chosen = in_window(chosen, *window) if window is not None else chosen
    chosen = chosen.with_load(load) if load is not None else chosen
    return chosen.with_arrivals_scaled(arrival_factor) if arrival_factor is not None else chosen


def in_window(workload: Workload, begin: int, end: int) -> Workload:
    """The jobs begin..end - 1 in order of submission.

    Raises:
        SettingError: The window is empty or reaches beyond the log.
    """
    if not 0 <= begin < end <= len(workload):
        raise SettingError(f"the window is {begin}:{end}; it must lie within the {len(workload)} jobs and not be empty")
    return workload.take(slice(begin, end))


def without_users(workload: Workload, users: Sequence[int]) -> Workload:
    """The jobs of everybody else.

    Raises:
        SettingError: A user has no jobs.
        WorkloadError: No job is left.
    """
    present = set(np.unique(workload.user).tolist())
    for user in users:
        if user not in present:
            raise SettingError(f"user {user} has no job in the log; the busiest are {_busiest(workload)}")
    return workload.without(np.isin(workload.user, list(users)), "drop_users")


def without_flurries(workload: Workload, most: int, seconds: float = 3600.0) -> Workload:
    """Leave out bursts of one user: all jobs in any `seconds` in which the user submits more than `most`; O(n log n).

    A flurry (Tsafrir and Feitelson, "Instability in parallel job scheduling simulation: the role of workload flurries",
    IPDPS 2006) is a burst that rules a whole log's averages and would not come again. Jobs of unknown users stay.

    Raises:
        SettingError: `most` below 1 or `seconds` not above 0.
        WorkloadError: No job is left.
    """
    require_range("most", most, 1, whole=True)
    require_range("seconds", seconds, 0, open_low=True)
    flurry = np.zeros(len(workload), dtype=np.bool_)
    order = np.argsort(workload.user, kind="stable")
    users, begins = np.unique(workload.user[order], return_index=True)
    for user, rows in zip(users.tolist(), np.split(order, begins[1:]), strict=True):
        if user != -1 and len(rows) > most:
            flurry[rows] = _crowded(workload.submit_time[rows], most, seconds)
    return workload.without(flurry, "drop_flurries")


def _crowded(submit: NDArray[np.float64], most: int, seconds: float) -> NDArray[np.bool_]:
    """Which submissions lie in a window that holds more than `most`; submissions rise."""
    ends = np.searchsorted(submit, submit + seconds, side="left")
    full = ends - np.arange(len(submit)) > most
    change = np.zeros(len(submit) + 1, dtype=np.int64)
    np.add.at(change, np.flatnonzero(full), 1)
    np.add.at(change, ends[full], -1)
    covered: NDArray[np.bool_] = np.cumsum(change[:-1]) > 0
    return covered


def _busiest(workload: Workload) -> str:
    users, counts = np.unique(workload.user[workload.user != -1], return_counts=True)
    return ", ".join(map(str, users[np.argsort(-counts)][:3].tolist())) or "unknown"
