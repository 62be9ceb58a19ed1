"""What a placement is worth, and what is wrong with it.

- `max_load` (throughput of a pipeline): the largest load of a device, scored on the original operations. An
  accelerator's load is its compute time, plus the transfer time of each operation outside that feeds one inside, plus
  that of each operation inside that feeds one outside, once each; an edge of control feeds nothing. A CPU computes in
  host memory and pays no transfer.
- `latency` (one sample): accelerators work in contiguous pieces, each of which loads, computes and stores as a whole;
  CPU cores are as many as needed.
- `makespan`: the event-driven execution of `execution`.

The first two follow Tarnawski et al., "Efficient algorithms for device placement of DNN graph operators", NeurIPS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_known
from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import ExecutionRules, Trace
from sysgym.placement.kernel import Evaluator
from sysgym.placement.model import OpGraph, topological_order

OBJECTIVES = ("max_load", "latency", "makespan")


@dataclass(frozen=True)
class Violation:
    """One reason why a placement is infeasible.

    Attributes:
        kind: "memory", "unsupported", "colocation" or "deadlock".
        message: One line for people.
        device: The device concerned, or -1.
        nodes: Ids of the operations concerned.
        excess_bytes: By how much a memory cap is exceeded.
    """

    kind: str
    message: str
    device: int = -1
    nodes: tuple[Any, ...] = ()
    excess_bytes: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """A scored placement.

    Attributes:
        objective: In the graph's time unit; infinite where it cannot run, else given even if infeasible.
        name: Which objective.
        loads: Load of each device (of `max_load`), shape (D,).
        memory_bytes: What stays on each device, shape (D,).
        violations: Why it is infeasible; empty if it is not.
        trace: The execution, for `makespan`.
    """

    objective: float
    name: str
    loads: NDArray[np.float64]
    memory_bytes: NDArray[np.float64]
    violations: tuple[Violation, ...]
    trace: Trace | None = None

    @property
    def feasible(self) -> bool:
        """Whether nothing is violated."""
        return not self.violations

    def __float__(self) -> float:
        return self.objective


def evaluate(
    graph: OpGraph,
    cluster: Cluster,
    assignment: Any,
    objective: str = "max_load",
    *,
    rules: ExecutionRules | None = None,
    serialise: bool = False,
) -> Evaluation:
    """Score a placement.

    Args:
        graph: What is placed.
        cluster: On what.
        assignment: Device of each of `graph.node_ids`, shape (n,).
        objective: "max_load", "latency" or "makespan".
        rules: How the graph runs, for "makespan".
        serialise: Whether, for "latency", the pieces of one accelerator run one after another, in order.

    Raises:
        UnknownNameError: No such objective.
        SettingError: The assignment has another length or names no device.

    >>> from sysgym.placement.model import build_graph
    >>> chain = build_graph({"gpu": [3.0, 4.0, 2.0, 3.0]}, [(0, 1), (1, 2), (2, 3)], host_transfer=np.full(4, 0.25))
    >>> evaluate(chain, Cluster.uniform(2), [0, 1, 1, 0]).objective
    6.5
    """
    require_known("objective", objective, OBJECTIVES)
    placed = graph.assignment_of(assignment, cluster)
    loads = device_loads(graph, cluster, placed)
    found = violations(graph, cluster, placed)
    memory = np.bincount(placed, weights=graph.persistent_bytes, minlength=len(cluster)).astype(np.float64)
    trace, value = None, float(loads.max())
    if objective == "latency":
        value = single_latency(latency_arrays(graph, cluster), placed, serialise)
        if np.isinf(value) and np.isfinite(loads).all():
            found.append(Violation("deadlock", "two pieces of different devices wait for one another"))
    elif objective == "makespan":
        trace = Evaluator(graph, cluster, rules).trace(placed)
        value = trace.makespan
    return Evaluation(value, objective, loads, memory, tuple(found), trace)


def device_loads(
    graph: OpGraph, cluster: Cluster, placed: NDArray[np.int64], of: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Load of every device, shape (D,).

    Args:
        graph: What is placed.
        cluster: On what.
        placed: Device of each operation.
        of: Only these operations count, with the transfers of their outputs; forward and backward loads are told
            apart that way.
    """
    devices = len(cluster)
    counted = np.ones(len(graph), dtype=bool) if of is None else of
    cost = graph.costs_on(cluster)[np.arange(len(graph)), placed]
    loads = np.bincount(placed[counted], weights=cost[counted], minlength=devices).astype(np.float64)
    producer, consumer = graph.edges[:, 0], graph.edges[:, 2]
    crossing = (placed[producer] != placed[consumer]) & counted[producer] & graph.carries
    producer, consumer = producer[crossing], consumer[crossing]
    pairs = np.concatenate([producer * devices + placed[producer], producer * devices + placed[consumer]])
    moved, device = np.divmod(np.unique(pairs), devices)
    paid = cluster.pays_transfers[device]
    transfer = graph.transfer_times(cluster)[moved[paid]]
    return loads + np.bincount(device[paid], weights=transfer, minlength=devices).astype(np.float64)


