"""The observation `queue`: what decides between waiting jobs, on scales that mean the same on every machine.

Times span six orders of magnitude, so they are seen by their logarithm; sizes relative to the machine; and each job is
also seen beside the others that wait: how many are shorter, and when it could start by what the running jobs have
requested. A job's row ends with what all rows share, so that a network that is shared over rows knows the situation.
Nothing in it names a user or a log, so a policy can be carried from one machine to another.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.jobsched.batch.model import QueueState
from sysgym.workloads.workload import Workload

QUEUE_FEATURES = (
    "a job waits here",
    "wait, log",
    "requested time, log",
    "processors over the machine",
    "processors, log",
    "requested time x processors, log",
    "slowdown if it started now and used its request, log",
    "can start now",
    "time until it could start by requested ends, log",
    "share of the visible jobs that request less time",
    "share of the visible jobs that request less area",
    "free processors over the machine",
    "waiting jobs, log",
    "share of the visible jobs that can start now",
    "requested work of the visible jobs over the machine, log",
    "time until the next requested end, log",
)
WEEK = 604_800.0
"""Seconds; where logarithmic times reach 1."""
_MOST_SLOWDOWN = 10_000.0
_MOST_WAITING = 1_024.0
_SHORTEST = 10.0


@compiled
def _log(value: float, most: float) -> float:
    return min(1.0, math.log1p(max(0.0, value)) / math.log1p(most))


@compiled
def _share_below(values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """For each value, the share of all values that are smaller; O(n log n)."""
    ordered = np.sort(values)
    for place in range(len(values)):
        out[place] = np.searchsorted(ordered, values[place]) / len(values)


@compiled
def encode_queue(state: QueueState, table: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the features of the visible jobs; see `QUEUE_FEATURES`.

    Args:
        state: The queue.
        table: float32, shape (1,): processors of the machine.
        out: float32, shape (window, 16); rows without a job are 0.
    """
    machine, jobs = float(table[0]), state.jobs
    count = 0
    for place in range(len(state.visible)):
        count += state.visible[place] >= 0
    visible = state.visible[:count]
    out[:] = 0
    if count == 0:
        return
    request, area = np.empty(count), np.empty(count)
    work, startable, largest = 0.0, 0, 0
    for place in range(count):
        job = visible[place]
        request[place] = jobs.requested_time[job]
        area[place] = request[place] * jobs.processors[job]
        work += area[place]
        startable += jobs.processors[job] <= state.free
        largest = max(largest, jobs.processors[job])
    shorter, smaller = np.empty(count), np.empty(count)
    _share_below(request, shorter)
    _share_below(area, smaller)
    freed = np.empty(len(state.running) + 1)  # processors that are free once so many of the running jobs have ended
    until = np.empty(len(state.running) + 1)
    freed[0], until[0] = state.free, 0.0
    known = 1
    while known <= len(state.running) and (known == 1 or freed[known - 1] < largest):  # later ends matter to none
        job = state.running[known - 1]
        ends = state.start_time[job - state.first] + jobs.requested_time[job]
        freed[known] = freed[known - 1] + jobs.processors[job]
        until[known] = max(0.0, ends - state.time)
        known += 1
    freed, until = freed[:known], until[:known]
    for place in range(count):
        job = visible[place]
        wait, processors = state.time - jobs.submit_time[job], float(jobs.processors[job])
        row = out[place]
        row[0] = 1
        row[1] = _log(wait, WEEK)
        row[2] = _log(request[place], WEEK)
        row[3] = processors / machine
        row[4] = _log(processors - 1, machine)
        row[5] = _log(area[place], WEEK * machine)
        row[6] = _log((wait + request[place]) / max(request[place], _SHORTEST) - 1, _MOST_SLOWDOWN)
        row[7] = processors <= state.free
        enough = int(np.searchsorted(freed, processors))
        row[8] = _log(until[min(enough, len(until) - 1)], WEEK)
        row[9] = shorter[place]
        row[10] = smaller[place]
        row[11] = state.free / machine
        row[12] = _log(float(len(state.waiting)), _MOST_WAITING)
        row[13] = startable / count
        row[14] = _log(work / machine, WEEK)
        row[15] = _log(until[1], WEEK) if len(until) > 1 else 0.0


def machine_table(workload: Workload) -> NDArray[np.float32]:
    """What `encode_queue` needs of the workload: the size of the machine."""
    return np.array([workload.machine.processors], dtype=np.float32)
