"""Constructive heuristics: each looks at the graph once and names a device for every operation.

All of them place a whole colour class where its first operation goes, skip devices that don't support it or have no
room left, and use CPUs like other devices; where nothing has room, the device with the most is taken and the caller
finds the violation. Sources: m-TOPO, m-ETF and m-SCT are Baechi's (Jeon et al., SoCC 2020), HEFT is Topcuoglu et al.'s
(IEEE TPDS 13(3), 2002), the greedy fill is that of Tarnawski et al. (NeurIPS 2020, latency).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import block_array, coo_array
from scipy.sparse.csgraph import connected_components

from sysgym.core.compiled import compiled
from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import ExecutionRules, Program, execution_order, program_of, upward_rank
from sysgym.placement.model import OpGraph, topological_order


class _Room:
    """Which device a class may still take, while a heuristic places one operation after another."""

    def __init__(self, graph: OpGraph, cluster: Cluster) -> None:
        self.graph = graph
        count = int(graph.colour.max()) + 1
        self.size = np.bincount(graph.colour, weights=graph.persistent_bytes, minlength=count)
        self.cost = np.zeros((count, len(cluster)))
        np.add.at(self.cost, graph.colour, graph.costs_on(cluster))
        self.left = cluster.memory.copy()
        self.device = np.full(count, -1, dtype=np.int64)

    def allowed(self, node: int) -> NDArray[np.bool_]:
        """Devices that may run an operation, shape (D,)."""
        colour = self.graph.colour[node]
        placed, devices = int(self.device[colour]), np.arange(len(self.left))
        if placed >= 0:
            return np.equal(devices, placed)
        fits: NDArray[np.bool_] = np.isfinite(self.cost[colour]) & (self.left >= self.size[colour])
        if fits.any():
            return fits
        supported = np.isfinite(self.cost[colour])
        return np.equal(devices, int(np.where(supported, self.left, -np.inf).argmax()))

    def allowed_of(self, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Devices that may run each of several operations, shape (nodes, D); as `allowed`, at once."""
        colours = self.graph.colour[nodes]
        supported = np.isfinite(self.cost[colours])
        fits: NDArray[np.bool_] = supported & (self.left >= self.size[colours][:, None])
        roomiest = np.where(supported, self.left, -np.inf).argmax(axis=1)
        nowhere = ~fits.any(axis=1)
        fits[nowhere, roomiest[nowhere]] = True
        placed = self.device[colours]
        fits[placed >= 0] = False
        fits[placed >= 0, placed[placed >= 0]] = True
        return fits

    def place(self, node: int, device: int) -> None:
        """Put an operation, and its class, on a device."""
        colour = self.graph.colour[node]
        if self.device[colour] < 0:
            self.device[colour] = device
            self.left[device] -= self.size[colour]

    def assignment(self) -> NDArray[np.int64]:
        """Device of every operation."""
        return self.device[self.graph.colour]


