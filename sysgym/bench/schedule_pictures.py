"""Pictures of a schedule: a Gantt chart, queue and utilisation over time, slowdown by the size of jobs.

Up to `MOST_JOBS` jobs a Gantt chart shows each of them on processors of its own (the machine is one pool, so the lowest
free ones are as good as any); beyond that, or on machines larger than `MOST_PROCESSORS`, it shows how many processors
each class of sizes holds, in as many bins as there are pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sysgym.bench.drawing import COLOURS, FAINT, Sheet
from sysgym.bench.formats import count as short
from sysgym.bench.formats import number
from sysgym.bench.plots import Axis
from sysgym.jobsched.batch.replay import Schedule

MOST_JOBS, MOST_PROCESSORS = 2000, 1024
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 380, 64, 30, 34, 44
_HOUR, _DAY = 3600.0, 86_400.0

Steps = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A step function: instants, and the value from each on."""


def gantt(schedule: Schedule) -> Sheet:
    """Which job runs when, on how many processors."""
    jobs = schedule.workload
    begin, end = float(jobs.submit_time.min()), float(schedule.finish_time.max())
    size = jobs.machine.processors
    sheet, x, y = _axes(schedule, "who runs when", begin, end, float(size), "processors")
    if len(jobs) <= MOST_JOBS and size <= MOST_PROCESSORS:
        for number_, (first, last) in _placed(schedule):
            left, right = x.at(schedule.start_time[number_]), x.at(schedule.finish_time[number_])
            colour = COLOURS[number_ % len(COLOURS)]
            sheet.rectangle(left, y.at(last), max(0.5, right - left - 0.2), y.at(first) - y.at(last), colour)
        return sheet
    edges = np.linspace(begin, end, _WIDTH - _LEFT - _RIGHT + 1)
    below = np.zeros(len(edges) - 1)
    for colour, (name, chosen) in zip(COLOURS, _size_classes(schedule).items(), strict=False):
        held = _mean_in_bins(_busy(schedule, chosen), edges)
        for i in np.flatnonzero(held > 0):
            low, high = y.at(below[i]), y.at(below[i] + held[i])
            sheet.rectangle(_LEFT + float(i), high, 1.0, low - high, colour)
        below += held
        _legend(sheet, name, colour)
    return sheet


def timeline(schedule: Schedule) -> Sheet:
    """Waiting jobs, and the share of processors that is busy."""
    jobs = schedule.workload
    begin, end = float(jobs.submit_time.min()), float(schedule.finish_time.max())
    edges = np.linspace(begin, end, min(600, max(2, 4 * len(jobs))) + 1)
    everyone = np.ones(len(jobs), dtype=np.bool_)
    queue = _mean_in_bins(_steps(jobs.submit_time, schedule.start_time, np.ones(len(jobs))), edges)
    busy = _mean_in_bins(_busy(schedule, everyone), edges) / jobs.machine.processors
    top = max(1.0, float(queue.max()))
    sheet, x, y = _axes(
        schedule, "queue and utilisation over time", begin, end, top, "waiting jobs; utilisation, right"
    )
    for share in (0.0, 0.5, 1.0):
        sheet.word(_WIDTH - _RIGHT + 4, y.at(share * top) + 4, f"{share:g}")
    centres = (edges[1:] + edges[:-1]) / 2
    for colour, name, values in ((COLOURS[7], "utilisation", busy * top), (COLOURS[0], "waiting jobs", queue)):
        points = [(x.at(float(time)), y.at(float(value))) for time, value in zip(centres, values, strict=True)]
        sheet.line(points, colour)
        _legend(sheet, name, colour)
    return sheet


def slowdown_by_size(schedule: Schedule) -> Sheet:
    """Median and mean bounded slowdown of each class of sizes, on a scale of ratios."""
    slowdown = schedule.bounded_slowdown()
    classes = {name: slowdown[chosen] for name, chosen in _size_classes(schedule).items() if chosen.any()}
    highest = max(2.0, *(float(found.mean()) for found in classes.values()))
    sheet = Sheet(_WIDTH, _HEIGHT, f"{schedule.policy}: bounded slowdown by size of job")
    y = Axis(1.0, highest, _HEIGHT - _BOTTOM, _TOP, log=True)
    sheet.word(_LEFT, 18, sheet.title)
    for tick in y.ticks():
        sheet.line([(_LEFT, tick.at), (_WIDTH - _RIGHT, tick.at)], FAINT, 1)
        sheet.word(_LEFT - 6, tick.at + 4, tick.label, "end")
    step = (_WIDTH - _LEFT - _RIGHT) / len(classes)
    for place, (name, found) in enumerate(classes.items()):
        middle = _LEFT + step * (place + 0.5)
        for shift, value, colour in (
            (-0.3, float(found.mean()), COLOURS[0]),
            (0.02, float(np.median(found)), COLOURS[1]),
        ):
            top = y.at(value)
            sheet.rectangle(middle + shift * step, top, 0.28 * step, max(1.0, y.at(1.0) - top), colour)
            sheet.word(middle + (shift + 0.14) * step, top - 4, number(value), "middle")
        sheet.word(middle, _HEIGHT - _BOTTOM + 16, f"{name}: {len(found):,} jobs", "middle")
    _legend(sheet, "mean", COLOURS[0])
    _legend(sheet, "median", COLOURS[1])
    return sheet


