"""What a placement policy sees: devices and groups as the nodes of one graph, for both engines.

Device d is node d, so that an action is a node. The groups follow in the order of decisions, as many as there is room
for: where a graph has more, a window that begins a quarter of its width before the current group. Edges lead from
producers to consumers, from a placed group to its device, and from the current group to every device. All features are
times over the instance's share, or shares of something, so that they look alike whatever the graph's unit and size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _clip(value: float) -> float:
    return min(max(value, -BOUND), BOUND)


@njit(cache=True, nogil=True)
def write_view(  # noqa: PLR0912, PLR0915  one pass that writes a row from front to back
    g: Groups, device: NDArray[Any], time: int, length: int, share: float,
    compute: NDArray[Any], moved: NDArray[Any], held: NDArray[Any], mask: NDArray[Any],
    operations: int, row: NDArray[Any],
) -> None:  # fmt: skip
    """Write the packed observation of one episode.

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
    current, here = g.order[at], device[g.order[at]]
    begin = min(max(0, at - operations // 4), max(0, groups - operations))
    shown = min(groups, operations)

    # the loads without the current group, and what changes with it on each device
    load, without = np.zeros(devices), np.zeros(devices)
    without[:] = moved
    for k in range(g.touch_start[current], g.touch_start[current + 1]):
        _pay(g, device, g.touch[k], current, here, without, -1.0)
    for k in range(g.touch_start[current], g.touch_start[current + 1]):
        _pay(g, device, g.touch[k], current, -1, without, 1.0)
    for d in range(devices):
        load[d] = compute[d] + without[d] - (g.cost[current, d] if d == here else 0.0)
    affinity, known = np.zeros(devices), 1e-12 * share
    for k in range(len(g.link)):
        if g.link[k, 0] == current or g.link[k, 1] == current:
            other = g.link[k, 1] if g.link[k, 0] == current else g.link[k, 0]
            known += g.link_price[k]
            if device[other] >= 0:
                affinity[device[other]] += g.link_price[k]
    largest, more, total = np.zeros(devices), np.zeros(devices), np.zeros(devices)
    after = np.zeros(devices)
    for d in range(devices):
        after[:] = load
        for k in range(g.touch_start[current], g.touch_start[current + 1]):
            _pay(g, device, g.touch[k], current, -1, after, -1.0)
        paid = 0.0
        for k in range(g.touch_start[current], g.touch_start[current + 1]):
            paid += _pay(g, device, g.touch[k], current, d, after, 1.0)
        after[d] += g.cost[current, d]
        total[d], more[d] = paid, after[d]
        largest[d] = after.max()
    least_largest, least_total = np.inf, np.inf
    for d in range(devices):
        if mask[d]:
            least_largest, least_total = min(least_largest, largest[d]), min(least_total, total[d])
    before = device[g.order[at - 1]] if at > 0 else -1
    for d in range(devices):
        begins = first + d * FEATURES
        row[node_mask + d] = 1.0
        row[begins] = 1.0
        row[begins + 1] = 0.0 if g.pays[d] else 1.0
        row[begins + 2] = mask[d]
        row[begins + 3] = _clip(load[d] / share)
        if mask[d]:
            row[begins + 4] = _clip(more[d] / share)
            row[begins + 5] = _clip(largest[d] / share)
            row[begins + 6] = _clip(4.0 * (largest[d] - least_largest) / share)
            row[begins + 7] = _clip(4.0 * (total[d] - least_total) / share)
            row[begins + 8] = _clip(g.cost[current, d] / share)
        room = g.memory[d] - held[d] + (g.size[current] if d == here else 0.0)
        row[begins + 9] = 1.0 if g.memory[d] == np.inf else _clip(room / max(g.memory[d], 1.0))
        row[begins + 10] = affinity[d] / known
        row[begins + 11] = 1.0 if d == before else 0.0
        row[begins + 12] = 1.0 if d == here else 0.0
        row[begins + 13] = _clip(without[d] / share)
    smallest = g.memory.min()
    for place in range(begin, begin + shown):
        group = g.order[place]
        node = MOST_DEVICES + place - begin
        begins = first + node * FEATURES
        row[node_mask + node] = 1.0
        row[begins] = 0.0
        row[begins + 1] = 1.0 if group == current else 0.0
        row[begins + 2] = 1.0 if device[group] >= 0 else 0.0
        row[begins + 3] = _clip(8.0 * g.least[group] / share)
        row[begins + 4] = _clip(4.0 * g.sent[group] / share)
        row[begins + 5] = min(1.0, g.sent[group] / share)
        row[begins + 6] = 0.0 if smallest == np.inf else _clip(4.0 * g.size[group] / max(smallest, 1.0))
        row[begins + 7] = _clip((place - at) / 16.0)
        row[begins + 8] = 1.0 if place > at else 0.0
    edge = 0
    for k in range(len(g.link)):
        source, target = g.link[k, 0], g.link[k, 1]
        a, b = g.position[source] - begin, g.position[target] - begin
        if current in (source, target):
            other = b if source == current else a
            if other >= 0 and other < shown:
                begins = first + (MOST_DEVICES + other) * FEATURES
                row[begins + 9 if source == current else begins + 10] = _clip(4.0 * g.link_price[k] / share)
        if a >= 0 and b >= 0 and a < shown and b < shown and edge < _EDGES_PER_GROUP * operations:
            row[edges + 2 * edge], row[edges + 2 * edge + 1] = MOST_DEVICES + a, MOST_DEVICES + b
            row[edge] = 1.0
            edge += 1
    for place in range(begin, begin + shown):
        group = g.order[place]
        if device[group] >= 0 and group != current:
            row[edges + 2 * edge], row[edges + 2 * edge + 1] = MOST_DEVICES + place - begin, device[group]
            row[edge] = 1.0
            edge += 1
    for d in range(devices):
        row[edges + 2 * edge], row[edges + 2 * edge + 1] = MOST_DEVICES + at - begin, d
        row[edge] = 1.0
        edge += 1
    left, heaviest, mean, fast, priced = 0.0, 0.0, 0.0, 0, 0.0
    for place in range(groups):
        group = g.order[place]
        if device[group] < 0:
            left += g.least[group]
        heaviest = max(heaviest, g.least[group])
        priced += g.sent[group]
    for d in range(devices):
        fast += g.pays[d]
        mean += load[d]
    row[context] = at / groups
    row[context + 1] = (length - time) / length
    row[context + 2] = _clip(left / share / max(fast, 1))
    row[context + 3] = _clip(load.max() / share)
    row[context + 4] = _clip((mean + left) / share / max(fast, 1))
    row[context + 5] = fast / MOST_DEVICES
    row[context + 6] = _clip(heaviest / share)
    row[context + 7] = _clip(np.log1p(priced / share))
    row[context + 8] = 1.0 if groups > shown else groups / operations


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
