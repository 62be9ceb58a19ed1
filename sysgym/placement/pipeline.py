"""Pipeline schedules, simulated with micro-batches and memory.

A schedule is an order of work for each device: forward, backward or weight gradient of a micro-batch in a chunk of the
model. Work starts when its device is free and what it needs has arrived: the forward of the chunk before, the backward
of the chunk behind, its own backward. Nothing else is decided here, so the makespan is that of the order itself.

- "gpipe": all forwards, then all backwards (Huang et al., NeurIPS 2019).
- "1f1b": a warm-up of as many forwards as stages follow, then one forward and one backward in turn, and a flush
  (PipeDream-flush, Narayanan et al., ICML 2021).
- "interleaved": the same with several chunks a device (Narayanan et al., SC 2021).
- "zb-h1": 1F1B whose backward is split: the gradient of the input is passed on at once, that of the weights of stage s
  (counted from 0) waits for s micro-batches and fills the bubble at the end (Qi et al., ICLR 2024).
- "pipedream": 1F1B without a flush between batches, which needs a version of the weights for each micro-batch in
  flight (Narayanan et al., SOSP 2019).
- "pipemare": the same with one version, so that forwards use weights that backwards don't (Yang et al., MLSys 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sysgym.core.errors import SettingError, require_known, require_range

SCHEDULES = ("gpipe", "1f1b", "interleaved", "zb-h1", "pipedream", "pipemare")
ASYNCHRONOUS = ("pipedream", "pipemare")
"""Schedules that don't wait for all micro-batches of a batch before the next one begins."""
FORWARD, BACKWARD, WEIGHTS = 0, 1, 2
Work = tuple[int, int, int]
"""Forward, backward or weight gradient; the micro-batch; the chunk of the whole model."""


@dataclass(frozen=True)
class PipelineRun:
    """A simulated schedule.

    Attributes:
        makespan: Seconds from the first forward to the last piece of work.
        start: Seconds, shape (2, chunks, micro-batches): forwards, then backwards; a third row of weight gradients
            where the schedule splits them off.
        end: The same.
        busy: Seconds that each device works, shape (devices,).
        peak_activations: Most micro-batches (of a chunk) whose forward has begun and whose last backward work hasn't
            ended.
        weight_versions: Versions of the weights that each device keeps, shape (devices,).
    """

    makespan: float
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    busy: NDArray[np.float64]
    peak_activations: NDArray[np.int64]
    weight_versions: NDArray[np.int64]

    @property
    def bubble(self) -> float:
        """Share of the devices' time in which they idle."""
        return 1.0 - float(self.busy.sum()) / (self.makespan * len(self.busy)) if self.makespan > 0 else 0.0


def schedule_order(schedule: str, devices: int, micro_batches: int, chunks: int = 1) -> list[list[Work]]:
    """What each device does, in order.

    Args:
        schedule: One of `SCHEDULES`.
        devices: Stages; with "interleaved", device d holds chunks d, d + devices, ...
        micro_batches: Of a batch; with "interleaved" a multiple of `devices`.
        chunks: Chunks a device, for "interleaved".

    Raises:
        UnknownNameError: No such schedule.
        SettingError: A number out of range.
    """
    require_known("schedule", schedule, SCHEDULES)
    for name, value in (("devices", devices), ("micro_batches", micro_batches), ("chunks", chunks)):
        require_range(name, value, 1)
    if chunks > 1 and schedule != "interleaved":
        raise SettingError(f"schedule {schedule!r} has one chunk a device, not {chunks}; choose 'interleaved'")
    if schedule == "interleaved":
        if micro_batches % devices:
            raise SettingError(f"interleaving {micro_batches} micro-batches over {devices} devices; they must divide")
        return [_interleaved(device, devices, micro_batches, chunks) for device in range(devices)]
    if schedule == "gpipe":
        forwards = [(FORWARD, batch) for batch in range(micro_batches)]
        backwards = [(BACKWARD, batch) for batch in reversed(range(micro_batches))]
        return [[(kind, batch, device) for kind, batch in (*forwards, *backwards)] for device in range(devices)]
    orders = []
    for device in range(devices):
        works = [(batch, device) for batch in range(micro_batches)]
        order = _alternating(works, works, min(micro_batches, devices - 1 - device))
        orders.append(_with_weights(order, device) if schedule == "zb-h1" else order)
    return orders