def violations(graph: OpGraph, cluster: Cluster, placed: NDArray[np.int64]) -> list[Violation]:
    """Everything that makes a placement infeasible: unsupported operations, split colours, memory."""
    found = []
    cost = graph.costs_on(cluster)[np.arange(len(graph)), placed]
    for device in np.unique(placed[np.isinf(cost)]).tolist():
        nodes = tuple(graph.node_ids[node] for node in np.flatnonzero(np.isinf(cost) & (placed == device)).tolist())
        text = f"{len(nodes)} operations are not supported on {cluster.devices[device].name}, first {nodes[0]!r}"
        found.append(Violation("unsupported", text, device, nodes))
    first = np.full(int(graph.colour.max()) + 1, -1, dtype=np.int64)
    first[graph.colour[::-1]] = placed[::-1]
    for colour in np.unique(graph.colour[first[graph.colour] != placed]).tolist():
        members = np.flatnonzero(graph.colour == colour)
        nodes = tuple(graph.node_ids[node] for node in members.tolist())
        text = f"colour class of {nodes[0]!r} is split over devices {np.unique(placed[members]).tolist()}"
        found.append(Violation("colocation", text, -1, nodes))
    held = np.bincount(placed, weights=graph.persistent_bytes, minlength=len(cluster))
    for device in np.flatnonzero(held > cluster.memory).tolist():
        excess = float(held[device] - cluster.memory[device])
        text = f"{cluster.devices[device].name} holds {held[device]:,.0f} bytes, {excess:,.0f} more than it can"
        found.append(Violation("memory", text, device, (), excess))
    return found


class LatencyArrays(NamedTuple):
    """A graph as the latency objective reads it: a topological order, edges by either end, costs, transfers.

    Edges at either end come with whether they carry an output.
    """

    order: NDArray[np.int64]
    pred_start: NDArray[np.int64]
    pred: NDArray[np.int64]
    pred_carries: NDArray[np.bool_]
    succ_start: NDArray[np.int64]
    succ: NDArray[np.int64]
    succ_carries: NDArray[np.bool_]
    cost: NDArray[np.float64]
    transfer: NDArray[np.float64]
    pays: NDArray[np.bool_]


def latency_arrays(graph: OpGraph, cluster: Cluster) -> LatencyArrays:
    """The arrays that `single_latency` takes."""
    producer, consumer, nodes = graph.edges[:, 0], graph.edges[:, 2], np.arange(len(graph) + 1)
    by_consumer, by_producer = np.argsort(consumer, kind="stable"), np.argsort(producer, kind="stable")
    return LatencyArrays(
        topological_order(graph),
        np.searchsorted(consumer[by_consumer], nodes).astype(np.int64),
        np.ascontiguousarray(producer[by_consumer]),
        graph.carries[by_consumer],
        np.searchsorted(producer[by_producer], nodes).astype(np.int64),
        np.ascontiguousarray(consumer[by_producer]),
        graph.carries[by_producer],
        graph.costs_on(cluster),
        np.ascontiguousarray(graph.transfer_times(cluster)),
        cluster.pays_transfers,
    )


