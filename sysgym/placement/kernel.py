"""The fast copy of `simulator`: executions over flat arrays, compiled, in batches.

Not every event needs a queue. The ready time of an operation is its last delivery, which is known as soon as its last
producer's transfers are, and that is never later than the delivery itself. So each device keeps one heap of operations
by (ready time, tie), and the only event left is "the device with the smallest next start begins an operation". Queue
channels serve in the order in which operations begin, so a transfer's times are known at once; shared channels keep
one heap of requests.

`tie` reproduces the order in which the simulator handles deliveries at one instant: those announced before (by
producer, then consumer), then those that a channel announces at that very instant (by channel), then those that a
device announces at that very instant (in the order in which this happens).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import CHANNELS, MULTICASTS, ExecutionRules, Program, Trace, program_of
from sysgym.placement.model import OpGraph
from sysgym.placement.workspace import (
    DELIVERIES,
    PENDING,
    REQUESTS,
    Workspace,
    allocate,
    pop,
    pop_by_priority,
    pop_request,
    push,
    push_request,
)

_EGRESS, _PAIR, _NONE, _INGRESS, _BOTH, _BUS, _BAECHI = range(len(CHANNELS))
_TENSOR, _PER_DEVICE, _PER_EDGE = range(len(MULTICASTS))


class Flags(NamedTuple):
    """`ExecutionRules` as numbers, for compiled code."""

    channel: int
    multicast: int
    dispatch: float
    hold: float
    delays: bool
    ordered: bool
    begin: float
    dispatch_after_zero: bool


def flags_of(rules: ExecutionRules) -> Flags:
    """Rules in the kernel's form."""
    return Flags(
        CHANNELS.index(rules.channel),
        MULTICASTS.index(rules.way_to_multicast),
        float(rules.dispatch),
        float(rules.hold),
        rules.latency == "delay",
        rules.queue != "fifo",
        float(rules.begin),
        bool(rules.dispatch_after_zero),
    )


@uncounted_inline
def _deliver(w: Workspace, devices: NDArray[Any], consumer: int, time: float, tie: int) -> None:
    """An input will arrive at `time`; the last one to be announced makes the ready time known."""
    if time > w.ready_time[consumer]:
        w.ready_time[consumer] = time
        w.ready_tie[consumer] = tie
    elif time == w.ready_time[consumer] and tie > w.ready_tie[consumer]:
        w.ready_tie[consumer] = tie
    w.missing[consumer] -= 1
    if w.missing[consumer] == 0:
        push(w, devices[consumer], consumer)


@uncounted_inline
def _tie(w: Workspace, p: Program, channel: int, announced: int, producer: int, consumer: int) -> int:
    """Order of deliveries at one instant; `announced` is 0: before, 1: by a channel then, 2: by a device then."""
    count, size = len(w.start), len(p.cost[0])
    if announced == 0:
        return producer * count + consumer
    w.counters[DELIVERIES] += 1
    place = channel if announced == 1 else size * size
    return int(count * count + place * (count + len(p.consumer) + 1) + w.counters[DELIVERIES])


@uncounted_inline
def _duration(p: Program, f: Flags, devices: NDArray[Any], source: int, first: int, stop: int, target: int) -> float:
    """Time of the transfer that serves edges first..stop-1 (to `target` alone where it is not -1)."""
    slowest = 0.0
    for edge in range(first, stop):
        to = devices[p.consumer[edge]]
        if to == source or (target >= 0 and to != target):
            continue
        time = p.amount[edge] / p.speed[source, to]
        if f.delays:
            time = p.latency[source, to] + time
        slowest = max(slowest, time)
    return slowest


@uncounted_inline
def _held(p: Program, f: Flags, devices: NDArray[Any], source: int, first: int, stop: int, target: int) -> float:
    """Time for which a transfer's channel stays taken behind it."""
    if f.delays:
        return f.hold
    longest = 0.0
    for edge in range(first, stop):
        to = devices[p.consumer[edge]]
        if to != source and (target < 0 or to == target):
            longest = max(longest, p.latency[source, to])
    return f.hold + longest


