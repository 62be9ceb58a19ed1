"""What both engines share: the rules of an execution, the graph as flat arrays, and the trace of a run.

An operation runs on its device, one at a time; its outputs travel over channels. Everything that happens is an event,
and events are handled in the order of (time, kind, key), which leaves no tie open:

- kind 0, delivery of an output; key (producer, consumer). The last delivery makes an operation ready.
- kind 1, a channel becomes free or a transfer is asked for; key the channel, or (producer, output, target).
- kind 2, a device may begin an operation; key the device.

Operations count as they are listed. A ready queue is served first come first served: by ready time, then in the order
in which the deciding deliveries were handled. The makespan is the time of the last event, so that a device's dispatch
time and a channel's hold count even at the end. With `PLACETO` this is the event model of Placeto's simulator
(Addanki et al., NeurIPS 2019), which breaks ties by the text of node names instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.placement.cluster import Cluster
from sysgym.placement.model import UNITS_PER_SECOND, OpGraph

CHANNELS = ("egress", "pair", "none", "ingress", "both", "bus", "baechi")
MULTICASTS = ("tensor", "device", "edge")
QUEUES = ("fifo", "priority", "index")
LATENCIES = ("delay", "hold")


@dataclass(frozen=True)
class ExecutionRules:
    """How a placed graph runs; all times in the graph's unit.

    Attributes:
        channel: Which transfers wait for one another. "egress": those that leave the same device; "ingress": those
            that enter it; "both": either; "pair": those between the same ordered pair; "bus": all; "none": nobody;
            "baechi": sending and receiving share one channel a device, the two ends start separately.
        multicast: Whether a tensor is sent once for all its remote consumers ("tensor"), once for each target device
            ("device"), or for each edge ("edge"). None chooses "tensor" where the channel does not depend on the
            target and transfers wait ("egress", "bus"), else "device".
        dispatch: Time after an operation before its device begins the next; none after an operation of cost 0.
        hold: Time for which a channel stays taken after a transfer.
        latency: Whether the cluster's latency delays the delivery, or only holds the channel.
        queue: "fifo"; "priority", by upward rank; "index", by place in the list.
        begin: When the execution begins.
        dispatch_after_zero: Whether an operation of cost 0 pays the dispatch time too.
    """

    channel: str = "egress"
    multicast: str | None = None
    dispatch: float = 0.0
    hold: float = 0.0
    latency: str = "delay"
    queue: str = "fifo"
    begin: float = 0.0
    dispatch_after_zero: bool = False

    def __post_init__(self) -> None:
        require_known("channel", self.channel, CHANNELS)
        require_known("multicast", self.way_to_multicast, MULTICASTS)
        require_known("queue", self.queue, QUEUES)
        require_known("latency", self.latency, LATENCIES)
        for name in ("dispatch", "hold", "begin"):
            require_range(name, getattr(self, name), 0.0, np.finfo(float).max)
        if self.way_to_multicast == "tensor" and self.channel not in ("egress", "none", "bus"):
            raise SettingError(f"multicast 'tensor' has no one target for channel {self.channel!r}; choose 'device'")

    @property
    def way_to_multicast(self) -> str:
        """`multicast`, or what None stands for."""
        if self.multicast is not None:
            return self.multicast
        return "tensor" if self.channel in ("egress", "bus") else "device"


PLACETO = ExecutionRules(dispatch=5.7, hold=25.0)
"""Placeto's constants for a p2.8xlarge, in microseconds; its transfers run at `PLACETO_BANDWIDTH`."""
PLACETO_BANDWIDTH = 7.6e9


class Program(NamedTuple):
    """A graph on a cluster under given rules, as the flat arrays that both engines read; n operations, e edges.

    Edges are sorted by (producer, output, consumer).

    Attributes:
        cost: Shape (n, D).
        edge_start: Edges of producer v are edge_start[v] to edge_start[v + 1] - 1.
        edge_output: Number of an edge's output among all outputs; -1 for control.
        consumer: Shape (e,).
        by_consumer: Edges of each producer sorted by (consumer, output) instead, shape (e,).
        amount: Size of every edge's tensor: bytes, or time to host memory where the graph gives times.
        speed: Amount per unit of time from device to device, shape (D, D).
        latency: Shape (D, D).
        missing: Number of inputs, shape (n,).
        priority: Place of each operation in a static queue, shape (n,).
    """

    cost: NDArray[np.float64]
    edge_start: NDArray[np.int64]
    edge_output: NDArray[np.int64]
    consumer: NDArray[np.int64]
    by_consumer: NDArray[np.int64]
    amount: NDArray[np.float64]
    speed: NDArray[np.float64]
    latency: NDArray[np.float64]
    missing: NDArray[np.int64]
    priority: NDArray[np.int64]


