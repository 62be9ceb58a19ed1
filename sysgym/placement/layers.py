"""Layers to be spread over devices, and what a stage of them costs, from the definition.

A `LayerGraph` lists layers in an order of execution. A stage is a contiguous run of it on a group of devices; each of
its layers has a strategy (`sharding.STRATEGIES`) and may be recomputed. `score_stage` adds up what `parallel` searches:

- A tensor enters and leaves a stage split by samples; inside, it is converted once to each state that a reader needs,
  its gradient once from each. A tensor that crosses a border costs both ends its bytes, forwards and back.
- Gradients are reduced over a channel of their own behind the last micro-batch's backward pass; `exposed` is what is
  left when that ends.
- A device holds its weights times `weight_copies` (gradient, optimizer), what each micro-batch in flight keeps, and the
  largest unit that is recomputed. A recomputed unit keeps only what other units read.
- Without a backward pass it holds its weights once, what enters the stage, and at each layer what that makes, what is
  still read by later layers of the stage, and what was made to be sent on; the layer that needs most counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import GraphError, SettingError
from sysgym.placement.cluster import Cluster, Device
from sysgym.placement.contraction import forward_groups
from sysgym.placement.model import UNITS_PER_SECOND, OpGraph
from sysgym.placement.sharding import WITH_WEIGHTS, WITHOUT_WEIGHTS, DeviceGroup, Strategy


@dataclass(frozen=True)
class LayerGraph:
    """n layers in an order of execution.

    Attributes:
        names: Unique.
        forward: Seconds of a micro-batch's forward on one device, by model or kind of device, shape (n,).
        backward: The same of its backward; all 0 for inference.
        weight_bytes: Shape (n,).
        output_bytes: Of the whole micro-batch's output, shape (n,).
        stash_bytes: What the backward needs of the layer for one micro-batch, its output included, shape (n,).
        edges: int64, shape (e, 2), from earlier to later layers.
        splittable: Whether a layer's features may be divided, bool, shape (n,).
        unit: Layers of a unit are recomputed together or not at all; int64, ascending, shape (n,).
        cuts: Where a stage may begin, besides 0; ascending.
        input_bytes: Of the micro-batch that enters layers without a producer.
        source: Where it comes from.
    """

    names: tuple[str, ...]
    forward: Mapping[str, NDArray[np.float64]]
    backward: Mapping[str, NDArray[np.float64]]
    weight_bytes: NDArray[np.float64]
    output_bytes: NDArray[np.float64]
    stash_bytes: NDArray[np.float64]
    edges: NDArray[np.int64]
    splittable: NDArray[np.bool_]
    unit: NDArray[np.int64]
    cuts: tuple[int, ...]
    input_bytes: float = 0.0
    source: str = "layers"

    def __post_init__(self) -> None:
        if not self.names:
            raise GraphError(f"{self.source}: there are 0 layers; at least 1 is needed")
        if len(self.edges) and (self.edges[:, 0] >= self.edges[:, 1]).any():
            raise GraphError(f"{self.source}: an edge leads backwards; list layers in an order of execution")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """Layers that read each layer's output."""
        return self._beside(0)

    @cached_property
    def producers(self) -> tuple[tuple[int, ...], ...]:
        """Layers whose output each layer reads."""
        return self._beside(1)

    def _beside(self, end: int) -> tuple[tuple[int, ...], ...]:
        found: list[set[int]] = [set() for _ in self.names]
        for edge in self.edges.tolist():
            found[edge[end]].add(edge[1 - end])
        return tuple(tuple(sorted(each)) for each in found)

    def choices(self, layer: int, devices: int) -> tuple[Strategy, ...]:
        """Strategies of a layer, data parallelism first; one device leaves only that."""
        named = WITH_WEIGHTS if self.weight_bytes[layer] > 0 else WITHOUT_WEIGHTS
        if devices == 1:
            return named[:1]
        if self.splittable[layer]:
            return named
        return tuple(own for own in named if {own.input, own.output} <= {"B", "R"} and own.input_gradient != "P")


