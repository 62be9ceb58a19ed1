"""Operation graphs and clusters: what is placed, and where.

An `OpGraph` is a directed acyclic graph of operations as columns; a `Cluster` is a list of devices with the links
between them. A placement is an integer vector, the device of every operation. Times are in the graph's own unit
(`time_unit`), sizes in bytes; a cluster speaks of seconds and bytes per second and is converted where the two meet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import GraphError, SettingError, UnknownNameError, require_known, require_range

UNITS_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}
KINDS = ("accelerator", "gpu", "cpu")
CONTROL = -1
"""Output number of an edge that carries no bytes."""

GIB = 2.0**30


@dataclass(frozen=True)
class DeviceModel:
    """What a data sheet says of a device: memory in bytes, dense half-precision FLOP/s, memory bandwidth in bytes/s."""

    kind: str
    memory_bytes: float
    flops: float
    memory_bandwidth: float


DEVICE_MODELS: Mapping[str, DeviceModel] = {
    "K80": DeviceModel("gpu", 12 * GIB, 4.1e12, 2.4e11),
    "P40": DeviceModel("gpu", 24 * GIB, 1.18e13, 3.46e11),
    "T4": DeviceModel("gpu", 16 * GIB, 6.5e13, 3.2e11),
    "V100": DeviceModel("gpu", 16 * GIB, 1.25e14, 9.0e11),
    "A10": DeviceModel("gpu", 24 * GIB, 1.25e14, 6.0e11),
    "A100": DeviceModel("gpu", 80 * GIB, 3.12e14, 2.039e12),
    "H100": DeviceModel("gpu", 80 * GIB, 9.89e14, 3.35e12),
    "H200": DeviceModel("gpu", 141 * GIB, 9.89e14, 4.8e12),
    "cpu": DeviceModel("cpu", float("inf"), 1e12, 1e11),
}
"""Devices that a cluster's text may name; vendors' data sheets, and a round figure for a CPU socket."""


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: Unique in its cluster.
        kind: "accelerator", "gpu" or "cpu"; a CPU computes in host memory and pays for no transfer in `max_load`.
        memory_bytes: How much it holds; infinite where it doesn't matter.
        model: A key of a graph's cost table that is preferred to the kind, such as "A100".
    """

    name: str
    kind: str = "accelerator"
    memory_bytes: float = float("inf")
    model: str = ""

    def __post_init__(self) -> None:
        require_known("device kind", self.kind, KINDS)
        require_range(f"memory of device {self.name}", self.memory_bytes, 0.0)


