"""The memory of one compiled execution, and the heaps in it: ready operations of each device, requests of channels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.core.heap import rise, sink
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
    begin, size = w.heap_begin[device], w.heap_size[device]
    w.heap_size[device] = size + 1
    rise(w.heap, begin, size, node, w.ready_time, w.ready_tie)
    if w.heap[begin] == node and w.queue_size[device] == 0:
        w.next_time[device] = max(w.ready_time[node], w.device_free[device])


@uncounted_inline
def pop(w: Workspace, device: int) -> int:
    """Take the operation off the heap of a device that is ready first."""
    begin, size = w.heap_begin[device], w.heap_size[device] - 1
    top = w.heap[begin]
    w.heap_size[device] = size
    sink(w.heap, begin, size, w.heap[begin + size], w.ready_time, w.ready_tie)
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
def push_request(w: Workspace, request: int) -> None:
    """A request that waits for its channel joins the heap: by time, then producer, then as asked."""
    size = w.counters[PENDING]
    w.counters[PENDING] = size + 1
    rise(w.request_heap, 0, size, request, w.request_time, w.request_producer)


@uncounted
def pop_request(w: Workspace) -> int:
    """Take the first request off the heap."""
    size = w.counters[PENDING] - 1
    w.counters[PENDING] = size
    top = w.request_heap[0]
    sink(w.request_heap, 0, size, w.request_heap[size], w.request_time, w.request_producer)
    return int(top)
