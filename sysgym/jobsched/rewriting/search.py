"""Local search over placement orders: hill climbing and simulated annealing, compiled.

An evaluation places all jobs anew in a changed order and asks for the mean slowdown. Both searches draw the same
changes. Most concern a job that waits, drawn by (slowdown - 1), and one that runs while it waits: mostly the two change
places, sometimes the first goes before the second. The others insert a random job at a random place. Behind a change
that is kept the jobs are sorted by their starts, which leaves the schedule or betters it: the neighbours of a place are
then those of a time.

The shares were chosen on 60 generated training sequences of each number of resources, among 80 mixtures that also took
blocking jobs behind those that they block, moved jobs by a few places, and moved two at once; only the exchanges made a
difference. The temperature of annealing was chosen among .05 to .02 on 100 validation sequences.

Uniform insertion alone from SJF-offline with a temperature of 0.05, as in our reference sheet, is `Search(informed=
False)`; docs/rewriting.md reports the difference.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.jobsched.rewriting.dynamics import Ints, Jobs, mean_slowdown, place_order
from sysgym.workloads.draws import uniform

EXCHANGED = 0.6
"""Share of the changes that let a job that waits and one that it waits for change places."""
INFORMED = 0.8
"""Share of those that concern two such jobs."""
_DRAWS = 6
"""Counters of an evaluation."""


class Search(NamedTuple):
    """How a search goes.

    Attributes:
        evaluations: Schedules that it may evaluate, the first included.
        temperature: At the beginning, in units of the mean slowdown; falls linearly to 0. 0 climbs.
        informed: Whether most changes are drawn by who waits for whom.
    """

    evaluations: int
    temperature: float
    informed: bool


@compiled
def improve(jobs: Jobs, search: Search, key: int, room: NDArray[Any], order: Ints) -> float:
    """Search from an order and leave the best one met in its place; returns a mean slowdown that it doesn't exceed.

    Args:
        jobs: The instance.
        search: How.
        key: Of the draws.
        room: Scratch, see `dynamics.scratch_room`.
        order: Placement order, (n,).
    """
    count = len(order)
    start, trial_start = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    trial, best = order.copy(), order.copy()
    place_order(jobs, order, room, start)
    now = least = mean_slowdown(jobs, start)
    if count < 2:
        return least
    for number in range(1, search.evaluations):
        trial[:] = order
        _change(jobs, start, search.informed, key, number, trial)
        place_order(jobs, trial, room, trial_start)
        value = mean_slowdown(jobs, trial_start)
        heat = search.temperature * (1.0 - number / search.evaluations)
        if value > now and (heat <= 0.0 or uniform(key, 0, _DRAWS * number) >= math.exp((now - value) / heat)):
            continue
        order[:], start[:], now = trial, trial_start, value
        if search.informed:
            _sort(start, order)
        if now < least:
            least = now
            best[:] = order
    order[:] = best
    return least


@compiled
def _change(jobs: Jobs, start: Ints, informed: bool, key: int, number: int, order: Ints) -> None:
    """Draw a change and make it."""
    count, at = len(order), _DRAWS * number
    kind = uniform(key, 0, at + 1) if informed else 1.0
    if kind < INFORMED:
        source = _waiting(jobs, start, order, uniform(key, 0, at + 2))
        target = _blocking(jobs, start, order, source, uniform(key, 0, at + 3))
        if target >= 0 and kind < EXCHANGED:
            order[source], order[target] = order[target], order[source]
            return
        if target >= 0:
            _shift(order, source, target)
            return
    source = int(uniform(key, 0, at + 4) * count)
    target = int(uniform(key, 0, at + 5) * (count - 1))
    target += target >= source
    _shift(order, source, target)


@compiled
def _waiting(jobs: Jobs, start: Ints, order: Ints, draw: float) -> int:
    """Place of a job, drawn by its wait over its length."""
    total = 0.0
    for job in range(len(order)):
        total += (start[job] - jobs.arrival[job]) / jobs.length[job]
    reached = 0.0
    for place in range(len(order)):
        job = order[place]
        reached += (start[job] - jobs.arrival[job]) / jobs.length[job]
        if reached > draw * total:
            return place
    return len(order) - 1


@compiled
def _blocking(jobs: Jobs, start: Ints, order: Ints, source: int, draw: float) -> int:
    """Place, before the one at `source`, of a job that runs while that one waits; -1 if there is none."""
    waiting, found = order[source], 0
    for place in range(source):
        other = order[place]
        found += start[other] < start[waiting] and start[other] + jobs.length[other] > jobs.arrival[waiting]
    chosen = int(draw * found)
    for place in range(source):
        other = order[place]
        if start[other] < start[waiting] and start[other] + jobs.length[other] > jobs.arrival[waiting]:
            if chosen == 0:
                return place
            chosen -= 1
    return -1


@compiled
def _shift(order: Ints, source: int, target: int) -> None:
    """Take the job at `source` out and insert it so that it stands at `target`."""
    job = order[source]
    if target < source:
        for place in range(source, target, -1):
            order[place] = order[place - 1]
    else:
        for place in range(source, target):
            order[place] = order[place + 1]
    order[target] = job


@compiled
def _sort(start: Ints, order: Ints) -> None:
    """Sort an order by starts, stably."""
    for end in range(1, len(order)):
        job, place = order[end], end
        while place > 0 and start[order[place - 1]] > start[job]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = job


@compiled
def best_move(jobs: Jobs, room: NDArray[Any], order: Ints) -> tuple[float, int, int]:
    """The insertion with the least mean slowdown: that, the job, and the job that it goes behind (-1: the front)."""
    count = len(order)
    start, trial = np.empty(count, dtype=np.int64), order.copy()
    least, job, behind = np.inf, -1, -1
    for source in range(count):
        for target in range(count):
            if source == target:
                continue
            trial[:] = order
            _shift(trial, source, target)
            place_order(jobs, trial, room, start)
            value = mean_slowdown(jobs, start)
            if value < least:
                least, job, behind = value, order[source], trial[target - 1] if target > 0 else -1
    return least, job, behind
