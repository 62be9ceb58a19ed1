"""The memory of one compiled execution, and the heaps in it: ready operations of each device, requests of channels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.placement.execution import Program

DELIVERIES, REQUESTS, PENDING = range(3)
"""Places in `counters`: deliveries announced at their own instant, requests made, requests in the heap."""


class Workspace(NamedTuple):
    """Memory of one execution; n operations, e edges, D devices.

    `heap` holds the heaps of all devices, device d's from heap_begin[d] on; `queue` likewise those ready operations
    that wait for a static priority.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    sent: NDArray[np.float64]
    arrived: NDArray[np.float64]
    missing: NDArray[np.int64]
    ready_time: NDArray[np.float64]
    ready_tie: NDArray[np.int64]
    heap: NDArray[np.int64]
    heap_begin: NDArray[np.int64]
    heap_size: NDArray[np.int64]
    queue: NDArray[np.int64]
    queue_size: NDArray[np.int64]
    next_time: NDArray[np.float64]
    device_free: NDArray[np.float64]
    channel_free: NDArray[np.float64]
    request_edge: NDArray[np.int64]
    request_stop: NDArray[np.int64]
    request_target: NDArray[np.int64]
    request_time: NDArray[np.float64]
    request_producer: NDArray[np.int64]
    request_heap: NDArray[np.int64]
    counters: NDArray[np.int64]
    makespan: NDArray[np.float64]


def allocate(program: Program) -> Workspace:
    """Memory for executions of one program, used again for each."""
    count, devices = program.cost.shape
    edges = len(program.consumer)

    def integers(size: int) -> NDArray[np.int64]:
        return np.zeros(size, dtype=np.int64)

    return Workspace(
        start=np.empty(count), end=np.empty(count), sent=np.empty(edges), arrived=np.empty(edges),
        missing=integers(count), ready_time=np.empty(count), ready_tie=integers(count),
        heap=integers(count), heap_begin=integers(devices + 1), heap_size=integers(devices),
        queue=integers(count), queue_size=integers(devices), next_time=np.empty(devices),
        device_free=np.empty(devices), channel_free=np.empty(max(devices * devices, 2 * devices)),
        request_edge=integers(edges), request_stop=integers(edges), request_target=integers(edges),
        request_time=np.empty(edges), request_producer=integers(edges), request_heap=integers(edges),
        counters=integers(3), makespan=np.zeros(1),
    )  # fmt: skip


@uncounted_inline
def push(w: Workspace, device: int, node: int) -> None:
    """An operation whose ready time is known joins the heap of its device."""
    begin, hole = w.heap_begin[device], w.heap_size[device]
    w.heap_size[device] = hole + 1
    time, tie = w.ready_time[node], w.ready_tie[node]
    while hole > 0:
        up = (hole - 1) >> 1
        other = w.heap[begin + up]
        if w.ready_time[other] < time or (w.ready_time[other] == time and w.ready_tie[other] < tie):
            break
        w.heap[begin + hole] = other
        hole = up
    w.heap[begin + hole] = node
    if hole == 0 and w.queue_size[device] == 0:
        w.next_time[device] = max(time, w.device_free[device])


@uncounted_inline
def pop(w: Workspace, device: int) -> int:
    """Take the operation off the heap of a device that is ready first."""
    begin, size = w.heap_begin[device], w.heap_size[device] - 1
    top, node = w.heap[begin], w.heap[begin + size]
    w.heap_size[device] = size
    time, tie = w.ready_time[node], w.ready_tie[node]
    hole = 0
    while True:
        down = 2 * hole + 1
        if down >= size:
            break
        child = w.heap[begin + down]
        if down + 1 < size:
            other = w.heap[begin + down + 1]
            if w.ready_time[other] < w.ready_time[child] or (
                w.ready_time[other] == w.ready_time[child] and w.ready_tie[other] < w.ready_tie[child]
            ):
                child, down = other, down + 1
        if time < w.ready_time[child] or (time == w.ready_time[child] and tie < w.ready_tie[child]):
            break
        w.heap[begin + hole] = child
        hole = down
    w.heap[begin + hole] = node
    return int(top)


@uncounted
def pop_by_priority(w: Workspace, p: Program, device: int, now: float) -> int:
    """The ready operation that comes first in the static order."""
    begin = w.heap_begin[device]
    while w.heap_size[device] > 0 and w.ready_time[w.heap[begin]] <= now:
        node = pop(w, device)
        place = w.queue_size[device]
        while place > 0 and p.priority[w.queue[begin + place - 1]] < p.priority[node]:
            w.queue[begin + place] = w.queue[begin + place - 1]
            place -= 1
        w.queue[begin + place] = node
        w.queue_size[device] += 1
    w.queue_size[device] -= 1
    return int(w.queue[begin + w.queue_size[device]])


@uncounted
def _before(w: Workspace, a: int, b: int) -> bool:
    """Whether request a comes before b: by time, then producer, then as asked."""
    if w.request_time[a] != w.request_time[b]:
        return bool(w.request_time[a] < w.request_time[b])
    if w.request_producer[a] != w.request_producer[b]:
        return bool(w.request_producer[a] < w.request_producer[b])
    return a < b


@uncounted
def push_request(w: Workspace, request: int) -> None:
    """A request that waits for its channel joins the heap."""
    hole = w.counters[PENDING]
    w.counters[PENDING] = hole + 1
    while hole > 0:
        up = (hole - 1) >> 1
        if _before(w, w.request_heap[up], request):
            break
        w.request_heap[hole] = w.request_heap[up]
        hole = up
    w.request_heap[hole] = request


@uncounted
def pop_request(w: Workspace) -> int:
    """Take the first request off the heap."""
    size = w.counters[PENDING] - 1
    w.counters[PENDING] = size
    top, request = w.request_heap[0], w.request_heap[size]
    hole = 0
    while 2 * hole + 1 < size:
        down = 2 * hole + 1
        if down + 1 < size and _before(w, w.request_heap[down + 1], w.request_heap[down]):
            down += 1
        if _before(w, request, w.request_heap[down]):
            break
        w.request_heap[hole] = w.request_heap[down]
        hole = down
    w.request_heap[hole] = request
    return int(top)
