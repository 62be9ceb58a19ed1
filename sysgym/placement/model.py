"""Operation graphs: what is placed.

An `OpGraph` is a directed acyclic graph of operations as columns. A placement is an integer vector, the device of every
operation. Times are in the graph's own unit (`time_unit`), sizes in bytes; a cluster speaks of seconds and bytes per
second and is converted where the two meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import GraphError, SettingError, require_known
from sysgym.placement.cluster import Cluster, Device

UNITS_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}
CONTROL = -1
"""Output number of an edge that carries no bytes."""


@dataclass(frozen=True)
class OpGraph:
    """A computation graph of n operations and e edges as columns; immutable.

    Attributes:
        node_ids: The file's own ids, in its order, which breaks ties everywhere.
        cost: Run time on a kind (or model) of device, shape (n,) each; infinite where unsupported.
        edges: int64, shape (e, 3): producer, which of its outputs (`CONTROL` carries nothing), consumer.
        output_start: int64, shape (n + 1,): outputs of operation v are output_start[v] to output_start[v + 1] - 1.
        output_bytes: Size of every output.
        persistent_bytes: Weights and whatever stays, shape (n,).
        temporary_bytes: Held while it runs, shape (n,).
        colour: int64, shape (n,): operations of a colour share a device; numbered 0, 1, ... by first appearance.
        is_backward: bool, shape (n,).
        host_transfer: Time to move an operation's output to or from host memory, shape (n,), where the file gives
            times instead of bytes; else None.
        backward_part: How much of the cost is a backward pass, where one operation stands for both.
        names: Names for people.
        module_path: Where in a model's source tree an operation belongs, or "".
        time_unit: "s", "ms" or "us".
        cluster: The devices that the file names, or None.
        source: Where the graph comes from.
    """

    node_ids: tuple[Any, ...]
    cost: Mapping[str, NDArray[np.float64]]
    edges: NDArray[np.int64]
    output_start: NDArray[np.int64]
    output_bytes: NDArray[np.float64]
    persistent_bytes: NDArray[np.float64]
    temporary_bytes: NDArray[np.float64]
    colour: NDArray[np.int64]
    is_backward: NDArray[np.bool_]
    host_transfer: NDArray[np.float64] | None = None
    backward_part: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()
    module_path: tuple[str, ...] = ()
    time_unit: str = "ms"
    cluster: Cluster | None = None
    source: str = "graph"

    def __post_init__(self) -> None:
        for value in (*self.cost.values(), *vars(self).values()):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        require_known("time unit", self.time_unit, UNITS_PER_SECOND)
        self._check()

    def _check(self) -> None:
        count = len(self.node_ids)
        if not count:
            raise GraphError(f"{self.source}: the graph has 0 operations; it needs at least 1")
        if len(set(self.node_ids)) < count:
            twice = next(node for node in self.node_ids if self.node_ids.count(node) > 1)
            raise GraphError(f"{self.source}: node {twice!r} is listed twice; ids must be unique")
        columns = {f"cost on {kind}": column for kind, column in self.cost.items()}
        columns |= {"persistent bytes": self.persistent_bytes, "temporary bytes": self.temporary_bytes}
        if self.host_transfer is not None:
            columns["transfer time"] = self.host_transfer
        owner = np.repeat(np.arange(count), np.diff(self.output_start))
        for what, column, nodes in [*((name, column, np.arange(count)) for name, column in columns.items()),
                                    ("output bytes", self.output_bytes, owner)]:  # fmt: skip
            wrong = np.isnan(column) | (column < 0)
            if not what.startswith("cost"):
                wrong |= np.isinf(column)
            if wrong.any():
                place = int(np.flatnonzero(wrong)[0])
                raise GraphError(f"{self.source}: node {self.node_ids[nodes[place]]!r} has {what} {column[place]}; "
                                 "it must be a number of at least 0")  # fmt: skip
        topological_order(self)

    def __len__(self) -> int:
        return len(self.node_ids)

    @property
    def carries(self) -> NDArray[np.bool_]:
        """Which edges carry an output, shape (e,): all but those of control."""
        carrying: NDArray[np.bool_] = self.edges[:, 1] != CONTROL
        return carrying

    @property
    def outputs_total(self) -> NDArray[np.float64]:
        """Bytes of all outputs of each operation, shape (n,)."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.output_start))
        return np.bincount(owner, weights=self.output_bytes, minlength=len(self)).astype(np.float64)

    def costs_on(self, cluster: Cluster) -> NDArray[np.float64]:
        """Run time of every operation on every device, shape (n, D); infinite where unsupported.

        A device's model is looked up first, then its kind; "gpu" and "accelerator" stand for one another.

        Raises:
            GraphError: The graph has no costs for a kind of device in the cluster.
        """
        columns = []
        for device in cluster.devices:
            twin = {"gpu": "accelerator", "accelerator": "gpu"}.get(device.kind, device.kind)
            key = next((key for key in (device.model, device.kind, twin) if key in self.cost), None)
            if key is None:
                raise GraphError(f"{self.source}: no costs for device {device.name} of kind {device.kind}; "
                                 f"the graph has {', '.join(self.cost)}")  # fmt: skip
            columns.append(self.cost[key])
        return np.column_stack(columns)

    def costs_on_kind(self, kind: str) -> NDArray[np.float64]:
        """Run time of every operation on one kind of device, shape (n,); see `costs_on`."""
        return self.costs_on(Cluster((Device(kind, kind),)))[:, 0]

    def transfer_times(self, cluster: Cluster) -> NDArray[np.float64]:
        """Time to move each operation's outputs between an accelerator and host memory, shape (n,)."""
        if self.host_transfer is not None:
            return self.host_transfer
        return self.outputs_total / (cluster.host_bandwidth / UNITS_PER_SECOND[self.time_unit])

    def assignment_of(self, assignment: Any, cluster: Cluster) -> NDArray[np.int64]:
        """A user's assignment as int64 of shape (n,).

        Raises:
            SettingError: Wrong length, or a number that is no device.
        """
        given = np.asarray(assignment)
        if given.shape != (len(self),):
            raise SettingError(f"assignment has shape {given.shape}; it needs one device for each of {len(self)} nodes")
        if given.dtype.kind not in "iu":
            raise SettingError(f"assignment holds {given.dtype} values; it must hold device numbers")
        wrong = np.flatnonzero((given < 0) | (given >= len(cluster)))
        if len(wrong):
            node = int(wrong[0])
            raise SettingError(f"assignment puts node {self.node_ids[node]!r} on device {given[node]}; "
                               f"devices are 0 to {len(cluster) - 1}")  # fmt: skip
        return given.astype(np.int64)