@dataclass(frozen=True)
class Transfer:
    """One tensor on its way: what, between which devices, from when to when."""

    producer: int
    output: int
    source: int
    target: int
    start: float
    end: float


@dataclass(frozen=True)
class Trace:
    """What happened in one execution.

    Attributes:
        graph: What ran.
        cluster: Where.
        assignment: Device of each operation, shape (n,).
        start: Shape (n,), in the graph's time unit.
        end: Shape (n,).
        sent: When the tensor of each edge (in the program's order) left, shape (e,); NaN for edges inside a device.
        arrived: When it arrived.
        makespan: Time of the last event.
    """

    graph: OpGraph
    cluster: Cluster
    program: Program
    assignment: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    sent: NDArray[np.float64]
    arrived: NDArray[np.float64]
    makespan: float

    def transfers(self) -> Iterator[Transfer]:
        """The transfers, a tensor that several consumers on a device share only once; control edges are left out."""
        seen = set()
        owner = np.repeat(np.arange(len(self.graph)), np.diff(self.program.edge_start))
        for edge in np.flatnonzero(~np.isnan(self.sent)).tolist():
            producer, output = int(owner[edge]), int(self.program.edge_output[edge])
            target = int(self.assignment[self.program.consumer[edge]])
            key = (producer, output, target, self.sent[edge], self.arrived[edge])
            if output >= 0 and key not in seen:
                seen.add(key)
                source = int(self.assignment[producer])
                yield Transfer(producer, output, source, target, float(self.sent[edge]), float(self.arrived[edge]))

    def busy(self) -> NDArray[np.float64]:
        """Time that each device computes, shape (D,)."""
        busy = np.bincount(self.assignment, weights=self.end - self.start, minlength=len(self.cluster))
        return busy.astype(np.float64)


def program_of(graph: OpGraph, cluster: Cluster, rules: ExecutionRules) -> Program:
    """The flat arrays of a graph on a cluster."""
    producer, output, consumer = graph.edges.T
    number = np.where(output >= 0, graph.output_start[producer] + output, -1)
    order = np.lexsort((consumer, number, producer))
    producer, number, consumer = producer[order], number[order], consumer[order]
    per_unit = UNITS_PER_SECOND[graph.time_unit]
    if graph.host_transfer is None:
        amount = np.where(number >= 0, graph.output_bytes[number] if len(graph.output_bytes) else 0.0, 0.0)
        speed = cluster.bandwidth / per_unit
    else:
        amount = np.where(number >= 0, graph.host_transfer[producer], 0.0)
        ends = cluster.pays_transfers.astype(np.float64)
        speed = 1.0 / np.maximum(ends[:, None] + ends, 1e-300)
        speed[speed > 1e200] = np.inf
    count = len(graph)
    cost = graph.costs_on(cluster)
    program = Program(
        cost=cost,
        edge_start=np.searchsorted(producer, np.arange(count + 1)).astype(np.int64),
        edge_output=number.astype(np.int64),
        consumer=np.ascontiguousarray(consumer),
        by_consumer=np.lexsort((number, consumer, producer)).astype(np.int64),
        amount=amount,
        speed=speed,
        latency=cluster.latency * per_unit,
        missing=np.bincount(consumer, minlength=count).astype(np.int64),
        priority=np.arange(count, dtype=np.int64),
    )
    if rules.queue == "priority":
        ranks = upward_rank(program)
        program.priority[np.argsort(-ranks, kind="stable")] = np.arange(count)
    return program


def upward_rank(program: Program) -> NDArray[np.float64]:
    """Length of the longest way from each operation to the end, with mean costs and mean transfers, shape (n,).

    HEFT's rank (Topcuoglu et al., IEEE TPDS 13(3), 2002, equation 5).
    """
    count, devices = program.cost.shape
    cost = np.where(np.isinf(program.cost), np.nan, program.cost)
    mean = np.nanmean(cost, axis=1)
    other = ~np.eye(devices, dtype=bool)
    per_amount = float((1.0 / program.speed)[other].mean()) if devices > 1 else 0.0
    latency = float(program.latency[other].mean()) if devices > 1 else 0.0
    rank = np.zeros(count)
    for node in execution_order(program)[::-1]:
        edges = slice(program.edge_start[node], program.edge_start[node + 1])
        after = program.amount[edges] * per_amount + latency + rank[program.consumer[edges]]
        rank[node] = mean[node] + max(after, default=0.0)
    return rank


def execution_order(program: Program) -> list[int]:
    """A topological order, first in first out."""
    missing = program.missing.tolist()
    order = [node for node, inputs in enumerate(missing) if not inputs]
    for node in order:
        for child in program.consumer[program.edge_start[node] : program.edge_start[node + 1]].tolist():
            missing[child] -= 1
            if not missing[child]:
                order.append(child)
    return order