@compiled
def _units(a: LatencyArrays, placed: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Number of the unit of each operation: an operation on a CPU is one, and so is a piece of an accelerator.

    The pieces of one accelerator follow one another in number.
    """
    count, devices = len(a.order), len(a.pays)
    unit = np.full(count, -1, dtype=np.int64)
    piece = np.zeros(count, dtype=np.int64)
    units = 0
    for device in range(devices):
        if not a.pays[device]:
            continue
        last = 0
        for v in a.order:
            inside = placed[v] == device
            level = 1 if inside else 0
            for k in range(a.pred_start[v], a.pred_start[v + 1]):
                u = a.pred[k]
                enters = 1 if inside and placed[u] != device else 0
                level = max(level, piece[u] + enters)
            piece[v] = level
            if inside:
                unit[v] = units + level - 1
                last = max(last, level)
        units += last
    for v in range(count):
        if unit[v] < 0:
            unit[v] = units
            units += 1
    return unit, units


@compiled
def single_latency(  # noqa: PLR0912, PLR0915  one walk over arrays that all its steps share
    a: LatencyArrays, placed: NDArray[Any], serialise: bool
) -> float:
    """Finish of the last unit; infinite where units wait for one another. O(D e) for D devices and e edges."""
    count = len(a.order)
    unit, units = _units(a, placed)
    work, start, waiting = np.zeros(units), np.zeros(units), np.zeros(units, dtype=np.int64)
    device_of = np.full(units, -1, dtype=np.int64)
    first, follow = np.full(units, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    for v in range(count):
        w = unit[v]
        device_of[w] = placed[v]
        follow[v] = first[w]
        first[w] = v
        work[w] += a.cost[v, placed[v]]
        leaves = False
        for k in range(a.succ_start[v], a.succ_start[v + 1]):
            other = unit[a.succ[k]]
            if other != w:
                leaves = leaves or a.succ_carries[k]
                waiting[other] += 1
        if leaves and a.pays[placed[v]]:
            work[w] += a.transfer[v]
    if serialise:
        for w in range(1, units):
            if device_of[w] == device_of[w - 1] and a.pays[device_of[w]]:
                waiting[w] += 1
    counted = np.full(count, -1, dtype=np.int64)
    stack = np.empty(units, dtype=np.int64)
    size = 0
    for w in range(units):
        if waiting[w] == 0:
            stack[size] = w
            size += 1
    done, latest = 0, 0.0
    while size > 0:
        size -= 1
        w = stack[size]
        done += 1
        v = first[w]
        while v >= 0:
            for k in range(a.pred_start[v], a.pred_start[v + 1]):
                u = a.pred[k]
                if unit[u] != w and counted[u] != w and a.pred_carries[k] and a.pays[device_of[w]]:
                    counted[u] = w
                    work[w] += a.transfer[u]
            v = follow[v]
        finish = start[w] + work[w]
        latest = max(latest, finish)
        v = first[w]
        while v >= 0:
            for k in range(a.succ_start[v], a.succ_start[v + 1]):
                other = unit[a.succ[k]]
                if other != w:
                    start[other] = max(start[other], finish)
                    waiting[other] -= 1
                    if waiting[other] == 0:
                        stack[size] = other
                        size += 1
            v = follow[v]
        after = w + 1
        if serialise and after < units and device_of[after] == device_of[w] and a.pays[device_of[w]]:
            start[after] = max(start[after], finish)
            waiting[after] -= 1
            if waiting[after] == 0:
                stack[size] = after
                size += 1
    return latest if done == units else np.inf