class StageGroup(NamedTuple):
    """Devices low to high - 1 of a cluster as one group: layers' times, memory, ring, links to its neighbours."""

    low: int
    high: int
    forward: NDArray[np.float64]
    backward: NDArray[np.float64]
    memory: float
    ring: DeviceGroup
    before: tuple[float, float]
    behind: tuple[float, float]
    key: tuple[object, ...]


def stage_group(layers: LayerGraph, cluster: Cluster, low: int, high: int) -> StageGroup:
    """A group of consecutive devices, as slow as its slowest and as large as its smallest."""
    members = cluster.devices[low:high]
    forward = np.max([_of_device(layers.forward, device, layers.source) for device in members], axis=0)
    backward = np.max([_of_device(layers.backward, device, layers.source) for device in members], axis=0)
    inside = np.ix_(range(low, high), range(low, high))
    memory = min(device.memory_bytes for device in members)
    ring = DeviceGroup(high - low, float(cluster.latency[inside].max()), 1.0 / float(cluster.bandwidth[inside].min()))
    before = _link(cluster, low - 1, low)
    behind = _link(cluster, high - 1, high)
    models = tuple(sorted({(device.model, device.kind) for device in members}))
    key = (high - low, models, memory, ring, before, behind)
    return StageGroup(low, high, forward, backward, memory, ring, before, behind, key)


def _link(cluster: Cluster, a: int, b: int) -> tuple[float, float]:
    """Latency, and seconds a byte, between two devices; free where there is no such device."""
    if a < 0 or b >= len(cluster):
        return 0.0, 0.0
    return float(cluster.latency[a, b]), 1.0 / float(cluster.bandwidth[a, b])


def _of_device(table: Mapping[str, NDArray[np.float64]], device: Device, source: str) -> NDArray[np.float64]:
    twin = {"gpu": "accelerator", "accelerator": "gpu"}.get(device.kind, device.kind)
    for name in (device.model, device.kind, twin):
        if name in table:
            return table[name]
    raise GraphError(f"{source}: no costs for device {device.name} of kind {device.kind}; it has {', '.join(table)}")


@dataclass(frozen=True)
class Training:
    """What a plan assumes of training.

    Attributes:
        micro_batches: A batch has.
        weight_copies: Bytes held for each byte of weights: 4 are weights, gradients and two states of Adam.
        backward: Whether there is a backward pass; without one, nothing is kept or reduced.
    """

    micro_batches: int = 8
    weight_copies: float = 4.0
    backward: bool = True


class StageCost(NamedTuple):
    """Seconds of a micro-batch, seconds of gradient reduction behind the last backward, bytes on a device."""

    seconds: float
    exposed: float
    memory_bytes: float
    forward: float


def crossing_bytes(layers: LayerGraph, begin: int, end: int) -> tuple[float, float]:
    """Bytes of tensors that enter and that leave layers begin to end - 1, each once."""
    entering = {p for layer in range(begin, end) for p in layers.producers[layer] if p < begin}
    leaving = [layer for layer in range(begin, end) if any(reader >= end for reader in layers.readers[layer])]
    return float(layers.output_bytes[sorted(entering)].sum()), float(layers.output_bytes[leaving].sum())


def border_seconds(layers: LayerGraph, begin: int, end: int, group: StageGroup) -> float:
    """Seconds, one way, of what a stage sends to and receives from its neighbours."""
    entering, leaving = crossing_bytes(layers, begin, end)
    (wait_in, in_rate), (wait_out, out_rate) = group.before, group.behind
    arrive = wait_in + entering * in_rate / group.ring.devices if entering else 0.0
    return arrive + (wait_out + leaving * out_rate / group.ring.devices if leaving else 0.0)


