"""The compiled copy of `schedule`, `published` and `construction`, over packed rows.

What is free in a time step stands in a few 64-bit words, so that one subtraction and one mask ask all resources at
once. A field of a word holds 2^k + capacity - used, with 2^k at least twice the capacity: its bit k is set exactly
where the use is within the capacity, and no borrow leaves the field even while a published move overbooks the machine.
Ten resources of ten units fit in one word.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.jobsched.rewriting.model import WINDOW, Instance

Ints = NDArray[np.int64]
OVERBOOKED = 3
"""How many times the horizon of a placement order a published move may need, while it overbooks the machine."""
_BITS = 63
"""Of a word; the sign is left alone."""


class Jobs(NamedTuple):
    """An instance as compiled code reads it; n jobs, W words.

    Attributes:
        arrival: (n,).
        length: (n,).
        needs: Demands, packed, (n, W).
        guard: Mask of the bits that are set where use is within the capacity.
        free: A word of an empty machine.
        horizon: Time steps that a placement order can need; a published move may need three times as many.
    """

    arrival: Ints
    length: Ints
    needs: Ints
    guard: int
    free: int
    horizon: int


class Layout(NamedTuple):
    """Where resources stand in words: `width` bits each, `fields` a word, `words` in all; and see `Jobs`."""

    width: int
    fields: int
    words: int
    guard: int
    free: int


def layout_of(resources: int, capacity: int) -> Layout:
    """How demands are packed."""
    guarded = (2 * capacity - 1).bit_length()
    width = guarded + 1
    fields = _BITS // width
    ones = sum(1 << (width * field) for field in range(fields))
    words = -(-resources // fields)
    return Layout(width, fields, words, ones << guarded, ones * ((1 << guarded) + capacity))


def jobs_of(instance: Instance) -> Jobs:
    """The arrays of an instance."""
    layout = layout_of(instance.demand.shape[1], instance.capacity)
    needs = np.zeros((len(instance), layout.words), dtype=np.int64)
    pack(instance.demand, layout.width, layout.fields, needs)
    horizon = horizon_of(instance.arrival, instance.length)
    return Jobs(instance.arrival, instance.length, needs, layout.guard, layout.free, horizon)


@compiled
def horizon_of(arrival: Ints, length: Ints) -> int:
    """Time steps that no placement order exceeds: the last arrival, and behind it all work, one job after another."""
    return int(arrival.max() + length.sum())


@compiled
def pack(demand: Ints, width: int, fields: int, needs: Ints) -> None:
    """Write demands (n, D) into words (n, W)."""
    needs[:] = 0
    for job in range(demand.shape[0]):
        for resource in range(demand.shape[1]):
            needs[job, resource // fields] += demand[job, resource] << (width * (resource % fields))


@compiled
def earliest(jobs: Jobs, room: Ints, job: int) -> int:
    """The earliest feasible start of a job that is not placed; `room` is (horizon, W)."""
    at = jobs.arrival[job]
    length, words, guard = jobs.length[job], jobs.needs.shape[1], jobs.guard
    step = at
    while step < at + length:
        for word in range(words):
            if (room[step, word] - jobs.needs[job, word]) & guard != guard:
                at = step + 1
                break
        step += 1
    return int(at)


@compiled
def put(jobs: Jobs, room: Ints, job: int, at: int) -> None:
    """Take a job's units from `room`."""
    for step in range(at, at + jobs.length[job]):
        for word in range(jobs.needs.shape[1]):
            room[step, word] -= jobs.needs[job, word]


@compiled
def take(jobs: Jobs, room: Ints, job: int, at: int) -> None:
    """Give a job's units back."""
    for step in range(at, at + jobs.length[job]):
        for word in range(jobs.needs.shape[1]):
            room[step, word] += jobs.needs[job, word]


@compiled
def place_order(jobs: Jobs, order: Ints, room: Ints, start: Ints) -> None:
    """Place all jobs in an order; `room` and `start` are written."""
    room[: jobs.horizon] = jobs.free
    for job in order:
        start[job] = earliest(jobs, room, job)
        put(jobs, room, job, start[job])


@compiled
def mean_slowdown(jobs: Jobs, start: Ints) -> float:
    """`Instance.mean_slowdown`, to the last bit."""
    total = 0.0
    for job in range(len(jobs.arrival)):
        total += (start[job] + jobs.length[job] - jobs.arrival[job]) / jobs.length[job]
    return total / len(jobs.arrival)