@dataclass(frozen=True)
class Cluster:
    """Devices and their links.

    Attributes:
        devices: At least one.
        bandwidth: Bytes/s from device to device, shape (D, D), or one number for every pair.
        latency: Seconds before a transfer's first byte, shape (D, D), or one number.
        host_bandwidth: Bytes/s between a device and host memory, where transfers go through it.
    """

    devices: tuple[Device, ...]
    bandwidth: NDArray[np.float64] = field(default_factory=lambda: np.array(1.6e10))
    latency: NDArray[np.float64] = field(default_factory=lambda: np.array(0.0))
    host_bandwidth: float = 1.6e10

    def __post_init__(self) -> None:
        if not self.devices:
            raise SettingError("a cluster has 0 devices; it needs at least 1")
        object.__setattr__(self, "devices", tuple(self.devices))
        names = [device.name for device in self.devices]
        if len(set(names)) < len(names):
            raise SettingError(f"two devices of the cluster are called {max(names, key=names.count)!r}; rename one")
        for name, low in (("bandwidth", 0.0), ("latency", 0.0)):
            object.__setattr__(self, name, self._matrix(name, getattr(self, name), low))
        require_range("host_bandwidth", self.host_bandwidth, 0.0, open_low=True)

    def _matrix(self, name: str, value: Any, low: float) -> NDArray[np.float64]:
        size = len(self.devices)
        given = np.asarray(value, dtype=np.float64)
        if given.shape not in ((), (size, size)):
            raise SettingError(f"{name} has shape {given.shape}; it must be one number or {(size, size)}")
        matrix = np.broadcast_to(given, (size, size)).copy()
        np.fill_diagonal(matrix, np.inf if name == "bandwidth" else 0.0)
        if np.isnan(matrix).any() or (matrix < low).any() or (name == "bandwidth" and (matrix == 0).any()):
            raise SettingError(f"{name} holds {matrix.min()}; every entry must be above 0" if name == "bandwidth"
                               else f"{name} holds {matrix.min()}; every entry must be at least 0")  # fmt: skip
        matrix.flags.writeable = False
        return matrix

    def __len__(self) -> int:
        return len(self.devices)

    def of_kind(self, *kinds: str) -> list[int]:
        """Numbers of the devices of the given kinds, in order."""
        return [number for number, device in enumerate(self.devices) if device.kind in kinds]

    @property
    def fast_devices(self) -> list[int]:
        """Numbers of the accelerators and GPUs, or of all devices where there is none."""
        return self.of_kind("accelerator", "gpu") or list(range(len(self)))

    @property
    def pays_transfers(self) -> NDArray[np.bool_]:
        """Which devices pay for moving data to and from host memory, shape (D,): all but CPUs."""
        return np.array([device.kind != "cpu" for device in self.devices])

    @property
    def memory(self) -> NDArray[np.float64]:
        """Memory caps in bytes, shape (D,)."""
        return np.array([device.memory_bytes for device in self.devices])

    @classmethod
    def uniform(
        cls, count: int, kind: str = "gpu", memory_bytes: float = float("inf"), cpus: int = 0, **links: Any
    ) -> Cluster:
        """A cluster of `count` equal devices, then `cpus` CPUs.

        >>> [device.name for device in Cluster.uniform(2, cpus=1).devices]
        ['gpu0', 'gpu1', 'cpu0']
        """
        devices = [Device(f"{kind}{i}", kind, memory_bytes) for i in range(count)]
        return cls(tuple(devices + [Device(f"cpu{i}", "cpu") for i in range(cpus)]), **links)

    @classmethod
    def parse(cls, text: str, **links: Any) -> Cluster:
        """A cluster from words such as "4xA100" or "2xH100+1xcpu"; see `DEVICE_MODELS`.

        Raises:
            SettingError: The text has another form, or names zero devices.
            UnknownNameError: A device model that is not known.

        >>> [device.name for device in Cluster.parse("2xA100+cpu").devices]
        ['A100-0', 'A100-1', 'cpu-0']
        """
        known = {name.lower(): name for name in DEVICE_MODELS}
        devices: list[Device] = []
        for word in re.split(r"[+,]", text):
            match = re.fullmatch(r"\s*(?:(\d+)\s*[xX*]\s*)?([A-Za-z][\w-]*)\s*", word)
            if match is None:
                raise SettingError(f"cluster {text!r}: {word.strip()!r} must read like 4xA100")
            model = known.get(match[2].lower())
            if model is None:
                raise UnknownNameError("device", match[2], DEVICE_MODELS)
            sheet, begin = DEVICE_MODELS[model], sum(device.model == model for device in devices)
            devices += [
                Device(f"{model}-{begin + i}", sheet.kind, sheet.memory_bytes, model) for i in range(int(match[1] or 1))
            ]
        return cls(tuple(devices), **links)

    @classmethod
    def hierarchical(cls, devices: Sequence[Device], levels: Sequence[tuple[int, float]], **links: Any) -> Cluster:
        """Devices in nested groups: `levels` are (group size, bandwidth in bytes/s) from the innermost outwards.

        Two devices talk at the bandwidth of the smallest group that holds both.
        """
        size = len(devices)
        total = int(np.prod([width for width, _ in levels]))
        if total != size:
            raise SettingError(f"levels hold {total} devices, the cluster has {size}; they must agree")
        bandwidth, span = np.full((size, size), np.inf), 1
        for width, speed in levels:
            group, wider = np.arange(size) // span, np.arange(size) // (span * width)
            between = (wider[:, None] == wider) & (group[:, None] != group)
            bandwidth[between] = speed
            span *= width
        return cls(tuple(devices), bandwidth=bandwidth, **links)


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