def score_stage(
    layers: LayerGraph, begin: int, end: int, group: StageGroup, strategies: Sequence[Strategy],
    recomputed: Sequence[bool], alive: int, training: Training,
) -> StageCost:  # fmt: skip
    """Cost of layers begin to end - 1 on a group.

    Args:
        layers: All layers.
        begin: First layer.
        end: Behind the last one.
        group: The devices.
        strategies: Of these layers.
        recomputed: Whether each is recomputed; the same within a unit.
        alive: Micro-batches whose activations are held at once.
        training: What is assumed of it.
    """
    own = dict(zip(range(begin, end), strategies, strict=True))
    entering: dict[int, list[int]] = {}
    for layer in range(begin, end):
        for producer in layers.producers[layer]:
            if producer < begin:
                entering.setdefault(producer, []).append(layer)
    again = [layer for layer in own if recomputed[layer - begin]]
    forward, clock, channel = _stage_seconds(layers, own, group, entering, again, training)
    if not training.backward:
        needed = _inference_bytes(layers, own, group.ring, entering)
        return StageCost(float(forward), 0.0, needed, float(forward))
    clock += border_seconds(layers, begin, end, group)
    exposed = max(0.0, channel - clock) if clock < np.inf else 0.0
    held_bytes = _training_bytes(layers, own, group.ring, entering, again, alive, training)
    return StageCost(float(forward + clock), float(exposed), float(held_bytes), float(forward))


def _stage_seconds(
    layers: LayerGraph, own: Mapping[int, Strategy], group: StageGroup, entering: Mapping[int, Sequence[int]],
    again: Sequence[int], training: Training,
) -> tuple[float, float, float]:  # fmt: skip
    """Seconds forward with one border, backward without it, and when the last reduction of gradients ends."""
    ring, begin, end = group.ring, min(own), max(own) + 1
    forward, clock, channel = border_seconds(layers, begin, end, group), 0.0, 0.0
    for layer in range(end - 1, begin - 1, -1):
        to, back = leaving_conversions(layers, layer, own, end, ring)
        passed = group.forward[layer] * share(own[layer], ring)
        forward += to + passed
        clock += back + group.backward[layer] * share(own[layer], ring)
        clock += passed if layer in again else 0.0
        if not layers.producers[layer]:
            forward += ring.convert("B", own[layer].input, layers.input_bytes)
        if training.backward and own[layer].reduces:
            channel = max(channel, clock) + ring.reduce(float(layers.weight_bytes[layer]))
    for producer, readers in entering.items():
        size = float(layers.output_bytes[producer])
        forward += sum(ring.convert("B", state, size) for state in {own[reader].input for reader in readers})
        clock += sum(ring.convert(state, "B", size) for state in {own[reader].input_gradient for reader in readers})
    return forward, clock, channel


def _inference_bytes(
    layers: LayerGraph, own: Mapping[int, Strategy], ring: DeviceGroup, entering: Mapping[int, Sequence[int]]
) -> float:
    """Bytes on each device without a backward pass: weights, what enters, and the most that is needed at a layer."""
    end, sent, most = max(own) + 1, 0.0, 0.0
    memory = sum(
        float(layers.output_bytes[producer]) * max(held(own[reader].input, ring) for reader in readers)
        for producer, readers in entering.items()
    )
    for layer, mine in own.items():
        memory += float(layers.weight_bytes[layer]) * weight_share(mine, ring)
        if not layers.producers[layer]:
            memory += layers.input_bytes * held(mine.input, ring)
        most = max(most, sent + stash(layers, layer, mine, ring) + waiting_bytes(layers, layer, own, end, ring))
        sent += sent_bytes(layers, layer, mine, end, ring)
    return memory + most