@compiled
def insert(order: Ints, job: int, behind: int) -> None:
    """`schedule.inserted`, in place; `behind` is -1 for the front."""
    at, to = 0, -1
    for place in range(len(order)):
        if order[place] == job:
            at = place
        elif order[place] == behind:
            to = place
    if to < at:
        order[to + 2 : at + 1] = order[to + 1 : at].copy()
        order[to + 1] = job
    else:
        order[at:to] = order[at + 1 : to + 1].copy()
        order[to] = job


@compiled
def order_by(rule: int, jobs: Jobs, room: Ints, order: Ints) -> None:
    """`construction.order_of` by its number in `model.INITIAL`; `room` is scratch."""
    count = len(jobs.arrival)
    if rule == 0:
        for job in range(count):
            order[job] = job
        return
    if rule == 3:
        at = 0
        for length in range(1, jobs.length.max() + 1):
            for job in range(count):
                if jobs.length[job] == length:
                    order[at] = job
                    at += 1
        return
    if rule == 4:
        _by_finish(jobs, room, order)
        return
    _windowed(rule == 2, jobs, room, order)


@compiled
def _by_finish(jobs: Jobs, room: Ints, order: Ints) -> None:
    count = len(jobs.arrival)
    room[: jobs.horizon] = jobs.free
    start = np.empty(count, dtype=np.int64)
    for job in range(count):
        start[job] = earliest(jobs, room, job)
    placed = np.zeros(count, dtype=np.bool_)
    for at in range(count):
        best = -1
        for job in range(count):
            if not placed[job] and (best < 0 or start[job] + jobs.length[job] < start[best] + jobs.length[best]):
                best = job
        order[at], placed[best] = best, True
        begun, end = start[best], start[best] + jobs.length[best]
        put(jobs, room, best, begun)
        for job in range(count):  # only a start that the placed job is in the way of can change
            if not placed[job] and start[job] < end and start[job] + jobs.length[job] > begun:
                start[job] = earliest(jobs, room, job)


@compiled
def _windowed(search: bool, jobs: Jobs, room: Ints, order: Ints) -> None:
    count = len(jobs.arrival)
    pending = np.zeros(WINDOW + 1, dtype=np.int64)
    waiting, filled = 0, 0
    room[: jobs.horizon] = jobs.free
    for job in range(count + 1):
        while waiting >= (1 if job == count else WINDOW):
            best, best_score, best_length = -1, np.inf, 0
            for place in range(waiting):
                each = pending[place]
                score = _looked_ahead(jobs, room, pending, waiting, place) if search else earliest(jobs, room, each)
                shorter = not search and jobs.length[each] < best_length
                if best < 0 or score < best_score or (score == best_score and shorter):
                    best, best_score, best_length = place, score, jobs.length[each]
            chosen = pending[best]
            put(jobs, room, chosen, earliest(jobs, room, chosen))
            order[filled] = chosen
            filled += 1
            for place in range(best, waiting - 1):
                pending[place] = pending[place + 1]
            waiting -= 1
        if job < count:
            pending[waiting] = job
            waiting += 1


@compiled
def _looked_ahead(jobs: Jobs, room: Ints, pending: Ints, waiting: int, first: int) -> float:
    chosen = np.empty(waiting, dtype=np.int64)
    chosen[0] = pending[first]
    at = 1
    for place in range(waiting):
        if place == first:
            continue
        each, behind = pending[place], at
        while behind > 1 and jobs.length[chosen[behind - 1]] > jobs.length[each]:
            chosen[behind] = chosen[behind - 1]
            behind -= 1
        chosen[behind] = each
        at += 1
    start, total = np.empty(waiting, dtype=np.int64), 0.0
    for place in range(waiting):
        job = chosen[place]
        start[place] = earliest(jobs, room, job)
        put(jobs, room, job, start[place])
        total += (start[place] + jobs.length[job] - jobs.arrival[job]) / jobs.length[job]
    for place in range(waiting):
        take(jobs, room, chosen[place], start[place])
    return total


@compiled
def link_all(jobs: Jobs, start: Ints, links: Ints) -> None:
    """Edges of a start schedule; `links` (n + 1, n + 1) holds from (parent, child) when the edge came, 0 for none."""
    root, came = len(jobs.arrival), 0
    links[:] = 0
    for job in range(root):
        if start[job] == jobs.arrival[job]:
            came += 1
            links[root, job] = came
            continue
        for other in range(root):
            if start[other] + jobs.length[other] == start[job]:
                came += 1
                links[other, job] = came