def m_topo(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Fill device after device in topological order up to an equal share of the memory; int64 (n,).

    The share is the mean memory of a device, rounded down, plus the largest operation's; an operation's memory is
    what it keeps, its temporaries and its outputs.
    """
    needs = graph.persistent_bytes + graph.temporary_bytes + graph.outputs_total
    fast = cluster.fast_devices
    share = np.floor(needs.sum() / len(fast)) + needs.max()
    room, filled, at = _Room(graph, cluster), 0.0, 0
    for node in topological_order(graph).tolist():
        allowed = room.allowed(node)
        if at + 1 < len(fast) and (filled + needs[node] > share or not allowed[fast[at]]):
            at, filled = at + 1, 0.0
        device = fast[at] if allowed[fast[at]] else int(allowed.argmax())
        filled += needs[node]
        room.place(node, device)
    return room.assignment()


def equal_split(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Equally many operations of the topological order on each accelerator: what a person does first."""
    fast = cluster.fast_devices
    room = _Room(graph, cluster)
    for place, node in enumerate(topological_order(graph).tolist()):
        allowed = room.allowed(node)
        wanted = fast[place * len(fast) // len(graph)]
        room.place(node, wanted if allowed[wanted] else int(allowed.argmax()))
    return room.assignment()


def round_robin(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """The operations of the topological order in turn over all devices."""
    room, size = _Room(graph, cluster), len(cluster)
    for place, node in enumerate(topological_order(graph).tolist()):
        allowed = room.allowed(node)
        turns = [(place + shift) % size for shift in range(size)]
        room.place(node, next(device for device in turns if allowed[device]))
    return room.assignment()


def one_device(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Everything on the first device that has room for it, and the rest on the next ones."""
    room = _Room(graph, cluster)
    for node in topological_order(graph).tolist():
        room.place(node, int(room.allowed(node).argmax()))
    return room.assignment()


def cpu_only(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Everything that a CPU supports on the first one; as `one_device` where there is none."""
    cpus = cluster.of_kind("cpu")
    room = _Room(graph, cluster)
    for node in topological_order(graph).tolist():
        allowed = room.allowed(node)
        room.place(node, cpus[0] if cpus and allowed[cpus[0]] else int(allowed.argmax()))
    return room.assignment()


def greedy(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Fill accelerators one after another up to their memory in a last-in-first-out topological order.

    Blocks are colour classes, fused where they form a cycle; what is larger than an accelerator, and what is left
    when all are full, goes to the CPU.
    """
    block_of = _acyclic_blocks(graph)
    count = int(block_of.max()) + 1
    size = np.bincount(block_of, weights=graph.persistent_bytes, minlength=count)
    cost = np.zeros((count, len(cluster)))
    np.add.at(cost, block_of, graph.costs_on(cluster))
    fast, cpus = cluster.of_kind("accelerator", "gpu"), cluster.of_kind("cpu")
    spare = cpus[0] if cpus else fast[-1]
    device, at, held = np.full(count, spare, dtype=np.int64), 0, 0.0
    for block in _stack_order(graph, block_of, count):
        if not fast or not np.isfinite(cost[block, fast[min(at, len(fast) - 1)]]):
            continue
        if cpus and size[block] > cluster.memory[fast].max():
            continue
        while at < len(fast) and held + size[block] > cluster.memory[fast[at]]:
            at, held = at + 1, 0.0
        if at == len(fast):
            break
        device[block] = fast[at]
        held += size[block]
    return device[block_of]


def _acyclic_blocks(graph: OpGraph) -> NDArray[np.int64]:
    """Colours, those on a cycle of colours fused; numbered by the smallest node."""
    colours = int(graph.colour.max()) + 1
    ends = graph.colour[graph.edges[:, [0, 2]]]
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(colours, colours))
    _, fused = connected_components(links.tocsr(), directed=True, connection="strong")
    numbers: dict[int, int] = {}
    by_id = sorted(range(len(graph)), key=lambda node: (str(type(graph.node_ids[node])), graph.node_ids[node]))
    for node in by_id:
        numbers.setdefault(int(fused[graph.colour[node]]), len(numbers))
    return np.array([numbers[part] for part in fused[graph.colour].tolist()], dtype=np.int64)


def _stack_order(graph: OpGraph, block_of: NDArray[np.int64], count: int) -> list[int]:
    """Blocks in topological order, last in first out, children in the order of the file's edges."""
    children: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for producer, _, consumer in graph.edges.tolist():
        a, b = int(block_of[producer]), int(block_of[consumer])
        if a != b:
            children[a].append(b)
            missing[b] += 1
    stack, order = [block for block in range(count) if not missing[block]], []
    while stack:
        block = stack.pop()
        order.append(block)
        for child in children[block]:
            missing[child] -= 1
            if not missing[child]:
                stack.append(child)
    return order


class _Arrivals:
    """When inputs would arrive, by a dry run without waiting for channels."""

    def __init__(self, program: Program) -> None:
        self.program = program
        count = len(program.cost)
        self.producers: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for producer in range(count):
            for edge in range(program.edge_start[producer], program.edge_start[producer + 1]):
                self.producers[program.consumer[edge]].append((producer, edge))

    def at(self, node: int, device_of: NDArray[np.int64], end: NDArray[np.float64]) -> NDArray[np.float64]:
        """Arrival of an operation's last input on each device, shape (D,)."""
        program, latest = self.program, np.zeros(self.program.cost.shape[1])
        for producer, edge in self.producers[node]:
            source = device_of[producer]
            times = program.latency[source] + program.amount[edge] / program.speed[source]
            times[source] = 0.0
            np.maximum(latest, end[producer] + times, out=latest)
        return latest


def m_etf(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Earliest task first: again and again the ready operation and the device with the smallest start; int64 (n,)."""
    return _earliest_first(graph, cluster, np.full(len(graph), -1, dtype=np.int64))


def m_sct(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Small communication times: as `m_etf`, but a device waits for the favourite child of what it has run; int64 (n,).

    Favourites come from a linear programme; while one could still arrive, only it may start on its parent's device.
    """
    return _earliest_first(graph, cluster, favourite_children(program_of(graph, cluster, ExecutionRules())))


def _earliest_first(graph: OpGraph, cluster: Cluster, favourite: NDArray[np.int64]) -> NDArray[np.int64]:
    """Again and again the ready operation and device with the smallest start; devices wait for favourites."""
    program, room = program_of(graph, cluster, ExecutionRules()), _Room(graph, cluster)
    arrivals, rank = _Arrivals(program), np.empty(len(graph), dtype=np.int64)
    rank[execution_order(program)] = np.arange(len(graph))
    device_of, end = np.full(len(graph), -1, dtype=np.int64), np.zeros(len(graph))
    free, missing = np.zeros(len(cluster)), program.missing.copy()
    awaited, awake = np.full(len(cluster), -1, dtype=np.int64), np.zeros(len(cluster))
    ready = sorted(np.flatnonzero(missing == 0).tolist(), key=lambda node: rank[node])
    arrival = np.zeros((len(graph), len(cluster)))
    while ready:
        waiting = np.array(ready, dtype=np.int64)
        starts = np.maximum(arrival[waiting], np.where(waiting[:, None] == awaited, free, np.maximum(free, awake)))
        starts[~(room.allowed_of(waiting) & np.isfinite(program.cost[waiting]))] = np.inf
        which, device = np.unravel_index(int(starts.argmin()), starts.shape)
        node = ready.pop(int(which))
        room.place(node, int(device))
        device_of[node], end[node] = device, starts[which, device] + program.cost[node, device]
        free[device] = end[node]
        awaited[device], awake[device] = favourite[node], 0.0
        for edge in range(program.edge_start[node], program.edge_start[node + 1]):
            child = int(program.consumer[edge])
            if child == favourite[node]:
                awake[device] = end[node] + program.amount[edge] / _usual_speed(program)
            missing[child] -= 1
            if not missing[child]:
                arrival[child] = arrivals.at(child, device_of, end)
                insort(ready, child, key=lambda each: rank[each])
    return room.assignment()


def _usual_speed(program: Program) -> float:
    """Mean speed between two different devices; infinite where there is one."""
    between = program.speed[np.isfinite(program.speed)]
    return float(between.mean()) if len(between) else np.inf


def favourite_children(program: Program, time_limit: float = 5.0) -> NDArray[np.int64]:
    """At most one child of each operation that should follow it on its device, or -1; int64 (n,).

    The relaxation of Hanen and Munier (1995): x = 0 where the child is the favourite, else it waits for the transfer;
    an operation has one favourite child and is that of one parent at most; the last end is minimised. x below 1/2
    counts as 0. Solved by HiGHS; where that takes longer than `time_limit`, the costliest transfers are taken.
    """
    count, edges = len(program.cost), len(program.consumer)
    producer = np.repeat(np.arange(count), np.diff(program.edge_start))
    wait = program.amount / _usual_speed(program)
    least = np.where(np.isfinite(program.cost), program.cost, np.inf).min(axis=1)
    scale = 1.0 / max(float(least.sum() + wait.sum()), 1e-300)
    number = np.arange(edges)
    later = coo_array((
        np.concatenate([np.ones(edges), -np.ones(edges), -wait * scale]),
        (np.tile(number, 3), np.concatenate([program.consumer, producer, count + number])),
    ), shape=(edges, count + edges + 1))  # fmt: skip
    last = coo_array((
        np.concatenate([np.ones(count), -np.ones(count)]),
        (np.tile(np.arange(count), 2), np.concatenate([np.full(count, count + edges), np.arange(count)])),
    ), shape=(count, count + edges + 1))  # fmt: skip
    single = [
        coo_array((np.ones(edges), (ends, count + number)), shape=(count, count + edges + 1))
        for ends in (producer, program.consumer)
    ]
    degrees = [np.bincount(ends, minlength=count) for ends in (producer, program.consumer)]
    rows = block_array([[later], [last], *([each] for each in single)], format="csr")
    lower = np.concatenate([least[producer] * scale, least * scale, *(np.maximum(each - 1, 0) for each in degrees)])
    objective = np.concatenate([np.zeros(count + edges), [1.0]])
    upper = np.concatenate([np.full(count, np.inf), np.ones(edges), [np.inf]])
    answer = linprog(objective, -rows, -lower, bounds=np.column_stack([np.zeros(len(upper)), upper]), method="highs",
                     options={"time_limit": time_limit})  # fmt: skip
    relaxed = answer.x[count : count + edges] if answer.x is not None else np.zeros(edges)
    favourite, taken = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=bool)
    for edge in np.lexsort((number, -wait, relaxed)).tolist():
        a, b = int(producer[edge]), int(program.consumer[edge])
        if relaxed[edge] < 0.5 and favourite[a] < 0 and not taken[b]:
            favourite[a], taken[b] = b, True
    return favourite


def heft(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Heterogeneous earliest finish time, with insertion into idle gaps; int64 (n,)."""
    program, room = program_of(graph, cluster, ExecutionRules(channel="none")), _Room(graph, cluster)
    arrivals, device_of, end = _Arrivals(program), np.full(len(graph), -1, dtype=np.int64), np.zeros(len(graph))
    begins, stops = np.empty((len(cluster), len(graph))), np.empty((len(cluster), len(graph)))
    spans = np.zeros(len(cluster), dtype=np.int64)
    rank, place = upward_rank(program), np.empty(len(graph), dtype=np.int64)
    place[execution_order(program)] = np.arange(len(graph))
    for node in np.lexsort((place, -rank)).tolist():
        arrival = arrivals.at(node, device_of, end)
        allowed = np.flatnonzero(room.allowed(node) & np.isfinite(program.cost[node])).tolist()
        allowed = allowed or [int(np.isfinite(program.cost[node]).argmax())]
        starts = {
            each: _gap(begins[each], stops[each], spans[each], arrival[each], program.cost[node, each])
            for each in allowed
        }
        device = min(allowed, key=lambda each: starts[each] + program.cost[node, each])
        room.place(node, device)
        device_of[node], end[node] = device, starts[device] + program.cost[node, device]
        _occupy(begins[device], stops[device], spans, device, starts[device], float(end[node]))
    return room.assignment()


@compiled
def _gap(begins: NDArray[Any], stops: NDArray[Any], spans: int, ready: float, length: float) -> float:
    """Earliest start of a stretch of the given length among busy spans, which are sorted."""
    start = ready
    for k in range(np.searchsorted(stops[:spans], ready), spans):
        if start + length <= begins[k]:
            break
        start = max(start, stops[k])
    return start


@compiled
def _occupy(
    begins: NDArray[Any], stops: NDArray[Any], spans: NDArray[Any], device: int, begin: float, stop: float
) -> None:
    """Insert a busy span in its place."""
    k = spans[device]
    while k > 0 and (begins[k - 1] > begin or (begins[k - 1] == begin and stops[k - 1] > stop)):
        begins[k], stops[k] = begins[k - 1], stops[k - 1]
        k -= 1
    begins[k], stops[k] = begin, stop
    spans[device] += 1


CONSTRUCTIONS: Mapping[str, Callable[[OpGraph, Cluster], NDArray[np.int64]]] = {
    "m_topo": m_topo,
    "m_etf": m_etf,
    "m_sct": m_sct,
    "heft": heft,
    "greedy": greedy,
    "equal_split": equal_split,
    "round_robin": round_robin,
    "one_device": one_device,
    "cpu_only": cpu_only,
}
"""Heuristics by name."""