PICTURES: Mapping[str, Callable[[Schedule], Sheet]] = {
    "gantt": gantt,
    "timeline": timeline,
    "slowdown": slowdown_by_size,
}
"""The pictures by name."""


def _axes(schedule: Schedule, what: str, begin: float, end: float, top: float, unit: str) -> tuple[Sheet, Axis, Axis]:
    sheet = Sheet(_WIDTH, _HEIGHT, f"{schedule.policy}: {what}")
    x = Axis(begin, end, _LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, top, _HEIGHT - _BOTTOM, _TOP)
    seconds, name = (_DAY, "days") if end - begin > 3 * _DAY else (_HOUR, "hours")
    sheet.word(_LEFT, 18, f"{sheet.title}; {unit}")
    for tick in y.ticks():
        sheet.line([(_LEFT, tick.at), (_WIDTH - _RIGHT, tick.at)], FAINT, 1)
        sheet.word(_LEFT - 6, tick.at + 4, tick.label, "end")
    for tick in Axis(0.0, (end - begin) / seconds, _LEFT, _WIDTH - _RIGHT).ticks(8):
        sheet.word(tick.at, _HEIGHT - _BOTTOM + 16, tick.label, "middle")
    sheet.word(
        _WIDTH - _RIGHT, _HEIGHT - 8, f"{name} since the first submission, {short(len(schedule.workload))} jobs", "end"
    )
    return sheet, x, y


def _legend(sheet: Sheet, name: str, colour: str) -> None:
    """Add a line to the legend, which stands below the axis."""
    place = _LEFT + 130 * sum(1 for _, _, w, h, _ in sheet.rectangles if (w, h) == (12, 12))
    sheet.rectangle(place, _HEIGHT - 18, 12, 12, colour)
    sheet.word(place + 17, _HEIGHT - 8, name)


def _size_classes(schedule: Schedule) -> dict[str, NDArray[np.bool_]]:
    size, machine = schedule.workload.processors, schedule.workload.machine.processors
    eighth, half = max(1.0, machine / 8), max(1.0, machine / 2)
    edges = {"serial": (0.0, 1.0), "to an eighth": (1.0, eighth), "to half": (eighth, half), "wider": (half, machine)}
    return {name: (size > above) & (size <= up_to) for name, (above, up_to) in edges.items()}


def _steps(begin: NDArray[np.float64], end: NDArray[np.float64], amount: NDArray[np.float64]) -> Steps:
    """How much is between its begin and its end, as a step function."""
    times = np.concatenate([begin, end])
    order = np.argsort(times, kind="stable")
    return times[order], np.cumsum(np.concatenate([amount, -amount])[order])


def _busy(schedule: Schedule, chosen: NDArray[np.bool_]) -> Steps:
    size = schedule.workload.processors[chosen].astype(np.float64)
    return _steps(schedule.start_time[chosen], schedule.finish_time[chosen], size)


def _mean_in_bins(steps: Steps, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of a step function between neighbouring edges; O(steps + edges)."""
    times, values = steps
    if not len(times):
        return np.zeros(len(edges) - 1)
    area = np.concatenate([[0.0], np.cumsum(values[:-1] * np.diff(times))])
    inside = np.clip(edges, times[0], times[-1])
    place = np.searchsorted(times, inside, side="right") - 1
    up_to = area[place] + values[place] * (inside - times[place])
    means: NDArray[np.float64] = np.diff(up_to) / np.diff(edges)
    return means


def _placed(schedule: Schedule) -> list[tuple[int, tuple[int, int]]]:
    """Runs of neighbouring processors for each job, the lowest that are free when it starts."""
    free = np.ones(schedule.workload.machine.processors, dtype=np.bool_)
    held: dict[int, NDArray[np.int64]] = {}
    placed = []
    for _, kind, job, amount in schedule.events:
        if kind.name == "FINISH":
            free[held.pop(job)] = True
        elif kind.name == "START":
            _give_back(schedule, held, free, job)
            chosen = np.flatnonzero(free)[: int(amount)]
            free[chosen], held[job] = False, chosen
            breaks = np.flatnonzero(np.diff(chosen) > 1)
            for first, last in zip(np.r_[0, breaks + 1], np.r_[breaks, len(chosen) - 1], strict=True):
                placed.append((job, (int(chosen[first]), int(chosen[last]) + 1)))
    return placed


def _give_back(schedule: Schedule, held: dict[int, NDArray[np.int64]], free: NDArray[np.bool_], job: int) -> None:
    """Under "per_event" a job may start before the completions of its instant: let those go first."""
    for other, processors in held.items():
        if schedule.finish_time[other] <= schedule.start_time[job]:
            free[processors] = True
            held[other] = processors[:0]