@uncounted_inline
def _send(
    w: Workspace, p: Program, f: Flags, devices: NDArray[Any], producer: int, first: int, stop: int, target: int,
    start: float, now: float, channel: int,
) -> float:  # fmt: skip
    """Announce what a transfer delivers; returns when its channel is free again."""
    source = devices[producer]
    arrival = start + _duration(p, f, devices, source, first, stop, target)
    announced = 0
    if arrival == now:
        announced = 2
    elif arrival == start and f.channel <= _PAIR:
        announced = 1
    for edge in range(first, stop):
        consumer = p.consumer[edge]
        to = devices[consumer]
        if to == source or (target >= 0 and to != target):
            continue
        w.sent[edge] = start
        w.arrived[edge] = arrival
        _deliver(w, devices, consumer, arrival, _tie(w, p, channel, announced, producer, consumer))
    w.makespan[0] = max(w.makespan[0], arrival)
    return float(arrival + _held(p, f, devices, source, first, stop, target))


@uncounted_inline
def _ask(
    w: Workspace, p: Program, f: Flags, devices: NDArray[Any], producer: int, first: int, stop: int, target: int,
    ready: float, now: float,
) -> None:  # fmt: skip
    """A transfer is asked for: queue channels serve it at once, shared ones when it is ready."""
    source = devices[producer]
    if f.channel <= _PAIR:
        channel = source if f.channel == _EGRESS else source * len(p.cost[0]) + target
        start = max(ready, w.channel_free[channel])
        free = _send(w, p, f, devices, producer, first, stop, target, start, now, channel)
        w.channel_free[channel] = free
        w.makespan[0] = max(w.makespan[0], free)
    else:
        request = w.counters[REQUESTS]
        w.counters[REQUESTS] = request + 1
        w.request_edge[request] = first
        w.request_stop[request] = stop
        w.request_target[request] = target
        w.request_time[request] = ready
        w.request_producer[request] = producer
        push_request(w, request)


@uncounted
def _book(w: Workspace, p: Program, f: Flags, devices: NDArray[Any], request: int) -> None:
    """A shared channel takes a request; see the simulator's method of the same name."""
    producer, target, size = w.request_producer[request], w.request_target[request], len(p.cost[0])
    first, stop, now = w.request_edge[request], w.request_stop[request], w.request_time[request]
    source, free = devices[producer], w.channel_free
    if f.channel == _NONE:
        _send(w, p, f, devices, producer, first, stop, target, now, now, 0)
        return
    if f.channel == _BAECHI:
        start = max(now, free[source])
        free[source] = (
            start
            + _duration(p, f, devices, source, first, stop, target)
            + _held(p, f, devices, source, first, stop, target)
        )
        w.makespan[0] = max(w.makespan[0], free[source])
        start = max(start, free[target])
        end = _send(w, p, f, devices, producer, first, stop, target, start, now, 0)
        free[target] = end
    elif f.channel == _BUS:
        end = _send(w, p, f, devices, producer, first, stop, target, max(now, free[0]), now, 0)
        free[0] = end
    else:
        start = max(now, free[size + target])
        if f.channel == _BOTH:
            start = max(start, free[source])
        end = _send(w, p, f, devices, producer, first, stop, target, start, now, 0)
        free[size + target] = end
        if f.channel == _BOTH:
            free[source] = end
    w.makespan[0] = max(w.makespan[0], end)


@uncounted_inline
def _send_outputs(w: Workspace, p: Program, f: Flags, devices: NDArray[Any], node: int, now: float, end: float) -> None:
    """Ask for a transfer of every output that somebody elsewhere needs."""
    device, stop = devices[node], p.edge_start[node + 1]
    first = p.edge_start[node]
    while first < stop:
        last = first
        while last < stop and p.edge_output[last] == p.edge_output[first]:
            last += 1
        if f.multicast == _PER_EDGE:
            for edge in range(first, last):
                if devices[p.consumer[edge]] != device:
                    _ask(w, p, f, devices, node, edge, edge + 1, devices[p.consumer[edge]], end, now)
        elif f.multicast == _TENSOR:
            for edge in range(first, last):
                if devices[p.consumer[edge]] != device:
                    _ask(w, p, f, devices, node, first, last, -1, end, now)
                    break
        else:
            for target in range(len(p.cost[0])):
                for edge in range(first, last):
                    if target != device and devices[p.consumer[edge]] == target:
                        _ask(w, p, f, devices, node, first, last, target, end, now)
                        break
        first = last


