"""What a placement policy sees: devices and groups as the nodes of one graph, for both engines.

Device d is node d, so that an action is a node. The groups follow in the order of decisions, as many as there is room
for: where a graph has more, a window that begins a quarter of its width before the current group. Edges lead from
producers to consumers, from a placed group to its device, and from the current group to every device. All features are
times over the instance's share, or shares of something, so that they look alike whatever the graph's unit and size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, uncounted, uncounted_inline
from sysgym.core.packing import graph_spec
from sysgym.placement.decisions import Loads
from sysgym.placement.instances import MOST_DEVICES, MOST_GROUPS, Instance

FEATURES = 14
"""Numbers that describe a node; the first three say what it is, the others differ for devices and groups."""
GLOBALS = 9
BOUND = 4.0
"""Where features are clipped."""
_EDGES_PER_GROUP = 2


class Groups(NamedTuple):
    """An instance as compiled code reads it; see `Contraction` for the first ten, G groups, D devices, K links.

    Attributes:
        order: Groups in the order of decisions, (G,).
        position: Place of each group in that order, (G,).
        link: Pairs (producer's group, reader) without duplicates, (K, 2).
        link_price: What is read over each, (K,).
        least: Cost of each group where it is cheapest, (G,).
        sent: Price of what each group sends, (G,).
    """

    cost: NDArray[np.float64]
    size: NDArray[np.float64]
    owner: NDArray[np.int64]
    price: NDArray[np.float64]
    reader_start: NDArray[np.int64]
    reader: NDArray[np.int64]
    touch_start: NDArray[np.int64]
    touch: NDArray[np.int64]
    pays: NDArray[np.bool_]
    memory: NDArray[np.float64]
    order: NDArray[np.int64]
    position: NDArray[np.int64]
    link: NDArray[np.int64]
    link_price: NDArray[np.float64]
    least: NDArray[np.float64]
    sent: NDArray[np.float64]


def groups_of(instance: Instance) -> Groups:
    """The arrays of an instance."""
    c, order = instance.contraction, instance.order
    count = len(order)
    position = np.empty(count, dtype=np.int64)
    position[order] = np.arange(count)
    owner, price = np.repeat(c.owner, np.diff(c.reader_start)), np.repeat(c.price, np.diff(c.reader_start))
    pairs, inverse = np.unique(owner * count + c.reader, return_inverse=True)
    return Groups(
        *c[1:],
        order,
        position,
        np.column_stack(np.divmod(pairs, count)).astype(np.int64),
        np.bincount(inverse.ravel(), weights=price, minlength=len(pairs)).astype(np.float64),
        c.cost.min(axis=1),
        np.bincount(c.owner, weights=c.price, minlength=count).astype(np.float64),
    )


@uncounted
def _pay(
    g: Groups, device: NDArray[Any], producer: int, group: int, where: int, moved: NDArray[Any], sign: float
) -> float:
    """Add what devices pay for one producer, with `group` taken to be on `where` (-1: nowhere); returns the sum."""
    owner = g.owner[producer]
    at = where if owner == group else device[owner]
    if at < 0:
        return 0.0
    away, total = 0, 0.0
    for k in range(g.reader_start[producer], g.reader_start[producer + 1]):
        reader = g.reader[k]
        on = where if reader == group else device[reader]
        if on >= 0 and on != at:
            away |= 1 << on
    if away == 0:
        return 0.0
    away |= 1 << at
    for d in range(len(g.pays)):
        if (away >> d) & 1 and g.pays[d]:
            moved[d] += sign * g.price[producer]
            total += g.price[producer]
    return total


@uncounted
def _clip(value: float) -> float:
    return min(max(value, -BOUND), BOUND)


@uncounted
def _largest(load: NDArray[Any]) -> float:
    found = load[0]
    for d in range(1, len(load)):
        found = max(found, load[d])
    return float(found)


@compiled
def write_view(
    g: Groups, device: NDArray[Any], time: int, length: int, share: float,
    compute: NDArray[Any], moved: NDArray[Any], held: NDArray[Any], mask: NDArray[Any],
    operations: int, row: NDArray[Any],
) -> None:  # fmt: skip
    """Write the packed observation of one episode, from front to back: edge mask, edges, globals, node mask, nodes.

    Args:
        g: The instance.
        device: Of each group, or -1.
        time: Decisions so far.
        length: Decisions of the episode.
        share: See `Instance`.
        compute: Of all placed groups, the current one included, as `moved` and `held`.
        moved: See `Loads`.
        held: See `Loads`.
        mask: Allowed devices.
        operations: Groups that there is room for.
        row: Where to write, float32.
    """
    groups, devices = g.cost.shape
    nodes, edges = MOST_DEVICES + operations, (_EDGES_PER_GROUP + 1) * operations + MOST_DEVICES
    context = 3 * edges
    node_mask = context + GLOBALS
    first = node_mask + nodes
    row[:] = 0.0
    at = time % groups if time < length else groups - 1
    begin = min(max(0, at - operations // 4), max(0, groups - operations))
    shown = min(groups, operations)
    scratch = np.zeros((7, devices))
    load, without = scratch[0], scratch[1]
    _leave_out(g, device, g.order[at], compute, moved, load, without)
    row[node_mask : node_mask + devices] = 1.0
    row[node_mask + MOST_DEVICES : node_mask + MOST_DEVICES + shown] = 1.0
    _write_devices(g, device, at, share, load, without, held, mask, scratch[2:], row[first:])
    first_group = first + MOST_DEVICES * FEATURES
    _write_groups(g, device, at, share, begin, shown, row[first_group:])
    _write_edges(g, device, at, share, begin, shown, operations, row[:edges], row[edges:context], row[first_group:])
    _write_globals(g, device, share, load, row[context:node_mask])
    row[context] = at / groups
    row[context + 1] = (length - time) / length
    row[context + 8] = 1.0 if groups > shown else groups / operations


@uncounted_inline
def _leave_out(
    g: Groups, device: NDArray[Any], current: int, compute: NDArray[Any], moved: NDArray[Any],
    load: NDArray[Any], without: NDArray[Any],
) -> None:  # fmt: skip
    """The loads, and what of them is transfers, as they would be without the current group."""
    here = device[current]
    for d in range(len(load)):
        without[d] = moved[d]
    for k in range(g.touch_start[current], g.touch_start[current + 1]):
        _pay(g, device, g.touch[k], current, here, without, -1.0)
    for k in range(g.touch_start[current], g.touch_start[current + 1]):
        _pay(g, device, g.touch[k], current, -1, without, 1.0)
    for d in range(len(load)):
        load[d] = compute[d] + without[d] - (g.cost[current, d] if d == here else 0.0)


@uncounted_inline
def _consider(
    g: Groups, device: NDArray[Any], current: int, load: NDArray[Any],
    more: NDArray[Any], largest: NDArray[Any], total: NDArray[Any], after: NDArray[Any],
) -> None:  # fmt: skip
    """What each device would carry with the current group, what the largest load would be, and what would be paid."""
    for d in range(len(load)):
        for other in range(len(load)):
            after[other] = load[other]
        for k in range(g.touch_start[current], g.touch_start[current + 1]):
            _pay(g, device, g.touch[k], current, -1, after, -1.0)
        paid = 0.0
        for k in range(g.touch_start[current], g.touch_start[current + 1]):
            paid += _pay(g, device, g.touch[k], current, d, after, 1.0)
        after[d] += g.cost[current, d]
        total[d], more[d] = paid, after[d]
        largest[d] = _largest(after)


@uncounted_inline
def _write_devices(
    g: Groups, device: NDArray[Any], at: int, share: float, load: NDArray[Any], without: NDArray[Any],
    held: NDArray[Any], mask: NDArray[Any], scratch: NDArray[Any], nodes: NDArray[Any],
) -> None:  # fmt: skip
    devices, current = len(load), g.order[at]
    largest, more, total, affinity = scratch[0], scratch[1], scratch[2], scratch[3]
    here, before = device[current], device[g.order[at - 1]] if at > 0 else -1
    known = 1e-12 * share
    for k in range(len(g.link)):
        if g.link[k, 0] == current or g.link[k, 1] == current:
            other = g.link[k, 1] if g.link[k, 0] == current else g.link[k, 0]
            known += g.link_price[k]
            if device[other] >= 0:
                affinity[device[other]] += g.link_price[k]
    _consider(g, device, current, load, more, largest, total, scratch[4])
    least_largest, least_total = np.inf, np.inf
    for d in range(devices):
        if mask[d]:
            least_largest, least_total = min(least_largest, largest[d]), min(least_total, total[d])
    for d in range(devices):
        node = nodes[d * FEATURES : (d + 1) * FEATURES]
        node[0] = 1.0
        node[1] = 0.0 if g.pays[d] else 1.0
        node[2] = mask[d]
        node[3] = _clip(load[d] / share)
        if mask[d]:
            node[4] = _clip(more[d] / share)
            node[5] = _clip(largest[d] / share)
            node[6] = _clip(4.0 * (largest[d] - least_largest) / share)
            node[7] = _clip(4.0 * (total[d] - least_total) / share)
            node[8] = _clip(g.cost[current, d] / share)
        room = g.memory[d] - held[d] + (g.size[current] if d == here else 0.0)
        node[9] = 1.0 if g.memory[d] == np.inf else _clip(room / max(g.memory[d], 1.0))
        node[10] = affinity[d] / known
        node[11] = 1.0 if d == before else 0.0
        node[12] = 1.0 if d == here else 0.0
        node[13] = _clip(without[d] / share)


@uncounted_inline
def _write_groups(
    g: Groups, device: NDArray[Any], at: int, share: float, begin: int, shown: int, nodes: NDArray[Any]
) -> None:
    smallest = np.inf
    for d in range(len(g.memory)):
        smallest = min(smallest, g.memory[d])
    for place in range(begin, begin + shown):
        group = g.order[place]
        node = nodes[(place - begin) * FEATURES : (place - begin + 1) * FEATURES]
        node[1] = 1.0 if place == at else 0.0
        node[2] = 1.0 if device[group] >= 0 else 0.0
        node[3] = _clip(8.0 * g.least[group] / share)
        node[4] = _clip(4.0 * g.sent[group] / share)
        node[5] = min(1.0, g.sent[group] / share)
        node[6] = 0.0 if smallest == np.inf else _clip(4.0 * g.size[group] / max(smallest, 1.0))
        node[7] = _clip((place - at) / 16.0)
        node[8] = 1.0 if place > at else 0.0


@uncounted_inline
def _write_edges(
    g: Groups, device: NDArray[Any], at: int, share: float, begin: int, shown: int, operations: int,
    edge_mask: NDArray[Any], ends: NDArray[Any], nodes: NDArray[Any],
) -> None:  # fmt: skip
    """Producer to consumer, placed group to its device, current group to each; and who the current one deals with."""
    current, edge = g.order[at], 0
    for k in range(len(g.link)):
        source, target = g.link[k, 0], g.link[k, 1]
        a, b = g.position[source] - begin, g.position[target] - begin
        if current in (source, target):
            other = b if source == current else a
            if other >= 0 and other < shown:
                feature = 9 if source == current else 10
                nodes[other * FEATURES + feature] = _clip(4.0 * g.link_price[k] / share)
        if a >= 0 and b >= 0 and a < shown and b < shown and edge < _EDGES_PER_GROUP * operations:
            ends[2 * edge], ends[2 * edge + 1] = MOST_DEVICES + a, MOST_DEVICES + b
            edge += 1
    for place in range(begin, begin + shown):
        group = g.order[place]
        if device[group] >= 0 and group != current:
            ends[2 * edge], ends[2 * edge + 1] = MOST_DEVICES + place - begin, device[group]
            edge += 1
    for d in range(len(g.pays)):
        ends[2 * edge], ends[2 * edge + 1] = MOST_DEVICES + at - begin, d
        edge += 1
    edge_mask[:edge] = 1.0


@uncounted_inline
def _write_globals(g: Groups, device: NDArray[Any], share: float, load: NDArray[Any], whole: NDArray[Any]) -> None:
    """What describes the instance and the loads as a whole; `write_view` adds how far the episode is."""
    left, heaviest, mean, fast, priced = 0.0, 0.0, 0.0, 0, 0.0
    for place in range(len(g.order)):
        group = g.order[place]
        if device[group] < 0:
            left += g.least[group]
        heaviest = max(heaviest, g.least[group])
        priced += g.sent[group]
    for d in range(len(load)):
        fast += g.pays[d]
        mean += load[d]
    whole[2] = _clip(left / share / max(fast, 1))
    whole[3] = _clip(_largest(load) / share)
    whole[4] = _clip((mean + left) / share / max(fast, 1))
    whole[5] = fast / MOST_DEVICES
    whole[6] = _clip(heaviest / share)
    whole[7] = _clip(np.log1p(priced / share))


class GraphView:
    """The graph convention of a placement; see the module for nodes and edges.

    Args:
        operations: Groups that there is room for, at least 8.
    """

    num_actions = MOST_DEVICES

    def __init__(self, operations: int = MOST_GROUPS) -> None:
        self.operations = operations
        nodes, edges = MOST_DEVICES + operations, (_EDGES_PER_GROUP + 1) * operations + MOST_DEVICES
        self.spec = graph_spec(nodes, FEATURES, edges, GLOBALS, -BOUND, BOUND)
        self._last: tuple[Instance, Groups] | None = None

    def write(
        self,
        instance: Instance,
        device: NDArray[np.int64],
        time: int,
        length: int,
        loads: Loads,
        mask: NDArray[np.int8],
        row: NDArray[Any],
    ) -> None:
        """Write the packed observation of one episode; see `write_view`."""
        if self._last is None or self._last[0] is not instance:
            self._last = instance, groups_of(instance)
        write_view(self._last[1], device, time, length, instance.share, *loads, mask, self.operations, row)
