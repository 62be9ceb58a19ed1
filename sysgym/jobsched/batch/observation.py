"""What a policy sees of a queue: the visible jobs, their features and the mask, for both engines.

The features are RLScheduler's (Zhang et al., SC 2020): one row a visible job, eight numbers a row, all at most 1. One
departure: where more jobs wait than the window shows, the first row is the job that has waited longest, then come the
shortest by request and the smallest in turn, without repeats; so a policy can always serve the oldest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted
from sysgym.core.errors import SettingError, require_known
from sysgym.core.protocols import ArraySpec
from sysgym.jobsched.batch.model import Jobs, QueueState
from sysgym.jobsched.batch.queue_features import QUEUE_FEATURES, encode_queue, machine_table
from sysgym.workloads.workload import Workload

WINDOW = 128
"""Waiting jobs that a policy can choose from."""

FEATURES = (
    "wait over twelve hours",
    "requested time over the longest",
    "processors over the machine",
    "requested memory over the largest",
    "user over the largest",
    "group over the largest",
    "executable over the largest",
    "can start now",
)
_ALMOST_ONE = 1.0 - 1e-5
_LONGEST_WAIT = 43_200.0
_PADDING = (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)


@compiled
def show_jobs(waiting: NDArray[np.int64], jobs: Jobs, visible: NDArray[np.int64]) -> None:
    """Write the visible ones of the waiting jobs into `visible`, -1 beyond them; see the module for the order."""
    count, window = len(waiting), len(visible)
    if count <= window:
        visible[:count] = waiting
        visible[count:] = -1
        return
    shortest = waiting[np.argsort(jobs.requested_time[waiting], kind="mergesort")]
    smallest = waiting[np.argsort(jobs.processors[waiting].astype(np.float64), kind="mergesort")]
    visible[0] = waiting[0]
    place = 1
    shown = {waiting[0]}
    for turn in range(2 * count):
        if place == window:
            break
        job = shortest[turn // 2] if turn % 2 == 0 else smallest[turn // 2]
        if job not in shown:
            shown.add(job)
            visible[place] = job
            place += 1


def visible_jobs(waiting: NDArray[np.int64], jobs: Jobs, window: int) -> NDArray[np.int64]:
    """The jobs that the actions 0 to `window - 1` stand for; int64, -1 where an action stands for none."""
    visible = np.empty(window, dtype=np.int64)
    show_jobs(waiting, jobs, visible)
    return visible


@uncounted
def write_mask(visible: NDArray[np.int64], action_mask: NDArray[np.int8]) -> None:
    """Allow the visible jobs; where no job waits any more, the first action stays allowed."""
    for action in range(len(visible)):
        action_mask[action] = visible[action] >= 0
    action_mask[0] = 1


@uncounted
def encode_features(state: QueueState, table: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the features of the visible jobs.

    Args:
        state: The queue.
        table: float32, shape (jobs + 1, 8): what never changes of a job's features; the last row is the padding.
        out: float32, shape (window, 8).
    """
    for place in range(len(state.visible)):
        job = state.visible[place]
        for column in range(table.shape[1]):
            out[place, column] = table[job, column]  # -1 is the last row, the padding
        if job >= 0:
            wait = state.time - state.jobs.submit_time[job]
            out[place, 0] = min(wait / _LONGEST_WAIT, _ALMOST_ONE)
            out[place, 7] = _ALMOST_ONE if state.jobs.processors[job] <= state.free else 1e-5


def feature_table(workload: Workload) -> NDArray[np.float32]:
    """The features that time doesn't change, a row a job, and the padding as the last row."""
    table = np.empty((len(workload) + 1, len(FEATURES)), dtype=np.float32)
    table[:-1, 0] = table[:-1, 7] = 0.0
    table[:-1, 2] = np.minimum(workload.processors / workload.machine.processors, _ALMOST_ONE)
    for place, column in (
        (1, workload.requested_time),
        (3, workload.requested_memory),
        (4, workload.user),
        (5, workload.group),
        (6, workload.executable),
    ):
        largest = column.max()
        known = np.minimum(column / largest, _ALMOST_ONE) if largest > 0 else np.ones(len(column))
        table[:-1, place] = np.where(column >= 0, known, 1.0)
    table[-1] = _PADDING
    return table


@dataclass(frozen=True)
class QueueEncoding:
    """How a state becomes an observation; pass your own as `observation=`.

    Attributes:
        spec: Shape, dtype and range of the observation.
        table: Takes the workload, gives the array that `encode` gets beside the state.
        encode: Writes an observation: (state, table, out). Compiled by numba it runs in the kernel.
        window: Number of visible jobs, and so of actions.
    """

    spec: ArraySpec
    table: Callable[[Workload], NDArray[Any]]
    encode: Callable[[QueueState, NDArray[Any], NDArray[Any]], None]
    window: int = WINDOW


ENCODINGS = {
    "features": QueueEncoding(ArraySpec((WINDOW, len(FEATURES)), np.float32, 0.0, 1.0), feature_table, encode_features),
    "queue": QueueEncoding(ArraySpec((WINDOW, len(QUEUE_FEATURES)), np.float32, 0.0, 1.0), machine_table, encode_queue),
}


def encoding_of(observation: str | QueueEncoding) -> QueueEncoding:
    """The encoding of a name in `ENCODINGS`, or the one that was given."""
    if isinstance(observation, QueueEncoding):
        return observation
    if not isinstance(observation, str):
        raise SettingError(f"observation is {observation!r}; give a name or a QueueEncoding")
    require_known("observation", observation, ENCODINGS)
    return ENCODINGS[observation]