def waiting_bytes(layers: LayerGraph, layer: int, own: Mapping[int, Strategy], end: int, ring: DeviceGroup) -> float:
    """Bytes that a device holds at a layer for it and later ones of the stage: made before, read nowhere behind it.

    Args:
        layers: All layers.
        layer: Which.
        own: Strategies of this layer and of all later ones of the stage that read something made before it.
        end: Behind the stage's last layer.
        ring: The devices.
    """
    shares: dict[int, float] = {}
    for reader, mine in own.items():
        if reader >= layer:
            for producer in layers.producers[reader]:
                if producer < layer and layers.readers[producer][-1] < end:
                    shares[producer] = max(shares.get(producer, 0.0), held(mine.input, ring))
    return sum(float(layers.output_bytes[producer]) * part for producer, part in shares.items())


def sent_bytes(layers: LayerGraph, layer: int, own: Strategy, end: int, ring: DeviceGroup) -> float:
    """Bytes of a layer's output that a device holds to the end of the stage, which later stages read, or the caller."""
    readers = layers.readers[layer]
    leaves = not readers or readers[-1] >= end
    return float(layers.output_bytes[layer]) * held(own.output, ring) if leaves else 0.0


def _training_bytes(
    layers: LayerGraph, own: Mapping[int, Strategy], ring: DeviceGroup, entering: Mapping[int, Sequence[int]],
    again: Sequence[int], alive: int, training: Training,
) -> float:  # fmt: skip
    """Bytes on each device: weights, what stays for the backward pass, and the largest unit that is recomputed."""
    stays = alive * sum(
        layers.output_bytes[producer] * max(held(own[reader].input, ring) for reader in readers)
        for producer, readers in entering.items()
    )
    memory, end = float(stays), max(own) + 1
    peaks: dict[int, float] = {}
    for layer, mine in own.items():
        memory += layers.weight_bytes[layer] * weight_share(mine, ring) * training.weight_copies
        if layer in again:
            memory += alive * kept_of_recomputed(layers, layer, mine, ring, end)
            unit = int(layers.unit[layer])
            peaks[unit] = peaks.get(unit, 0.0) + stash(layers, layer, mine, ring)
        else:
            memory += alive * stash(layers, layer, mine, ring)
        if not layers.producers[layer]:
            memory += alive * layers.input_bytes * held(mine.input, ring)
    return memory + max(peaks.values(), default=0.0)


def share(own: Strategy, ring: DeviceGroup) -> float:
    """Share of a layer's work that each device does."""
    return 1.0 / ring.devices if own.divides else 1.0


def weight_share(own: Strategy, ring: DeviceGroup) -> float:
    """Share of a layer's weights that each device holds."""
    return 1.0 if own.keeps_weights else 1.0 / ring.devices


def held(state: str, ring: DeviceGroup) -> float:
    """Share of a tensor in some state that each device holds."""
    return 1.0 / ring.devices if state in "BF" else 1.0


def stash(layers: LayerGraph, layer: int, own: Strategy, ring: DeviceGroup) -> float:
    """Bytes that a device keeps of a layer for one micro-batch's backward."""
    output = float(min(layers.output_bytes[layer], layers.stash_bytes[layer]))
    inner = float(layers.stash_bytes[layer]) - output
    return inner * share(own, ring) + output * held(own.output, ring)


def kept_of_recomputed(layers: LayerGraph, layer: int, own: Strategy, ring: DeviceGroup, end: int) -> float:
    """Bytes that a device keeps of a recomputed layer: its output, where another unit of the stage reads it."""
    outside = any(reader < end and layers.unit[reader] != layers.unit[layer] for reader in layers.readers[layer])
    output = float(min(layers.output_bytes[layer], layers.stash_bytes[layer]))
    return output * held(own.output, ring) if outside else 0.0