def _alternating(forwards: list[tuple[int, int]], backwards: list[tuple[int, int]], warm: int) -> list[Work]:
    """`warm` forwards, then forward and backward in turn, then the backwards that are left."""
    order: list[Work] = [(FORWARD, *work) for work in forwards[:warm]]
    for forward, backward in zip(forwards[warm:], backwards, strict=False):
        order += [(FORWARD, *forward), (BACKWARD, *backward)]
    return order + [(BACKWARD, *work) for work in backwards[len(forwards) - warm :]]


def _with_weights(order: list[Work], delay: int) -> list[Work]:
    """An order with the weight gradient of each micro-batch behind the backward of the one `delay` later."""
    found: list[Work] = []
    waiting: list[Work] = []
    for work in order:
        found.append(work)
        if work[0] == BACKWARD:
            waiting.append((WEIGHTS, *work[1:]))
            if len(waiting) > delay:
                found.append(waiting.pop(0))
    return found + waiting


def _interleaved(device: int, devices: int, micro_batches: int, chunks: int) -> list[Work]:
    """Groups of `devices` micro-batches pass through a device's chunks one after another."""

    def in_groups(backward: bool) -> list[tuple[int, int]]:
        order = []
        for group in range(0, micro_batches, devices):
            for chunk in reversed(range(chunks)) if backward else range(chunks):
                order += [(group + place, chunk * devices + device) for place in range(devices)]
        return order

    warm = min(micro_batches * chunks, 2 * (devices - 1 - device) + (chunks - 1) * devices)
    if chunks == 1:
        warm = min(micro_batches, devices - 1 - device)
    return _alternating(in_groups(False), in_groups(True), warm)


def run_pipeline(
    schedule: str,
    forward: Sequence[float],
    backward: Sequence[float],
    micro_batches: int,
    *,
    chunks: int = 1,
    transfer: float = 0.0,
    weight_share: float = 0.5,
) -> PipelineRun:
    """Simulate a schedule.

    Args:
        schedule: One of `SCHEDULES`.
        forward: Seconds of a micro-batch's forward in each chunk of the model, in order; all 0 is allowed.
        backward: The same of the backward; all 0 for inference.
        micro_batches: How many.
        chunks: Chunks a device.
        transfer: Seconds from chunk to chunk.
        weight_share: Share of the backward that computes gradients of weights, which "zb-h1" splits off.

    Raises:
        SettingError: Lengths differ or don't divide among the devices, or a time is negative.
    """
    count = len(forward)
    if count != len(backward) or not count or count % chunks:
        raise SettingError(f"{count} forward and {len(backward)} backward times for {chunks} chunks a device; "
                           "they must be as many, and divide")  # fmt: skip
    for name, value in (("forward", min(forward)), ("backward", min(backward)), ("transfer", transfer)):
        require_range(name, value, 0.0)
    require_range("weight_share", weight_share, 0.0, 1.0)
    devices = count // chunks
    order = schedule_order(schedule, devices, micro_batches, chunks)
    split = weight_share if schedule == "zb-h1" else 0.0
    seconds = [list(forward), [(1.0 - split) * each for each in backward], [split * each for each in backward]]
    start, end = _played(order, seconds[: 3 if schedule == "zb-h1" else 2], micro_batches, transfer)
    busy = np.array([sum(forward[d::devices]) + sum(backward[d::devices]) for d in range(devices)]) * micro_batches
    peaks = np.array([_peak(works, schedule == "zb-h1") for works in order], dtype=np.int64)
    versions = peaks if schedule == "pipedream" else np.ones(devices, dtype=np.int64)
    return PipelineRun(float(np.nanmax(end)), start, end, busy, peaks, versions)


