"""The readable truth: one execution of a placed graph on SimPy.

Deliveries, channels and devices are SimPy events whose priority is (kind, key), see `execution`. Queue channels
("egress", "pair") hold the transfers that were asked for and serve them one after another; shared channels ("ingress",
"both", "bus", "baechi", and "none" with no channel at all) are booked, in the order in which transfers are asked for,
by whoever asks. The kernel must
equal this file bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import ExecutionRules, Program, Trace, program_of
from sysgym.placement.model import OpGraph

_DELIVER, _CHANNEL, _DEVICE = 0, 1, 2


class Clock(simpy.Environment):
    """SimPy's environment with events at absolute times, in the order of (time, kind, key)."""

    def at(self, time: float, priority: tuple[int, ...], callback: Callable[[], None]) -> None:
        """Call back at `time`; at one instant the smaller priority comes first."""
        event = simpy.Event(self)
        event._ok, event._value = True, None
        assert event.callbacks is not None
        event.callbacks.append(lambda _: callback())
        queue: list[Any] = self._queue  # with a finer priority than SimPy's own
        heappush(queue, (time, priority, next(self._eid), event))


class Execution:
    """A placed graph while it runs.

    Args:
        program: The graph on its cluster.
        rules: How it runs.
        assignment: Device of each operation.
    """

    def __init__(self, program: Program, rules: ExecutionRules, assignment: NDArray[np.int64]) -> None:
        self.program, self.rules, self.device_of = program, rules, assignment.tolist()
        count, self.devices = program.cost.shape
        self.cost = [program.cost[node, device] for node, device in enumerate(self.device_of)]
        self.missing: list[int] = program.missing.tolist()
        self.start, self.end = np.full(count, np.nan), np.full(count, np.nan)
        self.sent, self.arrived = (np.full(len(program.consumer), np.nan) for _ in range(2))
        self.ready: list[list[tuple[int, int, int]]] = [[] for _ in range(self.devices)]
        self.entered = 0
        self.is_busy = [False] * self.devices
        self.requests: dict[int, deque[tuple[float, list[int]]]] = {}
        self.free_at: dict[Any, float] = {}
        self.clock = Clock(rules.begin)

    def run(self) -> float:
        """Let everything happen; returns the time of the last event."""
        for node, inputs in enumerate(self.missing):
            if not inputs:
                self._enter(node)
        while self.clock._queue:
            self.clock.step()
        return float(self.clock.now)

    def _enter(self, node: int) -> None:
        """A ready operation joins its device's queue."""
        device = self.device_of[node]
        rank = {"fifo": 0, "index": node, "priority": int(self.program.priority[node])}[self.rules.queue]
        heappush(self.ready[device], (rank, self.entered, node))
        self.entered += 1
        if not self.is_busy[device]:
            self.is_busy[device] = True
            self.clock.at(self.clock.now, (_DEVICE, device), lambda: self._begin_next(device))

    def _begin_next(self, device: int) -> None:
        if not self.ready[device]:
            self.is_busy[device] = False
            return
        node: int = heappop(self.ready[device])[-1]
        start, cost = self.clock.now, self.cost[node]
        end = start + cost
        self.start[node], self.end[node] = start, end
        dispatch = self.rules.dispatch if cost > 0 or self.rules.dispatch_after_zero else 0.0
        self.clock.at(end + dispatch, (_DEVICE, device), lambda: self._begin_next(device))
        edges = range(self.program.edge_start[node], self.program.edge_start[node + 1])
        remote = [edge for edge in edges if self._target(edge) != device]
        for edge in edges:
            if self._target(edge) == device:
                self._deliver_at(end, node, edge)
        for number, group in enumerate(self._groups(remote)):
            self._ask(node, end, group, number)

    def _target(self, edge: int) -> int:
        return int(self.device_of[self.program.consumer[edge]])

    def _groups(self, edges: list[int]) -> list[list[int]]:
        """Edges that one transfer serves, in the order in which transfers are asked for."""
        groups: dict[tuple[int, ...], list[int]] = {}
        way = self.rules.way_to_multicast
        for edge in edges:
            finer: dict[str, tuple[int, ...]] = {"tensor": (), "device": (self._target(edge),), "edge": (edge,)}
            groups.setdefault((int(self.program.edge_output[edge]), *finer[way]), []).append(edge)
        return [groups[key] for key in sorted(groups)]

    def _ask(self, node: int, ready: float, group: list[int], number: int) -> None:
        """The producer's transfer of this number is asked for, ready when the producer ends."""
        source, target = self.device_of[node], self._target(group[0])
        if self.rules.channel in ("egress", "pair"):
            channel = source if self.rules.channel == "egress" else source * self.devices + target
            queue = self.requests.setdefault(channel, deque())
            queue.append((ready, group))
            if len(queue) == 1 and self.free_at.get(channel, -np.inf) == -np.inf:
                self.free_at[channel] = ready
                self.clock.at(ready, (_CHANNEL, channel), lambda: self._serve(channel))
        else:
            self.clock.at(ready, (_CHANNEL, node, number), lambda: self._book(node, group))

    def _serve(self, channel: int) -> None:
        """A queue channel is free: send its next transfer, or idle."""
        queue, now = self.requests[channel], self.clock.now
        if not queue:
            self.free_at[channel] = -np.inf
            return
        ready, group = queue[0]
        if ready > now:
            self.clock.at(ready, (_CHANNEL, channel), lambda: self._serve(channel))
            return
        queue.popleft()
        node = int(np.searchsorted(self.program.edge_start, group[0], side="right")) - 1
        free = self._send(node, now, group)
        self.free_at[channel] = free
        self.clock.at(free, (_CHANNEL, channel), lambda: self._serve(channel))

    def _book(self, node: int, group: list[int]) -> None:
        """A transfer takes its shared channels as soon as they are free."""
        source, target, now = self.device_of[node], self._target(group[0]), self.clock.now
        shared: dict[str, list[Any]] = {
            "ingress": [("in", target)],
            "none": [],
            "both": [("out", source), ("in", target)],
            "bus": ["bus"],
            "baechi": [source, target],
        }
        channels = shared[self.rules.channel]
        free = [self.free_at.get(channel, -np.inf) for channel in channels]
        if self.rules.channel == "baechi":
            send = max(now, free[0])
            self.free_at[source] = send + self._duration(node, group) + self._held(node, group)
            self.free_at[target] = self._send(node, max(send, free[1]), group)
            ends = [self.free_at[source], self.free_at[target]]
        else:
            end = self._send(node, max([now, *free]), group)
            self.free_at.update(dict.fromkeys(channels, end))
            ends = [end] if channels else []
        for end in ends:
            self.clock.at(end, (_CHANNEL, len(self.missing)), lambda: None)

    def _send(self, node: int, start: float, group: list[int]) -> float:
        """A transfer begins at `start`; returns when its channel is free again."""
        arrival = start + self._duration(node, group)
        for edge in group:
            self.sent[edge] = start
            self._deliver_at(arrival, node, edge)
        return arrival + self._held(node, group)

    def _duration(self, node: int, group: list[int]) -> float:
        source, program = self.device_of[node], self.program
        slowest = 0.0
        for edge in group:
            time = program.amount[edge] / program.speed[source, self._target(edge)]
            if self.rules.latency == "delay":
                time = program.latency[source, self._target(edge)] + time
            slowest = max(slowest, time)
        return slowest

    def _held(self, node: int, group: list[int]) -> float:
        if self.rules.latency == "delay":
            return self.rules.hold
        source = self.device_of[node]
        return float(self.rules.hold + max(self.program.latency[source, self._target(edge)] for edge in group))

    def _deliver_at(self, time: float, producer: int, edge: int) -> None:
        consumer = int(self.program.consumer[edge])
        self.arrived[edge] = time
        self.clock.at(time, (_DELIVER, producer, consumer), lambda: self._deliver(consumer))

    def _deliver(self, consumer: int) -> None:
        self.missing[consumer] -= 1
        if not self.missing[consumer]:
            self._enter(consumer)


def simulate(graph: OpGraph, cluster: Cluster, assignment: Any, rules: ExecutionRules | None = None) -> Trace:
    """Run a placed graph on SimPy.

    Args:
        graph: What runs.
        cluster: On what.
        assignment: Device of each operation, shape (n,); unsupported operations never end (infinite times).
        rules: How; the defaults of `ExecutionRules` when left out.

    Raises:
        SettingError: The assignment has another length or names no device.
    """
    rules = rules or ExecutionRules()
    program, placed = program_of(graph, cluster, rules), graph.assignment_of(assignment, cluster)
    execution = Execution(program, rules, placed)
    makespan = execution.run()
    return Trace(
        graph, cluster, program, placed, execution.start, execution.end, execution.sent, execution.arrived, makespan
    )