def leaving_conversions(
    layers: LayerGraph, layer: int, own: Mapping[int, Strategy], end: int, ring: DeviceGroup
) -> tuple[float, float]:
    """Seconds to bring a layer's output to each state that is read, and its gradient from each."""
    readers = layers.readers[layer]
    values = {own[reader].input for reader in readers if reader < end}
    gradients = {own[reader].input_gradient for reader in readers if reader < end}
    if not readers or readers[-1] >= end:
        values.add("B")
        gradients.add("B")
    size, mine = float(layers.output_bytes[layer]), own[layer]
    to = sum(ring.convert(mine.output, state, size) for state in sorted(values))
    return to, sum(ring.convert(state, mine.output_gradient, size) for state in sorted(gradients))


def layers_of_graph(graph: OpGraph, cluster: Cluster | None = None, *, training: bool = True) -> LayerGraph:
    """Layers of an operation graph: a layer a colour class, forward and backward operations apart where it has them.

    A graph without backward operations gets a backward pass of twice the forward's time, the share that is measured
    where a file tells (`backward_part`), or none for inference. Cuts may be made everywhere.

    Args:
        graph: The graph.
        cluster: Whose host bandwidth turns transfer times into bytes, where the file gives only times.
        training: Whether there is a backward pass.
    """
    groups = forward_groups(graph)
    count = int(groups.group_of.max()) + 1
    order, rank = _group_order(groups.edges, count), np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    of, scale = rank[groups.group_of], UNITS_PER_SECOND[graph.time_unit]

    def total(column: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(of, weights=column, minlength=count).astype(np.float64)

    forward, backward = {}, {}
    for kind, cost in graph.cost.items():
        seconds = np.where(np.isfinite(cost), cost, 1e9) / scale
        if graph.backward_part is not None:
            back = np.minimum(graph.backward_part / scale, seconds)
        elif graph.is_backward.any():
            back = np.where(graph.is_backward, seconds, 0.0)
        else:
            back = np.zeros(len(graph))
        forward[kind] = total(seconds - back)
        backward[kind] = total(back) if back.any() else 2.0 * forward[kind]
        if not training:
            backward[kind] = np.zeros(count)
    sent = graph.outputs_total
    if graph.host_transfer is not None and not sent.any():
        link = (cluster or graph.cluster or Cluster((Device("gpu0", "gpu"),))).host_bandwidth
        sent = graph.host_transfer / scale * link
    read_elsewhere = np.zeros(len(graph), dtype=bool)
    ahead = ~graph.is_backward[graph.edges[:, 0]] & ~graph.is_backward[graph.edges[:, 2]]
    crossing = ahead & (of[graph.edges[:, 0]] != of[graph.edges[:, 2]])
    read_elsewhere[graph.edges[crossing, 0]] = True
    outputs = total(np.where(read_elsewhere, sent, 0.0))
    edges = np.unique(rank[groups.edges], axis=0).reshape(-1, 2)
    names = [""] * count
    for node in range(len(graph) - 1, -1, -1):
        names[of[node]] = graph.names[node] if graph.names else str(graph.node_ids[node])
    return LayerGraph(
        tuple(f"{name}#{place}" if names.count(name) > 1 else name for place, name in enumerate(names)),
        forward, backward, total(graph.persistent_bytes), outputs,
        total(np.where(graph.is_backward, 0.0, sent)), edges, np.ones(count, dtype=bool),
        np.arange(count, dtype=np.int64), tuple(range(1, count)), 0.0, graph.source,
    )  # fmt: skip


def _group_order(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Groups so that producers come first; last in, first out, which keeps few tensors open."""
    children: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for a, b in edges.tolist():
        children[a].append(b)
        missing[b] += 1
    stack, order = [group for group in range(count - 1, -1, -1) if not missing[group]], []
    while stack:
        group = stack.pop()
        order.append(group)
        for child in reversed(children[group]):
            missing[child] -= 1
            if not missing[child]:
                stack.append(child)
    if len(order) < count:
        raise SettingError("the layers form a cycle; fuse them first")
    return np.array(order, dtype=np.int64)