def build_graph(
    cost: Mapping[str, Sequence[float] | NDArray[np.float64]],
    edges: Sequence[tuple[int, int]] | Sequence[tuple[int, int, int]] | NDArray[np.int64],
    output_bytes: Sequence[float] | Sequence[Sequence[float]] | NDArray[np.float64] | None = None,
    *,
    node_ids: Sequence[Any] | None = None,
    colour: Sequence[Any] | None = None,
    **columns: Any,
) -> OpGraph:
    """Build a graph from plain lists.

    Args:
        cost: Run time by kind of device.
        edges: (producer, consumer) or (producer, output, consumer), by position in the lists.
        output_bytes: One number an operation, or a list of output sizes an operation; 0 when left out.
        node_ids: Ids; positions when left out.
        colour: Colocation class of each operation, any hashable values; None entries are alone.
        **columns: Other fields of `OpGraph`.

    Raises:
        GraphError: Cycle, dangling edge, wrong cost.

    >>> chain = build_graph({"gpu": [1.0, 2.0]}, [(0, 1)], [8.0, 0.0])
    >>> len(chain), chain.edges.tolist()
    (2, [[0, 0, 1]])
    """
    table = {kind: np.array(column, dtype=np.float64) for kind, column in cost.items()}
    if not table:
        raise GraphError(f"{columns.get('source', 'graph')}: the graph has no costs; give them for at least one kind")
    count = len(next(iter(table.values())))
    sizes = [0.0] * count if output_bytes is None else list(output_bytes)
    outputs = [list(np.atleast_1d(np.asarray(size, dtype=np.float64))) for size in sizes]
    triples = [(e[0], 0, e[1]) if len(e) == 2 else tuple(e) for e in edges]
    flat = np.array([size for of_node in outputs for size in of_node], dtype=np.float64)
    for name, dtype in (("persistent_bytes", float), ("temporary_bytes", float), ("is_backward", bool)):
        columns[name] = np.array(columns.get(name, np.zeros(count)), dtype=dtype)
    lengths = {len(column) for column in table.values()} | {len(outputs)} | {
        len(columns[name]) for name in ("persistent_bytes", "temporary_bytes", "is_backward")
    }  # fmt: skip
    if len(lengths) > 1:
        raise GraphError(f"{columns.get('source', 'graph')}: columns have lengths {sorted(lengths)}; they must agree")
    return OpGraph(
        node_ids=tuple(range(count)) if node_ids is None else tuple(node_ids),
        cost=table,
        edges=np.array(triples, dtype=np.int64).reshape(-1, 3),
        output_start=np.concatenate([[0], np.cumsum([len(sizes) for sizes in outputs])]).astype(np.int64),
        output_bytes=flat,
        colour=_numbered(colour, count),
        **columns,
    )


