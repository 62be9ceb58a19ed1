"""Local times as seconds since the first job, with or without knowing the zone.

Without a zone the clock's readings are taken as they stand, so that a change of the clocks moves what follows by an
hour; validation warns where that happens. With one (`read_trace(..., time_zone="America/Los_Angeles")`) each time
becomes an instant. A reading that the clock showed twice is taken as the first of the two, one that it skipped as an
hour later; both are counted. What lies between two times is taken between the instants, so that a job that runs
through a change of the clocks is as long as it was.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError, SettingError
from sysgym.workloads.raw_table import RawTable, first_lines
from sysgym.workloads.workload import Repair

Readings = tuple[Repair, ...]


def since_first(
    path: Path, raw: RawTable, column: str, time_zone: str | None
) -> tuple[NDArray[np.float64], dict[str, str], Readings]:
    """Seconds since the earliest time of a column.

    Args:
        path: The log, for errors.
        raw: Its columns.
        column: One of times, datetime64[ns].
        time_zone: Name of the zone of the clock, or None.

    Returns:
        Seconds, shape (n,); header lines about the origin; what had to be chosen.

    Raises:
        InputFileError: A job has no time.
        SettingError: No such zone.
    """
    times = raw.columns[column]
    absent = np.flatnonzero(np.isnat(times))
    if len(absent):
        message = f"{len(absent)} jobs have no time; complete or remove the row"
        raise InputFileError(path, message, line=int(raw.lines[absent[0]]), column=column)
    readings: Readings = ()
    if time_zone is not None:
        shifted, repeated, skipped = to_utc(times, time_zone)
        times = shifted
        readings = tuple(
            Repair(rule, int(mask.sum()), False, first_lines(raw.lines[mask]))
            for rule, mask in (("first_of_repeated_hour", repeated), ("skipped_hour", skipped))
            if mask.any()
        )
    first = times.min() if len(times) else np.datetime64(0, "ns")
    seconds = (times - first).astype(np.int64) / 1e9
    header = {"FirstSubmit": f"{np.datetime_as_string(first, unit='s')} ({'UTC' if time_zone else 'local time'})"}
    if time_zone is not None:
        header |= {
            "TimeZoneString": time_zone,
            "UnixStartTime": str(int(first.astype("datetime64[s]").astype(np.int64))),
        }
    return seconds, header, readings


def seconds_between(
    first: NDArray[np.datetime64], second: NDArray[np.datetime64], time_zone: str | None
) -> NDArray[np.float64]:
    """Seconds from one column of times to another, NaN where one is missing; both of shape (n,).

    A second reading that would lie before the first and that the clock showed twice is the later of the two.
    """
    between = np.full(len(first), np.nan)
    known = ~(np.isnat(first) | np.isnat(second))
    begin, end = first[known], second[known]
    spans = end - begin
    if time_zone is not None:
        begin, (end, repeated, _) = to_utc(begin, time_zone)[0], to_utc(end, time_zone)
        again = to_utc(second[known], time_zone, fold=1)[0]
        spans = np.where(repeated & (end < begin), again, end) - begin
    between[known] = spans.astype("timedelta64[ns]").astype(np.int64) / 1e9
    return between


def zone(name: str) -> ZoneInfo:
    """A time zone by name.

    Raises:
        SettingError: There is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingError(f"time_zone is {name!r}; give a name such as 'America/Los_Angeles' or 'UTC'") from None


def to_utc(
    times: NDArray[np.datetime64], time_zone: str, fold: int = 0
) -> tuple[NDArray[np.datetime64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Wall times as UTC, which of them the clock showed twice, and which it never showed; O(n + hours).

    Of a reading that the clock showed twice, `fold` 0 takes the first and 1 the second. The zone is asked once for
    every quarter of an hour that occurs, because no clock changes within one.
    """
    clock = zone(time_zone)
    quarter = times.astype("datetime64[m]").astype(np.int64) // 15
    distinct, place = np.unique(quarter, return_inverse=True)
    offset = np.empty(len(distinct), dtype=np.int64)
    repeated, skipped = np.zeros(len(distinct), dtype=np.bool_), np.zeros(len(distinct), dtype=np.bool_)
    for index, value in enumerate(distinct.tolist()):
        wall = datetime.fromtimestamp(value * 900, UTC).replace(tzinfo=clock)
        before, after = wall.utcoffset(), wall.replace(fold=1).utcoffset()
        assert before is not None and after is not None
        offset[index] = (after if fold else before).total_seconds()
        repeated[index], skipped[index] = before > after, before < after
    return times - offset[place].astype("timedelta64[s]"), repeated[place], skipped[place]