def _played(
    order: list[list[Work]], seconds: list[list[float]], micro_batches: int, transfer: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and end of every piece of work, each as early as its device and its inputs allow."""
    count, devices = len(seconds[0]), len(order)
    start, end = (np.full((len(seconds), count, micro_batches), np.nan) for _ in range(2))
    free, done = [0.0] * devices, [0] * devices
    left = sum(len(works) for works in order)
    while left:
        before = left
        for device, works in enumerate(order):
            while done[device] < len(works):
                ready = _ready(works[done[device]], end, count, transfer)
                if np.isnan(ready):
                    break
                kind, batch, chunk = works[done[device]]
                begin = max(free[device], ready)
                free[device] = begin + seconds[kind][chunk]
                start[kind, chunk, batch], end[kind, chunk, batch] = begin, free[device]
                done[device] += 1
                left -= 1
        assert left < before, "the order of a schedule waits for itself"
    return start, end


def _ready(work: Work, end: NDArray[np.float64], count: int, transfer: float) -> float:
    """When what a piece of work needs has arrived; NaN while that isn't known."""
    kind, batch, chunk = work
    if kind == FORWARD:
        return 0.0 if chunk == 0 else float(end[FORWARD, chunk - 1, batch]) + transfer
    if kind == WEIGHTS:
        return float(end[BACKWARD, chunk, batch])
    if chunk == count - 1:
        return float(end[FORWARD, chunk, batch])
    return max(float(end[BACKWARD, chunk + 1, batch]) + transfer, float(end[FORWARD, chunk, batch]))


def _peak(works: list[Work], split: bool) -> int:
    """Most forwards of a device whose activations are still needed."""
    level = most = 0
    for kind, _, _ in works:
        if kind == FORWARD:
            level += 1
        elif kind == (WEIGHTS if split else BACKWARD):
            level -= 1
        most = max(most, level)
    return most


def step_seconds(
    schedule: str, forward: Sequence[float], backward: Sequence[float], micro_batches: int, **options: float
) -> float:
    """Seconds of a batch in the long run: the makespan, or, without a flush, the time between the ends of batches.

    Raises:
        UnknownNameError: No such schedule.
        SettingError: A number out of range.
    """
    if schedule not in ASYNCHRONOUS:
        return run_pipeline(schedule, forward, backward, micro_batches, **options).makespan  # type: ignore[arg-type]
    warm = 8 * len(forward)  # micro-batches until the slowest stage sets the pace, and after it no longer does
    run = run_pipeline(schedule, forward, backward, 4 * micro_batches + 2 * warm, **options)  # type: ignore[arg-type]
    ends = run.end[BACKWARD, 0]
    return float(ends[warm + 4 * micro_batches - 1] - ends[warm - 1]) / 4


def forward_delay(stages: int, micro_batches: int) -> NDArray[np.float64]:
    """How many updates PipeMare's forward weights lag behind its backward ones, by stage, shape (stages,).

    Source: Yang et al., MLSys 2021, as recalled; not checked against the paper.
    """
    return (2.0 * (stages - np.arange(1, stages + 1)) + 1.0) / micro_batches


@dataclass(frozen=True)
class PipelineModel:
    """How far a measured pipeline stays behind the ideal one; times relative to one pass of the whole model.

    Attributes:
        imbalance: By how much each halving of the stages makes the slowest one slower than its equal share.
        overhead: Added to every micro-batch of every stage.
    """

    imbalance: float
    overhead: float

    def seconds(self, stages: int, micro_batches: int) -> float:
        """Time of a batch with GPipe: the slowest stage first, the others share the rest equally."""
        slowest = min(1.0, (1.0 + self.imbalance) ** np.log2(stages) / stages)
        rest = (1.0 - slowest) / max(1, stages - 1)
        work = [slowest] + [rest] * (stages - 1)
        times = [share / micro_batches + self.overhead for share in work]
        return run_pipeline("gpipe", times, [0.0] * stages, micro_batches).makespan


def fit_pipeline_model(rows: Sequence[tuple[int, int, float]]) -> PipelineModel:
    """Least-squares fit to measured (stages, micro-batches, speed relative to the first row), at least 3 rows.

    Raises:
        SettingError: Too few rows.
    """
    if len(rows) < 3:
        raise SettingError(f"{len(rows)} rows; at least 3 are needed for two constants")
    first = rows[0]

    def errors(constants: NDArray[np.float64]) -> list[float]:
        model = PipelineModel(*constants.tolist())
        base = model.seconds(first[0], first[1]) * first[2]
        return [base / model.seconds(stages, batches) / speed - 1.0 for stages, batches, speed in rows[1:]]

    found = least_squares(errors, [0.05, 0.001], bounds=([0.0, 0.0], [1.0, 1.0]), x_scale=[0.1, 0.001])
    return PipelineModel(*found.x.tolist())