def _numbered(colour: Sequence[Any] | None, count: int) -> NDArray[np.int64]:
    """Colours as 0, 1, ... by first appearance; None is a colour of its own."""
    numbers: dict[Any, int] = {}
    values = [None] * count if colour is None else list(colour)
    keys = [("own", place) if value is None else ("class", value) for place, value in enumerate(values)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def topological_order(graph: OpGraph) -> NDArray[np.int64]:
    """Operations so that producers come before consumers; among the free ones the first listed (FIFO), int64 (n,).

    Raises:
        GraphError: An edge dangles, or the graph has a cycle, whose nodes are named.
    """
    count = len(graph)
    edges = graph.edges
    dangling = np.flatnonzero(((edges[:, [0, 2]] < 0) | (edges[:, [0, 2]] >= count)).any(axis=1))
    if len(dangling):
        raise GraphError(f"{graph.source}: edge {edges[dangling[0]].tolist()} names an operation that is not among "
                         f"the {count} listed")  # fmt: skip
    outputs = np.diff(graph.output_start)[edges[:, 0]]
    absent = np.flatnonzero((edges[:, 1] >= outputs) | (edges[:, 1] < CONTROL))
    if len(absent):
        producer, output, _ = edges[absent[0]].tolist()
        raise GraphError(f"{graph.source}: node {graph.node_ids[producer]!r} has no output {output}")
    children: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for producer, _, consumer in edges.tolist():
        children[producer].append(consumer)
        missing[consumer] += 1
    order = [node for node in range(count) if not missing[node]]
    for node in order:
        for child in children[node]:
            missing[child] -= 1
            if not missing[child]:
                order.append(child)
    if len(order) < count:
        left = set(range(count)) - set(order)
        names = [repr(graph.node_ids[node]) for node in _cycle(children, left)]
        raise GraphError(f"{graph.source}: the graph has a cycle, {' -> '.join(names)}; remove one of its edges")
    return np.array(order, dtype=np.int64)


def _cycle(children: list[list[int]], left: set[int]) -> list[int]:
    """A cycle among the nodes that no topological order reaches, its first node repeated at the end."""
    parents: dict[int, int] = {}
    for node in left:
        for child in children[node]:
            if child in left:
                parents[child] = node
    node = next(iter(sorted(left & parents.keys())))
    path: list[int] = []
    while node not in path:
        path.append(node)
        node = parents[node]
    cycle = path[path.index(node) :][::-1]
    first = cycle.index(min(cycle))
    cycle = cycle[first:] + cycle[:first]
    return [*cycle, cycle[0]]