@compiled
def neighbours(links: Ints, job: int, found: Ints) -> int:
    """`PublishedSchedule.neighbours`, written to `found` (2 x 10,); returns how many there are."""
    ancestors = _nearest(links, job, True, found)
    return ancestors + _nearest(links, job, False, found[ancestors:])


@compiled
def _nearest(links: Ints, job: int, upwards: bool, found: Ints) -> int:
    nodes = links.shape[0]
    queue, seen = np.empty(nodes, dtype=np.int64), np.zeros(nodes, dtype=np.bool_)
    queue[0], seen[job] = job, True
    filled, read = 1, 0
    while read < filled <= WINDOW:
        node, last = queue[read], 0
        read += 1
        if upwards:
            for parent in range(nodes):
                if links[parent, node] > 0 and not seen[parent]:
                    queue[filled], seen[parent] = parent, True
                    filled += 1
            continue
        while True:  # children in the order in which their edges came
            child, earliest_edge = -1, 0
            for other in range(nodes):
                edge = links[node, other]
                if edge > last and (child < 0 or edge < earliest_edge):
                    child, earliest_edge = other, edge
            if child < 0:
                break
            last = earliest_edge
            if not seen[child]:
                queue[filled], seen[child] = child, True
                filled += 1
    count = min(filled - 1, WINDOW)
    for place in range(count):
        found[place] = queue[place + 1]
    return count


@compiled
def new_start(jobs: Jobs, start: Ints, job: int, neighbour: int) -> int:
    """`PublishedSchedule.new_start`."""
    end = 0 if neighbour == len(start) else start[neighbour] + jobs.length[neighbour]
    return int(max(end, jobs.arrival[job]))


@compiled
def move_behind(jobs: Jobs, job: int, neighbour: int, room: Ints, start: Ints, links: Ints) -> None:
    """`PublishedSchedule.move`, of a move that changes something; `start` and `links` are written."""
    count = len(start)
    room[: OVERBOOKED * jobs.horizon] = jobs.free
    for other in range(count):
        put(jobs, room, other, start[other])
    new = new_start(jobs, start, job, neighbour)
    end = 0 if neighbour == count else start[neighbour] + jobs.length[neighbour]
    time = min(start[job], new, end)
    came, arrivals = np.zeros(count, dtype=np.int64), 1
    replaced, listed = np.empty(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    together = np.empty(count, dtype=np.int64)
    take(jobs, room, job, start[job])
    put(jobs, room, job, new)
    start[job], came[job] = new, 1
    replaced[0], listed[job] = job, True
    filled = 1
    last = start.max()
    while time <= last:
        for place in range(_listed(start, came, time, together)):
            other = together[place]
            take(jobs, room, other, start[other])
            at = earliest(jobs, room, other)
            put(jobs, room, other, at)
            if at != start[other]:
                arrivals += 1
                start[other], came[other] = at, arrivals
                last = max(last, at)
            if not listed[other]:
                replaced[filled], listed[other] = other, True
                filled += 1
        time += 1
    newest = links.max()
    for place in range(filled):
        other = replaced[place]
        links[:, other] = 0
        newest += 1
        links[_parent(jobs, start, came, other, together), other] = newest


@compiled
def _listed(times: Ints, came: Ints, time: int, found: Ints) -> int:
    """Jobs whose time this is, by (when they came, number), written to `found`; returns how many."""
    filled = 0
    for job in range(len(times)):
        if times[job] != time:
            continue
        at = filled
        while at > 0 and came[found[at - 1]] > came[job]:
            found[at] = found[at - 1]
            at -= 1
        found[at] = job
        filled += 1
    return filled


@compiled
def _parent(jobs: Jobs, start: Ints, came: Ints, job: int, together: Ints) -> int:
    if start[job] == jobs.arrival[job]:
        return len(start)
    _listed(start, came, start[job], together)
    if together[0] == job:
        filled = _listed(start + jobs.length, came, start[job], together)
        return int(together[filled - 1])
    before = together[0]
    for other in together[1:]:
        if other == job:
            break
        before = other
    return int(before)


def scratch_room(jobs: Jobs) -> NDArray[Any]:
    """Memory for the rows of a schedule."""
    return np.empty((OVERBOOKED * jobs.horizon, jobs.needs.shape[1]), dtype=np.int64)