@uncounted_inline
def _begin_operation(w: Workspace, p: Program, f: Flags, devices: NDArray[Any], device: int) -> None:
    """A device begins its next operation, and everything that follows from it is announced."""
    now = w.next_time[device]
    node = pop_by_priority(w, p, device, now) if f.ordered else pop(w, device)
    cost = p.cost[node, device]
    end = now + cost
    w.start[node] = now
    w.end[node] = end
    free = end + f.dispatch if cost > 0 or f.dispatch_after_zero else end
    w.device_free[device] = free
    w.makespan[0] = max(w.makespan[0], free)
    if w.queue_size[device] > 0:
        w.next_time[device] = free
    elif w.heap_size[device] > 0:
        w.next_time[device] = max(free, w.ready_time[w.heap[w.heap_begin[device]]])
    remote = False
    for place in range(p.edge_start[node], p.edge_start[node + 1]):
        edge = p.by_consumer[place]
        consumer = p.consumer[edge]
        if devices[consumer] == device:
            tie = node * len(w.start) + consumer if end != now else _tie(w, p, 0, 2, node, consumer)
            w.sent[edge] = np.nan
            w.arrived[edge] = end
            _deliver(w, devices, consumer, end, tie)
        else:
            remote = True
    if remote:
        _send_outputs(w, p, f, devices, node, now, end)


@uncounted
def execute(w: Workspace, p: Program, f: Flags, devices: NDArray[Any]) -> float:
    """Run one placement; returns its makespan and leaves the times in the workspace.

    O((n + e) log n) for n operations and e edges, and a look at every device an operation.
    """
    count, size = len(w.start), len(w.next_time)
    w.heap_size[:] = 0
    w.queue_size[:] = 0
    w.counters[:] = 0
    w.heap_begin[:] = 0
    w.makespan[0] = f.begin
    for device in range(size):
        w.device_free[device] = -np.inf
    w.channel_free[:] = -np.inf
    for node in range(count):
        w.heap_begin[devices[node] + 1] += 1
        w.missing[node] = p.missing[node]
        w.ready_time[node] = -np.inf
    for device in range(size):
        w.heap_begin[device + 1] += w.heap_begin[device]
    for node in range(count):
        if p.missing[node] == 0:
            w.ready_time[node] = f.begin
            w.ready_tie[node] = _tie(w, p, 0, 2, node, node)
            push(w, devices[node], node)
    while True:
        best = -1
        for device in range(size):
            if w.heap_size[device] + w.queue_size[device] > 0 and (best < 0 or w.next_time[device] < w.next_time[best]):
                best = device
        if w.counters[PENDING] > 0 and (best < 0 or w.request_time[w.request_heap[0]] <= w.next_time[best]):
            _book(w, p, f, devices, pop_request(w))
        elif best >= 0:
            _begin_operation(w, p, f, devices, best)
        else:
            return float(w.makespan[0])


@uncounted
def execute_many(w: Workspace, p: Program, f: Flags, placements: NDArray[Any], makespans: NDArray[np.float64]) -> None:
    """Run the rows of `placements`, shape (B, n), into `makespans`, shape (B,)."""
    for row in range(len(placements)):
        makespans[row] = execute(w, p, f, placements[row])


class Evaluator:
    """Makespans of many placements of one graph; holds the memory, so use one a thread.

    Args:
        graph: What runs.
        cluster: On what.
        rules: How; the defaults of `ExecutionRules` when left out.
    """

    def __init__(self, graph: OpGraph, cluster: Cluster, rules: ExecutionRules | None = None) -> None:
        self.graph, self.cluster, self.rules = graph, cluster, rules or ExecutionRules()
        self.program = program_of(graph, cluster, self.rules)
        self.flags, self.workspace = flags_of(self.rules), allocate(self.program)

    def makespan(self, assignment: NDArray[np.int64]) -> float:
        """Makespan of one placement, int64 of shape (n,)."""
        return float(execute(self.workspace, self.program, self.flags, assignment))

    def makespans(self, placements: NDArray[np.int64]) -> NDArray[np.float64]:
        """Makespans of B placements, int64 of shape (B, n); releases the interpreter lock."""
        result = np.empty(len(placements))
        execute_many(self.workspace, self.program, self.flags, np.ascontiguousarray(placements), result)
        return result

    def trace(self, assignment: Any) -> Trace:
        """Everything that happens in one placement; equal to `simulate`'s, bit for bit."""
        placed = self.graph.assignment_of(assignment, self.cluster)
        makespan = self.makespan(placed)
        w = self.workspace
        start, end, sent, arrived = (column.copy() for column in (w.start, w.end, w.sent, w.arrived))
        return Trace(self.graph, self.cluster, self.program, placed, start, end, sent, arrived, makespan)
